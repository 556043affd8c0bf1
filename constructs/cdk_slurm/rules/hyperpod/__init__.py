"""Rules of HyperPod clusters."""

from cdk_slurm.rules.hyperpod import controllers, instance_groups, partitions, zones
from cdk_slurm.rules.hyperpod.partitions import api_partition_name, partition_of

__all__ = ["api_partition_name", "controllers", "instance_groups", "partition_of", "partitions", "zones"]
