"""Metrics, dashboards and alerts that stand in an account, asked of the services with boto3."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from cdk_slurm.rehearsal import LocalAws, deployed_dashboards, grafana


def _metrics_workspaces(aws: LocalAws) -> list[dict[str, Any]]:
    return aws.client("amp").list_workspaces()["workspaces"]


def _channels(aws: LocalAws) -> list[dict[str, Any]]:
    return aws.client("chatbot").describe_slack_channel_configurations()["SlackChannelConfigurations"]


def _in_use(aws: LocalAws, key: str) -> bool:
    return aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] != "PendingDeletion"


LISTS: dict[str, Callable[[LocalAws], Iterable[str]]] = {
    "metrics workspace": lambda aws: [one["workspaceId"] for one in _metrics_workspaces(aws)],
    "rules": lambda aws: [
        one["arn"]
        for workspace in _metrics_workspaces(aws)
        for one in aws.client("amp").list_rule_groups_namespaces(workspaceId=workspace["workspaceId"])[
            "ruleGroupsNamespaces"
        ]
    ],
    "Grafana": lambda aws: [one["id"] for one in aws.client("grafana").list_workspaces()["workspaces"]],
    "dashboard": lambda aws: [one.uid for one in deployed_dashboards(aws)],
    "Slack channel": lambda aws: [one["ChatConfigurationArn"] for one in _channels(aws)],
    "topic": lambda aws: [one["TopicArn"] for one in aws.client("sns").list_topics()["Topics"]],
    "subscription": lambda aws: [one["Endpoint"] for one in aws.client("sns").list_subscriptions()["Subscriptions"]],
    "key": lambda aws: [one["KeyId"] for one in aws.client("kms").list_keys()["Keys"] if _in_use(aws, one["KeyId"])],
    "event rule": lambda aws: [one["Name"] for one in aws.client("events").list_rules()["Rules"]],
}


def _metrics_workspace(aws: LocalAws, arn: str, properties: dict[str, Any]) -> bool:
    amp, id_ = aws.client("amp"), arn.rpartition("/")[2]
    told = amp.describe_workspace(workspaceId=id_)["workspace"]
    if wanted := properties.get("AlertManagerDefinition"):
        definition = amp.describe_alert_manager_definition(workspaceId=id_)["alertManagerDefinition"]["data"]
        if definition.decode() != wanted:
            return False
    return (told["alias"], told.get("kmsKeyArn")) == (properties["Alias"], properties.get("KmsKeyArn"))


def _rule_groups(aws: LocalAws, _arn: str, properties: dict[str, Any]) -> bool:
    workspace = properties["Workspace"].rpartition("/")[2]
    told = aws.client("amp").describe_rule_groups_namespace(workspaceId=workspace, name=properties["Name"])
    return told["ruleGroupsNamespace"]["data"].decode() == properties["Data"]


def _grafana_workspace(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    told = aws.client("grafana").describe_workspace(workspaceId=id_)["workspace"]
    providers = told["authentication"]["providers"]
    return (told["grafanaVersion"], providers) == (properties["GrafanaVersion"], properties["AuthenticationProviders"])


def _installed_dashboards(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    with grafana(aws, properties["WorkspaceId"]) as own:
        sources = {one["uid"] for one in own.get("/api/datasources")}
        return bool(own.get("/api/search?folderUIDs=cdk-slurm")) and sources == {
            "cdk-slurm-amp",
            "cdk-slurm-cloudwatch",
        }


def _slack_channel(aws: LocalAws, arn: str, properties: dict[str, Any]) -> bool:
    told = {one["ChatConfigurationArn"]: one["SnsTopicArns"] for one in _channels(aws)}
    return told.get(arn) == properties["SnsTopicArns"]


def _topic(aws: LocalAws, arn: str, properties: dict[str, Any]) -> bool:
    told = aws.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    names = ("DisplayName", "KmsMasterKeyId")
    return [told.get(name) for name in names] == [properties.get(name) for name in names]


def _topic_policy(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    read = aws.client("sns").get_topic_attributes
    told = [json.loads(read(TopicArn=arn)["Attributes"]["Policy"]) for arn in properties["Topics"]]
    return all(one == properties["PolicyDocument"] for one in told)


def _subscription(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    told = aws.client("sns").list_subscriptions_by_topic(TopicArn=properties["TopicArn"])["Subscriptions"]
    wanted = (properties["Protocol"], properties["Endpoint"])
    return wanted in [(one["Protocol"], one["Endpoint"]) for one in told]


def _key(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    kms = aws.client("kms")
    policy = json.loads(kms.get_key_policy(KeyId=id_, PolicyName="default")["Policy"])
    rotated = kms.get_key_rotation_status(KeyId=id_)["KeyRotationEnabled"]
    return policy == properties["KeyPolicy"] and rotated == properties["EnableKeyRotation"] and _in_use(aws, id_)


def _event_rule(aws: LocalAws, name: str, properties: dict[str, Any]) -> bool:
    events = aws.client("events")
    pattern = json.loads(events.describe_rule(Name=name)["EventPattern"])
    targets = {one["Arn"] for one in events.list_targets_by_rule(Rule=name)["Targets"]}
    return pattern == properties["EventPattern"] and targets == {one["Arn"] for one in properties["Targets"]}


READERS: dict[str, Callable[[LocalAws, str, dict[str, Any]], bool]] = {
    "AWS::APS::RuleGroupsNamespace": _rule_groups,
    "AWS::APS::Workspace": _metrics_workspace,
    "AWS::Chatbot::SlackChannelConfiguration": _slack_channel,
    "AWS::Events::Rule": _event_rule,
    "AWS::Grafana::Workspace": _grafana_workspace,
    "AWS::KMS::Key": _key,
    "AWS::SNS::Subscription": _subscription,
    "AWS::SNS::Topic": _topic,
    "AWS::SNS::TopicPolicy": _topic_policy,
    "Custom::GrafanaDashboards": _installed_dashboards,
}
