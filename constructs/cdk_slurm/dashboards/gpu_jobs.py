"""The part of GPU Health that goes by job: DCGM names the job of a GPU in the label `hpc_job`."""

from functools import partial

from cdk_slurm.dashboards.page import Line, Section
from cdk_slurm.dashboards.panels import time_series
from cdk_slurm.dashboards.queries import NODES, lines, rows
from cdk_slurm.dashboards.styles import SHARE_USED, TEMPERATURE
from cdk_slurm.dashboards.tables import Column, listing

NO_JOB = "No job has a GPU"


def by_job() -> Section:
    """A table of the jobs that have GPUs, and what they make of them over time."""
    temperature = of_jobs("DCGM_FI_DEV_GPU_TEMP")
    used = of_jobs("DCGM_FI_DEV_FB_USED")
    memory = f"{used} / ({used} + {of_jobs('DCGM_FI_DEV_FB_FREE')})"
    jobs = listing(
        "Jobs",
        "Jobs that have GPUs now: use and tensor activity in percent, mean; fullest memory; °C; watts, sum.",
        rows(f"count by (hpc_job) ({temperature})"),
        rows(f"count by (hpc_job) (count by (hpc_job, instance) ({temperature}))"),
        rows(f"avg by (hpc_job) ({of_jobs('DCGM_FI_DEV_GPU_UTIL')})"),
        rows(f"avg by (hpc_job) ({of_jobs('DCGM_FI_PROF_PIPE_TENSOR_ACTIVE')})"),
        rows(f"max by (hpc_job) ({memory})"),
        rows(f"max by (hpc_job) ({temperature})"),
        rows(f"sum by (hpc_job) ({of_jobs('DCGM_FI_DEV_POWER_USAGE')})"),
        width=12,
        columns=[
            Column(field="hpc_job", title="Job", width_pixels=80),
            Column(field="Value #A", title="GPUs", width_pixels=60),
            Column(field="Value #B", title="Nodes", width_pixels=65),
            Column(field="Value #C", title="Use", unit="percent", decimals=0, bar_up_to=100),
            Column(field="Value #D", title="Tensor cores", unit="percentunit", decimals=0, bar_up_to=1),
            Column(field="Value #E", title="Fullest memory", unit="percentunit", decimals=0, bar_up_to=1),
            Column(field="Value #F", title="Hottest", unit="celsius", thresholds=TEMPERATURE, width_pixels=80),
            Column(field="Value #G", title="Power", unit="watt", width_pixels=85),
        ],
        sort_by="GPUs",
        absent=NO_JOB,
    )
    use = f"avg by (hpc_job) ({of_jobs('DCGM_FI_DEV_GPU_UTIL')})"
    job_lines = partial(time_series, width=12, legend="table")
    return Section(
        "By job",
        [
            Line(
                8,
                jobs,
                job_lines(
                    "Use by job",
                    "Use of a job's GPUs, in percent, mean of them: the ten jobs that use theirs least.",
                    "percent",
                    lines(f"bottomk(10, {use})", "job {{hpc_job}}"),
                    maximum=100,
                ),
            ),
            Line(
                7,
                job_lines(
                    "Memory by job",
                    "Used share of the fullest memory of a job's GPUs, in percent: the ten fullest.",
                    "percentunit",
                    lines(f"topk(10, max by (hpc_job) ({memory}))", "job {{hpc_job}}"),
                    thresholds=SHARE_USED,
                    maximum=1,
                ),
                job_lines(
                    "Temperature by job",
                    "Hottest of a job's GPUs, in °C: the ten hottest jobs. Dashed: 75 and 85 °C.",
                    "celsius",
                    lines(f"topk(10, max by (hpc_job) ({temperature}))", "job {{hpc_job}}"),
                    thresholds=TEMPERATURE,
                ),
            ),
        ],
    )


def of_jobs(metric: str) -> str:
    """Series of GPUs that a job has."""
    return f'{metric}{{{NODES},hpc_job!=""}}'
