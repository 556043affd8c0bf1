"""How a cluster is seen: metrics, dashboards, alerts and who hears of them."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from cdk_slurm.spec.model import NEW_OR_EXISTING, Model, RemovalPolicy

#: An exporter that a cluster may do without.
OptionalExporter = Literal["dcgm", "fabric", "slurm"]


class MetricsWorkspaceConfig(Model):
    """A new workspace of Amazon Managed Service for Prometheus, encrypted with `kms_key` where there is one."""

    retention_days: int = 150
    """How long metrics are kept, in days."""

    query_log_retention_days: int | None = None
    """How long CloudWatch Logs keeps a log of queries, in days; left out, queries are not logged."""

    removal_policy: RemovalPolicy = "retain"
    """Whether metrics stay when the stack is deleted."""


class ExistingMetricsWorkspace(Model):
    """A workspace of Amazon Managed Service for Prometheus that exists already, in the cluster's Region and account.

    Alert rules are added to it. Its alert manager stays as it is, since CloudFormation has that as a part of the
    workspace: alerts go where it sends them, and events of the cluster to the addresses given here.
    """

    existing: Annotated[
        str, Field(pattern=r"^ws-[0-9a-f-]{1,64}$", examples=["ws-0123abcd-0123-0123-0123-0123456789ab"])
    ]
    """Id of the workspace."""


MetricsWorkspace = Annotated[
    Annotated[MetricsWorkspaceConfig, Tag("{new}")] | Annotated[ExistingMetricsWorkspace, Tag("{existing}")],
    NEW_OR_EXISTING,
]


class SlackConfig(Model):
    """A Slack channel that hears of alerts, through Amazon Q Developer in chat applications.

    The Slack workspace must have been authorised once for the AWS account, in that service's console.
    """

    workspace_id: Annotated[str, Field(examples=["T07EA123LEP"])]
    """Id of the Slack workspace: begins with T."""

    channel_id: Annotated[str, Field(examples=["C07EZ1ABC23"])]
    """Id of the channel: begins with C, or G for a private one."""


class GrafanaAccess(Model):
    """People and groups of IAM Identity Center, by their ids there."""

    users: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Ids of users."""

    groups: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Ids of groups."""


class SamlConfig(Model):
    """An identity provider that speaks SAML 2.0, in the place of IAM Identity Center."""

    metadata_url: str
    """Where its metadata is: an https address."""

    role_assertion: str = "role"
    """Name of the assertion attribute with a person's roles."""

    admin_roles: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Values of it that make somebody an administrator."""

    editor_roles: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Values of it that make somebody an editor; everybody else may only look."""


class GrafanaConfig(Model):
    """A workspace of Amazon Managed Grafana with data sources and dashboards.

    People log in through IAM Identity Center, which the account's organisation must have, or through `saml`.
    """

    saml: SamlConfig | None = None
    """Left out, people log in through IAM Identity Center."""

    admins: GrafanaAccess = GrafanaAccess()
    """Who may change everything (IAM Identity Center)."""

    viewers: GrafanaAccess = GrafanaAccess()
    """Who may look (IAM Identity Center)."""


class AlertThresholds(Model):
    """When alerts fire."""

    max_gpu_temperature_celsius: float = 85
    """A GPU is too hot above this."""

    gpu_temperature_minutes: float = 5
    """For so long."""

    max_pending_minutes: float = 30
    """A job that could run has waited too long after this."""

    node_loss_percent: float = 20
    """Usable nodes have dropped suddenly when so many of a quarter of an hour ago are gone."""

    max_disk_used_percent: float = 90
    """A node's disk is nearly full above this."""

    max_lustre_used_percent: float = 85
    """The shared file systems are nearly full above this."""

    silence_minutes: float = 5
    """An exporter or a node that says nothing for so long is reported."""

    node_unavailable_minutes: float = 15
    """A node that Slurm does not use (drained, failed, down) for so long is reported."""

    idle_gpu_percent: float = 5
    """An allocated GPU that is busy for less than this is idle."""

    idle_gpu_hours: float = 2
    """For so long."""


class RepeatIntervals(Model):
    """How often an alert that goes on is sent again, by its severity, in hours (120 at most)."""

    critical: float = 1
    """Somebody must act now."""

    warning: float = 12
    """Somebody should look today."""

    info: float = 72
    """Worth knowing."""


class ExportersConfig(Model):
    """The programs on the nodes that metrics come from."""

    dcgm_image: str | None = None
    """Container image of NVIDIA's DCGM exporter with its digest, as in a registry of your own; left out, NVIDIA's,
    as `parts.lock.json` names it."""

    optional: Annotated[tuple[OptionalExporter, ...], Field(strict=False)] = ()
    """Exporters without which a node comes up all the same, with a warning in its report."""


class ObservabilityConfig(Model):
    """Metrics of every node in Amazon Managed Service for Prometheus, dashboards, and alerts.

    `observability: {alert_emails: [...]}` has good defaults for the rest.
    """

    workspace: MetricsWorkspace = MetricsWorkspaceConfig()
    """Where metrics go."""

    alert_emails: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Who hears of alerts and of the cluster's events by e-mail; each address confirms once."""

    slack: SlackConfig | None = None
    """A Slack channel that hears of them too."""

    grafana: GrafanaConfig | None = GrafanaConfig()
    """Dashboards; null for none."""

    thresholds: AlertThresholds = AlertThresholds()
    """When alerts fire."""

    repeat_hours: RepeatIntervals = RepeatIntervals()
    """How often alerts that go on are sent again."""

    exporters: ExportersConfig = ExportersConfig()
    """Where metrics come from."""
