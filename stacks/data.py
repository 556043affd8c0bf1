"""What links the data bucket to Lustre: slow to make, and nothing waits for it."""

from constructs import Construct

from cdk_slurm.spec import ClusterSpec, Data
from cdk_slurm.storage import DataBucket, DataRepositoryAssociation, LustreFileSystem
from stacks.part import Part


class DataStack(Part):
    """Associations of a Lustre file system with a bucket."""

    def __init__(
        self, scope: Construct, *, spec: ClusterSpec, data: Data, lustre: LustreFileSystem, bucket: DataBucket
    ) -> None:
        super().__init__(
            scope,
            "data",
            spec=spec,
            description=f"Associations of Lustre and data bucket of the Slurm cluster {spec.name}",
        )
        for association in data.associations:
            # Named by its path, so that another one added before it does not replace it.
            DataRepositoryAssociation(
                self, f"Follow{association.path}", lustre=lustre, bucket=bucket, config=association
            )
