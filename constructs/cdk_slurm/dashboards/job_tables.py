"""The parts of Slurm Jobs with tables, and about the scheduler and our exporter."""

from functools import partial

from cdk_slurm.dashboards import job_times
from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import time_series
from cdk_slurm.dashboards.queries import CLUSTER, PARTITIONS, in_range, lines, rate, rows
from cdk_slurm.dashboards.styles import COUNT, PENDING_SECONDS, WORSE_FROM_ONE
from cdk_slurm.dashboards.tables import Column, listing

NO_OPENMETRICS = "Slurm older than 25.11, or without MetricsType"


def tables() -> Line:
    """A row for each partition, and one for each user."""
    partition = ("partition",)
    return Line(
        8,
        listing(
            "Partitions",
            "Jobs of each partition now, and times in seconds of jobs that started or ended in the time shown.",
            rows(job_times.queue("running", "partition")),
            rows(job_times.queue("pending", "partition")),
            rows(f"max by (partition) ({job_times.OLDEST})"),
            rows(job_times.quantile(0.5, "wait", in_range)),
            rows(job_times.quantile(0.95, "wait", in_range)),
            rows(job_times.mean("run", in_range, *partition)),
            rows(in_range(job_times.finished("completed", *partition))),
            rows(in_range(job_times.finished(job_times.FAILED, *partition))),
            width=15,
            columns=[
                Column(field="partition", title="Partition"),
                Column(field="Value #A", title="Running"),
                Column(field="Value #B", title="Pending"),
                Column(field="Value #C", title="Oldest", unit="s", thresholds=PENDING_SECONDS),
                Column(field="Value #D", title="Wait, median", unit="s"),
                Column(field="Value #E", title="Wait, 95 %", unit="s"),
                Column(field="Value #F", title="Run, mean", unit="s"),
                Column(field="Value #G", title="Completed", decimals=0),
                Column(field="Value #H", title="Failed", decimals=0, thresholds=WORSE_FROM_ONE),
            ],
            sort_by="Pending",
            absent=job_times.NO_SLURM,
        ),
        listing(
            "Users",
            "Number of jobs of each user: now, and ended in the time shown.",
            rows(f"sum by (user) (slurm_queue_running{{{PARTITIONS}}})"),
            rows(f"sum by (user) (slurm_queue_pending{{{PARTITIONS}}})"),
            rows(in_range(job_times.finished("completed", "user"))),
            rows(in_range(job_times.finished(job_times.FAILED, "user"))),
            width=9,
            columns=[
                Column(field="user", title="User"),
                Column(field="Value #A", title="Running"),
                Column(field="Value #B", title="Pending"),
                Column(field="Value #C", title="Completed", decimals=0),
                Column(field="Value #D", title="Failed", decimals=0, thresholds=WORSE_FROM_ONE),
            ],
            sort_by="Running",
            absent="No job since the exporter started",
        ),
    )


def scheduler() -> Line:
    """Slurm's own metrics."""

    def own(metric: str) -> str:
        return f'max({metric}{{{CLUSTER},job="slurmctld"}})'

    panel = partial(time_series, width=8, absent=NO_OPENMETRICS)
    return Line(
        7,
        panel(
            "Scheduling cycles",
            "Mean length of a cycle of the main scheduler and of the backfill scheduler, in microseconds.",
            "µs",
            lines(own("slurm_sched_mean_cycle"), "main"),
            lines(own("slurm_bf_mean_cycle"), "backfill"),
        ),
        panel(
            "Jobs to be scheduled",
            "Number of jobs in the scheduler's queue.",
            COUNT,
            lines(own("slurm_schedule_queue_len"), "queue"),
        ),
        panel(
            "Threads of slurmctld",
            "Number of threads that answer requests now: many when clients ask faster than it can answer.",
            COUNT,
            lines(own("slurm_server_thread_cnt"), "threads"),
        ),
    )


def exporter() -> Line:
    """How our exporter fares."""
    return Line(
        6,
        time_series(
            "Time to look",
            "How long our exporter's last look at Slurm took, in seconds.",
            "s",
            lines(f"max by (source) (slurm_exporter_look_seconds{{{CLUSTER}}})", "{{source}}"),
            width=12,
            absent=job_times.NO_SLURM,
        ),
        time_series(
            "Failed looks",
            "Looks at Slurm that failed, a second.",
            "cps",
            lines(f"sum by (source) ({rate(f'slurm_exporter_failures_total{{{CLUSTER}}}')})", "{{source}}"),
            width=12,
            at_least=1,
            absent=job_times.NO_SLURM,
        ),
    )
