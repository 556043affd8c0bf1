"""What links the data bucket to Lustre: slow to make, and nothing waits for it."""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.spec import AssociationConfig
from cdk_slurm.storage import DataBucket, DataRepositoryAssociation, LustreFileSystem


class DataStack(cdk.Stack):
    """Associations of a Lustre file system with a bucket."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        associations: Sequence[AssociationConfig],
        lustre: LustreFileSystem,
        bucket: DataBucket,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        for association in associations:
            # Named by its path, so that another one added before it does not replace it.
            DataRepositoryAssociation(
                self, f"Follow{association.path}", lustre=lustre, bucket=bucket, config=association
            )
