"""The bucket of data sets and checkpoints."""

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_slurm.findings import acknowledge, log_group
from cdk_slurm.spec import Data
from cdk_slurm.storage.file_system import removal_policy


def private_bucket(
    scope: Construct, id: str, *, destroy: bool, kms_key_arn: str | None, bucket_name: str | None = None
) -> s3.Bucket:
    """A bucket that is encrypted, versioned, closed to the public and reached over TLS only.

    `destroy` empties and deletes it with its stack; otherwise it is retained.
    """
    key = kms.Key.from_key_arn(scope, f"{id}Key", kms_key_arn) if kms_key_arn else None
    bucket = s3.Bucket(
        scope,
        id,
        bucket_name=bucket_name,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        versioned=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        removal_policy=removal_policy("destroy" if destroy else "retain"),
        auto_delete_objects=destroy,
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=cdk.Duration.days(7))],
    )
    if destroy:
        _keep_log_in_stack(bucket)
    acknowledge(
        bucket,
        "Object access is recorded by CloudTrail data events, which the account's owner turns on or not.",
        "AwsSolutions-S1",
        "NIST.800.53.R5-S3BucketLoggingEnabled",
    )
    acknowledge(
        bucket,
        "A copy in another Region doubles the cost of data that can be had again; former versions are kept.",
        "NIST.800.53.R5-S3BucketReplicationEnabled",
    )
    if not key:
        acknowledge(
            bucket,
            "Encrypted with S3's own key; `kms_key` chooses a customer managed one.",
            "NIST.800.53.R5-S3DefaultEncryptionKMS",
        )
    return bucket


def _keep_log_in_stack(bucket: s3.Bucket) -> None:
    """CDK's function that empties buckets logs into a group that nobody deletes; here it goes with the stack."""
    stack = cdk.Stack.of(bucket)
    provider = stack.node.find_child("Custom::S3AutoDeleteObjectsCustomResourceProvider")
    if provider.node.try_find_child("Log"):
        return
    function = provider.node.find_child("Handler")
    assert isinstance(function, cdk.CfnResource) and isinstance(provider, Construct)
    function.add_property_override("LoggingConfig.LogGroup", log_group(provider, "Log").log_group_name)


class DataBucket(Construct):
    """The bucket that holds data sets and checkpoints, and that Lustre follows.

    Encrypted, versioned, private, TLS only, and retained when its stack goes, unless `destroy` is
    asked for. Objects that a Lustre association deletes stay as former versions.

    >>> data = DataBucket(stack, "Data")
    """

    bucket: s3.IBucket
    """The bucket, for grants and other constructs."""

    def __init__(self, scope: Construct, id: str, *, destroy: bool = False, kms_key_arn: str | None = None) -> None:
        super().__init__(scope, id)
        self.bucket = private_bucket(self, "Bucket", destroy=destroy, kms_key_arn=kms_key_arn)

    @classmethod
    def from_config(cls, scope: Construct, id: str, *, config: Data, kms_key_arn: str | None = None) -> "DataBucket":
        """Make what a description says: a new bucket, or one that exists."""
        if config.bucket == "new":
            return DataBucket(scope, id, destroy=config.removal_policy == "destroy", kms_key_arn=kms_key_arn)
        return cls.from_attributes(scope, id, bucket_name=config.bucket)

    @classmethod
    def from_attributes(cls, scope: Construct, id: str, *, bucket_name: str) -> "DataBucket":
        """Use a bucket that exists. Nothing of it is changed, and it is never deleted."""
        existing = _ExistingDataBucket(scope, id)
        existing.bucket = s3.Bucket.from_bucket_name(existing, "Bucket", bucket_name)
        return existing


class _ExistingDataBucket(DataBucket):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)
