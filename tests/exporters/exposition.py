"""What Prometheus reads of an exporter, checked on the way."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class _Once(Collector):
    """What a collector said, to be said again."""

    def __init__(self, collector: Collector) -> None:
        self._metrics = list(collector.collect())

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def text_of(collector: Collector) -> str:
    """Return what the exporter answers."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def samples_of(collector: Collector) -> "Read":
    """Return the samples; Prometheus' newer format says the same."""
    registry = CollectorRegistry()
    registry.register(_Once(collector))
    read = samples_in(generate_latest(registry).decode())
    newer = openmetrics_families(generate_openmetrics(registry).decode())
    assert {sample.name for family in newer for sample in family.samples} == read.names()
    return read


def samples_in(text: str) -> "Read":
    """Return the samples of what an exporter has answered; no series is there twice."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    read = Read({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})
    assert len(read.samples) == len(samples)
    return read


class Read:
    """Samples, to be asked for."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __call__(self, name: str, **labels: str) -> float:
        """Return the one sample with the name and all these labels."""
        return self.samples[name, frozenset(labels.items())]

    def all(self, name: str, *by: str, **labels: str) -> dict[str | tuple[str, ...], float]:
        """Return the samples with the name and at least these labels that are not 0, by the values of other labels."""
        found = {}
        for (one, pairs), value in self.samples.items():
            if one == name and labels.items() <= dict(pairs).items() and value:
                key = tuple(dict(pairs)[label] for label in by)
                assert key not in found
                found[key if len(by) != 1 else key[0]] = value
        return found

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with the name and at least these labels."""
        pairs = labels.items()
        return sum(
            value for (one, given), value in self.samples.items() if one == name and pairs <= dict(given).items()
        )

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}
