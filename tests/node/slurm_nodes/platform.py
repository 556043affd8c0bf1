"""HyperPod, as far as a node sees it: instances, their files, and an agent that writes slurm.conf."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.node.slurm_nodes.machine import AMI, Hub, Machine
from tests.node.slurm_nodes.tree import Tree, overlay, run

SCRIPTS = Path(__file__).resolve().parents[3] / "lifecycle_scripts"
BUNDLE = "/opt/ml/lifecycle"
CLUSTER_NAME = "ml-cluster"
REGION = "us-west-2"
ENTRIES = {"provisioning_parameters": "on_create.sh", "api": "on_init_complete.sh"}

LUSTRE = {"dns_name": "fs-01.fsx.us-west-2.amazonaws.com", "mount_name": "abcdefgh", "path": "/fsx", "efa": False}
OPENZFS = {"dns_name": "fs-02.fsx.us-west-2.amazonaws.com", "path": "/home"}

#: What this imitation of an AMI is told from Slurm's own default for this machine: no control groups to manage.
SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost={controller}({address})
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


@dataclass(frozen=True)
class Group:
    """An instance group: its node type, and the partition that the deployment gives it."""

    name: str
    node_type: str
    partition: str | None = None


CONTROLLER, LOGIN = Group("controller", "controller"), Group("login", "login")
CPU, GPU = Group("worker", "compute", "cpu"), Group("gpu-worker", "compute", "ml.g5.xlarge")


@dataclass
class Platform:
    """A cluster's nodes and what HyperPod does for them; `form` is the cluster's `slurm_configuration`."""

    tree: Tree
    directory: Path
    form: str = "provisioning_parameters"
    cluster: dict[str, Any] = field(default_factory=dict)
    """What `cluster.json` has more than groups and mounts."""
    mounts: dict[str, Any] = field(default_factory=lambda: {"lustre": LUSTRE, "openzfs": OPENZFS})
    hosts: str = ""
    groups: dict[str, Group] = field(default_factory=dict, init=False)
    machines: dict[str, list[Machine]] = field(default_factory=dict, init=False)
    servers: list["subprocess.Popen[str]"] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.hub = Hub(f"cs{os.getpid()}")
        self._next_address = 10
        self._munge_key = os.urandom(128)

    # Life

    def open(self) -> None:
        for name in ("lustre", "openzfs"):
            (self.directory / "backends" / name).mkdir(parents=True)
        self._ami = self._make_ami()
        self.hub.open()

    def start_mirror(self) -> None:
        """Serve the packages that nodes may install."""
        self._mirror = self.hub.start(
            *(sys.executable, "-m", "http.server", "8000", "--bind", self.hub.address),
            *("--directory", str(self.tree.repository)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.servers.append(self._mirror)

    def stop_mirror(self) -> None:
        """Have the mirror refuse everybody."""
        self._mirror.kill()
        self._mirror.wait()

    def close(self) -> None:
        in_parallel(Machine.destroy, self.all)
        for server in self.servers:
            server.kill()
            server.wait()
        self.hub.close()

    @property
    def all(self) -> list[Machine]:
        return [machine for machines in self.machines.values() for machine in machines]

    @property
    def controller(self) -> Machine:
        return self.machines["controller"][0]

    @property
    def workers(self) -> list[Machine]:
        return [
            machine for name, machines in self.machines.items() for machine in machines if self.groups[name].partition
        ]

    # Instances

    def start(self, groups: Mapping[Group, int], **machine: Any) -> None:
        """Bring the groups up with so many instances each, as a new cluster."""
        for group, count in groups.items():
            self.groups[group.name] = group
            self.machines[group.name] = [self._new_machine(**machine) for _ in range(count)]
        in_parallel(self._provision, self.all)
        self._agent(self.all)

    def add_group(self, group: Group, count: int) -> list[Machine]:
        """Add a group to the cluster that runs: nodes that are there keep their scripts and parameters."""
        self.groups[group.name] = group
        self.machines[group.name] = [self._new_machine() for _ in range(count)]
        return self._join(self.machines[group.name])

    def replace(self, machine: Machine) -> Machine:
        """Take an instance away and put another, with another address, in its place."""
        [(group, place)] = [
            (group, machines.index(machine)) for group, machines in self.machines.items() if machine in machines
        ]
        machine.destroy()
        self.machines[group][place] = self._new_machine()
        return self._join([self.machines[group][place]])[0]

    def _join(self, machines: list[Machine]) -> list[Machine]:
        in_parallel(self._provision, machines)
        self._write_resource_config(self.all)
        self.write_slurm_conf(reconfigure=True)
        self._agent(machines)
        return machines

    def _new_machine(self, **machine: Any) -> Machine:
        address = f"10.78.0.{self._next_address}"
        self._next_address += 1
        lowers = [self._ami, self.tree.root]
        backends = self.directory / "backends"
        directory = self.directory / "nodes" / address
        return Machine(self.hub, address, directory, lowers, backends, hosts=self._names(), **machine)

    def _names(self) -> str:
        # Stands for the VPC's name server.
        return "".join(f"10.78.0.{number} ip-10-78-0-{number}\n" for number in range(10, 60)) + self.hosts

    def _provision(self, machine: Machine) -> None:
        machine.make()
        self._write_resource_config([machine])
        parameters = {
            "version": "1.0.0",
            "workload_manager": "slurm",
            "controller_group": "controller",
            "login_group": "login",
            "worker_groups": [
                {"instance_group_name": group.name, "partition_name": group.partition}
                for group in self.groups.values()
                if group.partition
            ],
        }
        machine.write("/opt/ml/config/provisioning_parameters.json", json.dumps(parameters))
        self.install_bundle(machine)
        machine.boot()

    def install_bundle(self, machine: Machine, **changes: Any) -> None:
        """Give the node the scripts and `cluster.json` of today, as they come from S3: without modes."""
        bundle = machine.root / BUNDLE.lstrip("/")
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(SCRIPTS, bundle, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
        (bundle / "cluster.json").write_text(json.dumps(self.cluster_json() | changes))

    def cluster_json(self) -> dict[str, Any]:
        """What the deployment writes."""
        return {
            "schema_version": 1,
            "cluster_name": CLUSTER_NAME,
            "region": REGION,
            "slurm_configuration": self.form,
            "instance_groups": [
                {"name": group.name, "node_type": group.node_type, "instance_type": "ml.m5.xlarge"}
                | {"ebs_volume": True, "nvme": False}
                | ({"partition": group.partition} if group.partition else {})
                for group in self.groups.values()
            ],
            "mounts": self.mounts,
        } | self.cluster

    def _write_resource_config(self, machines: Iterable[Machine]) -> None:
        groups = [
            {
                "Name": name,
                "InstanceType": "ml.m5.xlarge",
                "Instances": [
                    {
                        "InstanceName": f"{name}-{number}",
                        "AgentIpAddress": f"192.0.2.{machine.address.rpartition('.')[2]}",
                        "CustomerIpAddress": machine.address,
                        "InstanceId": f"i-{int(machine.address.rpartition('.')[2]):017x}",
                    }
                    for number, machine in enumerate(machines_of_group, 1)
                ],
            }
            for name, machines_of_group in self.machines.items()
        ]
        content = {
            "ClusterConfig": {
                "ClusterName": CLUSTER_NAME,
                "ClusterArn": f"arn:aws:sagemaker:{REGION}:111122223333:cluster/abcd1234wxyz",
            },
            # A group that has no instance yet.
            "InstanceGroups": [*groups, {"Name": "to-come", "InstanceType": "ml.m5.xlarge", "Instances": None}],
        }
        for machine in machines:
            machine.write("/opt/ml/config/resource_config.json", json.dumps(content))

    # The agent

    def write_slurm_conf(self, *, reconfigure: bool = False) -> None:
        """Write slurm.conf from nothing, as the agent does: whatever somebody else put there is gone."""
        nodes = [machine for name, machines in self.machines.items() if name != "controller" for machine in machines]
        text = SLURM_CONF.format(cluster=CLUSTER_NAME, controller=self.controller.name, address=self.controller.address)
        for machine in nodes:
            text += (
                f"NodeName={machine.name} NodeHostname={machine.name} NodeAddr={machine.address} CPUs=4 State=CLOUD\n"
            )
        text += "PartitionName=dev Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=EXCLUSIVE\n"
        if self.form == "api":
            for name, group in self.groups.items():
                if group.partition:
                    members = ",".join(machine.name for machine in self.machines[name])
                    text += f"PartitionName={group.partition} Nodes={members} MaxTime=INFINITE State=UP\n"
        self.controller.write("/opt/slurm/etc/slurm.conf", text, owner=self._slurm)
        if reconfigure:
            self.controller.run("scontrol", "reconfigure")

    def _agent(self, machines: Sequence[Machine]) -> None:
        """Do what HyperPod does on new nodes before, or beside, our scripts."""
        if self.controller in machines:
            self.write_slurm_conf()
        if self.form == "api":
            for machine in machines:
                machine.shell(
                    "mkdir -p /fsx && mount --bind /backend/lustre /fsx && mount --bind /backend/openzfs /home"
                )
                if machine is not self.controller:
                    machine.write(
                        "/etc/systemd/system/slurmd.service.d/agent.conf",
                        f'[Service]\nEnvironment="SLURMD_OPTIONS=--conf-server {self.controller.address}:6817"\n',
                    )

    def start_slurm(self) -> None:
        """In form `api`: start accounting and Slurm everywhere, which the agent may do after our scripts."""
        self.controller.run("systemctl", "enable", "--now", "slurmctld")
        for machine in self.all:
            if machine is not self.controller:
                machine.shell("systemctl daemon-reload && systemctl enable --now slurmd")

    # The scripts

    def run_lifecycle(
        self, machine: Machine, *, check: bool = True, arguments: Sequence[str] = (), **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run the entry script of the cluster's form, as the platform does."""
        script = f"{BUNDLE}/{ENTRIES[self.form]}"
        return machine.run(
            *("bash", script, *arguments),
            check=check,
            timeout_seconds=200,
            environment={"CDK_SLURM_FAILURE_WAIT_SECONDS": "0"} | environment,
        )

    def run_everywhere(self) -> None:
        in_parallel(self.run_lifecycle, self.all)

    def report(self, machine: Machine, name: str = "report") -> dict[str, Any]:
        content: dict[str, Any] = json.loads(machine.read(f"/var/log/provision/{name}.json"))
        return content

    # The AMI

    @property
    def _slurm(self) -> tuple[int, int]:
        return self._ids("slurm")

    def _ids(self, user: str) -> tuple[int, int]:
        for line in (self.tree.root / "etc/passwd").read_text().splitlines():
            name, _, uid, gid, *_ = line.split(":")
            if name == user:
                return int(uid), int(gid)
        raise LookupError(user)

    def _make_ami(self) -> Path:
        """What HyperPod's AMI has and Debian has not: Slurm in /opt/slurm, a user, stand-ins, the cluster's key."""
        layer = self.directory / "ami"
        with overlay(layer, [self.tree.root]) as root:

            def put(source: str, target: str, mode: int = 0o644) -> None:
                path = root / target
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                shutil.copyfile(AMI / source, path)
                path.chmod(mode)

            for unit in ("slurmctld", "slurmd", "slurmdbd", "docker"):
                put(f"{unit}.service", f"etc/systemd/system/{unit}.service")
                (root / f"etc/systemd/system/multi-user.target.wants/{unit}.service").unlink(missing_ok=True)
            put("dockerd-stand-in", "usr/local/sbin/dockerd-stand-in", 0o755)
            put("mount.lustre", "usr/sbin/mount.lustre", 0o755)
            put("mount.nfs", "usr/sbin/mount.nfs", 0o755)
            put("slurm.sh", "etc/profile.d/slurm.sh")
            put("cgroup.conf", "opt/slurm/etc/cgroup.conf")
            (root / "opt/slurm/etc/accounting.conf").touch()
            for kind in ("bin", "sbin"):
                (root / "opt/slurm" / kind).mkdir()
                for program in _SLURM:
                    # Debian's alternatives: links that lead nowhere from here.
                    if os.path.lexists(root / "usr" / kind / program):
                        (root / "opt/slurm" / kind / program).symlink_to(f"/usr/{kind}/{program}")
            shutil.rmtree(root / "etc/slurm", ignore_errors=True)
            (root / "etc/slurm").symlink_to("/opt/slurm/etc")
            for directory in ("var/spool/slurmctld", "var/log/slurm"):
                (root / directory).mkdir(parents=True, exist_ok=True)
                os.chown(root / directory, *self._slurm)
            key = root / "etc/munge/munge.key"
            key.unlink(missing_ok=True)
            key.write_bytes(self._munge_key)
            key.chmod(0o400)
            os.chown(key, *self._ids("munge"))
            run(
                "chroot",
                str(root),
                "useradd",
                "--create-home",
                "--uid",
                "1000",
                "--shell",
                "/bin/bash",
                "--groups",
                "sudo",
                "ubuntu",
            )
        return layer / "upper"


_SLURM = {
    *("sinfo", "srun", "sbatch", "salloc", "squeue", "scancel", "sacct", "sacctmgr", "scontrol", "sdiag", "sstat"),
    *("slurmctld", "slurmd", "slurmdbd", "slurmstepd"),
}


def in_parallel(do: Callable[[Machine], object], machines: Sequence[Machine]) -> None:
    """Do the same for many machines; the first error is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(machines))) as executor:
        for future in [executor.submit(do, machine) for machine in machines]:
            future.result()
