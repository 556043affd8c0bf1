"""SageMaker HyperPod clusters orchestrated by Slurm."""

from cdk_slurm.hyperpod.cluster import HyperPodCluster
from cdk_slurm.hyperpod.lifecycle_bundle import LifecycleBundle
from cdk_slurm.hyperpod.munge_secret import MungeSecret
from cdk_slurm.hyperpod.node_role import NodeRole

__all__ = ["HyperPodCluster", "LifecycleBundle", "MungeSecret", "NodeRole"]
