"""Rules of what nodes mount, and where: file systems and buckets."""

import re
from collections.abc import Iterator, Sequence

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.spec import Path, S3Mount, Storage
from cdk_slurm.spec.finding import dotted

_LUSTRE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ClusterFsxLustreConfig.html"
_MOUNTPOINT = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/mountpoint-usage.html"

#: Nothing of ours belongs at, above or below these.
_SYSTEM_DIRECTORIES = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt/ml", "/opt/sagemaker", "/opt/slurm", "/proc", "/root",
    "/run", "/sbin", "/sys", "/tmp", "/usr", "/var",  # noqa: S108
)  # fmt: skip

#: The name of a general purpose bucket.
BUCKET_NAME = re.compile(
    r"(?=.{3,63}$)(?!xn--|sthree-|amzn-s3-demo-|\d+(\.\d+){3}$)"
    r"[a-z0-9]([a-z0-9-]|\.(?!\.))*[a-z0-9]"
    r"(?<!-s3alias)(?<!--ol-s3)(?<!\.mrap)(?<!--x-s3)(?<!--table-s3)"
)

#: Prefixes that are directories to Mountpoint, and mean no more in a policy or a unit of systemd than in a key.
_PREFIX = re.compile(r"((?!\.{1,2}/)[A-Za-z0-9!_.=+@:,-]+/)*")
_MOST_PREFIX_BYTES = 1024


@rule("error", _LUSTRE)
def mount_system_directory(storage: Storage) -> Iterator[Violation]:
    """A mount hides what is in the directory.

    At a directory of the operating system, of Slurm (/opt/slurm) or of HyperPod (/opt/ml, /opt/sagemaker)
    it would break the node. Mount at a directory of its own.
    """
    for part, mount in _mounts(storage):
        hidden = [directory for directory in _SYSTEM_DIRECTORIES if is_within(directory, mount)]
        around = [directory for directory in _SYSTEM_DIRECTORIES if is_within(mount, directory)]
        if hidden or around:
            what = f"hides {', '.join(hidden)}" if hidden else f"lies in {around[0]}"
            yield (
                (*part, "mount"),
                f"found {mount}, which {what}; allowed: a directory of its own, such as /fsx, /home or /mnt/data",
            )


@rule("error", _LUSTRE)
def mount_overlap(storage: Storage) -> Iterator[Violation]:
    """Two mounts need two directories, neither in the other.

    At the same directory the second hides the first; in one another they depend on the order in which
    they are mounted, which differs from boot to boot.
    """
    mounts = list(_mounts(storage))
    for earlier, later in overlaps([mount for _, mount in mounts]):
        (first, taken), (second, mount) = mounts[earlier], mounts[later]
        yield (
            (*second, "mount"),
            f"found {mount}, and {dotted(first)} is mounted at {taken}; "
            f"allowed: a directory neither above nor below {taken}",
        )


@rule("error", "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html")
def s3_mount_bucket(mount: S3Mount) -> Iterator[Violation]:
    """What is mounted is a general purpose bucket, by its name.

    The name stands alone, without s3://; a prefix has a field of its own. The bucket exists already, and is
    of the account and Region of the cluster: the network's S3 endpoint lets nodes list no other account's.
    """
    if not BUCKET_NAME.fullmatch(mount.bucket):
        yield (
            "bucket",
            f"found {mount.bucket!r}; allowed: a general purpose bucket's name of 3 to 63 lower-case letters, digits, "
            "hyphens and single dots",
        )


@rule("error", _MOUNTPOINT)
def s3_mount_prefix(mount: S3Mount) -> Iterator[Violation]:
    """The mounted prefix of a bucket ends with a slash.

    To Mountpoint it is a directory. It stands in the nodes' policy too, where `*`, `?` and `$` would mean
    other prefixes.
    """
    if not _PREFIX.fullmatch(mount.prefix) or len(mount.prefix) > _MOST_PREFIX_BYTES:
        yield (
            "prefix",
            f"found {mount.prefix!r}; allowed: {_MOST_PREFIX_BYTES} characters or fewer, names of letters, digits and "
            "! _ . = + @ : , - that each end with /, such as datasets/images/",
        )


def overlaps(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Indices of each path that equals, holds or lies in an earlier one, after that of the earlier one."""
    for later, path in enumerate(paths):
        for earlier, other in enumerate(paths[:later]):
            if is_within(path, other) or is_within(other, path):
                yield earlier, later
                break


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies in it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def _mounts(storage: Storage) -> Iterator[tuple[Path, str]]:
    if storage.lustre is not None:
        yield ("lustre",), storage.lustre.mount
    if storage.openzfs is not None:
        yield ("openzfs",), storage.openzfs.mount
    for index, one in enumerate(storage.s3):
        yield ("s3", index), one.mount
