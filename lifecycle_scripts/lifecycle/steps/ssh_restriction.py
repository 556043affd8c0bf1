"""Lets people log in to compute nodes only while a job of theirs runs there.

https://slurm.schedmd.com/pam_slurm_adopt.html
"""

from lifecycle.errors import StepError
from lifecycle.host import File
from lifecycle.step import COMPUTE, Context, Step

MODULE = "pam_slurm_adopt.so"
SERVICE = "/etc/pam.d/sshd"

_MODULE_DIRECTORIES = (
    "/lib/security",
    "/usr/lib/security",
    "/lib/x86_64-linux-gnu/security",
    "/usr/lib/x86_64-linux-gnu/security",
    "/lib/aarch64-linux-gnu/security",
    "/opt/slurm/lib/security",
    "/opt/slurm/lib/slurm",
)
_MARK = "# cdk-slurm: "


def _module(context: Context) -> str:
    for directory in _MODULE_DIRECTORIES:
        if context.host.exists(f"{directory}/{MODULE}"):
            return f"{directory}/{MODULE}"
    # A module of another Slurm would refuse everybody or nobody: none is fetched from elsewhere.
    raise StepError(
        f"restrict_ssh_to_jobs: this AMI has no {MODULE} of its own Slurm (looked in {', '.join(_MODULE_DIRECTORIES)})"
    )


def _file(context: Context) -> File:
    lines = (context.host.read(SERVICE) or "").splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith(_MARK)), len(lines))
    return File(
        SERVICE,
        "\n".join(
            [
                *lines[:start],
                f"{_MARK}administrators always, others with a job on this node; these lines stay last",
                "account sufficient pam_succeed_if.so quiet user ingroup sudo",
                f"account required {_module(context)}",
            ]
        )
        + "\n",
    )


def _is_done(context: Context) -> bool:
    return context.host.holds(_file(context))


def _do(context: Context) -> None:
    if context.host.read(SERVICE) is None:
        raise StepError(f"{SERVICE} is missing: this node has no sshd with PAM")
    context.host.put(_file(context))


STEP = Step(
    name="ssh-restriction",
    summary="let only users with a job log in",
    is_done=_is_done,
    do=_do,
    node_types=COMPUTE,
    is_wanted=lambda context: context.cluster.restrict_ssh_to_jobs,
)
