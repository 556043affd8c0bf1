"""Slurm Jobs: what runs, what waits and for how long, by partition and by user."""

from functools import partial

from cdk_slurm.dashboards import job_tables, job_times
from cdk_slurm.dashboards.identifiers import JOBS
from cdk_slurm.dashboards.job_times import FAILED, NO_SLURM, OLDEST, finished, queue
from cdk_slurm.dashboards.page import Dashboard, Line, Section, page
from cdk_slurm.dashboards.panels import number, time_series
from cdk_slurm.dashboards.queries import CLUSTER, PARTITIONS, in_range, lines, recently, value
from cdk_slurm.dashboards.styles import ANSWERS, COUNT, PENDING_SECONDS, STATE_COLOURS, ZERO_IS_BEST
from cdk_slurm.dashboards.variables import cluster, partitions

STATES = ("running", "completing", "configuring", "suspended", "pending")

several = partial(time_series, width=8, legend="table")


def dashboard() -> Dashboard:
    """Build it."""
    return page(
        uid=JOBS,
        description="Jobs that run, wait and have ended, by partition and by user, and how long that took.",
        variables=[cluster(), partitions()],
        top=_now(),
        sections=[
            Section("Queue", _queue()),
            Section("How long jobs wait and run", job_times.histograms()),
            Section("By partition and by user", [job_tables.tables()]),
            Section("Scheduler: Slurm's own metrics, of Slurm 25.11 and later", [job_tables.scheduler()]),
            Section("Our exporter", [job_tables.exporter()]),
        ],
    )


def _now() -> Line:
    return Line(
        4,
        number("Running", "Number of jobs that run now.", COUNT, value(queue("running")), absent=NO_SLURM),
        number(
            "Pending",
            "Number of jobs that wait now, for any reason.",
            COUNT,
            value(queue("pending")),
            absent=NO_SLURM,
        ),
        number(
            "Oldest pending job",
            "How long the job that waits longest has waited for resources: orange from 15 minutes, red from 30.",
            "s",
            value(f"max({OLDEST})"),
            thresholds=PENDING_SECONDS,
            absent=NO_SLURM,
        ),
        number(
            "Completed",
            "Number of jobs that completed in the time shown.",
            COUNT,
            value(in_range(finished("completed"))),
            decimals=0,
            absent="None yet",
        ),
        number(
            "Failed",
            "Number of jobs that failed in the time shown, by themselves, with a node, for time or memory.",
            COUNT,
            value(in_range(finished(FAILED))),
            thresholds=ZERO_IS_BEST,
            decimals=0,
            absent="None yet",
        ),
        number(
            "Mean wait",
            "Time from when a job could start to when it did, mean of those that started in the time shown.",
            "s",
            value(job_times.mean("wait", in_range)),
            absent="No job started",
        ),
        number(
            "Mean run",
            "Time from start to end, mean of the jobs that ended in the time shown.",
            "s",
            value(job_times.mean("run", in_range)),
            absent="No job ended",
        ),
        number(
            "Slurm",
            "Whether slurmctld answers our exporter: 1 if it does, 0 if not.",
            COUNT,
            value(f"min(slurm_up{{{CLUSTER}}})"),
            words=ANSWERS,
            absent=NO_SLURM,
        ),
    )


def _queue() -> list[Line]:
    running = f"slurm_queue_running{{{PARTITIONS}}}"
    pending = f"slurm_queue_pending{{{PARTITIONS}}}"
    return [
        Line(
            8,
            time_series(
                "Jobs by state",
                "Number of jobs in the queue by their state.",
                COUNT,
                *(lines(queue(state), state) for state in STATES),
                width=12,
                stacked=True,
                colours={state: STATE_COLOURS[state] for state in STATES},
                absent=NO_SLURM,
            ),
            time_series(
                "Jobs that ended",
                "Number of jobs that ended in each step (of five minutes or more), by how they ended.",
                COUNT,
                lines(f"{recently(finished('.+', 'state'))} > 0", "{{state}}"),
                width=12,
                bars=True,
                stacked=True,
                min_step=job_times.STEP,
                colours=STATE_COLOURS,
                absent="No job ended",
            ),
        ),
        Line(
            8,
            several(
                "Running by partition",
                "Number of running jobs by partition.",
                COUNT,
                lines(queue("running", "partition"), "{{partition}}"),
                stacked=True,
                absent=NO_SLURM,
            ),
            several(
                "Pending by partition",
                "Number of waiting jobs by partition; one that names several counts in the first.",
                COUNT,
                lines(queue("pending", "partition"), "{{partition}}"),
                stacked=True,
                absent=NO_SLURM,
            ),
            several(
                "Oldest pending job by partition",
                "How long the job that waits longest has waited for resources. Dashed: 15 and 30 minutes.",
                "s",
                lines(f"max by (partition) ({OLDEST})", "{{partition}}"),
                thresholds=PENDING_SECONDS,
                absent=NO_SLURM,
            ),
        ),
        Line(
            8,
            several(
                "Running by user",
                "Number of running jobs of the ten users with the most.",
                COUNT,
                lines(f"topk(10, sum by (user) ({running}))", "{{user}}"),
                stacked=True,
            ),
            several(
                "Pending by user",
                "Number of waiting jobs of the ten users with the most.",
                COUNT,
                lines(f"topk(10, sum by (user) ({pending}))", "{{user}}"),
                stacked=True,
            ),
            several(
                "Pending by reason",
                "Number of waiting jobs by the reason that Slurm gives.",
                COUNT,
                lines(f"topk(10, sum by (reason) ({pending}))", "{{reason}}"),
                stacked=True,
            ),
        ),
    ]
