"""Alerts on XIDs, the numbers by which NVIDIA's driver reports errors: of programs, of memory, of the rest of a GPU."""

from cdk_slurm.alerts.alert import Alert
from cdk_slurm.alerts.promql import by_node, lines

_DASHBOARD = "cdk-slurm-gpu-health"

#: Errors of programs, after which the GPU is as good as before. 13: exception in the graphics engine, 31: page fault,
#: 43: stopped processing, 45: cleaned up after an earlier error, 68: exception in the video processor, 109: context
#: switch timed out. https://github.com/NVIDIA/k8s-device-plugin/blob/v0.17.1/internal/rm/health.go
APPLICATION_XIDS = (13, 31, 43, 45, 68, 109)

#: Memory errors that the GPU has contained; it wants a reset at the next opportunity. 63: a row was remapped, 92: many
#: single-bit errors, 94: contained. https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
MEMORY_XIDS = (63, 92, 94)

#: One series for each GPU: several jobs on one GPU are several series, and a job's end is the end of a series.
_XID = "max by (cluster, instance, gpu) (DCGM_FI_DEV_XID_ERRORS)"


def xid_alerts() -> tuple[Alert, ...]:
    """Return the alerts on XIDs."""
    return (_xid_error(), _xid_memory_error(), _xid_application_error())


def _xid_error() -> Alert:
    # DCGM shows the last XID only, and shows it until the driver is loaded anew. A broken GPU kills its job, whose
    # processes then add XID 45 each: a quarter of an hour is looked back on, so that 79 behind 45 is not overlooked.
    seen = f"max_over_time(({_XID} > 0{_none_of(APPLICATION_XIDS + MEMORY_XIDS)})[15m:15s])"
    return Alert(
        name="GpuXidError",
        severity="critical",
        expression=f"max by (cluster, node, gpu) ({by_node(seen)})",
        summary="GPU {{ $labels.gpu }} of {{ $labels.node }} reports XID {{ $value }}",
        description="XID {{ $value }} is none of those that programs cause: the GPU, its NVLink or PCIe connection, "
        "or its driver has failed. It stays until the GPU is reset or the node is replaced.",
        action="Drain the node, read the XID's meaning in the runbook, and replace the node: "
        'scontrol update nodename=NODE state=fail reason="Action:Replace". Restart the job from its checkpoint.',
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _xid_memory_error() -> Alert:
    return Alert(
        name="GpuXidMemoryError",
        severity="warning",
        expression=f"max by (cluster, node, gpu) ({by_node(_any_of(MEMORY_XIDS))})",
        summary="GPU {{ $labels.gpu }} of {{ $labels.node }} contained a memory error (XID {{ $value }})",
        description="XID {{ $value }}: the GPU took a bad row of its memory out of use, or is about to. "
        "Other jobs are not affected. It stays until the GPU is reset or the node reboots.",
        action="Let the running job end and reboot the node, which resets the GPU: "
        'scontrol update nodename=NODE state=fail reason="Action:Reboot". If it comes back within days, replace the '
        "node.",
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _xid_application_error() -> Alert:
    # The last XID stays, so only what was another one, or none, an hour ago is news. A second XID 31 after a first
    # cannot be told from it.
    return Alert(
        name="GpuXidApplicationError",
        severity="info",
        expression=lines(f"""
            max by (cluster, node, gpu) (
              {by_node(f"({_any_of(APPLICATION_XIDS)} unless ({_XID} == ({_offset_xid()})))")}
            )
        """),
        summary="A program failed on GPU {{ $labels.gpu }} of {{ $labels.node }} (XID {{ $value }})",
        description="XID {{ $value }} is most often a fault of the program: an address out of bounds, an illegal "
        "instruction, or a process killed. This notice ends an hour after the error.",
        action="Nothing to do for the cluster. The job's owner looks at its log. If programs that run well elsewhere "
        "fail on this GPU again and again, treat it as GpuXidError.",
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _none_of(xids: tuple[int, ...]) -> str:
    return "".join(f" != {xid}" for xid in xids)


def _any_of(xids: tuple[int, ...]) -> str:
    return f"({_XID} > 0 unless ({_XID}{_none_of(xids)}))"


def _offset_xid() -> str:
    return _XID.replace("ERRORS", "ERRORS offset 1h")
