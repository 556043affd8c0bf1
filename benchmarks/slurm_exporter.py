"""Measures a scrape of the Slurm exporter: prints JSON. benchmarks/run.py runs it.

On a node as tests boot them (root, Debian) a real slurmctld has 1,000 nodes and 10,000 jobs. Since none of the nodes is
real, all of the jobs wait; so the same is measured with stand-ins for Slurm's commands, which say that 10,000 jobs run
and that some of them start and end between two scrapes.
"""

import json
import shutil
import time

from cdk_slurm.parts import fetch, locked_parts
from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import SCRIPTS, Group, Platform
from tests.node.cluster.tree import prepared_trees
from tests.node.cluster.workplace import Workplace, why_impossible

NODES, JOBS, CHANGES = 1_000, 10_000, 300
SCRAPES = 7
LIBRARY = "/usr/local/lib/cdk-slurm"
STAND_INS = "/opt/stand-ins"

SLURM_CONF = f"""\
ClusterName=benchmark
SlurmctldHost={{controller}}
SlurmUser=slurm
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
GresTypes=gpu
MaxJobCount={2 * JOBS}
StateSaveLocation=/var/spool/slurmctld
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=ip-10-1-[0-{NODES // 250 - 1}]-[0-249] CPUs=192 Gres=gpu:h100:8
PartitionName=dev Nodes=ALL Default=YES
PartitionName=p5 Nodes=ip-10-1-0-[0-249]
"""

#: Runs on the node: argument 1 is the exporter's process.
MEASURE = f"""
import json, os, resource, subprocess, sys, time, urllib.request
from exporters.slurm import jobs

def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

def exporter():
    fields = open(f"/proc/{{sys.argv[1]}}/stat").read().rpartition(")")[2].split()
    ticks = [int(fields[place]) for place in (11, 12, 13, 14)]
    return sum(ticks[:2]) / os.sysconf("SC_CLK_TCK"), sum(ticks[2:]) / os.sysconf("SC_CLK_TCK")

squeue, scrapes, lines = [], [], 0
for _ in range({SCRAPES}):
    start = time.perf_counter()
    said = subprocess.run(jobs.COMMAND, env=os.environ | jobs.ENVIRONMENT, capture_output=True, check=True).stdout
    squeue.append(time.perf_counter() - start)
    lines = said.count(b"\\n")
squeue_cpu = children()
before = exporter()
for _ in range({SCRAPES}):
    start = time.perf_counter()
    size = len(urllib.request.urlopen("http://127.0.0.1:9341/metrics").read())
    scrapes.append(time.perf_counter() - start)
after = exporter()
peak = [line for line in open(f"/proc/{{sys.argv[1]}}/status") if line.startswith("VmHWM")][0].split()[1]
print(json.dumps({{
    "jobs": lines, "bytes": size,
    "squeue_seconds": sorted(squeue)[{SCRAPES // 2}], "scrape_seconds": sorted(scrapes)[{SCRAPES // 2}],
    "squeue_cpu_seconds": squeue_cpu / {SCRAPES},
    "own_cpu_seconds": (after[0] - before[0]) / {SCRAPES},
    "commands_cpu_seconds": (after[1] - before[1]) / {SCRAPES},
    "peak_mib": int(peak) / 1024,
}}))
"""


def main() -> None:
    """Print what was measured, or why it cannot be."""
    if reason := why_impossible():
        print(json.dumps({"impossible": reason}))
        return
    group = Group(name="controller", node_type="controller")
    with Workplace() as workplace:
        platform = Platform(workplace, prepared_trees(), form="api", groups=[group], starts_slurm=False)
        with platform:
            controller = platform.controller
            install(platform, controller)
            start_slurm(controller)
            real = measured(controller, "/opt/slurm/bin")
            write_stand_ins(controller)
            changing = measured(controller, f"{STAND_INS}:/opt/slurm/bin")
    print(json.dumps({"real": real, "changing": changing}))


def install(platform: Platform, controller: Machine) -> None:
    """Put the exporter on the node."""
    library = controller.root / LIBRARY.lstrip("/")
    for package in ("lifecycle", "exporters"):
        shutil.copytree(SCRIPTS / package, library / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(SCRIPTS / "parts.lock.json", library / "parts.lock.json")
    [wheel] = [part for part in locked_parts(library) if part.name == "prometheus-client"]
    fetch(wheel, library)
    (library / "cluster.json").write_text(json.dumps(platform.cluster_json()), "utf-8")


def start_slurm(controller: Machine) -> None:
    """Start slurmctld and give it its jobs."""
    names = "".join(f"10.1.{a}.{b} ip-10-1-{a}-{b}\n" for a in range(NODES // 250) for b in range(250))
    controller.write("/etc/hosts", controller.read("/etc/hosts") + names)
    controller.write("/opt/slurm/etc/gres.conf", "Name=gpu Type=h100 Count=8\n")
    controller.write("/opt/slurm/etc/slurm.conf", SLURM_CONF.format(controller=controller.name))
    controller.run("systemctl", "start", "slurmctld")
    eventually(lambda: controller.run("scontrol", "ping").stdout)
    submit = "sbatch --output=/dev/null --hold --partition=p5 --wrap=true"
    controller.shell(f"seq {JOBS} | xargs -P 4 -I@ {submit} >/dev/null", timeout_seconds=300)


def measured(controller: Machine, path: str) -> dict[str, float]:
    """Return what scrapes cost with the commands that are at the path."""
    python_path = f"{LIBRARY}:{LIBRARY}/parts/prometheus_client-0.26.0-py3-none-any.whl"
    environment = {"PYTHONPATH": python_path, "PATH": f"{path}:/usr/bin:/bin"}
    controller.run(
        *("systemd-run", "--quiet", "--unit=exporter", "--property=StateDirectory=cdk-slurm-exporter"),
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        *("/usr/bin/python3", "-B", "-m", "exporters.slurm", "--min-interval-seconds=0"),
    )
    process = controller.run("systemctl", "show", "--property=MainPID", "--value", "exporter").stdout.strip()
    fetch_once = "import urllib.request as u; u.urlopen('http://127.0.0.1:9341/metrics').read()"
    eventually(lambda: controller.run("python3", "-c", fetch_once).returncode == 0)
    found = controller.run("python3", "-B", "-c", MEASURE, process, environment=environment).stdout
    controller.run("systemctl", "stop", "exporter")
    figures: dict[str, float] = json.loads(found)
    return figures


def write_stand_ins(controller: Machine) -> None:
    """Write a squeue that says one thing and the other in turn, and a scontrol that says what it now says."""
    now = int(time.time())
    for turn in (0, 1):
        lines = []
        for job in range(JOBS):
            submit, start = now - 600 - job, now - 300
            changes = job < CHANGES
            state = "COMPLETED" if changes and turn else "RUNNING"
            end = str(now) if changes and turn else "NONE"
            # Put back into the queue over and over, so that each turn has starts and ends.
            start = now + turn if changes else start
            user, partition = f"user{job % 50}", ("p5", "dev")[job % 2]
            lines.append(f"{job}|{state}|{user}|{partition}|{submit}|{submit}|{start}|{end}|i|None\n")
        controller.write(f"{STAND_INS}/{turn}", "".join(lines))
    controller.shell(f"scontrol --all --details --oneliner show nodes >{STAND_INS}/nodes")
    controller.write(f"{STAND_INS}/turn", "0")
    turns = "turn=$(cat turn); echo $((1 - turn)) >turn; exec cat $turn"
    controller.write(f"{STAND_INS}/squeue", f"#!/bin/sh\ncd {STAND_INS}; {turns}\n", mode=0o755)
    controller.write(f"{STAND_INS}/scontrol", f"#!/bin/sh\nexec cat {STAND_INS}/nodes\n", mode=0o755)


if __name__ == "__main__":
    main()
