"""The metrics, as they are told."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol, TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from exporters.slurm.groups import Groups
from exporters.slurm.jobs import QUEUE_STATES, Job
from exporters.slurm.nodes import STATES, Node
from exporters.slurm.tally import Counts, Histogram

_USES = ("allocated", "idle", "unusable")

Labels = TypeVar("Labels", bound=tuple[str, ...])


class SourceState(Protocol):
    """What is told of a source."""

    answered: bool
    seconds: float
    failures: int


def of_sources(sources: Mapping[str, SourceState]) -> list[Metric]:
    """Return whether Slurm answers, and what it takes."""
    up = GaugeMetricFamily("slurm_up", "1 when slurmctld answered at the last look.")
    up.add_metric([], all(source.answered for source in sources.values()))
    seconds = GaugeMetricFamily(
        "slurm_exporter_look_seconds", "How long the last look took, in seconds.", labels=["source"]
    )
    failures = CounterMetricFamily(
        "slurm_exporter_failures",
        "Looks that slurmctld did not answer, or with lines that were not understood.",
        labels=["source"],
    )
    for name, source in sources.items():
        seconds.add_metric([name], source.seconds)
        failures.add_metric([name], source.failures)
    return [up, seconds, failures]


def counters(counts: Counts, partitions: Iterable[str]) -> Iterable[Metric]:
    """Yield what is counted at starts and ends of jobs."""
    for partition in partitions:
        counts.know_partition(partition)
    finished = CounterMetricFamily(
        "slurm_jobs_finished", "Jobs that ended, by their last state.", labels=["partition", "user", "state"]
    )
    for (partition, user), numbers in counts.finished.items():
        for state, number in numbers.items():
            finished.add_metric([partition, user, state], number)
    yield finished
    yield _histogram("slurm_job_wait_seconds", "From when a job might have run to its start, in seconds.", counts.waits)
    yield _histogram("slurm_job_run_seconds", "From the start of a job to its end, in seconds.", counts.runs)


def of_jobs(jobs: Collection[Job], partitions: Iterable[str], *, now: float) -> Iterable[Metric]:
    """Yield the state of the queue."""
    in_state: Counter[tuple[str, str]] = Counter()
    running: Counter[tuple[str, str]] = Counter()
    pending: Counter[tuple[str, str, str]] = Counter()
    oldest = dict.fromkeys(partitions, 0.0)
    for job in jobs:
        in_state[job.partition, job.state] += 1
        if job.state == "running":
            running[job.user, job.partition] += 1
        elif job.state == "pending":
            pending[job.user, job.partition, job.reason] += 1
            if job.waits_for_resources(now):
                for partition in job.partitions:
                    oldest[partition] = max(oldest.get(partition, 0), now - (job.eligible or now))
    yield _gauge("slurm_queue_running", "Running jobs.", ["user", "partition"], running)
    yield _gauge("slurm_queue_pending", "Waiting jobs.", ["user", "partition", "reason"], pending)
    by_state = {(partition, state): in_state[partition, state] for partition in oldest for state in QUEUE_STATES}
    yield _gauge("slurm_queue_jobs", "Jobs that have not ended.", ["partition", "state"], by_state)
    yield _gauge(
        "slurm_oldest_pending_job_seconds",
        "For how long the job has waited that has waited longest, of those that only lack resources, in seconds.",
        ["partition"],
        {(partition,): seconds for partition, seconds in oldest.items()},
    )


def of_nodes(nodes: Collection[Node], partitions: Iterable[str], groups: Groups) -> Iterable[Metric]:
    """Yield the state of the nodes."""
    group_of = {node.name: groups.of(node) for node in nodes}
    usable = sum(node.usable and groups.runs_jobs(group_of[node.name]) for node in nodes)
    total = GaugeMetricFamily("slurm_nodes_usable", "Nodes for jobs that run jobs or could, each once.")
    total.add_metric([], usable)
    yield total
    group_nodes = Counter((group_of[node.name], node.state) for node in nodes)
    yield _gauge(
        "slurm_group_nodes",
        "Nodes of an instance group, each once.",
        ["instance_group", "state"],
        _filled(groups.names, STATES, group_nodes),
    )
    partition_nodes = Counter((partition, node.state) for node in nodes for partition in node.partitions)
    yield _gauge(
        "slurm_partition_nodes_in_state",
        "Nodes of a partition. A node may be in several: a sum over partitions counts it twice.",
        ["partition", "state"],
        _filled(partitions, STATES, partition_nodes),
    )
    state = {(node.name, group_of[node.name], node.state, node.reason): 1 for node in nodes}
    yield _gauge("slurm_node_state", "1 for each node.", ["node", "instance_group", "state", "reason"], state)
    gpus = _uses(nodes, group_of, lambda node: (node.gpus, node.allocated_gpus))
    yield _gauge("slurm_group_gpus", "GPUs.", ["instance_group", "state"], _filled(groups.names, _USES, gpus))
    cpus = _uses(nodes, group_of, lambda node: (node.cpus, node.allocated_cpus))
    yield _gauge("slurm_group_cpus", "CPUs.", ["instance_group", "state"], _filled(groups.names, _USES, cpus))
    allocated = {(node.name, group_of[node.name]): node.allocated_gpus for node in nodes if node.gpus}
    yield _gauge("slurm_node_allocated_gpus", "GPUs in use by jobs.", ["node", "instance_group"], allocated)


def _uses(
    nodes: Iterable[Node], group_of: Mapping[str, str], of: Callable[[Node], tuple[int, int]]
) -> Counter[tuple[str, str]]:
    uses: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        group = group_of[node.name]
        total, allocated = of(node)
        uses[group, "allocated"] += allocated
        uses[group, "idle" if node.usable else "unusable"] += max(0, total - allocated)
    return uses


def _filled(
    names: Iterable[str], states: Iterable[str], counts: Counter[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    states = tuple(states)
    return {(name, state): counts[name, state] for name in names for state in states}


def _gauge(name: str, documentation: str, labels: list[str], values: Mapping[Labels, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _histogram(name: str, documentation: str, histograms: Mapping[str, Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, documentation, labels=["partition"])
    for partition, histogram in sorted(histograms.items()):
        buckets, total = [], 0
        for bound, count in zip((*map(float, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        family.add_metric([partition], buckets, histogram.sum)
    return family
