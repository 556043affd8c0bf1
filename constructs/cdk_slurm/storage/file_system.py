"""What the two kinds of FSx file systems have in common."""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cdk_slurm.findings import acknowledge
from cdk_slurm.network import TrainingNetwork

#: IP protocol, first port, last port.
PortRange = tuple[str, int, int]

ALL_TRAFFIC: PortRange = ("-1", -1, -1)


def file_system_security_group(
    scope: Construct,
    network: TrainingNetwork,
    *,
    description: str,
    ports: Sequence[PortRange],
    both_ways: bool,
    policy: cdk.RemovalPolicy,
) -> tuple[str, list[cdk.CfnResource]]:
    """A security group that lets nodes reach a file system; returns its id and its rules.

    FSx looks at the rules when it creates a file system, which therefore depends on them.

    A file system keeps the groups it was created with, so it has one of its own whose rules may
    change, and which stays as long as the file system does. `both_ways` also lets the servers reach
    each other and the nodes. All rules name groups, not ranges: EFA's traffic is matched by group only.
    """
    nodes = network.security_group.security_group_id
    group = ec2.CfnSecurityGroup(
        scope,
        "SecurityGroup",
        group_description=description,
        vpc_id=network.vpc.vpc_id,
        # Without a rule of ours EC2 adds one that allows everything; this one allows nothing.
        security_group_egress=[
            ec2.CfnSecurityGroup.EgressProperty(
                ip_protocol="icmp", cidr_ip="255.255.255.255/32", from_port=252, to_port=86, description="Nothing"
            )
        ],
    )
    group.apply_removal_policy(policy)
    own = group.attr_group_id
    directions = [("FromNodes", own, nodes)]
    if both_ways:
        directions += [("Self", own, own), ("ToNodes", nodes, own)]
    return own, security_rules(scope, directions, description=description, ports=ports, both_ways=both_ways)


def security_rules(
    scope: Construct,
    directions: Sequence[tuple[str, str, str]],
    *,
    description: str,
    ports: Sequence[PortRange],
    both_ways: bool,
) -> list[cdk.CfnResource]:
    """Rules by their names, to a group and from a group; `both_ways` also lets the source send."""
    rules: list[cdk.CfnResource] = []
    for index, (protocol, first, last) in enumerate(ports):
        port: dict[str, Any] = {} if protocol == ALL_TRAFFIC[0] else {"from_port": first, "to_port": last}
        for name, to, source in directions:
            ingress = ec2.CfnSecurityGroupIngress(
                scope,
                f"{name}{index}",
                group_id=to,
                source_security_group_id=source,
                ip_protocol=protocol,
                description=f"{description}: {name}",
                **port,
            )
            rules.append(ingress)
            if protocol == ALL_TRAFFIC[0]:
                acknowledge(
                    ingress,
                    "EFA requires all traffic between nodes and file servers, and only they may send it.",
                    "NIST.800.53.R5-EC2RestrictedCommonPorts",
                )
            if both_ways:
                egress = ec2.CfnSecurityGroupEgress(
                    scope,
                    f"{name}Egress{index}",
                    group_id=source,
                    destination_security_group_id=to,
                    ip_protocol=protocol,
                    description=f"{description}: {name}",
                    **port,
                )
                rules.append(egress)
    return rules


def regional_dns_name(scope: Construct, file_system_id: str) -> str:
    """The DNS name that FSx gives a file system."""
    stack = cdk.Stack.of(scope)
    return f"{file_system_id}.fsx.{stack.region}.{stack.url_suffix}"


def removal_policy(policy: str) -> cdk.RemovalPolicy:
    """CDK's name of a description's removal policy."""
    return cdk.RemovalPolicy.DESTROY if policy == "destroy" else cdk.RemovalPolicy.RETAIN
