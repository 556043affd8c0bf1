"""The alert manager's definition, judged by amtool and by the messages that a real Alertmanager sends with it."""

import json
import re
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
import yaml

from cdk_slurm.alerts import SEVERITIES, alert_manager_yaml, alerts
from cdk_slurm.spec import AlertThresholds, RepeatIntervals
from tests.metrics.alert_manager import alert_manager, post, recorded_sns, written
from tests.prometheus_programs import program

ALERTS = {alert.name: alert for alert in alerts(AlertThresholds())}
ARNS = {name: f"arn:aws:sns:us-west-2:111122223333:ml-cluster-{name}" for name in ("email", "slack")}
GRAFANA = "https://g-0123456789.grafana-workspace.us-west-2.amazonaws.com"

#: What a reason in Slurm, say, may hold. None of it may break JSON, and Slack must not take a part for a command.
NASTY = "it's \"broken\" \\' \\\\ <!channel> & {{ .x }} \n\tü 日本語 🔥 \u2028\u202e\x07\U000e0067 ' end"


def definition(*, slack: bool = True, repeat: RepeatIntervals | None = None) -> str:
    return alert_manager_yaml(
        email_topic_arn=ARNS["email"],
        slack_topic_arn=ARNS["slack"] if slack else None,
        region="us-west-2",
        repeat=repeat or RepeatIntervals(),
    )


def configuration(text: str) -> dict:
    return yaml.safe_load(yaml.safe_load(text)["alertmanager_config"])


def amtool(*arguments: object) -> str:
    done = subprocess.run([program("amtool"), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("slack", [True, False])
@pytest.mark.parametrize("hours", [{}, {"critical": 0.01, "warning": 120, "info": 2.505}])
def test_alertmanager_takes_the_definition(tmp_path, slack, hours):
    amtool("check-config", written(definition(slack=slack, repeat=RepeatIntervals(**hours)), tmp_path))


@pytest.mark.parametrize("severity", [*SEVERITIES, "page", ""])
def test_severity_decides_the_route(tmp_path, severity):
    path = written(definition(), tmp_path)
    routes = configuration(definition())["route"]["routes"]
    tree = amtool("config", "routes", "test", f"--config.file={path}", "--tree", f"severity={severity}")
    matched = re.findall(r'\{severity="(\w+)"\}', tree.partition("Matching routes:")[2])
    assert matched == ([severity] if severity in SEVERITIES else [])
    assert [route["repeat_interval"] for route in routes] == ["1h", "12h", "72h"]


def test_has_only_what_the_service_takes():
    """https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-config.html and AMP_quotas.html"""
    text = definition()
    parts, inner = yaml.safe_load(text), configuration(text)
    assert set(parts) == {"template_files", "alertmanager_config"}
    assert all(isinstance(part, str) for part in parts["template_files"].values())
    assert set(inner) == {"templates", "route", "inhibit_rules", "receivers"}
    assert inner["templates"] == list(parts["template_files"])
    for receiver in inner["receivers"]:
        assert set(receiver) == {"name", "sns_configs"}
        for sns in receiver["sns_configs"]:
            assert not {"api_url", "http_config"} & set(sns)
            assert sns["sigv4"] == {"region": "us-west-2"}
            assert sns["send_resolved"] is True
    assert [sns["topic_arn"] for sns in inner["receivers"][0]["sns_configs"]] == list(ARNS.values())
    assert len(text.encode()) <= 1024 * 1024
    assert text.isascii()
    assert len(parts["template_files"]) <= 100
    assert len(inner["inhibit_rules"]) <= 100


def test_templates_use_what_every_alertmanager_knows():
    """Which release the service runs is not told, and a function that it lacks loses the message."""
    templates = "".join(yaml.safe_load(definition())["template_files"].values())
    actions = " ".join(re.findall(r"{{(?!/\*)(.*?)}}", templates))
    words = set(re.findall(r"(?<![.$\w])[a-z]\w*", re.sub(r'"(?:[^"\\]|\\.)*"', "", actions)))
    language = {"define", "template", "range", "if", "else", "end", "with"}
    built_into_go = {"or", "and", "not", "eq", "ne", "lt", "gt", "len", "index", "printf", "js"}
    assert words <= language | built_into_go | {"toUpper", "reReplaceAll"}


def test_inhibitions_are_about_alerts_that_exist():
    for rule in configuration(definition())["inhibit_rules"]:
        matchers = " ".join(rule["source_matchers"] + rule["target_matchers"])
        named = {name for group in re.findall(r'alertname=~?"([^"]+)"', matchers) for name in group.split("|")}
        assert named
        assert named <= set(ALERTS)
        assert "cluster" in rule["equal"]


@pytest.mark.parametrize("hours", [0, -1, 120.5, float("nan"), float("inf")])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_refuses_an_interval_that_the_service_would_shorten(severity, hours):
    with pytest.raises(ValueError, match=f"{severity}: found"):
        definition(repeat=RepeatIntervals(**{severity: hours}))


def test_tokens_stay_in_one_piece():
    tokens = {name: f"${{Token[{name}.{number}]}}" for number, name in enumerate(("mail", "slack", "region"))}
    text = alert_manager_yaml(
        email_topic_arn=tokens["mail"],
        slack_topic_arn=tokens["slack"],
        region=tokens["region"],
        repeat=RepeatIntervals(),
    )
    assert all(f"'{token}'" in text for token in tokens.values())
    sns = configuration(text)["receivers"][0]["sns_configs"]
    assert [(one["topic_arn"], one["sigv4"]["region"]) for one in sns] == [
        (tokens["mail"], tokens["region"]),
        (tokens["slack"], tokens["region"]),
    ]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An Alertmanager, and what comes of its messages. Each test has a cluster of its own."""
    with recorded_sns() as (sns_url, sns):
        path = written(definition(), tmp_path_factory.mktemp("alertmanager"), sns_url=sns_url)
        with alert_manager(path) as url:
            yield url, sns


def alert(name: str, *, summary: str, description: str, ended: bool = False, **labels: str) -> dict:
    """An alert as Prometheus sends it once its templates are filled in."""
    now = datetime.now(timezone.utc)
    own = ALERTS[name]
    variables = f"var-cluster={labels['cluster']}&var-node={labels.get('node', '')}"
    return {
        "labels": {"alertname": name, "severity": own.severity} | labels,
        "annotations": {
            "summary": summary,
            "description": description,
            "action": own.action,
            "dashboard": f"{GRAFANA}/d/{own.dashboard}?{variables}",
            "runbook": f"docs/runbooks.md#{own.anchor}",
        },
        # Of what began before the time that a group waits, the first is sent without the others.
        "startsAt": (now - timedelta(minutes=1) if ended else now).isoformat(),
        "endsAt": (now if ended else now + timedelta(hours=1)).isoformat(),
    }


def hot(cluster: str, gpu: int, **fields) -> dict:
    return alert(
        "GpuTemperatureHigh",
        summary=f"GPU {gpu} of ip-10-1-2-3 is at 91 °C",
        description="It has been above 85 °C for 5 minutes.",
        cluster=cluster,
        node="ip-10-1-2-3",
        gpu=str(gpu),
        **fields,
    )


def notification(text: str) -> dict:
    """Read what Amazon Q Developer is sent, as its schema has it."""
    found = json.loads(text)
    assert (found["version"], found["source"]) == ("1.0", "custom")
    assert set(found) == {"version", "source", "content", "metadata"}
    content, metadata = found["content"], found["metadata"]
    assert set(content) == {"textType", "title", "description", "nextSteps", "keywords"}
    assert set(metadata) == {"summary", "eventType", "additionalContext"}
    assert content["textType"] == "client-markdown"
    assert 0 < len(content["title"]) <= 250
    # A section of a Slack message takes 3000 characters.
    assert 0 < len(content["description"]) <= 2900
    assert all(isinstance(step, str) and 0 < len(step) <= 350 for step in content["nextSteps"])
    assert all(isinstance(word, str) and word for word in content["keywords"])
    return found


def test_one_alert(running):
    url, sns = running
    post(url, hot("one", 3))
    email, slack = sns.about("] one: ", "email"), sns.about("] one: ", "slack")
    assert email.subject == slack.subject == "[CRITICAL] one: GPU 3 of ip-10-1-2-3 is at 91 C"
    assert email.attributes == slack.attributes == {"severity": "critical", "status": "firing"}
    link = f"{GRAFANA}/d/cdk-slurm-gpu-health?var-cluster=one&var-node=ip-10-1-2-3"
    started = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(
        rf"""CRITICAL: GpuTemperatureHigh in cluster one
1 firing, 0 resolved

FIRING

\* GPU 3 of ip-10-1-2-3 is at 91 °C
  It has been above 85 °C for 5 minutes\.
  Since {started} UTC
  Dashboard: {re.escape(link)}

WHAT TO DO
{re.escape(ALERTS["GpuTemperatureHigh"].action)}

Runbook: docs/runbooks\.md#gputemperaturehigh
""",
        email.text,
    )
    content = notification(slack.text)["content"]
    assert content["title"] == ":rotating_light: [CRITICAL] one: GPU 3 of ip-10-1-2-3 is at 91 °C"
    assert re.fullmatch(
        rf"It has been above 85 °C for 5 minutes\. \(since {started} UTC\) <{re.escape(link)}\|Dashboard>\n",
        content["description"],
    )
    runbook = "Runbook: docs/runbooks.md#gputemperaturehigh"
    assert content["nextSteps"] == [ALERTS["GpuTemperatureHigh"].action, runbook]
    assert content["keywords"] == ["GpuTemperatureHigh", "one"]


def test_more_alerts_and_their_end(running):
    url, sns = running
    post(url, hot("more", 0), hot("more", 1), hot("more", 2))
    email, slack = sns.about("] more: ", "email"), sns.about("] more: ", "slack")
    assert email.subject == "[CRITICAL] more: 3 x GpuTemperatureHigh"
    assert email.text.count("It has been above 85 °C for 5 minutes.") == 1
    assert email.text.count("\n* GPU ") == 3
    assert notification(slack.text)["content"]["description"].count("• GPU ") == 3

    post(url, hot("more", 0, ended=True))
    email, slack = sns.about("] more: ", "email", number=2), sns.about("] more: ", "slack", number=2)
    assert email.subject == "[CRITICAL] more: 2 x GpuTemperatureHigh"
    assert "2 firing, 1 resolved" in email.text
    assert "RESOLVED (what was last seen)\n\n* GPU 0 " in email.text
    assert notification(slack.text)["content"]["description"].endswith("Resolved: 1\n")

    post(url, hot("more", 1, ended=True), hot("more", 2, ended=True))
    email, slack = sns.about("] more: ", "email", number=3), sns.about("] more: ", "slack", number=3)
    assert email.subject == "[RESOLVED] more: 2 x GpuTemperatureHigh"
    assert email.attributes["status"] == "resolved"
    assert email.text.startswith("RESOLVED: GpuTemperatureHigh in cluster more\n0 firing, 2 resolved\n")
    assert "WHAT TO DO" not in email.text
    content = notification(slack.text)["content"]
    assert content["title"].startswith(":white_check_mark: [RESOLVED] more: ")
    assert content["nextSteps"] == ["Runbook: docs/runbooks.md#gputemperaturehigh"]


def test_whatever_is_in_a_label(running):
    url, sns = running
    description = f"Slurm gives it no new jobs. Reason: {NASTY}. It has been out of use for 15 minutes or longer."
    fields = {"cluster": "nasty", "node": "ip-10-1-2-3", "state": "down", "reason": NASTY}
    post(url, alert("NodeUnavailable", summary=f"Node {NASTY} is down", description=description, **fields))
    email, slack = sns.about("] nasty: ", "email"), sns.about("] nasty: ", "slack")
    for message in (email, slack):
        assert re.fullmatch(r"\[WARNING\] nasty: Node [ -~]+", message.subject)
        assert len(message.subject) <= 100
    found = notification(slack.text)
    shown = "it's \"broken\" \\' \\\\ &lt;!channel&gt; &amp; {{ .x }} ü 日本語 🔥"
    assert f"Reason: {shown}" in found["content"]["description"]
    assert f"Node {shown}" in found["content"]["title"] == found["metadata"]["summary"]
    assert found["content"]["description"].count("<") == 1, "the dashboard's link"
    assert "it's \"broken\" \\' \\\\ <!channel> & {{ .x }} ü 日本語 🔥" in email.text


def test_very_much_at_once(running):
    url, sns = running
    long = "x" * 3000
    many = [
        alert("NodeUnavailable", summary=f"&{long}", description=f"{number} {long}", cluster="many", node=f"n{number}")
        for number in range(300)
    ]
    post(url, *many)
    email, slack = sns.about("] many: ", "email"), sns.about("] many: ", "slack")
    assert len(email.text.encode()) < 256 * 1024
    assert len(slack.text.encode()) < 256 * 1024
    assert "These are the first 30 of 300.\n" in email.text
    assert "These are the first 8 of 300.\n" in notification(slack.text)["content"]["description"]

    post(url, alert("NodeUnavailable", summary=long, description=long, cluster="longname", node="n"))
    email, slack = sns.about("] longname: ", "email"), sns.about("] longname: ", "slack")
    assert re.fullmatch(r"\[WARNING\] longname: x+\.\.\.", email.subject)
    assert len(email.subject) == 100
    notification(slack.text)


def test_an_alert_of_somebody_else(running):
    """An existing workspace, or a later one, has rules of other people, without our annotations."""
    url, sns = running
    post(url, {"labels": {"alertname": "TheirAlert", "pod": "x"}, "annotations": {}})
    email, slack = sns.about("] no cluster: ", "email"), sns.about("] no cluster: ", "slack")
    assert email.subject == "[ALERT] no cluster: TheirAlert"
    assert "* alertname=TheirAlert pod=x" in email.text
    assert email.attributes == {"severity": "none", "status": "firing"}
    assert notification(slack.text)["content"]["nextSteps"] == []


def test_one_cause_one_message(running):
    url, sns = running
    node = {"cluster": "cause", "node": "ip-10-1-2-3"}
    words = {"summary": "s", "description": "d"}
    causes = ("NodeUnavailable", "SlurmSilent", "GpuXidError")
    post(
        url,
        alert("NodeUnavailable", **words, **node),
        alert("SlurmSilent", **words, cluster="cause"),
        alert("GpuXidError", **words, **node, gpu="1"),
    )
    for name in causes:
        sns.about(f"{name} in cluster cause", "email")
    post(
        url,
        alert("NodeSilent", **words, **node),
        alert("ExporterDown", **words, **node, job="dcgm"),
        alert("ExporterDown", **words, cluster="cause", node="ip-10-1-2-4", job="node"),
        alert("ExporterDown", **words, cluster="cause", node="cause", job="slurm"),
        alert("GpuThermalViolation", **words, **node, gpu="1"),
        alert("GpuThermalViolation", **words, **node, gpu="2"),
    )
    for name in ("ExporterDown", "GpuThermalViolation"):
        assert "\n1 firing, 0 resolved" in sns.about(f"{name} in cluster cause", "email").text
    assert "var-node=ip-10-1-2-4" in sns.about("ExporterDown in cluster cause", "email").text
    assert not [message for message in sns.messages if "NodeSilent in cluster cause" in message.text]
