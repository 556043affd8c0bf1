"""The cluster itself."""

import aws_cdk as cdk

from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.observability import MetricsWorkspace
from cdk_slurm.spec import HyperPodSpec
from cdk_slurm.studio import StudioAccess, StudioDomain
from stacks.storage import StorageParts


def add_cluster(
    stack: cdk.Stack,
    spec: HyperPodSpec,
    *,
    network: TrainingNetwork,
    storage: StorageParts,
    metrics: MetricsWorkspace | None,
    domain: StudioDomain | None,
) -> None:
    """Add a HyperPod cluster."""
    cluster = HyperPodCluster(
        stack,
        "HyperPod",
        cluster_name=spec.name,
        network=network,
        config=spec.hyperpod,
        lustre=storage.lustre,
        openzfs=storage.openzfs,
        accounting_database=storage.accounting_database,
        s3_mounts=spec.storage.s3,
        users=spec.users,
        directory=spec.directory,
        studio=spec.studio,
        metrics=metrics,
        exporters=spec.observability.exporters if spec.observability else None,
        kms_key_arn=spec.kms_key,
    )
    if domain:
        StudioAccess(stack, "StudioAccess", cluster=cluster, role=domain.role)
    cdk.CfnOutput(stack, "ClusterName", value=cluster.cluster_name)
    cdk.CfnOutput(stack, "ClusterArn", value=cluster.cluster_arn)
    if cluster.munge_secret_arn:
        cdk.CfnOutput(stack, "MungeSecretArn", value=cluster.munge_secret_arn)
