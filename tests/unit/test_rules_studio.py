"""Rules of what is ready for Studio: for each rule what passes, what does not, and what is said."""

from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.rules.studio import workspace_findings
from cdk_slurm.spec import ClusterSpec, Model, StudioConfig, StudioWorkspace

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.studio"]
ALICE = {"name": "alice", "uid": 10001, "gid": 1001}


def cluster(lustre: dict[str, Any] | None, studio: dict[str, Any] | None, *users: dict[str, Any], **fields: Any):
    return ClusterSpec.model_validate(
        {
            "kind": "hyperpod",
            "name": "ml-cluster",
            "region": "us-west-2",
            "availability_zone": "usw2-az4",
            "storage": {"lustre": lustre},
            "hyperpod": {"compute": [{"name": "cpu", "type": "ml.c5.4xlarge", "count": 2}]},
            "users": users or [ALICE],
            "studio": studio,
        }
        | fields
    )


def at(path: str) -> dict[str, Any]:
    return {"workspace": {"path": path}}


DIRECTORY = {"uri": "ldaps://ldap.example.com", "base_dn": "dc=example,dc=com"}

PASSING: list[tuple[str, Model]] = [
    ("STUDIO_WITHOUT_LUSTRE", cluster({}, {})),
    ("STUDIO_WITHOUT_LUSTRE", cluster({"existing": "fs-0123456789abcdef0", "mount_name": "abcdefgh"}, {})),
    ("STUDIO_WITHOUT_LUSTRE", cluster(None, None)),
    ("STUDIO_WORKSPACE_PATH", cluster({}, {})),
    ("STUDIO_WORKSPACE_PATH", cluster({"mount": "/scratch"}, {})),
    ("STUDIO_WORKSPACE_PATH", cluster({}, at("/fsx/studio"))),
    ("STUDIO_WORKSPACE_PATH", cluster(None, at("/home/studio"))),
    ("STUDIO_WORKSPACE_IDS", StudioWorkspace()),
    ("STUDIO_WORKSPACE_IDS", StudioWorkspace(uid=10000, gid=1001)),
    ("STUDIO_WORKSPACE_IDS", StudioWorkspace(uid=4000000, gid=4000000)),
    ("STUDIO_WORKSPACE_OWNER", cluster({}, {})),
    ("STUDIO_WORKSPACE_OWNER", cluster({}, None, ALICE | {"uid": 10002})),
    ("STUDIO_WORKSPACE_OWNER", cluster({}, {}, ALICE | {"uid": 10002}, directory=DIRECTORY)),
]

FAILING: list[tuple[str, Model, str, str]] = [
    (
        "STUDIO_WITHOUT_LUSTRE",
        cluster(None, {}),
        "studio",
        "found studio and no storage.lustre; allowed: storage.lustre, or no studio",
    ),
    *(
        (
            "STUDIO_WORKSPACE_PATH",
            cluster({"mount": mount}, at(path)),
            "studio.workspace.path",
            f"found {path}; allowed: a directory below {mount}, where nodes mount Lustre",
        )
        for mount, path in (("/fsx", "/fsx"), ("/fsx", "/fsx2/studio"), ("/fsx", "/home/studio"), ("/a/b", "/a"))
    ),
    ("STUDIO_WORKSPACE_IDS", StudioWorkspace(uid=9999), "uid", "found 9999; allowed: 10000 to 4000000"),
    ("STUDIO_WORKSPACE_IDS", StudioWorkspace(uid=4000001), "uid", "found 4000001; allowed: 10000 to 4000000"),
    ("STUDIO_WORKSPACE_IDS", StudioWorkspace(gid=1000), "gid", "found 1000; allowed: 1001 to 4000000"),
    (
        "STUDIO_WORKSPACE_OWNER",
        cluster({}, {}, ALICE | {"uid": 10002}),
        "studio.workspace.uid",
        "found 10001, which is nobody's in users; allowed without this warning: the uid of one of them",
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
    assert {one.id for one in DEFINED if one.level == "warning"} == {"STUDIO_WORKSPACE_OWNER"}


@pytest.mark.parametrize(
    ("path", "mount", "found"),
    [
        (None, "/fsx", "/fsx/shared/studio-workspace"),
        (None, "/a/b", "/a/b/shared/studio-workspace"),
        ("/x", "/y", "/x"),
    ],
)
def test_where_the_workspace_is(path: str | None, mount: str, found: str) -> None:
    assert StudioWorkspace(path=path).path_on(mount) == found


def test_constructs_are_told_the_same() -> None:
    """They know the mount of a file system, and no description of a whole cluster."""
    for studio in (StudioConfig(), StudioConfig(workspace=StudioWorkspace(path="/home/studio"))):
        described = cluster({}, studio.model_dump())
        known = [(one.rule, one.level, one.message, one.reference) for one in workspace_findings(studio, "/fsx")]
        assert known == [
            (one.rule, one.level, one.message, one.reference)
            for one in check(described)
            if one.rule == "STUDIO_WORKSPACE_PATH"
        ]
