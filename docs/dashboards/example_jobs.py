"""What our Slurm exporter says of the example's jobs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from example_nodes import COUNT, RANDOM, STEP_SECONDS, Labels, Series, steady

NEVER = math.inf
USERS = ("alice", "bob", "carol", "dan")
BOUNDS = {
    "wait": (10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200, math.inf),
    "run": (10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800, math.inf),
}


@dataclass(frozen=True)
class Job:
    """A job, with times in seconds since the beginning."""

    user: str
    partition: str
    submitted: float
    started: float = NEVER
    ended: float = NEVER
    state: str = "completed"


def jobs_in_slurm() -> Iterator[Series]:
    """All series about jobs."""
    jobs = list(_jobs())
    for partition in ("dev", "p5", "g5"):
        here = [job for job in jobs if job.partition == partition]
        own: Labels = {"partition": partition}
        for name, labels, values in (*_queue(here), *_times(here)):
            yield name, own | labels, values
        for user in USERS:
            for name, labels, values in _of_user([job for job in here if job.user == user]):
                yield name, own | {"user": user} | labels, values
    yield "slurm_up", {}, [1.0] * COUNT
    yield "up", {}, [1.0] * COUNT
    for source, seconds in (("jobs", 0.05), ("nodes", 0.03)):
        yield "slurm_exporter_look_seconds", {"source": source}, steady(seconds, 0.1)
        yield "slurm_exporter_failures_total", {"source": source}, [0.0] * COUNT


def _jobs() -> Iterator[Job]:
    yield from (Job("alice", "p5", 0, 30), Job("bob", "p5", 900, 3750), Job("carol", "g5", 0, 20))
    yield from (Job("dan", "p5", 8200), Job("bob", "p5", 9300))
    for partition, every, wait, run in (("dev", 90, 25, 240), ("g5", 260, 180, 900)):
        at = 0.0
        while (at := at + RANDOM.expovariate(1 / every)) < COUNT * STEP_SECONDS:
            start = at + 1 + RANDOM.expovariate(1 / wait)
            end = start + RANDOM.lognormvariate(0, 1) * run
            state = RANDOM.choices(("completed", "failed", "cancelled", "out_of_memory"), (88, 6, 4, 2))[0]
            yield Job(RANDOM.choice(USERS), partition, at, start, end, state)


def _queue(jobs: list[Job]) -> Iterator[Series]:
    for state in ("running", "pending", "suspended", "configuring", "completing"):
        yield "slurm_queue_jobs", {"state": state}, _counted(jobs, state)
    waits = [[now - job.submitted for job in jobs if job.submitted <= now < job.started] for now in _moments()]
    yield "slurm_oldest_pending_job_seconds", {}, [max(one, default=0) for one in waits]


def _of_user(jobs: list[Job]) -> Iterator[Series]:
    for state, labels in (("running", {}), ("pending", {"reason": "Resources"})):
        yield f"slurm_queue_{state}", {**labels}, [count or math.nan for count in _counted(jobs, state)]
    for state in ("completed", "failed", "cancelled", "timeout", "node_fail", "out_of_memory"):
        yield "slurm_jobs_finished_total", {"state": state}, _since([job.ended for job in jobs if job.state == state])


def _times(jobs: list[Job]) -> Iterator[Series]:
    spans = {
        "wait": [(job.started, job.started - job.submitted) for job in jobs if job.started < NEVER],
        "run": [(job.ended, job.ended - job.started) for job in jobs if job.ended < NEVER],
    }
    for kind, over in spans.items():
        name = f"slurm_job_{kind}_seconds"
        for bound in BOUNDS[kind]:
            label = "+Inf" if bound == math.inf else f"{bound:.1f}"
            yield f"{name}_bucket", {"le": label}, _since([moment for moment, span in over if span <= bound])
        yield f"{name}_count", {}, _since([moment for moment, _ in over])
        yield f"{name}_sum", {}, [sum(span for moment, span in over if moment <= now) for now in _moments()]


def _counted(jobs: list[Job], state: str) -> list[float]:
    spans = {"running": [(job.started, job.ended) for job in jobs], "pending": [(j.submitted, j.started) for j in jobs]}
    return [float(sum(begin <= now < end for begin, end in spans.get(state, []))) for now in _moments()]


def _since(moments: list[float]) -> list[float]:
    return [float(sum(moment <= now for moment in moments)) for now in _moments()]


def _moments() -> range:
    return range(0, COUNT * STEP_SECONDS, STEP_SECONDS)
