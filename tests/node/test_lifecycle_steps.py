"""The steps and their runner, on a temporary directory that stands for a node."""

import ast
import copy
import ipaddress
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

LIFECYCLE_SCRIPTS = Path(__file__).resolve().parents[2] / "lifecycle_scripts"
sys.path.insert(0, str(LIFECYCLE_SCRIPTS))

from lifecycle import runner  # noqa: E402
from lifecycle.errors import NotYetError, StepError  # noqa: E402
from lifecycle.host import Host  # noqa: E402
from lifecycle.node import RESOURCE_CONFIG, Node  # noqa: E402
from lifecycle.step import Context, Step  # noqa: E402
from lifecycle.steps.identify import NODE_FILE, STEP  # noqa: E402

CLUSTER = {
    "schema_version": 1,
    "cluster_name": "ml-cluster",
    "region": "us-west-2",
    "slurm_configuration": "provisioning_parameters",
    "instance_groups": [
        {"name": "head", "node_type": "controller", "instance_type": "ml.m5.2xlarge", "partition": None},
        {"name": "entrance", "node_type": "login", "instance_type": "ml.m5.xlarge", "partition": None},
        {"name": "worker", "node_type": "compute", "instance_type": "ml.c5.4xlarge", "partition": "cpu"},
        {"name": "gpu", "node_type": "compute", "instance_type": "ml.g5.xlarge", "partition": "g5"},
    ],
    "mounts": {"lustre": None, "openzfs": None},
    "users": [],
    "accounting_database": None,
}


def instance(name: str, last: int) -> dict[str, Any]:
    return {
        "InstanceName": name,
        "AgentIpAddress": f"192.0.2.{last}",
        "CustomerIpAddress": f"10.0.0.{last}",
        "InstanceId": f"i-{last:017d}",
    }


PLATFORM = {
    "ClusterConfig": {
        "ClusterName": "ml-cluster",
        "ClusterArn": "arn:aws:sagemaker:us-west-2:111122223333:cluster/abcd1234wxyz",
        "Unknown": 7,
    },
    "InstanceGroups": [
        {"Name": "head", "InstanceType": "ml.m5.2xlarge", "Instances": [instance("head-1", 10)]},
        {"Name": "entrance", "Instances": [instance("entrance-1", 11)], "Unknown": {}},
        {"Name": "worker", "Instances": [instance("worker-1", 12), instance("worker-2", 13)]},
        {"Name": "gpu", "InstanceType": "ml.g5.xlarge", "Instances": None},
    ],
    "Unknown": [],
}


@dataclass(frozen=True)
class Machine(Host):
    """A host that is a directory, with the addresses it is given and without real waiting."""

    addresses: tuple[str, ...] = ("172.17.0.1", "10.0.0.12")
    waits: list[float] = field(default_factory=list)
    while_waiting: Callable[["Machine"], None] = lambda machine: None

    def own_addresses(self) -> list[str]:
        return list(self.addresses)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.while_waiting(self)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Machine]:
    """Return a maker of machines that have a cluster.json and a resource_config.json."""

    def make(cluster: Any = CLUSTER, platform: Any = PLATFORM, **fields: Any) -> Machine:
        made = Machine(**{"root": tmp_path / "root", "bundle": tmp_path / "bundle", "environment": {}} | fields)
        made.bundle.mkdir()
        if cluster is not None:
            (made.bundle / "cluster.json").write_text(
                cluster if isinstance(cluster, str) else json.dumps(cluster), encoding="utf-8"
            )
        if platform is not None:
            made.write(RESOURCE_CONFIG, platform if isinstance(platform, str) else json.dumps(platform))
        return made

    return make


def changed(content: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = copy.deepcopy(content)
    change(content)
    return content


def read(host: Host, path: str) -> Any:
    text = host.read(path)
    assert text is not None
    return json.loads(text)


def tree(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return what a run may not change: every file but the report, with its modification time."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file() and path.name != "report.json"
    }


def identify(host: Host) -> dict[str, Any]:
    """Run the steps and return the only one's result, after checking that the report agrees with it."""
    succeeded = runner.run([STEP], Context(host, entry="on_create"))
    report = read(host, runner.REPORT_FILE)
    [result] = report["steps"]
    assert result.keys() == {"name", "state", "seconds", "error", "warnings"}
    assert result["name"] == "identify"
    assert (result["state"] == "failed") == (result["error"] is not None) == (not succeeded)
    assert (report["entry"], report["state"]) == ("on_create", "done" if succeeded else "failed")
    assert report["node"] == (read(host, NODE_FILE) if succeeded else None)
    return result


# identify: which node this is


@pytest.mark.parametrize(
    ("address", "group", "name", "node_type"),
    [
        ("10.0.0.10", "head", "head-1", "controller"),
        ("10.0.0.11", "entrance", "entrance-1", "login"),
        ("10.0.0.13", "worker", "worker-2", "compute"),
    ],
)
def test_a_node_knows_itself_by_its_address(machine, address, group, name, node_type):
    host = machine(addresses=("fd00::2", address, "172.17.0.1"))
    assert identify(host)["state"] == "done"
    assert read(host, NODE_FILE) == {
        "cluster_name": "ml-cluster",
        "region": "us-west-2",
        "instance_group": group,
        "instance_name": name,
        "instance_id": f"i-{int(address.rpartition('.')[2]):017d}",
        "node_type": node_type,
        "ip": address,
        "controller_ips": ["10.0.0.10"],
    }
    assert read(host, runner.REPORT_FILE)["cluster"] == "ml-cluster"


def test_two_controllers_are_both_known(machine):
    two = changed(PLATFORM, lambda it: it["InstanceGroups"][0]["Instances"].append(instance("head-2", 20)))
    host = machine(platform=two, addresses=("10.0.0.20",))
    identify(host)
    node = read(host, NODE_FILE)
    assert (node["instance_name"], node["controller_ips"]) == ("head-2", ["10.0.0.10", "10.0.0.20"])


def test_instances_that_are_not_up_yet_are_passed_over(machine):
    def not_up(platform):
        platform["InstanceGroups"][0]["Instances"] = None
        platform["InstanceGroups"][2]["Instances"].insert(0, {"InstanceName": "worker-0"})

    host = machine(platform=changed(PLATFORM, not_up))
    assert identify(host)["state"] == "done"
    assert read(host, NODE_FILE)["controller_ips"] == []


def test_the_platforms_variable_says_where_its_file_is(machine):
    host = machine(platform=None, environment={"SAGEMAKER_RESOURCE_CONFIG_PATH": "/elsewhere.json"})
    host.write("/elsewhere.json", json.dumps(PLATFORM))
    assert identify(host)["state"] == "done"


def in_cluster(change):
    return {"cluster": changed(CLUSTER, change)}


def in_platform(change):
    return {"platform": changed(PLATFORM, change)}


def with_arn(arn):
    return in_platform(lambda it: it["ClusterConfig"].update(ClusterArn=arn))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cluster": None}, "cluster.json is missing: the deployment writes it beside the scripts"),
        ({"cluster": '{"schema_ver'}, "cluster.json is not JSON: Unterminated string"),
        ({"cluster": "[]"}, "cluster.json is not of the known shape: AttributeError"),
        (
            in_cluster(lambda it: it.pop("region")),
            "cluster.json is not of the known shape: KeyError('region')",
        ),
        (
            in_cluster(lambda it: it.update(schema_version=2)),
            "cluster.json has schema_version 2, these scripts read 1: deploy the two together",
        ),
        (
            in_cluster(lambda it: it.update(slurm_configuration="legacy")),
            "slurm_configuration is 'legacy', it may be one of api, provisioning_parameters",
        ),
        (
            in_cluster(lambda it: it.update(slurm_configuration="api")),
            "HyperPod started on_create, which is not for slurm_configuration 'api' of cluster.json",
        ),
        (
            in_cluster(lambda it: it["instance_groups"][2].pop("partition")),
            "cluster.json: group worker is compute with partition None",
        ),
        (in_cluster(lambda it: it.pop("schema_version")), "cluster.json has schema_version None"),
        (
            in_cluster(lambda it: it["instance_groups"][2].update(node_type="worker")),
            "the node_type of group worker is 'worker', it may be one of compute, controller, login",
        ),
        (
            in_cluster(lambda it: it["instance_groups"].pop(2)),
            "this node is of instance group worker, cluster.json knows head, entrance, gpu",
        ),
        (
            in_cluster(lambda it: it.update(cluster_name="other")),
            "this node is of cluster ml-cluster in us-west-2, cluster.json describes other in us-west-2",
        ),
        (
            {"addresses": ("10.9.9.9", "fd00::2")},
            "no instance has an address of this node: the node has 10.9.9.9, fd00::2; "
            "the instances have 10.0.0.10, 10.0.0.11, 10.0.0.12, 10.0.0.13",
        ),
        ({"addresses": ()}, "the node has none; the instances have 10.0.0.10"),
        ({"addresses": ("192.0.2.12",)}, "no instance has an address of this node"),
        ({"addresses": ("10.0.0.10", "10.0.0.12")}, "more than one instance has an address of this node"),
        (
            in_platform(lambda it: [group.update(Instances=None) for group in it["InstanceGroups"]]),
            "the node has 172.17.0.1, 10.0.0.12; the instances have none",
        ),
        (in_platform(lambda it: it.update(InstanceGroups=None)), "the instances have none"),
        (with_arn("ml-cluster"), "ClusterArn 'ml-cluster' is not an ARN with a Region"),
        (with_arn("arn:aws:sagemaker::1:cluster/x"), "is not an ARN with a Region"),
        (with_arn(None), "resource_config.json is not of the known shape: AttributeError"),
        ({"platform": "{}"}, "resource_config.json is not of the known shape: KeyError('ClusterConfig')"),
    ],
)
def test_what_cannot_be_known_is_a_clear_failure_at_once(machine, given, message):
    host = machine(**given)
    assert message in identify(host)["error"]
    assert host.read(NODE_FILE) is None
    assert host.waits == []


def test_a_message_names_some_of_thousands_of_addresses(machine):
    many = changed(PLATFORM, lambda it: it["InstanceGroups"][2].update(Instances=[instance("worker", 9)] * 6758))
    assert identify(machine(platform=many))["error"].endswith("10.0.0.9 and 6710 more")


@pytest.mark.parametrize("platform", [None, "", '{"ClusterConfig": {"ClusterName": "ml-cl'])
def test_a_file_that_stays_incomplete_is_awaited_for_a_bounded_time(machine, platform):
    host = machine(platform=platform)
    error = identify(host)["error"]
    assert "resource_config.json is" in error
    assert error.endswith("(tried again for 120 s)")
    assert host.waits[:6] == [1, 2, 4, 8, 15, 15]
    assert sum(host.waits) == 120


@pytest.mark.parametrize("platform", [None, json.dumps(PLATFORM)[:-5]])
def test_a_file_that_becomes_complete_is_used(machine, platform):
    def complete(host):
        if len(host.waits) == 2:
            host.write(RESOURCE_CONFIG, json.dumps(PLATFORM))

    host = machine(platform=platform, while_waiting=complete)
    assert identify(host)["state"] == "done"
    assert host.waits == [1, 2]


def test_a_second_run_changes_nothing(machine):
    host = machine()
    assert identify(host)["state"] == "done"
    before = tree(host.root)
    assert identify(host)["state"] == "already-done"
    assert tree(host.root) == before


@pytest.mark.parametrize("left", ["", '{"instance_group": "head"}', "\udcff"])
def test_a_node_file_that_says_something_else_is_replaced(machine, left):
    host = machine()
    host.write(NODE_FILE, left)
    assert identify(host)["state"] == "done"
    assert read(host, NODE_FILE)["instance_group"] == "worker"


# run and plan


NODE = Node("ml-cluster", "us-west-2", "worker", "worker-1", "i-1", "compute", "10.0.0.12", ())


def step(name, do=lambda context: None, *, done=False, **fields):
    return Step(name, f"do {name}", is_done=lambda context: done, do=do, **fields)


def failing(*errors):
    """Return what a step does: raise each of the errors in turn, then nothing."""
    left = list(errors)

    def do(context):
        if left:
            raise left.pop(0)

    return do


@pytest.fixture
def context(machine):
    made = Context(machine())
    made.node = NODE
    return made


def states(context):
    return [(result["name"], result["state"]) for result in read(context.host, runner.REPORT_FILE)["steps"]]


def test_steps_run_in_order_each_on_its_node_types(context):
    steps = [
        step("one"),
        step("two", failing(StepError("not for us")), node_types=frozenset({"controller", "login"})),
        step("three", failing(StepError("is done")), done=True),
        step("four", node_types=frozenset({"compute"})),
    ]
    assert runner.run(steps, context)
    assert states(context) == [
        ("one", "done"),
        ("two", "not-for-this-node"),
        ("three", "already-done"),
        ("four", "done"),
    ]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StepError("no disk"), "no disk"),
        (KeyError("key"), "KeyError: 'key'"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_the_first_failure_stops_with_the_steps_name(context, caplog, error, message):
    assert not runner.run([step("one"), step("two", failing(error)), step("three")], context)
    assert states(context) == [("one", "done"), ("two", "failed")]
    assert read(context.host, runner.REPORT_FILE)["steps"][1]["error"] == message
    assert any(record.message.startswith("two: failed after") for record in caplog.records)


def test_what_is_flaky_is_tried_again_with_growing_waits(context):
    flaky = step("flaky", failing(*[NotYetError("busy")] * 3))
    assert runner.run([flaky], context)
    assert context.host.waits == [1, 2, 4]


def test_patience_ends(context):
    stubborn = step("stubborn", failing(*[NotYetError("busy")] * 99), patience_seconds=5)
    assert not runner.run([stubborn, step("next")], context)
    assert context.host.waits == [1, 2, 2]
    assert read(context.host, runner.REPORT_FILE)["steps"][0]["error"] == "busy (tried again for 5 s)"


def test_what_is_optional_fails_with_a_warning_and_what_comes_after_it_is_done(context):
    steps = [
        step("one", failing(StepError("no disk")), is_optional=lambda context: True),
        step("two", failing(*[NotYetError("busy")] * 99), patience_seconds=2, is_optional=lambda context: True),
        step("three"),
    ]
    assert runner.run(steps, context)
    report = read(context.host, runner.REPORT_FILE)
    assert report["state"] == "done"
    assert states(context) == [("one", "optional-failed"), ("two", "optional-failed"), ("three", "done")]
    goes_without = "the cluster file calls it optional, so the node goes without"
    assert [result["warnings"] for result in report["steps"]] == [
        [f"no disk: {goes_without}"],
        [f"busy (tried again for 2 s): {goes_without}"],
        [],
    ]
    assert {result["error"] for result in report["steps"]} == {None}


def test_the_report_of_a_killed_run_says_how_far_it_came(context):
    with pytest.raises(KeyboardInterrupt):
        runner.run([step("one"), step("two", failing(KeyboardInterrupt()))], context)
    assert states(context) == [("one", "done")]
    assert read(context.host, runner.REPORT_FILE)["state"] == "running"


def test_nothing_is_done_on_a_machine_that_cannot_take_a_report(machine):
    host = machine()
    host.write("/var/log", "a file where a directory should be")
    done = []
    with pytest.raises(OSError):
        runner.run([step("one", done.append)], Context(host))
    assert done == []


def test_the_plan_tells_and_changes_nothing(machine, capsys):
    host = machine()
    steps = [
        STEP,
        step("done", done=True),
        step("other", node_types=frozenset({"login"})),
        step("due", failing(StepError("done all the same"))),
    ]
    before = tree(host.root)
    assert runner.plan(steps, Context(host))
    assert tree(host.root) == before
    assert host.read(runner.REPORT_FILE) is None
    assert capsys.readouterr().out.splitlines() == [
        "identify: would write /var/log/provision/node.json",
        "done: already-done",
        "other: not-for-this-node",
        "due: would do due",
    ]


def test_a_plan_that_cannot_be_made_says_so_without_waiting(machine, capsys, caplog):
    host = machine(platform=None)
    assert not runner.plan([STEP], Context(host))
    assert host.waits == []
    assert capsys.readouterr().out == ""
    assert "identify: /opt/ml/config/resource_config.json is missing" in caplog.text


# Host


def test_a_file_is_replaced_in_one_move(tmp_path):
    host = Host(root=tmp_path)
    host.write("/etc/x.conf", "old\n")
    with (tmp_path / "etc/x.conf").open() as reader:
        host.write("/etc/x.conf", "naïve\n")
        assert reader.read() == "old\n"
    assert host.read("/etc/x.conf") == "naïve\n"
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["x.conf"]
    assert (tmp_path / "etc/x.conf").stat().st_mode & 0o777 == 0o644


def test_a_command_that_fails_says_what_and_keeps_its_arguments_to_itself():
    host = Host()
    assert host.run("printf", "%s", "ünïcode") == "ünïcode"
    for command, message in [
        (("sh", "-c", "echo out; echo why >&2; exit 3", "secret"), "sh exited with 3: why"),
        (("no-such-program", "secret"), "cannot run no-such-program: No such file or directory"),
        (("sleep", "20", "0"), "sleep did not end within 0.1 s"),
    ]:
        with pytest.raises(StepError) as caught:
            host.run(*command, timeout_seconds=0.1 if command[0] == "sleep" else 10)
        assert str(caught.value) == message


def test_the_own_addresses_are_addresses():
    for address in Host().own_addresses():
        assert not ipaddress.ip_address(address).is_loopback


@pytest.fixture
def server():
    """A server of this machine that answers with 200, 500, or not to the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Length", "9" if self.path == "/cut" else "6")
            self.end_headers()
            self.wfile.write("nähe\n".encode())

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_what_a_server_of_this_machine_answers(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert Host().fetch(f"{server}/metrics") == "nähe\n"
    assert Host().fetch(f"{server}/broken") is None
    assert Host().fetch(f"{server}/cut") is None
    assert Host().fetch("http://127.0.0.1:9/metrics") is None


def test_sleeping_takes_its_time():
    started = time.monotonic()
    Host().sleep(0.05)
    assert time.monotonic() - started >= 0.05


# What runs on a node


@pytest.mark.parametrize(
    "path", sorted(LIFECYCLE_SCRIPTS.rglob("*.py")), ids=lambda path: str(path.relative_to(LIFECYCLE_SCRIPTS))
)
def test_python_3_10_and_its_standard_library_are_enough(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = {"lifecycle"}
    if "exporters" in path.parts:
        # Their part, which travels in the bundle.
        allowed |= {"exporters", "prometheus_client"}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | allowed
