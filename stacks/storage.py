"""Everything that holds data: file systems, the data bucket, the accounting database. Outlives clusters."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ClusterSpec
from cdk_slurm.storage import AccountingDatabase, DataBucket, LustreFileSystem, OpenZfsFileSystem
from stacks.part import Part


class StorageStack(Part):
    """What holds data, with the outputs that the ParallelCluster tutorial consumes."""

    def __init__(
        self, scope: Construct, *, spec: ClusterSpec, network: TrainingNetwork, termination_protection: bool
    ) -> None:
        super().__init__(
            scope,
            "storage",
            spec=spec,
            termination_protection=termination_protection,
            description=f"File systems and data bucket of the Slurm cluster {spec.name}",
        )
        self.lustre: LustreFileSystem | None = None
        self.openzfs: OpenZfsFileSystem | None = None
        self.bucket: DataBucket | None = None
        self.accounting_database: AccountingDatabase | None = None
        shared: dict[str, Any] = {"network": network, "kms_key_arn": spec.kms_key}
        if spec.storage.lustre:
            self.lustre = LustreFileSystem.from_config(self, "Lustre", config=spec.storage.lustre, **shared)
            cdk.CfnOutput(self, "FSxLustreFilesystemId", value=self.lustre.file_system_id)
            cdk.CfnOutput(self, "FSxLustreFilesystemMountname", value=self.lustre.mount_name)
            cdk.CfnOutput(self, "FSxLustreFilesystemDNSname", value=self.lustre.dns_name)
        if spec.storage.openzfs:
            self.openzfs = OpenZfsFileSystem.from_config(self, "OpenZfs", config=spec.storage.openzfs, **shared)
            if self.openzfs.root_volume_id:
                cdk.CfnOutput(self, "FSxORootVolumeId", value=self.openzfs.root_volume_id)
        if spec.data:
            self.bucket = DataBucket.from_config(self, "Data", config=spec.data, kms_key_arn=spec.kms_key)
            cdk.CfnOutput(self, "S3BucketName", value=self.bucket.bucket.bucket_name)
        if spec.hyperpod.accounting_database:
            self.accounting_database = AccountingDatabase.from_config(
                self, "Accounting", config=spec.hyperpod.accounting_database, **shared
            )
