"""Alerts as a rules file of Amazon Managed Service for Prometheus."""

from typing import Any

from cdk_slurm.alerts.alert import Alert
from cdk_slurm.alerts.definition import checked_size, yaml_text
from cdk_slurm.alerts.gpu import gpu_alerts
from cdk_slurm.alerts.nodes import node_alerts
from cdk_slurm.alerts.promql import duration
from cdk_slurm.alerts.slurm import slurm_alerts
from cdk_slurm.spec import AlertThresholds

#: The shortest that the service allows: https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
_INTERVAL = "30s"

_GROUPS = {"cdk-slurm-gpu": gpu_alerts, "cdk-slurm-slurm": slurm_alerts, "cdk-slurm-nodes": node_alerts}


def alerts(thresholds: AlertThresholds) -> tuple[Alert, ...]:
    """Return all alerts.

    Raises `ValueError` for a threshold that is no finite number, or a duration less than 0.
    """
    return tuple(alert for group in _GROUPS.values() for alert in group(thresholds))


def rule_groups_yaml(
    thresholds: AlertThresholds, *, cluster_name: str | None = None, grafana_url: str | None = None
) -> str:
    """Return the rules file: what `AWS::APS::RuleGroupsNamespace` takes as `Data`.

    With `cluster_name` the rules judge that cluster only, as they do where clusters share a workspace and each brings
    thresholds of its own; without, every cluster that there is.
    `grafana_url` is where dashboards are, without a trailing slash, and may be a CDK token; without it alerts have no
    link to one. Raises `ValueError` as `alerts` does.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-ruler-rulesfile.html
    """
    groups = [
        {
            "name": name,
            "interval": _INTERVAL,
            "rules": [_rule(alert, cluster_name, grafana_url) for alert in group(thresholds)],
        }
        for name, group in _GROUPS.items()
    ]
    return checked_size(yaml_text({"groups": groups}))


def _rule(alert: Alert, cluster_name: str | None, grafana_url: str | None) -> dict[str, Any]:
    annotations = {"summary": alert.summary, "description": alert.description, "action": alert.action}
    if grafana_url:
        annotations["dashboard"] = f"{grafana_url}/d/{alert.dashboard}?{_variables(alert)}"
    annotations["runbook"] = f"docs/runbooks.md#{alert.anchor}"
    rule: dict[str, Any] = {"alert": alert.name, "expr": _of_cluster(alert.expression, cluster_name)}
    if alert.for_minutes:
        rule["for"] = duration(alert.for_minutes)
    return rule | {"labels": {"severity": alert.severity}, "annotations": annotations}


def _of_cluster(expression: str, cluster_name: str | None) -> str:
    if cluster_name is None:
        return expression
    return f'(\n{expression}\n)\nand on (cluster) label_replace(vector(1), "cluster", "{cluster_name}", "", "")'


def _variables(alert: Alert) -> str:
    labels = ("cluster", *alert.dashboard_labels)
    return "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in labels)
