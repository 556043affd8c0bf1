"""What is deployed together, one file a stack; stacks only wire constructs."""

from stacks.cluster_stacks import ClusterStacks

__all__ = ["ClusterStacks"]
