"""Who is told of an alert, and how often."""

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.alerts import alert_manager_yaml
from cdk_slurm.findings import report
from cdk_slurm.observability.alert_topic import AlertTopic
from cdk_slurm.observability.metrics_workspace import MetricsWorkspace
from cdk_slurm.spec import RepeatIntervals


class AlertManager(Construct):
    """The alert manager of a workspace that is made here: it sends alerts to a topic, by severity as often as asked.

    Intervals that break a rule are an error at synthesis. Raises `ValueError` for a workspace that exists already, and
    for a definition too large for the service.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alert-manager.html

    >>> manager = AlertManager(stack, "AlertManager", workspace=workspace, topic=topic)
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        workspace: MetricsWorkspace,
        topic: AlertTopic,
        repeat: RepeatIntervals | None = None,
    ) -> None:
        super().__init__(scope, id)
        repeat = repeat or RepeatIntervals()
        if not report(self, repeat):
            # As for alert rules.
            repeat = RepeatIntervals()
        definition = alert_manager_yaml(
            email_topic_arn=topic.topic_arn,
            slack_topic_arn=topic.slack_topic_arn,
            region=cdk.Stack.of(self).region,
            repeat=repeat,
        )
        workspace.send_alerts(definition)
        topic.allow_workspace(workspace)
