"""What this node has read from and written to Lustre, by the client's own statistics.

https://doc.lustre.org/lustre_manual.xhtml#monitoring_lustre_client_activity
"""

import re
from collections import Counter
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from lifecycle.host import Host

#: Newer clients have the first, older ones the second.
_DIRECTORIES = ("/sys/kernel/debug/lustre/llite", "/proc/fs/lustre/llite")
#: `read_bytes 11 samples [bytes] 4096 1048576 7340032`: name, count, unit; then, unless it is only counted, the
#: smallest and largest value and the sum of all, and in newer clients the sum of their squares.
_LINE = re.compile(r"(\w+)\s+(\d+) samples \[(\w+)\](?:\s+\d+\s+\d+\s+(\d+))?")


def collect(host: Host) -> Iterable[Metric]:
    """Return bytes and operations by file system; none where none is mounted."""
    labels = ["file_system"]
    read = CounterMetricFamily("lustre_client_read_bytes", "Bytes that programs here have read.", labels=labels)
    written = CounterMetricFamily("lustre_client_write_bytes", "Bytes that programs here have written.", labels=labels)
    operations = CounterMetricFamily(
        "lustre_client_operations", "Operations by programs here.", labels=["file_system", "operation"]
    )
    for file_system, (volumes, counts) in sorted(_statistics(host).items()):
        read.add_metric([file_system], volumes["read_bytes"])
        written.add_metric([file_system], volumes["write_bytes"])
        for operation, count in sorted(counts.items()):
            operations.add_metric([file_system, operation], count)
    return read, written, operations


def _statistics(host: Host) -> dict[str, tuple[Counter[str], Counter[str]]]:
    found: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for directory in _DIRECTORIES:
        for mount in host.names_in(directory):
            text = host.read(f"{directory}/{mount}/stats")
            if text is None:
                continue
            # Named after the file system and, for each mount of it, an address in the kernel.
            volumes, counts = found.setdefault(mount.rpartition("-")[0] or mount, (Counter(), Counter()))
            _add(text, volumes, counts)
        if found:
            break
    return found


def _add(text: str, volumes: Counter[str], counts: Counter[str]) -> None:
    lines = [match for match in map(_LINE.match, text.splitlines()) if match]
    names = {match[1] for match in lines}
    for match in lines:
        name, count, unit, total = match[1], int(match[2]), match[3], match[4]
        if unit == "bytes":
            volumes[name] += int(total or 0)
        # An older client counts reads with their bytes only.
        operation = name.removesuffix("_bytes")
        if operation == name or operation not in names:
            counts[operation] += count
