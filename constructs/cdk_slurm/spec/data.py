"""The data bucket and what links it to the Lustre file system."""

from typing import Annotated, Literal

from pydantic import Field

from cdk_slurm.spec.model import Model, RemovalPolicy

FileEvent = Literal["NEW", "CHANGED", "DELETED"]
FileEvents = Annotated[tuple[FileEvent, ...], Field(strict=False)]

_ALL_EVENTS: tuple[FileEvent, ...] = ("NEW", "CHANGED", "DELETED")


class AssociationConfig(Model):
    """A data repository association: a directory of Lustre that follows a prefix of the bucket.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/create-dra-linked-data-repo.html
    """

    path: Annotated[str, Field(pattern=r"^/$|^(/[^/\x00]+)+$", max_length=4096)]
    """Directory on the file system, below its mount point; `/` only as the sole association."""

    prefix: str = ""
    """Prefix of the bucket, such as `datasets/`; the whole bucket when left out."""

    import_events: FileEvents = _ALL_EVENTS
    """Changes in the bucket that show in the file system."""

    export_events: FileEvents = _ALL_EVENTS
    """Changes in the file system that are written to the bucket."""

    import_metadata_on_create: bool = True
    """List what is in the bucket already when the association is created."""

    imported_file_chunk_size_mib: int | None = Field(default=None, ge=1, le=512000)
    """Largest part of an imported file on one disk, in MiB; 1024 when left out."""


class Data(Model):
    """The bucket that holds data sets and checkpoints, and its associations with Lustre."""

    bucket: str = "new"
    """`new`, or the name of a bucket that exists already."""

    associations: Annotated[tuple[AssociationConfig, ...], Field(strict=False)] = ()
    """Directories of the Lustre file system that follow the bucket."""

    removal_policy: RemovalPolicy = "retain"
    """`destroy` deletes a new bucket, with all objects in it, with its stack; never an existing one."""
