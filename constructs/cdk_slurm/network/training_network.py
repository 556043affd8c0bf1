"""A VPC for training: nodes in private subnets, one route out for each zone, and EFA between the nodes."""

import ipaddress
from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as cr
from constructs import Construct

from cdk_slurm.findings import (
    AWS_CUSTOM_RESOURCE,
    INLINE_POLICY,
    acknowledge,
    acknowledge_provider,
    function_logging,
    log_group,
    report,
)
from cdk_slurm.spec import AdditionalZone, ExistingNetwork, NetworkConfig


class TrainingNetwork(Construct):
    """A VPC with a public and a private subnet in each zone, and the security group of the nodes.

    By default 10.0.0.0/16 holds the public subnets and 10.1.0.0/16 is wholly the first zone's private
    subnet, as in AWS's HyperPod and ParallelCluster templates. Each zone has its own NAT gateway.
    Configuration that breaks a rule is an error at synthesis.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-prerequisites.html

    >>> network = TrainingNetwork(stack, "Network", availability_zone="usw2-az4")
    """

    vpc: ec2.IVpc
    """The VPC, for other constructs."""

    security_group: ec2.ISecurityGroup
    """Security group of the nodes, open to itself in both directions as EFA requires."""

    private_subnets: tuple[ec2.ISubnet, ...]
    """Private subnets, the cluster's own first."""

    public_subnet: ec2.ISubnet | None
    """The first zone's public subnet; none where an existing network names none."""

    client_cidrs: tuple[str, ...]
    """Ranges that nodes have addresses in, as far as they are known."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        availability_zone: str,
        config: NetworkConfig | None = None,
    ) -> None:
        super().__init__(scope, id)
        config = config or NetworkConfig()
        if not report(self, config):
            # Synthesis fails with the errors; defaults let it find those of other constructs too.
            config = NetworkConfig()
        zones = (
            AdditionalZone(availability_zone=availability_zone, private_cidr=config.private_cidr),
            *config.additional_zones,
        )
        self.client_cidrs = tuple(zone.private_cidr for zone in zones)
        self._vpc = ec2.CfnVPC(
            self,
            "Vpc",
            cidr_block=config.public_cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=[cdk.CfnTag(key="Name", value=self.node.path)],
        )
        gateway = ec2.CfnInternetGateway(self, "InternetGateway")
        self._attachment = ec2.CfnVPCGatewayAttachment(
            self, "GatewayAttachment", vpc_id=self._vpc.ref, internet_gateway_id=gateway.ref
        )
        self._public_routes = ec2.CfnRouteTable(self, "PublicRoutes", vpc_id=self._vpc.ref)
        internet = ec2.CfnRoute(
            self,
            "InternetRoute",
            route_table_id=self._public_routes.ref,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.ref,
        )
        internet.add_resource_dependency(self._attachment)
        acknowledge(
            internet,
            "Only the NAT gateways stand in the public subnets; nodes reach the internet through them.",
            "NIST.800.53.R5-VPCNoUnrestrictedRouteToIGW",
        )
        public = list(ipaddress.ip_network(config.public_cidr).subnets(prefixlen_diff=4))
        subnets = [self._zone(zone, public_cidr=str(public[index])) for index, zone in enumerate(zones)]
        self.public_subnet = subnets[0][0]
        self.private_subnets = tuple(private for _, private in subnets)
        self._private_subnet_of = dict(
            zip((zone.availability_zone for zone in zones), self.private_subnets, strict=True)
        )
        self.vpc = ec2.Vpc.from_vpc_attributes(
            self,
            "VpcAttributes",
            vpc_id=self._vpc.ref,
            vpc_cidr_block=config.public_cidr,
            availability_zones=[subnet.availability_zone for subnet in self.private_subnets],
            private_subnet_ids=[subnet.subnet_id for subnet in self.private_subnets],
            private_subnet_route_table_ids=[subnet.route_table.route_table_id for subnet in self.private_subnets],
            public_subnet_ids=[subnet.subnet_id for subnet, _ in subnets],
            public_subnet_route_table_ids=[self._public_routes.ref] * len(subnets),
        )
        self.security_group = self._node_security_group()
        self._s3_endpoint()
        self._flow_logs(config.flow_log_retention_days)
        self._close_default_security_group()

    @classmethod
    def from_config(
        cls, scope: Construct, id: str, *, availability_zone: str, config: NetworkConfig | ExistingNetwork
    ) -> "TrainingNetwork":
        """Make what a description says: a new network, or one that exists."""
        if isinstance(config, NetworkConfig):
            return TrainingNetwork(scope, id, availability_zone=availability_zone, config=config)
        return cls.from_attributes(
            scope,
            id,
            vpc_id=config.existing,
            availability_zone=availability_zone,
            private_subnet_id=config.private_subnet,
            security_group_id=config.security_group,
            public_subnet_id=config.public_subnet,
            client_cidrs=[config.private_subnet_cidr] if config.private_subnet_cidr else [],
            additional_private_subnet_ids=config.additional_private_subnets,
        )

    @classmethod
    def from_attributes(
        cls,
        scope: Construct,
        id: str,
        *,
        vpc_id: str,
        availability_zone: str,
        private_subnet_id: str,
        security_group_id: str,
        public_subnet_id: str | None = None,
        client_cidrs: Sequence[str] = (),
        additional_private_subnet_ids: Sequence[str] = (),
    ) -> "TrainingNetwork":
        """Use a network that exists.

        Its security group must allow all traffic from and to itself. `client_cidrs` are the ranges
        that nodes have addresses in; a new OpenZFS file system exports to them.
        """
        existing = _ExistingTrainingNetwork(scope, id)
        existing.client_cidrs = tuple(client_cidrs)
        existing.private_subnets = tuple(
            existing_subnet(existing, f"Private{index}", subnet_id)
            for index, subnet_id in enumerate([private_subnet_id, *additional_private_subnet_ids])
        )
        existing._private_subnet_of = {availability_zone: existing.private_subnets[0]}
        existing.public_subnet = existing_subnet(existing, "Public", public_subnet_id) if public_subnet_id else None
        existing.vpc = ec2.Vpc.from_vpc_attributes(
            existing, "VpcAttributes", vpc_id=vpc_id, availability_zones=[availability_zone]
        )
        existing.security_group = ec2.SecurityGroup.from_security_group_id(existing, "SecurityGroup", security_group_id)
        return existing

    def private_subnet(self, availability_zone: str | None = None) -> ec2.ISubnet:
        """The private subnet of a zone; of the cluster's own when none is named.

        Raises `ValueError` for a zone that the network has not.
        """
        if availability_zone is None:
            return self.private_subnets[0]
        if availability_zone not in self._private_subnet_of:
            known = ", ".join(self._private_subnet_of)
            raise ValueError(f"availability_zone: found {availability_zone!r}; allowed: {known}")
        return self._private_subnet_of[availability_zone]

    def _zone(self, zone: AdditionalZone, *, public_cidr: str) -> tuple[ec2.ISubnet, ec2.ISubnet]:
        """The public and the private subnet of one zone, named by it: other zones may come and go."""
        scope = Construct(self, zone.availability_zone)
        association = ec2.CfnVPCCidrBlock(scope, "PrivateRange", vpc_id=self._vpc.ref, cidr_block=zone.private_cidr)
        public = _subnet(scope, "Public", vpc_id=self._vpc.ref, zone=zone.availability_zone, cidr=public_cidr)
        private = _subnet(scope, "Private", vpc_id=self._vpc.ref, zone=zone.availability_zone, cidr=zone.private_cidr)
        private.add_resource_dependency(association)
        public_routes = ec2.CfnSubnetRouteTableAssociation(
            scope, "PublicAssociation", subnet_id=public.ref, route_table_id=self._public_routes.ref
        )
        address = ec2.CfnEIP(scope, "NatAddress", domain="vpc")
        address.add_resource_dependency(self._attachment)
        nat = ec2.CfnNatGateway(scope, "Nat", subnet_id=public.ref, allocation_id=address.attr_allocation_id)
        nat.add_resource_dependency(public_routes)
        routes = ec2.CfnRouteTable(scope, "PrivateRoutes", vpc_id=self._vpc.ref)
        ec2.CfnSubnetRouteTableAssociation(
            scope, "PrivateAssociation", subnet_id=private.ref, route_table_id=routes.ref
        )
        ec2.CfnRoute(
            scope,
            "NatRoute",
            route_table_id=routes.ref,
            destination_cidr_block="0.0.0.0/0",
            nat_gateway_id=nat.ref,
        )
        return (
            _imported(scope, "PublicSubnet", public, self._public_routes),
            _imported(scope, "PrivateSubnet", private, routes),
        )

    def _node_security_group(self) -> ec2.ISecurityGroup:
        group = ec2.CfnSecurityGroup(
            self,
            "Nodes",
            group_description="Nodes of Slurm clusters: all traffic among themselves, EFA included",
            vpc_id=self._vpc.ref,
            security_group_egress=[
                ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="-1", cidr_ip="0.0.0.0/0", description="To the internet, through NAT"
                )
            ],
        )
        # EFA's traffic is matched by group id only: the open rule above does not cover it.
        from_nodes = ec2.CfnSecurityGroupIngress(
            self,
            "FromNodes",
            group_id=group.attr_group_id,
            ip_protocol="-1",
            source_security_group_id=group.attr_group_id,
            description="From nodes, EFA included",
        )
        acknowledge(
            from_nodes,
            "EFA requires all traffic among the members of the group, and only they may send it.",
            "NIST.800.53.R5-EC2RestrictedCommonPorts",
        )
        ec2.CfnSecurityGroupEgress(
            self,
            "ToNodes",
            group_id=group.attr_group_id,
            ip_protocol="-1",
            destination_security_group_id=group.attr_group_id,
            description="To nodes, EFA included",
        )
        return ec2.SecurityGroup.from_security_group_id(self, "SecurityGroup", group.attr_group_id)

    def _s3_endpoint(self) -> None:
        """Whoever asks may read an object: package mirrors and container registries keep theirs in buckets
        of AWS's. Everything else is for this account's principals, on this account's buckets."""
        account = cdk.Stack.of(self).account
        ec2.CfnVPCEndpoint(
            self,
            "S3Endpoint",
            vpc_id=self._vpc.ref,
            service_name=f"com.amazonaws.{cdk.Stack.of(self).region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[
                self._public_routes.ref,
                *(subnet.route_table.route_table_id for subnet in self.private_subnets),
            ],
            policy_document=iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        sid="ReadObjects",
                        principals=[iam.AnyPrincipal()],
                        actions=["s3:GetObject", "s3:GetObjectVersion"],
                        resources=["*"],
                    ),
                    iam.PolicyStatement(
                        sid="OwnBuckets",
                        principals=[iam.AnyPrincipal()],
                        actions=[
                            "s3:AbortMultipartUpload",
                            "s3:DeleteObject",
                            "s3:DeleteObjectVersion",
                            "s3:GetBucketLocation",
                            "s3:ListBucket",
                            "s3:ListBucketMultipartUploads",
                            "s3:ListBucketVersions",
                            "s3:ListMultipartUploadParts",
                            "s3:PutObject",
                            "s3:PutObjectTagging",
                            "s3:GetObjectTagging",
                        ],
                        resources=["*"],
                        conditions={"StringEquals": {"aws:PrincipalAccount": account, "aws:ResourceAccount": account}},
                    ),
                ]
            ),
        )

    def _flow_logs(self, retention_days: int) -> None:
        group = log_group(self, "FlowLogGroup")
        cfn_group = group.node.default_child
        assert isinstance(cfn_group, logs.CfnLogGroup)
        cfn_group.retention_in_days = retention_days
        role = iam.Role(
            self,
            "FlowLogRole",
            description="Lets VPC flow logs write to their log group",
            assumed_by=iam.ServicePrincipal(
                "vpc-flow-logs.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            ),
        )
        acknowledge(role, INLINE_POLICY, "NIST.800.53.R5-IAMNoInlinePolicy")
        ec2.FlowLog(
            self,
            "FlowLog",
            resource_type=ec2.FlowLogResourceType.from_vpc(self.vpc),
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group, role),
            traffic_type=ec2.FlowLogTrafficType.ALL,
        )

    def _close_default_security_group(self) -> None:
        """Every VPC comes with a group that is open to its own members, for whatever names no group."""
        group = self._vpc.attr_default_security_group
        arn = cdk.Stack.of(self).format_arn(service="ec2", resource="security-group", resource_name=group)
        everything: dict[str, object] = {"IpProtocol": "-1"}
        to_itself = everything | {"UserIdGroupPairs": [{"GroupId": group}]}
        to_anywhere = everything | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        group_of_logs = log_group(self, "DefaultSecurityGroupLog")
        for direction, permission in (("Ingress", to_itself), ("Egress", to_anywhere)):
            call = cr.AwsSdkCall(
                service="EC2",
                action=f"revokeSecurityGroup{direction}",
                parameters={"GroupId": group, "IpPermissions": [permission]},
                physical_resource_id=cr.PhysicalResourceId.of(f"{direction}-{group}"),
                ignore_error_codes_matching="InvalidPermission.NotFound",
            )
            closing = cr.AwsCustomResource(
                self,
                f"CloseDefaultSecurityGroup{direction}",
                on_create=call,
                on_update=call,
                install_latest_aws_sdk=False,
                log_group=group_of_logs,
                policy=cr.AwsCustomResourcePolicy.from_statements(
                    [iam.PolicyStatement(actions=[f"ec2:RevokeSecurityGroup{direction}"], resources=[arn])]
                ),
            )
            acknowledge(closing, INLINE_POLICY, "NIST.800.53.R5-IAMNoInlinePolicy")
        acknowledge_provider(self, AWS_CUSTOM_RESOURCE, function_logging(self))
        acknowledge(
            self._vpc,
            "CloudFormation cannot say it; two custom resources take the group's rules away.",
            "NIST.800.53.R5-VPCDefaultSecurityGroupClosed",
        )


class _ExistingTrainingNetwork(TrainingNetwork):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)


def existing_subnet(scope: Construct, id: str, subnet_id: str) -> ec2.ISubnet:
    """A subnet that exists, of which nothing but its id is needed."""
    subnet = ec2.Subnet.from_subnet_id(scope, id, subnet_id)
    cdk.Validations.of(subnet).acknowledge(
        cdk.Acknowledgment(
            id="Annotation::@aws-cdk/aws-ec2:noSubnetRouteTableId",
            reason="Nothing here adds a route to a subnet of somebody else's.",
        )
    )
    return subnet


def _subnet(scope: Construct, id: str, *, vpc_id: str, zone: str, cidr: str) -> ec2.CfnSubnet:
    by_id = "-az" in zone
    return ec2.CfnSubnet(
        scope,
        id,
        vpc_id=vpc_id,
        cidr_block=cidr,
        availability_zone=None if by_id else zone,
        availability_zone_id=zone if by_id else None,
        map_public_ip_on_launch=False,
        tags=[cdk.CfnTag(key="Name", value=f"{scope.node.path}/{id}")],
    )


def _imported(scope: Construct, id: str, subnet: ec2.CfnSubnet, routes: ec2.CfnRouteTable) -> ec2.ISubnet:
    return ec2.Subnet.from_subnet_attributes(
        scope,
        id,
        subnet_id=subnet.ref,
        availability_zone=subnet.attr_availability_zone,
        route_table_id=routes.ref,
    )
