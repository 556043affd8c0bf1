"""The dashboards, as a Grafana workspace has them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from cdk_slurm.dashboards import dashboards
from cdk_slurm.findings import acknowledge, log_group, shown
from cdk_slurm.observability.grafana_workspace import GrafanaWorkspace
from cdk_slurm.observability.metrics_workspace import MetricsWorkspace
from cdk_slurm.parts import shipped_directory
from cdk_slurm.spec import GrafanaAccess

#: Grafana may have to start anew in between, which takes minutes. Lambda gives no more.
_TIMEOUT = cdk.Duration.minutes(15)

#: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSGrafanaWorkspacePermissionManagementV2.html
_READ_IDENTITY_CENTER = (
    "sso-directory:DescribeGroup",
    "sso-directory:DescribeUser",
    "sso:DescribeRegisteredRegions",
    "sso:GetManagedApplicationInstance",
    "sso:GetProfile",
    "sso:GetSharedSsoConfiguration",
    "sso:ListDirectoryAssociations",
    "sso:ListProfileAssociations",
    "sso:ListProfiles",
)


class Dashboards(Construct):
    """Data sources and dashboards in a Grafana workspace, with its alerting on and its people's roles.

    CloudFormation has none of these. A function of our own installs them over Grafana's API, with a token that lives
    for minutes; again whenever they change, and takes them away in the end. What Grafana answers to a failure is told
    as the stack's failure.

    https://docs.aws.amazon.com/grafana/latest/userguide/Using-Grafana-APIs.html

    >>> dashboards = Dashboards(stack, "Dashboards", grafana=grafana, metrics=workspace)
    """

    def __init__(self, scope: Construct, id: str, *, grafana: GrafanaWorkspace, metrics: MetricsWorkspace) -> None:
        super().__init__(scope, id)
        log = log_group(self, "Log")
        policy = self._policy(grafana, log.log_group_arn)
        role = iam.Role(
            self,
            "Role",
            description="Installs dashboards while a stack is deployed",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            managed_policies=[policy],
        )
        with _function_directory() as directory:
            function = lambda_.Function(
                self,
                "Function",
                description="Installs data sources and dashboards in Grafana",
                code=lambda_.Code.from_asset(str(directory)),
                handler="index.handler",
                runtime=lambda_.Runtime.PYTHON_3_14,
                memory_size=256,
                timeout=_TIMEOUT,
                role=role.without_policy_updates(),
                log_group=log,
            )
            # Of the dashboards and of the function: a better function does its work again.
            digest = cdk.FileSystem.fingerprint(str(directory))[:16]
        acknowledge(
            function,
            "It runs only while a stack is deployed, calls public APIs, and its failures fail the deployment.",
            "NIST.800.53.R5-LambdaConcurrency",
            "NIST.800.53.R5-LambdaDLQ",
            "NIST.800.53.R5-LambdaInsideVPC",
        )
        installed = cdk.CustomResource(
            self,
            "Installed",
            resource_type="Custom::GrafanaDashboards",
            service_token=function.function_arn,
            # A function that dies without a word is known to be dead soon after.
            service_timeout=_TIMEOUT.plus(cdk.Duration.minutes(1)),
            properties={
                "WorkspaceId": grafana.workspace_id,
                "Endpoint": grafana.endpoint,
                "Region": cdk.Stack.of(self).region,
                "PrometheusUrl": metrics.query_url,
                "Admins": _people(grafana.config.admins),
                "Viewers": _people(grafana.config.viewers),
                "DashboardsHash": digest,
            },
        )
        installed.node.add_dependency(policy)

    def _policy(self, grafana: GrafanaWorkspace, log_group_arn: str) -> iam.ManagedPolicy:
        statements = [
            iam.PolicyStatement(
                sid="WriteLog", actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group_arn]
            ),
            iam.PolicyStatement(
                sid="LogIn",
                actions=[
                    "grafana:CreateWorkspaceServiceAccount",
                    "grafana:CreateWorkspaceServiceAccountToken",
                    "grafana:DeleteWorkspaceServiceAccount",
                    "grafana:ListWorkspaceServiceAccounts",
                ],
                resources=[grafana.workspace_arn],
            ),
            iam.PolicyStatement(
                sid="TurnAlertingOn",
                actions=[
                    "grafana:DescribeWorkspace",
                    "grafana:DescribeWorkspaceConfiguration",
                    "grafana:UpdateWorkspaceConfiguration",
                ],
                resources=[grafana.workspace_arn],
            ),
        ]
        # In accounts of the organisation's, and made by the service.
        applications = cdk.Stack.of(self).format_arn(
            service="sso", region="", account="*", resource="application", resource_name="*/*"
        )
        people = grafana.config.saml is None
        if people:
            statements += [
                iam.PolicyStatement(
                    sid="GiveRoles",
                    actions=["grafana:ListPermissions", "grafana:UpdatePermissions"],
                    resources=[grafana.workspace_arn],
                ),
                iam.PolicyStatement(sid="ReadIdentityCenter", actions=list(_READ_IDENTITY_CENTER), resources=["*"]),
                iam.PolicyStatement(
                    sid="Assign",
                    actions=["sso:CreateApplicationAssignment", "sso:DeleteApplicationAssignment"],
                    resources=[applications],
                ),
            ]
        policy = iam.ManagedPolicy(
            self, "Policy", description="What installing dashboards takes", statements=statements
        )
        if people:
            acknowledge(
                policy,
                "These actions only read, and IAM has no resources for them; Grafana asks them of who gives roles.",
                "AwsSolutions-IAM5[Resource::*]",
            )
            acknowledge(
                policy,
                "Grafana makes the application in IAM Identity Center, and says nowhere which one it is.",
                f"AwsSolutions-IAM5[Resource::{shown(self, applications)}]",
            )
        return policy


def _people(access: GrafanaAccess) -> dict[str, list[str]]:
    return {"Users": list(access.users), "Groups": list(access.groups)}


@contextmanager
def _function_directory() -> Iterator[Path]:
    """The function and the dashboards beside it, for as long as CDK takes to copy them."""
    with tempfile.TemporaryDirectory(prefix="dashboards-") as temporary:
        directory = Path(temporary) / "function"
        shutil.copytree(
            shipped_directory("functions") / "grafana", directory, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
        folder = directory / "dashboards"
        folder.mkdir()
        for dashboard in dashboards():
            (folder / f"{dashboard.uid}.json").write_text(dashboard.json, "utf-8")
        yield directory
