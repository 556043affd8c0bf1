"""Network Performance: bandwidth of each node, EFA and its collectives, and round trips between nodes."""

from functools import partial

from grafana_foundation_sdk.models.dashboard import Panel

from cdk_slurm.dashboards import fabric
from cdk_slurm.dashboards.identifiers import NETWORK
from cdk_slurm.dashboards.page import Dashboard, Line, Section, page
from cdk_slurm.dashboards.panels import number, time_series
from cdk_slurm.dashboards.queries import NODES, lines, per_gpu, rate, rows, value
from cdk_slurm.dashboards.styles import COUNT, RETRANSMITTED_SHARE, ROUND_TRIP_SECONDS, ZERO_IS_GOOD
from cdk_slurm.dashboards.tables import Column, listing
from cdk_slurm.dashboards.variables import cluster, nodes

NO_NODE = "No node reports"
NO_PEER = "No round trip is measured"

#: Ethernet interfaces of the instance: not loopback, bridges or those of containers.
INTERFACES = f'{NODES},device=~"(en|eth).*"'

RETRANSMITTED = (
    f"{rate(f'node_netstat_Tcp_RetransSegs{{{NODES}}}')} / ({rate(f'node_netstat_Tcp_OutSegs{{{NODES}}}')} > 0)"
)
ROUND_TRIP = f"max by (instance, peer) (fabric_peer_round_trip_seconds{{{NODES}}})"
UNREACHED = f"sum(1 - fabric_peer_up{{{NODES}}})"

per_node = partial(time_series, legend="table", by_node=True)


def dashboard() -> Dashboard:
    """Build it."""
    return page(
        uid=NETWORK,
        description="Bandwidth by node, EFA with its RDMA, round trips between nodes, retransmissions, NVLink.",
        variables=[cluster(), nodes()],
        top=_now(),
        sections=[
            Section("Ethernet", _ethernet()),
            Section("EFA", fabric.efa()),
            Section("Collectives: RDMA by node", fabric.collectives()),
            Section("One panel for each chosen node", [fabric.each_node()], folded=True),
            Section("Round trip between nodes", _round_trips()),
            Section("Between GPUs of a node", [_nvlink()]),
        ],
    )


def _now() -> Line:
    def total(title: str, description: str, unit: str, expression: str, absent: str = NO_NODE) -> Panel:
        return number(title, description, unit, value(expression), absent=absent, decimals=1)

    return Line(
        4,
        total("Received", "Bytes a second that all nodes receive over Ethernet.", "Bps", f"sum({received()})"),
        total("Sent", "Bytes a second that all nodes send over Ethernet.", "Bps", f"sum({sent()})"),
        total(
            "EFA received",
            "Bytes a second that all nodes receive over EFA.",
            "Bps",
            fabric.total("rx_bytes"),
            fabric.NO_EFA,
        ),
        total(
            "EFA sent", "Bytes a second that all nodes send over EFA.", "Bps", fabric.total("tx_bytes"), fabric.NO_EFA
        ),
        total(
            "EFA retransmits",
            "Packets a second that EFA sends again.",
            "cps",
            fabric.total("retrans_pkts"),
            fabric.NO_EFA,
        ),
        number(
            "Slowest round trip",
            "Longest round trip of TCP between two nodes now, in seconds: orange from 1 ms, red from 5 ms.",
            "s",
            value(f"max({ROUND_TRIP})"),
            thresholds=ROUND_TRIP_SECONDS,
            absent=NO_PEER,
        ),
        number(
            "Peers not reached",
            "Number of pairs of nodes of which one does not reach the other.",
            COUNT,
            value(UNREACHED),
            thresholds=ZERO_IS_GOOD,
            absent=NO_PEER,
        ),
        number(
            "TCP retransmits",
            "Share of TCP segments that the worst node sends again, in percent: orange from 1, red from 5.",
            "percentunit",
            value(f"max({RETRANSMITTED})"),
            thresholds=RETRANSMITTED_SHARE,
            decimals=2,
            absent=NO_NODE,
        ),
    )


def received() -> str:
    """Bytes a second over Ethernet, by node."""
    return f"sum by (instance) ({rate(f'node_network_receive_bytes_total{{{INTERFACES}}}')})"


def sent() -> str:
    """Bytes a second over Ethernet, by node."""
    return f"sum by (instance) ({rate(f'node_network_transmit_bytes_total{{{INTERFACES}}}')})"


def _ethernet() -> list[Line]:
    troubles = (
        ("received, dropped", "receive_drop"),
        ("received, bad", "receive_errs"),
        ("to send, dropped", "transmit_drop"),
        ("to send, bad", "transmit_errs"),
    )
    return [
        Line(
            8,
            per_node(
                "Received: busiest nodes",
                "Bytes a second that a node receives over Ethernet: the ten nodes that receive most.",
                "Bps",
                lines(f"topk(10, {received()})", "{{instance}}"),
                width=12,
            ),
            per_node(
                "Sent: busiest nodes",
                "Bytes a second that a node sends over Ethernet: the ten nodes that send most.",
                "Bps",
                lines(f"topk(10, {sent()})", "{{instance}}"),
                width=12,
            ),
        ),
        Line(
            7,
            per_node(
                "TCP retransmits: worst nodes",
                "Share of TCP segments that a node sends again, in percent: the ten worst. Dashed: 1 and 5 percent.",
                "percentunit",
                lines(f"topk(10, {RETRANSMITTED})", "{{instance}}"),
                width=12,
                thresholds=RETRANSMITTED_SHARE,
            ),
            time_series(
                "Dropped and bad packets",
                "Packets a second that Ethernet interfaces dropped or found bad, of all nodes together.",
                "cps",
                *(
                    lines(f"sum({rate(f'node_network_{metric}_total{{{INTERFACES}}}')})", name)
                    for name, metric in troubles
                ),
                width=12,
                at_least=1,
                absent=NO_NODE,
            ),
        ),
    ]


def _round_trips() -> list[Line]:
    pair = [
        Column(field="instance", title="From", node=True),
        Column(field="peer", title="To", node=True),
    ]
    return [
        Line(
            8,
            time_series(
                "Round trip of all pairs",
                "Round trip of TCP between neighbours in Slurm's order and to controllers, in seconds.",
                "s",
                lines(f"max({ROUND_TRIP})", "worst"),
                lines(f"quantile(0.99, {ROUND_TRIP})", "99 %"),
                lines(f"quantile(0.5, {ROUND_TRIP})", "median"),
                width=7,
                absent=NO_PEER,
            ),
            time_series(
                "Worst pairs",
                "Round trip of the ten slowest pairs at each moment, in seconds.",
                "s",
                lines(f"topk(10, {ROUND_TRIP})", "{{instance}} → {{peer}}"),
                width=10,
                legend="table",
                by_node=True,
            ),
            listing(
                "Worst pairs now",
                "Round trip of the 50 slowest pairs now, in seconds: orange from 1 ms, red from 5 ms.",
                rows(f"topk(50, {ROUND_TRIP})"),
                width=7,
                columns=[
                    *pair,
                    Column(
                        field="Value", title="Round trip", unit="s", thresholds=ROUND_TRIP_SECONDS, width_pixels=100
                    ),
                ],
                sort_by="Round trip",
                absent=NO_PEER,
            ),
        ),
        Line(
            6,
            time_series(
                "Pairs not reached over time",
                "Number of pairs of nodes of which one does not reach the other.",
                COUNT,
                lines(UNREACHED, "pairs"),
                width=12,
                at_least=1,
                colours={"pairs": "red"},
                absent=NO_PEER,
            ),
            listing(
                "Pairs not reached now",
                "Which node does not reach which; 0 is no answer.",
                rows(f"max by (instance, peer) (fabric_peer_up{{{NODES}}} == 0)"),
                width=12,
                columns=[*pair, Column(field="Value", title="Answers", thresholds=((None, "red"), (1, "green")))],
                sort_by="From",
                descending=False,
                absent="All peers are reached",
            ),
        ),
    ]


def _nvlink() -> Line:
    def nvlink(title: str, way: str, verb: str) -> Panel:
        return per_node(
            title,
            f"Bytes a second that the GPUs of a node {verb} over NVLink: the ten busiest nodes.",
            "Bps",
            lines(f"topk(10, sum by (instance) ({per_gpu(f'DCGM_FI_PROF_NVLINK_{way}_BYTES')}))", "{{instance}}"),
            width=12,
        )

    return Line(7, nvlink("NVLink received", "RX", "receive"), nvlink("NVLink sent", "TX", "send"))
