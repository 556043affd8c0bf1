"""The cluster's own stack, and all stacks of one description."""

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ClusterSpec
from stacks.data import DataStack
from stacks.network import NetworkStack
from stacks.part import Part
from stacks.storage import StorageStack


class HyperPodStack(Part):
    """A HyperPod cluster."""

    def __init__(self, scope: Construct, *, spec: ClusterSpec, network: TrainingNetwork, storage: StorageStack) -> None:
        super().__init__(
            scope,
            "cluster",
            spec=spec,
            description=f"The Slurm cluster {spec.name}, on SageMaker HyperPod",
        )
        cluster = HyperPodCluster(
            self,
            "HyperPod",
            cluster_name=spec.name,
            network=network,
            config=spec.hyperpod,
            lustre=storage.lustre,
            openzfs=storage.openzfs,
            accounting_database=storage.accounting_database,
            users=spec.users,
            kms_key_arn=spec.kms_key,
        )
        cdk.CfnOutput(self, "ClusterName", value=cluster.cluster_name)
        cdk.CfnOutput(self, "ClusterArn", value=cluster.cluster_arn)


class ClusterStacks:
    """The stacks of one cluster file: Network, Storage, Data and the cluster.

    Lifetimes decide the split. Where data is retained, the stack that holds it and the network below
    are protected from deletion: destroying everything takes the cluster and leaves the data standing.
    """

    def __init__(self, scope: Construct, spec: ClusterSpec) -> None:
        in_network, at_all = _retained(spec)
        self.network = NetworkStack(scope, spec=spec, termination_protection=in_network)
        network = self.network.network
        self.storage = StorageStack(scope, spec=spec, network=network, termination_protection=at_all)
        lustre, bucket = self.storage.lustre, self.storage.bucket
        if spec.data and spec.data.associations and lustre and bucket:
            self.data = DataStack(scope, spec=spec, data=spec.data, lustre=lustre, bucket=bucket)
        self.cluster = HyperPodStack(scope, spec=spec, network=network, storage=self.storage)


def _retained(spec: ClusterSpec) -> tuple[bool, bool]:
    """Whether something of ours that holds data is kept: in the network's subnets, and at all."""
    placed = (spec.storage.lustre, spec.storage.openzfs, spec.hyperpod.accounting_database)
    in_network = any(getattr(part, "removal_policy", None) == "retain" for part in placed)
    bucket = spec.data is not None and spec.data.bucket == "new" and spec.data.removal_policy == "retain"
    return in_network, in_network or bucket
