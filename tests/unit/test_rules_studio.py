"""Rules of what is ready for Studio: for each rule what passes, what does not, and what is said."""

from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.rules.studio import workspace_findings
from cdk_slurm.spec import (
    ClusterSpec,
    HyperPodSpec,
    Model,
    StudioConfig,
    StudioDomainConfig,
    StudioUser,
    StudioWorkspace,
)

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.studio"]
ALICE = {"name": "alice", "uid": 10001, "gid": 1001}


def cluster(lustre: dict[str, Any] | None, studio: dict[str, Any] | None, *users: dict[str, Any], **fields: Any):
    return HyperPodSpec.model_validate(
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


def domain(*users: dict[str, Any], lustre: str = "shared", named: list[str] | None = None) -> ClusterSpec:
    named_users = None if named is None else [{"name": name} for name in named]
    return cluster({}, {"domain": {"lustre": lustre, "users": named_users}}, *users)


def named(*users: StudioUser, auth: str = "iam") -> StudioDomainConfig:
    return StudioDomainConfig(auth=auth, users=users)


BOB = {"name": "bob", "uid": 10002, "gid": 1001}
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
    ("STUDIO_MOUNTED_PATH", cluster({}, at(f"/fsx/{'a' * 255}/b"))),
    ("STUDIO_USER_NAME", named(StudioUser(name="alice"), StudioUser(name="bob"))),
    ("STUDIO_USER_ACCOUNT", domain(ALICE, BOB, named=["bob"])),
    ("STUDIO_USER_ACCOUNT", cluster({}, {"domain": None}, ALICE | {"name": "a_b"})),
    ("STUDIO_USER_IDS", domain(ALICE)),
    ("STUDIO_USER_IDS", domain(ALICE, BOB | {"uid": 2001}, named=["alice"])),
    ("STUDIO_USER_GID", domain(ALICE)),
    ("STUDIO_NOBODY", domain(ALICE)),
    ("STUDIO_SHARED_WORKSPACE", domain(ALICE)),
    ("STUDIO_SHARED_WORKSPACE", domain(ALICE, BOB, lustre="per_user")),
    ("STUDIO_SSO_USER", named(StudioUser(name="alice", sso_user="alice@example.com"), auth="sso")),
    ("STUDIO_SPACE", StudioDomainConfig(instance_type="ml.g5.xlarge", volume_gib=16384)),
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
    (
        "STUDIO_USER_NAME",
        named(StudioUser(name="alice"), StudioUser(name="alice")),
        "users[1].name",
        "found 'alice' for the second time; allowed: each name once",
    ),
    (
        "STUDIO_MOUNTED_PATH",
        cluster({}, at(f"/fsx/{'a' * 256}/b")),
        "studio.workspace.path",
        f"found '/{'a' * 256}' (257 characters); allowed: 1 to 256 characters",
    ),
    (
        "STUDIO_USER_ACCOUNT",
        domain(ALICE, named=["bob"]),
        "studio.domain.users[0].name",
        "found 'bob', which is nobody's in users; allowed: alice",
    ),
    (
        "STUDIO_USER_ACCOUNT",
        domain(ALICE | {"name": "a_b"}),
        "users[0].name",
        "found 'a_b'; allowed: text of the form [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    ),
    ("STUDIO_USER_IDS", domain(ALICE | {"uid": 2001}), "users[0].uid", "found 2001; allowed: 10000 to 4000000"),
    ("STUDIO_USER_IDS", domain(ALICE | {"gid": 1000}), "users[0].gid", "found 1000; allowed: 1001 to 4000000"),
    (
        "STUDIO_USER_GID",
        domain({"name": "alice", "uid": 10001}),
        "users[0].gid",
        "found no gid, and Studio would have 10001 for ever; allowed without this warning: a gid",
    ),
    (
        "STUDIO_NOBODY",
        domain(ALICE, named=[]),
        "studio.domain",
        "found nobody who has a profile; allowed without this warning: somebody in users",
    ),
    (
        "STUDIO_SHARED_WORKSPACE",
        domain(ALICE, BOB),
        "studio.domain.lustre",
        "found shared, where bob can only read; allowed without this warning: per_user",
    ),
    (
        "STUDIO_SSO_USER",
        named(StudioUser(name="alice", sso_user="alice@example.com")),
        "users[0].sso_user",
        "found 'alice@example.com' with auth iam; allowed: with auth sso",
    ),
    ("STUDIO_SPACE", StudioDomainConfig(volume_gib=4), "volume_gib", "found 4; allowed: 5 to 16384"),
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
        "STUDIO_WORKSPACE_OWNER",
        "STUDIO_USER_GID",
        "STUDIO_NOBODY",
        "STUDIO_SHARED_WORKSPACE",
    }


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
