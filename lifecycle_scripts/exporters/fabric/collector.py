"""Runs the collectors, each for itself: one that fails does not keep the others from telling."""

import logging
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from exporters.fabric import efa, lustre, peers
from exporters.looks import Complaint, LookingCollector
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


class FabricCollector(LookingCollector):
    """Metrics of this node's network."""

    def __init__(
        self, host: Host, *, collectors: Mapping[str, Callable[[Host], Iterable[Metric]]] = COLLECTORS
    ) -> None:
        super().__init__(min_interval_seconds=MIN_INTERVAL_SECONDS)
        self._host, self._collectors = host, collectors
        self._complaints = {name: Complaint(log) for name in collectors}

    def look(self) -> Iterable[Metric]:
        """Yield what the collectors find, and which of them did what it is there for."""
        success = GaugeMetricFamily(
            "fabric_collector_success", "1 when the collector did what it is there for.", labels=["collector"]
        )
        for name, collect in self._collectors.items():
            complaint = ""
            try:
                yield from collect(self._host)
            except Exception as error:
                # Whatever it is: what the kernel or somebody's file may hold is not known here.
                complaint = f"{name}: {type(error).__name__}: {error}"
            self._complaints[name].tell(complaint, again=f"{name}: works again")
            success.add_metric([name], not complaint)
        yield success
