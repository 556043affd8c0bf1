"""What exporters answer that a test machine has no hardware for."""

import csv
import tempfile
from pathlib import Path

from exporters.fabric import efa, lustre
from exporters.fabric.collector import FabricCollector
from lifecycle.host import Host
from tests.exporters.exposition import text_of
from tests.exporters.trees import write_efa, write_lustre

#: Of a node with eight GPUs; a number is the value of the first of them, and how much each next one has more.
_DCGM_VALUES = {
    "DCGM_FI_DEV_SM_CLOCK": (1755, 15),
    "DCGM_FI_DEV_MEM_CLOCK": (2619, 0),
    "DCGM_FI_DEV_GPU_TEMP": (52, 2),
    "DCGM_FI_DEV_MEMORY_TEMP": (61, 2),
    "DCGM_FI_DEV_POWER_USAGE": (541.25, 11.5),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": (97_712_440_512, 1_024),
    "DCGM_FI_DEV_GPU_UTIL": (93, 1),
    "DCGM_FI_DEV_FB_USED": (60_416, 128),
    "DCGM_FI_DEV_FB_FREE": (20_498, -128),
    "DCGM_FI_DEV_FB_TOTAL": (81_559, 0),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": (0.913, 0.005),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": (0.412, 0.01),
    "DCGM_FI_PROF_DRAM_ACTIVE": (0.377, 0.01),
    "DCGM_FI_PROF_NVLINK_RX_BYTES": (21_474_836_480, 1_048_576),
    "DCGM_FI_PROF_NVLINK_TX_BYTES": (21_474_836_992, 1_048_576),
    "DCGM_FI_PROF_PCIE_RX_BYTES": (1_181_116_006, 65_536),
    "DCGM_FI_PROF_PCIE_TX_BYTES": (912_680_550, 65_536),
}
_DCGM_LABELS = {"DCGM_FI_DRIVER_VERSION": "580.105.08"}
#: That of the GPU which a job has.
_GPU_IN_A_JOB, _JOB = 3, "42"


def efa_exposition() -> str:
    """Return what the fabric exporter answers on a node with 32 EFA devices."""
    with tempfile.TemporaryDirectory() as root:
        write_efa(Path(root))
        return text_of(FabricCollector(Host(root=Path(root)), collectors={"efa": efa.collect}))


def lustre_exposition() -> str:
    """Return what the fabric exporter answers on a node with a Lustre mount."""
    with tempfile.TemporaryDirectory() as root:
        write_lustre(Path(root))
        return text_of(FabricCollector(Host(root=Path(root)), collectors={"lustre": lustre.collect}))


def dcgm_exposition(collectors_csv_text: str) -> str:
    """Return what NVIDIA's DCGM exporter answers for the fields of a collectors file, and for no others.

    The form is that of 4.6.0-4.8.3. Counters of errors are 0; the GPU that a job has carries the label `hpc_job`.
    """
    lines = (line for line in collectors_csv_text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    fields = [[cell.strip() for cell in row] for row in csv.reader(lines, skipinitialspace=True)]
    everywhere = {name: _DCGM_LABELS.get(name, "unknown") for name, kind, _ in fields if kind == "label"}
    text = []
    for name, kind, description in fields:
        if kind == "label":
            continue
        text += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
        first, more = _DCGM_VALUES.get(name, (0, 0))
        for gpu in range(8):
            labels = {
                "gpu": f"{gpu}",
                "UUID": f"GPU-15704b32-f531-14ce-0530-1ac21e4b68e{gpu}",
                "pci_bus_id": f"00000000:{0x53 + 17 * gpu % 128:02X}:00.0",
                "device": f"nvidia{gpu}",
                "modelName": "NVIDIA H100 80GB HBM3",
                "Hostname": "ip-10-0-0-12",
                **everywhere,
            }
            if gpu == _GPU_IN_A_JOB:
                labels["hpc_job"] = _JOB
            pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
            text.append(f"{name}{{{pairs}}} {round(first + gpu * more, 3):g}")
    return "\n".join([*text, ""])
