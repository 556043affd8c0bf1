"""GPU Health: which GPUs are hot, slow, idle or broken, by node and by job."""

from functools import partial

from cdk_slurm.dashboards import gpu_errors, gpu_jobs
from cdk_slurm.dashboards.gpu_jobs import of_jobs
from cdk_slurm.dashboards.identifiers import GPU_HEALTH
from cdk_slurm.dashboards.page import Dashboard, Line, Section, page
from cdk_slurm.dashboards.panels import number, time_series
from cdk_slurm.dashboards.queries import NODES, lines, per_gpu, rate, rows, value
from cdk_slurm.dashboards.styles import COUNT, MEMORY_TEMPERATURE, SHARE_USED, TEMPERATURE, ZERO_IS_GOOD
from cdk_slurm.dashboards.tables import Column, listing, matrix
from cdk_slurm.dashboards.variables import cluster, nodes

NO_GPU = "No GPU reports"

TEMPERATURES = per_gpu("DCGM_FI_DEV_GPU_TEMP")
MEMORY_TEMPERATURES = per_gpu("DCGM_FI_DEV_MEMORY_TEMP")
POWER = per_gpu("DCGM_FI_DEV_POWER_USAGE")
USE = per_gpu("DCGM_FI_DEV_GPU_UTIL")
TENSOR = per_gpu("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")
FB_USED = per_gpu("DCGM_FI_DEV_FB_USED")
MEMORY = f"{FB_USED} / ({FB_USED} + {per_gpu('DCGM_FI_DEV_FB_FREE')})"
UNCORRECTABLE = f"{per_gpu('DCGM_FI_DEV_ECC_DBE_VOL_TOTAL')} + {per_gpu('DCGM_FI_DEV_ROW_REMAP_FAILURE')}"

#: Nodes of the tables: not all of a thousand travel to the browser every half minute.
HOTTEST = f"topk(50, max by (instance) (DCGM_FI_DEV_GPU_TEMP{{{NODES}}}))"

GPU = "{{instance}} GPU {{gpu}}"

gpu_number = partial(number, absent=NO_GPU)
gpu_lines = partial(time_series, absent=NO_GPU)
per_node = partial(time_series, legend="table", by_node=True)


def dashboard() -> Dashboard:
    """Build it."""
    return page(
        uid=GPU_HEALTH,
        description="Temperature, power, memory, use and errors of GPUs by node and by job, from NVIDIA's DCGM.",
        variables=[cluster(), nodes("dcgm")],
        top=_now(),
        sections=[
            Section("Temperature and power", _temperature()),
            Section("Use", _use()),
            Section("Errors", gpu_errors.errors()),
            gpu_jobs.by_job(),
            Section("Links between GPUs and to the host", gpu_errors.links()),
        ],
    )


def _now() -> Line:
    return Line(
        4,
        gpu_number("GPUs", "GPUs that report now.", COUNT, value(f"count({TEMPERATURES})")),
        gpu_number(
            "Hottest GPU",
            "Temperature of the hottest GPU in °C: orange from 75, red from 85, where an alert fires.",
            "celsius",
            value(f"max({TEMPERATURES})"),
            thresholds=TEMPERATURE,
        ),
        gpu_number(
            "Use",
            "Share of time in which GPUs ran anything, in percent, mean of all.",
            "percent",
            value(f"avg({USE})"),
            decimals=0,
        ),
        gpu_number(
            "Tensor cores",
            "Share of cycles in which tensor cores worked, in percent, mean of all: what training really takes.",
            "percentunit",
            value(f"avg({TENSOR})"),
            decimals=0,
        ),
        gpu_number(
            "Fullest memory",
            "Used share of the memory of the GPU with the least left, in percent.",
            "percentunit",
            value(f"max({MEMORY})"),
            decimals=0,
        ),
        gpu_number("Power", "Power that all GPUs draw together, in watts.", "watt", value(f"sum({POWER})"), decimals=1),
        gpu_number(
            "GPUs with an XID",
            "Number of GPUs whose driver reports an error (XID).",
            COUNT,
            value(f"sum({per_gpu('DCGM_FI_DEV_XID_ERRORS')} > bool 0)"),
            thresholds=ZERO_IS_GOOD,
        ),
        number(
            "Bad memory",
            "Number of GPUs with uncorrected memory errors or with rows that could not be remapped.",
            COUNT,
            value(f"sum(({UNCORRECTABLE}) > bool 0)"),
            thresholds=ZERO_IS_GOOD,
            absent=gpu_errors.NOT_REPORTED,
        ),
    )


def _temperature() -> list[Line]:
    columns = [Column(field=str(n), title=f"GPU {n}", unit="celsius", thresholds=TEMPERATURE) for n in range(8)]
    return [
        Line(
            9,
            gpu_lines(
                "Temperature of all GPUs",
                "The hottest GPU, the 95th percentile and the median, in °C. Dashed: 75 and 85 °C.",
                "celsius",
                lines(f"max({TEMPERATURES})", "hottest"),
                lines(f"quantile(0.95, {TEMPERATURES})", "95th percentile"),
                lines(f"quantile(0.5, {TEMPERATURES})", "median"),
                width=12,
                thresholds=TEMPERATURE,
            ),
            per_node(
                "Hottest GPUs",
                "Temperature of the ten hottest GPUs at each moment, in °C. Dashed: 75 and 85 °C.",
                "celsius",
                lines(f"topk(10, {TEMPERATURES})", GPU),
                width=12,
                thresholds=TEMPERATURE,
            ),
        ),
        Line(
            9,
            matrix(
                "Temperature by node and GPU",
                "Temperature of each GPU now, in °C, of the 50 nodes with the hottest: orange from 75, red from 85.",
                rows(f"{TEMPERATURES} and on (instance) {HOTTEST}"),
                width=12,
                row=gpu_errors.NODE,
                by="gpu",
                columns=columns,
                unit="celsius",
                absent=NO_GPU,
            ),
            listing(
                "Nodes",
                "GPUs of each node now, of the 50 nodes with the hottest: °C, watts; use in percent, mean of its GPUs.",
                rows(HOTTEST),
                *(
                    rows(f"{function} by (instance) ({expression}) and on (instance) {HOTTEST}")
                    for function, expression in (("sum", POWER), ("max", MEMORY), ("avg", USE), ("avg", TENSOR))
                ),
                width=12,
                columns=[
                    gpu_errors.NODE,
                    Column(field="Value #A", title="Hottest", unit="celsius", thresholds=TEMPERATURE, width_pixels=80),
                    Column(field="Value #B", title="Power", unit="watt", width_pixels=90),
                    Column(field="Value #C", title="Fullest memory", unit="percentunit", decimals=0, bar_up_to=1),
                    Column(field="Value #D", title="Use", unit="percent", decimals=0, bar_up_to=100),
                    Column(field="Value #E", title="Tensor cores", unit="percentunit", decimals=0, bar_up_to=1),
                ],
                sort_by="Hottest",
                absent=NO_GPU,
            ),
        ),
        Line(
            8,
            per_node(
                "Power by node",
                "Power that the GPUs of a node draw together, in watts: the ten nodes that draw most.",
                "watt",
                lines(f"topk(10, sum by (instance) ({POWER}))", "{{instance}}"),
                width=8,
            ),
            time_series(
                "Temperature of memory",
                "Memory of the GPU whose memory is hottest, and the median, in °C. Dashed: 85 and 95 °C.",
                "celsius",
                lines(f"max({MEMORY_TEMPERATURES})", "hottest"),
                lines(f"quantile(0.5, {MEMORY_TEMPERATURES})", "median"),
                width=8,
                thresholds=MEMORY_TEMPERATURE,
                absent=gpu_errors.NOT_REPORTED,
            ),
            time_series(
                "Slowed by heat or by the power limit",
                "Share of time in which the GPU that suffers most was slowed, in percent.",
                "percentunit",
                # DCGM counts nanoseconds.
                lines(f"max({rate(f'DCGM_FI_DEV_THERMAL_VIOLATION{{{NODES}}}')}) / 1e9", "heat"),
                lines(f"max({rate(f'DCGM_FI_DEV_POWER_VIOLATION{{{NODES}}}')}) / 1e9", "power limit"),
                width=8,
                colours={"heat": "red", "power limit": "orange"},
                absent=gpu_errors.NOT_REPORTED,
            ),
        ),
    ]


def _use() -> list[Line]:
    return [
        Line(
            8,
            gpu_lines(
                "What GPUs do",
                "Share of time in which GPUs ran anything, and in which their compute engine, tensor cores and memory"
                " worked, in percent, mean of all.",
                "percentunit",
                lines(f"avg({USE}) / 100", "anything"),
                lines(f"avg({per_gpu('DCGM_FI_PROF_GR_ENGINE_ACTIVE')})", "compute engine"),
                lines(f"avg({TENSOR})", "tensor cores"),
                lines(f"avg({per_gpu('DCGM_FI_PROF_DRAM_ACTIVE')})", "memory"),
                width=12,
                maximum=1,
            ),
            per_node(
                "Least busy nodes with jobs",
                "Tensor activity of a node's GPUs that jobs have, in percent, the ten lowest: they hold jobs up.",
                "percentunit",
                lines(f"bottomk(10, avg by (instance) ({of_jobs('DCGM_FI_PROF_PIPE_TENSOR_ACTIVE')}))", "{{instance}}"),
                width=12,
            ),
        ),
        Line(
            8,
            per_node(
                "Fullest memory by GPU",
                "Used share of the memory of the ten fullest GPUs, in percent. Dashed: 80 and 90 percent.",
                "percentunit",
                lines(f"topk(10, {MEMORY})", GPU),
                width=12,
                thresholds=SHARE_USED,
                maximum=1,
            ),
            per_node(
                "Slowest clocks",
                "Clock of the multiprocessors of the ten slowest GPUs of those that are busy, in MHz.",
                "rotmhz",
                lines(f"bottomk(10, {per_gpu('DCGM_FI_DEV_SM_CLOCK')} and {USE} > 50)", GPU),
                width=12,
            ),
        ),
    ]
