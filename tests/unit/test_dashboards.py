"""The dashboards: JSON as Grafana 10.4 takes it, PromQL that parses, and no metric that nothing exports."""

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from cdk_slurm.dashboards import AMP_UID, CLOUDWATCH_UID, FOLDER_UID, Dashboard, dashboards
from tests.dashboard_queries import PanelQuery, expressions, panels, substituted, variable_queries, variables_in, within

ALL = dashboards()
QUERIES = [query for dashboard in ALL for query in expressions(dashboard)]
PANELS = [panel for one in ALL for panel in panels(json.loads(one.json))]
CHOSEN = {"cluster": "ml-cluster", "node": ".*", "partition": ".*", "datasource": AMP_UID}

#: Labels that every series has, by the exporter's job.
OF_ALL = {"cluster", "job", "instance", "instance_group", "node_type"}

#: Collectors of node_exporter that run, and of their metrics those that are of use here.
NODE_EXPORTER = {
    "cpu": ["cpu_seconds_total"],
    "diskstats": [
        f"disk_{name}"
        for name in (
            "read_bytes_total",
            "written_bytes_total",
            "reads_completed_total",
            "writes_completed_total",
            "io_time_seconds_total",
        )
    ],
    "filefd": ["filefd_allocated"],
    "filesystem": [
        f"filesystem_{name}" for name in ("size_bytes", "avail_bytes", "files", "files_free", "device_error")
    ],
    "loadavg": ["load1", "load5", "load15"],
    "meminfo": [
        f"memory_{name}_bytes" for name in ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SReclaimable")
    ],
    "netdev": [
        f"network_{way}_{what}_total"
        for way in ("receive", "transmit")
        for what in ("bytes", "drop", "errs", "packets")
    ],
    "netstat": ["netstat_Tcp_RetransSegs", "netstat_Tcp_OutSegs"],
    "nfs": ["nfs_requests_total"],
    "pressure": [
        f"pressure_{what}_seconds_total"
        for what in ("cpu_waiting", "memory_waiting", "memory_stalled", "io_waiting", "io_stalled")
    ],
    "stat": ["boot_time_seconds", "procs_running", "procs_blocked"],
    "time": ["time_seconds"],
    "uname": ["uname_info"],
    "vmstat": ["vmstat_oom_kill"],
}

#: Rows of the list of counters that the DCGM exporter gets.
DCGM = {
    *(
        f"DCGM_FI_DEV_{name}"
        for name in (
            "GPU_TEMP",
            "MEMORY_TEMP",
            "POWER_USAGE",
            "FB_USED",
            "FB_FREE",
            "GPU_UTIL",
            "SM_CLOCK",
            "XID_ERRORS",
            "THERMAL_VIOLATION",
            "POWER_VIOLATION",
            "ECC_SBE_VOL_TOTAL",
            "ECC_DBE_VOL_TOTAL",
            "ROW_REMAP_FAILURE",
            "CORRECTABLE_REMAPPED_ROWS",
            "UNCORRECTABLE_REMAPPED_ROWS",
        )
    ),
    *(f"DCGM_FI_PROF_{name}" for name in ("GR_ENGINE_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE")),
    *(f"DCGM_FI_PROF_{link}_{way}_BYTES" for link in ("NVLINK", "PCIE") for way in ("RX", "TX")),
}

#: Files of /sys/class/infiniband/*/ports/*/hw_counters of an EFA device.
EFA = {
    f"node_amazonefa_{name}"
    for name in (
        "rx_bytes",
        "tx_bytes",
        "rx_pkts",
        "tx_pkts",
        "rx_drops",
        "rdma_read_bytes",
        "rdma_write_bytes",
        "rdma_write_recv_bytes",
        "rdma_read_wr_err",
        "rdma_write_wr_err",
        "retrans_pkts",
        "retrans_timeout_events",
        "impaired_remote_conn_events",
        "unresponsive_remote_events",
    )
}

OURS = {
    "slurm_up",
    "slurm_exporter_look_seconds",
    "slurm_exporter_failures_total",
    "slurm_queue_running",
    "slurm_queue_pending",
    "slurm_queue_jobs",
    "slurm_jobs_finished_total",
    *(f"slurm_job_{time}_seconds_{part}" for time in ("wait", "run") for part in ("bucket", "sum", "count")),
    "slurm_oldest_pending_job_seconds",
    "slurm_nodes_usable",
    "slurm_group_nodes",
    "slurm_partition_nodes_in_state",
    "slurm_node_state",
    "slurm_group_gpus",
    "slurm_group_cpus",
    "slurm_node_allocated_gpus",
    "fabric_peer_up",
    "fabric_peer_round_trip_seconds",
    "lustre_client_read_bytes_total",
    "lustre_client_write_bytes_total",
    "lustre_client_operations_total",
    "fabric_collector_success",
}

#: Slurm's own, of Slurm 25.11 and later.
SLURMCTLD = {"slurm_sched_mean_cycle", "slurm_bf_mean_cycle", "slurm_schedule_queue_len", "slurm_server_thread_cnt"}

#: Prometheus' own, and that of the service's rules:
#: https://docs.aws.amazon.com/prometheus/latest/userguide/troubleshoot-rule-evaluations.html
PROMETHEUS = {"up", "ALERTS"}

NODE_METRICS = {f"node_{name}" for names in NODE_EXPORTER.values() for name in names}
EXPORTED = NODE_METRICS | DCGM | EFA | OURS | SLURMCTLD | PROMETHEUS


def each_dashboard() -> Any:
    return pytest.mark.parametrize("dashboard", ALL, ids=lambda one: one.uid)


def parsed(query: PanelQuery) -> promql_parser.Expr:
    return promql_parser.parse(query.of(**CHOSEN))


def metrics(expression: Any) -> set[str]:
    return {part.name for part in within(expression) if isinstance(part, promql_parser.VectorSelector)}


def test_there_are_six_with_the_uids_that_alerts_and_links_name() -> None:
    assert {one.uid: one.title for one in ALL} == {
        "cdk-slurm-overview": "Cluster Overview",
        "cdk-slurm-gpu-health": "GPU Health",
        "cdk-slurm-jobs": "Slurm Jobs",
        "cdk-slurm-network": "Network Performance",
        "cdk-slurm-node": "Node",
        "cdk-slurm-lustre": "Lustre",
    }
    assert (AMP_UID, CLOUDWATCH_UID, FOLDER_UID) == ("cdk-slurm-amp", "cdk-slurm-cloudwatch", "cdk-slurm")


def test_the_json_is_the_same_in_every_process() -> None:
    program = "from cdk_slurm.dashboards import dashboards; print(*(d.json for d in dashboards()), sep='', end='')"
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] == "".join(one.json for one in dashboards())


@each_dashboard()
def test_a_dashboard_is_what_grafana_takes(dashboard: Dashboard) -> None:
    model = json.loads(dashboard.json)
    assert model["schemaVersion"] == 39
    assert (model["uid"], model["title"]) == (dashboard.uid, dashboard.title)
    assert "id" not in model and "version" not in model
    assert model["description"]
    assert model["tags"] == ["cdk-slurm"]
    assert model["refresh"] == "30s"
    assert model["time"] == {"from": "now-1h", "to": "now"}
    assert "30s" in model["timepicker"]["refresh_intervals"]
    assert model["graphTooltip"] == 1, "shared crosshair"
    assert model["editable"] is False, "what is changed in Grafana is lost with the next deployment"


@each_dashboard()
def test_panels_have_numbers_and_places_of_their_own(dashboard: Dashboard) -> None:
    model = json.loads(dashboard.json)
    every = [panel for row in model["panels"] for panel in [row, *row.get("panels", [])]]
    assert len({panel["id"] for panel in every}) == len(every)
    shown = model["panels"]
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["w"] > 0 and place["h"] > 0
        assert place["x"] + place["w"] <= 24, panel["title"]
    for one, other in combinations(shown, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    for row in shown:
        for one, other in combinations(row.get("panels", []), 2):
            assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert sum(place["w"] * place["h"] for place in (panel["gridPos"] for panel in shown)) == 24 * max(
        panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown
    ), "there is empty space"


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in ("xw", "yh"))


@each_dashboard()
def test_titles_are_told_apart(dashboard: Dashboard) -> None:
    titles = [panel["title"] for panel in panels(json.loads(dashboard.json))]
    assert len(set(titles)) == len(titles)


@each_dashboard()
def test_a_panel_explains_itself(dashboard: Dashboard) -> None:
    for panel in panels(json.loads(dashboard.json)):
        assert panel["title"]
        assert panel["description"].endswith(".")
        if panel["type"] == "text":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"]
        if panel["type"] == "timeseries" and all(comes_and_goes(target) for target in panel["targets"]):
            assert "noValue" not in defaults, "Grafana says it of each series that is missing at a moment"
        else:
            assert defaults["noValue"], "what it says when it is empty"
        if panel["type"] in ("timeseries", "status-history"):
            assert panel["options"]["legend"]
            assert all(
                target.get("legendFormat") or target.get("label") or target.get("hide") for target in panel["targets"]
            )
        if panel["type"] == "bargauge" and len(panel["targets"]) == 1:
            assert panel["targets"][0]["legendFormat"]


def comes_and_goes(target: dict[str, Any]) -> bool:
    return target.get("expr", "").startswith(("topk(", "bottomk("))


def test_axes_have_no_fixed_decimals() -> None:
    """With `decimals` 0 Grafana 10.4 leaves fractions out of an axis, and writes `noValue` in their place."""
    assert not [
        panel["title"]
        for panel in PANELS
        if panel["type"] == "timeseries" and "decimals" in panel["fieldConfig"]["defaults"]
    ]


def test_cells_of_tables_are_empty_where_nothing_is() -> None:
    """The text for an empty panel would be in every empty cell."""
    for panel in PANELS:
        if panel["type"] == "table":
            first = panel["fieldConfig"]["overrides"][0]
            assert first["matcher"]["options"] == "/.*/"
            assert first["properties"] == [{"id": "noValue", "value": "-"}]


@each_dashboard()
def test_a_panel_asks_the_data_source_that_is_ours(dashboard: Dashboard) -> None:
    for panel in panels(json.loads(dashboard.json)):
        targets = panel.get("targets", [])
        sources = {(target["datasource"]["type"], target["datasource"]["uid"]) for target in targets}
        assert sources <= {("prometheus", "${datasource}"), ("cloudwatch", CLOUDWATCH_UID)}
        if targets:
            assert {(panel["datasource"]["type"], panel["datasource"]["uid"])} == sources
        assert len({target["refId"] for target in targets}) == len(targets)


@each_dashboard()
def test_variables_are_those_that_are_used(dashboard: Dashboard) -> None:
    model = json.loads(dashboard.json)
    defined = {variable["name"]: variable for variable in model["templating"]["list"]}
    used = variables_in(json.dumps([model["panels"], model["templating"]]))
    assert used == defined.keys()
    assert defined["datasource"]["query"] == AMP_UID
    assert defined["datasource"]["hide"] == 2
    assert list(defined)[:2] == ["datasource", "cluster"]
    for name in defined.keys() & {"node", "partition"}:
        several = dashboard.uid != "cdk-slurm-node"
        assert defined[name]["multi"] is defined[name]["includeAll"] is several
        if several:
            assert defined[name]["allValue"] == ".*"
            assert defined[name]["current"]["value"] == ["$__all"]
    for variable in variable_queries(dashboard):
        assert defined[variable.variable]["refresh"] == 2, "asked again when the time range changes"
        selector = promql_parser.parse(substituted(variable.series, CHOSEN))
        assert metrics(selector) <= EXPORTED


@each_dashboard()
def test_links_lead_to_dashboards_that_are_there(dashboard: Dashboard) -> None:
    model = json.loads(dashboard.json)
    others = {one.uid for one in ALL if one.uid != dashboard.uid}
    assert {re.fullmatch(r"/d/([\w-]+)(\?.*)?", link["url"])[1] for link in model["links"]} == others  # type: ignore[index]
    for link in model["links"]:
        assert link["keepTime"]
        # The dashboard of one node takes the cluster only.
        assert link["includeVars"] or link["url"] == "/d/cdk-slurm-node?${cluster:queryparam}"
    inside = re.findall(r'"url": "([^"]*)"', json.dumps(model["panels"]))
    for url in inside:
        assert re.fullmatch(
            r"/d/cdk-slurm-node\?\$\{cluster:queryparam\}&var-node=\$\{__\w+\.[\w.]+\}&\$\{__url_time_range\}", url
        )


def test_an_expression_parses() -> None:
    for query in QUERIES:
        parsed(query)


def test_an_expression_asks_for_metrics_that_are_exported() -> None:
    for query in QUERIES:
        assert metrics(parsed(query)) <= EXPORTED, query


def test_an_expression_is_of_one_cluster() -> None:
    for query in QUERIES:
        for part in within(parsed(query)):
            if isinstance(part, promql_parser.VectorSelector):
                assert any(
                    (matcher.name, matcher.value) == ("cluster", "ml-cluster") for matcher in part.matchers.matchers
                ), part.prettify()


def test_rates_go_by_what_grafana_says() -> None:
    for query in QUERIES:
        ranges = re.findall(r"\[([^\]]+)\]", query.expression)
        assert set(ranges) <= {"$__rate_interval", "$__rate_interval:1m", "$__range:$__interval", "$__range"}, query


def test_no_node_counts_twice() -> None:
    for query in QUERIES:
        assert "slurm_partition_nodes_in_state" not in query.expression, "a node is in two partitions"


def test_a_legend_names_labels_that_the_series_have() -> None:
    for query in QUERIES:
        labels = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        for part in within(parsed(query)):
            if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
                assert labels <= set(part.modifier.labels) | OF_ALL or part.op in ("topk", "bottomk"), query
                break


def test_a_thousand_nodes_do_not_all_come_to_the_browser() -> None:
    """A panel by node or GPU shows the first of them, or one node's."""
    for query in QUERIES:
        if query.dashboard != "cdk-slurm-node" and re.search(r"\{\{(instance|gpu|peer|hpc_job|user)\}\}", query.legend):
            assert re.match(r"(topk|bottomk)\(\d+, ", query.expression), query


def test_what_is_good_or_bad_is_coloured() -> None:
    coloured = {
        (step["value"], step["color"])
        for panel in PANELS
        if "Temperature" in panel["title"] and panel["type"] == "timeseries" and "memory" not in panel["title"]
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    }
    assert coloured == {(None, "green"), (75, "orange"), (85, "red")}
    waiting = [panel for panel in PANELS if panel["title"].startswith("Oldest pending job")]
    assert len(waiting) >= 4
    for panel in waiting:
        assert {"color": "red", "value": 1800} in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


def test_slurms_own_metrics_are_told_from_ours() -> None:
    for query in QUERIES:
        if metrics(parsed(query)) & SLURMCTLD:
            assert 'job="slurmctld"' in query.expression
    rows = [row["title"] for one in ALL for row in json.loads(one.json)["panels"] if row["type"] == "row"]
    assert any("25.11" in title for title in rows)


def test_histograms_have_the_exporters_buckets() -> None:
    names = {
        panel["title"]: [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
        for panel in PANELS
        if panel["type"] == "bargauge" and panel["fieldConfig"]["overrides"]
    }
    wait = [10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200]
    run = [10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800]
    assert names == {
        title: [*(rf"/^{bound}(\.0)?$/" for bound in bounds), r"/^\+Inf$/"]
        for title, bounds in (("Waiting time", wait), ("Run time", run))
    }


def test_the_documentation_has_each_with_a_picture() -> None:
    text = Path("docs/dashboards.md").read_text("utf-8")
    pictures = re.findall(r"!\[(.+)\]\((dashboards/(.+)\.png)\)", text)
    assert {(title, uid) for title, _, uid in pictures} == {(one.title, one.uid) for one in ALL}
    assert all((Path("docs") / path).is_file() for _, path, _ in pictures)
