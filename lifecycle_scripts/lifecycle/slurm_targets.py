"""Tells the collector of a controller where Slurm's metrics are: its exporter's, and slurmctld's own where it has any.

Both are about the whole cluster. Of two controllers one is in charge, as its exporter knows: were both asked, the
same series would be told twice. And slurmctld may have come up, or been set to tell metrics, at any time. So this runs
every minute; most of the time there is nothing to do, and a change takes no restart of anything.

https://slurm.schedmd.com/metrics.html
"""

import json
import logging
import re
import sys

from lifecycle.cluster import Cluster, parse_cluster
from lifecycle.errors import StepError
from lifecycle.host import Host
from lifecycle.node import Node, find_node, read_resource_config

EXPORTER_PORT = 9341
SLURMCTLD_PORT = 6817
SLURMCTLD_PATH = "/metrics/scheduler"
_DIRECTORY = "/var/lib/cdk-slurm/targets"
_EXPORTER = f"127.0.0.1:{EXPORTER_PORT}"
EXPORTER_TARGETS = f"{_DIRECTORY}/slurm.json"
SLURMCTLD_TARGETS = f"{_DIRECTORY}/slurmctld.json"

log = logging.getLogger(__name__)


def are_there(host: Host) -> bool:
    """Return whether the collector finds what it goes by."""
    return host.exists(EXPORTER_TARGETS) and host.exists(SLURMCTLD_TARGETS)


def begin(host: Host, cluster: Cluster, node: Node) -> None:
    """Write what is known without asking anybody, unless more is known."""
    if not are_there(host):
        _write(host, cluster, EXPORTER_TARGETS, _EXPORTER if node.first_controller else None)
        _write(host, cluster, SLURMCTLD_TARGETS, None)


def refresh(host: Host, cluster: Cluster, node: Node) -> None:
    """Look who is to be asked now; raise `StepError` where Slurm does not say, and leave what was."""
    begin(host, cluster, node)
    in_charge = len(node.controller_ips) < 2 or _is_in_charge(host)
    if in_charge is None:
        return
    _write(host, cluster, EXPORTER_TARGETS, _EXPORTER if in_charge else None)
    if not in_charge:
        _write(host, cluster, SLURMCTLD_TARGETS, None)
        return
    configuration = host.run("scontrol", "show", "config")
    tells = re.search(r"^MetricsType\s*=\s*metrics/openmetrics\s*$", configuration, re.MULTILINE) is not None
    _write(host, cluster, SLURMCTLD_TARGETS, f"{node.ip}:{SLURMCTLD_PORT}" if tells else None)


def _is_in_charge(host: Host) -> bool | None:
    """Return whether it is this controller's exporter that tells of the cluster; None where nobody knows."""
    said = host.fetch(f"http://{_EXPORTER}/metrics")
    # An exporter that is down, and a Slurm that is down everywhere, are to be seen: who was asked is asked.
    if said is None or re.search(r"^slurm_up 0", said, re.MULTILINE):
        return None
    # Where another controller is in charge, it tells nothing.
    return re.search(r"^slurm_up 1", said, re.MULTILINE) is not None


def _write(host: Host, cluster: Cluster, path: str, target: str | None) -> None:
    # The cluster's name, not this node's: when another controller takes over, the series go on.
    found = [] if target is None else [{"targets": [target], "labels": {"instance": cluster.name}}]
    text = json.dumps(found) + "\n"
    if host.read(path) != text:
        host.write(path, text)


def main() -> int:
    """Look once."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    host = Host()
    try:
        cluster = parse_cluster(host.read_bundled("cluster.json"))
        refresh(host, cluster, find_node(read_resource_config(host), cluster, host.own_addresses()))
    except (StepError, OSError) as error:
        # Also a slurmctld that is not up yet: nothing to fail for, every minute.
        log.info("%s", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
