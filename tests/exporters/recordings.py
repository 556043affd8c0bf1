"""What Slurm said on real nodes, look by look, and a host that says it again.

`recorded/slurm-24.11/` are looks at one cluster of seven nodes and twenty-odd jobs over three minutes: jobs that run,
that wait for every reason, arrays, ends of every kind that could be had, a job put back into the queue; nodes that are
drained, failed, killed, reserved, and resumed. Slurm 24.11.5 said it, with `SLURM_TIME_FORMAT=%s`.
`recorded/slurm-26.05.txt` is a look at Slurm 26.05.5.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporters.slurm.collector import SlurmCollector
from lifecycle.errors import CommandError, StepError
from lifecycle.host import Host
from lifecycle.node import RESOURCE_CONFIG

RECORDED = Path(__file__).parent / "recorded"
LOOKS = sorted((RECORDED / "slurm-24.11").glob("*.txt"))

#: Instance groups of the cluster that was recorded: type, partition, addresses.
GROUPS = {
    "controller-machine": ("controller", None, ["10.78.0.10"]),
    "login-group": ("login", None, ["10.78.0.11"]),
    "worker-c5": ("compute", "cpu", ["10.78.0.12", "10.78.0.13", "10.78.0.14"]),
    "worker-g5": ("compute", "gpu", ["10.78.0.15", "10.78.0.16", "10.78.0.17"]),
    "worker-p5": ("compute", "p5", []),
}


@dataclass(frozen=True)
class Look:
    """The moment, and what the two commands said."""

    now: int
    squeue: str
    nodes: str

    @classmethod
    def read(cls, path: Path) -> "Look":
        head, _, nodes = path.read_text("utf-8").partition("# scontrol show nodes\n")
        moment, _, squeue = head.removeprefix("# now\n").partition("\n# squeue\n")
        return cls(int(moment), squeue, nodes)


@dataclass(frozen=True)
class SaidAgain(Host):
    """A directory for a controller, on which Slurm's commands say what a test wants."""

    says: dict[str, str | Exception | Callable[[], str]] = field(default_factory=dict)
    """By the command's first words: `squeue`, `scontrol --all`, `scontrol ping`."""
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *command: str, timeout_seconds: float = 60, input: str | None = None, environment=None) -> str:
        self.commands.append(command)
        [said] = [said for words, said in self.says.items() if " ".join(command).startswith(words)]
        if isinstance(said, Exception):
            raise said
        return said() if callable(said) else said

    def play(self, look: Look) -> None:
        self.says.update({"squeue": look.squeue, "scontrol --all": look.nodes})

    def fail(self) -> None:
        unreachable = CommandError("scontrol", 1, "slurm_load_node error: Unable to contact slurm controller")
        self.says.update({"squeue": StepError("squeue did not end within 7 s"), "scontrol --all": unreachable})

    def write_cluster(self, groups: Mapping[str, tuple[str, str | None, list[str]]] = GROUPS) -> None:
        self.write_resource_config(groups)
        content = {
            "schema_version": 1,
            "cluster_name": "ml-cluster",
            "region": "us-west-2",
            "slurm_configuration": "api",
            "instance_groups": [
                {"name": name, "node_type": type_} | ({"partition": partition} if partition else {})
                for name, (type_, partition, _) in groups.items()
            ],
            "mounts": {"openzfs": {"dns_name": "fs-1.fsx.us-west-2.amazonaws.com", "path": "/home"}},
        }
        (self.bundle / "cluster.json").write_text(json.dumps(content), "utf-8")

    def write_resource_config(self, groups: Mapping[str, tuple[str, str | None, list[str]]]) -> None:
        content = {
            "ClusterConfig": {"ClusterName": "ml-cluster", "ClusterArn": "arn:aws:sagemaker:us-west-2:111122223333:c"},
            "InstanceGroups": [
                {"Name": name, "Instances": [{"CustomerIpAddress": ip} for ip in addresses] or None}
                for name, (_, _, addresses) in groups.items()
            ],
        }
        self.write(RESOURCE_CONFIG, json.dumps(content))


def said_again(directory: Path) -> SaidAgain:
    """Return a controller of the recorded cluster."""
    (directory / "bundle").mkdir()
    host = SaidAgain(root=directory, bundle=directory / "bundle", environment={})
    host.write("/opt/slurm/etc/slurm.conf", "SlurmctldHost=ip-10-78-0-10(10.78.0.10)\n")
    host.write_cluster()
    return host


def collector_of(host: SaidAgain, *, own_name: str = "ip-10-78-0-10", min_interval_seconds: float = 0):
    """Return the exporter on that controller."""
    return SlurmCollector(
        host,
        state_file=host.root / "state.json",
        own_name=own_name,
        min_interval_seconds=min_interval_seconds,
        timeout_seconds=7,
    )
