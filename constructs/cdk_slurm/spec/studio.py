"""What a cluster has ready for SageMaker Studio."""

from cdk_slurm.spec.model import Model, MountPath


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


class StudioConfig(Model):
    """Prepares the cluster for SageMaker Studio spaces.

    There is a workspace directory on Lustre, and a Secrets Manager secret to which the controller copies the
    cluster's MUNGE key, with which a space's Slurm commands are believed. `studio: {}` has good defaults.
    """

    workspace: StudioWorkspace = StudioWorkspace()
    """The directory that spaces share with the nodes."""
