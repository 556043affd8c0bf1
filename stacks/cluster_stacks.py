"""All stacks of one description."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.findings import SILENCED_RULES
from cdk_slurm.spec import (
    AccountingDatabaseConfig,
    ClusterSpec,
    HyperPodSpec,
    LustreConfig,
    MetricsWorkspaceConfig,
    NetworkConfig,
    OpenZfsConfig,
)
from stacks.cluster import add_cluster
from stacks.data import add_associations
from stacks.network import add_network
from stacks.observability import add_observability
from stacks.storage import add_storage
from stacks.studio import add_studio


class ClusterStacks:
    """The stacks of one cluster file: network, storage, data, observability, Studio and cluster.

    Lifetimes decide the split. Where data is retained, the stack that holds it and the network below
    are protected from deletion: destroying everything takes the cluster and leaves the data standing.
    Metrics are data: a cluster that is made again finds those of the one before; so is what people have in Studio.
    What exists already gets no stack, since one without resources cannot be deployed. ParallelCluster's own command
    line makes its cluster, in what these stacks make.
    """

    def __init__(self, scope: Construct, spec: ClusterSpec) -> None:
        placed = (spec.storage.lustre, spec.storage.openzfs, spec.accounting_database)
        new = [part for part in placed if isinstance(part, LustreConfig | OpenZfsConfig | AccountingDatabaseConfig)]
        new_bucket = spec.data if spec.data and spec.data.bucket == "new" else None
        in_network = any(part.removal_policy == "retain" for part in new)
        at_all = in_network or (new_bucket is not None and new_bucket.removal_policy == "retain")

        network_stack = storage_stack = None
        if isinstance(spec.network, NetworkConfig):
            network_stack = _stack(scope, spec, "network", "Network", termination_protection=in_network)
        if new or new_bucket:
            storage_stack = _stack(scope, spec, "storage", "File systems and bucket", termination_protection=at_all)
        cluster_stack = data_stack = None
        if isinstance(spec, HyperPodSpec):
            cluster_stack = _stack(scope, spec, "cluster", "SageMaker HyperPod cluster")
        if spec.data and spec.data.associations:
            data_stack = _stack(scope, spec, "data", "Associations of Lustre and bucket")
        # What exists is known to every stack, and needs one to be named in.
        home = cluster_stack or storage_stack or data_stack or network_stack
        if home is None:
            return
        network = add_network(network_stack or home, spec)
        storage = add_storage(storage_stack or home, spec, network)
        if data_stack and spec.data and storage.lustre and storage.bucket:
            add_associations(data_stack, spec.data, lustre=storage.lustre, bucket=storage.bucket)
        metrics = None
        if spec.observability:
            workspace = spec.observability.workspace
            keep = isinstance(workspace, MetricsWorkspaceConfig) and workspace.removal_policy == "retain"
            stack = _stack(scope, spec, "observability", "Metrics, dashboards and alerts", termination_protection=keep)
            metrics = add_observability(stack, spec, spec.observability)
        domain = None
        if isinstance(spec, HyperPodSpec) and spec.studio and spec.studio.domain:
            keep = spec.studio.domain.removal_policy == "retain"
            stack = _stack(scope, spec, "studio", "SageMaker Studio domain", termination_protection=keep)
            domain = add_studio(stack, spec, network=network, storage=storage)
        if cluster_stack and isinstance(spec, HyperPodSpec):
            add_cluster(cluster_stack, spec, network=network, storage=storage, metrics=metrics, domain=domain)


def _stack(scope: Construct, spec: ClusterSpec, part: str, description: str, **kwargs: Any) -> cdk.Stack:
    """A stack named after the cluster, in its Region, with its tags, judged by the rules that it wants."""
    stack = cdk.Stack(
        scope,
        f"{spec.name}-{part}",
        env=cdk.Environment(account=spec.account, region=spec.region),
        tags=spec.tags,
        description=f"{description} of {spec.name}, a Slurm cluster for training",
        **kwargs,
    )
    stack.node.set_context(SILENCED_RULES, [silence.rule for silence in spec.silence])
    return stack
