"""Counters of Elastic Fabric Adapters, under the names that AWS's own exporter gives them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-working-monitor.html
"""

import re
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from lifecycle.host import Host

_DEVICES = "/sys/class/infiniband"


def collect(host: Host) -> Iterable[Metric]:
    """Yield a metric for each file in the directories of hardware counters: which there are depends on the driver.

    Raises `OSError` in the end if there were files that could not be read.
    """
    families: dict[str, GaugeMetricFamily] = {}
    failures: list[OSError] = []
    for device in host.names_in(_DEVICES):
        for port in host.names_in(f"{_DEVICES}/{device}/ports"):
            counters = f"{_DEVICES}/{device}/ports/{port}/hw_counters"
            for name in host.names_in(counters):
                try:
                    value = (host.read(f"{counters}/{name}") or "").strip()
                except OSError as error:
                    failures.append(error)
                    continue
                if not re.fullmatch(r"-?\d+", value) or not re.fullmatch(r"\w+", name, re.ASCII):
                    continue
                if name not in families:
                    families[name] = GaugeMetricFamily(
                        f"node_amazonefa_{name}", f"Hardware counter {name} of EFA.", labels=["device", "port"]
                    )
                families[name].add_metric([device, port], int(value))
    yield from families.values()
    if failures:
        raise OSError(f"{len(failures)} counters cannot be read, the first: {failures[0]}")
