"""How the cluster is seen: metrics, dashboards and alerts. Outlives clusters, as metrics do."""

import aws_cdk as cdk

from cdk_slurm.observability import (
    AlertManager,
    AlertTopic,
    ClusterEvents,
    Dashboards,
    GrafanaWorkspace,
    MetricsWorkspace,
    RuleGroups,
)
from cdk_slurm.spec import ClusterSpec, MetricsWorkspaceConfig, ObservabilityConfig


def add_observability(stack: cdk.Stack, spec: ClusterSpec, config: ObservabilityConfig) -> MetricsWorkspace:
    """Add what a cluster is seen with; the workspace returned is all that the cluster needs of it."""
    new = isinstance(config.workspace, MetricsWorkspaceConfig)
    metrics = MetricsWorkspace.from_config(
        stack, "Metrics", alias=spec.name, config=config.workspace, kms_key_arn=spec.kms_key
    )
    topic = AlertTopic(stack, "Alerts", name=spec.name, emails=config.alert_emails, slack=config.slack)
    if new:
        AlertManager(stack, "AlertManager", workspace=metrics, topic=topic, repeat=config.repeat_hours)
    grafana = None
    if config.grafana:
        grafana = GrafanaWorkspace(stack, "Grafana", name=spec.name, metrics=metrics, config=config.grafana)
        Dashboards(stack, "Dashboards", grafana=grafana, metrics=metrics)
        cdk.CfnOutput(stack, "GrafanaUrl", value=grafana.url)
    rules = RuleGroups(
        stack,
        "Rules",
        workspace=metrics,
        cluster_name=spec.name,
        thresholds=config.thresholds,
        grafana_url=grafana.url if grafana else None,
    )
    # The topic's policy names the workspace, so it comes after: no alert before it may be published.
    rules.node.add_dependency(topic)
    ClusterEvents(stack, "Events", cluster_name=spec.name, topic=topic)
    cdk.CfnOutput(stack, "MetricsWorkspaceId", value=metrics.workspace_id)
    cdk.CfnOutput(stack, "RemoteWriteUrl", value=metrics.remote_write_url)
    cdk.CfnOutput(stack, "AlertTopicArn", value=topic.topic_arn)
    if new:
        # Exported whether used or not, as in the network's stack.
        stack.export_value(metrics.workspace_arn)
        stack.export_value(metrics.endpoint)
    return metrics
