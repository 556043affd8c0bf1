"""What a Studio domain's spaces may do with a cluster."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_slurm.findings import acknowledge, shown
from cdk_slurm.hyperpod import HyperPodCluster


class StudioAccess(Construct):
    """Lets a domain's role at a cluster: looking at it, tunnels to its sshd, its MUNGE key and Slurm's programs.

    It stands in the cluster's stack and goes with it. Sessions are in the document that tunnels SSH, and in no other:
    the default one is a root shell. IAM knows clusters, and no nodes of them. A key that the secret is encrypted with
    is the domain's too, whose role may use it already. Raises `ValueError` for a cluster
    without `studio`.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-examples.html
    """

    def __init__(self, scope: Construct, id: str, *, cluster: HyperPodCluster, role: iam.IRole) -> None:
        super().__init__(scope, id)
        if not cluster.munge_secret_arn or not cluster.client_objects:
            raise ValueError("cluster: found one without studio; allowed: one with studio")
        stack = cdk.Stack.of(self)
        document = stack.format_arn(service="ssm", account="", resource="document", resource_name="AWS-StartSSHSession")
        # A session's name begins with who opened it.
        sessions = stack.format_arn(service="ssm", resource="session", resource_name="${aws:userid}-*")
        statements = [
            iam.PolicyStatement(
                sid="Look",
                actions=["sagemaker:DescribeCluster", "sagemaker:DescribeClusterNode", "sagemaker:ListClusterNodes"],
                resources=[cluster.cluster_arn],
            ),
            iam.PolicyStatement(sid="Tunnel", actions=["ssm:StartSession"], resources=[cluster.cluster_arn, document]),
            iam.PolicyStatement(
                sid="EndOwnTunnels", actions=["ssm:ResumeSession", "ssm:TerminateSession"], resources=[sessions]
            ),
            iam.PolicyStatement(
                sid="ReadMungeKey", actions=["secretsmanager:GetSecretValue"], resources=[cluster.munge_secret_arn]
            ),
            iam.PolicyStatement(sid="FetchSlurmClient", actions=["s3:GetObject"], resources=[cluster.client_objects]),
        ]
        policy = iam.ManagedPolicy(
            self,
            "Policy",
            description="What spaces of Studio do with a Slurm cluster",
            roles=[role],
            statements=statements,
        )
        acknowledge(
            policy,
            "Sessions and archives have names that are not known before; whose they are, and the bucket, are named.",
            f"AwsSolutions-IAM5[Resource::{shown(self, sessions)}]",
            f"AwsSolutions-IAM5[Resource::{shown(self, cluster.client_objects)}]",
        )
