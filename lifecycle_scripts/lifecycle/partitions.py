"""Keeps every worker group in a partition of its own, whatever rewrites slurm.conf.

In the legacy form HyperPod's agent writes slurm.conf from the controller's copy of the parameters, which does not
know of groups that were added later: their nodes end up in `dev` only. So this runs before slurmctld starts, when
slurm.conf or resource_config.json changes, and every quarter of a minute; most of the time there is nothing to do.

What it holds to, because Slurm does not forgive: a partition names only nodes that slurm.conf defines, no partition
is defined twice, and the file is there, whole, before anything includes it. It is included by accounting.conf, which
slurm.conf of the agent includes itself: so there is no moment at which slurmctld reads slurm.conf without it. There it
would take the jobs of the partitions, those that run and those that wait, for lost (seen with Slurm 24.11).
"""

import contextlib
import fcntl
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lifecycle import units
from lifecycle.cluster import Cluster, parse_cluster
from lifecycle.errors import StepError
from lifecycle.host import Host
from lifecycle.node import instances_of, read_resource_config, slurm_name
from lifecycle.slurm_conf import (
    ACCOUNTING_CONF,
    ETC,
    SLURM_CONF,
    include,
    includes,
    lines_of,
    node_names,
    partitions,
)

PARTITIONS_FILE = f"{ETC}/cdk-slurm-partitions.conf"
LOCK_FILE = "/run/cdk-slurm-partitions.lock"

#: From the inside out, so that what is included is whole before it is read.
_INCLUDES = ((ACCOUNTING_CONF, PARTITIONS_FILE), (SLURM_CONF, ACCOUNTING_CONF))

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcement:
    """What a worker says of itself on the shared file system: its group and the partition of that."""

    node: str
    group: str
    partition: str


def announcements_directory(cluster: Cluster) -> str | None:
    """Return where workers announce themselves; None where the cluster shares no file system."""
    return cluster.shared_path and f"{cluster.shared_path}/.cdk-slurm/{cluster.name}/nodes"


def announce(host: Host, cluster: Cluster, announcement: Announcement) -> None:
    """Tell the controller of a node whose group it may not know."""
    directory = announcements_directory(cluster)
    if directory is not None:
        content = {"group": announcement.group, "partition": announcement.partition}
        host.write(f"{directory}/{announcement.node}.json", json.dumps(content) + "\n")


def announced(host: Host, cluster: Cluster) -> Iterator[Announcement]:
    """Yield what workers announced; what cannot be read is passed over."""
    directory = announcements_directory(cluster)
    for name in host.names_in(directory) if directory else ():
        node, dot, extension = name.partition(".json")
        if not node or extension or not dot:
            continue
        try:
            content = json.loads(host.read(f"{directory}/{name}") or "")
            yield Announcement(node, content["group"], content["partition"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s/%s cannot be read: %s", directory, name, error)


def wanted_partitions(host: Host, cluster: Cluster) -> dict[str, list[str]]:
    """Return the partitions that slurm.conf itself does not define, with those of their nodes that it does."""
    lines = list(lines_of(host, but_not=[PARTITIONS_FILE]))
    nodes, elsewhere = node_names(lines), partitions(lines)
    resource_config = read_resource_config(host)
    group_partitions, members = {}, {}
    for announcement in announced(host, cluster):
        group_partitions[announcement.group] = announcement.partition
        members[announcement.node] = announcement.group
    group_partitions |= {group.name: group.partition for group in cluster.instance_groups.values() if group.partition}
    # Of a group that it knows the platform has the last word: who is not among its instances is gone, and to be out
    # of the partition before the agent takes the node out of slurm.conf.
    known = {group["Name"] for group in resource_config["InstanceGroups"] or ()}
    members = {node: group for node, group in members.items() if group not in known}
    members |= _members(resource_config, nodes)

    wanted: dict[str, list[str]] = {partition: [] for partition in group_partitions.values()}
    for node, group in sorted(members.items()):
        if node in nodes and group in group_partitions:
            wanted[group_partitions[group]].append(node)
    return {partition: nodes for partition, nodes in sorted(wanted.items()) if partition not in elsewhere}


def differences(host: Host, cluster: Cluster) -> list[str]:
    """Return how the partitions in slurm.conf differ from the cluster's: one sentence each, none if they agree."""
    lines = list(lines_of(host))
    nodes, defined = node_names(lines), partitions(lines)
    members = {node: group for node, group in _members(read_resource_config(host), nodes).items() if node in nodes}
    found = []
    for group in cluster.instance_groups.values():
        if group.partition is None:
            continue
        if group.partition not in defined:
            found.append(f"slurm.conf has no partition {group.partition}, which instance group {group.name} is to have")
            continue
        missing = {node for node, name in members.items() if name == group.name} - defined[group.partition]
        if missing and "ALL" not in defined[group.partition]:
            found.append(
                f"partition {group.partition} lacks {', '.join(sorted(missing))} of instance group {group.name}"
            )
    return found


def _members(resource_config: Mapping[str, Any], nodes: Mapping[str, str]) -> dict[str, str]:
    """Return the group of each instance, by what slurm.conf calls the node with its address, or will call it."""
    names = {address: name for name, address in nodes.items()}
    return {names.get(ip) or slurm_name(ip): group for group, ip, _ in instances_of(resource_config)}


def keep(host: Host, cluster: Cluster, *, running: bool = True) -> bool:
    """Write the partitions, have slurm.conf include them, and return whether anything had to change.

    Where slurmctld runs it reads them at once; if it refuses, the former file is put back and `StepError` raised.
    """
    try:
        # Several units, and the lifecycle, may ask for it at the same moment.
        with host.locate(LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _keep(host, cluster, running)
    except _UnresponsiveError as error:
        log.warning("slurmctld runs and answers nobody, so it starts anew: %s", error)
        # Without the lock, which the keeper that runs before slurmctld wants. Jobs go on.
        _start_anew(host)
        return True


def _start_anew(host: Host) -> None:
    for pause_seconds in (5, 15, 0):
        try:
            units.restart(host, "slurmctld.service")
        except StepError:
            # Nobody else would start it: what holds its port may be on its way out.
            if not pause_seconds:
                raise
            time.sleep(pause_seconds)
        else:
            break


class _UnresponsiveError(Exception):
    """This node's slurmctld runs and does not answer.

    Slurm 24.11 gets there when a reconfiguration fails, as that of HyperPod's agent does while a partition names a node
    that it has just taken out of slurm.conf: the former slurmctld resumes, and once in a while it and slurmdbd wait for
    each other, for a quarter of an hour.
    """


#: How long a slurmctld that reads its configuration may answer nobody.
_SILENCE_SECONDS = 60.0


def _answers(host: Host) -> bool:
    deadline = time.monotonic() + _SILENCE_SECONDS
    while not _is_up(host):
        if time.monotonic() > deadline:
            return False
        time.sleep(2)
    return True


def _is_up(host: Host) -> bool:
    try:
        said = host.run("scontrol", "ping")
    except StepError:
        return False
    name = host.run("hostname").strip()
    return not any(name in line and line.endswith("DOWN") for line in said.splitlines())


def is_kept(host: Host, cluster: Cluster) -> bool:
    """Return whether `keep` would change nothing."""
    return _holds(host, _as_text(wanted_partitions(host, cluster)))


def _holds(host: Host, text: str) -> bool:
    return host.read(PARTITIONS_FILE) == text and all(includes(host, path, within=file) for file, path in _INCLUDES)


def _keep(host: Host, cluster: Cluster, running: bool) -> bool:
    if host.read(SLURM_CONF) is None:
        raise StepError(f"{SLURM_CONF} is missing")
    text = _as_text(wanted_partitions(host, cluster))
    if _holds(host, text):
        return False
    former = host.read(PARTITIONS_FILE)
    host.write(PARTITIONS_FILE, text)
    for file, path in _INCLUDES:
        if not includes(host, path, within=file):
            include(host, path, within=file)
    if running and units.is_running(host, "slurmctld.service"):
        try:
            _reconfigure(host)
        except StepError as error:
            host.write(PARTITIONS_FILE, former or _as_text({}))
            with contextlib.suppress(StepError):
                _reconfigure(host)
            raise StepError(f"slurmctld refused the partitions, the former are back: {error}") from error
    return True


def _reconfigure(host: Host) -> None:
    command = ("scontrol", "reconfigure")
    try:
        host.run(*command, timeout_seconds=120)
    except StepError as error:
        if not _answers(host):
            raise _UnresponsiveError(str(error)) from error
        # It may have been busy with what somebody else asked of it.
        host.run(*command, timeout_seconds=120)


def _as_text(wanted: Mapping[str, list[str]]) -> str:
    lines = ["# Written by cdk-slurm and overwritten when nodes come and go: change the cluster file instead."]
    for partition, nodes in wanted.items():
        # A partition without nodes stays, or the jobs that wait in it would be lost.
        listed = ",".join(nodes) or '""'
        lines.append(f"PartitionName={partition} Nodes={listed} Default=NO MaxTime=INFINITE State=UP")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Keep the partitions once; `--before-start` tells that slurmctld is not up yet."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    host = Host()
    try:
        cluster = parse_cluster(host.read_bundled("cluster.json"))
        if keep(host, cluster, running="--before-start" not in sys.argv[1:]):
            log.info("partitions written: %s", ", ".join(partitions(list(lines_of(host, PARTITIONS_FILE)))))
    except (StepError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
