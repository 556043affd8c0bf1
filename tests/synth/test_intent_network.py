"""The network's template: what it must say so that nodes reach what they need, and nobody reaches them."""

import json

import pytest

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import NetworkConfig


@pytest.fixture(scope="module")
def network(synthesise):
    """The network of a cluster in one zone."""
    return synthesise()["network"]


@pytest.fixture(scope="module")
def three_zones(synthesise):
    """The network of a cluster in three zones."""
    zones = [("usw2-az1", "10.2.0.0/16"), ("usw2-az2", "10.3.0.0/17")]
    additional = [{"availability_zone": zone, "private_cidr": cidr} for zone, cidr in zones]
    return synthesise(network={"additional_zones": additional})["network"]


def subnets(template, zone):
    """The public and the private subnet of a zone."""
    public, private = template.all("AWS::EC2::Subnet", AvailabilityZoneId=zone)
    return public, private


def route_table_of(template, subnet):
    return template.one("AWS::EC2::SubnetRouteTableAssociation", SubnetId=subnet.ref).properties["RouteTableId"]


# Ranges and zones


@pytest.mark.parametrize(
    ("fields", "vpc", "public", "private"),
    [
        ({}, "10.0.0.0/16", "10.0.0.0/20", "10.1.0.0/16"),
        ({"public_cidr": "10.20.0.0/20"}, "10.20.0.0/20", "10.20.0.0/24", "10.1.0.0/16"),
        ({"private_cidr": "100.64.0.0/18"}, "10.0.0.0/16", "10.0.0.0/20", "100.64.0.0/18"),
    ],
)
def test_public_subnets_are_parts_of_the_first_range_and_nodes_have_the_second(
    synthesise, fields, vpc, public, private
):
    template = synthesise(network=fields)["network"]
    assert template.one("AWS::EC2::VPC").properties["CidrBlock"] == vpc
    assert template.one("AWS::EC2::VPCCidrBlock").properties["CidrBlock"] == private
    ranges = [subnet.properties["CidrBlock"] for subnet in template.all("AWS::EC2::Subnet")]
    assert ranges == [public, private]


def test_each_further_zone_takes_the_next_public_part_and_brings_its_private_range(three_zones):
    ranges = {
        zone: tuple(subnet.properties["CidrBlock"] for subnet in subnets(three_zones, zone))
        for zone in ("usw2-az4", "usw2-az1", "usw2-az2")
    }
    assert ranges == {
        "usw2-az4": ("10.0.0.0/20", "10.1.0.0/16"),
        "usw2-az1": ("10.0.16.0/20", "10.2.0.0/16"),
        "usw2-az2": ("10.0.32.0/20", "10.3.0.0/17"),
    }


@pytest.mark.parametrize(
    ("zone", "said_by", "not_by"),
    [
        ("usw2-az4", "AvailabilityZoneId", "AvailabilityZone"),
        ("us-west-2d", "AvailabilityZone", "AvailabilityZoneId"),
    ],
)
def test_a_zone_is_named_by_id_or_by_name(synthesise, zone, said_by, not_by):
    for subnet in synthesise(availability_zone=zone)["network"].all("AWS::EC2::Subnet"):
        assert subnet.properties[said_by] == zone
        assert not_by not in subnet.properties


def test_names_resolve_in_the_vpc(network):
    vpc = network.one("AWS::EC2::VPC").properties
    assert (vpc["EnableDnsSupport"], vpc["EnableDnsHostnames"]) == (True, True)


def test_no_subnet_gives_out_public_addresses(three_zones):
    assert {subnet.properties["MapPublicIpOnLaunch"] for subnet in three_zones.all("AWS::EC2::Subnet")} == {False}


# Routes


def test_nodes_of_each_zone_leave_through_a_gateway_of_that_zone(three_zones):
    gateways = set()
    for zone in ("usw2-az4", "usw2-az1", "usw2-az2"):
        public, private = subnets(three_zones, zone)
        route = three_zones.one("AWS::EC2::Route", RouteTableId=route_table_of(three_zones, private))
        assert route.properties["DestinationCidrBlock"] == "0.0.0.0/0"
        gateway = three_zones.resources[route.properties["NatGatewayId"]["Ref"]]
        assert gateway.properties["SubnetId"] == public.ref
        gateways.add(gateway.properties["AllocationId"]["Fn::GetAtt"][0])
    assert gateways == {address.id for address in three_zones.all("AWS::EC2::EIP")}
    assert len(gateways) == 3


def test_public_subnets_share_the_one_route_to_the_internet(three_zones):
    tables = {
        json.dumps(route_table_of(three_zones, subnets(three_zones, zone)[0]))
        for zone in ("usw2-az4", "usw2-az1", "usw2-az2")
    }
    [table] = map(json.loads, tables)
    route = three_zones.one("AWS::EC2::Route", RouteTableId=table)
    assert route.properties["GatewayId"] == three_zones.one("AWS::EC2::InternetGateway").ref
    assert route.properties["DestinationCidrBlock"] == "0.0.0.0/0"


def test_the_internet_gateway_is_attached_before_anything_uses_it(three_zones):
    attachment = three_zones.one("AWS::EC2::VPCGatewayAttachment")
    route = three_zones.one("AWS::EC2::Route", GatewayId=three_zones.one("AWS::EC2::InternetGateway").ref)
    addresses = three_zones.all("AWS::EC2::EIP")
    assert len(addresses) == 3
    for waiting in (route, *addresses):
        assert attachment.id in waiting.depends_on
    # A NAT gateway stands on its address; without its subnet's route it would wait for the internet in vain.
    for gateway in three_zones.all("AWS::EC2::NatGateway"):
        [association] = gateway.depends_on
        assert three_zones.resources[association].properties["SubnetId"] == gateway.properties["SubnetId"]


def test_a_private_subnet_waits_for_its_range(three_zones):
    for zone in ("usw2-az4", "usw2-az1", "usw2-az2"):
        _, private = subnets(three_zones, zone)
        block = three_zones.one("AWS::EC2::VPCCidrBlock", CidrBlock=private.properties["CidrBlock"])
        assert block.id in private.depends_on


# Security groups


def test_nodes_reach_each_other_in_both_directions_with_every_protocol(network):
    own = network.one("AWS::EC2::SecurityGroup").att("GroupId")
    received = network.one("AWS::EC2::SecurityGroupIngress").properties
    sent = network.one("AWS::EC2::SecurityGroupEgress").properties
    assert (received["GroupId"], received["SourceSecurityGroupId"], received["IpProtocol"]) == (own, own, "-1")
    assert (sent["GroupId"], sent["DestinationSecurityGroupId"], sent["IpProtocol"]) == (own, own, "-1")


def test_nobody_else_reaches_nodes_and_they_reach_the_internet(network):
    group = network.one("AWS::EC2::SecurityGroup").properties
    assert "SecurityGroupIngress" not in group
    [out] = group["SecurityGroupEgress"]
    assert (out["CidrIp"], out["IpProtocol"]) == ("0.0.0.0/0", "-1")


@pytest.mark.parametrize(
    ("direction", "permission"),
    [
        ("Ingress", {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "${vpc.DefaultSecurityGroup}"}]}),
        ("Egress", {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}),
    ],
)
def test_the_default_security_group_is_closed(synthesise, network, direction, permission):
    vpc = network.one("AWS::EC2::VPC").id
    calls = []
    for resource in network.all("Custom::AWS"):
        properties = resource.properties
        assert properties["Create"] == properties["Update"]
        assert "Delete" not in properties
        call = json.loads(synthesise().text(properties["Create"]).replace(f"${{{vpc}.", "${vpc."))
        if call["action"] == f"revokeSecurityGroup{direction}":
            calls.append((resource, call))
    [(resource, call)] = calls
    assert call["service"] == "EC2"
    assert call["parameters"] == {"GroupId": "${vpc.DefaultSecurityGroup}", "IpPermissions": [permission]}
    # The permission is there before the call is made, and for this group only.
    [policy] = [network.resources[id] for id in resource.depends_on]
    [statement] = policy.properties["PolicyDocument"]["Statement"]
    assert statement["Action"] == f"ec2:RevokeSecurityGroup{direction}"
    arn = synthesise().text(statement["Resource"])
    assert arn == f"arn:aws:ec2:us-west-2:${{AWS::AccountId}}:security-group/${{{vpc}.DefaultSecurityGroup}}"


# The S3 endpoint


def test_nodes_and_gateways_reach_s3_through_the_endpoint(three_zones):
    endpoint = three_zones.one("AWS::EC2::VPCEndpoint").properties
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"]) == ("Gateway", "com.amazonaws.us-west-2.s3")
    tables = [table.ref for table in three_zones.all("AWS::EC2::RouteTable")]
    assert len(tables) == 4
    assert sorted(endpoint["RouteTableIds"], key=json.dumps) == sorted(tables, key=json.dumps)


def test_the_endpoint_lets_anyone_read_objects_and_only_this_account_do_more(network):
    statements = network.one("AWS::EC2::VPCEndpoint").properties["PolicyDocument"]["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    read, own = statements
    assert read["Action"] == ["s3:GetObject", "s3:GetObjectVersion"]
    assert "Condition" not in read
    account = {"Ref": "AWS::AccountId"}
    assert own["Condition"] == {"StringEquals": {"aws:PrincipalAccount": account, "aws:ResourceAccount": account}}
    assert {"s3:PutObject", "s3:ListBucket", "s3:DeleteObject"} <= set(own["Action"])
    assert not [action for statement in statements for action in statement["Action"] if "*" in action]


# Flow logs


def test_flow_logs_are_delivered_to_the_group_that_they_name(network):
    flow_log = network.one("AWS::EC2::FlowLog").properties
    assert (flow_log["ResourceId"], flow_log["TrafficType"]) == (network.one("AWS::EC2::VPC").ref, "ALL")
    group = network.resources[flow_log["LogGroupName"]["Ref"]]
    role = network.resources[flow_log["DeliverLogsPermissionArn"]["Fn::GetAtt"][0]]
    [statement] = network.one("AWS::IAM::Policy", Roles=[role.ref]).properties["PolicyDocument"]["Statement"]
    assert statement["Resource"] == group.att("Arn")
    assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}
    [trust] = role.properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_flow_logs_are_kept_as_long_as_the_description_says(synthesise):
    template = synthesise(network={"flow_log_retention_days": 30})["network"]
    group = template.resources[template.one("AWS::EC2::FlowLog").properties["LogGroupName"]["Ref"]]
    assert group.properties["RetentionInDays"] == 30


# The construct by itself


def test_a_network_that_exists_adds_nothing(synthesise):
    template = synthesise.example("existing")["cluster"]
    assert not [resource for resource in template.resources.values() if resource.type.startswith("AWS::EC2::")]
    assert (
        template.outputs.items()
        >= {
            "VPC": "vpc-0123456789abcdef0",
            "PrimaryPrivateSubnet": "subnet-0123456789abcdef0",
            "PublicSubnet": "subnet-0123456789abcdef1",
            "SecurityGroup": "sg-0123456789abcdef0",
        }.items()
    )


def test_a_zone_that_the_network_has_not_is_refused(synthesise):
    def build(stack):
        network = TrainingNetwork(stack, "Network", availability_zone="usw2-az4")
        with pytest.raises(ValueError, match="availability_zone: found 'usw2-az3'; allowed: usw2-az4"):
            network.private_subnet("usw2-az3")

    synthesise.in_stack(build)


def test_two_networks_stand_in_one_stack(synthesise):
    def build(stack):
        TrainingNetwork(stack, "One", availability_zone="usw2-az4")
        TrainingNetwork(stack, "Other", availability_zone="usw2-az4", config=NetworkConfig(public_cidr="10.4.0.0/16"))

    template = synthesise.in_stack(build)
    assert len(template.all("AWS::EC2::VPC")) == 2
    assert len(template.all("Custom::AWS")) == 4
