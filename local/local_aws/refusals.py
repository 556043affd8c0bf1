"""What services would be refused when they do their work after a deployment.

CloudFormation is told of none of it: alerts that a topic does not take, events whose rule may not publish, metrics
that Grafana may not read, a cluster that Studio's spaces may not look at. Who has permission is often written down
later than who needs it.
"""

import json
from collections.abc import Iterator
from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import eventbridge

from local_aws import aps, sns, spaces, studio
from local_aws.grafana import WORKSPACE as GRAFANA
from local_aws.grafana import ManagedGrafana, workspace_arn
from local_aws.permissions import Need, lets_in, require_role
from local_aws.world import WORLD, Resource


def refusals(grafana: ManagedGrafana) -> list[str]:
    """In words for people; nothing where all will go well."""
    found: list[str] = []
    for workspace in WORLD.all(aps.WORKSPACE):
        found += _of_alerts(workspace)
    for key, targets in eventbridge._targets.items():
        for target in targets:
            found += _of_events(str(key), target)
    for workspace in WORLD.all(GRAFANA):
        found += _of_grafana(workspace, grafana)
    for space in WORLD.all(studio.SPACE):
        found += spaces.refusals_of(space)
    return found


def _of_alerts(workspace: Resource) -> Iterator[str]:
    """https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-receiver-AMPpermission.html"""
    service, name = "aps.amazonaws.com", workspace.attributes["WorkspaceId"]
    source = {"aws:SourceArn": workspace.attributes["Arn"]}
    for arn in aps.topics_of(workspace):
        if not sns.exists(arn):
            yield f"{name}: its alert manager sends to {arn}, which does not exist"
            continue
        needs = [Need(f"sns:{action}", arn, source) for action in ("Publish", "GetTopicAttributes")]
        policies = [(need, sns.policy_of(arn)) for need in needs]
        if key := sns.key_of(arn):
            encrypted = {"kms:EncryptionContext:aws:sns:topicArn": arn}
            policies += [(Need(f"kms:{one}", key["Arn"], encrypted), key["Policy"]) for one in _ENCRYPT]
        for need, policy in policies:
            if not lets_in(policy, service=service, need=need):
                yield f"{name} is not authorized to perform: {need.action} on resource: {need.resource}"


#: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
_ENCRYPT = ("Decrypt", "GenerateDataKey")


def _of_events(rule: str, target: dict[str, Any]) -> Iterator[str]:
    arn, service = target["Arn"], "events.amazonaws.com"
    if ":sns:" not in arn:
        return
    if not sns.exists(arn):
        yield f"{rule}: it sends to {arn}, which does not exist"
        return
    key = sns.key_of(arn)
    needs = [Need("sns:Publish", arn), *(Need(f"kms:{one}", key["Arn"]) for one in _ENCRYPT if key)]
    if "RoleArn" in target:
        try:
            require_role(target["RoleArn"], service=service, needs=needs)
        except ValueError as error:
            yield f"{rule}: {error}"
        if key and not _leaves_to_iam(key):
            yield f"{rule} is not authorized to use {key['Arn']}, whose policy leaves nothing to IAM"
        return
    # No condition is met: EventBridge tells neither its rule nor its account.
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    for need in needs:
        policy = key["Policy"] if key and need.action.startswith("kms:") else sns.policy_of(arn)
        unconditioned = [one for one in json.loads(policy)["Statement"] if not one.get("Condition")]
        if not lets_in({"Statement": unconditioned}, service=service, need=need):
            yield f"{rule} is not authorized to perform: {need.action} on resource: {need.resource}"


def _leaves_to_iam(key: dict[str, Any]) -> bool:
    root = f"arn:aws:iam::{get_account_id()}:root"
    statements = json.loads(key["Policy"])["Statement"]
    return any(one.get("Principal") == {"AWS": root} and one["Action"] == "kms:*" for one in statements)


def _of_grafana(workspace: Resource, grafana: ManagedGrafana) -> Iterator[str]:
    """https://docs.aws.amazon.com/grafana/latest/userguide/AMG-manage-permissions.html"""
    for source in grafana.data_sources(workspace):
        needs: list[Need] = []
        try:
            if "prometheus" in source["type"]:
                arn = aps.workspace_of(source["url"]).attributes["Arn"]
                actions = ["DescribeWorkspace", "GetLabels", "GetMetricMetadata", "GetSeries", "QueryMetrics"]
                actions += ["ListRules"] if source["jsonData"].get("manageAlerts") else []
                needs = [Need(f"aps:{action}", arn) for action in actions]
            elif source["type"] == "cloudwatch":
                actions = ["cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ec2:DescribeRegions"]
                needs = [Need(action) for action in (*actions, "tag:GetResources")]
            own = workspace_arn(workspace.physical_id)
            require_role(workspace.properties["RoleArn"], service="grafana.amazonaws.com", needs=needs, source_arn=own)
        except ValueError as error:
            yield f"{workspace.physical_id}, data source {source['name']}: {error}"
