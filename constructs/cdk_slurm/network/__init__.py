"""The network that clusters and file systems stand in."""

from cdk_slurm.network.training_network import TrainingNetwork, existing_subnet

__all__ = ["TrainingNetwork", "existing_subnet"]
