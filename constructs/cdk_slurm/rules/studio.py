"""Rules of what a cluster has ready for SageMaker Studio."""

from collections.abc import Iterator, Sequence

from cdk_slurm.rules.engine import RULES, Violation, rule
from cdk_slurm.rules.mounts import is_within
from cdk_slurm.rules.service_model import problem
from cdk_slurm.spec import (
    ClusterSpec,
    Finding,
    Path,
    StudioConfig,
    StudioDomainConfig,
    StudioUser,
    StudioWorkspace,
    User,
)

_CUSTOM_FILE_SYSTEMS = "https://docs.aws.amazon.com/sagemaker/latest/dg/domain-custom-file-system.html"
_POSIX_USER = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CustomPosixUserConfig.html"


@rule("error", _CUSTOM_FILE_SYSTEMS)
def studio_without_lustre(spec: ClusterSpec) -> Iterator[Violation]:
    """Studio's workspace needs a Lustre file system.

    It is what spaces and nodes share. Add `storage.lustre`, or leave `studio` out.
    """
    if spec.studio is not None and spec.storage.lustre is None:
        yield "studio", "found studio and no storage.lustre; allowed: storage.lustre, or no studio"


@rule("error", _CUSTOM_FILE_SYSTEMS)
def studio_workspace_path(spec: ClusterSpec) -> Iterator[Violation]:
    """Studio's workspace is a directory of the Lustre file system.

    Its path is as nodes see it, below the directory at which they mount Lustre.
    """
    if spec.studio is None or spec.storage.lustre is None:
        return
    if text := _outside(spec.studio.workspace, spec.storage.lustre.mount):
        yield ("studio", "workspace", "path"), text


@rule("error", _CUSTOM_FILE_SYSTEMS)
def studio_mounted_path(spec: ClusterSpec) -> Iterator[Violation]:
    """What spaces mount of Lustre has a path that Studio takes.

    It is the workspace's parent, or with `lustre: per_user` a directory in the workspace, as Lustre names it.
    """
    lustre, studio = spec.storage.lustre, spec.studio
    if lustre is None or studio is None or studio.domain is None or _outside(studio.workspace, lustre.mount):
        return
    for _, name in _names(spec):
        path = studio.mounted_on(lustre.mount, name).removeprefix(lustre.mount) or "/"
        if text := problem("sagemaker", "FileSystemPath", path):
            yield ("studio", "workspace", "path"), text
            return


@rule("error", _POSIX_USER)
def studio_workspace_ids(workspace: StudioWorkspace) -> Iterator[Violation]:
    """The workspace's owner has ids that Studio takes.

    They begin higher than those that Linux takes: 10000 for users and 1001 for groups.
    """
    for field, shape, found in (("uid", "Uid", workspace.uid), ("gid", "Gid", workspace.gid)):
        if text := problem("sagemaker", shape, found):
            yield field, text


@rule("warning", _POSIX_USER)
def studio_workspace_owner(spec: ClusterSpec) -> Iterator[Violation]:
    """The workspace's owner has an account on the nodes.

    Slurm runs a job as whoever sent it, and nodes refuse jobs of an id that is no account of theirs. Add the
    person to `users`. With a `directory` nobody here can tell, and nothing is said.
    """
    if spec.studio is None or spec.directory is not None:
        return
    uid = spec.studio.workspace.uid
    if uid not in [user.uid for user in spec.users]:
        yield (
            ("studio", "workspace", "uid"),
            f"found {uid}, which is nobody's in users; allowed without this warning: the uid of one of them",
        )


@rule("error", "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateUserProfile.html")
def studio_user_name(domain: StudioDomainConfig) -> Iterator[Violation]:
    """Each person has one profile.

    Whoever is named in `users` of the domain is named once.
    """
    names = [user.name for user in domain.users or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield ("users", index, "name"), f"found {name!r} for the second time; allowed: each name once"


@rule("error", "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateUserProfile.html")
def studio_user_account(spec: ClusterSpec) -> Iterator[Violation]:
    """Who has a profile in Studio has an account on the nodes, whose name a profile can have.

    The profile has the account's name and ids. Profiles' names are of letters, digits and hyphens.
    """
    known = [user.name for user in spec.users]
    for path, name in _names(spec):
        if name not in known:
            yield path, f"found {name!r}, which is nobody's in users; allowed: {', '.join(known) or 'nobody yet'}"
        elif text := problem("sagemaker", "UserProfileName", name):
            yield path, text


@rule("error", _POSIX_USER)
def studio_user_ids(spec: ClusterSpec) -> Iterator[Violation]:
    """Who has a profile in Studio has ids that Studio takes.

    They begin higher than those that Linux takes: 10000 for users and 1001 for groups. Name those who fit in
    `studio.domain.users`, or give others other ids while they own no files yet.
    """
    for index, user in enumerate(spec.users):
        if user.name in [name for _, name in _names(spec)]:
            for field, text in _id_problems(user):
                yield ("users", index, field), text


@rule("warning", _POSIX_USER)
def studio_user_gid(spec: ClusterSpec) -> Iterator[Violation]:
    """Ids of people in Studio are said, and not left to a default.

    Studio takes a profile's uid and gid once and for ever: a gid that is said later would be another one, and refused.
    """
    for index, user in enumerate(spec.users):
        if user.gid is None and user.name in [name for _, name in _names(spec)]:
            yield (
                ("users", index, "gid"),
                f"found no gid, and Studio would have {user.uid} for ever; allowed without this warning: a gid",
            )


@rule("warning", _CUSTOM_FILE_SYSTEMS)
def studio_nobody(spec: ClusterSpec) -> Iterator[Violation]:
    """A Studio domain has users.

    Without `users` there is a domain and nothing in it.
    """
    if spec.studio and spec.studio.domain and not _names(spec):
        yield ("studio", "domain"), "found nobody who has a profile; allowed without this warning: somebody in users"


@rule("warning", _CUSTOM_FILE_SYSTEMS)
def studio_shared_workspace(spec: ClusterSpec) -> Iterator[Violation]:
    """A workspace that is shared is its owner's to write to.

    Others can read. With `lustre: per_user` everybody has a directory of their own.
    """
    if not spec.studio or not spec.studio.domain or spec.studio.domain.lustre != "shared":
        return
    owner = spec.studio.workspace.uid
    named = [name for _, name in _names(spec)]
    others = [user.name for user in spec.users if user.name in named and user.uid != owner]
    if others:
        yield (
            ("studio", "domain", "lustre"),
            f"found shared, where {', '.join(others)} can only read; allowed without this warning: per_user",
        )


@rule("error", "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateUserProfile.html")
def studio_sso_user(domain: StudioDomainConfig) -> Iterator[Violation]:
    """Names in IAM Identity Center are for domains that people log in to through it.

    With `auth: iam` nobody asks for them.
    """
    for index, user in enumerate(domain.users or ()):
        if user.sso_user is not None and domain.auth != "sso":
            yield (
                ("users", index, "sso_user"),
                f"found {user.sso_user!r} with auth {domain.auth}; allowed: with auth sso",
            )


@rule("error", "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceSpec.html")
def studio_space(domain: StudioDomainConfig) -> Iterator[Violation]:
    """Spaces have an instance type and a volume that Studio takes.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_EbsStorageSettings.html
    """
    for field, shape, found in (
        ("instance_type", "AppInstanceType", domain.instance_type),
        ("volume_gib", "SpaceEbsVolumeSizeInGb", domain.volume_gib),
    ):
        if text := problem("sagemaker", shape, found):
            yield field, text


def studio_people(domain: StudioDomainConfig, users: Sequence[User]) -> list[tuple[User, StudioUser]]:
    """Who has a profile, in the order of the accounts; people without an account are left out."""
    if domain.users is None:
        return [(user, StudioUser(name=user.name)) for user in users]
    named = {one.name: one for one in domain.users}
    return [(user, named[user.name]) for user in users if user.name in named]


def user_findings(user: User) -> Iterator[Finding]:
    """What `STUDIO_USER_IDS` finds where only one account is known."""
    rule_ = RULES["STUDIO_USER_IDS"]
    for field, text in _id_problems(user):
        yield Finding(rule=rule_.id, level=rule_.level, path=(field,), message=text, reference=rule_.reference)


def _id_problems(user: User) -> Iterator[tuple[str, str]]:
    gid = user.uid if user.gid is None else user.gid
    for field, shape, found in (("uid", "Uid", user.uid), ("gid", "Gid", gid)):
        if text := problem("sagemaker", shape, found):
            yield field, text


def _names(spec: ClusterSpec) -> list[tuple[Path, str]]:
    """Where it says who has a profile, and who."""
    if not spec.studio or not spec.studio.domain:
        return []
    if spec.studio.domain.users is None:
        return [(("users", index, "name"), user.name) for index, user in enumerate(spec.users)]
    return [
        (("studio", "domain", "users", index, "name"), user.name) for index, user in enumerate(spec.studio.domain.users)
    ]


def workspace_findings(studio: StudioConfig, lustre_mount: str) -> Iterator[Finding]:
    """What `STUDIO_WORKSPACE_PATH` finds where only the mount of the file system is known."""
    rule_ = RULES["STUDIO_WORKSPACE_PATH"]
    if text := _outside(studio.workspace, lustre_mount):
        yield Finding(
            rule=rule_.id, level=rule_.level, path=("workspace", "path"), message=text, reference=rule_.reference
        )


def _outside(workspace: StudioWorkspace, lustre_mount: str) -> str | None:
    path = workspace.path_on(lustre_mount)
    if path != lustre_mount and is_within(path, lustre_mount):
        return None
    return f"found {path}; allowed: a directory below {lustre_mount}, where nodes mount Lustre"
