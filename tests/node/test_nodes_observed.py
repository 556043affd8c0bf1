"""Everything that dashboards and alerts ask for, asked of what a real cluster sends."""

import json
import time

import pytest

from cdk_slurm.alerts import alerts
from cdk_slurm.dashboards import dashboards
from cdk_slurm.spec import AlertThresholds
from tests.dashboard_queries import EMPTY_WHEN_WELL, expressions, selectors, variable_queries
from tests.node.cluster.machine import eventually
from tests.node.cluster.platform import CLUSTER_NAME
from tests.node.observed import observed_cluster, submit, tell_gpus, work
from tests.node.test_nodes_metrics import fetched_scripts

QUERIES = [query for dashboard in dashboards() for query in expressions(dashboard)]
ALERTS = alerts(AlertThresholds())

#: Jobs with hardware that this machine has not: their exporters' answers are recorded, and nothing else is.
RECORDED_JOBS = {"dcgm", "slurmctld"}
RECORDED_FABRIC = {"efa", "lustre"}


@pytest.fixture(scope="module")
def platform(workplace, trees, tmp_path_factory):
    """A cluster with jobs that run, wait and have ended, a node that is down, and one that is drained."""
    scripts = fetched_scripts(tmp_path_factory.mktemp("bundle") / "scripts")
    with observed_cluster(workplace, trees, scripts) as platform:
        workers, gpus = platform.machines["worker"], platform.machines["gpu-worker"]
        idle = "sinfo -hN --states=idle -p dev"
        eventually(lambda: platform.controller.shell(idle).count("\n") == 6, timeout_seconds=60)
        # Counters of who is new begin where they are: what is to rise has to be there before.
        ended = {submit(platform, f"--partition={one}", does="true") for one in ("cpu", "g5")}
        ended.add(submit(platform, "--partition=cpu", does="exit 3"))
        eventually(lambda: _states(platform, ended) == {"COMPLETED", "FAILED"})
        job = submit(platform, "--partition=g5", "--gres=gpu:8", f"--nodelist={gpus[0].name}", does="sleep 900")
        submit(platform, "--partition=cpu", "--ntasks=2", f"--nodelist={workers[0].name}", does="sleep 900", user="bob")
        submit(platform, "--partition=cpu", "--nodes=3", "--exclusive", does="true", user="carol")
        eventually(lambda: _states(platform, {job}) == {"RUNNING"})
        tell_gpus(gpus[0], jobs=dict.fromkeys(range(8), job), broken=[5])
        platform.controller.shell(f"scontrol update nodename={workers[1].name} state=drain reason='disk is full'")
        # Metrics of jobs are looked at by the minute.
        time.sleep(70)
        ended = {submit(platform, f"--partition={one}", does="true") for one in ("cpu", "g5")}
        ended.add(submit(platform, "--partition=cpu", does="exit 3"))
        workers[2].lose_power()
        platform.controller.shell(f"scontrol update nodename={workers[2].name} state=down reason='no power'")
        eventually(lambda: _states(platform, ended) == {"COMPLETED", "FAILED"})
        # Scrapes, and evaluations of the rules.
        for _ in range(4):
            time.sleep(15)
            for machine in gpus:
                work(machine, 15, busy=machine is gpus[0])
        yield platform


def _states(platform, jobs) -> set[str]:
    return set(platform.login.shell(f"squeue --noheader --states=all --jobs={','.join(jobs)} --format=%T").split())


@pytest.fixture(scope="module")
def chosen(platform):
    """What is chosen at the top of a dashboard."""
    return {"cluster": CLUSTER_NAME, "node": platform.machines["gpu-worker"][0].name, "partition": ".*"}


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda one: one.uid)
def test_every_panel_has_something_to_show(platform, chosen, dashboard):
    empty = []
    for query in expressions(dashboard):
        node = chosen["node"] if dashboard.uid == "cdk-slurm-node" else ".*"
        if not platform.workspace.shows(query.of(**chosen | {"node": node})):
            empty.append((query.panel, query.expression))
    assert not empty, "\n".join(": ".join(one) for one in empty)


def test_nothing_is_left_out_that_is_empty_when_all_is_well(platform):
    """Here all is not well, so that these panels are judged with the others."""
    assert {(query.dashboard, query.panel) for query in QUERIES} >= EMPTY_WHEN_WELL


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda one: one.uid)
def test_every_variable_has_values(platform, chosen, dashboard):
    for variable in variable_queries(dashboard):
        series = variable.series.replace("$cluster", CLUSTER_NAME)
        found = platform.workspace.query(f"count by ({variable.label}) ({series})")
        assert found, variable
        assert all(variable.label in one["metric"] for one in found), variable


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_everything_that_an_alert_reads_is_there(platform, alert):
    """That it fires is shown elsewhere, with these very expressions."""
    assert [one for one in sorted(selectors(alert.expression)) if not platform.workspace.query(one)] == []


def test_alerts_fire_for_what_is_wrong(platform):
    """Of a node that has just gone most are still being waited for."""
    broken = platform.machines["gpu-worker"][0].name
    found = {
        (one["metric"]["alertname"], one["metric"].get("node"))
        for one in platform.workspace.query('ALERTS{alertstate="firing"}')
    }
    assert ("GpuXidError", broken) in found
    pending = {one["metric"]["alertname"] for one in platform.workspace.query("ALERTS")}
    assert "NodeCountDropped" in pending


def test_what_is_recorded_is_of_hardware_only(platform):
    """All other series come from programs that run on the nodes."""
    jobs = {one["metric"]["job"] for one in platform.workspace.query("count by (job) (up == 1)")}
    assert jobs == {"node", "fabric", "slurm"} | RECORDED_JOBS
    query = 'count by (job, __name__) ({__name__=~".+", __name__!~"ALERTS.*|scrape_.*"})'
    names: dict[str, set[str]] = {}
    for one in platform.workspace.query(query):
        names.setdefault(one["metric"]["job"], set()).add(one["metric"]["__name__"])
    assert {name for name in names["fabric"] if not name.startswith(("node_amazonefa_", "lustre_"))} == {
        "up",
        "fabric_collector_success",
        "fabric_peer_up",
        "fabric_peer_round_trip_seconds",
    }
    csv = (platform.machines["gpu-worker"][0].read("/etc/cdk-slurm/dcgm-collectors.csv")).splitlines()
    shipped = {line.partition(",")[0] for line in csv if line.startswith("DCGM_")}
    assert names["dcgm"] - {"up"} == shipped


def test_no_metric_is_asked_for_that_no_exporter_tells(platform):
    """Not one of a kind that this cluster happens to lack."""
    told = {one["metric"]["__name__"] for one in platform.workspace.query('count by (__name__) ({__name__!=""})')}
    asked = {
        selector.partition("{")[0]
        for query in QUERIES
        for selector in selectors(query.of(cluster=CLUSTER_NAME, node=".*", partition=".*"))
    }
    asked |= {selector.partition("{")[0] for alert in ALERTS for selector in selectors(alert.expression)}
    assert json.dumps(sorted(asked - told)) == "[]"
