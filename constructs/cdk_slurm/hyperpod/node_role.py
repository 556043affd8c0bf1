"""What a HyperPod node may do in AWS."""

import re
from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_slurm.findings import acknowledge, shown
from cdk_slurm.hyperpod.munge_secret import MungeSecret
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.observability import MetricsWorkspace
from cdk_slurm.rules.observability import registry_and_repository
from cdk_slurm.spec import S3Mount

_DESCRIBE = (
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    # Without it HyperPod's check that Lustre is on EFA is skipped in silence, and Lustre runs on TCP.
    "fsx:DescribeFileSystems",
)

#: Account and Region of a private registry of Amazon ECR.
_ECR = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


class NodeRole(Construct):
    """The role of a cluster's nodes: what HyperPod documents, on this network's resources, and no more.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-prerequisites-iam.html
    """

    role: iam.Role

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        subnets: Sequence[ec2.ISubnet],
        secret_arns: Sequence[str] = (),
        s3_mounts: Sequence[S3Mount] = (),
        munge_secret: MungeSecret | None = None,
        client_objects: str | None = None,
        topic_arn: str | None = None,
        metrics: MetricsWorkspace | None = None,
        image: str | None = None,
        kms_key_arn: str | None = None,
        volume_kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        stack = cdk.Stack.of(self)

        def arn(resource: str, name: str, account: str | None = None) -> str:
            return stack.format_arn(service="ec2", resource=resource, resource_name=name, account=account)

        interfaces = arn("network-interface", "*")
        # In an account of the service's.
        instances = arn("instance", "*", account="*")
        statements = [
            iam.PolicyStatement(
                sid="CreateInterfaces",
                actions=["ec2:CreateNetworkInterface"],
                resources=[
                    interfaces,
                    arn("security-group", network.security_group.security_group_id),
                    *(arn("subnet", subnet.subnet_id) for subnet in subnets),
                ],
            ),
            iam.PolicyStatement(
                sid="UseInterfaces",
                actions=[
                    "ec2:CreateNetworkInterfacePermission",
                    "ec2:CreateTags",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DeleteNetworkInterfacePermission",
                    "ec2:DetachNetworkInterface",
                ],
                resources=[interfaces],
            ),
            iam.PolicyStatement(
                sid="DetachFromInstances",
                actions=["ec2:DetachNetworkInterface"],
                resources=[instances],
            ),
            iam.PolicyStatement(sid="Describe", actions=list(_DESCRIBE), resources=["*"]),
        ]
        if secret_arns:
            statements.append(
                iam.PolicyStatement(
                    sid="ReadSecrets", actions=["secretsmanager:GetSecretValue"], resources=list(secret_arns)
                )
            )
        if munge_secret:
            statements += _munge_key(munge_secret, kms_key_arn)
        if client_objects:
            # Beside reading and listing buckets of this prefix, which HyperPod's own policy has.
            statements.append(
                iam.PolicyStatement(sid="ShareSlurmClient", actions=["s3:PutObject"], resources=[client_objects])
            )
        objects = _objects(stack, s3_mounts)
        statements += _mounted(stack, s3_mounts)
        if topic_arn:
            statements.append(iam.PolicyStatement(sid="TellFailover", actions=["sns:Publish"], resources=[topic_arn]))
        if metrics:
            statements.append(
                iam.PolicyStatement(sid="WriteMetrics", actions=["aps:RemoteWrite"], resources=[metrics.workspace_arn])
            )
        if image:
            statements += _image(stack, image)
        if kms_key_arn:
            # The scripts and the secrets are encrypted with it.
            statements.append(iam.PolicyStatement(sid="Decrypt", actions=["kms:Decrypt"], resources=[kms_key_arn]))
        if volume_kms_key_arn:
            statements += _volume_key(volume_kms_key_arn)
        policy = iam.ManagedPolicy(
            self, "Policy", description="What nodes need beside HyperPod's own policy", statements=statements
        )
        hyperpod_policy = iam.ManagedPolicy.from_aws_managed_policy_name("AmazonSageMakerClusterInstanceRolePolicy")
        self.role = iam.Role(
            self,
            "Role",
            description="Nodes of a SageMaker HyperPod cluster",
            assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"),
            managed_policies=[hyperpod_policy, policy],
        )
        acknowledge(
            self.role,
            "HyperPod requires this policy and extends it as the service changes.",
            f"AwsSolutions-IAM4[Policy::{shown(self, hyperpod_policy.managed_policy_arn)}]",
        )
        acknowledge(
            policy,
            "These actions only describe or log in to a registry, and IAM has no resources for them.",
            "AwsSolutions-IAM5[Resource::*]",
        )
        acknowledge(
            policy,
            "HyperPod makes the interfaces; their ids are not known before. Subnets and security group are named.",
            f"AwsSolutions-IAM5[Resource::{shown(self, interfaces)}]",
        )
        acknowledge(
            policy,
            "The instances are in an account of the service's, and their ids are not known before.",
            f"AwsSolutions-IAM5[Resource::{shown(self, instances)}]",
        )
        if client_objects:
            acknowledge(
                policy,
                "Slurm's programs are named by a hash of their content; bucket and prefix are named.",
                f"AwsSolutions-IAM5[Resource::{shown(self, client_objects)}]",
            )
        if objects:
            acknowledge(
                policy,
                "What people keep in a mounted bucket is theirs to name; bucket and prefix are named.",
                *(f"AwsSolutions-IAM5[Resource::{shown(self, one)}]" for one in objects),
            )


def _objects(stack: cdk.Stack, mounts: Sequence[S3Mount], *, written: bool = False) -> list[str]:
    """ARNs of the objects in what is mounted, or in what of it nodes write to."""
    arns = (f"{_bucket_arn(stack, mount)}/{mount.prefix}*" for mount in mounts if not written or not mount.read_only)
    return list(dict.fromkeys(arns))


def _bucket_arn(stack: cdk.Stack, mount: S3Mount) -> str:
    return stack.format_arn(service="s3", region="", account="", resource=mount.bucket)


def _mounted(stack: cdk.Stack, mounts: Sequence[S3Mount]) -> list[iam.PolicyStatement]:
    """https://github.com/awslabs/mountpoint-s3/blob/mountpoint-s3-1.24.0/doc/CONFIGURATION.md#iam-permissions"""
    if not mounts:
        return []
    buckets = list(dict.fromkeys(_bucket_arn(stack, mount) for mount in mounts))
    statements = [
        iam.PolicyStatement(sid="ListMounted", actions=["s3:ListBucket"], resources=buckets),
        iam.PolicyStatement(sid="ReadMounted", actions=["s3:GetObject"], resources=_objects(stack, mounts)),
    ]
    if written := _objects(stack, mounts, written=True):
        actions = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"]
        statements.append(iam.PolicyStatement(sid="WriteMounted", actions=actions, resources=written))
    return statements


def _image(stack: cdk.Stack, image: str) -> list[iam.PolicyStatement]:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/security_iam_id-based-policy-examples.html"""
    named = registry_and_repository(image)
    private = named and _ECR.fullmatch(named[0])
    if not named or not private:
        return []
    account, region = private.groups()
    repository = stack.format_arn(
        service="ecr", account=account, region=region, resource="repository", resource_name=named[1]
    )
    return [
        iam.PolicyStatement(sid="LogInToRegistry", actions=["ecr:GetAuthorizationToken"], resources=["*"]),
        iam.PolicyStatement(
            sid="PullImage", actions=["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], resources=[repository]
        ),
    ]


def _munge_key(secret: MungeSecret, kms_key_arn: str | None) -> list[iam.PolicyStatement]:
    """The controller puts the cluster's MUNGE key into the secret when it differs from what is there."""
    statements = [
        iam.PolicyStatement(
            sid="ShareMungeKey",
            actions=["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
            resources=[secret.secret_arn],
        )
    ]
    if kms_key_arn:
        # Beside kms:Decrypt, which putting a value takes too.
        statements.append(
            iam.PolicyStatement(sid="EncryptMungeKey", actions=["kms:GenerateDataKey"], resources=[kms_key_arn])
        )
    return statements


def _volume_key(kms_key_arn: str) -> list[iam.PolicyStatement]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/smcluster-cmk.html"""
    return [
        iam.PolicyStatement(
            sid="GrantVolumeKey",
            actions=["kms:CreateGrant"],
            resources=[kms_key_arn],
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
        iam.PolicyStatement(sid="DescribeVolumeKey", actions=["kms:DescribeKey"], resources=[kms_key_arn]),
    ]
