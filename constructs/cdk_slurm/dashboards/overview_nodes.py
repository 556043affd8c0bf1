"""The part of Cluster Overview about nodes and what they have."""

from functools import partial

from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import time_series
from cdk_slurm.dashboards.queries import CLUSTER, lines, rows
from cdk_slurm.dashboards.styles import COUNT, STATE_COLOURS, WORSE_FROM_ONE
from cdk_slurm.dashboards.tables import Column, listing, matrix

NO_SLURM = "Slurm's exporter does not report"

#: States of nodes, each with a column of its own, called as `sinfo` does.
NODE_STATES = {
    "idle": "idle",
    "mixed": "mix",
    "allocated": "alloc",
    "completing": "comp",
    "reserved": "resv",
    "draining": "drng",
    "drained": "drain",
    "failing": "fail",
    "down": "down",
    "unknown": "unk",
}
OUT_OF_SERVICE = "draining|drained|failing|down|unknown"

#: Whose the GPUs and CPUs are.
SHARES = ("allocated", "idle", "unusable")

NODE = Column(field="node", title="Node", node=True, width_pixels=150)

slurm_lines = partial(time_series, width=8, absent=NO_SLURM)


def of_groups(what: str, states: str) -> str:
    """Nodes, GPUs or CPUs in these states, of all instance groups: each node is in one."""
    return f'sum(slurm_group_{what}{{{CLUSTER},state=~"{states}"}})'


def nodes() -> list[Line]:
    """Nodes, GPUs and CPUs by state."""
    return [
        Line(
            8,
            slurm_lines(
                "Nodes by state",
                "Number of nodes by Slurm's state, each once.",
                COUNT,
                *(lines(of_groups("nodes", state), state) for state in NODE_STATES),
                stacked=True,
                colours=STATE_COLOURS,
            ),
            slurm_lines(
                "GPUs by state",
                "Number of GPUs that jobs have, that are free, and that are free on nodes out of service.",
                COUNT,
                *(lines(of_groups("gpus", state), state) for state in SHARES),
                stacked=True,
                colours=STATE_COLOURS,
            ),
            slurm_lines(
                "CPUs by state",
                "Number of CPUs that jobs have, that are free, and that are free on nodes out of service.",
                COUNT,
                *(lines(of_groups("cpus", state), state) for state in SHARES),
                stacked=True,
                colours=STATE_COLOURS,
            ),
        ),
        Line(
            6,
            matrix(
                "Instance groups",
                "Number of nodes of each instance group now, by Slurm's state.",
                rows(f"sum by (instance_group, state) (slurm_group_nodes{{{CLUSTER}}})"),
                width=12,
                row=Column(field="instance_group", title="Group", width_pixels=90),
                by="state",
                columns=[
                    Column(
                        field=state,
                        title=title,
                        unit=COUNT,
                        width_pixels=64,
                        thresholds=WORSE_FROM_ONE if state in OUT_OF_SERVICE.split("|") else (),
                    )
                    for state, title in NODE_STATES.items()
                ],
                unit=COUNT,
                absent=NO_SLURM,
            ),
            listing(
                "Nodes out of service",
                "Nodes that Slurm gives no jobs now, with the reason that Slurm or somebody gave.",
                rows(
                    "max by (node, instance_group, state, reason)"
                    f' (slurm_node_state{{{CLUSTER},state=~"{OUT_OF_SERVICE}"}})'
                ),
                width=12,
                columns=[
                    NODE,
                    Column(field="instance_group", title="Group", width_pixels=110),
                    Column(field="state", title="State", width_pixels=90, words=STATE_COLOURS),
                    Column(field="reason", title="Reason"),
                ],
                sort_by="Node",
                descending=False,
                hidden=["Value"],
                absent="All nodes are in service",
            ),
        ),
    ]
