"""The data bucket and its associations with Lustre: slow to make, and nothing waits for them."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.spec import Data
from cdk_slurm.storage import DataBucket, DataRepositoryAssociation, LustreFileSystem


class DataStack(cdk.Stack):
    """Bucket and associations, with the output that the ParallelCluster tutorial consumes."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        data: Data,
        lustre: LustreFileSystem | None,
        kms_key: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        if data.bucket == "new":
            bucket = DataBucket(self, "Data", destroy=data.removal_policy == "destroy", kms_key_arn=kms_key)
        else:
            bucket = DataBucket.from_attributes(self, "Data", bucket_name=data.bucket)
        cdk.CfnOutput(self, "S3BucketName", value=bucket.bucket.bucket_name)
        if lustre:
            for association in data.associations:
                # Named by its path, so that another one added before it does not replace it.
                DataRepositoryAssociation(
                    self, f"Follow{association.path}", lustre=lustre, bucket=bucket, config=association
                )
