"""A cluster that is observed, whole: real nodes with a real Slurm and jobs, their exporters and their collectors.

For the tests, and for the pictures of the documentation, which show what it has lived through:

    python -m tests.node.observed --minutes 70 --out docs/dashboards

What this machine has no hardware for is recorded: a container tells of eight GPUs, and files show EFA adapters and a
Lustre mount to the genuine exporter. Slurm's own metrics are those of a newer Slurm.
"""

import argparse
import functools
import itertools
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cdk_slurm.alerts import rule_groups_yaml
from cdk_slurm.spec import AlertThresholds
from tests.exporters.recorded_metrics import dcgm_exposition
from tests.exporters.trees import EFA_COUNTERS, write_efa, write_lustre
from tests.node.cluster.machine import Machine
from tests.node.cluster.platform import CLUSTER_NAME, EBS, SCRIPTS, Group, Platform, in_parallel
from tests.node.cluster.services import PROMETHEUS
from tests.node.cluster.tree import Trees, prepared_trees
from tests.node.cluster.workplace import Workplace
from tests.node.test_nodes_exporters import add_gpus
from tests.node.test_nodes_legacy import SCHEDULER
from tests.node.test_nodes_metrics import fetched_scripts, trust_and_install

GROUPS = (
    Group(name="controller", node_type="controller", disks=EBS),
    Group(name="login", node_type="login", disks=EBS),
    Group(name="worker", node_type="compute", count=3, partition="cpu", disks=EBS),
    Group(name="gpu-worker", node_type="compute", count=2, partition="g5", gpu=True, disks=EBS),
)
USERS = ("alice", "bob", "carol")
_RECORDED = Path(__file__).parents[1] / "exporters/recorded"
_HARDWARE = "/opt/test-hardware"


@contextmanager
def observed_cluster(workplace: Workplace, trees: Trees, scripts: Path) -> Iterator[Platform]:
    """A cluster of form api, up with Slurm and metrics, whose workspace evaluates the alert rules."""
    with Platform(workplace, trees, form="api", groups=GROUPS, slurm_conf=SCHEDULER, starts_slurm=False) as platform:
        add_gpus(platform)
        for user in USERS:
            in_parallel(functools.partial(_add, user), platform.all)
        gpus = platform.machines["gpu-worker"]
        for machine in gpus:
            _give_hardware(machine)
            tell_gpus(machine, jobs={})
        trust_and_install(platform, scripts)
        platform.start_slurm()
        platform.run_everywhere(platform.aws.environment)
        platform.workspace.evaluate(rule_groups_yaml(AlertThresholds(), cluster_name=CLUSTER_NAME))
        labels = {"cluster": CLUSTER_NAME, "job": "slurmctld", "instance": CLUSTER_NAME}
        platform.workspace.scrape((_RECORDED / "slurm-26.05-scheduler.txt").read_text("utf-8"), **labels)
        labels = {"cluster": CLUSTER_NAME, "job": "node", "instance_group": "gpu-worker", "node_type": "compute"}
        platform.workspace.scrape((_RECORDED / "node-nfs.txt").read_text("utf-8"), **labels, instance=gpus[0].name)
        yield platform


def _add(user: str, machine: Machine) -> None:
    machine.run("useradd", "--create-home", user)


def submit(platform: Platform, *options: str, does: str, user: str = "alice") -> str:
    """Hand in a job and return its number."""
    command = ["sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={does}"]
    return platform.login.run(*command, user=user).stdout.strip()


# Hardware


def _give_hardware(machine: Machine) -> None:
    """Show EFA adapters and Lustre to the exporters, and to nobody else."""
    root = machine.root / _HARDWARE.lstrip("/")
    write_efa(root, devices=[f"rdmap{number}s0" for number in range(4)])
    write_lustre(root)
    # What is mounted is there, but of a kind that needs neither a server nor a disk.
    kinds = {"/fsx": "lustre", "/home": "nfs4", "/opt/sagemaker": "ext4"}
    edits = [f"s,^(\\S+ \\S+ \\S+ \\S+ {path} .*) - tmpfs ,\\1 - {kind} ," for path, kind in kinds.items()]
    mounts = machine.run("sed", "-E", ";".join(edits), "/proc/1/mountinfo").stdout
    machine.write(f"{_HARDWARE}/proc/1/mountinfo", mounts)
    for exporter, paths in {"fabric": ("/sys/class", "/sys/kernel/debug"), "node": ("/proc/1/mountinfo",)}.items():
        lines = ["[Service]", *(f"BindReadOnlyPaths={_HARDWARE}{path}:{path}" for path in paths), ""]
        unit = f"/etc/systemd/system/cdk-slurm-{exporter}-exporter.service.d/hardware.conf"
        machine.write(unit, "\n".join(lines))


def tell_gpus(machine: Machine, *, jobs: dict[int, str], broken: Sequence[int] = ()) -> None:
    """Have the container tell of eight GPUs of which these have these jobs."""

    def told(line: re.Match[str]) -> str:
        name, labels, value = line[1], re.sub(r',hpc_job="\d+"', "", line[2]), float(line[3])
        gpu = int(re.search(r'gpu="(\d)"', labels)[1])  # type: ignore[index]
        if gpu in jobs:
            labels += f',hpc_job="{jobs[gpu]}"'
        if gpu in broken and name in _BROKEN:
            value = _BROKEN[name]
        elif name in _IDLE:
            value = value * random.uniform(0.97, 1.03) if gpu in jobs else _IDLE[name]  # noqa: S311
        return f"{name}{{{labels}}} {value:.3f}"

    text = dcgm_exposition((SCRIPTS / "exporters/dcgm-collectors.csv").read_text("utf-8"))
    text = re.sub(r"^(\w+)\{(.*)\} (\S+)$", told, text, flags=re.MULTILINE)
    machine.write("/etc/test-dcgm-metrics", re.sub(r'Hostname="[^"]+"', f'Hostname="{machine.name}"', text))


#: What a GPU without a job tells, of what depends on its work.
_IDLE = {
    "DCGM_FI_DEV_GPU_TEMP": 31,
    "DCGM_FI_DEV_MEMORY_TEMP": 36,
    "DCGM_FI_DEV_POWER_USAGE": 71,
    "DCGM_FI_DEV_SM_CLOCK": 345,
    "DCGM_FI_DEV_GPU_UTIL": 0,
    "DCGM_FI_DEV_FB_USED": 4,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0,
    "DCGM_FI_PROF_DRAM_ACTIVE": 0,
    "DCGM_FI_PROF_NVLINK_RX_BYTES": 0,
    "DCGM_FI_PROF_NVLINK_TX_BYTES": 0,
    "DCGM_FI_PROF_PCIE_RX_BYTES": 0,
    "DCGM_FI_PROF_PCIE_TX_BYTES": 0,
}
_BROKEN = {"DCGM_FI_DEV_XID_ERRORS": 79, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": 1, "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": 4}


def work(machine: Machine, seconds: float, busy: bool) -> None:
    """Let the adapters and the Lustre mount have done what a training job does in so many seconds."""
    rates = {"bytes": 2.2e9, "pkts": 3e5, "wrs": 2e5} if busy else {"bytes": 2e3, "pkts": 10, "wrs": 5}
    ports = machine.root / _HARDWARE.lstrip("/") / "sys/class/infiniband"
    for device in ports.iterdir():
        for counter in EFA_COUNTERS:
            kind = counter.rpartition("_")[2]
            if kind in rates and not counter.startswith("retrans"):
                file = device / "ports/1/hw_counters" / counter
                more = rates[kind] * seconds * random.uniform(0.9, 1.1)  # noqa: S311
                file.write_text(f"{int(file.read_text('utf-8')) + int(more)}\n", "utf-8")
    [stats] = (machine.root / _HARDWARE.lstrip("/") / "sys/kernel/debug").glob("lustre/llite/*/stats")
    moved = int((6e8 if busy else 1e5) * seconds * random.uniform(0.5, 1.2))  # noqa: S311

    def grown(line: re.Match[str]) -> str:
        fields = line[0].split()
        fields[1], fields[6] = str(int(fields[1]) + 20), str(int(fields[6]) + moved // (1 if "read" in line[0] else 5))
        return " ".join(fields)

    text = re.sub(r"^(?:read|write)_bytes .*$", grown, stats.read_text("utf-8"), flags=re.MULTILINE)
    stats.write_text(text, "utf-8")


# Pictures


def _live(platform: Platform, minutes: float) -> None:
    """Hand in jobs of all kinds, as people do, and let things happen."""
    chance = random.Random(7)  # noqa: S311
    [first, *_] = gpus = platform.machines["gpu-worker"]
    began = time.monotonic()
    for turn in itertools.count():
        passed = time.monotonic() - began
        if passed > minutes * 60:
            return
        if turn % 3 == 0:
            _hand_in(platform, chance)
        running = platform.login.shell("squeue --noheader --partition=g5 --states=R --format='%A %N'").split()
        jobs = dict(zip(running[1::2], running[::2], strict=True))
        for machine in gpus:
            job = jobs.get(machine.name)
            broken = [5] if machine is first and passed > minutes * 36 else []
            tell_gpus(machine, jobs=dict.fromkeys(range(8), job) if job else {}, broken=broken)
            work(machine, 10, busy=job is not None)
        if 0 <= passed - minutes * 42 < 10:
            worker = platform.machines["worker"][2]
            platform.controller.shell(f"scontrol update nodename={worker.name} state=drain reason='disk is full'")
        time.sleep(max(0.0, began + (turn + 1) * 10 - time.monotonic()))


def _hand_in(platform: Platform, chance: random.Random) -> None:
    user, does = chance.choice(USERS), f"sleep {int(chance.lognormvariate(4.2, 1.0))}"
    if chance.random() < 0.12:
        does += "; exit 3"
    waiting = int(platform.login.shell("squeue --noheader --states=PD | wc -l"))
    if waiting > 8:
        return
    if chance.random() < 0.3:
        submit(platform, "--partition=g5", "--exclusive", "--gres=gpu:8", does=f"{does}; sleep 60", user=user)
    else:
        nodes = f"--nodes={chance.choice((1, 1, 1, 2))}"
        submit(platform, "--partition=cpu", nodes, f"--cpus-per-task={chance.choice((1, 2, 4))}", does=does, user=user)


def main() -> None:
    """Let a cluster live, and draw its dashboards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--out", type=Path, default=Path("docs/dashboards"))
    options = parser.parse_args()
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(install, cwd="docs/dashboards", check=True)
    with Workplace() as workplace, tempfile.TemporaryDirectory() as directory:
        trees = prepared_trees()
        with observed_cluster(workplace, trees, fetched_scripts(Path(directory) / "scripts")) as platform:
            _live(platform, options.minutes)
            gpu = platform.machines["gpu-worker"][0]
            shown = [f"--end={int(time.time()) - 45}", f"--hours={(options.minutes - 3) / 60}"]
            shown += [f"--set=cdk-slurm-node:node={gpu.name}", f"--out={options.out}"]
            # A program that is started in the hub stays there.
            with platform.network.entered():
                subprocess.run([sys.executable, "docs/dashboards/draw.py", PROMETHEUS, *shown], check=True)


if __name__ == "__main__":
    main()
