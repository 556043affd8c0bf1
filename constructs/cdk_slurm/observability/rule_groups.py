"""The alert rules, as a workspace evaluates them."""

from aws_cdk import aws_aps as aps
from constructs import Construct

from cdk_slurm.alerts import rule_groups_yaml
from cdk_slurm.findings import report
from cdk_slurm.observability.metrics_workspace import MetricsWorkspace
from cdk_slurm.spec import AlertThresholds


class RuleGroups(Construct):
    """The alert rules of one cluster, in a namespace of their own in a workspace that clusters may share.

    `cluster_name` is that of the cluster they judge, and of the namespace. Thresholds that break a rule are an error at
    synthesis; rules too large for the service raise `ValueError`. `grafana_url`, without a slash at its end, is where
    alerts link to. Another threshold changes the namespace in place.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-Ruler.html

    >>> rules = RuleGroups(stack, "Rules", workspace=workspace, cluster_name="ml-cluster")
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        workspace: MetricsWorkspace,
        cluster_name: str,
        thresholds: AlertThresholds | None = None,
        grafana_url: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        thresholds = thresholds or AlertThresholds()
        if not report(self, thresholds):
            # Synthesis fails with the errors; defaults let it find those of other constructs too.
            thresholds = AlertThresholds()
        aps.CfnRuleGroupsNamespace(
            self,
            "Namespace",
            workspace=workspace.workspace_arn,
            name=cluster_name,
            data=rule_groups_yaml(thresholds, cluster_name=cluster_name, grafana_url=grafana_url),
        )
