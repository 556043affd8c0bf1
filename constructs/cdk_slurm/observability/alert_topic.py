"""Where alerts and events are published, and who reads them."""

from collections.abc import Sequence
from urllib.parse import quote

import aws_cdk as cdk
from aws_cdk import aws_chatbot as chatbot
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk_slurm.findings import report
from cdk_slurm.observability.metrics_workspace import MetricsWorkspace
from cdk_slurm.spec import ObservabilityConfig, SlackConfig

#: What publishing to an encrypted topic takes of its key.
_ENCRYPT = ("kms:Decrypt", "kms:GenerateDataKey")


class AlertTopic(Construct):
    """An SNS topic with its readers by e-mail, and a second one for Slack, whose messages are JSON.

    Each address confirms once, by a link in the first mail. Slack reads through Amazon Q Developer in chat
    applications, where the Slack workspace must have been authorised once for the account; nobody may run commands
    from the channel. Topics are reached over TLS only, and encrypted with a key of their own: Amazon's key for SNS
    lets no service publish, and a customer's key would need a policy of its owner's. Configuration that breaks a rule
    is an error at synthesis.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html

    >>> topic = AlertTopic(stack, "Alerts", name="ml-cluster", emails=["ml-platform@example.com"])
    """

    topic_arn: str
    """Messages are text for people."""

    slack_topic_arn: str | None
    """Messages are custom notifications of Amazon Q Developer; None without Slack."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        emails: Sequence[str] = (),
        slack: SlackConfig | None = None,
    ) -> None:
        super().__init__(scope, id)
        # As a description would say it: Grafana is judged by a construct of its own.
        report(self, ObservabilityConfig(alert_emails=tuple(emails), slack=slack, grafana=None))
        names = {"Topic": f"{name}-alerts"} | ({"SlackTopic": f"{name}-alerts-slack"} if slack else {})
        self._key = self._topic_key(name, list(names.values()))
        self._topics = [
            sns.Topic(
                self,
                id,
                topic_name=topic_name,
                display_name=f"Alerts of {name}",
                master_key=self._key,
                enforce_ssl=True,
            )
            for id, topic_name in names.items()
        ]
        self.topic_arn = self._topics[0].topic_arn
        for email in emails:
            # Named by its address, so that another one before it does not replace it.
            sns.Subscription(
                self,
                quote(email, safe="@"),
                topic=self._topics[0],
                protocol=sns.SubscriptionProtocol.EMAIL,
                endpoint=email,
            )
        self.slack_topic_arn = self._topics[1].topic_arn if slack else None
        if slack and self.slack_topic_arn:
            self._slack_channel(name, slack, self.slack_topic_arn)

    @property
    def topic_arns(self) -> list[str]:
        """The topics that there are."""
        return [topic.topic_arn for topic in self._topics]

    def allow_workspace(self, workspace: MetricsWorkspace) -> None:
        """Let the alert manager of one workspace publish.

        The workspace is there before this is: rules whose alerts are to arrive depend on the topic.

        https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-receiver-AMPpermission.html
        """
        for topic in self._topics:
            topic.add_to_resource_policy(
                iam.PolicyStatement(
                    sid="PublishAlerts",
                    principals=[iam.ServicePrincipal("aps.amazonaws.com")],
                    actions=["sns:GetTopicAttributes", "sns:Publish"],
                    resources=[topic.topic_arn],
                    conditions={
                        "ArnEquals": {"aws:SourceArn": workspace.workspace_arn},
                        "StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account},
                    },
                )
            )

    def publish_statements(self) -> list[iam.PolicyStatement]:
        """What a role needs to publish to the topics."""
        return [
            iam.PolicyStatement(sid="Publish", actions=["sns:Publish"], resources=self.topic_arns),
            iam.PolicyStatement(sid="Encrypt", actions=list(_ENCRYPT), resources=[self._key.key_arn]),
        ]

    def _topic_key(self, name: str, topic_names: Sequence[str]) -> kms.Key:
        """A key that encrypts messages on these topics and nothing else.

        SNS says which topic a message is for. The workspace cannot be named, for it is made after the key.
        """
        stack = cdk.Stack.of(self)
        key = kms.Key(
            self,
            "Key",
            description=f"Alerts of {name} on their way",
            enable_key_rotation=True,
            # Messages are on their way for minutes.
            removal_policy=cdk.RemovalPolicy.DESTROY,
            pending_window=cdk.Duration.days(7),
        )
        key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="EncryptAlerts",
                principals=[iam.ServicePrincipal("aps.amazonaws.com")],
                actions=list(_ENCRYPT),
                resources=["*"],
                conditions={
                    "StringEquals": {
                        "kms:EncryptionContext:aws:sns:topicArn": [
                            stack.format_arn(service="sns", resource=topic_name) for topic_name in topic_names
                        ]
                    }
                },
            )
        )
        return key

    def _slack_channel(self, name: str, slack: SlackConfig, topic_arn: str) -> None:
        role = iam.Role(
            self,
            "SlackRole",
            description="Amazon Q Developer in Slack: it passes messages on and may do nothing",
            assumed_by=iam.ServicePrincipal("chatbot.amazonaws.com"),
        )
        chatbot.CfnSlackChannelConfiguration(
            self,
            "SlackChannel",
            # One of the account's in all Regions, while a cluster's name is its own in each.
            configuration_name=f"{name}-alerts-{cdk.Stack.of(self).region}",
            slack_workspace_id=slack.workspace_id,
            slack_channel_id=slack.channel_id,
            iam_role_arn=role.role_arn,
            sns_topic_arns=[topic_arn],
            # What the channel's members may do at most; without any, that would be everything.
            guardrail_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("AWSDenyAll").managed_policy_arn],
            # A message that is not understood is dropped, and tells nobody but this log.
            logging_level="ERROR",
        )
