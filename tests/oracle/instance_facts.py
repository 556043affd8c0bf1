"""Write `cdk_slurm/rules/instances.json` from moto's table: `python tests/oracle/instance_facts.py`."""

import gzip
import importlib.util
import json
from pathlib import Path

import cdk_slurm.rules
from cdk_slurm.rules.service_model import cluster_instance_types

TARGET = Path(cdk_slurm.rules.__file__).with_name("instances.json")


def generate() -> str:
    """Return the facts of every instance type that HyperPod accepts and moto knows, as JSON."""
    moto = Path(importlib.util.find_spec("moto").origin).parent
    table = json.loads(gzip.decompress((moto / "ec2" / "resources" / "instance_types.json.gz").read_bytes()))
    names = sorted(name.removeprefix("ml.") for name in cluster_instance_types())
    rows = (f'  "{name}": {json.dumps(_facts(table[name]))}' for name in names if name in table)
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _facts(row: dict) -> dict[str, int]:
    return {
        "vcpus": row["VCpuInfo"]["DefaultVCpus"],
        "gpus": sum(gpu["Count"] for gpu in row.get("GpuInfo", {}).get("Gpus", ())),
        "efa_interfaces": row["NetworkInfo"].get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        "nvme_gb": row.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
    }


if __name__ == "__main__":
    TARGET.write_text(generate(), "utf-8")
