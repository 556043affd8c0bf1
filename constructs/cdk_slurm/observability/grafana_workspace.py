"""Where dashboards are looked at: a workspace of Amazon Managed Grafana."""

import aws_cdk as cdk
from aws_cdk import aws_grafana as grafana
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_slurm.findings import acknowledge, report
from cdk_slurm.observability.metrics_workspace import MetricsWorkspace
from cdk_slurm.spec import GrafanaConfig, SamlConfig

#: Of those that the service offers, the one that the dashboards are written and tested for.
GRAFANA_VERSION = "10.4"

_Props = grafana.CfnWorkspace


class GrafanaWorkspace(Construct):
    """A workspace of Amazon Managed Grafana that reads one metrics workspace, and CloudWatch's metrics.

    People log in through IAM Identity Center, which the account's organisation must have, or through SAML. Plugins
    cannot be installed. Configuration that breaks a rule is an error at synthesis, and every change is made in place.

    https://docs.aws.amazon.com/grafana/latest/userguide/what-is-Amazon-Managed-Service-Grafana.html

    >>> grafana = GrafanaWorkspace(stack, "Grafana", name="ml-cluster", metrics=workspace)
    """

    workspace_id: str
    workspace_arn: str

    endpoint: str
    """Its host, for Grafana's API."""

    config: GrafanaConfig

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        metrics: MetricsWorkspace,
        config: GrafanaConfig | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.config = config or GrafanaConfig()
        report(self, self.config)
        saml = self.config.saml
        workspace = grafana.CfnWorkspace(
            self,
            "Workspace",
            name=name,
            description=f"Dashboards of {name}, a Slurm cluster for training",
            account_access_type="CURRENT_ACCOUNT",
            authentication_providers=["SAML" if saml else "AWS_SSO"],
            saml_configuration=_saml(saml) if saml else None,
            permission_type="CUSTOMER_MANAGED",
            role_arn=self._role(metrics).role_arn,
            data_sources=["CLOUDWATCH", "PROMETHEUS"],
            grafana_version=GRAFANA_VERSION,
            plugin_admin_enabled=False,
        )
        self.workspace_id = workspace.attr_id
        self.workspace_arn = cdk.Stack.of(self).format_arn(
            service="grafana", resource="/workspaces", resource_name=workspace.attr_id
        )
        self.endpoint = workspace.attr_endpoint

    @property
    def url(self) -> str:
        """What people open, without a slash at its end."""
        return f"https://{self.endpoint}"

    def _role(self, metrics: MetricsWorkspace) -> iam.Role:
        """What Grafana reads as: the one workspace, and metrics in CloudWatch, which has no finer permissions."""
        stack = cdk.Stack.of(self)
        policy = iam.ManagedPolicy(
            self,
            "Policy",
            description="What Grafana reads",
            statements=[
                iam.PolicyStatement(
                    sid="ReadMetrics",
                    actions=[
                        "aps:DescribeWorkspace",
                        "aps:GetLabels",
                        "aps:GetMetricMetadata",
                        "aps:GetSeries",
                        "aps:ListRules",
                        "aps:QueryMetrics",
                    ],
                    resources=[metrics.workspace_arn],
                ),
                iam.PolicyStatement(
                    sid="ReadCloudWatch",
                    actions=[
                        "cloudwatch:GetMetricData",
                        "cloudwatch:ListMetrics",
                        "ec2:DescribeRegions",
                        "tag:GetResources",
                    ],
                    resources=["*"],
                ),
            ],
        )
        acknowledge(
            policy,
            "These actions only read metrics, Regions and tags, and IAM has no resources for them.",
            "AwsSolutions-IAM5[Resource::*]",
        )
        return iam.Role(
            self,
            "Role",
            description="Reads metrics for Grafana",
            # The workspace is made after its role, so that its id is not known here.
            assumed_by=iam.ServicePrincipal(
                "grafana.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "StringLike": {
                        "aws:SourceArn": stack.format_arn(service="grafana", resource="/workspaces", resource_name="*")
                    },
                },
            ),
            managed_policies=[policy],
        )


def _saml(saml: SamlConfig) -> grafana.CfnWorkspace.SamlConfigurationProperty:
    return _Props.SamlConfigurationProperty(
        idp_metadata=_Props.IdpMetadataProperty(url=saml.metadata_url),
        assertion_attributes=_Props.AssertionAttributesProperty(role=saml.role_assertion),
        role_values=_Props.RoleValuesProperty(admin=list(saml.admin_roles), editor=list(saml.editor_roles) or None),
    )
