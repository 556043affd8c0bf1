"""The steps of metrics on recorded machines: what they put there, what they say, and what they keep to themselves."""

import json
import logging
import re
import shlex
import shutil
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lifecycle import images, runner, slurm_targets
from lifecycle.cluster import parse_cluster
from lifecycle.errors import StepError
from lifecycle.library import LIBRARY
from lifecycle.node import find_node, read_resource_config
from lifecycle.slurm_targets import EXPORTER_TARGETS, SLURMCTLD_TARGETS
from lifecycle.step import Context
from lifecycle.steps import STEPS, collector, metrics
from tests.node import recording
from tests.node.recording import RecordingHost, new_host
from tests.node.test_lifecycle_nodes import (
    ADDRESSES,
    API,
    IMAGE,
    KINDS,
    PLATFORM,
    WORKSPACE,
    as_hyperpod_does,
    bring_exporters,
    errors,
    instance,
    run,
    states,
    warnings,
)

OBSERVED = KINDS["observed"]
UNITS = "/etc/systemd/system"
MOUNTED_JOBS = "--volume=/run/slurm/dcgm-job-mapping:/run/slurm/dcgm-job-mapping:ro"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a maker of machines of a cluster that is observed; fields of `metrics` in cluster.json may be changed."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    made: list[RecordingHost] = []

    def make(node: str, *, cluster: dict[str, Any] | None = None, **changed: Any) -> RecordingHost:
        content = (cluster or OBSERVED) | {"metrics": OBSERVED["metrics"] | changed}
        platform = json.loads(json.dumps(PLATFORM))
        platform["InstanceGroups"][0]["Instances"].append(instance("controller-2", "10.0.0.20"))
        if node in ADDRESSES:
            platform = PLATFORM
        address = ADDRESSES | {"first": "10.0.0.10", "second": "10.0.0.20"}
        host = new_host(tmp_path / str(len(made)), cluster=content, platform=platform, address=address[node])
        made.append(host)
        if content["slurm_configuration"] == "api":
            as_hyperpod_does(host)
        bring_exporters(host)
        return host

    return make


def only(host: RecordingHost, *names: str) -> list[dict[str, Any]]:
    """Run these steps alone, after `identify` and `library`."""
    host.commands.clear()
    runner.run([step for step in STEPS if step.name in ("identify", "library", *names)], Context(host))
    steps: list[dict[str, Any]] = json.loads(host.read(runner.REPORT_FILE) or "")["steps"]
    return steps


def change(host: RecordingHost, **changed: Any) -> None:
    """Change fields of `metrics` in the cluster.json of a machine."""
    content = json.loads((host.bundle / "cluster.json").read_text("utf-8"))
    content["metrics"] |= changed
    (host.bundle / "cluster.json").write_text(json.dumps(content), "utf-8")


def restarted(host: RecordingHost) -> list[str]:
    """The services that were started anew, and not the library's users."""
    return [command[2] for command in host.commands if command[:2] == ("systemctl", "restart")]


def unit(host: RecordingHost, name: str) -> dict[str, list[str]]:
    """The settings of a unit, with every value of each."""
    found: dict[str, list[str]] = {}
    for line in (host.read(f"{UNITS}/cdk-slurm-{name}.service") or "").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


# cluster.json


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(
            ({"remote_write_url": url}, f"metrics.remote_write_url is '{url}', it may be an https address that ends in")
            for url in (
                f"{WORKSPACE}//api/v1/remote_write",
                f"{WORKSPACE}api/v1/remote_write/",
                f"{WORKSPACE}/api/v1/",
                f"{WORKSPACE}/",
                WORKSPACE.replace("https", "http") + "/api/v1/remote_write",
                "https:///api/v1/remote_write",
            )
        ),
        ({"dcgm_image": "nvcr.io/nvidia/k8s/dcgm-exporter:latest"}, "metrics.dcgm_image is 'nvcr.io"),
        ({"dcgm_image": f"{IMAGE} --privileged"}, "it may be a container image with its digest (…@sha256:…)"),
        ({"optional": ["slurm", "node"]}, "metrics.optional has node, it may have dcgm, fabric, slurm"),
    ],
)
def test_what_is_wrong_with_the_description_is_named(changed, message):
    content = OBSERVED | {"metrics": OBSERVED["metrics"] | changed}
    with pytest.raises(StepError, match=re.escape(message)):
        parse_cluster(json.dumps(content))


def test_a_line_break_in_the_address_is_wrong_too():
    url = f"{WORKSPACE}/api/v1/remote_write\n"
    with pytest.raises(StepError, match=r"metrics\.remote_write_url"):
        parse_cluster(json.dumps(OBSERVED | {"metrics": {"remote_write_url": url}}))


def test_without_metrics_groups_need_not_say_what_they_have():
    cluster = parse_cluster(json.dumps(KINDS["smallest"]))
    assert cluster.metrics is None
    assert {group.gpu for group in cluster.instance_groups.values()} == {False}


# What the collector asks


def configuration(host: RecordingHost) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(host.read("/etc/cdk-slurm/collector.yml") or "")
    return content


@pytest.mark.parametrize(
    ("node", "jobs"),
    [
        ("controller", {"node": 9100, "fabric": 9109, "slurm": None, "slurmctld": None}),
        ("login", {"node": 9100, "fabric": 9109}),
        ("worker", {"node": 9100, "fabric": 9109}),
        ("gpu", {"node": 9100, "fabric": 9109, "dcgm": 9400}),
    ],
)
def test_the_collector_asks_what_is_on_the_node_and_says_whose_it_is(machine, node, jobs):
    host = machine(node)
    assert errors(run(host)) == []
    found = configuration(host)
    assert found["global"]["external_labels"] == {"cluster": "ml-cluster"}
    assert found["global"]["scrape_interval"] == "15s"
    assert [one["job_name"] for one in found["scrape_configs"]] == [*jobs]
    node_type = "compute" if node in ("worker", "gpu") else node
    labels = {"instance": f"ip-10-0-0-{ADDRESSES[node][-2:]}", "instance_group": node, "node_type": node_type}
    for one in found["scrape_configs"]:
        if port := jobs[one["job_name"]]:
            assert one["static_configs"] == [{"targets": [f"127.0.0.1:{port}"], "labels": labels}]
        else:
            assert one["file_sd_configs"] == [{"files": [f"/var/lib/cdk-slurm/targets/{one['job_name']}.json"]}]


def test_samples_go_to_the_workspace_and_to_no_other_address(machine):
    host = machine("worker")
    run(host)
    [write] = configuration(host)["remote_write"]
    assert write["url"] == f"{WORKSPACE}/api/v1/remote_write"
    assert write["sigv4"] == {"region": "us-west-2"}
    assert write["queue_config"]["retry_on_http_429"] is True


def test_a_cluster_may_be_named_like_a_number(machine):
    platform = json.loads(json.dumps(PLATFORM))
    platform["ClusterConfig"]["ClusterName"] = "1e3"
    host = machine("worker", cluster=OBSERVED | {"cluster_name": "1e3"})
    host.write("/opt/ml/config/resource_config.json", json.dumps(platform))
    assert errors(run(host)) == []
    assert configuration(host)["global"]["external_labels"] == {"cluster": "1e3"}


# What runs


@pytest.mark.parametrize("node", ADDRESSES)
def test_nothing_but_the_fabric_exporter_can_be_asked_from_elsewhere(machine, node):
    host = machine(node)
    run(host)
    texts = [
        host.read(f"{UNITS}/{name}") or "" for name in host.names_in(UNITS) if "exporter" in name or "coll" in name
    ]
    for address in re.findall(r"--(?:web\.listen-address|publish)=(\S+)", "".join(texts)):
        assert address.startswith("127.0.0.1:")


@pytest.mark.parametrize("node", ADDRESSES)
def test_whoever_needs_no_rights_has_none(machine, node):
    host = machine(node)
    run(host)
    for name in ("node-exporter", "collector"):
        assert unit(host, name)["DynamicUser"] == ["yes"]
        assert unit(host, name)["CapabilityBoundingSet"] == [""]
    fabric = unit(host, "fabric-exporter")
    assert (fabric["CapabilityBoundingSet"], fabric["ProtectSystem"]) == ([""], ["strict"])
    if node == "controller":
        slurm = unit(host, "slurm-exporter")
        assert (slurm["User"], slurm["StateDirectory"]) == (["slurm"], ["cdk-slurm-exporter"])
        assert slurm["AmbientCapabilities"] == slurm["CapabilityBoundingSet"] == ["CAP_DAC_READ_SEARCH"]
    for name in ("node-exporter", "fabric-exporter", "collector"):
        assert unit(host, name)["Restart"] == ["always"]


def test_our_exporters_find_what_they_need_on_every_node(machine):
    host = machine("login")
    assert errors(run(host)) == []
    [environment] = unit(host, "fabric-exporter")["Environment"]
    variables = dict(word.split("=", 1) for word in shlex.split(environment))
    assert variables["PYTHONPATH"] == f"{LIBRARY}:{LIBRARY}/prometheus-client.deb"
    assert host.read(f"{LIBRARY}/prometheus-client.deb") == "a wheel"
    for name in ("exporters/server.py", "lifecycle/cluster.py", "cluster.json", "parts.lock.json"):
        assert host.read(f"{LIBRARY}/{name}") == host.read_bundled(name)


def test_without_metrics_no_exporter_is_kept(machine, tmp_path):
    cluster = KINDS["smallest"] | API
    host = new_host(tmp_path / "plain", cluster=cluster, platform=PLATFORM, address=ADDRESSES["login"])
    assert states(only(host))["library"] == "done"
    assert host.names_in(LIBRARY) == ["cluster.json", "lifecycle", "parts.lock.json"]


def test_a_damaged_copy_is_put_right(machine):
    host = machine("worker")
    run(host)
    host.write(f"{LIBRARY}/prometheus-client.deb", "half a whe")
    assert states(run(host))["library"] == "done"
    assert host.read(f"{LIBRARY}/prometheus-client.deb") == "a wheel"


def test_another_version_is_unpacked_beside_the_former_and_only_its_service_starts_anew(machine):
    host = machine("worker")
    run(host)
    lock = json.loads((host.bundle / "parts.lock.json").read_text("utf-8"))
    for part in lock["parts"]:
        part["version"] = "2" if part["name"] == "node-exporter" else part["version"]
    (host.bundle / "parts.lock.json").write_text(json.dumps(lock), "utf-8")
    assert errors(run(host)) == []
    assert restarted(host) == ["cdk-slurm-node-exporter.service"]
    [program] = unit(host, "node-exporter")["ExecStart"]
    assert program.startswith("/usr/local/lib/cdk-slurm-programs/node-exporter-2/usr/bin/prometheus-node-exporter ")


def test_other_scripts_start_our_own_exporters_anew_and_nothing_else(machine):
    host = machine("controller")
    run(host)
    exporters = host.bundle / "exporters"
    original = exporters.resolve()
    exporters.unlink()
    shutil.copytree(original, exporters)
    (exporters / "looks.py").write_text("# Mended.\n", "utf-8")
    assert errors(run(host)) == []
    assert restarted(host) == ["cdk-slurm-fabric-exporter.service", "cdk-slurm-slurm-exporter.service"]
    assert errors(run(host)) == []
    assert restarted(host) == []


def test_another_workspace_starts_only_the_collector_anew(machine):
    host = machine("gpu")
    run(host)
    change(host, remote_write_url=f"{WORKSPACE}2/api/v1/remote_write")
    assert errors(run(host)) == []
    assert restarted(host) == ["cdk-slurm-collector.service"]


@pytest.mark.parametrize("part", ["prometheus", "node-exporter", "prometheus-client"])
def test_a_part_that_was_not_fetched_is_named(machine, part):
    host = machine("worker")
    (host.bundle / "parts" / f"{part}.deb").unlink()
    [error] = errors(run(host))
    assert f"part {part} 1 is not in the bundle" in error
    assert f"run `cdk-slurm bundle {part}`" in error
    assert host.waits == []


# The DCGM exporter's container


def docker(host: RecordingHost) -> list[tuple[str, ...]]:
    return [command[1:] for command in host.commands if command[0] == "docker"]


def test_an_image_of_a_private_registry_is_pulled_as_the_node_s_role(machine, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    given: list[tuple[str, Any, Any]] = []
    original = RecordingHost.run

    def run_and_note(host, *command, input=None, environment=None, timeout_seconds=60):
        if command[0] == "docker" and command[1] in ("login", "pull"):
            given.append((command[1], input, environment))
            assert host.mode_of("/run/cdk-slurm-docker") == 0o700
        return original(host, *command, input=input, environment=environment, timeout_seconds=timeout_seconds)

    monkeypatch.setattr(RecordingHost, "run", run_and_note)
    host = machine("gpu")
    results = only(host, "dcgm-exporter")
    assert errors(results) == []
    registry = IMAGE.partition("/")[0]
    assert docker(host) == [
        ("image", "inspect", "--format={{.Id}}", IMAGE),
        ("login", "--username=AWS", "--password-stdin", registry),
        ("pull", "--quiet", IMAGE),
    ]
    own = {"DOCKER_CONFIG": "/run/cdk-slurm-docker"}
    assert given == [("login", "a password of the registry\n", own), ("pull", None, own)]
    assert not host.exists("/run/cdk-slurm-docker"), "the password is nowhere afterwards"
    assert "a password" not in f"{host.commands}{caplog.text}{json.dumps(results)}"
    assert not any(b"a password" in path.read_bytes() for path in host.root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "image", [f"nvcr.io/nvidia/k8s/dcgm-exporter@sha256:{'b' * 64}", f"localhost:5000/dcgm@sha256:{'c' * 64}"]
)
def test_another_registry_is_asked_without_a_login(machine, image):
    host = machine("gpu", dcgm_image=image)
    assert errors(only(host, "dcgm-exporter")) == []
    assert [command[0] for command in docker(host)] == ["image", "pull"]
    assert not any(command[0] == "aws" for command in host.commands)


def test_without_an_image_of_ones_own_it_is_the_one_that_the_lock_names(machine):
    host = machine("gpu", dcgm_image=None)
    assert errors(only(host, "dcgm-exporter")) == []
    lock = json.loads((recording.BUNDLE / "parts.lock.json").read_text("utf-8"))
    [image] = [one["image"] for one in lock["images"] if one["name"] == "dcgm-exporter"]
    assert host.state.images == {image}
    assert unit(host, "dcgm-exporter")["ExecStart"][0].endswith(f" {image}")


def test_an_image_that_docker_has_is_not_asked_for_again(machine):
    host = machine("gpu")
    host.state.images.add(IMAGE)
    assert errors(only(host, "dcgm-exporter")) == []
    assert [command[0] for command in docker(host)] == ["image"]


def test_another_image_starts_only_its_own_service_anew(machine):
    host = machine("gpu")
    run(host)
    change(host, dcgm_image=IMAGE.replace("a" * 64, "d" * 64))
    assert errors(run(host)) == []
    assert restarted(host) == ["cdk-slurm-dcgm-exporter.service"]


def test_the_container_has_what_it_needs_and_no_more(machine):
    host = machine("gpu")
    run(host)
    [start] = unit(host, "dcgm-exporter")["ExecStart"]
    words = start.split()
    assert words[:2] == ["docker", "run"]
    assert words[-1] == IMAGE
    assert {
        *("--gpus=all", "--cap-drop=ALL", "--cap-add=SYS_ADMIN", "--pull=never", "--rm"),
        *("--publish=127.0.0.1:9400:9400", "--hostname=ip-10-0-0-14", MOUNTED_JOBS),
        "--env=DCGM_HPC_JOB_MAPPING_DIR=/run/slurm/dcgm-job-mapping",
        "--volume=/etc/cdk-slurm/dcgm-collectors.csv:/etc/cdk-slurm/dcgm-collectors.csv:ro",
    } <= {*words}
    assert not [word for word in words if word.startswith(("--restart", "--privileged", "--network"))]
    # What it mounts must not go when slurmd does.
    assert "RuntimeDirectoryPreserve=yes" in (host.read(f"{UNITS}/slurmd.service.d/60-cdk-slurm-metrics.conf") or "")


def test_an_ami_that_does_not_say_which_job_has_a_gpu(machine):
    host = machine("gpu")
    host.remove("/opt/slurm/etc/prolog.d")
    run(host)
    assert "dcgm-job-mapping" not in (host.read(f"{UNITS}/cdk-slurm-dcgm-exporter.service") or "")
    assert not host.exists(f"{UNITS}/slurmd.service.d/60-cdk-slurm-metrics.conf")


def test_what_the_container_tells_is_what_the_list_beside_it_says(machine):
    host = machine("gpu")
    run(host)
    rows = [row for row in (host.read("/etc/cdk-slurm/dcgm-collectors.csv") or "").splitlines() if row]
    fields = [row.split(", ") for row in rows if not row.startswith("#")]
    assert all(len(row) == 3 and "," not in row[2] for row in fields), "the exporter takes rows with two commas only"
    assert {kind for _, kind, _ in fields} == {"gauge", "counter"}
    assert len({name for name, _, _ in fields}) == len(fields) == 22


@pytest.mark.parametrize(
    ("program", "said", "lasts"),
    [
        ("docker", "Error response from daemon: manifest unknown: Requested image not found", True),
        ("docker", "pull access denied, repository does not exist or may require authorization", True),
        ("docker", "no matching manifest for linux/arm64/v8 in the manifest list entries", True),
        ("docker", "dial tcp: lookup x.dkr.ecr.eu-west-1.amazonaws.com: no such host", False),
        ("docker", "toomanyrequests: Rate exceeded", False),
        ("aws", "An error occurred (AccessDeniedException) when calling GetAuthorizationToken", True),
        ("aws", "Could not connect to the endpoint URL", False),
    ],
)
def test_what_a_registry_says_is_told_and_tried_again_where_that_may_help(machine, monkeypatch, program, said, lasts):
    simulated = getattr(RecordingHost, f"_{program}")

    def refuse(host, *arguments):
        if arguments[0] in ("pull", "ecr"):
            host._exit(program, 1, said)
        return simulated(host, *arguments)

    monkeypatch.setattr(RecordingHost, f"_{program}", refuse)
    host = machine("gpu")
    [error] = errors(only(host, "dcgm-exporter"))
    assert said in error
    assert bool(host.waits) == ("(tried again for 900 s)" in error) == (not lasts)
    assert not host.exists("/run/cdk-slurm-docker")


def test_a_node_whose_docker_is_turned_off(machine):
    host = machine("gpu")
    host.state.units["docker.service"] = {"known"}
    [error] = errors(only(host, "dcgm-exporter"))
    assert "docker.service does not run, and the DCGM exporter is a container" in error


def test_a_unit_pulls_as_the_step_does(machine, monkeypatch, caplog):
    host = machine("gpu")
    monkeypatch.setattr(images, "Host", lambda: host)
    monkeypatch.setattr("sys.argv", ["images", IMAGE])
    assert images.main() == 0
    assert host.state.images == {IMAGE}
    host.state.images.clear()
    host.fails.append(lambda command: command[:2] == ("docker", "pull"))
    assert images.main() == 1
    assert f"docker pull of {IMAGE}: docker is broken" in caplog.text


# Exporters that do not come up


def is_broken(name: str):
    """Have a service start and end at once."""

    def started(host: RecordingHost, unit: str) -> None:
        if unit == f"cdk-slurm-{name}.service":
            host.state.units[unit].discard("active")

    return started


@pytest.mark.parametrize(
    ("step", "node", "port"),
    [
        ("node-exporter", "login", 9100),
        ("fabric-exporter", "login", 9109),
        ("slurm-exporter", "controller", 9341),
        ("dcgm-exporter", "gpu", 9400),
        ("collector", "worker", 9090),
    ],
)
def test_what_does_not_stay_up_fails_the_step_with_its_last_words(machine, monkeypatch, step, node, port):
    monkeypatch.setattr(RecordingHost, "_started", is_broken(step))
    [error] = errors(run(machine(node, optional=[])))
    assert error.startswith(
        f"{step}: cdk-slurm-{step}.service does not stay up on port {port}: the last words of the unit"
    )


def test_what_says_nothing_fails_the_step(machine, monkeypatch):
    monkeypatch.setitem(recording.TOLD, 9109, ("cdk-slurm-fabric-exporter.service", "something else\n"))
    [error] = errors(only(machine("login", optional=[]), "fabric-exporter"))
    assert "cdk-slurm-fabric-exporter.service does not answer on port 9109" in error


@pytest.mark.parametrize("port", [9100, 9090])
def test_a_port_that_is_taken_is_named(machine, port):
    host = machine("login")
    host.listening.add(("127.0.0.1", port))
    [error] = errors(run(host))
    assert f"another program listens on port {port}, which is cdk-slurm-" in error


@pytest.mark.parametrize(("exporter", "node"), [("fabric", "login"), ("slurm", "controller"), ("dcgm", "gpu")])
def test_without_an_exporter_that_is_optional_the_node_comes_up_and_says_so(machine, monkeypatch, exporter, node):
    monkeypatch.setattr(RecordingHost, "_started", is_broken(f"{exporter}-exporter"))
    host = machine(node, optional=[exporter])
    results = run(host)
    assert errors(results) == []
    assert states(results)[f"{exporter}-exporter"] == "optional-failed"
    assert states(results)["collector"] == "done", "what comes after it is done"
    [warning] = warnings([one for one in results if one["name"] == f"{exporter}-exporter"])
    assert "does not stay up" in warning
    assert warning.endswith("the cluster file calls it optional, so the node goes without")
    # The next run does not take it for done.
    monkeypatch.undo()
    assert states(run(host))[f"{exporter}-exporter"] == "done"


# What becomes of the samples

SENT = recording.TOLD[9090][1]


@pytest.mark.parametrize(
    ("told", "warning"),
    [
        (SENT, None),
        (f'{SENT}prometheus_remote_storage_samples_failed_total{{url="…"}} 3\n', None),
        (f'{SENT}prometheus_remote_storage_samples_failed_total{{url="…"}} 700\n', "refuses samples"),
        ("prometheus_agent_active_series 700\n", "has taken no samples yet"),
    ],
)
def test_a_workspace_that_takes_nothing_is_told_of_and_keeps_no_node_down(machine, monkeypatch, told, warning):
    error = r'err="server returned HTTP status 403 Forbidden: {\"message\":\"no\"}"'
    journal = f'level=info msg=x\nts=1 level=error msg="non-recoverable error" count=3 {error}\n'
    monkeypatch.setattr(RecordingHost, "_journalctl", lambda host, *arguments: journal)
    monkeypatch.setitem(recording.TOLD, 9090, ("cdk-slurm-collector.service", told))
    host = machine("worker")
    for results in (run(host), run(host)):
        assert errors(results) == []
        said = warnings([one for one in results if one["name"] == "collector"])
        expected = f"{WORKSPACE}/api/v1/remote_write {warning}: server returned HTTP status 403 Forbidden: "
        assert [one.startswith(expected) for one in said] == ([True] if warning else [])
    assert sum(host.waits) == (40 if warning == "has taken no samples yet" else 0), "only the first time"


# Where Slurm's metrics are


def targets(host: RecordingHost, path: str) -> Any:
    return json.loads(host.read(path) or "null")


def slurm_says(host: RecordingHost, monkeypatch, configuration: str | None) -> None:
    def scontrol(host, *arguments):
        assert arguments == ("show", "config")
        if configuration is None:
            host._exit("scontrol", 1, "Unable to contact slurm controller (connect failure)")
        return configuration

    monkeypatch.setattr(RecordingHost, "_scontrol", scontrol)


def refresh(host: RecordingHost) -> None:
    cluster = parse_cluster(host.read_bundled("cluster.json"))
    slurm_targets.refresh(host, cluster, find_node(read_resource_config(host), cluster, host.own_addresses()))


TELLS = (
    "Configuration data as of now\nMessageTimeout          = 10 sec\nMetricsType             = metrics/openmetrics\n"
)
EXPORTER = [{"targets": ["127.0.0.1:9341"], "labels": {"instance": "ml-cluster"}}]
SLURMCTLD = [{"targets": ["10.0.0.10:6817"], "labels": {"instance": "ml-cluster"}}]


@pytest.mark.parametrize("form", ["api", "provisioning_parameters"])
def test_slurm_s_exporter_is_asked_from_the_beginning(machine, form):
    host = machine("controller", cluster=OBSERVED | {"slurm_configuration": form})
    assert errors(run(host)) == []
    assert targets(host, EXPORTER_TARGETS) == EXPORTER
    assert targets(host, SLURMCTLD_TARGETS) == []
    assert "active" in host.state.units["cdk-slurm-slurm-targets.timer"]


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (TELLS, SLURMCTLD),
        (TELLS.replace("metrics/openmetrics", "(null)"), []),
        (TELLS.replace("MetricsType", "Another"), []),
    ],
)
def test_slurmctld_is_asked_where_it_tells_metrics(machine, monkeypatch, configuration, expected):
    host = machine("controller")
    run(host)
    slurm_says(host, monkeypatch, configuration)
    refresh(host)
    assert targets(host, EXPORTER_TARGETS) == EXPORTER
    assert targets(host, SLURMCTLD_TARGETS) == expected
    before = host.snapshot()
    refresh(host)
    assert host.snapshot() == before
    # A later look changes what has changed: nothing is started anew for it.
    slurm_says(host, monkeypatch, "MetricsType = (null)\n")
    refresh(host)
    assert targets(host, SLURMCTLD_TARGETS) == []


def test_while_slurm_does_not_answer_what_was_known_stays(machine, monkeypatch):
    host = machine("controller")
    run(host)
    slurm_says(host, monkeypatch, TELLS)
    refresh(host)
    slurm_says(host, monkeypatch, None)
    with pytest.raises(StepError, match="Unable to contact slurm controller"):
        refresh(host)
    assert targets(host, EXPORTER_TARGETS) == EXPORTER
    assert targets(host, SLURMCTLD_TARGETS) == SLURMCTLD


def test_of_two_controllers_one_is_asked(machine, monkeypatch):
    first, second = machine("first"), machine("second")
    for host in (first, second):
        only(host, "slurm-exporter", "collector")
    # Before anybody answers it is the first.
    assert targets(first, EXPORTER_TARGETS) == EXPORTER
    assert targets(second, EXPORTER_TARGETS) == []
    slurm_says(second, monkeypatch, TELLS)
    refresh(second)
    assert targets(second, EXPORTER_TARGETS) == EXPORTER
    own = [{"targets": ["10.0.0.20:6817"], "labels": {"instance": "ml-cluster"}}]
    assert targets(second, SLURMCTLD_TARGETS) == own, "the series of the other go on"
    # While all of Slurm is down, or an exporter, the one that was asked is: this has to be seen.
    exporter, _ = recording.TOLD[9341]
    for told in ((exporter, "slurm_up 0.0\n"), ("another.service", "")):
        monkeypatch.setitem(recording.TOLD, 9341, told)
        refresh(second)
        assert targets(second, EXPORTER_TARGETS) == EXPORTER
    monkeypatch.setitem(recording.TOLD, 9341, (exporter, ""))
    refresh(second)
    assert targets(second, EXPORTER_TARGETS) == targets(second, SLURMCTLD_TARGETS) == []
    # The step does not put back what was true at the beginning.
    assert {one["state"] for one in only(second, "slurm-exporter", "collector")} == {"already-done"}
    assert targets(second, EXPORTER_TARGETS) == []


def test_the_timer_s_program_never_fails(machine, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    host = machine("controller")
    run(host)
    slurm_says(host, monkeypatch, None)
    monkeypatch.setattr(slurm_targets, "Host", lambda: replace(host, environment={}))
    assert slurm_targets.main() == 0
    assert "Unable to contact slurm controller" in caplog.text


def test_both_modules_name_their_steps_as_the_order_does():
    names = [step.name for step in STEPS]
    own = [metrics.NODE_EXPORTER, metrics.DCGM_EXPORTER, metrics.FABRIC_EXPORTER, metrics.SLURM_EXPORTER]
    assert names[-5:] == [step.name for step in (*own, collector.STEP)]
