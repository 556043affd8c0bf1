"""The network: outlives clusters and everything that stands in it."""

import aws_cdk as cdk

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ClusterSpec, NetworkConfig


def add_network(stack: cdk.Stack, spec: ClusterSpec) -> TrainingNetwork:
    """Add VPC, subnets and security group, with the outputs that the ParallelCluster tutorial consumes."""
    network = TrainingNetwork.from_config(
        stack, "Network", availability_zone=spec.availability_zone, config=spec.network
    )
    cdk.CfnOutput(stack, "VPC", value=network.vpc.vpc_id)
    cdk.CfnOutput(stack, "PrimaryPrivateSubnet", value=network.private_subnet().subnet_id)
    cdk.CfnOutput(stack, "SecurityGroup", value=network.security_group.security_group_id)
    if network.public_subnet:
        cdk.CfnOutput(stack, "PublicSubnet", value=network.public_subnet.subnet_id)
    if isinstance(spec.network, NetworkConfig):
        # Exported whether used or not: an export that vanishes with its last use is still in use when
        # CloudFormation is asked to take it away, and the deployment fails.
        for subnet in network.private_subnets:
            stack.export_value(subnet.subnet_id)
        stack.export_value(network.security_group.security_group_id)
        stack.export_value(network.vpc.vpc_id)
    return network
