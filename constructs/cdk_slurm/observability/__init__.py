"""Metrics, dashboards and alerts of a cluster."""

from cdk_slurm.observability.alert_manager import AlertManager
from cdk_slurm.observability.alert_topic import AlertTopic
from cdk_slurm.observability.cluster_events import ClusterEvents
from cdk_slurm.observability.dashboards import Dashboards
from cdk_slurm.observability.grafana_workspace import GrafanaWorkspace
from cdk_slurm.observability.metrics_workspace import MetricsWorkspace
from cdk_slurm.observability.rule_groups import RuleGroups

__all__ = [
    "AlertManager",
    "AlertTopic",
    "ClusterEvents",
    "Dashboards",
    "GrafanaWorkspace",
    "MetricsWorkspace",
    "RuleGroups",
]
