"""What an instance type has: a small part of moto's table of EC2 instance types, kept beside this file.

moto is too heavy to need at run time. `python tests/oracle/instance_facts.py` writes the part anew,
and a test says when it no longer agrees with the installed moto.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class InstanceFacts:
    """Facts of one instance type."""

    vcpus: int
    gpus: int
    efa_interfaces: int
    """Most EFA interfaces that it can have; 0 where EFA is not supported."""

    nvme_gb: int
    """Total size of local NVMe instance storage in GB."""

    @property
    def addresses(self) -> int:
        """IPv4 addresses that HyperPod takes for one instance: one for each network interface."""
        return max(1, self.efa_interfaces)


def instance_facts(instance_type: str) -> InstanceFacts | None:
    """Facts of an instance type, with or without its prefix `ml.`; None when nothing is known of it."""
    facts = _table().get(instance_type.removeprefix("ml."))
    return None if facts is None else InstanceFacts(**facts)


def has_gpus(instance_type: str) -> bool:
    """Whether instances of a type have GPUs; of one that is newer than the table, its family's letter tells."""
    facts = instance_facts(instance_type)
    return facts.gpus > 0 if facts else bool(re.match(r"(ml\.)?(p|gr?)\d", instance_type))


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = json.loads(Path(__file__).with_name("instances.json").read_text("utf-8"))
    return table
