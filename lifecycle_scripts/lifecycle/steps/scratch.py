"""A place for temporary files on the node's fastest disk, and never on its small root volume."""

from lifecycle import units
from lifecycle.errors import NotYetError
from lifecycle.step import Context, Step

NVME = "/opt/dlami/nvme"
EBS = "/opt/sagemaker"
SCRATCH = "/scratch"
ANYBODYS = 0o1777


def disk(context: Context) -> str | None:
    """Return where the node's fastest disk beside the root volume is mounted, or None where it has none."""
    for path in (NVME, EBS):
        if context.host.is_mounted(path):
            return path
    return None


def _is_done(context: Context) -> bool:
    # Given in the order of what is wanted: a disk that is only late must not be passed over for a slower one.
    expected = NVME if context.group.nvme else EBS if context.group.ebs_volume else None
    if expected and not context.host.is_mounted(expected):
        if expected == NVME and not units.is_known(context.host, "dlami-nvme.service"):
            context.warn(f"the AMI has no dlami-nvme.service to mount instance storage at {NVME}")
        else:
            raise NotYetError(f"nothing is mounted at {expected} yet")
    path = disk(context)
    if path is None:
        context.warn(
            f"no disk beside the root volume, so no {SCRATCH}, and containers are kept off this node: "
            "ebs_volume_gib of the instance group gives it one"
        )
        return True
    target = f"{path}/scratch"
    return context.host.link_target(SCRATCH) == target and context.host.mode_of(target) == ANYBODYS


def _do(context: Context) -> None:
    path = disk(context)
    context.host.make_directory(f"{path}/scratch", mode=ANYBODYS)
    if context.host.exists(SCRATCH) and context.host.link_target(SCRATCH) is None:
        context.warn(f"{SCRATCH} is there already and not ours: scratch space is {path}/scratch")
        return
    context.host.link(SCRATCH, f"{path}/scratch")


STEP = Step(
    name="scratch",
    summary=f"make {SCRATCH} on the fastest disk",
    is_done=_is_done,
    do=_do,
    patience_seconds=180,
)
