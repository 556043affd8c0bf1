"""How many jobs there are, and how long they wait and run: histograms that our exporter counts."""

from collections.abc import Callable
from typing import Literal

from grafana_foundation_sdk.models.dashboard import Panel

from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import bars, buckets_heatmap, time_series
from cdk_slurm.dashboards.queries import PARTITIONS, buckets, buckets_over_time, in_range, lines, recently
from cdk_slurm.dashboards.styles import COUNT, NEUTRAL

Time = Literal["wait", "run"]

NO_SLURM = "Slurm's exporter does not report"

#: States in which a job ended that was to go on.
FAILED = "failed|timeout|node_fail|out_of_memory|boot_fail|deadline"

OLDEST = f"slurm_oldest_pending_job_seconds{{{PARTITIONS}}}"

#: A step of panels about jobs that start or end: they do so now and then.
STEP = "5m"

#: Ends of the exporter's buckets.
BOUNDS_SECONDS: dict[Time, tuple[int, ...]] = {
    "wait": (10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200),
    "run": (10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800),
}

MEANING: dict[Time, tuple[str, str]] = {
    "wait": ("from when a job could start to when it did", "No job started"),
    "run": ("from a job's start to its end", "No job ended"),
}


def queue(state: str, *by: str) -> str:
    """Jobs in the queue in this state."""
    jobs = f'(slurm_queue_jobs{{{PARTITIONS},state="{state}"}})'
    return f"sum by ({', '.join(by)}) {jobs}" if by else f"sum{jobs}"


def finished(states: str, *by: str) -> str:
    """Jobs that ended in these states: a counter."""
    jobs = f'(slurm_jobs_finished_total{{{PARTITIONS},state=~"{states}"}})'
    return f"sum by ({', '.join(by)}) {jobs}" if by else f"sum{jobs}"


def mean(time: Time, increase: Callable[[str], str], *by: str) -> str:
    """Mean time, where `increase` tells over what."""
    total, count = (
        increase(f"sum by ({', '.join(by)}) (slurm_job_{time}_seconds_{part}{{{PARTITIONS}}})")
        for part in ("sum", "count")
    )
    # Nothing, where nothing started or ended: that is no number, which no comparison lets through.
    return f"{total} / {count} >= 0"


def quantile(share: float, time: Time, increase: Callable[[str], str]) -> str:
    """Time that this share of a partition's jobs did not exceed."""
    of_buckets = increase(f"sum by (partition, le) (slurm_job_{time}_seconds_bucket{{{PARTITIONS}}})")
    return f"histogram_quantile({share}, {of_buckets}) >= 0"


def histograms() -> list[Line]:
    """A line for each of the two times."""
    return [Line(10, *_panels("wait", "Waiting time")), Line(10, *_panels("run", "Run time"))]


def _panels(time: Time, title: str) -> list[Panel]:
    meaning, absent = MEANING[time]
    counted = f"sum by (le) (slurm_job_{time}_seconds_bucket{{{PARTITIONS}}})"
    return [
        bars(
            title,
            f"Number of jobs by time {meaning}, of those in the time shown.",
            COUNT,
            buckets(in_range(counted)),
            width=6,
            thresholds=NEUTRAL,
            decimals=0,
            bucket_bounds_seconds=BOUNDS_SECONDS[time],
            absent=absent,
        ),
        buckets_heatmap(
            f"{title} over time",
            f"Number of jobs by time {meaning}, in each step: the more jobs, the brighter.",
            buckets_over_time(recently(counted)),
            width=6,
            min_step=STEP,
            absent=absent,
        ),
        time_series(
            f"{title}: median and 95 %",
            f"Time {meaning} that half and 95 % of a partition's jobs did not exceed, in each step, in seconds.",
            "s",
            lines(quantile(0.5, time, recently), "{{partition}}, median"),
            lines(quantile(0.95, time, recently), "{{partition}}, 95 %"),
            width=6,
            min_step=STEP,
            absent=absent,
        ),
        time_series(
            f"{title}: mean",
            f"Time {meaning}, mean of a partition's jobs in each step, in seconds.",
            "s",
            lines(mean(time, recently, "partition"), "{{partition}}"),
            width=6,
            min_step=STEP,
            absent=absent,
        ),
    ]
