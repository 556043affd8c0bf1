"""Our exporters on real nodes with a real Slurm; how they are installed is tested with the steps."""

import json
import shutil
import time

import pytest

from cdk_slurm.parts import fetch, locked_parts
from tests.exporters.exposition import Read, samples_in
from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import SCRIPTS, Group, Platform, in_parallel
from tests.node.test_nodes_legacy import SCHEDULER

GROUPS = (
    Group(name="controller", node_type="controller"),
    Group(name="login", node_type="login"),
    Group(name="worker", node_type="compute", count=3, partition="cpu"),
    Group(name="gpu-worker", node_type="compute", count=2, partition="gpu", gpu=True),
    Group(name="to-come", node_type="compute", count=0, partition="to-come"),
)
LIBRARY = "/usr/local/lib/cdk-slurm"
PORTS = {"slurm": 9341, "fabric": 9109}


@pytest.fixture(scope="module")
def platform(workplace, trees, tmp_path_factory):
    """A cluster on which Slurm and the exporters run, and nobody has had a job."""
    bundle = tmp_path_factory.mktemp("bundle")
    shutil.copyfile(SCRIPTS / "parts.lock.json", bundle / "parts.lock.json")
    [wheel] = [part for part in locked_parts(bundle) if part.name == "prometheus-client"]
    fetch(wheel, bundle)
    with Platform(workplace, trees, form="api", groups=GROUPS, slurm_conf=SCHEDULER, starts_slurm=False) as platform:
        add_gpus(platform)
        in_parallel(lambda machine: machine.run("useradd", "--create-home", "alice"), platform.all)
        platform.start_slurm()
        in_parallel(lambda machine: install(platform, machine, bundle / "parts" / wheel.file), platform.all)
        eventually(lambda: platform.controller.shell("sinfo -hN --states=idle -p dev").count("\n") == 6)
        in_parallel(lambda machine: start(machine, "fabric"), platform.all)
        start(platform.controller, "slurm")
        eventually(lambda: slurm(platform)("slurm_up") == 1)
        yield platform


def add_gpus(platform: Platform) -> None:
    """Give the nodes of one group eight of something that Slurm takes for GPUs."""
    names = [machine.name for machine in platform.machines["gpu-worker"]]
    configuration = platform.controller.read("/opt/slurm/etc/slurm.conf") + "GresTypes=gpu\n"
    for name in names:
        configuration = configuration.replace(f"NodeName={name} ", f"NodeName={name} Gres=gpu:a10g:8 ")
        configuration = configuration.replace("CPUs=4", "CPUs=8")
    platform.controller.write("/opt/slurm/etc/slurm.conf", configuration)
    gres = f"NodeName={','.join(names)} Name=gpu Type=a10g File=/dev/fakegpu[0-7]\n"
    platform.controller.write("/opt/slurm/etc/gres.conf", gres)
    for machine in platform.machines["gpu-worker"]:
        machine.shell("for i in 0 1 2 3 4 5 6 7; do mknod /dev/fakegpu$i c 1 3; done")


def install(platform: Platform, machine: Machine, wheel) -> None:
    library = machine.root / LIBRARY.lstrip("/")
    library.mkdir(parents=True)
    for package in ("lifecycle", "exporters"):
        shutil.copytree(SCRIPTS / package, library / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(wheel, library / wheel.name)
    (library / "cluster.json").write_text(json.dumps(platform.cluster_json()), "utf-8")
    [group] = [group for group in platform.groups if machine in platform.machines[group.name]]
    node = {"node_type": group.node_type, "ip": machine.address, "controller_ips": [platform.controller.address]}
    machine.write("/var/log/provision/node.json", json.dumps(node))


def start(machine: Machine, exporter: str) -> None:
    options = ["--min-interval-seconds=0"] if exporter == "slurm" else []
    machine.run(
        *("systemd-run", "--quiet", f"--unit={exporter}-exporter", "--property=StateDirectory=cdk-slurm-exporter"),
        f"--setenv=PYTHONPATH={LIBRARY}:{LIBRARY}/prometheus_client-0.26.0-py3-none-any.whl",
        *("--setenv=PATH=/opt/slurm/bin:/usr/bin:/bin", "--property=CapabilityBoundingSet="),
        *("/usr/bin/python3", "-B", "-m", f"exporters.{exporter}", *options),
    )


def read(machine: Machine, exporter: str) -> Read:
    script = (
        f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{PORTS[exporter]}/metrics').read().decode())"
    )
    return samples_in(machine.run("python3", "-c", script).stdout)


def slurm(platform: Platform) -> Read:
    return read(platform.controller, "slurm")


def submit(platform: Platform, *options: str, does: str) -> str:
    command = ["sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={does}"]
    return platform.login.run(*command, user="alice").stdout.strip()


def state(platform: Platform, job: str) -> set[str]:
    return set(platform.login.shell(f"squeue --noheader --states=all --jobs={job} --format=%T").split())


def finished(read: Read) -> dict:
    return read.all("slurm_jobs_finished_total", "partition", "state", user="alice")


@pytest.fixture(scope="module")
def busy(platform):
    """Jobs that run, wait for each reason, and have ended in each way; a node down, one drained."""
    worker, gpu_worker = platform.machines["worker"], platform.machines["gpu-worker"]
    first = slurm(platform)
    assert first("slurm_nodes_usable") == 5
    assert not first.all("slurm_queue_jobs", "partition")
    on_first, on_gpu = f"--nodelist={worker[0].name}", f"--nodelist={gpu_worker[0].name}"
    jobs = {
        "runs": submit(platform, "--partition=cpu", "--ntasks=2", on_first, does="sleep 600"),
        "has GPUs": submit(platform, "--partition=gpu", "--gres=gpu:3", on_gpu, does="sleep 600"),
        "ended": submit(platform, "--partition=cpu", on_first, does="true"),
        "failed": submit(platform, "--partition=cpu", on_first, does="exit 3"),
        "to cancel": submit(platform, "--partition=gpu", on_gpu, does="sleep 600"),
        "array": submit(platform, "--partition=gpu", "--array=1-3", on_gpu, does="sleep 1"),
    }
    jobs |= {
        "needs all": submit(platform, "--partition=cpu", "--nodes=3", "--exclusive", does="true"),
        "held": submit(platform, "--partition=cpu", "--hold", does="true"),
        "later": submit(platform, "--partition=cpu", "--begin=now+1hour", does="true"),
        "depends": submit(platform, "--partition=cpu", f"--dependency=afterok:{jobs['runs']}", does="true"),
        "never": submit(platform, "--partition=gpu", "--hold", does="true"),
    }
    eventually(lambda: state(platform, ",".join(jobs[one] for one in ("runs", "has GPUs", "to cancel"))) == {"RUNNING"})
    platform.controller.run("scancel", jobs["to cancel"], jobs["never"])
    platform.controller.shell(f"scontrol update nodename={worker[1].name} state=drain reason='disk is full'")
    worker[2].run("systemctl", "stop", "slurmd")
    platform.controller.shell(f"scontrol update nodename={worker[2].name} state=down reason='no power'")
    over = ",".join(jobs[one] for one in ("ended", "failed", "to cancel", "array"))
    eventually(lambda: state(platform, over) == {"COMPLETED", "FAILED", "CANCELLED"})
    return jobs


def test_jobs_that_run_and_wait(platform, busy):
    told = eventually(lambda: slurm(platform))
    assert told.all("slurm_queue_running", "user", "partition") == {("alice", "cpu"): 1, ("alice", "gpu"): 1}
    assert told.all("slurm_queue_pending", "partition", "reason", user="alice") == {
        ("cpu", "Resources"): 1,
        ("cpu", "JobHeldUser"): 1,
        ("cpu", "BeginTime"): 1,
        ("cpu", "Dependency"): 1,
    }
    assert told.all("slurm_queue_jobs", "partition", "state") == {
        ("cpu", "pending"): 4,
        ("cpu", "running"): 1,
        ("gpu", "running"): 1,
    }
    oldest = told.all("slurm_oldest_pending_job_seconds", "partition")
    assert oldest.keys() == {"cpu"}
    assert 1 <= oldest["cpu"] < 60
    assert told("slurm_oldest_pending_job_seconds", partition="to-come") == 0


def test_jobs_that_have_ended(platform, busy):
    told = slurm(platform)
    assert finished(told) == {
        ("cpu", "completed"): 1,
        ("cpu", "failed"): 1,
        ("gpu", "cancelled"): 2,
        ("gpu", "completed"): 3,
    }
    # Three in cpu have started, and five in gpu, of which three and one have ended: the other had never started.
    assert told.all("slurm_job_wait_seconds_count", "partition") == {"cpu": 3, "gpu": 5}
    assert told.all("slurm_job_run_seconds_count", "partition") == {"cpu": 2, "gpu": 4}
    assert told("slurm_job_wait_seconds_bucket", partition="cpu", le="30.0") == 3
    assert 3 <= told("slurm_job_run_seconds_sum", partition="gpu") < 60


def test_nodes_gpus_and_cpus(platform, busy):
    told = slurm(platform)
    worker, gpu_worker, login = (platform.machines[name] for name in ("worker", "gpu-worker", "login"))
    assert told.all("slurm_node_state", "node", "instance_group", "state", "reason").keys() == {
        (login[0].name, "login", "idle", ""),
        (worker[0].name, "worker", "mixed", ""),
        (worker[1].name, "worker", "drained", "disk is full"),
        (worker[2].name, "worker", "down", "no power"),
        (gpu_worker[0].name, "gpu-worker", "mixed", ""),
        (gpu_worker[1].name, "gpu-worker", "idle", ""),
    }
    assert told("slurm_nodes_usable") == 3
    # Each once, though all are in dev too, the login node among them.
    assert told.total("slurm_group_nodes") == 6
    assert told.total("slurm_partition_nodes_in_state", partition="dev") == 6
    assert told("slurm_partition_nodes_in_state", partition="cpu", state="down") == 1
    assert told.all("slurm_group_gpus", "instance_group", "state") == {
        ("gpu-worker", "allocated"): 3,
        ("gpu-worker", "idle"): 13,
    }
    assert told.all("slurm_group_cpus", "instance_group", "state") == {
        ("login", "idle"): 8,
        ("worker", "allocated"): 2,
        ("worker", "idle"): 6,
        ("worker", "unusable"): 16,
        ("gpu-worker", "allocated"): 1,
        ("gpu-worker", "idle"): 15,
    }
    assert told.all("slurm_node_allocated_gpus", "node") == {gpu_worker[0].name: 3}
    assert told("slurm_group_nodes", instance_group="to-come", state="idle") == 0


def test_a_look_costs_little(platform, busy):
    told = slurm(platform)
    assert told("slurm_up") == 1
    for source in ("jobs", "nodes"):
        assert 0 < told("slurm_exporter_look_seconds", source=source) < 2
        assert told("slurm_exporter_failures_total", source=source) == 0


def test_after_a_restart_nothing_is_counted_again_and_nothing_is_forgotten(platform, busy):
    platform.controller.run("systemctl", "stop", "slurm-exporter")
    while_away = submit(platform, "--partition=gpu", does="true")
    eventually(lambda: state(platform, while_away) == {"COMPLETED"})
    start(platform.controller, "slurm")
    told = eventually(lambda: slurm(platform))
    assert finished(told) == {("gpu", "completed"): 1}
    assert told.all("slurm_job_wait_seconds_count", "partition") == {"gpu": 1}
    assert told.all("slurm_job_run_seconds_count", "partition") == {"gpu": 1}
    platform.controller.run("scancel", busy["has GPUs"])
    eventually(lambda: finished(slurm(platform)) == {("gpu", "completed"): 1, ("gpu", "cancelled"): 1})
    told = slurm(platform)
    assert told("slurm_job_wait_seconds_count", partition="gpu") == 1
    assert told("slurm_job_run_seconds_count", partition="gpu") == 2
    assert told("slurm_group_gpus", instance_group="gpu-worker", state="allocated") == 0


def test_a_job_that_is_put_back_has_run_and_waits_again(platform, busy):
    before = slurm(platform)("slurm_job_run_seconds_count", partition="cpu")
    platform.controller.run("scontrol", "requeue", busy["runs"])
    eventually(lambda: state(platform, busy["runs"]) == {"PENDING"})
    told = slurm(platform)
    assert told("slurm_job_run_seconds_count", partition="cpu") == before + 1
    assert ("cpu", "cancelled") not in finished(told)
    assert told("slurm_queue_pending", user="alice", partition="cpu", reason="BeginTime") == 2


def test_a_slurm_that_is_down_is_told(platform, busy):
    before = slurm(platform)
    platform.controller.run("systemctl", "stop", "slurmctld")
    told = slurm(platform)
    assert told("slurm_up") == 0
    assert told.total("slurm_exporter_failures_total") == 2
    assert finished(told) == finished(before)
    platform.controller.run("systemctl", "start", "slurmctld")
    eventually(lambda: slurm(platform)("slurm_up") == 1)
    assert finished(slurm(platform)) == finished(before)
    assert "Traceback" not in platform.controller.shell("journalctl --no-pager --unit=slurm-exporter")


def test_each_node_measures_the_way_to_the_next_two_and_to_the_controller(platform):
    nodes = sorted(machine.name for machine in platform.all if machine is not platform.controller)
    measured = []
    for machine in platform.all:
        told = read(machine, "fabric")
        up = told.all("fabric_peer_up", "peer")
        assert told.all("fabric_collector_success", "collector") == {"efa": 1, "peers": 1, "lustre": 1}
        assert len(up) == (2 if machine is platform.controller else 3)
        assert machine is platform.controller or platform.controller.name in up
        round_trips = told.all("fabric_peer_round_trip_seconds", "peer")
        assert round_trips.keys() == up.keys()
        assert all(0 < seconds < 1 for seconds in round_trips.values())
        measured += [peer for peer in up if machine is not platform.controller and peer in nodes]
    assert sorted(measured) == sorted(2 * nodes)


def test_a_node_that_is_gone_is_told_by_those_that_measure_it(platform):
    nodes = sorted(
        (machine for machine in platform.all if machine is not platform.controller), key=lambda one: one.name
    )
    before, gone = nodes[-2], nodes[-1]
    gone.run("ip", "link", "set", "eth0", "down")
    time.sleep(5)
    start = time.monotonic()
    told = read(before, "fabric")
    assert time.monotonic() - start < 4
    assert told("fabric_peer_up", peer=gone.name) == 0
    assert gone.name not in told.all("fabric_peer_round_trip_seconds", "peer")
    assert told("fabric_peer_up", peer=platform.controller.name) == 1
    assert told("fabric_collector_success", collector="peers") == 1
