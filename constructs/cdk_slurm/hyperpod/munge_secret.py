"""Where a cluster's MUNGE key is found by those that are not nodes."""

import aws_cdk as cdk
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk_slurm.findings import acknowledge


class MungeSecret(Construct):
    """A Secrets Manager secret without a value, in which the controller publishes the cluster's MUNGE key.

    Beside the key is what else a space of SageMaker Studio has to know of the cluster. The key is made on the nodes
    and is nowhere in a template. The secret has a name that spaces can know before there is a cluster. It goes with
    its stack, as a cluster that is made anew has another key.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/create_secret.html

    >>> secret = MungeSecret(stack, "Munge", cluster_name="ml-cluster")
    """

    secret_arn: str

    def __init__(self, scope: Construct, id: str, *, cluster_name: str, kms_key_arn: str | None = None) -> None:
        super().__init__(scope, id)
        # CDK's own construct, Secret, would have a value generated.
        secret = secretsmanager.CfnSecret(
            self,
            "Secret",
            # CloudFormation deletes secrets at once, so that the name is free for the next.
            name=munge_secret_name(cluster_name),
            description=f"MUNGE key of the Slurm cluster {cluster_name}",
            kms_key_id=kms_key_arn,
        )
        secret.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        acknowledge(
            secret,
            "All nodes must have the same key at any time: one that changed by itself would stop Slurm.",
            "AwsSolutions-SMG4",
            "NIST.800.53.R5-SecretsManagerRotationEnabled",
        )
        if not kms_key_arn:
            acknowledge(
                secret,
                "Encrypted with Secrets Manager's own key; `kms_key` chooses a customer managed one.",
                "NIST.800.53.R5-SecretsManagerUsingKMSKey",
            )
        self.secret_arn = secret.ref


def munge_secret_name(cluster_name: str) -> str:
    """Name of the secret with the MUNGE key of a cluster."""
    return f"cdk-slurm/{cluster_name}/munge-key"
