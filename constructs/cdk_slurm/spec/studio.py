"""What a cluster has ready for SageMaker Studio, and a Studio domain beside it."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from cdk_slurm.spec.model import Model, MountPath, RemovalPolicy

StudioApp = Literal["code_editor", "jupyter_lab"]


class StudioWorkspace(Model):
    """A directory of the Lustre file system that Studio spaces work in.

    Its owner has the ids that spaces run with. Studio lets them be chosen once only, so they are those of an
    account on the nodes from the start: then jobs and files are the same person's on both sides.
    """

    path: MountPath | None = None
    """Where it is on the nodes; left out, `shared/studio-workspace` below Lustre's mount."""

    uid: int = 10001
    """User id of its owner, as in `users`."""

    gid: int = 1001
    """Group id of its owner."""

    def path_on(self, lustre_mount: str) -> str:
        """Where it is on nodes that mount Lustre there, its default filled in."""
        return self.path or f"{lustre_mount}/shared/studio-workspace"


class StudioUser(Model):
    """A person with an account on the nodes who has a profile and spaces in Studio."""

    name: str
    """Login name, as in `users`; the profile's name too."""

    sso_user: str | None = None
    """User name in IAM Identity Center; left out, the login name (`auth: sso` only)."""


class StudioDomainConfig(Model):
    """A SageMaker Studio domain in the cluster's network, with a profile and spaces for each of its users.

    A space finds Lustre, Slurm's commands and a way to the login nodes when it starts.
    """

    auth: Literal["iam", "sso"] = "iam"
    """How people log in: through the AWS account, or through IAM Identity Center."""

    lustre: Literal["shared", "per_user"] = "shared"
    """What of Lustre a space has: `shared`, the directory above the workspace; `per_user`, a directory of one's own in
    it."""

    users: Annotated[tuple[StudioUser, ...], Field(strict=False)] | None = None
    """Who has a profile; left out, everybody in `users`."""

    apps: Annotated[tuple[StudioApp, ...], Field(strict=False, min_length=1)] = ("code_editor",)
    """A space for each of these."""

    instance_type: str = "ml.t3.medium"
    """Instance type of spaces; people may choose another."""

    volume_gib: int = 20
    """Size of each space's own volume, in GiB."""

    removal_policy: RemovalPolicy = "retain"
    """`destroy` deletes the domain, with everything that people have in their spaces, with its stack."""


class StudioConfig(Model):
    """A SageMaker Studio domain beside the cluster, and what the cluster has ready for its spaces.

    There is a workspace directory on Lustre, and a Secrets Manager secret to which the controller copies the
    cluster's MUNGE key, with which a space's Slurm commands are believed. `domain: null` prepares for a domain of
    somebody else's.
    """

    workspace: StudioWorkspace = StudioWorkspace()
    """The directory that spaces share with the nodes."""

    domain: StudioDomainConfig | None = StudioDomainConfig()
    """The domain; None where it is somebody else's."""

    def mounted_on(self, lustre_mount: str, name: str | None = None) -> str:
        """What a person's spaces mount, as nodes see it; without a name, what all of them share."""
        workspace = self.workspace.path_on(lustre_mount)
        if self.domain and self.domain.lustre == "per_user" and name:
            return f"{workspace}/{name}"
        return str(PurePosixPath(workspace).parent)
