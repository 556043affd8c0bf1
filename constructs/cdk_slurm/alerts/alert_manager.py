"""The alert manager's definition: whom an alert reaches, how often, and what they read."""

from pathlib import Path
from typing import Any

from cdk_slurm.alerts.alert import SEVERITIES, Severity
from cdk_slurm.alerts.definition import checked_size, yaml_text
from cdk_slurm.alerts.promql import duration
from cdk_slurm.spec import RepeatIntervals

#: Five days, which the service takes anything longer for.
_MAX_REPEAT_HOURS = 120

_TEMPLATES = Path(__file__).parent / "templates"

#: How long further alerts are waited for before a message is sent, and then before the next one with what has changed.
_WAITS: dict[Severity, tuple[str, str]] = {
    "critical": ("15s", "2m"),
    "warning": ("1m", "10m"),
    "info": ("5m", "1h"),
}

#: What one alert makes superfluous, about the same thing: which alert, which others, and what they have in common.
_INHIBITIONS = (
    # Somebody deals with the node already, or HyperPod does.
    ('alertname="NodeUnavailable"', 'alertname=~"NodeSilent|ExporterDown|GpusIdle"', ("cluster", "node")),
    ('alertname="NodeSilent"', 'alertname="ExporterDown"', ("cluster", "node")),
    ('alertname="SlurmSilent"', 'alertname="ExporterDown",job=~"slurm|slurmctld"', ("cluster",)),
    # The GPU is replaced anyway.
    (
        'alertname="GpuXidError"',
        'alertname=~"GpuXidMemoryError|GpuXidApplicationError|GpuThermalViolation"',
        ("cluster", "node", "gpu"),
    ),
    ('alertname="GpuTemperatureHigh"', 'alertname="GpuThermalViolation"', ("cluster", "node", "gpu")),
)

_RECEIVER = "people"


def alert_manager_yaml(
    *, email_topic_arn: str, slack_topic_arn: str | None, region: str, repeat: RepeatIntervals
) -> str:
    """Return the definition: what `AWS::APS::Workspace` takes as `AlertManagerDefinition`.

    People read text from the one topic. To the other goes JSON that Amazon Q Developer in chat applications shows
    in Slack; it drops whatever else it gets. Topics and Region may be CDK tokens. Raises `ValueError` for an interval
    that is not above 0 or longer than five days.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-config.html
    """
    topics = {"email": email_topic_arn} | ({"slack": slack_topic_arn} if slack_topic_arn else {})
    messages = {"email": "cdk_slurm.email.text", "slack": "cdk_slurm.slack.message"}
    receiver = [_sns(topic_arn, messages[name], region) for name, topic_arn in topics.items()]
    configuration = {
        "templates": list(topics),
        "route": _route(repeat),
        "inhibit_rules": [_inhibition(*each) for each in _INHIBITIONS],
        "receivers": [{"name": _RECEIVER, "sns_configs": receiver}],
    }
    templates = {name: (_TEMPLATES / f"{name}.tmpl").read_text("utf-8") for name in topics}
    return checked_size(yaml_text({"template_files": templates, "alertmanager_config": yaml_text(configuration)}))


def _route(repeat: RepeatIntervals) -> dict[str, Any]:
    routes = []
    for severity in SEVERITIES:
        wait, interval = _WAITS[severity]
        times = {"group_wait": wait, "group_interval": interval, "repeat_interval": _repeat(repeat, severity)}
        routes.append({"matchers": [f'severity="{severity}"'], "receiver": _RECEIVER} | times)
    # Whatever else has rules in the workspace, and says no severity that is known here.
    wait, interval = _WAITS["warning"]
    times = {"group_wait": wait, "group_interval": interval, "repeat_interval": _repeat(repeat, "warning")}
    return {"receiver": _RECEIVER, "group_by": ["alertname", "cluster"]} | times | {"routes": routes}


def _repeat(repeat: RepeatIntervals, severity: Severity) -> str:
    hours: float = getattr(repeat, severity)
    if not 0 < hours <= _MAX_REPEAT_HOURS:
        raise ValueError(f"{severity}: found {hours} hours; more than 0 and at most {_MAX_REPEAT_HOURS} are possible")
    return duration(hours * 60)


def _inhibition(source: str, targets: str, equal: tuple[str, ...]) -> dict[str, Any]:
    return {"source_matchers": [source], "target_matchers": [targets], "equal": list(equal)}


def _sns(topic_arn: str, message: str, region: str) -> dict[str, Any]:
    return {
        "topic_arn": topic_arn,
        "sigv4": {"region": region},
        "send_resolved": True,
        "subject": '{{ template "cdk_slurm.email.subject" . }}',
        "message": f'{{{{ template "{message}" . }}}}',
        # For filter policies of subscriptions; an empty value would be refused.
        "attributes": {"severity": '{{ or .CommonLabels.severity "none" }}', "status": "{{ .Status }}"},
    }
