"""Alerts on GPUs, from NVIDIA's DCGM exporter."""

from cdk_slurm.alerts.alert import Alert
from cdk_slurm.alerts.promql import by_node, duration, lines, number, spoken
from cdk_slurm.alerts.xid import xid_alerts
from cdk_slurm.spec import AlertThresholds

_DASHBOARD = "cdk-slurm-gpu-health"

_IDLE_OVER_MINUTES = 5

#: The files are ASCII: not everything on the way to the service keeps what is not.
_CELSIUS = r'{{ "\u00b0C" }}'


def gpu_alerts(thresholds: AlertThresholds) -> tuple[Alert, ...]:
    """Return the alerts on GPUs."""
    return (
        _temperature_high(thresholds),
        *xid_alerts(),
        _thermal_violation(),
        _uncorrectable_ecc(),
        _row_remap_failure(),
        _idle(thresholds),
    )


def _temperature_high(thresholds: AlertThresholds) -> Alert:
    limit = number(thresholds.max_gpu_temperature_celsius)
    metric = by_node("DCGM_FI_DEV_GPU_TEMP")
    return Alert(
        name="GpuTemperatureHigh",
        severity="critical",
        expression=f"max by (cluster, node, gpu) ({metric}) > {limit}",
        for_minutes=thresholds.gpu_temperature_minutes,
        summary='GPU {{ $labels.gpu }} of {{ $labels.node }} is at {{ $value | printf "%.0f" }} ' + _CELSIUS,
        description=f"It has been above {limit} {_CELSIUS} for {spoken(thresholds.gpu_temperature_minutes)}. "
        "A GPU this hot slows itself down, and every GPU of its job waits for it.",
        action="See in the dashboard whether one GPU is hot or all of the node. Keep new jobs off the node (drain it), "
        "let the running one reach a checkpoint, and replace the node if it is hot again under another job.",
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _thermal_violation() -> Alert:
    # DCGM counts nanoseconds (dcgm_fields.h of DCGM 4).
    slowed = f"{by_node('increase(DCGM_FI_DEV_THERMAL_VIOLATION[5m])')} / 1e9"
    return Alert(
        name="GpuThermalViolation",
        severity="warning",
        expression=f"max by (cluster, node, gpu) ({slowed}) > 0",
        for_minutes=5,
        summary="GPU {{ $labels.gpu }} of {{ $labels.node }} slows down for heat",
        description="Heat kept its clock down for {{ $value | humanizeDuration }} of the last 5 minutes, and did so "
        "for 5 minutes before. Its job is as slow as its slowest GPU.",
        action="Compare the temperatures of the node's GPUs in the dashboard. If the node stays slow under another "
        "job, drain and replace it.",
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _uncorrectable_ecc() -> Alert:
    # The error ends the job, and with the job's label the series. So the increase is that of the GPU.
    count = "max by (cluster, instance, gpu) (DCGM_FI_DEV_ECC_DBE_VOL_TOTAL)"
    return Alert(
        name="GpuUncorrectableEcc",
        severity="critical",
        expression=f"max by (cluster, node, gpu) ({by_node(f'increase({count}[1h:1m])')}) > 0",
        summary="GPU {{ $labels.gpu }} of {{ $labels.node }} has uncorrectable memory errors",
        description='{{ $value | printf "%.0f" }} in the last hour. What a program computed with that memory is lost; '
        "the driver ends the program. This notice ends an hour after the last error.",
        action="Drain the node and reboot it, which resets the GPU: "
        'scontrol update nodename=NODE state=fail reason="Action:Reboot". After a second error replace it '
        "(Action:Replace). Restart the job from its checkpoint.",
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _row_remap_failure() -> Alert:
    return Alert(
        name="GpuRowRemapFailure",
        severity="critical",
        expression=f"max by (cluster, node, gpu) ({by_node('DCGM_FI_DEV_ROW_REMAP_FAILURE')}) > 0",
        summary="GPU {{ $labels.gpu }} of {{ $labels.node }} cannot replace bad memory any more",
        description="It has no spare rows left for a bad one. The next memory error there ends a job.",
        action="Drain the node, let the running job end, and replace the node: "
        'scontrol update nodename=NODE state=fail reason="Action:Replace".',
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )


def _idle(thresholds: AlertThresholds) -> Alert:
    limit, window = number(thresholds.idle_gpu_percent), duration(_IDLE_OVER_MINUTES)
    minutes = thresholds.idle_gpu_hours * 60
    of_any, of_job = "DCGM_FI_DEV_GPU_UTIL", 'DCGM_FI_DEV_GPU_UTIL{hpc_job!=""}'
    # An average over a past that a series no longer has ("and" with what it is now) would outlive the job. Where no
    # GPU of a node says whose it is, Slurm says how many are given away: those that are not busy are idle.
    return Alert(
        name="GpusIdle",
        severity="info",
        expression=lines(f"""
            count by (cluster, node, hpc_job) (
              {by_node(f"(avg_over_time({of_job}[{window}]) < {limit} and {of_job})")}
            )
            or (
              max by (cluster, node) (slurm_node_allocated_gpus)
              - on (cluster, node) sum by (cluster, node) (
                {by_node(f"(avg_over_time({of_any}[{window}]) >= bool {limit} and {of_any})")}
              )
              > 0
              unless on (cluster, node) {by_node(of_job)}
            )
        """),
        for_minutes=minutes,
        summary="{{ $value }} allocated GPU{{ if gt $value 1.0 }}s{{ end }} of {{ $labels.node }} idle"
        "{{ if $labels.hpc_job }} (job {{ $labels.hpc_job }}){{ end }}",
        description=f"Slurm has given them to a job, and they have been busy for less than {limit} % of the time for "
        f"{spoken(minutes)}. Nobody else can use them meanwhile.",
        action="Ask the job's owner (squeue -w NODE) whether it hangs, waits for data, or asks for more GPUs than it "
        "uses. scancel JOB frees them.",
        dashboard=_DASHBOARD,
        dashboard_labels=("node",),
    )
