"""Which instance group a node of Slurm's belongs to."""

import logging
import threading
import time
from collections.abc import Iterable

from exporters.slurm.nodes import Node
from lifecycle.cluster import Cluster, parse_cluster
from lifecycle.errors import StepError
from lifecycle.host import Host
from lifecycle.node import instances_of, read_resource_config, slurm_name
from lifecycle.partitions import announced

UNKNOWN = "unknown"

#: The shared file system may be slow, or gone: it is asked seldom, and not waited for.
_ANNOUNCEMENTS_SECONDS = 60
_PATIENCE_SECONDS = 1

log = logging.getLogger(__name__)


class Groups:
    """The cluster's instance groups, from `resource_config.json` and `cluster.json`.

    A node that the platform has not told of is looked for in what nodes announce on the shared file system.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._by_node: dict[str, str] = {}
        self._node_types: dict[str, str] = {}
        self._announced: dict[str, str] = {}
        self._reader: threading.Thread | None = None
        self._next_reading = 0.0
        self._complaint = ""
        self.names: frozenset[str] = frozenset()
        """Of all groups, those without nodes too."""
        self.partitions: frozenset[str] = frozenset()
        """Those that the groups are to have."""

    def refresh(self, nodes: Iterable[Node]) -> None:
        """Read again what says which node is of which group."""
        cluster = None
        try:
            cluster = parse_cluster(self._host.read_bundled("cluster.json"))
            groups = cluster.instance_groups.values()
            self._node_types = {group.name: group.node_type for group in groups}
            self.partitions = frozenset(group.partition for group in groups if group.partition)
            instances = list(instances_of(read_resource_config(self._host)))
        except (StepError, OSError, AttributeError, KeyError, TypeError) as error:
            self._complain(f"instance groups are not known anew: {error!r}")
        else:
            self._complain("")
            self._by_node = {slurm_name(ip): group for group, ip, _ in instances}
            self._by_node |= {ip: group for group, ip, _ in instances}
        if cluster and any(self.of(node) == UNKNOWN for node in nodes):
            self._read_announcements(cluster)
        self.names = frozenset({*self._node_types, *self._by_node.values(), *(self.of(node) for node in nodes)})

    def of(self, node: Node) -> str:
        """Return the group of a node."""
        known = self._by_node.get(node.address) or self._by_node.get(node.name)
        return known or self._announced.get(node.name, UNKNOWN)

    def runs_jobs(self, group: str) -> bool:
        """Whether the group is there for jobs: controllers and login nodes are in Slurm, in `dev`, all the same.

        A group that is not known is: only a compute group comes later than the controller's `cluster.json`.
        """
        return self._node_types.get(group, "compute") == "compute"

    def _read_announcements(self, cluster: Cluster) -> None:
        if time.monotonic() < self._next_reading or (self._reader and self._reader.is_alive()):
            return
        self._next_reading = time.monotonic() + _ANNOUNCEMENTS_SECONDS
        # A file system that does not answer holds whoever asks it, and cannot be told to stop.
        self._reader = threading.Thread(target=self._hear, args=(cluster,), daemon=True)
        self._reader.start()
        self._reader.join(_PATIENCE_SECONDS)

    def _hear(self, cluster: Cluster) -> None:
        try:
            self._announced = {one.node: one.group for one in announced(self._host, cluster)}
        except OSError as error:
            log.warning("what nodes announced cannot be read: %s", error)

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
