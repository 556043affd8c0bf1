"""What stands in an account after a deployment, as the services themselves tell it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdk_slurm.rehearsal.dashboards import DeployedDashboard, deployed_dashboards
from cdk_slurm.rehearsal.local_aws import LocalAws
from cdk_slurm.spec import ClusterSpec, HyperPodSpec


@dataclass(frozen=True, kw_only=True)
class DeployedGroup:
    """An instance group of a cluster."""

    name: str
    instance_type: str
    current: int
    target: int
    node_type: str = ""
    """`Controller`, `Login` or `Compute`; nothing in the legacy form."""

    partition: str = ""
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeployedFileSystem:
    """A file system that stands."""

    id: str
    type: str
    capacity_gib: int
    dns_name: str
    mount_name: str = ""


@dataclass(frozen=True, kw_only=True)
class DeployedSpace:
    """A space of SageMaker Studio."""

    name: str
    app: str
    """`CodeEditor` or `JupyterLab`."""

    person: str
    uid: int
    gid: int
    directories: tuple[str, ...]
    """Directories of Lustre that it mounts, as they are named there."""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """All that a rehearsal shows."""

    cluster: str | None
    """Name of the HyperPod cluster; None where there is none."""

    status: str
    groups: tuple[DeployedGroup, ...]
    file_systems: tuple[DeployedFileSystem, ...]
    buckets: dict[str, int]
    """Number of objects by bucket."""

    associations: tuple[tuple[str, str, str], ...]
    """File system, directory on it, and where in S3 its files come from."""

    dashboards: tuple[DeployedDashboard, ...]
    spaces: tuple[DeployedSpace, ...]
    refusals: tuple[str, ...]
    """What services would be refused in their work."""

    outputs: dict[str, dict[str, str]]
    """By stack, without those that other stacks import."""


def describe(aws: LocalAws, spec: ClusterSpec, stacks: Iterable[str]) -> Deployed:
    """Ask SageMaker, FSx, S3, Grafana and CloudFormation what stands of a cluster and its stacks."""
    fsx = aws.client("fsx")
    told: dict[str, Any] = {}
    if isinstance(spec, HyperPodSpec):
        told = aws.client("sagemaker").describe_cluster(ClusterName=spec.name)
    groups = tuple(
        DeployedGroup(
            name=group["InstanceGroupName"],
            instance_type=group.get("InstanceType") or ", ".join(group["InstanceRequirements"]["DesiredInstanceTypes"]),
            current=group["CurrentCount"],
            target=group["TargetCount"],
            node_type=group.get("SlurmConfig", {}).get("NodeType", ""),
            partition=", ".join(group.get("SlurmConfig", {}).get("PartitionNames", ())),
            mounts=tuple(
                storage[kind]["MountPath"]
                for storage in group.get("InstanceStorageConfigs", ())
                for kind in ("FsxLustreConfig", "FsxOpenZfsConfig")
                if kind in storage
            ),
        )
        for group in told.get("InstanceGroups", ())
    )
    file_systems = tuple(
        DeployedFileSystem(
            id=one["FileSystemId"],
            type=one["FileSystemType"],
            capacity_gib=one.get("StorageCapacity", 0),
            dns_name=one["DNSName"],
            mount_name=one.get("LustreConfiguration", {}).get("MountName", ""),
        )
        for one in fsx.describe_file_systems()["FileSystems"]
    )
    associations = tuple(
        (one["FileSystemId"], one["FileSystemPath"], one["DataRepositoryPath"])
        for one in fsx.describe_data_repository_associations()["Associations"]
    )
    return Deployed(
        cluster=told.get("ClusterName"),
        status=told.get("ClusterStatus", ""),
        groups=groups,
        file_systems=file_systems,
        buckets=_buckets(aws),
        associations=associations,
        dashboards=deployed_dashboards(aws),
        spaces=deployed_spaces(aws),
        refusals=tuple(aws.refusals()),
        outputs={name: _outputs(aws, name) for name in stacks},
    )


def deployed_spaces(aws: LocalAws) -> tuple[DeployedSpace, ...]:
    """Every space, and whose it is."""
    return tuple(_space(aws, one) for one in aws.client("sagemaker").list_spaces()["Spaces"])


def _space(aws: LocalAws, listed: Mapping[str, Any]) -> DeployedSpace:
    sagemaker, domain = aws.client("sagemaker"), listed["DomainId"]
    told = sagemaker.describe_space(DomainId=domain, SpaceName=listed["SpaceName"])
    name = told["OwnershipSettings"]["OwnerUserProfileName"]
    settings = sagemaker.describe_user_profile(DomainId=domain, UserProfileName=name)["UserSettings"]
    return DeployedSpace(
        name=told["SpaceName"],
        app=told["SpaceSettings"]["AppType"],
        person=name,
        uid=settings["CustomPosixUserConfig"]["Uid"],
        gid=settings["CustomPosixUserConfig"]["Gid"],
        directories=tuple(
            one["FSxLustreFileSystemConfig"]["FileSystemPath"] for one in settings["CustomFileSystemConfigs"]
        ),
    )


def _buckets(aws: LocalAws) -> dict[str, int]:
    s3 = aws.client("s3")
    names = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    pages = {name: s3.get_paginator("list_objects_v2").paginate(Bucket=name) for name in names}
    # CDK's own bucket is no part of the cluster.
    return {
        name: sum(page["KeyCount"] for page in pages[name]) for name in names if not name.startswith("cdk-hnb659fds-")
    }


def _outputs(aws: LocalAws, stack: str) -> dict[str, str]:
    [told] = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in told.get("Outputs", ()) if not one.get("ExportName")}
