"""What links the data bucket to Lustre: slow to make, and nothing waits for it."""

from urllib.parse import quote

import aws_cdk as cdk

from cdk_slurm.spec import Data
from cdk_slurm.storage import DataBucket, DataRepositoryAssociation, LustreFileSystem


def add_associations(stack: cdk.Stack, data: Data, *, lustre: LustreFileSystem, bucket: DataBucket) -> None:
    """Add the associations of a Lustre file system with a bucket."""
    for association in data.associations:
        # Named by its path, so that another one added before it does not replace it. CDK itself would write /a/b
        # and /a--b alike.
        DataRepositoryAssociation(
            stack, f"Follow{quote(association.path, safe='')}", lustre=lustre, bucket=bucket, config=association
        )
