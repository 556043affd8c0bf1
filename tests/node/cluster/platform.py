"""HyperPod as a node sees it: instances, the files about them, and an agent that writes slurm.conf."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from tests.node.cluster.machine import DEFAULT_PATH, Machine
from tests.node.cluster.network import Network, address_of
from tests.node.cluster.services import HOSTS, Backroom, HyperPodFront, LocalAws, MetricsWorkspace, PackageMirror
from tests.node.cluster.tree import Trees, overlaid, run_in
from tests.node.cluster.workplace import Workplace, mount

T = TypeVar("T")

SCRIPTS = Path(__file__).resolve().parents[3] / "lifecycle_scripts"
AMI = Path(__file__).resolve().parents[1] / "ami"

CLUSTER_NAME = "ml-cluster"
REGION = "us-west-2"
LUSTRE = {
    "dns_name": "fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com",
    "mount_name": "abcdefgh",
    "path": "/fsx",
    "efa": False,
}
OPENZFS = {"dns_name": "fs-0fedcba9876543210.fsx.us-west-2.amazonaws.com", "path": "/home"}
LUSTRE_SOURCE = f"{LUSTRE['dns_name']}@tcp:/{LUSTRE['mount_name']}"
OPENZFS_SOURCE = f"{OPENZFS['dns_name']}:/fsx"

#: Slurm as Debian has it, told to leave the control groups of this machine alone.
_SLURM_CONF = """\
ClusterName={cluster}
{controllers}
SlurmUser=slurm
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=1
SlurmdTimeout=15
MessageTimeout=10
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
LaunchParameters=use_interactive_step
Include accounting.conf
"""

Form = Literal["api", "provisioning_parameters"]
_ENTRIES: dict[Form, str] = {"api": "on_init_complete.sh", "provisioning_parameters": "on_create.sh"}


@dataclass(frozen=True, kw_only=True)
class Group:
    """An instance group, and how many instances it begins with."""

    name: str
    node_type: Literal["controller", "login", "compute"]
    count: int = 1
    """0: HyperPod tells of such a group that its instances are null."""

    partition: str | None = None
    instance_type: str = "ml.c5.xlarge"
    gpu: bool = False
    disks: Mapping[str, int] = field(default_factory=dict)
    """Sizes in MiB of file systems that the platform has mounted, by mount point."""


EBS = {"/opt/sagemaker": 256}

GROUPS = (
    Group(name="controller-machine", node_type="controller"),
    Group(name="login-group", node_type="login"),
    Group(name="worker-c5", node_type="compute", count=2, partition="cpu", disks=EBS),
    Group(name="worker-g5", node_type="compute", count=2, partition="gpu", instance_type="ml.g5.xlarge", disks=EBS),
    Group(name="worker-p5", node_type="compute", count=0, partition="p5", instance_type="ml.p5.48xlarge", disks=EBS),
)


class Platform:
    """A cluster of HyperPod, as a context manager; inside, every node is up and no script of ours has run.

    `form` is the `slurm_configuration` of cluster.json. In form `api` the platform has mounted the file systems and
    started Slurm; in the other it has only written slurm.conf. `slurm_conf` are lines that the agent adds to what it
    writes; `layers` are directories of `ami/` over `base`; `disk_mib` is the size of each node's disk.
    Without `starts_slurm` Slurm is left for later in form `api`, too.
    """

    def __init__(
        self,
        workplace: Workplace,
        trees: Trees,
        *,
        form: Form,
        groups: Sequence[Group] = GROUPS,
        layers: Sequence[str] = (),
        slurm_conf: Sequence[str] = (),
        disk_mib: int = 4096,
        starts_slurm: bool = True,
    ) -> None:
        self.form = form
        self.groups = list(groups)
        self.machines: dict[str, list[Machine]] = {}
        """By the name of their group, in the order of their instance names."""

        self.trees = trees
        self._workplace, self._layers = workplace, layers
        self._slurm_conf, self._disk_mib = slurm_conf, disk_mib
        self._starts_slurm = starts_slurm
        self._hosts, self._bundles = itertools.count(10), itertools.count(1)
        self.munge_key = os.urandom(128)

    def __enter__(self) -> "Platform":
        self.network = Network(self._workplace)
        try:
            self._ami = self._made_ami()
            self.shared = {name: self._made_backend(name, source) for name, source in _BACKENDS.items()}
            self.mirror = PackageMirror(self.network, self.trees.packages)
            self.mirror.start()
            for group in self.groups:
                self.machines[group.name] = [self._new_machine(group) for _ in range(group.count)]
            self._join(self.all)
        except BaseException:
            self.network.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.network.close()

    @cached_property
    def aws(self) -> LocalAws:
        """AWS services, started when first asked for."""
        return LocalAws(self.network)

    @cached_property
    def hyperpod(self) -> HyperPodFront:
        """What AWS tells of the nodes, started when first asked for."""
        return HyperPodFront(self.network)

    @cached_property
    def backroom(self) -> Backroom:
        """The machine with a database and a directory, booted when first asked for."""
        return Backroom(self.network, self.trees)

    @cached_property
    def workspace(self) -> MetricsWorkspace:
        """The workspace that metrics go to, with nothing in it, started when first asked for."""
        return MetricsWorkspace(self.network)

    @property
    def all(self) -> list[Machine]:
        return [machine for machines in self.machines.values() for machine in machines]

    @property
    def controller(self) -> Machine:
        return self._of("controller")[0]

    @property
    def login(self) -> Machine:
        return self._of("login")[0]

    @property
    def workers(self) -> list[Machine]:
        return self._of("compute")

    # The scripts

    def cluster_json(self, **more: Any) -> dict[str, Any]:
        """Return what the deployment would write."""
        return {
            "schema_version": 1,
            "cluster_name": CLUSTER_NAME,
            "region": REGION,
            "slurm_configuration": self.form,
            "instance_groups": [
                {
                    "name": group.name,
                    "node_type": group.node_type,
                    "instance_type": group.instance_type,
                    "ebs_volume": "/opt/sagemaker" in group.disks,
                    "nvme": "/opt/dlami/nvme" in group.disks,
                    "gpu": group.gpu,
                }
                | ({"partition": group.partition} if group.partition else {})
                for group in self.groups
            ],
            "mounts": {"lustre": LUSTRE, "openzfs": OPENZFS},
        } | more

    def install_bundle(self, machine: Machine, cluster_json: Mapping[str, Any], source: Path = SCRIPTS) -> None:
        """Copy the scripts to the node, to another directory each time; the former is gone.

        As they come from S3, files have no modes.
        """
        lifecycle = machine.root / "opt/ml/lifecycle"
        shutil.rmtree(lifecycle, ignore_errors=True)
        bundle = lifecycle / str(next(self._bundles))
        shutil.copytree(source, bundle, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
        (bundle / "cluster.json").write_text(json.dumps(cluster_json), "utf-8")
        if self.form == "provisioning_parameters":
            (bundle / "provisioning_parameters.json").write_text(json.dumps(self._provisioning_parameters()), "utf-8")

    def run_lifecycle(
        self,
        machine: Machine,
        *arguments: str,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 600,
    ) -> "subprocess.CompletedProcess[str]":
        """Run the entry script of the cluster's form on a node, as the platform does."""
        script = f"cd /opt/ml/lifecycle/* && exec bash {_ENTRIES[self.form]} " + '"$@" 2>&1'
        variables = {"PATH": DEFAULT_PATH, "CDK_SLURM_FAILURE_WAIT_SECONDS": "0"} | dict(environment or {})
        command = ("bash", "-c", script, "bash", *arguments)
        return machine.run(*command, check=check, environment=variables, timeout_seconds=timeout_seconds)

    def run_everywhere(self, environment: Mapping[str, str] | None = None) -> None:
        """Run the entry script on all nodes at once."""
        in_parallel(lambda machine: self.run_lifecycle(machine, environment=environment), self.all)

    # What the platform does of its own accord

    def replace(self, machine: Machine) -> Machine:
        """Destroy a node and put another, with another address, in its place; no script of ours has run there."""
        for group in self.groups:
            if machine in (members := self.machines[group.name]):
                place = members.index(machine)
                machine.destroy()
                members[place] = self._new_machine(group)
                self._join([members[place]])
                return members[place]
        raise LookupError(machine.name)

    def add_group(self, group: Group) -> list[Machine]:
        """Add a group. Nodes that are there keep the provisioning_parameters.json that they have."""
        self.groups.append(group)
        self.machines[group.name] = [self._new_machine(group) for _ in range(group.count)]
        self._join(self.machines[group.name])
        return self.machines[group.name]

    def tell_of_aws(self) -> None:
        """Say where AWS is to what systemd starts: on a node of HyperPod its own metadata does."""
        variables = [f"{name}={value}" for name, value in self.aws.environment.items()]
        in_parallel(lambda machine: machine.run("systemctl", "set-environment", *variables), self.all)

    def rewrite_slurm_conf(self) -> None:
        """Write slurm.conf anew: what others have added is gone. A slurmctld that runs is told."""
        for controller in self._of("controller"):
            controller.write("/opt/slurm/etc/slurm.conf", self._rendered_slurm_conf())
        if self.controller.units().get("slurmctld.service") == "active":
            # Refused while partitions that others wrote name a node that is gone; what then, is theirs to see to.
            self.controller.run("scontrol", "reconfigure", check=False)

    def _join(self, machines: Sequence[Machine]) -> None:
        in_parallel(Machine.boot, machines)
        self._write_resource_config()
        self._hand_over(machines)

    def _hand_over(self, machines: Sequence[Machine]) -> None:
        """Do on new nodes what the platform does before our scripts."""
        in_parallel(self._write_provisioning_parameters, machines)
        self.rewrite_slurm_conf()
        if self.form == "api":
            in_parallel(self._mount, machines)
            if self._starts_slurm:
                self.start_slurm(machines)

    def start_slurm(self, machines: Sequence[Machine] | None = None) -> None:
        """In form `api`, start the daemons: `starts_slurm=False` leaves it for later, as HyperPod may."""
        for machine in sorted(machines or self.all, key=lambda machine: machine is not self.controller):
            self._start_slurm(machine)

    def _mount(self, machine: Machine) -> None:
        machine.shell(
            f"mkdir -p {LUSTRE['path']} {OPENZFS['path']}"
            f" && mount -t lustre -o noatime,flock {LUSTRE_SOURCE} {LUSTRE['path']}"
            f" && mount -t nfs -o nfsvers=4.2 {OPENZFS_SOURCE} {OPENZFS['path']}"
        )

    def _start_slurm(self, machine: Machine) -> None:
        if machine is self.controller:
            machine.run("systemctl", "enable", "--quiet", "--now", "slurmctld")
        else:
            machine.write("/etc/default/slurmd", f"SLURMD_OPTIONS='--conf-server {self.controller.address}:6817'\n")
            machine.run("systemctl", "enable", "--quiet", "--now", "slurmd")

    # Its files

    def _write_resource_config(self) -> None:
        content = {
            "ClusterConfig": {
                "ClusterName": CLUSTER_NAME,
                "ClusterArn": f"arn:aws:sagemaker:{REGION}:111122223333:cluster/abcd1234wxyz",
            },
            "InstanceGroups": [
                {
                    "Name": group.name,
                    "InstanceType": group.instance_type,
                    "Instances": [_instance(group, n, one) for n, one in enumerate(self.machines[group.name], 1)]
                    or None,
                }
                for group in self.groups
            ],
        }
        text = json.dumps(content, indent=1)
        in_parallel(lambda machine: machine.write("/opt/ml/config/resource_config.json", text), self.all)

    def _write_provisioning_parameters(self, machine: Machine) -> None:
        text = json.dumps(self._provisioning_parameters(), indent=1)
        machine.write("/opt/ml/config/provisioning_parameters.json", text)

    def _provisioning_parameters(self) -> dict[str, Any]:
        by_type = {group.node_type: group.name for group in self.groups}
        parameters: dict[str, Any] = {
            "version": "1.0.0",
            "workload_manager": "slurm",
            "controller_group": by_type["controller"],
        }
        if "login" in by_type:
            parameters["login_group"] = by_type["login"]
        if self.form == "api":
            return parameters
        return parameters | {
            "worker_groups": [
                {"instance_group_name": group.name, "partition_name": group.partition}
                for group in self.groups
                if group.partition
            ],
            "fsx_dns_name": LUSTRE["dns_name"],
            "fsx_mountname": LUSTRE["mount_name"],
            "fsx_openzfs_dns_name": OPENZFS["dns_name"],
        }

    def _rendered_slurm_conf(self) -> str:
        controllers = [f"SlurmctldHost={machine.name}({machine.address})" for machine in self._of("controller")]
        head = _SLURM_CONF.format(cluster=CLUSTER_NAME, controllers="\n".join(controllers)).splitlines()
        nodes = [
            f"NodeName={machine.name} NodeHostname={machine.name} NodeAddr={machine.address} CPUs=4 State=CLOUD"
            for machine in self._of("login", "compute")
        ]
        partitions = ["PartitionName=dev Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=EXCLUSIVE"]
        if self.form == "api":
            partitions += [
                f"PartitionName={group.partition} Nodes={names} MaxTime=INFINITE State=UP"
                for group in self.groups
                if (names := ",".join(machine.name for machine in self.machines[group.name])) and group.partition
            ]
        return "\n".join([*head, *self._slurm_conf, *nodes, *partitions, ""])

    # Its machines

    def _of(self, *node_types: str) -> list[Machine]:
        return [one for group in self.groups if group.node_type in node_types for one in self.machines[group.name]]

    def new_machine(
        self,
        lowers: Sequence[Path],
        *,
        disks: Mapping[str, int] | None = None,
        binds: Mapping[str, Path] | None = None,
    ) -> Machine:
        """Return a machine in the cluster's network that is not booted, and need not be a node."""
        return Machine(
            self.network,
            next(self._hosts),
            lowers=lowers,
            hosts=_NAMES + HOSTS,
            disk_mib=self._disk_mib,
            disks=disks,
            binds=binds,
        )

    def _new_machine(self, group: Group) -> Machine:
        machine = self.new_machine(
            [self._ami, self.trees.base],
            disks=group.disks,
            binds={f"/backend/{name}": directory for name, directory in self.shared.items()},
        )
        key = machine.root / "etc/munge/munge.key"
        key.chmod(0o600)
        key.write_bytes(self.munge_key)
        return machine

    def _made_backend(self, name: str, source: str) -> Path:
        """Return a directory to be bound as a file system; as it has that name, what is bound shows it as source."""
        directory = self.network.directory / name
        directory.mkdir()
        mount(source, directory, "mode=755", type="tmpfs")
        return directory

    def _made_ami(self) -> Path:
        upper = self.network.directory / "ami"
        upper.mkdir()
        with overlaid(upper, lower=[self.trees.base], work=self.network.directory / "ami-work") as root:
            for layer in ("base", *self._layers):
                shutil.copytree(AMI / layer, root, symlinks=True, dirs_exist_ok=True)
                if (script := AMI / f"{layer}.sh").exists():
                    run_in(root, script.read_text("utf-8"))
            backends = "".join(f"{source} /backend/{name}\n" for name, source in _BACKENDS.items())
            (root / "etc/test-backends").write_text(backends, "utf-8")
        return upper


#: Stands for the name server of a VPC, which knows addresses that there may be one day.
_NAMES = "".join(f"{address_of(host)} ip-{address_of(host).replace('.', '-')}\n" for host in range(10, 200))
_BACKENDS = {"lustre": LUSTRE_SOURCE, "openzfs": OPENZFS_SOURCE}


def in_parallel(do: Callable[[Machine], T], machines: Iterable[Machine]) -> list[T]:
    """Do the same on many nodes at once; the first error is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        return [future.result() for future in [pool.submit(do, machine) for machine in machines]]


def _instance(group: Group, number: int, machine: Machine) -> dict[str, str]:
    host = machine.address.rpartition(".")[2]
    return {
        "InstanceName": f"{group.name}-{number}",
        "AgentIpAddress": f"192.0.2.{host}",
        "CustomerIpAddress": machine.address,
        "InstanceId": f"i-{int(host):017x}",
    }
