"""The cluster's own stack, and all stacks of one description."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.findings import SILENCED_RULES
from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ClusterSpec
from stacks.data import DataStack
from stacks.network import NetworkStack
from stacks.storage import StorageStack


class HyperPodStack(cdk.Stack):
    """A HyperPod cluster."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        spec: ClusterSpec,
        network: TrainingNetwork,
        storage: StorageStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
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

    Lifetimes decide the split. Where data is retained, the stacks that hold it and the network below
    are protected from deletion: destroying everything takes the cluster and leaves the data standing.
    """

    def __init__(self, scope: Construct, spec: ClusterSpec) -> None:
        env = cdk.Environment(account=spec.account, region=spec.region)
        in_network, at_all = _retained(spec)
        common: dict[str, Any] = {"env": env, "tags": spec.tags}
        scope.node.set_context(SILENCED_RULES, [silence.rule for silence in spec.silence])
        self.network = NetworkStack(
            scope,
            f"{spec.name}-network",
            spec=spec,
            termination_protection=in_network,
            description=f"Network of the Slurm cluster {spec.name}",
            **common,
        )
        self.storage = StorageStack(
            scope,
            f"{spec.name}-storage",
            spec=spec,
            network=self.network.network,
            termination_protection=at_all,
            description=f"File systems and data bucket of the Slurm cluster {spec.name}",
            **common,
        )
        if spec.data and spec.data.associations and self.storage.lustre and self.storage.bucket:
            self.data = DataStack(
                scope,
                f"{spec.name}-data",
                associations=spec.data.associations,
                lustre=self.storage.lustre,
                bucket=self.storage.bucket,
                description=f"Associations of Lustre and data bucket of the Slurm cluster {spec.name}",
                **common,
            )
        self.cluster = HyperPodStack(
            scope,
            f"{spec.name}-cluster",
            spec=spec,
            network=self.network.network,
            storage=self.storage,
            description=f"The Slurm cluster {spec.name}, on SageMaker HyperPod",
            **common,
        )


def _retained(spec: ClusterSpec) -> tuple[bool, bool]:
    """Whether something of ours that holds data is kept: in the network's subnets, and at all."""
    placed = (spec.storage.lustre, spec.storage.openzfs, spec.hyperpod.accounting_database)
    in_network = any(getattr(part, "removal_policy", None) == "retain" for part in placed)
    bucket = spec.data is not None and spec.data.bucket == "new" and spec.data.removal_policy == "retain"
    return in_network, in_network or bucket
