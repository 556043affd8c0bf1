"""What a resource refers to must exist, and what others refer to cannot go."""

from typing import Any

from ministack.services import ec2, iam, s3

from local_aws.world import WORLD, ids_in

# What a deletion may not leave hanging: EC2's networking, and what a database stands on. A role or a bucket
# that something names may go all the same, as in AWS.
_HELD = (
    "AWS::EC2::EIP",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::VPC",
    "AWS::RDS::DBParameterGroup",
    "AWS::RDS::DBSubnetGroup",
)

_EC2_STORES = {
    "vpc": ec2._vpcs,
    "subnet": ec2._subnets,
    "sg": ec2._security_groups,
    "rtb": ec2._route_tables,
    "igw": ec2._internet_gateways,
    "eipalloc": ec2._addresses,
}


def check_references(type_: str, properties: dict[str, Any]) -> None:
    """Raise `ValueError` when properties name something that does not exist."""
    for id_ in ids_in(properties):
        store = _EC2_STORES.get(id_.partition("-")[0])
        if not (id_ in store if store is not None else WORLD.has_id(id_)):
            raise ValueError(f"{type_} refers to '{id_}', which does not exist")
    for arn in _arns(properties, ":iam::", ":role/"):
        role_named(arn)
    for arn in _arns(properties, ":iam::", ":policy/"):
        if iam._lookup_policy(arn) is None:
            raise ValueError(f"Policy {arn} does not exist or is not attachable.")


def check_deletion(type_: str, physical_id: str) -> None:
    """Raise `ValueError` when something that stands refers to a resource that would go."""
    if type_ in _HELD and (users := WORLD.users_of(type_, physical_id)):
        named = ", ".join(sorted(one.name for one in users)[:3])
        raise ValueError(f"resource {physical_id} has a dependent object: {named} (DependencyViolation)")


def role_named(arn: str) -> dict[str, Any]:
    """The role of an ARN. Raises `ValueError` where there is none."""
    role: dict[str, Any] | None = iam._roles.get(arn.rpartition("/")[2])
    if role is None:
        raise ValueError(f"The role {arn} does not exist")
    return role


def in_bucket(uri: str, *, what: str) -> tuple[str, str]:
    """Bucket and prefix of an S3 URI. Raises `ValueError` where it is none, or there is no such bucket."""
    if not uri.startswith("s3://"):
        raise ValueError(f"{what} '{uri}' is not of the form s3://bucket/prefix")
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if bucket not in s3._buckets:
        raise ValueError(f"{what}: the bucket '{bucket}' does not exist")
    return bucket, prefix


def _arns(value: Any, *parts: str) -> list[str]:
    """Every string in a value that is wholly an ARN with these parts, policy documents left out."""
    if isinstance(value, dict):
        return [arn for key, item in value.items() if not key.endswith("PolicyDocument") for arn in _arns(item, *parts)]
    if isinstance(value, list):
        return [arn for item in value for arn in _arns(item, *parts)]
    whole = isinstance(value, str) and value.startswith("arn:") and all(part in value for part in parts)
    return [value] if whole else []
