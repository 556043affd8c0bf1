"""Rules of what a cluster has ready for SageMaker Studio."""

from collections.abc import Iterator

from cdk_slurm.rules.engine import RULES, Violation, rule
from cdk_slurm.rules.mounts import is_within
from cdk_slurm.rules.service_model import problem
from cdk_slurm.spec import ClusterSpec, Finding, StudioConfig, StudioWorkspace

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
