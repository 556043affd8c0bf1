"""What the deployment says of the cluster: `cluster.json`, beside the scripts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lifecycle.errors import StepError

NODE_TYPES = frozenset({"controller", "login", "compute"})
SLURM_CONFIGURATIONS = ("api", "provisioning_parameters")
SCHEMA_VERSION = 1
#: Exporters that a cluster may do without.
EXPORTERS = frozenset({"dcgm", "fabric", "slurm"})

#: The workspace's endpoint ends with a slash already: with another one, the service knows no such address.
_REMOTE_WRITE_URL = re.compile(r"https://[^/\s]+(/[^/\s]+)*/api/v1/remote_write")
_PINNED_IMAGE = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class InstanceGroup:
    """An instance group; `partition` is None unless it runs jobs."""

    name: str
    node_type: str
    partition: str | None
    ebs_volume: bool
    """Whether HyperPod mounts an additional EBS volume at /opt/sagemaker."""
    nvme: bool
    """Whether its instance type has NVMe instance storage."""
    gpu: bool
    """Whether its instance type has NVIDIA GPUs."""


@dataclass(frozen=True)
class Lustre:
    """FSx for Lustre."""

    dns_name: str
    mount_name: str
    path: str
    efa: bool


@dataclass(frozen=True)
class OpenZfs:
    """FSx for OpenZFS."""

    dns_name: str
    path: str


@dataclass(frozen=True)
class S3Mount:
    """A bucket, or a prefix of one, that Mountpoint for Amazon S3 shows as files."""

    bucket: str
    path: str
    prefix: str
    read_only: bool


@dataclass(frozen=True)
class User:
    """A person with an account on every node."""

    name: str
    uid: int
    gid: int
    ssh_public_keys: tuple[str, ...]


@dataclass(frozen=True)
class AccountingDatabase:
    """A database for Slurm's accounting outside the cluster; `user` None means the secret's."""

    endpoint: str
    port: int
    name: str
    secret_arn: str
    user: str | None


@dataclass(frozen=True)
class Directory:
    """An LDAP directory with people's accounts."""

    uri: str
    base_dn: str
    bind_dn: str | None
    bind_secret_arn: str | None
    ca_certificate: str | None


@dataclass(frozen=True)
class OwnedDirectory:
    """A directory and whose it is."""

    path: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Studio:
    """What SageMaker Studio needs of the cluster: directories, MUNGE's key and Slurm's programs."""

    workspace: OwnedDirectory
    directories: tuple[OwnedDirectory, ...]
    """In the workspace, where every person has one; empty where they share it."""
    mounted: tuple[str, ...]
    """What spaces mount, as nodes see it."""
    munge_secret_arn: str
    client_s3_uri: str
    """Where Slurm's programs are put for spaces, without a slash at its end."""


@dataclass(frozen=True)
class Metrics:
    """Where every node's metrics go, and where they come from."""

    remote_write_url: str
    """The workspace's endpoint, followed by `api/v1/remote_write`."""
    dcgm_image: str | None
    """Container image of the DCGM exporter with its digest; None means the one that `parts.lock.json` names."""
    optional: frozenset[str]
    """Exporters without which a node comes up all the same."""


@dataclass(frozen=True)
class Cluster:
    """All of `cluster.json`."""

    name: str
    region: str
    slurm_configuration: str
    """"api": HyperPod sets Slurm up; "provisioning_parameters": these scripts do."""
    instance_groups: Mapping[str, InstanceGroup]
    """By name."""
    lustre: Lustre | None
    openzfs: OpenZfs | None
    s3_mounts: tuple[S3Mount, ...]
    users: tuple[User, ...]
    restrict_ssh_to_jobs: bool
    directory: Directory | None
    accounting_database: AccountingDatabase | None
    studio: Studio | None
    failover_topic: str | None
    """ARN of an SNS topic that learns which of two controllers is in charge."""
    metrics: Metrics | None

    @property
    def legacy(self) -> bool:
        """Whether these scripts set Slurm up and mount the file systems."""
        return self.slurm_configuration == "provisioning_parameters"

    @property
    def shared_path(self) -> str | None:
        """Where all nodes share files with each other, if anywhere."""
        shared = self.lustre or self.openzfs
        return shared.path if shared else None

    @property
    def homes(self) -> str:
        """The directory of users' homes: on OpenZFS if there is one, else on Lustre, else on each node."""
        if self.openzfs:
            return self.openzfs.path
        return self.lustre.path if self.lustre else "/home"


def parse_cluster(text: str | None) -> Cluster:
    """Return the cluster that `cluster.json` describes; raise `StepError` saying what is wrong with it."""
    if text is None:
        raise StepError("cluster.json is missing: the deployment writes it beside the scripts")
    try:
        content = json.loads(text)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise StepError(
                f"cluster.json has schema_version {version!r}, these scripts read {SCHEMA_VERSION}: "
                "deploy the two together"
            )
        cluster = _cluster(content)
    except ValueError as error:
        raise StepError(f"cluster.json is not JSON: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise StepError(f"cluster.json is not of the known shape: {error!r}") from error
    _check(cluster)
    return cluster


def _cluster(content: Mapping[str, Any]) -> Cluster:
    mounts = content.get("mounts", {})
    lustre, openzfs, directory = mounts.get("lustre"), mounts.get("openzfs"), content.get("directory")
    database, studio = content.get("accounting_database"), content.get("studio")
    metrics = content.get("metrics")
    groups = [
        InstanceGroup(
            name=group["name"],
            node_type=group["node_type"],
            partition=group.get("partition"),
            ebs_volume=group.get("ebs_volume", False),
            nvme=group.get("nvme", False),
            gpu=group.get("gpu", False),
        )
        for group in content["instance_groups"]
    ]
    return Cluster(
        name=content["cluster_name"],
        region=content["region"],
        slurm_configuration=content["slurm_configuration"],
        instance_groups={group.name: group for group in groups},
        lustre=lustre and Lustre(lustre["dns_name"], lustre["mount_name"], lustre["path"], lustre["efa"]),
        openzfs=openzfs and OpenZfs(openzfs["dns_name"], openzfs["path"]),
        s3_mounts=tuple(
            S3Mount(mount["bucket"], mount["path"], mount.get("prefix", ""), mount["read_only"])
            for mount in mounts.get("s3", ())
        ),
        users=tuple(
            User(user["name"], user["uid"], user["gid"], tuple(user["ssh_public_keys"]))
            for user in content.get("users", ())
        ),
        restrict_ssh_to_jobs=content.get("restrict_ssh_to_jobs", False),
        directory=directory
        and Directory(
            directory["uri"],
            directory["base_dn"],
            directory.get("bind_dn"),
            directory.get("bind_secret_arn"),
            directory.get("ca_certificate"),
        ),
        accounting_database=database
        and AccountingDatabase(
            database["endpoint"], database["port"], database["name"], database["secret_arn"], database.get("user")
        ),
        studio=studio
        and Studio(
            _owned_directory(studio["workspace"]),
            tuple(_owned_directory(directory) for directory in studio["directories"]),
            tuple(studio["mounted"]),
            studio["munge_secret_arn"],
            studio["client_s3_uri"],
        ),
        failover_topic=content.get("failover_topic"),
        metrics=metrics
        and Metrics(metrics["remote_write_url"], metrics.get("dcgm_image"), frozenset(metrics.get("optional", ()))),
    )


def _owned_directory(content: Mapping[str, Any]) -> OwnedDirectory:
    return OwnedDirectory(content["path"], content["uid"], content["gid"])


def _check(cluster: Cluster) -> None:
    if cluster.slurm_configuration not in SLURM_CONFIGURATIONS:
        raise StepError(
            f"cluster.json: slurm_configuration is {cluster.slurm_configuration!r}, it may be one of "
            f"{', '.join(SLURM_CONFIGURATIONS)}"
        )
    for group in cluster.instance_groups.values():
        if group.node_type not in NODE_TYPES:
            raise StepError(
                f"cluster.json: the node_type of group {group.name} is {group.node_type!r}, it may be one of "
                f"{', '.join(sorted(NODE_TYPES))}"
            )
        if (group.node_type == "compute") != (group.partition is not None):
            raise StepError(f"cluster.json: group {group.name} is {group.node_type} with partition {group.partition!r}")
    if cluster.metrics:
        _check_metrics(cluster.metrics)


def _check_metrics(metrics: Metrics) -> None:
    if not _REMOTE_WRITE_URL.fullmatch(metrics.remote_write_url):
        raise StepError(
            f"cluster.json: metrics.remote_write_url is {metrics.remote_write_url!r}, it may be an https address that "
            "ends in /api/v1/remote_write, with one slash at a time"
        )
    if metrics.dcgm_image is not None and not _PINNED_IMAGE.fullmatch(metrics.dcgm_image):
        raise StepError(
            f"cluster.json: metrics.dcgm_image is {metrics.dcgm_image!r}, it may be a container image with its digest "
            "(…@sha256:…)"
        )
    if unknown := sorted(metrics.optional - EXPORTERS):
        raise StepError(
            f"cluster.json: metrics.optional has {', '.join(unknown)}, it may have {', '.join(sorted(EXPORTERS))}"
        )
