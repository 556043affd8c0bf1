"""What the local AWS refuses of metrics, alerts and Grafana, and what it says services would be refused afterwards."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cdk_slurm.rehearsal import LocalAws
from tests.deploy.stack import Stack
from tests.deploy.test_local_aws import att, cluster, listening, node_role, ref, resource, trusted_by


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(region="us-west-2") as started:
        yield started


TOPIC = "arn:aws:sns:us-west-2:111122223333:alerts"


def alert_manager(sns: str = f"{{topic_arn: {TOPIC}, sigv4: {{region: us-west-2}}}}", **route: Any) -> str:
    inner = json.dumps({"route": {"receiver": "people"} | route})[1:-1]
    return f'alertmanager_config: |\n  {{{inner}, "receivers": [{{"name": "people", "sns_configs": [{sns}]}}]}}\n'


def workspace(definition: str = "", **properties: Any) -> dict[str, Any]:
    """A workspace of metrics with its alert manager, and the topic that it sends to."""
    manager = {"AlertManagerDefinition": definition} if definition else {}
    return {
        "Topic": resource("AWS::SNS::Topic", TopicName="alerts"),
        "Metrics": resource("AWS::APS::Workspace", Alias="x", **manager, **properties) | {"DependsOn": "Topic"},
    }


def rules(data: str, **properties: Any) -> dict[str, Any]:
    own = {"Workspace": att("Metrics", "Arn"), "Name": "x", "Data": data} | properties
    return workspace() | {"Rules": resource("AWS::APS::RuleGroupsNamespace", **own)}


def grafana(**properties: Any) -> dict[str, Any]:
    own = {
        "AccountAccessType": "CURRENT_ACCOUNT",
        "AuthenticationProviders": ["AWS_SSO"],
        "GrafanaVersion": "10.4",
        "PermissionType": "CUSTOMER_MANAGED",
        "RoleArn": att("Role", "Arn"),
    }
    role = resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("grafana.amazonaws.com"))
    return {"Role": role, "Grafana": resource("AWS::Grafana::Workspace", **own | properties)}


def channel(role_trusts: str, **properties: Any) -> dict[str, Any]:
    own = {"ConfigurationName": "x", "IamRoleArn": att("Role", "Arn"), "SlackChannelId": "C1", "SlackWorkspaceId": "T1"}
    return {
        "Role": resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by(role_trusts)),
        "Channel": resource("AWS::Chatbot::SlackChannelConfiguration", **own | properties),
    }


WRONG = {
    "an alert manager as Alertmanager itself has it": (
        workspace("route: {receiver: x}\nreceivers: [{name: x}]\n"),
        "unknown key 'receivers'",
    ),
    "an alert manager whose configuration is no text": (
        workspace("alertmanager_config: {route: {receiver: x}}\n"),
        "alertmanager_config is a text of its own",
    ),
    "an alert manager that sends to no topic": (
        workspace(alert_manager("{topic_arn: 'arn:aws:sns:us-west-2:111122223333:none', sigv4: {region: us-west-2}}")),
        "the topic arn:aws:sns:us-west-2:111122223333:none does not exist",
    ),
    "an alert manager that signs for no Region": (
        workspace(alert_manager(f"{{topic_arn: {TOPIC}}}")),
        "sigv4.region is required",
    ),
    "an alert manager that writes mails itself": (
        workspace("alertmanager_config: |\n  {route: {receiver: x}, receivers: [{name: x, email_configs: []}]}\n"),
        "receivers are SNS and PagerDuty; found email_configs",
    ),
    "a route to nobody": (
        workspace(alert_manager(routes=[{"receiver": "nobody"}])),
        "undefined receiver 'nobody'",
    ),
    "a repetition after a week": (workspace(alert_manager(repeat_interval="7d")), "is over 5 days"),
    "a template that is not there": (
        workspace("alertmanager_config: |\n  {route: {receiver: x}, receivers: [{name: x}], templates: [t]}\n"),
        "there is no template file 't'",
    ),
    "a log group without :* at its end": (
        workspace(LoggingConfiguration={"LogGroupArn": "arn:aws:logs:us-west-2:111122223333:log-group:none"}),
        "is not a log group with :* at its end",
    ),
    "metrics under a key that is none": (
        workspace(KmsKeyArn="arn:aws:kms:us-west-2:111122223333:key/0123abcd-0123-4567-89ab-0123456789ab"),
        "The key arn:aws:kms:us-west-2:111122223333:key/0123abcd",
    ),
    "a topic under a key that is none": (
        {"Topic": resource("AWS::SNS::Topic", KmsMasterKeyId="0123abcd-0123-4567-89ab-0123456789ab")},
        "The key 0123abcd",
    ),
    "rules in no workspace": (
        rules("groups: [{name: a}]", Workspace="arn:aws:aps:us-west-2:111122223333:workspace/ws-none"),
        "workspace/ws-none does not exist",
    ),
    "rules without groups": (rules("- alert: X\n  expr: up\n"), "Data: no mapping"),
    "rules in two groups of one name": (rules("groups: [{name: a}, {name: a}]"), "each its own"),
    "rules that are judged too often": (rules("groups: [{name: a, interval: 15s}]"), "30 s is the shortest"),
    "a rule that says nothing": (rules("groups: [{name: a, rules: [{alert: X}]}]"), "is no alert and no record"),
    "too many rules": (
        rules(f"groups: [{{name: a, rules: [&x {{alert: X, expr: up}}{', *x' * 2000}]}}]"),
        "would have 2001 rules",
    ),
    "a Grafana that there is not": (grafana(GrafanaVersion="11.0"), "'11.0' at 'grafanaVersion' is not supported"),
    "a Grafana whose role is none": (
        {"Grafana": grafana(RoleArn="arn:aws:iam::111122223333:role/nobody")["Grafana"]},
        "role/nobody does not exist",
    ),
    "a Grafana whose role trusts somebody else": (
        grafana() | {"Role": resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("ec2.amazonaws.com"))},
        "grafana.amazonaws.com is not authorized to assume",
    ),
    "SAML without saying so": (
        grafana(SamlConfiguration={"IdpMetadata": {"Url": "https://idp.example.com/x"}}),
        "SAML is not among AuthenticationProviders",
    ),
    "a Slack channel whose role trusts somebody else": (
        channel("ec2.amazonaws.com"),
        "chatbot.amazonaws.com is not authorized to assume",
    ),
    "a Slack channel that hears of no topic": (
        channel("chatbot.amazonaws.com", SnsTopicArns=["arn:aws:sns:us-west-2:111122223333:none"]),
        "The topic arn:aws:sns:us-west-2:111122223333:none does not exist",
    ),
    "a function that may not write its log": (
        {
            "Role": resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("lambda.amazonaws.com")),
            "Function": resource(
                "AWS::Lambda::Function",
                Runtime="python3.13",
                Handler="index.handler",
                Role=att("Role", "Arn"),
                Code={"ZipFile": "def handler(*_): pass"},
                LoggingConfig={"LogGroup": "somewhere"},
            ),
        },
        "not authorized to perform: logs:CreateLogStream",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_service_does_not_take_fails(aws, what):
    template, told = WRONG[what]
    stack = Stack(aws, template)
    assert stack.status == "ROLLBACK_COMPLETE"
    assert told in stack.failures


@pytest.fixture
def scripts(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="sagemaker-scripts", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="sagemaker-scripts", Key="there/run.sh", Body=b"#!/bin/sh\n")


def test_nodes_write_metrics_to_a_workspace_that_is_there_and_lets_them(aws, scripts):
    role, nodes = {"Role": node_role()}, {"Cluster": cluster()}
    base = "https://aps-workspaces.us-west-2.amazonaws.com/workspaces"

    def writing_to(url: str) -> None:
        text = json.dumps({"metrics": {"remote_write_url": url}}).encode()
        aws.client("s3").put_object(Bucket="sagemaker-scripts", Key="there/cluster.json", Body=text)

    writing_to(f"{base}/ws-none/api/v1/remote_write")
    stack = Stack(aws, role | nodes)
    assert f"There is no workspace of Amazon Managed Service for Prometheus at {base}/ws-none" in stack.failures
    metrics = Stack(aws, workspace())
    arn = metrics.physical_id("Metrics")
    endpoint = f"{base}/{arn.rpartition('/')[2]}"
    writing_to(f"{endpoint}//api/v1/remote_write")
    assert f"metrics would be sent to {endpoint}//api" in Stack(aws, role | nodes).failures
    writing_to(f"{endpoint}/api/v1/remote_write")
    assert f"not authorized to perform: aps:RemoteWrite on resource: {arn}" in Stack(aws, role | nodes).failures
    metrics.delete()


def publishing(*statements: dict[str, Any]) -> dict[str, Any]:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return {"Policy": resource("AWS::SNS::TopicPolicy", Topics=[ref("Topic")], PolicyDocument=document)}


def allowed(service: str, **conditions: Any) -> dict[str, Any]:
    own = {"Effect": "Allow", "Principal": {"Service": service}, "Resource": TOPIC}
    return own | {"Action": ["sns:Publish", "sns:GetTopicAttributes"], "Condition": conditions}


def test_an_alert_that_a_topic_does_not_take_is_told(aws):
    """Its policy names the workspace, which is there before: CloudFormation makes both, and nobody tells."""
    stack = Stack(aws, workspace(alert_manager()))
    id_ = stack.physical_id("Metrics").rpartition("/")[2]
    refused = f"{id_} is not authorized to perform: sns:Publish on resource: {TOPIC}"
    assert refused in aws.refusals()
    source = {
        "ArnEquals": {"aws:SourceArn": att("Metrics", "Arn")},
        "StringEquals": {"aws:SourceAccount": "111122223333"},
    }
    good = workspace(alert_manager()) | publishing(allowed("aps.amazonaws.com", **source))
    assert stack.update(good) == "UPDATE_COMPLETE"
    assert aws.refusals() == []
    other = {"ArnEquals": {"aws:SourceArn": "arn:aws:aps:us-west-2:111122223333:workspace/ws-other"}}
    stack.update(workspace(alert_manager()) | publishing(allowed("aps.amazonaws.com", **other)))
    assert refused in aws.refusals()
    # With a key of its own, the key's policy counts too: its default one lets no service in.
    keyed = good | {"Key": resource("AWS::KMS::Key", KeyPolicy={"Statement": []})}
    keyed["Topic"] = resource("AWS::SNS::Topic", TopicName="alerts", KmsMasterKeyId=att("Key", "Arn"))
    stack.update(keyed)
    assert [one.partition(" on ")[0].rpartition(": ")[2] for one in aws.refusals()] == [
        "kms:Decrypt",
        "kms:GenerateDataKey",
    ]
    stack.delete()


def test_an_event_that_is_not_passed_on_is_told(aws):
    rule = resource("AWS::Events::Rule", EventPattern={"source": ["x"]}, Targets=[{"Id": "x", "Arn": ref("Topic")}])
    events = {"Topic": resource("AWS::SNS::Topic", TopicName="alerts"), "Rule": rule}
    stack = Stack(aws, events)
    assert [one.partition(" is ")[2] for one in aws.refusals()] == [
        f"not authorized to perform: sns:Publish on resource: {TOPIC}"
    ]
    # EventBridge meets no condition in a topic's policy.
    account = {"StringEquals": {"aws:SourceAccount": "111122223333"}}
    stack.update(events | publishing(allowed("events.amazonaws.com", **account)))
    assert len(aws.refusals()) == 1
    stack.update(events | publishing(allowed("events.amazonaws.com")))
    assert aws.refusals() == []
    # As a role it needs no word in that policy, and the role does.
    trust = trusted_by("events.amazonaws.com")
    by_role = events | {"Role": resource("AWS::IAM::Role", AssumeRolePolicyDocument=trust)}
    target = {"Id": "x", "Arn": ref("Topic"), "RoleArn": att("Role", "Arn")}
    by_role["Rule"] = resource("AWS::Events::Rule", EventPattern={"source": ["x"]}, Targets=[target])
    stack.update(by_role)
    [told] = aws.refusals()
    assert "is not authorized to perform: sns:Publish" in told
    stack.delete()


def test_grafana_listens_on_loopback_and_goes_with_its_workspace(aws):
    stack = Stack(aws, grafana())
    endpoint = aws.client("grafana").list_workspaces()["workspaces"][0]["endpoint"]
    host, _, port = endpoint.partition(":")
    assert {address for address, _ in listening(aws.pid)} == {host} == {"127.0.0.1"}
    assert int(port) in {one for _, one in listening(aws.pid)}
    stack.delete()
    assert int(port) not in {one for _, one in listening(aws.pid)}
