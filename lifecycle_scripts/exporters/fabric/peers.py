"""How far it is to other nodes, as the kernel measures it when a connection is made."""

import bisect
import errno
import json
import re
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from lifecycle.host import Host
from lifecycle.node import slurm_name
from lifecycle.slurm_conf import SLURM_CONF, lines_of, node_names

PORT = 9109
TIMEOUT_SECONDS = 2.0

#: Written by the lifecycle's first step.
_NODE_FILE = "/var/log/provision/node.json"
#: Where a controller has slurm.conf, and where a node that asked a controller for it has.
_CONFIGURATIONS = ("/var/spool/slurmd/conf-cache/slurm.conf", "/run/slurm/conf/slurm.conf")
#: So many nodes after this one in the order of their names: each link is measured, and no node by all.
_NEIGHBOURS = 2

#: `tcpi_rtt` in `struct tcp_info` of linux/tcp.h: 8 bytes, then 15 numbers of 4 bytes before it. Microseconds.
_TCPI_RTT = struct.Struct("=68xI")


class NotKnownError(Exception):
    """It is not known who the other nodes are."""


def collect(host: Host, *, port: int = PORT, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterable[Metric]:
    """Return which peers answer, and the round trip to them; raise `NotKnownError` while there is no slurm.conf."""
    peers = peers_of(host)
    answered = connect(peers, port=port, timeout_seconds=timeout_seconds)
    up = GaugeMetricFamily("fabric_peer_up", "1 when the node accepts a connection.", labels=["peer"])
    round_trip = GaugeMetricFamily(
        "fabric_peer_round_trip_seconds", "The way there and back, in seconds.", labels=["peer"]
    )
    for name in sorted(peers):
        up.add_metric([name], name in answered)
        # 0: an answer that came only to a second attempt says nothing of the way.
        if answered.get(name):
            round_trip.add_metric([name], answered[name])
    return up, round_trip


def peers_of(host: Host) -> dict[str, str]:
    """Return the addresses of this node's peers by name: the next two in Slurm's list, and the controllers."""
    text = host.read(_NODE_FILE)
    if text is None:
        raise NotKnownError(f"{_NODE_FILE} is missing")
    node: Mapping[str, Any] = json.loads(text)
    nodes = _nodes(host, is_controller=node["node_type"] == "controller")
    own_name = next((name for name, address in nodes.items() if address == node["ip"]), slurm_name(node["ip"]))
    names = sorted(nodes.keys() - {own_name})
    place = bisect.bisect(names, own_name)
    ring = (names[place:] + names[:place])[:_NEIGHBOURS]
    controllers = {slurm_name(ip): ip for ip in node["controller_ips"] if ip != node["ip"]}
    return {name: _address(nodes[name]) for name in ring} | controllers


def connect(addresses: Mapping[str, str], *, port: int, timeout_seconds: float) -> dict[str, float]:
    """Connect to all at once and return the round trip to those that answered in time, in seconds."""
    answered: dict[str, float] = {}
    deadline = time.monotonic() + timeout_seconds
    with selectors.DefaultSelector() as selector:
        for name, address in addresses.items():
            connection = socket.socket()
            connection.setblocking(False)
            try:
                begun = connection.connect_ex((address, port)) in (0, errno.EINPROGRESS)
            except OSError:  # a name that nobody knows any more
                begun = False
            if begun:
                selector.register(connection, selectors.EVENT_WRITE, (name, connection))
            else:
                connection.close()
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                name, connection = key.data
                selector.unregister(connection)
                with connection:
                    if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        answered[name] = _round_trip(connection)
        for key in list(selector.get_map().values()):
            key.data[1].close()
    return answered


def _address(address: str) -> str:
    # Where slurm.conf gives none it is the name, which says it on HyperPod: no name server has to be waited for.
    match = re.fullmatch(r"ip-(\d+)-(\d+)-(\d+)-(\d+)", address)
    return ".".join(match.groups()) if match else address


def _round_trip(connection: socket.socket) -> float:
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_RTT.size)
    microseconds: int = _TCPI_RTT.unpack(information)[0]
    return microseconds / 1e6


def _nodes(host: Host, *, is_controller: bool) -> dict[str, str]:
    paths = (SLURM_CONF, *_CONFIGURATIONS) if is_controller else (*_CONFIGURATIONS, SLURM_CONF)
    for path in paths:
        if nodes := node_names(list(lines_of(host, path))):
            return nodes
    raise NotKnownError(f"none of {', '.join(paths)} names nodes")
