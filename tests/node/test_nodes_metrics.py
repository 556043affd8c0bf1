"""Metrics from real nodes: their exporters, their collectors, and a Prometheus in the place of Amazon's.

The programs are those that the lock names. The front of the workspace takes only what is signed as the nodes' role, of
which their metadata tells; it is down for five minutes, while tests go on that need it not.
"""

import base64
import itertools
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cdk_slurm.parts import PartError, fetch, locked_parts
from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import EBS, SCRIPTS, Group, Platform, in_parallel
from tests.node.cluster.services import METRICS_WORKSPACE
from tests.node.test_nodes_legacy import SCHEDULER, changes, report
from tests.prometheus_programs import from_mirror

OUTAGE_SECONDS = 300
SCRAPE_SECONDS = 15

GROUPS = (
    Group(name="controller", node_type="controller", disks=EBS),
    Group(name="login", node_type="login", disks=EBS),
    Group(name="worker", node_type="compute", partition="cpu", disks=EBS),
    Group(name="gpu-worker", node_type="compute", partition="g5", gpu=True, disks=EBS),
)
PARTS = ("prometheus", "node-exporter", "prometheus-client")
REGISTRY = "111122223333.dkr.ecr.us-west-2.amazonaws.com"
IMAGE = f"{REGISTRY}/nvidia/dcgm-exporter@sha256:{'a' * 64}"
#: What the local AWS gives as the password of its registry.
PASSWORD = "ministack-auth-token"
JOBS = "/run/slurm/dcgm-job-mapping"


def fetched_scripts(directory: Path) -> Path:
    """Return a copy of the scripts with the very parts that the lock names."""
    shutil.copytree(SCRIPTS, directory, ignore=shutil.ignore_patterns("__pycache__", "parts"))
    for part in locked_parts(directory):
        if part.name in PARTS and part.architecture != "arm64":
            try:
                fetch(from_mirror(part), directory)
            except PartError:
                fetch(part, directory)
    return directory


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    return fetched_scripts(tmp_path_factory.mktemp("bundle") / "scripts")


@pytest.fixture(scope="module")
def platform(workplace, trees, scripts):
    """A cluster of form api on which the entry scripts have ended, and Slurm is not there yet."""
    with Platform(workplace, trees, form="api", groups=GROUPS, slurm_conf=SCHEDULER, starts_slurm=False) as platform:
        [gpu] = platform.machines["gpu-worker"]
        gpu.write("/opt/slurm/etc/prolog.d/700_dcgm_job_map_register.sh", "#!/bin/bash\n", mode=0o755)
        trust_and_install(platform, scripts, dcgm_image=IMAGE)
        platform.run_everywhere(platform.aws.environment)
        yield platform


def trust_and_install(platform: Platform, scripts: Path, **metrics: Any) -> None:
    for machine in platform.all:
        # As if it were one of Amazon's.
        with (machine.root / "etc/ssl/certs/ca-certificates.crt").open("a") as authorities:
            authorities.write(platform.workspace.ca_certificate)
    install(platform, platform.all, scripts, **metrics)


def install(platform: Platform, machines: list[Machine], scripts: Path, **metrics: Any) -> None:
    content = platform.cluster_json(metrics={"remote_write_url": platform.workspace.url} | metrics)
    in_parallel(lambda machine: platform.install_bundle(machine, content, source=scripts), machines)


def states(machine: Machine) -> dict[str, str]:
    return {step["name"]: step["state"] for step in report(machine)["steps"]}


def run_steps(platform: Platform, machine: Machine, *steps: str) -> list[dict[str, Any]]:
    """Run these steps only, with little patience, and return what the report says of them."""
    chosen = [word for step in steps for word in ("--only", step)]
    patience = "--patience-seconds=3"
    platform.run_lifecycle(machine, *chosen, patience, check=False, environment=platform.aws.environment)
    return [step for step in report(machine)["steps"] if step["name"] in steps]


def process(machine: Machine, name: str) -> str:
    command = ("systemctl", "show", "--property=MainPID", "--value", f"cdk-slurm-{name}")
    return machine.run(*command).stdout.strip()


def asked(machine: Machine, port: int) -> str:
    """What an exporter says to who asks it on its node."""
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    return machine.run("python3", "-c", script).stdout


def jobs_of(group: Group) -> dict[str, int]:
    """The exporters on the nodes of a group, with their ports."""
    more = {"slurm": 9341} if group.node_type == "controller" else {"dcgm": 9400} if group.gpu else {}
    return {"node": 9100, "fabric": 9109} | more


def labels(platform: Platform) -> list[dict[str, str]]:
    """The labels of all series: those of each job on each node, and those of the cluster as a whole."""
    found = [{"cluster": "ml-cluster", "job": "slurm", "instance": "ml-cluster"}]
    for group in platform.groups:
        for machine in platform.machines[group.name]:
            own = {"instance": machine.name, "instance_group": group.name, "node_type": group.node_type}
            found += [{"cluster": "ml-cluster", "job": job} | own for job in jobs_of(group) if job != "slurm"]
    return sorted(found, key=str)


def arrived(platform: Platform, expression: str) -> list[dict[str, str]]:
    """The labels of what an expression finds in the workspace, without the metric's name."""
    found = [dict(one["metric"]) for one in platform.workspace.query(expression)]
    for one in found:
        one.pop("__name__", None)
    return sorted(found, key=lambda one: str(dict(sorted(one.items()))))


STEPS = ("library", "node-exporter", "dcgm-exporter", "fabric-exporter", "slurm-exporter", "collector")


def test_all_of_them_arrive_and_say_whose_they_are(platform):
    expected = sorted(labels(platform), key=lambda one: str(dict(sorted(one.items()))))

    def all_are_there() -> bool:
        assert arrived(platform, "up == 1") == expected
        return True

    eventually(all_are_there, timeout_seconds=2 * SCRAPE_SECONDS)
    by = "cluster, job, instance, instance_group, node_type"
    assert arrived(platform, f'count by ({by}) ({{__name__!=""}})') == expected
    assert platform.workspace.refused() == [], "every request was signed, and for this address"
    for metric in ("node_load1", "node_filesystem_avail_bytes", "fabric_collector_success"):
        found = {one["instance"] for one in arrived(platform, metric)}
        assert found == {machine.name for machine in platform.all}
    [gpu] = platform.machines["gpu-worker"]
    assert {one["Hostname"] for one in arrived(platform, "DCGM_FI_DEV_GPU_TEMP")} == {gpu.name}


def test_nothing_is_paid_for_that_nobody_looks_at(platform):
    assert arrived(platform, '{__name__=~"(go|process|promhttp|python|prometheus)_.+"}') == []
    mounts = {one["mountpoint"] for one in arrived(platform, "node_filesystem_size_bytes")}
    assert {"/fsx", "/home", "/opt/sagemaker"} <= mounts
    assert not [path for path in mounts if path.startswith(("/run/", "/proc", "/sys", "/dev", "/tmp", "/var"))]  # noqa: S108
    for one in platform.workspace.query('count by (instance) ({job=~"node|fabric|dcgm"})'):
        assert int(one["value"][1]) < 500, one


def test_from_elsewhere_only_the_way_to_a_node_can_be_measured(platform):
    for machine in platform.all:
        listening = {
            line.split()[3] for line in machine.shell("ss --no-header --listening --tcp --numeric").splitlines()
        }
        ours = {one for one in listening if one.rpartition(":")[2] in ("9090", "9100", "9109", "9341", "9400")}
        assert {one for one in ours if not one.startswith("127.0.0.1:")} == {"0.0.0.0:9109"}


# Five minutes without the workspace


SCONTROL = """\
#!/usr/bin/env bash
[[ "$*" != "show config" ]] || echo "MetricsType             = metrics/openmetrics"
exec /opt/slurm/bin/real "$@"
"""


@dataclass
class Outage:
    """The time in which the workspace's front is down."""

    platform: Platform
    collector: str
    """The controller's, at the beginning."""
    began: float
    ended: float | None = None

    def wait_for_its_end(self) -> None:
        """Return when the front was down for five minutes and is up again."""
        if self.ended is None:
            time.sleep(max(0.0, self.began + OUTAGE_SECONDS - time.time()))
            self.platform.workspace.start()
            self.ended = time.time()


@pytest.fixture(scope="module")
def outage(platform):
    """From here on the front is down, until somebody waits for its end."""
    platform.workspace.stop()
    return Outage(platform, process(platform.controller, "collector"), time.time())


@pytest.mark.usefixtures("outage")
def test_nodes_come_up_with_metrics_before_slurm_is_there(platform):
    for group in platform.groups:
        [machine] = platform.machines[group.name]
        found = report(machine)
        assert found["state"] == "done"
        done = {name for name, state in states(machine).items() if name in STEPS and state == "done"}
        assert done == {"library", "collector", *(f"{job}-exporter" for job in jobs_of(group))}
        assert [step["warnings"] for step in found["steps"] if step["name"] in STEPS] == [[]] * len(STEPS)
    assert "\nslurm_up 0.0\n" in asked(platform.controller, 9341)


@pytest.mark.usefixtures("outage")
def test_slurm_s_metrics_come_when_hyperpod_starts_it(platform):
    # A configuration such as a later Slurm has, which the last test comes back to.
    platform.controller.shell("mv /opt/slurm/bin/scontrol /opt/slurm/bin/real")
    platform.controller.write("/opt/slurm/bin/scontrol", SCONTROL, mode=0o755)
    former = process(platform.controller, "slurm-exporter")
    platform.start_slurm()
    eventually(lambda: "\nslurm_up 1.0\n" in asked(platform.controller, 9341), timeout_seconds=60)
    assert process(platform.controller, "slurm-exporter") == former
    run = "cd / && srun --partition=cpu hostname"
    eventually(lambda: platform.login.shell(run, user="ubuntu") == f"{platform.workers[0].name}\n")


@pytest.mark.usefixtures("outage")
def test_a_second_run_changes_nothing(platform):
    processes = ("node-exporter", "fabric-exporter", "collector")
    for machine in platform.all:
        before = machine.files(), machine.units(), [process(machine, name) for name in processes]
        results = run_steps(platform, machine, *STEPS)
        assert {step["state"] for step in results} <= {"already-done", "not-for-this-node", "not-wanted"}, results
        files, units, pids = before
        live = (
            "cdk-slurm-slurm-targets.service",
            # What waited for Slurm is done about now.
            "cdk-slurm-background.service",
            "var/lib/private/cdk-slurm-collector",
            "var/lib/cdk-slurm-exporter/state.json",
        )
        found = changes(files, machine.files()) | changes(units, machine.units())
        assert {name for name in found if not name.startswith(live)} == set()
        assert [process(machine, name) for name in processes] == pids


@pytest.mark.usefixtures("outage")
def test_an_exporter_that_does_not_start_fails_the_step_unless_it_is_optional(platform, scripts):
    [worker] = platform.machines["worker"]
    worker.run("systemctl", "stop", "cdk-slurm-fabric-exporter")
    worker.run("systemd-run", "--unit=taker", "python3", "-m", "http.server", "9109")
    eventually(lambda: worker.run("sh", "-c", "ss --no-header --listening --tcp | grep 9109").stdout)
    try:
        [result] = run_steps(platform, worker, "fabric-exporter")
        expected = "another program listens on port 9109, which is cdk-slurm-fabric-exporter.service's"
        assert (result["state"], result["error"]) == ("failed", f"{expected} (tried again for 3 s)")
        install(platform, [worker], scripts, dcgm_image=IMAGE, optional=["fabric"])
        [result] = run_steps(platform, worker, "fabric-exporter")
        assert (report(worker)["state"], result["state"]) == ("done", "optional-failed")
        [warning] = result["warnings"]
        assert warning.startswith(expected)
    finally:
        worker.run("systemctl", "stop", "taker")
    install(platform, [worker], scripts, dcgm_image=IMAGE)
    [result] = run_steps(platform, worker, "fabric-exporter")
    assert result["state"] == "done"


@pytest.mark.usefixtures("outage")
def test_an_exporter_that_ends_at_once_is_told_by_its_last_words(platform):
    [worker] = platform.machines["worker"]
    library = "/usr/local/lib/cdk-slurm/exporters/fabric/__main__.py"
    text = worker.read(library)
    worker.write(library, "raise SystemExit('no way to go on')\n")
    worker.run("systemctl", "restart", "cdk-slurm-fabric-exporter")
    eventually(lambda: process(worker, "fabric-exporter") == "0")
    # With `library` first it would be put right.
    [result] = run_steps(platform, worker, "fabric-exporter")
    assert result["error"].startswith("cdk-slurm-fabric-exporter.service does not stay up on port 9109: ")
    assert "no way to go on" in result["error"]
    worker.write(library, text)
    assert [step["state"] for step in run_steps(platform, worker, "fabric-exporter")] == ["done"]


@pytest.mark.usefixtures("outage")
def test_the_password_of_a_private_registry_is_nowhere(platform):
    [gpu] = platform.machines["gpu-worker"]
    calls = [json.loads(line) for line in gpu.read("/var/log/docker-stand-in").splitlines()]
    assert ["login", "--username=AWS", "--password-stdin", REGISTRY] in calls
    assert ["pull", "--quiet", IMAGE] in calls
    [run] = [call for call in calls if call[0] == "run"]
    assert {"--gpus=all", "--pull=never", f"--hostname={gpu.name}", f"--volume={JOBS}:{JOBS}:ro"} <= {*run}
    for secret in (PASSWORD, base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()):
        assert secret not in gpu.shell("journalctl --no-pager; cat /var/log/provision/*; cat /proc/*/cmdline")
        assert gpu.run("grep", "-rl", secret, "/etc", "/root", "/run", "/var", "/usr/local", check=False).stdout == ""


@pytest.mark.usefixtures("outage")
def test_a_unit_pulls_again_what_somebody_removed(platform):
    [gpu] = platform.machines["gpu-worker"]
    variables = "".join(f'Environment="{name}={value}"\n' for name, value in platform.aws.environment.items())
    gpu.write("/etc/systemd/system/cdk-slurm-dcgm-exporter.service.d/aws.conf", f"[Service]\n{variables}")
    gpu.shell("rm /var/lib/docker-stand-in/*; systemctl daemon-reload; systemctl restart cdk-slurm-dcgm-exporter")
    eventually(lambda: "DCGM_FI_DEV_XID_ERRORS" in asked(gpu, 9400))
    assert gpu.shell("ls /var/lib/docker-stand-in").split() == [IMAGE.replace("/", "_")]
    assert not gpu.exists("/run/cdk-slurm-docker")


@pytest.mark.usefixtures("outage")
def test_an_image_that_no_registry_has_is_named(platform, scripts):
    [gpu] = platform.machines["gpu-worker"]
    wrong = IMAGE.replace("a" * 64, "b" * 64)
    gpu.write("/etc/test-missing-images", wrong)
    former = process(gpu, "dcgm-exporter")
    install(platform, [gpu], scripts, dcgm_image=wrong)
    [result] = run_steps(platform, gpu, "dcgm-exporter")
    assert result["error"] == (
        f"docker pull of {wrong}: Error response from daemon: manifest unknown: manifest unknown"
    )
    assert process(gpu, "dcgm-exporter") == former, "the one that runs goes on"
    install(platform, [gpu], scripts, dcgm_image=IMAGE)
    [result] = run_steps(platform, gpu, "dcgm-exporter")
    assert result["state"] == "done"
    assert process(gpu, "dcgm-exporter") == former


@pytest.mark.usefixtures("outage")
def test_a_gpu_s_metrics_say_whose_job_has_it(platform):
    [gpu] = platform.machines["gpu-worker"]
    gpu.write(f"{JOBS}/1", "42\n")
    assert 'gpu="1"' in next(line for line in asked(gpu, 9400).splitlines() if 'hpc_job="42"' in line)
    # What slurmd leaves when it stops, the container still sees.
    gpu.run("systemctl", "restart", "slurmd")
    gpu.write(f"{JOBS}/0", "43\n")
    assert 'hpc_job="43"' in asked(gpu, 9400)


@pytest.mark.usefixtures("outage")
def test_all_is_there_again_after_a_boot(platform):
    [gpu] = platform.machines["gpu-worker"]
    gpu.restart()
    for port in (9100, 9109, 9400, 9090):
        eventually(lambda port=port: asked(gpu, port))
    assert f'Hostname="{gpu.name}"' in asked(gpu, 9400)
    controller = platform.controller
    assert process(controller, "slurm-exporter") != "0"


# Meanwhile, where the scripts do it all


def test_in_the_legacy_form_a_collector_that_is_killed_comes_back_by_itself(workplace, trees, scripts):
    groups = (GROUPS[0], GROUPS[2])
    with Platform(workplace, trees, form="provisioning_parameters", groups=groups, slurm_conf=SCHEDULER) as platform:
        trust_and_install(platform, scripts)
        platform.run_everywhere()
        for machine in platform.all:
            assert report(machine)["state"] == "done"
        [worker] = platform.workers
        samples = f'up{{job="node", instance="{worker.name}"}}'
        eventually(lambda: arrived(platform, samples))
        former = process(worker, "collector")
        worker.run("kill", "-9", former)
        assert eventually(lambda: process(worker, "collector") not in ("0", former))
        killed = time.time()
        # Slurm was there first, and so is what it tells.
        eventually(lambda: arrived(platform, "slurm_up == 1"), timeout_seconds=60)
        eventually(lambda: arrived(platform, f"timestamp({samples}) > {killed}"), timeout_seconds=3 * SCRAPE_SECONDS)
        [times] = samples_of(platform, samples).values()
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        # One scrape may fall into the time it was away, or was not sent when it was killed.
        assert max(gaps) < 2 * SCRAPE_SECONDS + 1
        assert platform.workspace.refused() == []
        # A workspace that is not there is told of, and keeps no node down.
        url = f"{METRICS_WORKSPACE}-other/api/v1/remote_write"
        content = platform.cluster_json(metrics={"remote_write_url": url})
        platform.install_bundle(worker, content, source=scripts)
        platform.run_lifecycle(worker, "--only", "collector")
        [_, step] = report(worker)["steps"]
        assert step["state"] == "done"
        assert step["warnings"][0].startswith(f"{url} refuses samples: server returned HTTP status 404 Not Found")


def samples_of(platform: Platform, selector: str) -> dict[str, list[float]]:
    """The times of the samples of the last quarter of an hour, by their labels."""
    return {
        json.dumps(one["metric"]): [float(at) for at, _ in one["values"]]
        for one in platform.workspace.query(f"{selector}[15m]")
    }


# And then


def test_five_minutes_without_the_workspace_lose_nothing(platform, outage):
    outage.wait_for_its_end()
    [gpu] = platform.machines["gpu-worker"]
    # All but the node that was rebooted meanwhile, and with it what it had not sent.
    selector = f'{{__name__=~"up|node_load1|slurm_up", instance!="{gpu.name}", job=~"node|fabric|slurm"}}'

    def all_is_sent() -> dict[str, list[float]]:
        found = samples_of(platform, selector)
        assert min(times[-1] for times in found.values()) > outage.ended
        return found

    found = eventually(all_is_sent, timeout_seconds=2 * SCRAPE_SECONDS)
    assert len(found) == 2 * 3 + 3 + 2
    for series, times in found.items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(gaps) < SCRAPE_SECONDS + 1, series
        during = [at for at in times if outage.began <= at < outage.ended]
        assert abs(len(during) - (outage.ended - outage.began) / SCRAPE_SECONDS) <= 1, series
    assert platform.workspace.refused() == []


def test_what_happened_meanwhile_is_known(platform, outage):
    outage.wait_for_its_end()
    [gpu] = platform.machines["gpu-worker"]
    eventually(lambda: arrived(platform, f'up{{job="dcgm", instance="{gpu.name}"}} == 1'))
    assert arrived(platform, "slurm_up == 1") == [{"cluster": "ml-cluster", "instance": "ml-cluster", "job": "slurm"}]
    assert arrived(platform, "slurm_jobs_finished_total > 0")
    # slurmctld is asked since its configuration says that it tells metrics; this one does not know what is meant.
    slurmctld = {"cluster": "ml-cluster", "instance": "ml-cluster", "job": "slurmctld"}
    assert arrived(platform, 'up{job="slurmctld"}') == [slurmctld]
    targets = json.loads(platform.controller.read("/var/lib/cdk-slurm/targets/slurmctld.json"))
    assert targets == [{"targets": [f"{platform.controller.address}:6817"], "labels": {"instance": "ml-cluster"}}]
    assert process(platform.controller, "collector") == outage.collector, "nothing was started anew for it"
    peers = {(one["instance"], one["peer"]) for one in arrived(platform, "fabric_peer_round_trip_seconds")}
    assert (platform.controller.name, platform.login.name) in peers
