"""A directory of Lustre that follows a prefix of the data bucket."""

from aws_cdk import aws_fsx as fsx
from constructs import Construct

from cdk_slurm.findings import report
from cdk_slurm.spec import AssociationConfig
from cdk_slurm.storage.data_bucket import DataBucket
from cdk_slurm.storage.lustre import LustreFileSystem


class DataRepositoryAssociation(Construct):
    """Links a directory of a Lustre file system with a prefix of a bucket, both ways.

    By default it lists what is in the bucket when it is created, and follows new, changed and deleted
    files in both directions. Creation takes ten minutes or more: let nothing wait for it. Deleting it
    deletes no file. Another path or prefix makes a new association.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/create-dra-linked-data-repo.html

    >>> DataRepositoryAssociation(
    ...     stack, "Follow", lustre=lustre, bucket=data, config=AssociationConfig(path="/data")
    ... )
    """

    association_id: str

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        lustre: LustreFileSystem,
        bucket: DataBucket,
        config: AssociationConfig,
    ) -> None:
        super().__init__(scope, id)
        report(self, config)
        policies = fsx.CfnDataRepositoryAssociation
        association = fsx.CfnDataRepositoryAssociation(
            self,
            "Association",
            file_system_id=lustre.file_system_id,
            file_system_path=config.path,
            data_repository_path=f"s3://{bucket.bucket.bucket_name}/{config.prefix}".rstrip("/"),
            batch_import_meta_data_on_create=config.import_metadata_on_create,
            imported_file_chunk_size=config.imported_file_chunk_size_mib,
            s3=policies.S3Property(
                auto_import_policy=policies.AutoImportPolicyProperty(events=list(config.import_events))
                if config.import_events
                else None,
                auto_export_policy=policies.AutoExportPolicyProperty(events=list(config.export_events))
                if config.export_events
                else None,
            ),
        )
        self.association_id = association.attr_association_id

    @classmethod
    def from_attributes(cls, scope: Construct, id: str, *, association_id: str) -> "DataRepositoryAssociation":
        """Refer to an association that exists."""
        existing = _ExistingDataRepositoryAssociation(scope, id)
        existing.association_id = association_id
        return existing


class _ExistingDataRepositoryAssociation(DataRepositoryAssociation):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)
