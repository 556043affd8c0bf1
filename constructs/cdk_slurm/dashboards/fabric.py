"""The parts of Network Performance about EFA.

Counters of EFA: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-working-monitor.html
"""

from functools import partial

from grafana_foundation_sdk.models.dashboard import FieldColorModeId

from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import cells, each, time_series
from cdk_slurm.dashboards.queries import NODES, lines, rate

NO_EFA = "No node with EFA reports"

#: What goes wrong on EFA, by the counter's name. Nitro v4 and later count the last four.
TROUBLES = {
    "received, dropped": "rx_drops",
    "RDMA reads failed": "rdma_read_wr_err",
    "RDMA writes failed": "rdma_write_wr_err",
    "retransmits": "retrans_pkts",
    "retransmit timeouts": "retrans_timeout_events",
    "connections impaired": "impaired_remote_conn_events",
    "remote silent": "unresponsive_remote_events",
}

per_node = partial(time_series, legend="table", by_node=True)


def by_node(*counters: str) -> str:
    """Increase a second of these counters together, by node."""
    return f"sum by (instance) ({_increase(*counters)})"


def total(*counters: str) -> str:
    """The same of all chosen nodes."""
    return f"sum({_increase(*counters)})"


def efa() -> list[Line]:
    """Bandwidth, packets and what went wrong."""
    return [
        Line(
            8,
            per_node(
                "EFA received: busiest nodes",
                "Bytes a second that a node receives over EFA: the ten nodes that receive most.",
                "Bps",
                lines(f"topk(10, {by_node('rx_bytes')})", "{{instance}}"),
                width=12,
            ),
            per_node(
                "EFA sent: busiest nodes",
                "Bytes a second that a node sends over EFA: the ten nodes that send most.",
                "Bps",
                lines(f"topk(10, {by_node('tx_bytes')})", "{{instance}}"),
                width=12,
            ),
        ),
        Line(
            7,
            time_series(
                "EFA packets",
                "Packets a second over EFA, of all nodes together.",
                "pps",
                lines(total("rx_pkts"), "received"),
                lines(total("tx_pkts"), "sent"),
                width=6,
                absent=NO_EFA,
            ),
            time_series(
                "EFA errors and retransmits",
                "Errors and retransmissions a second, of all nodes together.",
                "cps",
                *(lines(total(counter), name) for name, counter in TROUBLES.items()),
                width=8,
                at_least=1,
                absent=NO_EFA,
            ),
            per_node(
                "EFA errors and retransmits: worst nodes",
                "The same by node: the ten nodes with the most.",
                "cps",
                lines(f"topk(10, {by_node(*TROUBLES.values())})", "{{instance}}"),
                width=10,
                at_least=1,
            ),
        ),
    ]


def collectives() -> list[Line]:
    """RDMA by node, side by side."""
    rdma = by_node("rdma_read_bytes", "rdma_write_bytes")
    return [
        Line(
            9,
            cells(
                "RDMA by node",
                "Bytes a second that a node reads from and writes to others' memory, of the 40 busiest nodes. An"
                " all-reduce is a bright column; a node that lags is in another job, or holds this one up.",
                "Bps",
                lines(f"topk(40, {rdma})", "{{instance}}"),
                width=12,
                min_step="1m",
                colours=FieldColorModeId.CONTINUOUS_BLUES,
                absent=NO_EFA,
            ),
            time_series(
                "RDMA: spread over nodes",
                "Bytes a second of RDMA of the busiest node, the least busy and the mean, of nodes that have any. In a"
                " collective the three run together; where they part, some nodes wait for others.",
                "Bps",
                lines(f"max({rdma} > 0)", "busiest"),
                lines(f"avg({rdma} > 0)", "mean"),
                lines(f"min({rdma} > 0)", "least busy"),
                width=6,
                absent=NO_EFA,
            ),
            time_series(
                "RDMA reads and writes",
                "Bytes a second of RDMA of all nodes together, by kind.",
                "Bps",
                lines(total("rdma_read_bytes"), "read"),
                lines(total("rdma_write_bytes"), "written"),
                width=6,
                absent=NO_EFA,
            ),
        )
    ]


def each_node() -> Line:
    """A panel for each chosen node."""
    panel = time_series(
        "$node",
        "Bytes a second of RDMA that this node reads and writes, and that others write to it.",
        "Bps",
        lines(total("rdma_read_bytes"), "read"),
        lines(total("rdma_write_bytes"), "written"),
        lines(total("rdma_write_recv_bytes"), "written by others"),
        width=24,
        absent=NO_EFA,
    )
    return Line(6, each(panel, "node"))


def _increase(*counters: str) -> str:
    if len(counters) == 1:
        return rate(f"node_amazonefa_{counters[0]}{{{NODES}}}")
    # Not every device has every counter: `+` would lose all where one is missing, and `or` needs them told apart.
    return " or ".join(
        f'label_replace({rate(f"node_amazonefa_{counter}{{{NODES}}}")}, "counter", "{counter}", "", "")'
        for counter in counters
    )
