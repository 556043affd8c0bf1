"""What holds data: file systems, the data bucket, the accounting database."""

from cdk_slurm.storage.accounting_database import AccountingDatabase
from cdk_slurm.storage.data_bucket import DataBucket
from cdk_slurm.storage.data_repository_association import DataRepositoryAssociation
from cdk_slurm.storage.lustre import LustreFileSystem
from cdk_slurm.storage.openzfs import OpenZfsFileSystem

__all__ = [
    "AccountingDatabase",
    "DataBucket",
    "DataRepositoryAssociation",
    "LustreFileSystem",
    "OpenZfsFileSystem",
]
