"""Rules of the data bucket, and of the associations between bucket and Lustre."""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.mounts import BUCKET_NAME, is_within, overlaps
from cdk_slurm.rules.service_model import problem
from cdk_slurm.spec import AssociationConfig, ClusterSpec, Data, LustreConfig

_GUIDE = "https://docs.aws.amazon.com/fsx/latest/LustreGuide"
_LINKING = f"{_GUIDE}/create-dra-linked-data-repo.html"

_MOST_ASSOCIATIONS = 8

#: What rules associations out, and what does not.
_CANNOT_LINK = {
    "deployment_type": ("SCRATCH_1", "PERSISTENT_2, PERSISTENT_1 or SCRATCH_2"),
    "storage_class": ("INTELLIGENT_TIERING", "SSD, or HDD on PERSISTENT_1"),
    "version": ("2.10", "2.15 or 2.12"),
}


@rule("error", "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html")
def data_bucket_name(data: Data) -> Iterator[Violation]:
    """The bucket is `new` or the name of one that exists.

    A name stands alone, without s3:// and without a prefix. An access point or a directory bucket is not
    enough, for FSx links general purpose buckets only.
    """
    name = data.bucket
    if name == "new" or BUCKET_NAME.fullmatch(name):
        return
    hint = " (did you mean new?)" if name.strip().lower() == "new" else ""
    yield (
        "bucket",
        f"found {name!r}; allowed: new, or a general purpose bucket's name of 3 to 63 lower-case letters, digits, "
        f"hyphens and single dots{hint}",
    )


@rule(
    "warning",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html",
)
def data_bucket_removal_policy(data: Data) -> Iterator[Violation]:
    """An existing bucket is never deleted.

    It is not part of any stack of ours, so `removal_policy: destroy` has no effect on it. Leave it out.
    """
    if data.bucket != "new" and data.removal_policy == "destroy":
        yield "removal_policy", f"found destroy with the existing bucket {data.bucket}; allowed: retain, or bucket: new"


@rule("error", _LINKING)
def association_count(data: Data) -> Iterator[Violation]:
    """A file system has at most 8 associations.

    One association of a common parent directory and prefix does the work of several.
    """
    if len(data.associations) > _MOST_ASSOCIATIONS:
        yield (
            "associations",
            f"found {len(data.associations)} associations; allowed: {_MOST_ASSOCIATIONS} or fewer",
        )


@rule("error", _LINKING)
def association_paths(data: Data) -> Iterator[Violation]:
    """Directories of associations do not overlap.

    Each directory follows one prefix only, with all that is in it. `/` holds every other directory and so
    is possible only as the sole association.
    """
    paths = [association.path for association in data.associations]
    for earlier, later in overlaps(paths):
        yield (
            ("associations", later, "path"),
            f"found {paths[later]!r}, and associations[{earlier}] has {paths[earlier]!r}; "
            "allowed: a directory that neither holds nor lies in another association's",
        )


@rule("error", _LINKING)
def association_prefixes(data: Data) -> Iterator[Violation]:
    """Prefixes of associations do not overlap.

    Each object belongs to one directory only. No prefix is the whole bucket and so is possible only as the
    sole association. FSx reads `data` as `data/`, so `data` and `data-2` do not overlap.
    """
    prefixes = [association.prefix for association in data.associations]
    for earlier, later in overlaps([f"/{prefix.strip('/')}" for prefix in prefixes]):
        yield (
            ("associations", later, "prefix"),
            f"found {prefixes[later]!r}, and associations[{earlier}] has {prefixes[earlier]!r}; "
            "allowed: a prefix that neither holds nor lies in another association's",
        )


@rule("error", _LINKING)
def association_path(association: AssociationConfig) -> Iterator[Violation]:
    """An association's directory is a plain path on the file system.

    FSx maps it to the bucket letter by letter: `.` and `..` mean nothing, and line breaks are refused.
    """
    path = association.path
    if problem("fsx", "Namespace", path) or {".", ".."} & set(path.split("/")):
        yield "path", f"found {path!r}; allowed: a path without '.', '..' and line breaks, such as /data"


@rule("error", _LINKING)
def association_prefix(association: AssociationConfig) -> Iterator[Violation]:
    """An association's prefix is the beginning of the objects' keys.

    The bucket's name is said once, as `data.bucket`, and keys do not begin with `/`.
    """
    prefix = association.prefix
    is_url = re.match(r"[A-Za-z0-9]+://|arn:", prefix)
    if is_url or prefix.startswith("/") or problem("fsx", "ArchivePath", f"s3://{prefix}"):
        yield (
            "prefix",
            f"found {prefix!r}; allowed: a prefix without bucket, leading / and line breaks, such as datasets/",
        )


@rule("error", "https://docs.aws.amazon.com/fsx/latest/APIReference/API_AutoImportPolicy.html")
def association_events_repeated(association: AssociationConfig) -> Iterator[Violation]:
    """An event is named once.

    CloudFormation refuses a list that holds an event twice.
    """
    for field, events in (("import_events", association.import_events), ("export_events", association.export_events)):
        repeated = sorted({event for event in events if events.count(event) > 1})
        if repeated:
            yield field, f"found {' and '.join(repeated)} more than once; allowed: each event once"


@rule("warning", "https://docs.aws.amazon.com/fsx/latest/APIReference/API_AutoImportPolicy.html")
def association_events(association: AssociationConfig) -> Iterator[Violation]:
    """An association without events follows nothing.

    Neither side learns of changes on the other; what is listed at creation stays as it was. Ignore this if
    you move data with data repository tasks of your own.
    """
    if not association.import_events and not association.export_events:
        yield (
            "import_events",
            "found no events, and none in export_events; allowed: at least one of NEW, CHANGED, DELETED in either",
        )


@rule("error", _LINKING)
def association_without_lustre(spec: ClusterSpec) -> Iterator[Violation]:
    """Associations need a Lustre file system.

    They link directories of `storage.lustre` to the bucket. Without Lustre, nodes read the bucket directly.
    """
    if spec.data is not None and spec.data.associations and spec.storage.lustre is None:
        yield (
            ("data", "associations"),
            "found associations and no storage.lustre; allowed: storage.lustre, or no associations",
        )


@rule("error", _LINKING)
def association_lustre(spec: ClusterSpec) -> Iterator[Violation]:
    """Not every Lustre file system can have associations.

    SCRATCH_1, Lustre 2.10 and INTELLIGENT_TIERING cannot be linked to a bucket.
    """
    for field, (refused, allowed) in _CANNOT_LINK.items():
        if getattr(_linked_lustre(spec), field, None) == refused:
            yield ("storage", "lustre", field), f"found {refused}; allowed with data.associations: {allowed}"


@rule("warning", _LINKING)
def association_path_mount(spec: ClusterSpec) -> Iterator[Violation]:
    """An association's directory is counted from the root of the file system.

    Where nodes mount the file system is no part of it: with Lustre at /fsx, nodes see `/data` as /fsx/data,
    and `/fsx/data` as /fsx/fsx/data.
    """
    if spec.storage.lustre is None or spec.data is None:
        return
    mount = spec.storage.lustre.mount
    for index, association in enumerate(spec.data.associations):
        if is_within(association.path, mount):
            yield (
                ("data", "associations", index, "path"),
                f"found {association.path}, which nodes see at {mount}{association.path}; "
                f"allowed for {association.path}: {association.path.removeprefix(mount) or '/'}",
            )


@rule("error", f"{_GUIDE}/using-backups-fsx.html")
def association_backups(spec: ClusterSpec) -> Iterator[Violation]:
    """A file system with associations has no backups.

    The bucket is what keeps the data: files below an association's directory are exported to it. Files
    elsewhere on the file system are kept nowhere else.
    """
    lustre = _linked_lustre(spec)
    if lustre is not None and lustre.backup_retention_days:
        yield (
            ("storage", "lustre", "backup_retention_days"),
            f"found {lustre.backup_retention_days} days; allowed with data.associations: 0",
        )


def _linked_lustre(spec: ClusterSpec) -> LustreConfig | None:
    """A new file system that is to have associations."""
    lustre, data = spec.storage.lustre, spec.data
    return lustre if isinstance(lustre, LustreConfig) and data is not None and data.associations else None
