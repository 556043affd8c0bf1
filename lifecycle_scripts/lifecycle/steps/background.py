"""Keeps what the node needs of the lifecycle when its entry script has ended.

On controllers of the legacy form that is the partition keeper; in form `api` the steps that had to wait for Slurm; with
metrics the exporters, on all nodes.
"""

from lifecycle import parts, units
from lifecycle.host import File, all_held
from lifecycle.library import PROGRAM, PROMETHEUS_CLIENT, library_files, wheel
from lifecycle.runner import BACKGROUND_REPORT_FILE
from lifecycle.step import Context, Step

UNIT = "cdk-slurm-background.service"

_UNIT_FILE = File(
    f"/etc/systemd/system/{UNIT}",
    "[Unit]\nDescription=What cdk-slurm does once HyperPod has started Slurm\nAfter=network-online.target\n\n"
    # The steps themselves wait and try again; a report tells how they ended.
    f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={PROGRAM} --background\n",
)


def _library_files(context: Context) -> list[File]:
    return library_files(context.host, exporters=context.cluster.metrics is not None)


def _library_is_done(context: Context) -> bool:
    host = context.host
    return all_held(host, _library_files(context)) and (
        context.cluster.metrics is None or parts.is_part(host, wheel(host), PROMETHEUS_CLIENT)
    )


def _library_do(context: Context) -> None:
    host = context.host
    for file in _library_files(context):
        host.put(file)
    if context.cluster.metrics and not parts.is_part(host, wheel(host), PROMETHEUS_CLIENT):
        host.copy(parts.find_part(host, PROMETHEUS_CLIENT), wheel(host))


LIBRARY = Step(
    name="library",
    summary="keep a copy of these scripts",
    is_done=_library_is_done,
    do=_library_do,
    is_wanted=lambda context: (
        not context.cluster.legacy or context.node.node_type == "controller" or context.cluster.metrics is not None
    ),
)


def _is_done(context: Context) -> bool:
    return context.host.holds(_UNIT_FILE) and units.is_running(context.host, UNIT)


def _do(context: Context) -> None:
    context.host.put(_UNIT_FILE)
    units.reload(context.host)
    context.host.remove(BACKGROUND_REPORT_FILE)
    context.host.run("systemctl", "restart", "--no-block", UNIT)


STEP = Step(
    name="background",
    summary="do the rest when HyperPod has started Slurm",
    is_done=_is_done,
    do=_do,
    is_wanted=lambda context: not context.cluster.legacy,
)
