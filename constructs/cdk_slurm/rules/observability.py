"""Rules of metrics, of the exporters that they come from, and of alerts."""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.instances import has_gpus
from cdk_slurm.rules.likeness import repeated
from cdk_slurm.rules.network import RETENTION_DAYS
from cdk_slurm.rules.service_model import has_resource_type, problem, regions
from cdk_slurm.spec import (
    AlertThresholds,
    ClusterSpec,
    ExistingMetricsWorkspace,
    ExportersConfig,
    MetricsWorkspaceConfig,
    ObservabilityConfig,
    RepeatIntervals,
    SlackConfig,
)
from cdk_slurm.spec.finding import dotted

_AMP = "https://docs.aws.amazon.com/prometheus/latest/userguide/"
_SLACK = "https://docs.aws.amazon.com/chatbot/latest/APIReference/API_CreateSlackChannelConfiguration.html"
_PROMETHEUS_RULES = "https://prometheus.io/docs/prometheus/2.53/configuration/alerting_rules/"
_DIGESTS = "https://docs.docker.com/reference/cli/docker/image/pull/#pull-an-image-by-digest-immutable-identifier"

#: Days; the service's model knows the least only.
_LONGEST_RETENTION_DAYS = 1095

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

#: A registry, a repository, perhaps a tag, and the digest that names one image for good.
_PINNED_IMAGE = re.compile(
    r"(?P<registry>[a-z0-9.-]+\.[a-z]+(:\d+)?)/(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:[\w][\w.-]{0,127})?@sha256:[0-9a-f]{64}"
)

#: Resources that a part of the description needs, and what they are called.
_SERVICES: dict[str, tuple[str, str]] = {
    "workspace": ("AWS::APS::Workspace", "Amazon Managed Service for Prometheus"),
    "grafana": ("AWS::Grafana::Workspace", "Amazon Managed Grafana"),
    "slack": ("AWS::Chatbot::SlackChannelConfiguration", "Amazon Q Developer in chat applications"),
}

_A_WEEK_MINUTES = 7 * 24 * 60


def registry_and_repository(image: str) -> tuple[str, str] | None:
    """Host and repository of an image that is named by digest; None when it is not."""
    found = _PINNED_IMAGE.fullmatch(image)
    return (found["registry"], found["repository"]) if found else None


# Metrics


@rule("error", _AMP + "AMP-workspace-configuration.html")
def metrics_retention(workspace: MetricsWorkspaceConfig) -> Iterator[Violation]:
    """Metrics are kept for 1 to 1095 days.

    The service keeps them for 150 days by default. A longer time counts for metrics that are there already.
    """
    if not 1 <= workspace.retention_days <= _LONGEST_RETENTION_DAYS:
        yield "retention_days", f"found {workspace.retention_days} days; allowed: 1 to {_LONGEST_RETENTION_DAYS} days"


@rule("error", "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html")
def query_log_retention(workspace: MetricsWorkspaceConfig) -> Iterator[Violation]:
    """A log of queries is kept for one of the periods that CloudWatch Logs knows.

    Take the next longer one, or leave the field out for no log.
    """
    days = workspace.query_log_retention_days
    if days is not None and days not in RETENTION_DAYS:
        yield "query_log_retention_days", f"found {days}; allowed: {', '.join(map(str, RETENTION_DAYS))}"


@rule("warning", _AMP + "what-is-Amazon-Managed-Service-Prometheus.html")
def observability_region(spec: ClusterSpec) -> Iterator[Violation]:
    """Services for metrics, dashboards and Slack are offered in the cluster's Region.

    Amazon Managed Grafana is in a few Regions only: `grafana: null` does without it. The lists come from
    cfn-lint and may be behind: look the service up, and silence this rule when it is there.
    """
    if spec.observability is None or spec.region not in regions():
        return
    for part, (resource_type, service) in _SERVICES.items():
        if getattr(spec.observability, part) is not None and not has_resource_type(spec.region, resource_type):
            yield (
                ("observability", part),
                f"found it in {spec.region}, where nobody saw {service}; allowed: Regions that have it, "
                "such as us-west-2",
            )


# Who hears


@rule("error", "https://docs.aws.amazon.com/sns/latest/dg/sns-email-notifications.html")
def alert_email(observability: ObservabilityConfig) -> Iterator[Violation]:
    """Whoever hears of alerts by e-mail has an address.

    One address in each entry, without a name and without `mailto:`. A list of people is a mailing list's
    own address.
    """
    for index, address in enumerate(observability.alert_emails):
        if not _EMAIL.fullmatch(address):
            yield ("alert_emails", index), f"found {address!r}; allowed: an address such as ml-platform@example.com"


@rule("error", "https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html")
def alert_emails_unique(observability: ObservabilityConfig) -> Iterator[Violation]:
    """Each address stands in the list once.

    A topic has one subscription for an address.
    """
    addresses = ((("alert_emails", index), address) for index, address in enumerate(observability.alert_emails))
    for path, address, first in repeated(addresses):
        yield path, f"found {address}, as {dotted(first)}; allowed: addresses that differ"


@rule("error", _SLACK)
def slack_ids(slack: SlackConfig) -> Iterator[Violation]:
    """A Slack workspace and a channel are named by their ids.

    Both stand in the channel's link, https://app.slack.com/client/<workspace>/<channel>. Names can change and
    ids do not. A workspace's id begins with T (E for an organisation's), a channel's with C or G.
    """
    for field, name, first, example in (
        ("workspace_id", "SlackTeamId", "TE", "T07EA123LEP"),
        ("channel_id", "SlackChannelId", "CG", "C07EZ1ABC23"),
    ):
        found = getattr(slack, field)
        if problem("chatbot", name, found) or found[0] not in first or not found.isupper():
            yield field, f"found {found!r}; allowed: an id such as {example}"


@rule("warning", _AMP + "AMP-alert-manager.html")
def alerts_reach_nobody(observability: ObservabilityConfig) -> Iterator[Violation]:
    """Somebody hears of alerts and of the cluster's events.

    Without an address and without Slack they go to a topic that nobody reads. The topic is an output of the
    stack: whoever subscribes to it by hand may silence this rule.
    """
    if not observability.alert_emails and observability.slack is None:
        yield (
            "alert_emails",
            "found no address and no slack; allowed without this warning: at least one of the two",
        )


@rule("warning", _AMP + "AMP-alertmanager-config.html")
def alert_manager_existing(observability: ObservabilityConfig) -> Iterator[Violation]:
    """An existing workspace sends alerts where its own alert manager says.

    CloudFormation has the alert manager as a part of the workspace, which is not touched here. The addresses
    given here hear of the cluster's events only. Add receivers to the workspace's alert manager.
    """
    if not isinstance(observability.workspace, ExistingMetricsWorkspace):
        return
    for field in ("alert_emails", "slack", "repeat_hours"):
        if field in observability.model_fields_set and getattr(observability, field):
            yield (
                field,
                f"found it beside the existing workspace {observability.workspace.existing}, whose own alert manager "
                "sends alerts; allowed for alerts: a new workspace",
            )


# When


@rule("error", _PROMETHEUS_RULES)
def alert_percent(thresholds: AlertThresholds) -> Iterator[Violation]:
    """A threshold in percent is between 0 and 100.

    At 0 an alert would always fire, at 100 it never would.
    """
    for field, value in _in_unit(thresholds, "percent"):
        if not 0 < value < 100:
            yield field, f"found {_number(value)} %; allowed: more than 0 and less than 100 %"


@rule("error", _PROMETHEUS_RULES)
def alert_duration(thresholds: AlertThresholds) -> Iterator[Violation]:
    """How long something lasts before an alert fires is 1 minute to a week.

    Rules are looked at every half minute, and metrics come in every quarter of one: in less than a minute
    one missed scrape would be an alert.
    """
    for unit, minutes in (("minutes", 1), ("hours", 60)):
        most = _A_WEEK_MINUTES // minutes
        least = "1 minute" if unit == "minutes" else "1 minute (0.0167 hours)"
        for field, value in _in_unit(thresholds, unit):
            if not 1 <= value * minutes <= _A_WEEK_MINUTES:
                yield field, f"found {_number(value)} {unit}; allowed: {least} to {most} {unit}"


@rule("error", "https://docs.nvidia.com/deploy/nvidia-smi/index.html#temperature")
def alert_temperature(thresholds: AlertThresholds) -> Iterator[Violation]:
    """A GPU's temperature is in degrees Celsius, from 40 to 110.

    GPUs slow down around 90 and shut down a little above. Idle ones have 30 to 40.
    """
    value = thresholds.max_gpu_temperature_celsius
    if not 40 <= value <= 110:
        yield "max_gpu_temperature_celsius", f"found {_number(value)} °C; allowed: 40 to 110 °C"


@rule("error", _AMP + "AMP-alertmanager-config.html")
def alert_repeat(intervals: RepeatIntervals) -> Iterator[Violation]:
    """Alerts that go on are sent again after a quarter of an hour to 120 hours.

    The alert manager forgets after 5 days what it has sent. Waiting longer would not send less.
    """
    for field in type(intervals).model_fields:
        value = getattr(intervals, field)
        if not 0.25 <= value <= 120:
            yield field, f"found {_number(value)} hours; allowed: 0.25 to 120 hours"


# Exporters


@rule("error", _DIGESTS)
def dcgm_image_digest(exporters: ExportersConfig) -> Iterator[Violation]:
    """The DCGM exporter's image is named with its registry and by digest.

    A tag can be moved to another image, and nodes that come later would run something else as root. `docker
    buildx imagetools inspect <image>` prints the digest.
    """
    image = exporters.dcgm_image
    if image is not None and not registry_and_repository(image):
        yield (
            "dcgm_image",
            f"found {image!r}; allowed: text of the form registry.example.com/nvidia/dcgm-exporter@sha256:<64 digits>",
        )


@rule("warning", "https://github.com/NVIDIA/dcgm-exporter/blob/4.6.0-4.8.3/README.md")
def dcgm_without_gpus(spec: ClusterSpec) -> Iterator[Violation]:
    """What is said of the DCGM exporter is for clusters with GPUs.

    It runs on instances with GPUs only, and no compute group has any.
    """
    if spec.observability is None or any(map(has_gpus, spec.compute_types)):
        return
    exporters = spec.observability.exporters
    for field, said in (("dcgm_image", exporters.dcgm_image), ("optional", "dcgm" in exporters.optional)):
        if said:
            yield (
                ("observability", "exporters", field),
                "found the DCGM exporter on a cluster without GPUs; allowed without this warning: compute groups with "
                "GPUs",
            )


def _in_unit(thresholds: AlertThresholds, unit: str) -> Iterator[tuple[str, float]]:
    for field in type(thresholds).model_fields:
        if field.endswith(f"_{unit}"):
            yield field, getattr(thresholds, field)


def _number(value: float) -> str:
    return f"{value:g}"
