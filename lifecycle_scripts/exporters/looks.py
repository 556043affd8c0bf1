"""What both exporters do about looking: not too often, and a word in the log when something changes."""

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.registry import Collector


class LookingCollector(Collector):
    """Looks when it is scraped. Scrapes that come together, or within `min_interval_seconds`, share one look."""

    def __init__(self, *, min_interval_seconds: float) -> None:
        self._min_interval_seconds = min_interval_seconds
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._metrics: list[Metric] = []

    @abstractmethod
    def look(self) -> Iterable[Metric]:
        """Look, and return what is found."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the last look, which is made now if the former one is too long ago."""
        with self._lock:
            if self._looked_at is None or time.monotonic() - self._looked_at >= self._min_interval_seconds:
                self._metrics = list(self.look())
                # From here, so that who is slow to answer is not asked all the time.
                self._looked_at = time.monotonic()
            return self._metrics


class Complaint:
    """What is wrong with something that is looked at again and again: logged when it begins and when it ends."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._is_wrong = False

    def tell(self, wrong: str, *, again: str) -> None:
        """Say what is wrong now, nothing if all is well; `again` is what is logged when it has become so."""
        if bool(wrong) != self._is_wrong:
            self._log.log(logging.WARNING if wrong else logging.INFO, "%s", wrong or again)
        self._is_wrong = bool(wrong)
