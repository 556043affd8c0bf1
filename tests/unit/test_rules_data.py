"""Rules of bucket and associations: for each rule what passes, what does not, and what is said."""

from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.spec import (
    AssociationConfig,
    ClusterSpec,
    ComputeGroup,
    Data,
    ExistingLustre,
    HyperPodConfig,
    HyperPodSpec,
    LustreConfig,
    Model,
    Storage,
)


def association(path: str = "/data", prefix: str = "", **fields: Any) -> AssociationConfig:
    return AssociationConfig(path=path, prefix=prefix, **fields)


def data(*places: tuple[str, str], **fields: Any) -> Data:
    return Data(associations=tuple(association(path, prefix) for path, prefix in places), **fields)


def cluster(lustre: LustreConfig | ExistingLustre | None, associated: Data | None = None) -> ClusterSpec:
    return HyperPodSpec(
        kind="hyperpod",
        name="ml-cluster",
        region="us-west-2",
        availability_zone="usw2-az4",
        storage=Storage(lustre=lustre),
        data=associated,
        hyperpod=HyperPodConfig(compute=(ComputeGroup(name="worker", type="ml.g5.xlarge", count=1),)),
    )


LINKED = data(("/data", ""))
EXISTING = ExistingLustre(existing="fs-0123456789abcdef0", mount_name="abcdefgh")
BUCKET_NAMES = "a general purpose bucket's name of 3 to 63 lower-case letters, digits, hyphens and single dots"

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.data"]

PASSING: list[tuple[str, Model]] = [
    *(
        ("DATA_BUCKET_NAME", Data(bucket=name))
        for name in ("new", "abc", "my-data.example.com", "1-2-3-4", "a" * 63, "x--y", "new-data")
    ),
    ("DATA_BUCKET_REMOVAL_POLICY", Data(removal_policy="destroy")),
    ("DATA_BUCKET_REMOVAL_POLICY", Data(bucket="my-data")),
    ("ASSOCIATION_COUNT", data(*((f"/{n}", f"{n}") for n in range(8)))),
    ("ASSOCIATION_PATHS", data(("/", ""))),
    ("ASSOCIATION_PATHS", data(("/data", "a"), ("/data-2", "b"), ("/a/data", "c"))),
    ("ASSOCIATION_PREFIXES", data(("/a", "data"), ("/b", "data-2/"), ("/c", "a/data/"))),
    ("ASSOCIATION_PREFIXES", data(("/a", ""))),
    ("ASSOCIATION_PATH", association("/data/v1..2/.cache")),
    ("ASSOCIATION_PATH", association("/")),
    ("ASSOCIATION_PREFIX", association(prefix="")),
    ("ASSOCIATION_PREFIX", association(prefix="datasets/v1: new/")),
    ("ASSOCIATION_EVENTS_REPEATED", association(import_events=("NEW",), export_events=())),
    ("ASSOCIATION_EVENTS", association(import_events=(), export_events=("NEW",))),
    ("ASSOCIATION_EVENTS", association(import_events=("DELETED",), export_events=())),
    ("ASSOCIATION_WITHOUT_LUSTRE", cluster(LustreConfig(), LINKED)),
    ("ASSOCIATION_WITHOUT_LUSTRE", cluster(EXISTING, LINKED)),
    ("ASSOCIATION_WITHOUT_LUSTRE", cluster(None, Data())),
    ("ASSOCIATION_WITHOUT_LUSTRE", cluster(None)),
    ("ASSOCIATION_LUSTRE", cluster(LustreConfig(deployment_type="SCRATCH_2", version="2.12"), LINKED)),
    ("ASSOCIATION_LUSTRE", cluster(LustreConfig(deployment_type="SCRATCH_1"), Data())),
    ("ASSOCIATION_LUSTRE", cluster(EXISTING, LINKED)),
    ("ASSOCIATION_LUSTRE", cluster(None, LINKED)),
    ("ASSOCIATION_PATH_MOUNT", cluster(LustreConfig(), data(("/data", "a"), ("/fsx2", "b")))),
    ("ASSOCIATION_PATH_MOUNT", cluster(LustreConfig(), data(("/", "")))),
    ("ASSOCIATION_PATH_MOUNT", cluster(None, LINKED)),
    ("ASSOCIATION_BACKUPS", cluster(LustreConfig(backup_retention_days=7))),
    ("ASSOCIATION_BACKUPS", cluster(LustreConfig(backup_retention_days=7), Data())),
    ("ASSOCIATION_BACKUPS", cluster(LustreConfig(), LINKED)),
]

FAILING: list[tuple[str, Model, str, str]] = [
    *(
        ("DATA_BUCKET_NAME", Data(bucket=name), "bucket", f"found {name!r}; allowed: new, or {BUCKET_NAMES}")
        for name in (
            "",
            "ab",
            "a" * 64,
            "My-Data",
            "my_data",
            "my..data",
            "-data",
            "data-",
            "data.",
            "10.0.0.1",
            "s3://my-data",
            "arn:aws:s3:::my-data",
            "my-data/datasets",
            "xn--data",
            "amzn-s3-demo-bucket",
            "data-s3alias",
            "data--usw2-az1--x-s3",
            "my-data\n",
        )
    ),
    (
        "DATA_BUCKET_NAME",
        Data(bucket="New"),
        "bucket",
        f"found 'New'; allowed: new, or {BUCKET_NAMES} (did you mean new?)",
    ),
    (
        "DATA_BUCKET_REMOVAL_POLICY",
        Data(bucket="my-data", removal_policy="destroy"),
        "removal_policy",
        "found destroy with the existing bucket my-data; allowed: retain, or bucket: new",
    ),
    (
        "ASSOCIATION_COUNT",
        data(*((f"/{n}", f"{n}") for n in range(9))),
        "associations",
        "found 9 associations; allowed: 8 or fewer",
    ),
    *(
        (
            "ASSOCIATION_PATHS",
            data((first, "a"), (second, "b")),
            "associations[1].path",
            f"found '{second}', and associations[0] has '{first}'; "
            "allowed: a directory that neither holds nor lies in another association's",
        )
        for first, second in (("/data", "/data"), ("/data", "/data/raw"), ("/data/raw", "/data"), ("/", "/data"))
    ),
    (
        # The third overlaps both others, and that is one finding.
        "ASSOCIATION_PATHS",
        data(("/a/b", "a"), ("/a/c", "b"), ("/a", "c")),
        "associations[2].path",
        "found '/a', and associations[0] has '/a/b'; "
        "allowed: a directory that neither holds nor lies in another association's",
    ),
    *(
        (
            "ASSOCIATION_PREFIXES",
            data(("/a", first), ("/b", second)),
            "associations[1].prefix",
            f"found '{second}', and associations[0] has '{first}'; "
            "allowed: a prefix that neither holds nor lies in another association's",
        )
        for first, second in (("data", "data/"), ("data/", "data/raw"), ("data/raw/", "data"), ("", "data"), ("", ""))
    ),
    *(
        (
            "ASSOCIATION_PATH",
            association(path),
            "path",
            f"found {path!r}; allowed: a path without '.', '..' and line breaks, such as /data",
        )
        for path in ("/data/..", "/./data", "/da\nta")
    ),
    *(
        (
            "ASSOCIATION_PREFIX",
            association(prefix=prefix),
            "prefix",
            f"found {prefix!r}; allowed: a prefix without bucket, leading / and line breaks, such as datasets/",
        )
        for prefix in ("/datasets", "s3://my-data/datasets/", "https://my-data.s3.amazonaws.com/", "arn:aws:s3", "a\nb")
    ),
    (
        "ASSOCIATION_EVENTS_REPEATED",
        association(export_events=("NEW", "DELETED", "NEW", "DELETED")),
        "export_events",
        "found DELETED and NEW more than once; allowed: each event once",
    ),
    (
        "ASSOCIATION_EVENTS",
        association(import_events=(), export_events=()),
        "import_events",
        "found no events, and none in export_events; allowed: at least one of NEW, CHANGED, DELETED in either",
    ),
    (
        "ASSOCIATION_WITHOUT_LUSTRE",
        cluster(None, LINKED),
        "data.associations",
        "found associations and no storage.lustre; allowed: storage.lustre, or no associations",
    ),
    (
        "ASSOCIATION_LUSTRE",
        cluster(LustreConfig(deployment_type="SCRATCH_1"), LINKED),
        "storage.lustre.deployment_type",
        "found SCRATCH_1; allowed with data.associations: PERSISTENT_2, PERSISTENT_1 or SCRATCH_2",
    ),
    (
        "ASSOCIATION_LUSTRE",
        cluster(LustreConfig(deployment_type="PERSISTENT_1", version="2.10"), LINKED),
        "storage.lustre.version",
        "found 2.10; allowed with data.associations: 2.15 or 2.12",
    ),
    (
        "ASSOCIATION_LUSTRE",
        cluster(LustreConfig(storage_class="INTELLIGENT_TIERING", throughput_mbps=4000), LINKED),
        "storage.lustre.storage_class",
        "found INTELLIGENT_TIERING; allowed with data.associations: SSD, or HDD on PERSISTENT_1",
    ),
    (
        "ASSOCIATION_PATH_MOUNT",
        cluster(LustreConfig(), data(("/fsx/data", ""))),
        "data.associations[0].path",
        "found /fsx/data, which nodes see at /fsx/fsx/data; allowed for /fsx/data: /data",
    ),
    (
        "ASSOCIATION_PATH_MOUNT",
        cluster(EXISTING, data(("/fsx", ""))),
        "data.associations[0].path",
        "found /fsx, which nodes see at /fsx/fsx; allowed for /fsx: /",
    ),
    (
        "ASSOCIATION_BACKUPS",
        cluster(LustreConfig(backup_retention_days=7), LINKED),
        "storage.lustre.backup_retention_days",
        "found 7 days; allowed with data.associations: 0",
    ),
]


@pytest.mark.parametrize(("rule", "model"), PASSING)
def test_passes(rule: str, model: Model) -> None:
    assert rule not in [finding.rule for finding in check(model)]


@pytest.mark.parametrize(("rule", "model", "field", "message"), FAILING)
def test_fails(rule: str, model: Model, field: str, message: str) -> None:
    found = [(finding.field, finding.message) for finding in check(model) if finding.rule == rule]
    assert found == [(field, message)]


def test_every_rule_is_tested_with_both_outcomes() -> None:
    defined = {one.id for one in DEFINED}
    assert {rule for rule, *_ in PASSING} == {rule for rule, *_ in FAILING} == defined


def test_what_only_warns() -> None:
    assert {one.id for one in DEFINED if one.level == "warning"} == {
        "DATA_BUCKET_REMOVAL_POLICY",
        "ASSOCIATION_EVENTS",
        "ASSOCIATION_PATH_MOUNT",
    }
