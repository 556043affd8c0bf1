"""EC2's networking: the CloudFormation types that MiniStack lacks, and what EC2 checks of those it has."""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from local_aws.client import client
from local_aws.cloudformation import Type
from local_aws.hooks import replace
from local_aws.permissions import Need, require_role
from local_aws.world import WORLD, Resource

_ZONES = "abcdef"


def types() -> dict[str, Type]:
    """CloudFormation types."""
    return {
        "AWS::EC2::EIP": Type(create=_allocate, update=_retag, delete=_release),
        "AWS::EC2::NatGateway": Type(create=_create_nat, update=_retag, delete=_delete_nat),
        "AWS::EC2::VPCCidrBlock": Type(create=_associate_range, delete=_disassociate_range),
        "AWS::EC2::SecurityGroupIngress": _rule("ingress"),
        "AWS::EC2::SecurityGroupEgress": _rule("egress"),
        "AWS::EC2::FlowLog": Type(create=_create_flow_log, update=_retag, delete=_delete_flow_log),
    }


def checks() -> dict[str, Any]:
    """What EC2 asks of types that MiniStack makes without asking."""
    return {"AWS::EC2::Subnet": _check_subnet, "AWS::EC2::NatGateway": _check_nat}


def install() -> None:
    """Mend what MiniStack's EC2 tells differently."""
    # It knows three zones of each Region, and puts a subnet in any other into the first one.
    replace(ec2, "_zone_name_for_az_id", _zone_name)

    # It tells the first range of a VPC only.
    def fields(vpc: dict[str, Any], *args: Any, **kwargs: Any) -> str:
        more = "".join(
            f"<item><cidrBlock>{cidr}</cidrBlock><associationId>{id_}</associationId>"
            "<cidrBlockState><state>associated</state></cidrBlockState></item>"
            for id_, cidr in _more_ranges(vpc["VpcId"])
        )
        return str(told(vpc, *args, **kwargs)).replace(
            "</cidrBlockAssociationSet>", f"{more}</cidrBlockAssociationSet>"
        )

    told = replace(ec2, "_vpc_fields_xml", fields)
    # A default security group lets its own members in; here it would have nothing to close.
    handler = provisioners._RESOURCE_HANDLERS["AWS::EC2::VPC"]
    create_vpc = handler["create"]

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        vpc_id, attributes = create_vpc(logical_id, properties, stack)
        open_to_itself(attributes["DefaultSecurityGroup"])
        return vpc_id, attributes

    handler["create"] = create


def open_to_itself(group_id: str) -> None:
    """Give a security group the rule that a VPC's default one is born with."""
    client("ec2").authorize_security_group_ingress(
        GroupId=group_id, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}]
    )


def ranges_of(vpc_id: str) -> list[ipaddress.IPv4Network]:
    """Every IPv4 range of a VPC."""
    cidrs = [ec2._vpcs[vpc_id]["CidrBlock"], *(cidr for _, cidr in _more_ranges(vpc_id))]
    return [ipaddress.IPv4Network(cidr) for cidr in cidrs]


def vpc_of_subnet(subnet_id: str) -> str:
    """The VPC that a subnet is in."""
    return str(ec2._subnets[subnet_id]["VpcId"])


def require_one_vpc(subnet_ids: list[str], group_ids: list[str], *, what: str) -> None:
    """Raise `ValueError` unless all subnets and security groups are in one VPC."""
    found = {id_: vpc_of_subnet(id_) for id_ in subnet_ids}
    found |= {id_: ec2._security_groups[id_]["VpcId"] for id_ in group_ids}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{id_} in {vpc}" for id_, vpc in found.items())
        raise ValueError(f"{what}: subnets and security groups are in several VPCs: {told}")


def lets_through(
    direction: str, group_ids: Iterable[str], port: int, *, groups: Iterable[str], network: ipaddress.IPv4Network
) -> bool:
    """Whether some security groups' rules let TCP at a port through, to or from other groups or a whole network.

    `direction` is EC2's word: `IpPermissions` or `IpPermissionsEgress`.
    """
    others = set(groups)
    for rule in (rule for id_ in group_ids for rule in ec2._security_groups[id_][direction]):
        open_ = rule["IpProtocol"] == "-1" or (
            rule["IpProtocol"] in ("tcp", "6") and int(rule["FromPort"]) <= port <= int(rule["ToPort"])
        )
        to_group = any(pair.get("GroupId") in others for pair in rule["UserIdGroupPairs"])
        to_range = any(network.subnet_of(ipaddress.IPv4Network(one["CidrIp"])) for one in rule["IpRanges"])
        if open_ and (to_group or to_range):
            return True
    return False


def _zone_name(zone_id: str) -> str | None:
    names = (f"{get_region()}{letter}" for letter in _ZONES)
    return next((name for name in names if ec2._az_id_for_zone_name(name) == zone_id), None)


def _more_ranges(vpc_id: str) -> Iterator[tuple[str, str]]:
    for one in WORLD.all("AWS::EC2::VPCCidrBlock"):
        if one.properties["VpcId"] == vpc_id:
            yield one.physical_id, one.properties["CidrBlock"]


def _check_subnet(properties: dict[str, Any], standing: Resource | None) -> None:
    zone = properties.get("AvailabilityZone") or _zone_name(properties.get("AvailabilityZoneId", ""))
    if zone is None or zone not in [f"{get_region()}{letter}" for letter in _ZONES]:
        named = properties.get("AvailabilityZone") or properties.get("AvailabilityZoneId")
        raise ValueError(f"Value ({named}) for parameter availabilityZone is invalid in {get_region()}")
    if standing:
        return
    cidr = ipaddress.IPv4Network(properties["CidrBlock"])
    if not any(cidr.subnet_of(wider) for wider in ranges_of(properties["VpcId"])):
        raise ValueError(f"The CIDR '{cidr}' is invalid. (InvalidSubnet.Range)")
    for one in ec2._subnets.values():
        if one["VpcId"] == properties["VpcId"] and cidr.overlaps(ipaddress.IPv4Network(one["CidrBlock"])):
            raise ValueError(f"The CIDR '{cidr}' conflicts with another subnet (InvalidSubnet.Conflict)")


def _tags(properties: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": properties["Tags"]}] if properties.get("Tags") else []


def _retag(standing: Resource, properties: dict[str, Any]) -> None:
    id_ = standing.attributes.get("AllocationId", standing.physical_id)
    new = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", ())}
    if gone := [{"Key": tag["Key"]} for tag in standing.properties.get("Tags", ()) if tag["Key"] not in new]:
        client("ec2").delete_tags(Resources=[id_], Tags=gone)
    if new:
        client("ec2").create_tags(Resources=[id_], Tags=properties["Tags"])


def _allocate(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    made = client("ec2").allocate_address(Domain="vpc", TagSpecifications=_tags(properties, "elastic-ip"))
    return made["PublicIp"], {"AllocationId": made["AllocationId"], "PublicIp": made["PublicIp"]}


def _release(standing: Resource) -> None:
    client("ec2").release_address(AllocationId=standing.attributes["AllocationId"])


def _check_nat(properties: dict[str, Any], standing: Resource | None) -> None:
    vpc_id = vpc_of_subnet(properties["SubnetId"])
    gateways = ec2._internet_gateways.values()
    if not standing and not any(one["VpcId"] == vpc_id for gateway in gateways for one in gateway["Attachments"]):
        raise ValueError(f"Network {vpc_id} has no Internet gateway attached (Gateway.NotAttached)")


def _create_nat(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    wanted = {name: properties[name] for name in ("SubnetId", "AllocationId", "ConnectivityType") if name in properties}
    made = client("ec2").create_nat_gateway(TagSpecifications=_tags(properties, "natgateway"), **wanted)
    id_ = made["NatGateway"]["NatGatewayId"]
    return id_, {"NatGatewayId": id_}


def _delete_nat(standing: Resource) -> None:
    client("ec2").delete_nat_gateway(NatGatewayId=standing.physical_id)


def _associate_range(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    cidr = ipaddress.IPv4Network(properties["CidrBlock"])
    if any(cidr.overlaps(other) for other in ranges_of(properties["VpcId"])):
        raise ValueError(f"The CIDR '{cidr}' conflicts with another range of the VPC (InvalidVpc.Range)")
    id_ = fresh_id("vpc-cidr-assoc")
    return id_, {"Id": id_}


def _disassociate_range(standing: Resource) -> None:
    cidr = ipaddress.IPv4Network(standing.properties["CidrBlock"])
    vpc_id = standing.properties["VpcId"]
    for one in ec2._subnets.values():
        if one["VpcId"] == vpc_id and ipaddress.IPv4Network(one["CidrBlock"]).subnet_of(cidr):
            raise ValueError(f"The range '{cidr}' has the subnet {one['SubnetId']} (CidrBlockInUse)")


def fresh_id(prefix: str) -> str:
    """An id as EC2 and FSx give them."""
    return f"{prefix}-{provisioners.new_uuid().replace('-', '')[:17]}"


def _rule(direction: str) -> Type:
    """A rule of a security group as a resource of its own, as CloudFormation has it."""

    def create(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        group = ec2._security_groups[properties["GroupId"]]
        standing = group["IpPermissions" if direction == "ingress" else "IpPermissionsEgress"]
        before = len(standing)
        authorize = getattr(client("ec2"), f"authorize_security_group_{direction}")
        made = authorize(GroupId=properties["GroupId"], IpPermissions=[_permission(properties)])
        if len(standing) == before:
            raise ValueError(
                f"the specified rule already exists in {properties['GroupId']} (InvalidPermission.Duplicate)"
            )
        id_ = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        return id_, {"Id": id_}

    def delete(standing: Resource) -> None:
        group_id = standing.properties["GroupId"]
        if group_id in ec2._security_groups:
            revoke = getattr(client("ec2"), f"revoke_security_group_{direction}")
            revoke(GroupId=group_id, IpPermissions=[_permission(standing.properties)])

    return Type(create=create, delete=delete)


def _permission(properties: dict[str, Any]) -> dict[str, Any]:
    permission: dict[str, Any] = {"IpProtocol": properties["IpProtocol"]}
    if properties["IpProtocol"] != "-1":
        permission |= {"FromPort": properties["FromPort"], "ToPort": properties["ToPort"]}
    described = {"Description": properties["Description"]} if "Description" in properties else {}
    if "CidrIp" in properties:
        permission["IpRanges"] = [{"CidrIp": properties["CidrIp"], **described}]
    for name in ("SourceSecurityGroupId", "DestinationSecurityGroupId"):
        if name in properties:
            permission["UserIdGroupPairs"] = [{"GroupId": properties[name], **described}]
    return permission


def _create_flow_log(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    names = ("DeliverLogsPermissionArn", "LogGroupName", "LogDestinationType", "TrafficType", "LogDestination")
    if role := properties.get("DeliverLogsPermissionArn"):
        _check_delivery(role, properties["LogGroupName"])
    made = client("ec2").create_flow_logs(
        ResourceIds=[properties["ResourceId"]],
        ResourceType=properties["ResourceType"],
        TagSpecifications=_tags(properties, "vpc-flow-log"),
        **{name: properties[name] for name in names if name in properties},
    )
    id_ = made["FlowLogIds"][0]
    return id_, {"Id": id_}


def _delete_flow_log(standing: Resource) -> None:
    client("ec2").delete_flow_logs(FlowLogIds=[standing.physical_id])


def _check_delivery(role_arn: str, log_group: str) -> None:
    """https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html"""
    groups = client("logs").describe_log_groups(logGroupNamePrefix=log_group)["logGroups"]
    arns = [one["arn"].removesuffix(":*") for one in groups if one["logGroupName"] == log_group]
    if not arns:
        raise ValueError(f"The log group '{log_group}' does not exist, so nothing would be delivered")
    [arn] = arns
    require_role(
        role_arn,
        service="vpc-flow-logs.amazonaws.com",
        needs=[
            Need("logs:CreateLogStream", f"{arn}:log-stream:eni"),
            Need("logs:PutLogEvents", f"{arn}:log-stream:eni"),
            Need("logs:DescribeLogStreams", f"{arn}:log-stream:"),
        ],
    )
