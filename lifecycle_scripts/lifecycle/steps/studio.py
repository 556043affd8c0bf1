"""What SageMaker Studio's spaces share with the cluster: a workspace directory, and MUNGE's key."""

import base64

from lifecycle import aws
from lifecycle.errors import CommandError, NotYetError
from lifecycle.step import Context, Step

MUNGE_KEY = "/etc/munge/munge.key"
_CONTROLLER = frozenset({"controller"})


def _wanted(context: Context) -> bool:
    return context.cluster.studio is not None and context.node.first_controller


def _workspace_is_done(context: Context) -> bool:
    studio = context.cluster.studio
    assert studio
    owner = context.host.owner_of(studio.workspace_path)
    return (
        owner == (studio.workspace_uid, studio.workspace_gid) and context.host.mode_of(studio.workspace_path) == 0o755
    )


def _workspace_do(context: Context) -> None:
    studio, lustre = context.cluster.studio, context.cluster.lustre
    assert studio
    if lustre and not context.host.is_mounted(lustre.path):
        raise NotYetError(f"{lustre.path} is not mounted")
    context.host.make_directory(studio.workspace_path, owner=(studio.workspace_uid, studio.workspace_gid))


WORKSPACE = Step(
    name="studio-workspace",
    summary="make the directory that Studio's spaces share",
    is_done=_workspace_is_done,
    do=_workspace_do,
    node_types=_CONTROLLER,
    is_wanted=_wanted,
)


def _own_key(context: Context) -> bytes:
    try:
        return context.host.locate(MUNGE_KEY).read_bytes()
    except FileNotFoundError:
        raise NotYetError(f"{MUNGE_KEY} is missing: HyperPod has not given this node the cluster's key") from None


def _key_is_done(context: Context) -> bool:
    studio = context.cluster.studio
    assert studio
    key = _own_key(context)
    try:
        published = aws.secretsmanager(
            context,
            *("get-secret-value", "--secret-id", studio.munge_secret_arn),
            *("--query", "SecretBinary", "--output", "text"),
        )
    except CommandError as error:
        # A secret that was just made has no value yet.
        if "ResourceNotFoundException" in error.errors:
            return False
        raise
    return base64.b64decode(published) == key


def _key_do(context: Context) -> None:
    studio = context.cluster.studio
    assert studio
    # The command reads the file itself: the key is in no argument, no log and no output.
    aws.secretsmanager(
        context,
        *("put-secret-value", "--secret-id", studio.munge_secret_arn),
        *("--secret-binary", f"fileb://{MUNGE_KEY}", "--query", "VersionId"),
    )


MUNGE_SECRET = Step(
    name="munge-secret",
    summary="publish MUNGE's key to the cluster's secret",
    is_done=_key_is_done,
    do=_key_do,
    node_types=_CONTROLLER,
    is_wanted=_wanted,
    waits_for_slurm=True,
)
