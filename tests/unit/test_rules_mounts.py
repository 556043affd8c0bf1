"""Rules of what nodes mount: for each rule what passes, what does not, and what is said."""

from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.spec import ExistingOpenZfs, LustreConfig, Model, OpenZfsConfig, S3Mount, Storage

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.mounts"]


def mounts(lustre: str = "/fsx", openzfs: str = "/home", *s3: str) -> Storage:
    return Storage(lustre=LustreConfig(mount=lustre), openzfs=OpenZfsConfig(mount=openzfs), s3=tuple(map(bucket, s3)))


def bucket(mount: str = "/data", name: str = "my-data", **fields: Any) -> S3Mount:
    return S3Mount(bucket=name, mount=mount, **fields)


PASSING: list[tuple[str, Model]] = [
    ("MOUNT_SYSTEM_DIRECTORY", mounts()),
    ("MOUNT_SYSTEM_DIRECTORY", mounts("/opt/apps", "/mnt/home")),
    ("MOUNT_SYSTEM_DIRECTORY", mounts("/usr2", "/variant", "/mnt/s3")),
    ("MOUNT_SYSTEM_DIRECTORY", Storage()),
    ("MOUNT_OVERLAP", mounts()),
    ("MOUNT_OVERLAP", mounts("/home2", "/home")),
    ("MOUNT_OVERLAP", mounts("/fsx", "/home", "/s3/a", "/s3/b", "/s3/a2")),
    ("MOUNT_OVERLAP", Storage(lustre=LustreConfig(mount="/home"))),
    *(("S3_MOUNT_BUCKET", bucket(name=name)) for name in ("abc", "my-data.example.com", "new", "a" * 63)),
    *(
        ("S3_MOUNT_PREFIX", bucket(prefix=prefix))
        for prefix in ("", "datasets/", "a/b-1/c_2/", "date=2026-01-01/", ".cache/", "..a/", "a" * 1023 + "/")
    ),
]

FAILING: list[tuple[str, Model, str, str]] = [
    *(
        (
            "MOUNT_SYSTEM_DIRECTORY",
            mounts(lustre=mount),
            "lustre.mount",
            f"found {mount}, which {what}; allowed: a directory of its own, such as /fsx, /home or /mnt/data",
        )
        for mount, what in (
            ("/opt", "hides /opt/ml, /opt/sagemaker, /opt/slurm"),
            ("/opt/slurm", "hides /opt/slurm"),
            ("/usr", "hides /usr"),
            ("/usr/local", "lies in /usr"),
            ("/var/lib/data", "lies in /var"),
            ("/tmp", "hides /tmp"),  # noqa: S108
        )
    ),
    (
        "MOUNT_SYSTEM_DIRECTORY",
        Storage(openzfs=ExistingOpenZfs(existing="fs-0123456789abcdef0", mount="/root")),
        "openzfs.mount",
        "found /root, which hides /root; allowed: a directory of its own, such as /fsx, /home or /mnt/data",
    ),
    (
        "MOUNT_SYSTEM_DIRECTORY",
        mounts("/fsx", "/home", "/data", "/etc/data"),
        "s3[1].mount",
        "found /etc/data, which lies in /etc; allowed: a directory of its own, such as /fsx, /home or /mnt/data",
    ),
    *(
        (
            "MOUNT_OVERLAP",
            storage,
            field,
            f"found {mount}, and {other} is mounted at {taken}; allowed: a directory neither above nor below {taken}",
        )
        for storage, field, mount, other, taken in (
            (mounts("/shared", "/shared"), "openzfs.mount", "/shared", "lustre", "/shared"),
            (mounts("/home/fsx", "/home"), "openzfs.mount", "/home", "lustre", "/home/fsx"),
            (mounts("/fsx", "/home", "/fsx/s3"), "s3[0].mount", "/fsx/s3", "lustre", "/fsx"),
            (mounts("/fsx", "/home", "/home"), "s3[0].mount", "/home", "openzfs", "/home"),
            (mounts("/fsx", "/home", "/a/b", "/a"), "s3[1].mount", "/a", "s3[0]", "/a/b"),
        )
    ),
    *(
        (
            "S3_MOUNT_BUCKET",
            bucket(name=name),
            "bucket",
            f"found {name!r}; allowed: a general purpose bucket's name of 3 to 63 lower-case letters, digits, hyphens "
            "and single dots",
        )
        for name in ("", "My-Data", "s3://my-data", "my-data/datasets", "arn:aws:s3:::my-data", "my-data\n", "*")
    ),
    *(
        (
            "S3_MOUNT_PREFIX",
            bucket(prefix=prefix),
            "prefix",
            f"found {prefix!r}; allowed: 1024 characters or fewer, names of letters, digits and ! _ . = + @ : , - that "
            "each end with /, such as datasets/images/",
        )
        for prefix in (
            "datasets",
            "/",
            "/datasets/",
            "a//b/",
            "../",
            "a/./",
            "s3://my-data/",
            "*/",
            "data?/",
            "${aws:username}/",
            "my data/",
            "datasets/\n",
            "a" * 1024 + "/",
        )
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


def test_all_are_errors() -> None:
    assert {one.level for one in DEFINED} == {"error"}


def test_nodes_only_read_unless_told_otherwise() -> None:
    assert bucket().read_only is True
