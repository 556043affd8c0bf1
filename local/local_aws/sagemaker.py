"""SageMaker HyperPod: clusters as CloudFormation makes them and the API tells them. No instance is started."""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
from ministack.core.responses import get_account_id, get_region

from local_aws.client import client
from local_aws.cloudformation import Type
from local_aws.ec2 import fresh_id, require_one_vpc
from local_aws.fsx import FILE_SYSTEM
from local_aws.nodes import node_needs
from local_aws.permissions import Need, require_role
from local_aws.references import in_bucket
from local_aws.secretsmanager import secret_named
from local_aws.world import WORLD, Resource

CLUSTER = "AWS::SageMaker::Cluster"

_LEGACY = "provisioning_parameters.json"


def types() -> dict[str, Type]:
    """CloudFormation types."""
    return {CLUSTER: Type(create=_create)}


def checks() -> dict[str, Any]:
    """What SageMaker looks at before it makes or changes a cluster."""
    return {CLUSTER: _check}


def operations() -> dict[str, Any]:
    """The API: from a request's parameters to the answer. `KeyError` where there is no such thing."""
    return {
        "ListClusters": lambda _: {"ClusterSummaries": [_described(one) for one in WORLD.all(CLUSTER)]},
        "DescribeCluster": lambda request: _described(_named(request["ClusterName"])),
        "ListClusterNodes": lambda request: {"ClusterNodeSummaries": list(_nodes(_named(request["ClusterName"])))},
        "UpdateCluster": _update,
    }


def _create(free_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = properties.get("ClusterName", free_name)
    arn = f"arn:aws:sagemaker:{get_region()}:{get_account_id()}:cluster/{fresh_id('')[1:13]}"
    return arn, {"ClusterArn": arn, "ClusterName": name, "ClusterStatus": "InService"}


def _named(name_or_arn: str) -> Resource:
    for one in WORLD.all(CLUSTER):
        if name_or_arn in (one.physical_id, one.model["ClusterName"]):
            return one
    raise KeyError(f"Cluster with name {name_or_arn} not found")


def _described(cluster: Resource) -> dict[str, Any]:
    told = {name: value for name, value in cluster.model.items() if name != "Tags"}
    groups = [
        {name: value for name, value in group.items() if name != "InstanceCount"}
        | {"CurrentCount": group["InstanceCount"], "TargetCount": group["InstanceCount"], "Status": "InService"}
        for group in cluster.properties["InstanceGroups"]
    ]
    return told | {"InstanceGroups": groups}


def _nodes(cluster: Resource) -> Iterator[dict[str, Any]]:
    for group in cluster.properties["InstanceGroups"]:
        for number in range(group["InstanceCount"]):
            seed = f"{cluster.physical_id}/{group['InstanceGroupName']}/{number}"
            yield {
                "InstanceGroupName": group["InstanceGroupName"],
                "InstanceId": f"i-{hashlib.sha256(seed.encode()).hexdigest()[:17]}",
                "InstanceType": group.get("InstanceType") or group["InstanceRequirements"]["InstanceTypes"][0],
                "InstanceStatus": {"Status": "Running"},
            }


def _update(request: dict[str, Any]) -> dict[str, Any]:
    cluster = _named(request["ClusterName"])
    changed = {group["InstanceGroupName"]: group for group in request.get("InstanceGroups", ())}
    kept = [
        changed.pop(group["InstanceGroupName"], group)
        for group in cluster.properties["InstanceGroups"]
        if group["InstanceGroupName"] not in request.get("InstanceGroupsToDelete", ())
    ]
    cluster.properties["InstanceGroups"] = [*kept, *changed.values()]
    return {"ClusterArn": cluster.physical_id}


def _check(properties: dict[str, Any], standing: Resource | None) -> None:
    if standing is None and any(
        one.model["ClusterName"] == properties.get("ClusterName") for one in WORLD.all(CLUSTER)
    ):
        raise ValueError(f"Cluster with name {properties['ClusterName']} already exists")
    network = properties.get("VpcConfig", {})
    groups = properties["InstanceGroups"]
    names = [group["InstanceGroupName"] for group in groups]
    if len(set(names)) < len(names):
        raise ValueError(f"Instance group names are not unique: {', '.join(names)}")
    _check_slurm(properties)
    for group in groups:
        _check_types(group)
        own = group.get("OverrideVpcConfig") or network
        if own:
            require_one_vpc(own["Subnets"], own["SecurityGroupIds"], what=group["InstanceGroupName"])
        parameters = _check_scripts(group, legacy=not any("SlurmConfig" in one for one in groups))
        _check_mounts(group)
        needs = [*_network_needs(own), *_script_needs(group), *_key_needs(group), *_legacy_needs(parameters)]
        needs += _accounting_needs(properties)
        require_role(group["ExecutionRole"], service="sagemaker.amazonaws.com", needs=needs)
    if standing:
        _check_change(standing.properties["InstanceGroups"], groups)


def _check_types(group: dict[str, Any]) -> None:
    """CloudFormation's schema takes any text."""
    types_ = [group["InstanceType"]] if "InstanceType" in group else group["InstanceRequirements"]["InstanceTypes"]
    if wrong := [one for one in types_ if one not in _instance_types()]:
        raise ValueError(f"Value '{wrong[0]}' at 'instanceType' is not an instance type of a SageMaker cluster")


@cache
def _instance_types() -> frozenset[str]:
    shape = botocore.session.get_session().get_service_model("sagemaker").shape_for("ClusterInstanceType")
    return frozenset(shape.metadata["enum"])


def _check_slurm(properties: dict[str, Any]) -> None:
    slurm = [group["SlurmConfig"] for group in properties["InstanceGroups"] if "SlurmConfig" in group]
    if not slurm:
        return
    controllers = sum(one["NodeType"] == "Controller" for one in slurm)
    if controllers > 1:
        raise ValueError(
            f"{controllers} Controller Groups found: SlurmConfig for InstanceGroups may only have one Controller Group"
        )
    if not controllers:
        raise ValueError(f"Cluster {properties.get('ClusterName')} has no InstanceGroup with Controller node type")
    if any(one.get("PartitionNames") and one["NodeType"] != "Compute" for one in slurm):
        raise ValueError("Partitions can only be assigned to Compute node types")


def _check_change(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    types_ = {group["InstanceGroupName"]: group.get("SlurmConfig", {}).get("NodeType") for group in old}
    for group in new:
        name = group["InstanceGroupName"]
        if name in types_ and types_[name] != group.get("SlurmConfig", {}).get("NodeType"):
            raise ValueError(f"{name}: the node type of an instance group cannot be changed")


def _check_scripts(group: dict[str, Any], *, legacy: bool) -> dict[str, Any]:
    """Whether the scripts are there; returns the parameters that the legacy form keeps beside them."""
    lifecycle = group["LifeCycleConfig"]
    if "SourceS3Uri" not in lifecycle:
        return {}
    uri = lifecycle["SourceS3Uri"]
    bucket, prefix = in_bucket(uri, what="SourceS3Uri")
    there = _objects(bucket, prefix)
    for script in (lifecycle.get("OnCreate"), lifecycle.get("OnInitComplete")):
        if script and script not in there:
            raise ValueError(f"The lifecycle script '{script}' does not exist at {uri}")
    if _LEGACY in there and not legacy:
        raise ValueError(
            "The LifeCycleConfig cannot include both a SLURM Orchestrator Config and a "
            "provisioning_parameters.json file simultaneously"
        )
    if legacy and lifecycle.get("OnCreate"):
        if _LEGACY not in there:
            raise ValueError(f"{_LEGACY} does not exist at {uri}")
        return _provisioning_parameters(bucket, f"{prefix.rstrip('/')}/{_LEGACY}")
    return {}


def _provisioning_parameters(bucket: str, key: str) -> dict[str, Any]:
    """SageMaker reads the file on the nodes only; what it names must exist all the same."""
    parameters: dict[str, Any] = json.loads(client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    if "fsx_dns_name" in parameters:
        _require_file_system(parameters["fsx_dns_name"], parameters["fsx_mountname"])
    if "fsx_openzfs_dns_name" in parameters:
        _require_file_system(parameters["fsx_openzfs_dns_name"])
    if database := parameters.get("slurm_configurations"):
        secret_named(database["slurm_database_secret_arn"])
    return parameters


def _objects(bucket: str, prefix: str) -> set[str]:
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {one["Key"].removeprefix(prefix) for page in pages for one in page.get("Contents", ())}


def _check_mounts(group: dict[str, Any]) -> None:
    for storage in group.get("InstanceStorageConfigs", ()):
        if lustre := storage.get("FsxLustreConfig"):
            _require_file_system(lustre["DnsName"], lustre["MountName"])
        if openzfs := storage.get("FsxOpenZfsConfig"):
            _require_file_system(openzfs["DnsName"])


def _require_file_system(dns_name: str, mount_name: str | None = None) -> None:
    for one in WORLD.all(FILE_SYSTEM):
        if one.attributes["DNSName"] == dns_name and mount_name in (None, one.attributes.get("LustreMountName")):
            return
    mounted = f" with mount name {mount_name}" if mount_name else ""
    raise ValueError(f"There is no file system at {dns_name}{mounted}")


def _accounting_needs(properties: dict[str, Any]) -> Iterator[Need]:
    if database := properties.get("Orchestrator", {}).get("Slurm", {}).get("AccountingDatabase"):
        secret_named(database["SecretArn"])
        yield Need("secretsmanager:GetSecretValue", database["SecretArn"])


def _network_needs(network: dict[str, Any]) -> Iterator[Need]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-prerequisites-iam.html"""
    if not network:
        return
    owner = f"arn:aws:ec2:{get_region()}:{get_account_id()}"
    interface = f"{owner}:network-interface/eni-0123456789abcdef0"
    yield Need("ec2:CreateNetworkInterface", interface)
    for subnet in network["Subnets"]:
        yield Need("ec2:CreateNetworkInterface", f"{owner}:subnet/{subnet}")
    for group in network["SecurityGroupIds"]:
        yield Need("ec2:CreateNetworkInterface", f"{owner}:security-group/{group}")
    for action in (
        "CreateNetworkInterfacePermission",
        "CreateTags",
        "DeleteNetworkInterface",
        "DeleteNetworkInterfacePermission",
        "DetachNetworkInterface",
    ):
        yield Need(f"ec2:{action}", interface)
    # The instances are the service's, in an account of its own.
    yield Need("ec2:DetachNetworkInterface", f"arn:aws:ec2:{get_region()}:{'9' * 12}:instance/i-0123456789abcdef0")
    for kind in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs"):
        yield Need(f"ec2:Describe{kind}")


def _script_needs(group: dict[str, Any]) -> Iterator[Need]:
    """What a node does before our scripts and while they run."""
    logs = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:/aws/sagemaker/Clusters/name/id"
    yield Need("logs:CreateLogGroup", logs)
    yield Need("logs:CreateLogStream", f"{logs}:log-stream:LifecycleConfig")
    yield Need("logs:PutLogEvents", f"{logs}:log-stream:LifecycleConfig")
    yield Need("cloudwatch:PutMetricData", context={"cloudwatch:namespace": "/aws/sagemaker/Clusters"})
    if uri := group["LifeCycleConfig"].get("SourceS3Uri"):
        bucket, prefix = in_bucket(uri, what="SourceS3Uri")
        yield Need("s3:ListBucket", f"arn:aws:s3:::{bucket}")
        yield Need("s3:GetObject", f"arn:aws:s3:::{bucket}/{prefix.rstrip('/')}/on_create.sh")
        for key in keys_of(bucket):
            yield Need("kms:Decrypt", key)
        yield from node_needs(bucket, prefix)
    if any("FsxLustreConfig" in one for one in group.get("InstanceStorageConfigs", ())):
        yield Need("fsx:DescribeFileSystems")


def _key_needs(group: dict[str, Any]) -> Iterator[Need]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/smcluster-cmk.html"""
    for storage in group.get("InstanceStorageConfigs", ()):
        if key := storage.get("EbsVolumeConfig", {}).get("VolumeKmsKeyId"):
            yield Need("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"})
            yield Need("kms:DescribeKey", key)


def _legacy_needs(parameters: dict[str, Any]) -> Iterator[Need]:
    slurm = parameters.get("slurm_configurations", {})
    if "slurm_database_secret_arn" in slurm:
        yield Need("secretsmanager:GetSecretValue", slurm["slurm_database_secret_arn"])
    if "slurm_sns_arn" in slurm:
        yield Need("sns:Publish", slurm["slurm_sns_arn"])


def keys_of(bucket: str) -> Iterator[str]:
    """Customer managed keys that a bucket's objects are encrypted with."""
    encryption = client("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    for rule in encryption["Rules"]:
        if key := rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
            yield key
