"""Everything that stands in an account, asked of the services with boto3."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from cdk_slurm.rehearsal import LocalAws
from tests.deploy import inventory_observability, inventory_studio

#: What kind of thing, and its id.
Thing = tuple[str, str]


def everything(aws: LocalAws) -> set[Thing]:
    """Every thing of the kinds that our stacks make."""
    return {(kind, id_) for kind, list_ in _LISTS.items() for id_ in list_(aws)}


def missing(aws: LocalAws, resources: Iterable[dict[str, Any]]) -> list[str]:
    """Resources of stacks that the service does not tell of. A type without a way to ask raises `KeyError`."""
    found = []
    for one in resources:
        try:
            there = _READERS[one["type"]](aws, one["physical_id"], one["properties"])
        except ClientError:
            there = False
        if not there:
            found.append(f"{one['type']} {one['physical_id']}")
    return found


def read_objects(aws: LocalAws, uri: str) -> dict[str, bytes]:
    """Every object below an S3 URI, by its name there."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    return {
        one["Key"].removeprefix(f"{prefix}/"): s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        for page in pages
        for one in page.get("Contents", ())
    }


def read_tags(aws: LocalAws, resources: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Tags of what several services made, by id."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in resources:
        id_ = one["physical_id"]
        match one["type"]:
            case "AWS::EC2::VPC":
                found[id_] = aws.client("ec2").describe_vpcs(VpcIds=[id_])["Vpcs"][0]["Tags"]
            case "AWS::EC2::EIP":
                found[id_] = aws.client("ec2").describe_addresses(PublicIps=[id_])["Addresses"][0]["Tags"]
            case "AWS::EC2::NatGateway":
                found[id_] = aws.client("ec2").describe_nat_gateways(NatGatewayIds=[id_])["NatGateways"][0]["Tags"]
            case "AWS::APS::Workspace":
                told = aws.client("amp").describe_workspace(workspaceId=id_.rpartition("/")[2])["workspace"]
                found[id_] = [{"Key": key, "Value": value} for key, value in told["tags"].items()]
            case "AWS::FSx::FileSystem":
                [told] = aws.client("fsx").describe_file_systems(FileSystemIds=[id_])["FileSystems"]
                found[id_] = told.get("Tags", [])
            case "AWS::S3::Bucket":
                try:
                    found[id_] = aws.client("s3").get_bucket_tagging(Bucket=id_)["TagSet"]
                except ClientError:  # S3's way to say that there are none
                    found[id_] = []
    return {id_: {tag["Key"]: tag["Value"] for tag in tags} for id_, tags in found.items()}


def _ec2(operation: str, key: str, id_: str) -> Callable[[LocalAws], Iterator[str]]:
    def list_(aws: LocalAws) -> Iterator[str]:
        for one in getattr(aws.client("ec2"), operation)()[key]:
            if one.get("State") not in ("deleted", "deleting"):
                yield one[id_]

    return list_


def _own_buckets(aws: LocalAws) -> list[str]:
    return [one["Name"] for one in aws.client("s3").list_buckets()["Buckets"]]


_LISTS: dict[str, Callable[[LocalAws], Iterable[str]]] = {
    **inventory_observability.LISTS,
    **inventory_studio.LISTS,
    "VPC": _ec2("describe_vpcs", "Vpcs", "VpcId"),
    "subnet": _ec2("describe_subnets", "Subnets", "SubnetId"),
    "security group": _ec2("describe_security_groups", "SecurityGroups", "GroupId"),
    "internet gateway": _ec2("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "NAT gateway": _ec2("describe_nat_gateways", "NatGateways", "NatGatewayId"),
    "address": _ec2("describe_addresses", "Addresses", "AllocationId"),
    "route table": _ec2("describe_route_tables", "RouteTables", "RouteTableId"),
    "flow log": _ec2("describe_flow_logs", "FlowLogs", "FlowLogId"),
    "endpoint": _ec2("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "file system": lambda aws: [
        one["FileSystemId"] for one in aws.client("fsx").describe_file_systems()["FileSystems"]
    ],
    "association": lambda aws: [
        one["AssociationId"] for one in aws.client("fsx").describe_data_repository_associations()["Associations"]
    ],
    "cluster": lambda aws: [one["ClusterName"] for one in aws.client("sagemaker").list_clusters()["ClusterSummaries"]],
    "bucket": _own_buckets,
    "role": lambda aws: [one["RoleName"] for one in aws.client("iam").list_roles(MaxItems=1000)["Roles"]],
    "policy": lambda aws: [
        one["Arn"] for one in aws.client("iam").list_policies(Scope="Local", MaxItems=1000)["Policies"]
    ],
    "function": lambda aws: [one["FunctionName"] for one in aws.client("lambda").list_functions()["Functions"]],
    "layer": lambda aws: [one["LayerName"] for one in aws.client("lambda").list_layers()["Layers"]],
    "log group": lambda aws: [one["logGroupName"] for one in aws.client("logs").describe_log_groups()["logGroups"]],
    "database": lambda aws: [
        one["DBInstanceIdentifier"] for one in aws.client("rds").describe_db_instances()["DBInstances"]
    ],
    "subnet group": lambda aws: [
        one["DBSubnetGroupName"] for one in aws.client("rds").describe_db_subnet_groups()["DBSubnetGroups"]
    ],
    "parameter group": lambda aws: [
        one["DBParameterGroupName"] for one in aws.client("rds").describe_db_parameter_groups()["DBParameterGroups"]
    ],
    "secret": lambda aws: [one["ARN"] for one in aws.client("secretsmanager").list_secrets()["SecretList"]],
    "stack": lambda aws: [one["StackName"] for one in aws.client("cloudformation").describe_stacks()["Stacks"]],
}

Reader = Callable[[LocalAws, str, dict[str, Any]], Any]


def _rule(direction: str) -> Reader:
    def read(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
        filters = [{"Name": "group-id", "Values": [properties["GroupId"]]}]
        rules = aws.client("ec2").describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
        found = [
            one for one in rules if one["SecurityGroupRuleId"] == id_ and one["IsEgress"] == (direction == "egress")
        ]
        return bool(found) and found[0]["IpProtocol"] == str(properties["IpProtocol"])

    return read


def _route(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    tables = aws.client("ec2").describe_route_tables(RouteTableIds=[properties["RouteTableId"]])["RouteTables"]
    wanted = properties["DestinationCidrBlock"]
    return any(route.get("DestinationCidrBlock") == wanted for route in tables[0]["Routes"])


def _route_association(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    tables = aws.client("ec2").describe_route_tables(RouteTableIds=[properties["RouteTableId"]])["RouteTables"]
    return any(one["RouteTableAssociationId"] == id_ for one in tables[0]["Associations"])


def _range(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    [vpc] = aws.client("ec2").describe_vpcs(VpcIds=[properties["VpcId"]])["Vpcs"]
    ranges = {one["AssociationId"]: one["CidrBlock"] for one in vpc["CidrBlockAssociationSet"]}
    return ranges.get(id_) == properties["CidrBlock"]


def _attachment(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    ids = [properties["InternetGatewayId"]]
    [gateway] = aws.client("ec2").describe_internet_gateways(InternetGatewayIds=ids)["InternetGateways"]
    return [one["VpcId"] for one in gateway["Attachments"]] == [properties["VpcId"]]


def _subnet(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    [subnet] = aws.client("ec2").describe_subnets(SubnetIds=[id_])["Subnets"]
    told = (subnet["CidrBlock"], subnet["VpcId"])
    zone = properties.get("AvailabilityZoneId", subnet["AvailabilityZoneId"])
    return told == (properties["CidrBlock"], properties["VpcId"]) and subnet["AvailabilityZoneId"] == zone


def _inline_policy(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    read = aws.client("iam").get_role_policy
    name = properties["PolicyName"]
    return all(
        read(RoleName=role, PolicyName=name)["PolicyDocument"] == properties["PolicyDocument"]
        for role in properties["Roles"]
    )


def _managed_policy(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    iam = aws.client("iam")
    version = iam.get_policy(PolicyArn=id_)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=id_, VersionId=version)["PolicyVersion"]["Document"]
    return document == properties["PolicyDocument"]


def _function_of_custom_resource(aws: LocalAws, _id: str, properties: dict[str, Any]) -> bool:
    return bool(aws.client("lambda").get_function(FunctionName=properties["ServiceToken"]))


def _bucket(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
    s3 = aws.client("s3")
    versioned = s3.get_bucket_versioning(Bucket=id_)["Status"] == properties["VersioningConfiguration"]["Status"]
    closed = s3.get_public_access_block(Bucket=id_)["PublicAccessBlockConfiguration"]
    wanted = properties["PublicAccessBlockConfiguration"]
    told = s3.get_bucket_encryption(Bucket=id_)["ServerSideEncryptionConfiguration"]["Rules"]
    encrypted = [one["ApplyServerSideEncryptionByDefault"] for one in told] == [
        one["ServerSideEncryptionByDefault"]
        for one in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    ]
    return versioned and encrypted and all(closed[name] == value for name, value in wanted.items())


def _exists(service: str, operation: str, key: str, parameter: str, *, one: bool = False) -> Reader:
    """Whether a describing operation, asked for one id, tells of it."""

    def read(aws: LocalAws, id_: str, _properties: dict[str, Any]) -> bool:
        return bool(getattr(aws.client(service), operation)(**{parameter: id_ if one else [id_]})[key])

    return read


_READERS: dict[str, Reader] = {
    **inventory_observability.READERS,
    **inventory_studio.READERS,
    "AWS::CDK::Metadata": lambda *_: True,  # nothing that any service knows
    "AWS::EC2::EIP": _exists("ec2", "describe_addresses", "Addresses", "PublicIps"),
    "AWS::EC2::FlowLog": _exists("ec2", "describe_flow_logs", "FlowLogs", "FlowLogIds"),
    "AWS::EC2::InternetGateway": _exists("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayIds"),
    "AWS::EC2::NatGateway": _exists("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayIds"),
    "AWS::EC2::Route": _route,
    "AWS::EC2::RouteTable": _exists("ec2", "describe_route_tables", "RouteTables", "RouteTableIds"),
    "AWS::EC2::SecurityGroup": _exists("ec2", "describe_security_groups", "SecurityGroups", "GroupIds"),
    "AWS::EC2::SecurityGroupEgress": _rule("egress"),
    "AWS::EC2::SecurityGroupIngress": _rule("ingress"),
    "AWS::EC2::Subnet": _subnet,
    "AWS::EC2::SubnetRouteTableAssociation": _route_association,
    "AWS::EC2::VPC": _exists("ec2", "describe_vpcs", "Vpcs", "VpcIds"),
    "AWS::EC2::VPCCidrBlock": _range,
    "AWS::EC2::VPCEndpoint": _exists("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointIds"),
    "AWS::EC2::VPCGatewayAttachment": _attachment,
    "AWS::FSx::DataRepositoryAssociation": _exists(
        "fsx", "describe_data_repository_associations", "Associations", "AssociationIds"
    ),
    "AWS::FSx::FileSystem": _exists("fsx", "describe_file_systems", "FileSystems", "FileSystemIds"),
    "AWS::IAM::ManagedPolicy": _managed_policy,
    "AWS::IAM::Policy": _inline_policy,
    "AWS::IAM::Role": _exists("iam", "get_role", "Role", "RoleName", one=True),
    "AWS::Lambda::Function": _exists("lambda", "get_function", "Configuration", "FunctionName", one=True),
    "AWS::Lambda::LayerVersion": _exists("lambda", "get_layer_version_by_arn", "LayerVersionArn", "Arn", one=True),
    "AWS::Logs::LogGroup": _exists("logs", "describe_log_groups", "logGroups", "logGroupNamePrefix", one=True),
    "AWS::RDS::DBInstance": _exists("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier", one=True),
    "AWS::RDS::DBParameterGroup": _exists(
        "rds", "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupName", one=True
    ),
    "AWS::RDS::DBSubnetGroup": _exists(
        "rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName", one=True
    ),
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": lambda aws, _, properties: aws.client("s3").get_bucket_policy(Bucket=properties["Bucket"])[
        "Policy"
    ],
    "AWS::SageMaker::Cluster": _exists("sagemaker", "describe_cluster", "ClusterArn", "ClusterName", one=True),
    "AWS::SecretsManager::Secret": _exists("secretsmanager", "describe_secret", "ARN", "SecretId", one=True),
    # It writes the database's address into the secret.
    "AWS::SecretsManager::SecretTargetAttachment": lambda aws, _, properties: (
        "host" in aws.client("secretsmanager").get_secret_value(SecretId=properties["SecretId"])["SecretString"]
    ),
    "Custom::AWS": _function_of_custom_resource,
    "Custom::CDKBucketDeployment": _function_of_custom_resource,
    "Custom::S3AutoDeleteObjects": _function_of_custom_resource,
}
