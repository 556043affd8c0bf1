"""Lustre: how full the shared file systems are, and what nodes do with them."""

from functools import partial

from cdk_slurm.dashboards import fsx
from cdk_slurm.dashboards.identifiers import LUSTRE
from cdk_slurm.dashboards.page import Dashboard, Line, Section, page
from cdk_slurm.dashboards.panels import bars, number, time_series
from cdk_slurm.dashboards.queries import CLUSTER, NODES, lines, rate, rows, value
from cdk_slurm.dashboards.styles import COUNT, LUSTRE_USED, ZERO_IS_GOOD
from cdk_slurm.dashboards.tables import Column, listing
from cdk_slurm.dashboards.variables import cluster, lustre_file_system, nodes

NO_FILE_SYSTEM = "No shared file system is mounted"
NO_LUSTRE = "No node with Lustre reports"

#: All nodes see the same file system: it counts once, by where it is mounted.
SHARED = f'{CLUSTER},fstype=~"lustre|nfs.*"'
SIZE = f"max by (mountpoint) (node_filesystem_size_bytes{{{SHARED}}})"
AVAILABLE = f"min by (mountpoint) (node_filesystem_avail_bytes{{{SHARED}}})"
USED = f"{SIZE} - {AVAILABLE}"
SHARE = f"1 - {AVAILABLE} / {SIZE}"
FILES_SHARE = (
    f"1 - min by (mountpoint) (node_filesystem_files_free{{{SHARED}}})"
    f" / (max by (mountpoint) (node_filesystem_files{{{SHARED}}}) > 0)"
)

per_node = partial(time_series, legend="table", by_node=True)


def dashboard() -> Dashboard:
    """Build it."""
    return page(
        uid=LUSTRE,
        description="The file systems that all nodes share: Lustre, and NFS (OpenZFS), counted once.",
        variables=[cluster(), nodes(), lustre_file_system()],
        top=_now(),
        sections=[
            Section("Capacity", [_capacity()]),
            Section("Lustre: what nodes read and write", _clients()),
            Section("NFS", [_nfs()]),
            Section("CloudWatch: the file system's own view", fsx.section(), folded=True),
        ],
    )


def throughput(direction: str, *by: str) -> str:
    """Bytes a second that Lustre's clients read or write."""
    return f"sum by ({', '.join(by)}) ({rate(f'lustre_client_{direction}_bytes_total{{{NODES}}}')})"


def _now() -> Line:
    lustre = partial(number, width=4, absent=NO_LUSTRE)
    return Line(
        4,
        number(
            "Fullest file system",
            "Used share of the fullest one, in percent: orange from 75, red from 85, where an alert fires.",
            "percentunit",
            value(f"max({SHARE})"),
            width=4,
            thresholds=LUSTRE_USED,
            decimals=1,
            absent=NO_FILE_SYSTEM,
        ),
        number(
            "Available",
            "Space that is left on all shared file systems, in bytes.",
            "bytes",
            value(f"sum({AVAILABLE})"),
            width=4,
            absent=NO_FILE_SYSTEM,
        ),
        lustre("Read", "Bytes a second that the chosen nodes read.", "Bps", value(throughput("read"))),
        lustre("Written", "Bytes a second that the chosen nodes write.", "Bps", value(throughput("write"))),
        lustre(
            "Operations",
            "Operations a second of the chosen nodes.",
            "ops",
            value(f"sum({rate(f'lustre_client_operations_total{{{NODES}}}')})"),
        ),
        number(
            "Mounts in trouble",
            "Number of mounts of shared file systems that do not answer their node.",
            COUNT,
            value(f"sum(node_filesystem_device_error{{{SHARED}}})"),
            width=4,
            thresholds=ZERO_IS_GOOD,
            absent=NO_FILE_SYSTEM,
        ),
    )


def _capacity() -> Line:
    return Line(
        8,
        bars(
            "Used",
            "Used share of each shared file system, in percent: orange from 75, red from 85.",
            "percentunit",
            value(SHARE, "{{mountpoint}}"),
            width=6,
            thresholds=LUSTRE_USED,
            maximum=1,
            decimals=1,
            absent=NO_FILE_SYSTEM,
        ),
        time_series(
            "Used over time",
            "Bytes used on each shared file system.",
            "bytes",
            lines(USED, "{{mountpoint}}"),
            width=8,
            absent=NO_FILE_SYSTEM,
        ),
        listing(
            "File systems",
            "Size and what is left, in bytes; used share of files (inodes); number of nodes that have it mounted.",
            rows(SIZE),
            rows(AVAILABLE),
            rows(FILES_SHARE),
            rows(f"count by (mountpoint) (node_filesystem_size_bytes{{{SHARED}}})"),
            width=10,
            columns=[
                Column(field="mountpoint", title="Mounted at"),
                Column(field="Value #A", title="Size", unit="bytes", width_pixels=100),
                Column(field="Value #B", title="Available", unit="bytes", width_pixels=100),
                Column(field="Value #C", title="Files used", unit="percentunit", decimals=1, bar_up_to=1),
                Column(field="Value #D", title="Nodes", decimals=0, width_pixels=70),
            ],
            sort_by="Size",
            absent=NO_FILE_SYSTEM,
        ),
    )


def _clients() -> list[Line]:
    operations = f"lustre_client_operations_total{{{NODES}}}"
    return [
        Line(
            8,
            time_series(
                "Read and written",
                "Bytes a second that all chosen nodes read from and write to each file system.",
                "Bps",
                lines(throughput("read", "file_system"), "{{file_system}} read"),
                lines(throughput("write", "file_system"), "{{file_system}} written"),
                width=12,
                absent=NO_LUSTRE,
            ),
            time_series(
                "Operations by kind",
                "Operations a second of all chosen nodes, by kind: the ten most frequent. Many opens: small files.",
                "ops",
                lines(f"topk(10, sum by (operation) ({rate(operations)}))", "{{operation}}"),
                width=12,
                legend="table",
            ),
        ),
        Line(
            9,
            per_node(
                "Reading nodes",
                "Bytes a second that a node reads: the ten nodes that read most.",
                "Bps",
                lines(f"topk(10, {throughput('read', 'instance')})", "{{instance}}"),
                width=8,
            ),
            per_node(
                "Writing nodes",
                "Bytes a second that a node writes: the ten nodes that write most.",
                "Bps",
                lines(f"topk(10, {throughput('write', 'instance')})", "{{instance}}"),
                width=8,
            ),
            per_node(
                "Operations by node",
                "Operations a second of a node: the ten nodes with the most.",
                "ops",
                lines(f"topk(10, sum by (instance) ({rate(operations)}))", "{{instance}}"),
                width=8,
            ),
        ),
    ]


def _nfs() -> Line:
    return Line(
        7,
        time_series(
            "NFS requests by kind",
            "Requests a second of all chosen nodes to NFS servers, by kind: the ten most frequent.",
            "reqps",
            lines(f"topk(10, sum by (method) ({rate(f'node_nfs_requests_total{{{NODES}}}')}))", "{{method}}"),
            width=12,
            legend="table",
        ),
        per_node(
            "NFS requests by node",
            "Requests a second of a node to NFS servers: the ten nodes with the most.",
            "reqps",
            lines(f"topk(10, sum by (instance) ({rate(f'node_nfs_requests_total{{{NODES}}}')}))", "{{instance}}"),
            width=12,
        ),
    )
