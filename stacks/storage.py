"""Everything that holds data: file systems, the data bucket, the accounting database. Outlives clusters."""

from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ClusterSpec, HyperPodSpec, LustreConfig, OpenZfsConfig
from cdk_slurm.storage import AccountingDatabase, DataBucket, LustreFileSystem, OpenZfsFileSystem


@dataclass
class StorageParts:
    """What a cluster has of each."""

    lustre: LustreFileSystem | None = None
    openzfs: OpenZfsFileSystem | None = None
    bucket: DataBucket | None = None
    accounting_database: AccountingDatabase | None = None


def add_storage(stack: cdk.Stack, spec: ClusterSpec, network: TrainingNetwork) -> StorageParts:
    """Add what holds data, with the outputs that the ParallelCluster tutorial consumes."""
    parts = StorageParts()
    shared: dict[str, Any] = {"network": network, "kms_key_arn": spec.kms_key}
    exported: list[str] = []
    if spec.storage.lustre:
        lustre = parts.lustre = LustreFileSystem.from_config(stack, "Lustre", config=spec.storage.lustre, **shared)
        cdk.CfnOutput(stack, "FSxLustreFilesystemId", value=lustre.file_system_id)
        cdk.CfnOutput(stack, "FSxLustreFilesystemMountname", value=lustre.mount_name)
        cdk.CfnOutput(stack, "FSxLustreFilesystemDNSname", value=lustre.dns_name)
        if isinstance(spec.storage.lustre, LustreConfig):
            exported += [lustre.file_system_id, lustre.mount_name, lustre.dns_name, lustre.security_group_id]
    if spec.storage.openzfs:
        openzfs = parts.openzfs = OpenZfsFileSystem.from_config(stack, "OpenZfs", config=spec.storage.openzfs, **shared)
        if openzfs.root_volume_id:
            cdk.CfnOutput(stack, "FSxORootVolumeId", value=openzfs.root_volume_id)
        if isinstance(spec.storage.openzfs, OpenZfsConfig):
            exported.append(openzfs.dns_name)
    if spec.data:
        parts.bucket = DataBucket.from_config(stack, "Data", config=spec.data, kms_key_arn=spec.kms_key)
        cdk.CfnOutput(stack, "S3BucketName", value=parts.bucket.bucket.bucket_name)
        if spec.data.bucket == "new":
            exported += [parts.bucket.bucket.bucket_name, parts.bucket.bucket.bucket_arn]
    if isinstance(spec, HyperPodSpec) and spec.hyperpod.accounting_database:
        parts.accounting_database = AccountingDatabase.from_config(
            stack, "Accounting", config=spec.hyperpod.accounting_database, **shared
        )
    # Exported whether used or not, as in the network's stack.
    for value in exported:
        stack.export_value(value)
    return parts
