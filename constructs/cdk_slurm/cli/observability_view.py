"""How a summary tells what a cluster is seen with."""

from collections.abc import Iterator

from cdk_slurm.cli.tables import Row
from cdk_slurm.spec import ExistingMetricsWorkspace, GrafanaConfig, ObservabilityConfig

#: What a removal policy means to people.
ON_DESTROY = {"retain": "kept", "destroy": "destroyed"}


def observability_rows(config: ObservabilityConfig) -> Iterator[Row]:
    """Rows about metrics, dashboards and alerts."""
    workspace = config.workspace
    if isinstance(workspace, ExistingMetricsWorkspace):
        yield "Metrics", f"the existing workspace {workspace.existing}"
    else:
        yield "Metrics", f"{workspace.retention_days} days, {ON_DESTROY[workspace.removal_policy]} on destroy"
    yield "Dashboards", _log_in(config.grafana) if config.grafana else "none"
    slack = [f"Slack channel {config.slack.channel_id}"] if config.slack else []
    yield "Alerts", "\n".join([*config.alert_emails, *slack]) or "to nobody"


def _log_in(grafana: GrafanaConfig) -> str:
    if grafana.saml:
        return "for people with SAML"
    return "for people of IAM Identity Center"
