"""Alert rules, judged by Prometheus' own promtool."""

import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from cdk_slurm.alerts import SEVERITIES, alerts, rule_groups_yaml
from cdk_slurm.dashboards import dashboards
from cdk_slurm.spec import AlertThresholds
from tests.metrics.alert_cases import CASES, NONE, QUIET, SCRAPES_A_MINUTE, named
from tests.prometheus_programs import program

GRAFANA = "https://g-0123456789.grafana-workspace.us-west-2.amazonaws.com"
ALERTS = {alert.name: alert for alert in alerts(AlertThresholds())}
DASHBOARDS = {dashboard.uid for dashboard in dashboards()}
#: How much later the second cluster of the same workspace goes through the same.
LATER_MINUTES = 20
STEP_MINUTES = 0.5

ODD_THRESHOLDS = [
    {},
    {"max_gpu_temperature_celsius": 82.75, "gpu_temperature_minutes": 0.25},
    {"max_pending_minutes": 1 / 3, "node_loss_percent": 0, "silence_minutes": 0.1, "node_unavailable_minutes": 0},
    {"max_pending_minutes": 100_000, "node_unavailable_minutes": 2880, "idle_gpu_hours": 0.1, "idle_gpu_percent": 0.01},
    {"max_disk_used_percent": 99.9, "max_lustre_used_percent": 100, "idle_gpu_hours": 1e4, "silence_minutes": 1e4},
]


def promtool(*arguments: object) -> None:
    done = subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("thresholds", ODD_THRESHOLDS)
@pytest.mark.parametrize("cluster_name", [None, "one"])
@pytest.mark.parametrize("grafana_url", [None, GRAFANA])
def test_prometheus_takes_the_rules(tmp_path, thresholds, cluster_name, grafana_url):
    rules = tmp_path / "rules.yml"
    text = rule_groups_yaml(AlertThresholds(**thresholds), cluster_name=cluster_name, grafana_url=grafana_url)
    rules.write_text(text, "utf-8")
    promtool("check", "rules", rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.name}")
def test_fires_when_it_should_and_ends(tmp_path, case):
    """In two clusters of one workspace, one some time after the other."""
    clusters = {"one": 0, "two": LATER_MINUTES}
    series = {
        _of_cluster(name, cluster): [NONE] * later * SCRAPES_A_MINUTE + values
        for cluster, later in clusters.items()
        for name, values in case.series.items()
    }
    labels = {"severity": ALERTS[case.alert].severity} | case.labels

    times = {time + later for later in clusters.values() for time in (case.fires, case.ends)}
    checks = []
    for time in sorted(times | {time - STEP_MINUTES for time in times}):
        firing = [
            labels | {"cluster": cluster}
            for cluster, later in clusters.items()
            if case.fires <= time - later < case.ends
        ]
        checks.append(_firing(time, case.alert, firing))
    checks += [_never(case.ends, alert) for alert in case.silent]

    seen = {
        "eval_time": _minutes(case.fires),
        "alertname": case.alert,
        "exp_alerts": [{"exp_labels": labels | {"cluster": "one"}, "exp_annotations": _annotations(case)}],
    }
    _promtool_test(tmp_path, case.thresholds, series, checks, [seen])


@pytest.mark.parametrize("name", QUIET)
def test_does_not_fire(tmp_path, name):
    series = {_of_cluster(of, "one"): values for of, values in QUIET[name].items()}
    end = max(map(len, series.values())) / SCRAPES_A_MINUTE
    _promtool_test(tmp_path, {}, series, [_never(end, name.partition(":")[0])], [])


def test_every_alert_has_a_test():
    assert {case.alert for case in CASES} == set(ALERTS)


def _promtool_test(tmp_path, thresholds, series, promql_checks, alert_checks):
    # Each cluster brings its own: had the one's any say over the other, each alert would fire twice.
    for cluster in ("one", "two"):
        rules = rule_groups_yaml(AlertThresholds(**thresholds), cluster_name=cluster, grafana_url=GRAFANA)
        (tmp_path / f"{cluster}.yml").write_text(rules, "utf-8")
    test = {
        "rule_files": ["one.yml", "two.yml"],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": " ".join(values)} for name, values in series.items()],
                "promql_expr_test": promql_checks,
                "alert_rule_test": alert_checks,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test), "utf-8")
    promtool("test", "rules", tmp_path / "test.yml")


def _of_cluster(series: str, cluster: str) -> str:
    return series.replace("{", f'{{cluster="{cluster}",', 1)


def _minutes(minutes: float) -> str:
    return f"{round(minutes * 60)}s"


def _firing(time: float, alert: str, expected: list[dict[str, str]]) -> dict[str, object]:
    selector = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    found = [{"labels": named("ALERTS", _firing_labels(alert) | labels), "value": 1} for labels in expected]
    return {"expr": selector, "eval_time": _minutes(time), "exp_samples": found}


def _firing_labels(alert: str) -> dict[str, str]:
    return {"alertname": alert, "alertstate": "firing"}


def _never(end: float, alert: str) -> dict[str, object]:
    ever = f'count(count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[{_minutes(end)}]))'
    return {"expr": ever, "eval_time": _minutes(end), "exp_samples": []}


def _annotations(case) -> dict[str, str]:
    alert = ALERTS[case.alert]
    variables = "".join(f"&var-{label}={case.labels[label]}" for label in alert.dashboard_labels)
    return {
        "summary": case.summary,
        "description": case.description,
        "action": alert.action,
        "dashboard": f"{GRAFANA}/d/{alert.dashboard}?var-cluster=one{variables}",
        "runbook": f"docs/runbooks.md#{case.alert.lower()}",
    }


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_every_aggregation_keeps_the_cluster(alert):
    kept = []

    def visit(expression):
        if isinstance(expression, promql_parser.AggregateExpr):
            modifier = expression.modifier
            kept.append(modifier.type == promql_parser.AggModifierType.By and "cluster" in modifier.labels)
        elif isinstance(expression, promql_parser.BinaryExpr) and (matching := _matching(expression)):
            kept.append(matching.type == promql_parser.LabelModifierType.Include and "cluster" in matching.labels)

    promql_parser.walk(promql_parser.parse(alert.expression), visit)
    assert kept
    assert all(kept)


def _matching(expression):
    return expression.modifier and expression.modifier.matching


def test_nothing_counts_nodes_by_partition():
    assert not [alert.name for alert in ALERTS.values() if "slurm_partition_nodes" in alert.expression]


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_tells_a_person_what_to_do(alert):
    assert alert.severity in SEVERITIES
    assert alert.dashboard in DASHBOARDS
    assert set(alert.dashboard_labels) <= {"node", "partition"}
    assert len(re.findall(r"[.:?;](?=\s|$)", alert.action)) >= 2
    assert len(alert.action) <= 340, "Slack gets no more"


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_has_its_section_in_the_runbooks(alert):
    section = _runbooks().get(alert.name)
    assert section, f"docs/runbooks.md has no section {alert.name}"
    for part in ("**Means.**", "**Look.**", "**Do.**"):
        assert section.count(part) == 1, part
    assert f"({alert.severity})" in section.lower() or alert.severity in section.partition("**Means.**")[0]


def test_no_runbook_is_of_an_alert_that_is_gone():
    assert set(_runbooks()) == set(ALERTS)


def test_the_runbooks_name_thresholds_as_they_are():
    text = "".join(_runbooks().values())
    named = {field: float(value) for field, value in re.findall(r"`(\w+_\w+)` \((\d+)\)", text)}
    assert named == AlertThresholds().model_dump()


def test_names_units_that_nodes_have():
    texts = [*_runbooks().values(), *(alert.action for alert in ALERTS.values())]
    named = set(re.findall(r"cdk-slurm-[a-z-]+", " ".join(texts)))
    steps = (Path(__file__).parents[2] / "lifecycle_scripts/lifecycle/steps").glob("*.py")
    known = set(re.findall(r'"(cdk-slurm-[a-z-]+)"', "".join(step.read_text("utf-8") for step in steps)))
    assert named
    assert named <= known


def _runbooks() -> dict[str, str]:
    text = (Path(__file__).parents[2] / "docs/runbooks.md").read_text("utf-8")
    return dict(re.findall(r"^## ([A-Z][A-Za-z]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def test_stays_within_the_limits_of_the_service():
    """https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html"""
    text = rule_groups_yaml(AlertThresholds(), grafana_url=GRAFANA)
    groups = yaml.safe_load(text)["groups"]
    assert len(text.encode()) <= 1024 * 1024
    assert sum(len(group["rules"]) for group in groups) <= 2000
    assert {group["interval"] for group in groups} == {"30s"}
    # What it was before the limit was one for the workspace.
    assert all(len(group["rules"]) <= 20 for group in groups)


def test_is_ascii():
    assert rule_groups_yaml(AlertThresholds(), grafana_url=GRAFANA).isascii()


def test_a_token_stays_in_one_piece():
    token = "https://${Token[Workspace.Endpoint.123]}"
    rules = yaml.safe_load(rule_groups_yaml(AlertThresholds(), grafana_url=token))["groups"][0]["rules"]
    assert rules[0]["annotations"]["dashboard"].startswith(f"{token}/d/cdk-slurm-gpu-health?var-cluster=")
    assert f"'{token}/d/" in rule_groups_yaml(AlertThresholds(), grafana_url=token)


def test_without_grafana_there_is_no_link():
    groups = yaml.safe_load(rule_groups_yaml(AlertThresholds()))["groups"]
    assert all("dashboard" not in rule["annotations"] for group in groups for rule in group["rules"])


@pytest.mark.parametrize(
    "thresholds",
    [
        {"max_gpu_temperature_celsius": float("nan")},
        {"node_loss_percent": float("inf")},
        {"gpu_temperature_minutes": -1},
        {"idle_gpu_hours": float("inf")},
    ],
)
def test_refuses_what_is_no_threshold(thresholds):
    with pytest.raises(ValueError, match="found"):
        rule_groups_yaml(AlertThresholds(**thresholds))
