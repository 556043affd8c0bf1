"""Runs the collectors, each for itself: one that fails does not keep the others from telling."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporters.fabric import efa, lustre, peers
from lifecycle.host import Host

Collect = Callable[[Host], Iterable[Metric]]

COLLECTORS: Mapping[str, Collect] = {
    "efa": efa.collect,
    "peers": peers.collect,
    "lustre": lustre.collect,
}
#: Who scrapes more often than that, anybody in the network being able to, is given the same again.
MIN_INTERVAL_SECONDS = 5

log = logging.getLogger(__name__)


class FabricCollector(Collector):
    """Metrics of this node's network."""

    def __init__(
        self, host: Host, *, collectors: Mapping[str, Callable[[Host], Iterable[Metric]]] = COLLECTORS
    ) -> None:
        self._host, self._collectors = host, collectors
        self._complaints: dict[str, str] = {}
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._metrics: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Return what the collectors find, or have found just now."""
        with self._lock:
            if self._looked_at is None or time.monotonic() - self._looked_at >= MIN_INTERVAL_SECONDS:
                self._metrics = list(self._look())
                self._looked_at = time.monotonic()
            return self._metrics

    def _look(self) -> Iterable[Metric]:
        success = GaugeMetricFamily(
            "fabric_collector_success", "1 when the collector did what it is there for.", labels=["collector"]
        )
        for name, collect in self._collectors.items():
            complaint = ""
            try:
                yield from collect(self._host)
            except Exception as error:
                # Whatever it is: what the kernel or somebody's file may hold is not known here.
                complaint = f"{type(error).__name__}: {error}"
            if bool(complaint) != bool(self._complaints.get(name)):
                level = logging.WARNING if complaint else logging.INFO
                log.log(level, "%s: %s", name, complaint or "works again")
            self._complaints[name] = complaint
            success.add_metric([name], not complaint)
        yield success
