"""What nodes mount: Amazon FSx for Lustre and FSx for OpenZFS, new or existing, and buckets."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from cdk_slurm.spec.model import NEW_OR_EXISTING, FileSystemId, Model, MountPath, RemovalPolicy

LustreDeploymentType = Literal["PERSISTENT_2", "PERSISTENT_1", "SCRATCH_2", "SCRATCH_1"]
OpenZfsDeploymentType = Literal["SINGLE_AZ_HA_2", "SINGLE_AZ_HA_1", "SINGLE_AZ_2", "SINGLE_AZ_1", "MULTI_AZ_1"]


class LustreConfig(Model):
    """A new Amazon FSx for Lustre file system.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/what-is.html
    """

    capacity_gib: int | None = Field(default=None, ge=1)
    """Storage capacity in GiB; 1200 unless the storage class is INTELLIGENT_TIERING, which has none."""

    deployment_type: LustreDeploymentType = "PERSISTENT_2"
    """PERSISTENT_2 unless there is a reason."""

    storage_class: Literal["SSD", "HDD", "INTELLIGENT_TIERING"] = "SSD"
    """HDD exists on PERSISTENT_1 only, INTELLIGENT_TIERING on PERSISTENT_2 only."""

    throughput_mbps_per_tib: int | None = None
    """Throughput in MB/s for each TiB of capacity; 250 on PERSISTENT_2 SSD when left out."""

    throughput_mbps: int | None = None
    """Throughput in MB/s of the whole file system; INTELLIGENT_TIERING only."""

    read_cache_gib: int | None = None
    """SSD read cache of INTELLIGENT_TIERING in GiB; proportional to throughput when left out."""

    efa: bool = False
    """Clients with EFA reach the file system over it. Cannot be changed later."""

    metadata_iops: int | None = None
    """Provisioned metadata IOPS (PERSISTENT_2 of version 2.15); can only grow. Left out, FSx chooses by
    capacity; INTELLIGENT_TIERING has 6000."""

    version: Literal["2.15", "2.12", "2.10"] = "2.15"
    """Lustre version of the file system."""

    compression: Literal["LZ4", "NONE"] = "LZ4"
    """Compression of what is written."""

    drive_cache: bool = False
    """SSD read cache before HDD storage."""

    backup_retention_days: int = Field(default=0, ge=0, le=90)
    """Days that automatic backups are kept; 0 takes none. Not together with associations."""

    mount: MountPath = "/fsx"
    """Where nodes mount the file system."""

    removal_policy: RemovalPolicy = "retain"
    """`destroy` deletes the file system and all data in it with its stack."""

    @property
    def resolved_capacity_gib(self) -> int | None:
        """Capacity in GiB, its default filled in; none on INTELLIGENT_TIERING."""
        if self.capacity_gib is None and self.storage_class != "INTELLIGENT_TIERING":
            return 1200
        return self.capacity_gib

    @property
    def resolved_throughput_mbps_per_tib(self) -> int | None:
        """Throughput in MB/s for each TiB, its default filled in; none where it cannot be chosen."""
        if self.throughput_mbps_per_tib is None and self.storage_class != "INTELLIGENT_TIERING":
            return {"PERSISTENT_2": 250, "PERSISTENT_1": 12 if self.storage_class == "HDD" else 200}.get(
                self.deployment_type
            )
        return self.throughput_mbps_per_tib


class ExistingLustre(Model):
    """An Amazon FSx for Lustre file system that exists already."""

    existing: FileSystemId
    """Id of the file system."""

    mount_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,8}$")]
    """Its Lustre mount name, as `aws fsx describe-file-systems` shows it."""

    dns_name: str | None = None
    """Its DNS name; `<id>.fsx.<region>.amazonaws.com` when left out."""

    efa: bool = False
    """Whether it was created with EFA."""

    mount: MountPath = "/fsx"
    """Where nodes mount the file system."""


class OpenZfsConfig(Model):
    """A new Amazon FSx for OpenZFS file system, for home directories.

    https://docs.aws.amazon.com/fsx/latest/OpenZFSGuide/what-is-fsx.html
    """

    capacity_gib: int = Field(default=512, ge=1)
    """SSD storage capacity in GiB."""

    deployment_type: OpenZfsDeploymentType = "SINGLE_AZ_HA_2"
    """SINGLE_AZ_HA_2 fails over by itself and exists in most Regions."""

    throughput_mbps: int = 160
    """Throughput capacity in MB/s; the steps depend on the deployment type."""

    iops: int | None = None
    """Provisioned SSD IOPS; left out, 3 for each GiB."""

    compression: Literal["ZSTD", "LZ4", "NONE"] = "ZSTD"
    """Compression of the root volume."""

    record_size_kib: Literal[4, 8, 16, 32, 64, 128, 256, 512, 1024] = 128
    """Record size of the root volume in KiB."""

    backup_retention_days: int = Field(default=7, ge=0, le=90)
    """Days that automatic backups are kept; 0 takes none."""

    mount: MountPath = "/home"
    """Where nodes mount the file system."""

    removal_policy: RemovalPolicy = "retain"
    """`destroy` deletes the file system, its volumes and snapshots with its stack."""


class ExistingOpenZfs(Model):
    """An Amazon FSx for OpenZFS file system that exists already."""

    existing: FileSystemId
    """Id of the file system."""

    dns_name: str | None = None
    """Its DNS name; `<id>.fsx.<region>.amazonaws.com` when left out."""

    root_volume: Annotated[str, Field(pattern=r"^fsvol-[0-9a-f]{8,17}$")] | None = None
    """Id of its root volume, only passed on as an output."""

    mount: MountPath = "/home"
    """Where nodes mount the file system."""


Lustre = Annotated[
    Annotated[LustreConfig, Tag("{new}")] | Annotated[ExistingLustre, Tag("{existing}")], NEW_OR_EXISTING
]
OpenZfs = Annotated[
    Annotated[OpenZfsConfig, Tag("{new}")] | Annotated[ExistingOpenZfs, Tag("{existing}")], NEW_OR_EXISTING
]


class S3Mount(Model):
    """A bucket that nodes see as a directory, by Mountpoint for Amazon S3.

    Good for reading large files in sequence. It is no place for homes: files are written whole, from beginning
    to end, and nothing can be renamed.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/mountpoint.html
    """

    bucket: str
    """Name of a general purpose bucket of the cluster's account, which exists already. A key of a customer's
    that encrypts it must allow its use to the nodes' role, unless it is `kms_key` and nodes only read."""

    mount: MountPath
    """Where nodes mount it."""

    prefix: Annotated[str, Field(examples=["datasets/"])] = ""
    """What is mounted of the bucket, such as `datasets/`; all of it when left out."""

    read_only: bool = True
    """Whether nodes may only read; otherwise they may write and delete objects too."""


class Storage(Model):
    """What nodes mount; each part may be left out."""

    lustre: Lustre | None = None
    """Fast parallel storage for data sets and checkpoints."""

    openzfs: OpenZfs | None = None
    """Storage for home directories."""

    s3: Annotated[tuple[S3Mount, ...], Field(strict=False)] = ()
    """Buckets that nodes see as directories, beside the file systems."""
