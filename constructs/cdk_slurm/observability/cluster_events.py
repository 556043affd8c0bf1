"""What HyperPod tells of a cluster, as messages that people can read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_slurm.observability.alert_topic import AlertTopic

_Target = events.CfnRule.TargetProperty


@dataclass(frozen=True, kw_only=True)
class _Told:
    """One kind of event: which ones are passed on, and in what words."""

    id: str
    description: str
    detail_type: str
    where: Sequence[str] = ()
    """Fields of the detail that hold the event's own fields."""

    only: Mapping[str, Sequence[str]]
    """Values of fields that are passed on."""

    fields: Mapping[str, str]
    """What the words below name, by path. Only what every such event has: one without it would not be sent."""

    title: str
    lines: Sequence[str]


_EVENTS = (
    _Told(
        id="State",
        description="The cluster's status changes",
        detail_type="SageMaker HyperPod Cluster State Change",
        only={},
        fields={"status": "$.detail.ClusterStatus", "message": "$.detail.FailureMessage"},
        title="HyperPod cluster {cluster} is <status>",
        lines=("HyperPod says: <message>",),
    ),
    _Told(
        id="NodeHealth",
        description="A node's health changes",
        detail_type="SageMaker HyperPod Cluster Node Health Event",
        only={},
        fields={
            "instance": "$.detail.InstanceId",
            "health": "$.detail.HealthSummary.HealthStatus",
            "reason": "$.detail.HealthSummary.HealthStatusReason",
            "repair": "$.detail.HealthSummary.RepairAction",
            "recommendation": "$.detail.HealthSummary.Recommendation",
        },
        title="Node <instance> of HyperPod cluster {cluster} is <health>",
        lines=(
            "Why: <reason>",
            "HyperPod repairs it by: <repair>",
            "HyperPod recommends: <recommendation>",
        ),
    ),
    _Told(
        id="Event",
        description="An operation of the cluster has failed, or may",
        detail_type="SageMaker HyperPod Cluster Event",
        where=("EventDetails",),
        # Of Info there are dozens whenever a group grows.
        only={"EventLevel": ("Error", "Warn")},
        fields={
            "level": "$.detail.EventDetails.EventLevel",
            "resource": "$.detail.EventDetails.ResourceType",
            "description": "$.detail.EventDetails.Description",
            "event": "$.detail.EventDetails.EventId",
        },
        title="<level> on HyperPod cluster {cluster}",
        lines=(
            "<resource>: <description>",
            "More: aws sagemaker describe-cluster-event --cluster-name {cluster} --event-id <event>",
        ),
    ),
)


class ClusterEvents(Construct):
    """Passes on what HyperPod tells of one cluster: its status, its nodes' health, and operations that failed.

    HyperPod tells of operations on clusters with continuous provisioning only. The cluster is named and not referred
    to, so that it may be made later and elsewhere.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-cluster-events-reference.html

    >>> events = ClusterEvents(stack, "Events", cluster_name="ml-cluster", topic=topic)
    """

    def __init__(self, scope: Construct, id: str, *, cluster_name: str, topic: AlertTopic) -> None:
        super().__init__(scope, id)
        policy = iam.ManagedPolicy(
            self, "Policy", description="Publishes a cluster's events", statements=topic.publish_statements()
        )
        # A topic's own policy cannot tell one rule of EventBridge's from another, and a role can.
        role = iam.Role(
            self,
            "Role",
            description="Publishes a cluster's events",
            assumed_by=iam.ServicePrincipal(
                "events.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            ),
            managed_policies=[policy],
        )
        for told in _EVENTS:
            detail: dict[str, Any] = {"ClusterName": [cluster_name]}
            detail |= {field: list(values) for field, values in told.only.items()}
            for field in reversed(told.where):
                detail = {field: detail}
            rule = events.CfnRule(
                self,
                told.id,
                description=f"{told.description}: {cluster_name}",
                event_pattern={"source": ["aws.sagemaker"], "detail-type": [told.detail_type], "detail": detail},
                targets=self._targets(told, cluster_name, topic, role),
            )
            rule.node.add_dependency(policy)

    @staticmethod
    def _targets(
        told: _Told, cluster_name: str, topic: AlertTopic, role: iam.IRole
    ) -> list[events.CfnRule.TargetProperty]:
        title, *lines = (text.format(cluster=cluster_name) for text in (told.title, *told.lines, "At: <time>"))
        written = [("Email", topic.topic_arn, _text(title, lines))]
        if topic.slack_topic_arn:
            written.append(("Slack", topic.slack_topic_arn, _notification(title, lines, thread=cluster_name)))
        return [
            _Target(
                id=id,
                arn=arn,
                role_arn=role.role_arn,
                input_transformer=events.CfnRule.InputTransformerProperty(
                    input_paths_map={**told.fields, "time": "$.time"}, input_template=template
                ),
            )
            for id, arn, template in written
        ]


def _text(title: str, lines: Sequence[str]) -> str:
    """A template of text: each line in quotation marks, which readers see too."""
    return "\n".join(json.dumps(line) for line in (f"{title}.", *lines))


def _notification(title: str, lines: Sequence[str], *, thread: str) -> str:
    """A template of a custom notification.

    https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    """
    return json.dumps(
        {
            "version": "1.0",
            "source": "custom",
            "content": {"textType": "client-markdown", "title": title, "description": "\n".join(lines)},
            "metadata": {"threadId": f"{thread}-events"},
        }
    )
