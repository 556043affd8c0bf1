"""Looks at Slurm when it is scraped, and tells what it has found."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from prometheus_client import Metric

from exporters.looks import Complaint, LookingCollector
from exporters.slurm import jobs, nodes
from exporters.slurm.charge import controllers, who_is_in_charge
from exporters.slurm.groups import Groups
from exporters.slurm.metrics import counters, of_jobs, of_nodes, of_sources
from exporters.slurm.tally import Tally
from lifecycle.errors import StepError
from lifecycle.host import Host

#: A look or two may fail without a gap in every graph; what is older is not told any more.
MAX_AGE_SECONDS = 60

T = TypeVar("T")
log = logging.getLogger(__name__)


class Source(Generic[T]):
    """A command that slurmctld answers, and what it said when it last did."""

    def __init__(self, command: tuple[str, ...], parse: Callable[[str], tuple[list[T], list[str]]]) -> None:
        self.found: list[T] = []
        self.is_whole = False
        """Whether every line of it was understood."""
        self.answered = False
        """Whether it did at the last look."""
        self.seconds = 0.0
        """How long that took."""
        self.failures = 0
        self._command, self._parse = command, parse
        self._answered_at: float | None = None
        self._complaint = Complaint(log)

    def look(self, host: Host, timeout_seconds: float) -> None:
        """Ask; a failure is counted and leaves what was found before."""
        start = time.monotonic()
        self.answered, complaint = False, ""
        try:
            text = host.run(*self._command, timeout_seconds=timeout_seconds, environment=jobs.ENVIRONMENT)
        except StepError as error:
            complaint = str(error)
        else:
            found, strange = self._parse(text)
            if strange:
                complaint = f"{self._command[0]} says what is not understood: {jobs.first_lines(strange)}"
            if found or not strange:
                self.found, self.is_whole = found, not strange
                self.answered, self._answered_at = True, time.monotonic()
        self.seconds = time.monotonic() - start
        self.failures += bool(complaint)
        self._complaint.tell(complaint, again=f"{self._command[0]} answers as it should again")

    @property
    def is_fresh(self) -> bool:
        """Whether what was found can still be told."""
        return self._answered_at is not None and time.monotonic() - self._answered_at <= MAX_AGE_SECONDS


class SlurmCollector(LookingCollector):
    """Metrics of the cluster, from the controller that is in charge of it.

    The commands run at once, each for `timeout_seconds` at most.
    """

    def __init__(
        self, host: Host, *, state_file: Path, own_name: str, min_interval_seconds: float, timeout_seconds: float
    ) -> None:
        super().__init__(min_interval_seconds=min_interval_seconds)
        self._host, self._own_name, self._timeout_seconds = host, own_name, timeout_seconds
        self._jobs = Source(jobs.COMMAND, jobs.parse)
        self._nodes = Source(nodes.COMMAND, nodes.parse)
        self._groups = Groups(host)
        self._tally = Tally(state_file, now=time.time())
        self._in_charge: bool | None = None

    def look(self) -> Iterable[Metric]:
        """Ask slurmctld; nothing is told where another controller is in charge."""
        names = controllers(self._host) or [self._own_name]
        with ThreadPoolExecutor(3) as pool:
            asked = pool.submit(who_is_in_charge, self._host, names, timeout_seconds=self._timeout_seconds)
            looks = [
                pool.submit(look, self._host, self._timeout_seconds) for look in (self._jobs.look, self._nodes.look)
            ]
        for look in looks:
            look.result()
        someone = asked.result()
        if self._in_charge is None:
            self._in_charge = names[0] == self._own_name or len(names) == 1
        if someone is not None:
            self._in_charge = someone == self._own_name or len(names) == 1
        if self._jobs.answered:
            self._tally.look(self._jobs.found, now=time.time(), is_whole=self._jobs.is_whole)
        if not self._in_charge:
            # What is found is marked as counted, so that this one can go on when the other is gone.
            self._tally.forget_counts()
            return [] if someone else of_sources(self._sources)
        self._groups.refresh(self._nodes.found)
        return self._all()

    @property
    def _sources(self) -> Mapping[str, "Source[jobs.Job] | Source[nodes.Node]"]:
        return {"jobs": self._jobs, "nodes": self._nodes}

    def _all(self) -> Iterable[Metric]:
        yield from of_sources(self._sources)
        found = self._nodes.found
        partitions = self._groups.partitions.union(*(node.partitions for node in found))
        partitions |= {job.partition for job in self._jobs.found}
        yield from counters(self._tally.counts, partitions)
        if self._jobs.is_fresh:
            yield from of_jobs(self._jobs.found, partitions, now=time.time())
        if self._nodes.is_fresh:
            yield from of_nodes(found, partitions, self._groups)
