"""Where metrics go: a workspace of Amazon Managed Service for Prometheus."""

import aws_cdk as cdk
from aws_cdk import aws_aps as aps
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk_slurm.findings import log_group, report
from cdk_slurm.spec import ExistingMetricsWorkspace, MetricsWorkspaceConfig

_REMOTE_WRITE = "api/v1/remote_write"
#: Log delivery may write to groups with this beginning without a policy for each of them.
_LOG_GROUPS = "/aws/vendedlogs/prometheus"


class MetricsWorkspace(Construct):
    """A workspace of Amazon Managed Service for Prometheus.

    By default it keeps metrics for 150 days, is encrypted with a key of AWS's, and stays when its stack goes. What
    rules and the alert manager fail at, such as a topic that does not let them publish, is logged for a month, since
    nothing else tells of it. Configuration that breaks a rule is an error at synthesis. Another key makes another
    workspace; everything else changes in place.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-create-workspace.html

    >>> workspace = MetricsWorkspace(stack, "Metrics", alias="ml-cluster")
    """

    workspace_id: str
    workspace_arn: str

    endpoint: str
    """Where the Prometheus API is, with a slash at its end."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        alias: str,
        config: MetricsWorkspaceConfig | None = None,
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        config = config or MetricsWorkspaceConfig()
        report(self, config)
        self._workspace = aps.CfnWorkspace(
            self,
            "Workspace",
            alias=alias,
            kms_key_arn=kms_key_arn,
            workspace_configuration=aps.CfnWorkspace.WorkspaceConfigurationProperty(
                retention_period_in_days=config.retention_days
            ),
            logging_configuration=aps.CfnWorkspace.LoggingConfigurationProperty(
                log_group_arn=self._log("Log", alias, days=30)
            ),
            query_logging_configuration=self._query_log(alias, config.query_log_retention_days),
        )
        # A first deployment that fails, for want of IAM Identity Center perhaps, leaves no empty workspace behind.
        keep = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
        self._workspace.apply_removal_policy(keep if config.removal_policy == "retain" else cdk.RemovalPolicy.DESTROY)
        self.workspace_id = self._workspace.attr_workspace_id
        self.workspace_arn = self._workspace.attr_arn
        self.endpoint = self._workspace.attr_prometheus_endpoint

    @classmethod
    def from_config(
        cls,
        scope: Construct,
        id: str,
        *,
        alias: str,
        config: MetricsWorkspaceConfig | ExistingMetricsWorkspace,
        kms_key_arn: str | None = None,
    ) -> "MetricsWorkspace":
        """Make what a description says: a new workspace, or one that exists."""
        if isinstance(config, MetricsWorkspaceConfig):
            return MetricsWorkspace(scope, id, alias=alias, config=config, kms_key_arn=kms_key_arn)
        return cls.from_attributes(scope, id, workspace_id=config.existing)

    @classmethod
    def from_attributes(cls, scope: Construct, id: str, *, workspace_id: str) -> "MetricsWorkspace":
        """Use a workspace that exists in the stack's account and Region. Nothing of it is changed."""
        stack = cdk.Stack.of(scope)
        existing = _ExistingMetricsWorkspace(scope, id)
        existing.workspace_id = workspace_id
        existing.workspace_arn = stack.format_arn(service="aps", resource="workspace", resource_name=workspace_id)
        existing.endpoint = f"https://aps-workspaces.{stack.region}.{stack.url_suffix}/workspaces/{workspace_id}/"
        return existing

    @property
    def remote_write_url(self) -> str:
        """Where collectors send metrics to, signed for the service `aps`."""
        return f"{self.endpoint}{_REMOTE_WRITE}"

    @property
    def query_url(self) -> str:
        """What Prometheus's clients are told as its address: the endpoint without the slash at its end."""
        return cdk.Fn.select(0, cdk.Fn.split(f"/{_REMOTE_WRITE}", self.remote_write_url))

    def grant_remote_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody send metrics to this workspace."""
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=["aps:RemoteWrite"], resource_arns=[self.workspace_arn]
        )

    def send_alerts(self, alert_manager_definition: str) -> None:
        """Give the workspace its alert manager, which CloudFormation has as a part of it.

        Raises `ValueError` for a workspace that exists already.
        """
        self._workspace.alert_manager_definition = alert_manager_definition

    def _query_log(
        self, alias: str, retention_days: int | None
    ) -> aps.CfnWorkspace.QueryLoggingConfigurationProperty | None:
        if retention_days is None:
            return None
        destination = aps.CfnWorkspace.LoggingDestinationProperty(
            cloud_watch_logs=aps.CfnWorkspace.CloudWatchLogDestinationProperty(
                log_group_arn=self._log("QueryLog", f"{alias}-queries", days=retention_days)
            ),
            # Samples that a query reads; every query reads more than none.
            filters=aps.CfnWorkspace.LoggingFilterProperty(qsp_threshold=0),
        )
        return aps.CfnWorkspace.QueryLoggingConfigurationProperty(destinations=[destination])

    def _log(self, id: str, name: str, *, days: int) -> str:
        """ARN of a log group, with `:*` at its end as CloudFormation writes it and the service wants it."""
        group = log_group(self, id)
        cfn_group = group.node.default_child
        assert isinstance(cfn_group, logs.CfnLogGroup)
        cfn_group.log_group_name = f"{_LOG_GROUPS}/{name}"
        cfn_group.retention_in_days = days
        return group.log_group_arn


class _ExistingMetricsWorkspace(MetricsWorkspace):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)

    def send_alerts(self, alert_manager_definition: str) -> None:
        raise ValueError(
            f"workspace: found the existing {self.workspace_id}, whose alert manager is its owner's; "
            "allowed: a workspace that is made here"
        )
