"""The Slurm exporter as a whole, on what a real cluster said."""

import json
import subprocess
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from exporters.slurm import groups, jobs, nodes
from exporters.slurm.collector import MAX_AGE_SECONDS
from lifecycle.errors import CommandError, StepError
from tests.exporters.exposition import samples_of, text_of
from tests.exporters.recordings import GROUPS, LOOKS, RECORDED, Look, collector_of, said_again
from tests.prometheus_programs import program

SEEN = {path.stem: Look.read(path) for path in LOOKS}
NODE_GROUPS = {f"ip-{ip.replace('.', '-')}": name for name, (_, _, ips) in GROUPS.items() for ip in ips}
UNAVAILABLE = {"draining", "drained", "failing", "down", "unknown"}


@pytest.fixture
def clock(monkeypatch):
    """The time, which tests set: `now` is the day's, `passed` the seconds since the start."""
    clock = SimpleNamespace(now=0.0, passed=100.0)
    time = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.passed)
    for module in ("looks", "slurm.collector", "slurm.groups"):
        monkeypatch.setattr(f"exporters.{module}.time", time)
    return clock


@pytest.fixture
def host(tmp_path):
    return said_again(tmp_path)


def seen(host, clock, name: str):
    """Return what is told after this look, by an exporter that has made those before it too."""
    clock.now = SEEN["01"].now - 15
    collector = collector_of(host)
    for one, look in SEEN.items():
        clock.now = look.now
        host.play(look)
        read = samples_of(collector)
        if one == name:
            return read
    raise LookupError(name)


# What it tells


def test_the_queue(host, clock):
    read = seen(host, clock, "01")
    assert read.all("slurm_queue_running", "user", "partition") == {
        ("alice", "cpu"): 2,
        ("alice", "dev"): 1,
        ("bob", "gpu"): 6,
    }
    assert read.all("slurm_queue_pending", "user", "partition", "reason") == {
        ("alice", "cpu", "Resources"): 1,
        ("alice", "cpu", "Priority"): 2,
        ("alice", "cpu", "BeginTime"): 1,
        ("alice", "cpu", "Dependency"): 1,
        ("alice", "cpu", "DependencyNeverSatisfied"): 1,
        ("alice", "cpu", "JobHeldUser"): 4,
        # It names cpu and gpu, and counts under the first.
        ("bob", "cpu", "Resources"): 1,
        ("bob", "gpu", "JobArrayTaskLimit"): 4,
        ("bob", "gpu", "JobHeldUser"): 1,
    }
    assert read.all("slurm_queue_jobs", "partition", "state") == {
        ("cpu", "pending"): 11,
        ("cpu", "running"): 2,
        ("dev", "running"): 1,
        ("gpu", "pending"): 5,
        ("gpu", "running"): 6,
    }
    assert read.all("slurm_oldest_pending_job_seconds", "partition") == {"cpu": 14, "gpu": 14}


def test_jobs_that_complete(host, clock):
    read = seen(host, clock, "02")
    assert read("slurm_queue_jobs", partition="gpu", state="completing") == 2
    assert read("slurm_queue_jobs", partition="gpu", state="running") == 4


def test_a_sentence_in_the_place_of_a_reason_makes_no_series_of_its_own(host, clock):
    read = seen(host, clock, "03")
    assert read("slurm_queue_pending", user="alice", partition="cpu", reason="Resources") == 1
    assert read("slurm_oldest_pending_job_seconds", partition="cpu") == 30


def test_nodes(host, clock):
    read = seen(host, clock, "04")
    assert read.all("slurm_node_state", "node", "instance_group", "state", "reason") == {
        ("ip-10-78-0-11", "login-group", "idle", ""): 1,
        ("ip-10-78-0-12", "worker-c5", "drained", "kernel update"): 1,
        ("ip-10-78-0-13", "worker-c5", "draining", 'disk | "full" \\ é'): 1,
        ("ip-10-78-0-14", "worker-c5", "completing", ""): 1,
        ("ip-10-78-0-15", "worker-g5", "mixed", ""): 1,
        ("ip-10-78-0-16", "worker-g5", "failing", "Action:Replace"): 1,
        ("ip-10-78-0-17", "worker-g5", "down", "Not responding"): 1,
    }
    assert read.all("slurm_group_nodes", "instance_group", "state") == {
        ("login-group", "idle"): 1,
        ("worker-c5", "drained"): 1,
        ("worker-c5", "draining"): 1,
        ("worker-c5", "completing"): 1,
        ("worker-g5", "mixed"): 1,
        ("worker-g5", "failing"): 1,
        ("worker-g5", "down"): 1,
    }
    # Not the login node, though Slurm would run jobs on it.
    assert read("slurm_nodes_usable") == 2


def test_gpus_and_cpus(host, clock):
    read = seen(host, clock, "04")
    assert read.all("slurm_group_gpus", "instance_group", "state") == {
        ("worker-g5", "allocated"): 3,
        ("worker-g5", "idle"): 5,
        ("worker-g5", "unusable"): 16,
    }
    assert read.all("slurm_group_cpus", "instance_group", "state") == {
        ("login-group", "idle"): 4,
        # One node drained, one draining with a CPU in use, one completing.
        ("worker-c5", "allocated"): 1,
        ("worker-c5", "idle"): 4,
        ("worker-c5", "unusable"): 7,
        ("worker-g5", "allocated"): 4,
        ("worker-g5", "idle"): 12,
        ("worker-g5", "unusable"): 32,
    }
    of_nodes = {labels for name, labels in read.samples if name == "slurm_node_allocated_gpus"}
    assert {dict(labels)["node"] for labels in of_nodes} == {"ip-10-78-0-15", "ip-10-78-0-16", "ip-10-78-0-17"}
    assert read("slurm_node_allocated_gpus", node="ip-10-78-0-15", instance_group="worker-g5") == 3


def test_waits_runs_and_ends(host, clock):
    read = seen(host, clock, "09")
    assert read("slurm_job_wait_seconds_count", partition="gpu") == 11
    assert read("slurm_job_wait_seconds_sum", partition="gpu") == 19
    assert read("slurm_job_wait_seconds_bucket", partition="cpu", le="60.0") == 5
    assert read("slurm_job_wait_seconds_bucket", partition="cpu", le="300.0") == 9
    assert read("slurm_job_run_seconds_bucket", partition="cpu", le="10.0") == 6
    assert read("slurm_job_run_seconds_bucket", partition="cpu", le="+Inf") == 9
    assert read.all("slurm_jobs_finished_total", "partition", "user", "state") == {
        ("cpu", "alice", "completed"): 6,
        ("cpu", "alice", "failed"): 1,
        ("cpu", "alice", "cancelled"): 2,
        ("cpu", "alice", "timeout"): 1,
        ("cpu", "bob", "completed"): 1,
        ("dev", "alice", "completed"): 1,
        ("gpu", "bob", "completed"): 6,
        ("gpu", "bob", "cancelled"): 1,
        ("gpu", "bob", "node_fail"): 1,
        ("gpu", "bob", "deadline"): 1,
    }


@pytest.mark.parametrize("name", SEEN)
def test_what_holds_of_every_look(host, clock, name):
    read = seen(host, clock, name)
    listed = nodes.parse(SEEN[name].nodes)[0]
    # All nodes are in dev, and some in a partition of their own too.
    assert read.total("slurm_group_nodes") == len(listed) == 7
    assert read.total("slurm_partition_nodes_in_state", partition="dev") == 7
    assert read.total("slurm_partition_nodes_in_state") == 7 + 6
    assert read.all("slurm_node_state", "node", "instance_group").keys() == {
        (node.name, NODE_GROUPS[node.name]) for node in listed
    }
    available = read.total("slurm_group_nodes") - sum(
        read.total("slurm_group_nodes", state=state) for state in UNAVAILABLE
    )
    assert read("slurm_nodes_usable") == available - read.total("slurm_group_nodes", instance_group="login-group")
    for resource, total in (("gpus", 24), ("cpus", 4 + 12 + 48)):
        assert read.total(f"slurm_group_{resource}") == total
    assert read.total("slurm_node_allocated_gpus") == read.total("slurm_group_gpus", state="allocated")
    assert read.total("slurm_queue_jobs", state="running") == read.total("slurm_queue_running")
    assert read.total("slurm_queue_jobs", state="pending") == read.total("slurm_queue_pending")
    assert read("slurm_up") == 1


def test_what_is_0_is_told(host, clock):
    read = seen(host, clock, "01")
    groups_, partitions = set(GROUPS), {"cpu", "gpu", "dev", "p5"}
    expected = {
        "slurm_group_nodes": {(group, state) for group in groups_ for state in nodes.STATES},
        "slurm_group_gpus": {(group, state) for group in groups_ for state in ("allocated", "idle", "unusable")},
        "slurm_group_cpus": {(group, state) for group in groups_ for state in ("allocated", "idle", "unusable")},
        "slurm_partition_nodes_in_state": {(partition, state) for partition in partitions for state in nodes.STATES},
        "slurm_queue_jobs": {(partition, state) for partition in partitions for state in jobs.QUEUE_STATES},
        "slurm_oldest_pending_job_seconds": {(partition,) for partition in partitions},
        "slurm_job_wait_seconds_count": {(partition,) for partition in partitions},
        "slurm_job_run_seconds_sum": {(partition,) for partition in partitions},
        "slurm_exporter_failures_total": {("jobs",), ("nodes",)},
        "slurm_exporter_look_seconds": {("jobs",), ("nodes",)},
    }
    for metric, labels in expected.items():
        order = ("instance_group", "partition", "source", "state")
        found = {
            tuple(dict(pairs)[label] for label in order if label in dict(pairs))
            for name, pairs in read.samples
            if name == metric
        }
        assert found == labels, metric
    ends = {(dict(pairs)["user"], dict(pairs)["state"]) for name, pairs in read.samples if "finished_total" in name}
    assert ends == {(user, state) for user in ("alice", "bob") for state in jobs.FINISHED_STATES}


def test_promtool_finds_nothing_to_say(host, clock):
    clock.now = SEEN["04"].now
    host.play(SEEN["04"])
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text_of(collector_of(host)), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_an_empty_cluster(host, clock):
    clock.now = SEEN["01"].now
    host.play(replace(SEEN["01"], squeue=""))
    read = samples_of(collector_of(host))
    assert read("slurm_up") == 1
    assert not read.all("slurm_queue_jobs", "partition", "state")
    assert not read.all("slurm_queue_running", "user")


def test_a_later_slurm(host, clock):
    look = Look.read(RECORDED / "slurm-26.05.txt")
    clock.now = look.now
    host.play(look)
    read = samples_of(collector_of(host))
    assert read.all("slurm_queue_jobs", "partition", "state") == {
        ("dev", "pending"): 4,
        ("p", "pending"): 1,
        ("p", "running"): 1,
    }
    # Nodes of nobody's groups are for jobs.
    assert read.all("slurm_group_nodes", "instance_group", "state") == {
        ("unknown", "mixed"): 1,
        ("unknown", "drained"): 1,
    }
    assert read("slurm_nodes_usable") == 1
    assert read("slurm_node_state", node="n2", instance_group="unknown", state="drained", reason="a|b") == 1
    assert read("slurm_group_gpus", instance_group="unknown", state="allocated") == 1
    assert read("slurm_exporter_failures_total", source="nodes") == 0


# When Slurm does not answer


def test_slurm_does_not_answer_from_the_start(host, clock):
    host.fail()
    read = samples_of(collector_of(host))
    assert read("slurm_up") == 0
    assert read("slurm_exporter_failures_total", source="jobs") == 1
    assert not {name for name in read.names() if name.startswith(("slurm_queue", "slurm_node", "slurm_group"))}


def test_slurm_stops_answering_and_comes_back(host, clock, caplog):
    caplog.set_level("INFO")
    clock.now = SEEN["01"].now - 15
    collector = collector_of(host)
    for name in ("01", "03"):
        clock.now = SEEN[name].now
        host.play(SEEN[name])
        before = samples_of(collector)
    host.fail()
    clock.passed += 15
    read = samples_of(collector)
    assert read("slurm_up") == 0
    assert read("slurm_nodes_usable") == before("slurm_nodes_usable")
    clock.passed += MAX_AGE_SECONDS
    read = samples_of(collector)
    assert not {name for name in read.names() if name.startswith(("slurm_queue", "slurm_node", "slurm_group"))}
    assert "slurm_oldest_pending_job_seconds" not in read.names()
    for counter in ("slurm_jobs_finished_total", "slurm_job_run_seconds_count", "slurm_job_wait_seconds_sum"):
        assert read.total(counter) == before.total(counter) > 0
    assert caplog.text.count("squeue did not end within 7 s") == 1
    clock.now, clock.passed = SEEN["04"].now, clock.passed + 15
    host.play(SEEN["04"])
    read = samples_of(collector)
    assert read("slurm_up") == 1
    assert read("slurm_nodes_usable") == 2
    assert read("slurm_jobs_finished_total", partition="gpu", user="bob", state="node_fail") == 1
    assert caplog.text.count("squeue answers as it should again") == 1


def test_only_one_of_the_two_answers(host, clock):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    host.says["squeue"] = StepError("squeue did not end within 7 s")
    read = samples_of(collector_of(host))
    assert read("slurm_up") == 0
    assert read("slurm_nodes_usable") == 6
    assert "slurm_queue_jobs" not in read.names()


def test_a_line_that_is_not_understood_is_a_failure_and_the_others_count(host, clock, caplog):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    host.says["squeue"] = SEEN["01"].squeue + "slurmctld: a warning on the wrong channel\n"
    read = samples_of(collector_of(host))
    assert read("slurm_up") == 1
    assert read("slurm_exporter_failures_total", source="jobs") == 1
    assert read("slurm_queue_running", user="bob", partition="gpu") == 6
    assert "a warning on the wrong channel" in caplog.text


def test_a_job_whose_line_is_not_understood_for_a_moment_is_not_counted_again(host, clock):
    clock.now = SEEN["01"].now - 15
    collector = collector_of(host)
    host.play(SEEN["03"])
    before = samples_of(collector).all("slurm_jobs_finished_total", "partition", "state")
    host.says["squeue"] = SEEN["03"].squeue.replace("|COMPLETED|", "|DANCING|")
    samples_of(collector)
    host.play(SEEN["03"])
    assert samples_of(collector).all("slurm_jobs_finished_total", "partition", "state") == before


def test_nothing_that_is_understood_is_no_answer(host, clock):
    host.says.update({"squeue": "what?\n", "scontrol --all": "No nodes in the system\n"})
    read = samples_of(collector_of(host))
    assert read("slurm_up") == 0
    assert "slurm_nodes_usable" not in read.names()


# What it costs


def test_a_look_is_one_command_for_the_jobs_and_one_for_the_nodes(host, clock):
    host.play(SEEN["01"])
    samples = collector_of(host)
    list(samples.collect())
    assert sorted(host.commands) == sorted([jobs.COMMAND, nodes.COMMAND])


def test_scrapes_within_the_interval_share_a_look(host, clock):
    host.play(SEEN["01"])
    collector = collector_of(host, min_interval_seconds=10)
    for passed in (0, 5, 4.9, 0.2, 9, 1):
        clock.passed += passed
        list(collector.collect())
    assert len(host.commands) == 2 * 3


def test_scrapes_that_come_together_share_a_look(host):
    go_on = threading.Event()
    host.play(SEEN["01"])
    host.says["squeue"] = lambda: SEEN["01"].squeue if go_on.wait(10) else ""
    collector = collector_of(host, min_interval_seconds=10)
    told = []
    scrapes = [threading.Thread(target=lambda: told.append(len(list(collector.collect())))) for _ in range(5)]
    for scrape in scrapes:
        scrape.start()
    go_on.set()
    for scrape in scrapes:
        scrape.join()
    assert len(set(told)) == 1
    assert len(told) == 5
    assert len(host.commands) == 2


# Two controllers

BOTH = "SlurmctldHost=ip-10-78-0-10(10.78.0.10)\nSlurmctldHost=ip-10-78-0-18(10.78.0.18)\n"
#: As Slurm 24.11 says it.
UP, FIRST_DOWN, SECOND_DOWN = (
    f"Slurmctld(primary) at ip-10-78-0-10 is {one}\nSlurmctld(backup) at ip-10-78-0-18 is {other}\n"
    for one, other in (("UP", "UP"), ("DOWN", "UP"), ("UP", "DOWN"))
)
ALL_DOWN = CommandError("scontrol", 1, "** RESTORE SLURMCTLD DAEMON TO SERVICE **")


@pytest.fixture
def two(host, clock):
    host.write("/opt/slurm/etc/slurm.conf", BOTH)
    clock.now = SEEN["01"].now - 15
    host.says["scontrol ping"] = UP
    first = collector_of(host, own_name="ip-10-78-0-10")
    second = collector_of(replace(host, root=host.root / "second", says=host.says), own_name="ip-10-78-0-18")
    second._host.write("/opt/slurm/etc/slurm.conf", BOTH)
    second._host.write_cluster()
    return first, second


def looked(collectors, host, clock, name: str, ping):
    clock.now = SEEN[name].now
    clock.passed += 15
    host.play(SEEN[name])
    host.says["scontrol ping"] = ping
    return [samples_of(collector) for collector in collectors]


def test_only_the_controller_in_charge_tells_anything(two, host, clock):
    first, second = looked(two, host, clock, "01", UP)
    assert first("slurm_up") == 1
    assert not second.samples
    first, second = looked(two, host, clock, "03", SECOND_DOWN)
    assert first("slurm_up") == 1
    assert not second.samples


def test_after_a_takeover_the_other_goes_on_and_counts_what_is_new(two, host, clock):
    looked(two, host, clock, "01", UP)
    before, _ = looked(two, host, clock, "03", UP)
    first, second = looked(two, host, clock, "04", FIRST_DOWN)
    assert not first.samples
    assert second("slurm_nodes_usable") == 2
    # Counters begin with 0, which is how Prometheus learns that they are others, and have what has ended since.
    assert before("slurm_jobs_finished_total", partition="gpu", user="bob", state="completed") == 2
    assert second("slurm_jobs_finished_total", partition="gpu", user="bob", state="completed") == 2
    assert second("slurm_jobs_finished_total", partition="gpu", user="bob", state="node_fail") == 1
    assert second("slurm_jobs_finished_total", partition="gpu", user="bob", state="cancelled") == 0
    # And back again.
    first, second = looked(two, host, clock, "05", UP)
    assert not second.samples
    assert first("slurm_jobs_finished_total", partition="gpu", user="bob", state="completed") == 2
    assert first("slurm_jobs_finished_total", partition="gpu", user="bob", state="node_fail") == 0


def test_while_none_answers_the_former_keeps_its_counters_and_the_other_has_none(two, host, clock):
    looked(two, host, clock, "01", UP)
    looked(two, host, clock, "03", UP)
    clock.passed += 15
    host.fail()
    host.says["scontrol ping"] = ALL_DOWN
    first, second = (samples_of(collector) for collector in two)
    assert first("slurm_up") == second("slurm_up") == 0
    assert first("slurm_jobs_finished_total", partition="gpu", user="bob", state="completed") == 2
    assert "slurm_jobs_finished_total" not in second.names()


def test_a_single_controller_is_not_asked_whether_it_is_in_charge(host, clock):
    host.play(SEEN["01"])
    assert samples_of(collector_of(host, own_name="another-name"))("slurm_up") == 1
    assert ("scontrol", "ping") not in host.commands


# Instance groups


def test_nodes_of_a_group_that_came_later_are_known_by_what_they_announced(host, clock):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    host.write_cluster({name: group for name, group in GROUPS.items() if name != "worker-g5"})
    for node in (15, 16):
        said = json.dumps({"group": "worker-g5", "partition": "gpu"})
        host.write(f"/home/.cdk-slurm/ml-cluster/nodes/ip-10-78-0-{node}.json", said)
    read = samples_of(collector_of(host))
    assert read.total("slurm_group_nodes", instance_group="worker-g5") == 2
    assert read.total("slurm_group_nodes", instance_group="unknown") == 1
    assert read.total("slurm_group_nodes") == 7
    assert read("slurm_nodes_usable") == 6


def test_a_node_is_known_by_its_address_too(host, clock):
    clock.now = SEEN["01"].now
    host.play(replace(SEEN["01"], nodes=SEEN["01"].nodes.replace("NodeName=ip-10-78-0-12 ", "NodeName=custom ")))
    read = samples_of(collector_of(host))
    assert read("slurm_node_state", node="custom", instance_group="worker-c5", state="mixed", reason="") == 1


def test_a_replaced_node_is_known_as_soon_as_the_platform_tells_of_it(host, clock):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    host.write_resource_config({**GROUPS, "worker-g5": ("compute", "gpu", ["10.78.0.15", "10.78.0.16"])})
    collector = collector_of(host)
    assert samples_of(collector).total("slurm_group_nodes", instance_group="unknown") == 1
    host.write_resource_config(GROUPS)
    assert samples_of(collector).total("slurm_group_nodes", instance_group="worker-g5") == 3


@pytest.mark.parametrize("file", ["cluster.json", "resource_config.json"])
def test_without_its_files_groups_are_unknown_and_the_rest_is_told(host, clock, caplog, file):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    (host.bundle / file if file == "cluster.json" else host.locate(f"/opt/ml/config/{file}")).unlink()
    collector = collector_of(host)
    for _ in range(2):
        read = samples_of(collector)
    assert read.total("slurm_group_nodes", instance_group="unknown") == read.total("slurm_group_nodes") == 7
    assert read("slurm_up") == 1
    assert caplog.text.count("are not known anew") == 1


def test_a_file_that_is_broken_for_a_moment_changes_nothing(host, clock):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    collector = collector_of(host)
    before = samples_of(collector).all("slurm_group_nodes", "instance_group", "state")
    host.write("/opt/ml/config/resource_config.json", '{"ClusterConfig"')
    assert samples_of(collector).all("slurm_group_nodes", "instance_group", "state") == before


def test_a_shared_file_system_that_hangs_holds_nothing_up(host, clock, monkeypatch):
    clock.now = SEEN["01"].now
    host.play(SEEN["01"])
    host.write_cluster({name: group for name, group in GROUPS.items() if name != "worker-g5"})
    answers, asked = threading.Event(), []

    def announced(*_):
        asked.append(1)
        answers.wait(10)
        return ()

    monkeypatch.setattr(groups, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(groups, "announced", announced)
    collector = collector_of(host)
    for _ in range(3):
        clock.passed += 100
        assert samples_of(collector).total("slurm_group_nodes", instance_group="unknown") == 3
    assert len(asked) == 1
    answers.set()
