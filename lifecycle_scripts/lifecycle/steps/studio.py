"""What SageMaker Studio's spaces share with the cluster: a workspace directory, and MUNGE's key."""

import base64

from lifecycle import aws
from lifecycle.cluster import Studio
from lifecycle.errors import CommandError, NotYetError
from lifecycle.step import CONTROLLER, Context, Step
from lifecycle.steps.slurm import MUNGE_KEY


def _wanted(context: Context) -> bool:
    return context.cluster.studio is not None and context.node.first_controller


def _studio(context: Context) -> Studio:
    assert context.cluster.studio
    return context.cluster.studio


def _workspace_is_done(context: Context) -> bool:
    host, studio = context.host, _studio(context)
    owner = (studio.workspace_uid, studio.workspace_gid)
    return host.owner_of(studio.workspace_path) == owner and host.mode_of(studio.workspace_path) == 0o755


def _workspace_do(context: Context) -> None:
    studio, lustre = _studio(context), context.cluster.lustre
    if lustre and not context.host.is_mounted(lustre.path):
        raise NotYetError(f"{lustre.path} is not mounted")
    context.host.make_directory(studio.workspace_path, owner=(studio.workspace_uid, studio.workspace_gid))


WORKSPACE = Step(
    name="studio-workspace",
    summary="make the directory that Studio's spaces share",
    is_done=_workspace_is_done,
    do=_workspace_do,
    node_types=CONTROLLER,
    is_wanted=_wanted,
)


def _own_key(context: Context) -> bytes:
    try:
        return context.host.locate(MUNGE_KEY).read_bytes()
    except FileNotFoundError:
        raise NotYetError(f"{MUNGE_KEY} is missing: HyperPod has not given this node the cluster's key") from None


def _key_is_done(context: Context) -> bool:
    key = _own_key(context)
    try:
        published = aws.secretsmanager(
            context,
            *("get-secret-value", "--secret-id", _studio(context).munge_secret_arn),
            *("--query", "SecretBinary", "--output", "text"),
        )
    except CommandError as error:
        # A secret that was just made has no value yet.
        if "ResourceNotFoundException" in error.errors:
            return False
        raise
    return base64.b64decode(published) == key


def _key_do(context: Context) -> None:
    # The command reads the file itself: the key is in no argument, no log and no output.
    aws.secretsmanager(
        context,
        *("put-secret-value", "--secret-id", _studio(context).munge_secret_arn),
        *("--secret-binary", f"fileb://{MUNGE_KEY}", "--query", "VersionId"),
    )


MUNGE_SECRET = Step(
    name="munge-secret",
    summary="publish MUNGE's key to the cluster's secret",
    is_done=_key_is_done,
    do=_key_do,
    node_types=CONTROLLER,
    is_wanted=_wanted,
    waits_for_slurm=True,
)
