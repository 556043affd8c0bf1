"""The network that a cluster stands in."""

from typing import Annotated

from pydantic import Field, Tag

from cdk_slurm.spec.model import (
    NEW_OR_EXISTING,
    AvailabilityZone,
    Cidr,
    Model,
    SecurityGroupId,
    SubnetId,
)


class AdditionalZone(Model):
    """A further Availability Zone, with a private range of its own."""

    availability_zone: AvailabilityZone
    """The zone, by name or id, written the same way as the cluster's own."""

    private_cidr: Cidr
    """Range of this zone's private subnet; must not overlap the network's other ranges."""


class NetworkConfig(Model):
    """A new VPC: per zone a public subnet with a NAT gateway and a private subnet for nodes.

    The first zone's private subnet takes all of `private_cidr`, and each further zone brings its
    own range, so that adding a zone later moves no subnet that is in use.
    """

    public_cidr: Cidr = "10.0.0.0/16"
    """Primary range of the VPC; public subnets are its /20 parts (or sixteenths), in order of zones."""

    private_cidr: Cidr = "10.1.0.0/16"
    """Secondary range of the VPC, wholly the first zone's private subnet."""

    additional_zones: Annotated[tuple[AdditionalZone, ...], Field(strict=False, max_length=3)] = ()
    """Further zones, in the order in which they were added: append, never reorder."""

    flow_log_retention_days: int = Field(default=365, ge=1)
    """How long CloudWatch Logs keeps the VPC's flow logs, in days."""


class ExistingNetwork(Model):
    """A VPC that exists already, with the subnet and security group that the nodes use.

    The security group must allow all traffic from and to itself (EFA's condition), and the
    private subnet must reach the internet and S3.
    """

    existing: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]{8,17}$")]
    """Id of the VPC."""

    private_subnet: SubnetId
    """Subnet for nodes and file systems, in the cluster's Availability Zone."""

    security_group: SecurityGroupId
    """Security group of the nodes."""

    public_subnet: SubnetId | None = None
    """Public subnet, only passed on as an output."""

    private_subnet_cidr: Cidr | None = None
    """Range of the private subnet; when given, checked to hold all nodes' addresses."""

    additional_private_subnets: Annotated[tuple[SubnetId, ...], Field(strict=False)] = ()
    """Private subnets in other zones, which an accounting database of ours needs."""


Network = Annotated[
    Annotated[NetworkConfig, Tag("{new}")] | Annotated[ExistingNetwork, Tag("{existing}")], NEW_OR_EXISTING
]
