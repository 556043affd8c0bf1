"""The network: outlives clusters and everything that stands in it."""

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ClusterSpec
from stacks.part import Part


class NetworkStack(Part):
    """VPC, subnets and security group, with the outputs that the ParallelCluster tutorial consumes."""

    def __init__(self, scope: Construct, *, spec: ClusterSpec, termination_protection: bool) -> None:
        super().__init__(
            scope,
            "network",
            spec=spec,
            termination_protection=termination_protection,
            description=f"Network of the Slurm cluster {spec.name}",
        )
        self.network = TrainingNetwork.from_config(
            self, "Network", availability_zone=spec.availability_zone, config=spec.network
        )
        cdk.CfnOutput(self, "VPC", value=self.network.vpc.vpc_id)
        cdk.CfnOutput(self, "PrimaryPrivateSubnet", value=self.network.private_subnet().subnet_id)
        cdk.CfnOutput(self, "SecurityGroup", value=self.network.security_group.security_group_id)
        if self.network.public_subnet:
            cdk.CfnOutput(self, "PublicSubnet", value=self.network.public_subnet.subnet_id)
