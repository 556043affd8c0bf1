"""Counts starts and ends of jobs, each once, also over restarts of the exporter."""

import json
import logging
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from exporters.slurm.jobs import FINISHED_STATES, Job
from lifecycle.host import Host

WAIT_BUCKETS_SECONDS = (10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200)
RUN_BUCKETS_SECONDS = (10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800)

_FILE_VERSION = 1

log = logging.getLogger(__name__)


@dataclass
class Histogram:
    """How many observations were in each bucket, the last of them being above all bounds, and their sum."""

    bounds: tuple[int, ...]
    counts: list[int] = field(init=False)
    sum: float = 0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value; a clock that was set back does not make it negative."""
        value = max(0, value)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass
class Counts:
    """What has been counted since the exporter started, or took charge."""

    waits: dict[str, Histogram] = field(default_factory=dict)
    """By partition."""
    runs: dict[str, Histogram] = field(default_factory=dict)
    """By partition."""
    finished: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """By partition and user, and then by state: all states of whoever has had a job."""

    def know_partition(self, partition: str) -> None:
        """Have histograms of the partition, if empty ones."""
        self.waits.setdefault(partition, Histogram(WAIT_BUCKETS_SECONDS))
        self.runs.setdefault(partition, Histogram(RUN_BUCKETS_SECONDS))

    def know_user(self, partition: str, user: str) -> None:
        """Have counters of a user in a partition, before the first of their jobs ends.

        A counter that begins with 1 has, for Prometheus, never increased.
        """
        self.finished.setdefault((partition, user), dict.fromkeys(FINISHED_STATES, 0))


_STARTED, _PUT_BACK, _FINISHED = 0, 1, 2


class _Mark(NamedTuple):
    """What is counted of a job: the start of its last run, where that was, and what came of it."""

    start: int
    outcome: int
    partition: str


class Tally:
    """Turns one look after the other into counts.

    A job is in slurmctld for a while after its end (`MinJobAge`, 300 s unless set), so that looks which are closer than
    that see every end. What is counted of each is kept in a file, which is written before anything is told; it forgets
    jobs when slurmctld has. Counts themselves begin with 0 in a new process, which Prometheus expects of counters.

    Without the file (the first start) what happened before `now` is not counted: it was not seen.
    """

    def __init__(self, file: Path, *, now: float) -> None:
        self.counts = Counts()
        self._file, self._is_written, self._has_complained = file, False, False
        marks = _read(file)
        self._marks = marks or {}
        self._since = int(now) if marks is None else 0

    def look(self, jobs: Iterable[Job], *, now: float, is_whole: bool = True) -> None:
        """Count what happened since the last look; unless the list has gaps, jobs that are not in it are forgotten."""
        former = self._marks
        self._marks = {} if is_whole else dict(former)
        for job in jobs:
            self.counts.know_partition(job.partition)
            self.counts.know_user(job.partition, job.user)
            if mark := self._judge(job, former.get(job.id), now):
                self._marks[job.id] = mark
        if self._marks != former or not self._is_written:
            self._write()

    def forget_counts(self) -> None:
        """Begin with 0 again, and go on from there: until now somebody else has counted."""
        self.counts = Counts()

    def _judge(self, job: Job, mark: _Mark | None, now: float) -> _Mark | None:
        """Count what is new of a job, and return what is counted of it then."""
        if job.state in ("configuring", "completing"):
            # Neither has begun nor ended, and Slurm is going to give other times: the start of a job that was put
            # back into the queue is, until its nodes are free, the moment when it was.
            return mark
        is_finished = job.state in FINISHED_STATES
        has_run = job.start is not None and job.state != "pending" and (job.has_nodes or not is_finished)
        start = int(job.start or 0)
        if mark and mark.outcome == _STARTED and not (has_run and mark.start == start):
            self._count_run(mark, _when_put_back(job, mark.start, has_run, now))
            mark = mark._replace(outcome=_PUT_BACK)
        if has_run and (mark is None or mark.start != start):
            mark = _Mark(start, _STARTED, job.partition)
            self._count_wait(job, mark)
        if not is_finished:
            return mark
        if mark and mark.outcome == _STARTED and job.end is not None:
            self._count_run(mark, job.end)
        if mark is None or mark.outcome != _FINISHED or mark.start != start:
            self._count_finish(job, now)
        return _Mark(start, _FINISHED, job.partition)

    def _count_wait(self, job: Job, mark: _Mark) -> None:
        since = job.eligible if job.eligible is not None else job.submit
        if since is not None and mark.start >= self._since:
            self.counts.waits[mark.partition].observe(mark.start - since)

    def _count_run(self, mark: _Mark, end: float) -> None:
        if end >= self._since:
            self.counts.know_partition(mark.partition)
            self.counts.runs[mark.partition].observe(end - mark.start)

    def _count_finish(self, job: Job, now: float) -> None:
        if (now if job.end is None else job.end) >= self._since:
            self.counts.finished[job.partition, job.user][job.state] += 1

    def _write(self) -> None:
        text = json.dumps({"version": _FILE_VERSION, "jobs": self._marks}, separators=(",", ":"))
        try:
            Host().write(str(self._file.absolute()), text + "\n")
        except OSError as error:
            self._is_written = False
            if not self._has_complained:
                log.error("%s cannot be written, a restart would count jobs again: %s", self._file, error)
            self._has_complained = True
        else:
            self._is_written, self._has_complained = True, False


def _when_put_back(job: Job, former_start: int, has_run: bool, now: float) -> float:
    """Return when a job's former run ended, after which it was put back into the queue."""
    # That sets the time of its submission.
    if job.submit is not None and job.submit > former_start:
        return job.submit
    if job.state in FINISHED_STATES and job.end is not None:
        return job.end
    return job.start if has_run and job.start is not None else now


def _read(file: Path) -> dict[str, _Mark] | None:
    """Return the marks, or None where there is no file that can be used."""
    try:
        content: Any = json.loads(file.read_text("utf-8"))
        if content["version"] != _FILE_VERSION:
            raise ValueError(f"it has version {content['version']}")
        return {
            id: _Mark(int(start), int(outcome), str(partition))
            for id, (start, outcome, partition) in content["jobs"].items()
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is left aside: %s", file, error)
        return None
