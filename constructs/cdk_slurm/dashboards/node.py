"""Node: everything about one node."""

from functools import partial

from cdk_slurm.dashboards import node_devices
from cdk_slurm.dashboards.identifiers import NODE
from cdk_slurm.dashboards.page import Dashboard, Line, Section, page
from cdk_slurm.dashboards.panels import cells, number, time_series
from cdk_slurm.dashboards.queries import CLUSTER, NODES, lines, rate, rows, value
from cdk_slurm.dashboards.styles import ANSWERS, COUNT, SHARE_USED, STATE_COLOURS
from cdk_slurm.dashboards.tables import Column, listing
from cdk_slurm.dashboards.variables import cluster, one_node

NO_NODE = "The node does not report"
NOT_IN_SLURM = "Not a node of Slurm"

#: As Slurm names the node.
IN_SLURM = f'{CLUSTER},node="$node"'

MEMORY_USED = f"1 - node_memory_MemAvailable_bytes{{{NODES}}} / node_memory_MemTotal_bytes{{{NODES}}}"
CPUS = f'count(node_cpu_seconds_total{{{NODES},mode="idle"}})'

MODE_COLOURS = {
    "user": "blue",
    "system": "orange",
    "iowait": "red",
    "nice": "light-blue",
    "softirq": "yellow",
    "irq": "light-yellow",
    "steal": "dark-red",
}

node_lines = partial(time_series, absent=NO_NODE)


def dashboard() -> Dashboard:
    """Build it."""
    return page(
        uid=NODE,
        description="One node: its state in Slurm, CPUs, memory, disks, network, EFA and GPUs.",
        variables=[cluster(), one_node()],
        top=_now(),
        sections=[
            Section("In Slurm", [_slurm()]),
            Section("CPUs and memory", _processors()),
            Section("GPUs", node_devices.gpus()),
            Section("Disks", node_devices.disks()),
            Section("Network", node_devices.network()),
        ],
    )


def _now() -> Line:
    return Line(
        4,
        number(
            "Node",
            "Whether the node's exporter answers: 1 if it does, 0 if not.",
            COUNT,
            value(f'max(up{{{NODES},job="node"}})'),
            words=ANSWERS,
            absent=NO_NODE,
        ),
        number(
            "Up for",
            "Time since the node booted.",
            "s",
            value(f"max(node_time_seconds{{{NODES}}} - node_boot_time_seconds{{{NODES}}})"),
            absent=NO_NODE,
        ),
        number("CPUs", "Number of CPUs, hardware threads each.", COUNT, value(CPUS), absent=NO_NODE),
        number(
            "CPU use",
            "Share of CPU time that is not idle, in percent.",
            "percentunit",
            value(f"""1 - avg({rate(f'node_cpu_seconds_total{{{NODES},mode="idle"}}')})"""),
            decimals=0,
            absent=NO_NODE,
        ),
        number(
            "Memory used",
            "Share of memory that is not available to programs, in percent: orange from 80, red from 90.",
            "percentunit",
            value(f"max({MEMORY_USED})"),
            thresholds=SHARE_USED,
            decimals=0,
            absent=NO_NODE,
        ),
        number(
            "Fullest disk",
            "Used share of the fullest local file system, in percent: orange from 80, red from 90.",
            "percentunit",
            value(f"max({node_devices.DISK_USED})"),
            thresholds=SHARE_USED,
            decimals=0,
            absent=NO_NODE,
        ),
        number(
            "GPUs allocated",
            "Number of the node's GPUs that Slurm has given to jobs.",
            COUNT,
            value(f"max(slurm_node_allocated_gpus{{{IN_SLURM}}})"),
            absent="No GPU",
        ),
        number(
            "Killed for memory",
            "Number of processes that the kernel killed because memory ran out, in the time shown.",
            COUNT,
            value(f"max(increase(node_vmstat_oom_kill{{{NODES}}}[$__range]))"),
            thresholds=((None, "green"), (1, "red")),
            decimals=0,
            absent=NO_NODE,
        ),
    )


def _slurm() -> Line:
    return Line(
        5,
        listing(
            "State in Slurm",
            "The node's state now, its instance group, and the reason that Slurm or somebody gave.",
            rows(f"max by (state, instance_group, reason) (slurm_node_state{{{IN_SLURM}}})"),
            width=8,
            columns=[
                Column(field="state", title="State", width_pixels=100, words=STATE_COLOURS),
                Column(field="instance_group", title="Instance group", width_pixels=130),
                Column(field="reason", title="Reason"),
            ],
            sort_by="State",
            hidden=["Value"],
            absent=NOT_IN_SLURM,
        ),
        cells(
            "State over time",
            "The states in Slurm that the node has been in: 1 where it was.",
            COUNT,
            lines(f"max by (state) (slurm_node_state{{{IN_SLURM}}})", "{{state}}"),
            width=8,
            min_step="1m",
            colours=STATE_COLOURS,
            absent=NOT_IN_SLURM,
        ),
        listing(
            "System",
            "The node's operating system: kernel, architecture and host name.",
            rows(f"max by (nodename, release, machine) (node_uname_info{{{NODES}}})"),
            width=8,
            columns=[
                Column(field="nodename", title="Host"),
                Column(field="release", title="Kernel"),
                Column(field="machine", title="Architecture"),
            ],
            sort_by="Host",
            hidden=["Value"],
            absent=NO_NODE,
        ),
    )


def _processors() -> list[Line]:
    def memory(*kinds: str) -> str:
        return " + ".join(f"node_memory_{kind}_bytes{{{NODES}}}" for kind in kinds)

    def pressure(resource: str, kind: str = "waiting") -> str:
        return f"max({rate(f'node_pressure_{resource}_{kind}_seconds_total{{{NODES}}}')})"

    cached = memory("Cached", "SReclaimable")
    return [
        Line(
            8,
            node_lines(
                "CPU by mode",
                "Share of CPU time by what it goes to, in percent of all CPUs; the rest is idle.",
                "percentunit",
                lines(f"""avg by (mode) ({rate(f'node_cpu_seconds_total{{{NODES},mode!="idle"}}')})""", "{{mode}}"),
                width=12,
                stacked=True,
                maximum=1,
                colours=MODE_COLOURS,
            ),
            node_lines(
                "Memory",
                "Memory by what holds it, in bytes.",
                "bytes",
                lines(f"{memory('MemTotal')} - ({memory('MemFree', 'Buffers')} + {cached})", "programs"),
                lines(cached, "cached files"),
                lines(memory("Buffers"), "buffers"),
                lines(memory("MemFree"), "free"),
                width=12,
                stacked=True,
                colours={"programs": "orange", "cached files": "blue", "buffers": "purple", "free": "dark-green"},
            ),
        ),
        Line(
            7,
            node_lines(
                "Load",
                "Number of processes that run or wait for a disk, mean of 1, 5 and 15 minutes, and the number of CPUs.",
                COUNT,
                *(lines(f"node_load{minutes}{{{NODES}}}", f"{minutes} min") for minutes in (1, 5, 15)),
                lines(CPUS, "CPUs"),
                width=8,
                colours={"CPUs": "text"},
            ),
            node_lines(
                "Pressure",
                "Share of time in which some process waited for CPU, memory or disks, or (stalled) all did.",
                "percentunit",
                lines(pressure("cpu"), "CPU"),
                lines(pressure("memory"), "memory"),
                lines(pressure("memory", "stalled"), "memory, stalled"),
                lines(pressure("io"), "disks"),
                lines(pressure("io", "stalled"), "disks, stalled"),
                width=8,
            ),
            node_lines(
                "Processes and open files",
                "Number of processes that run and that wait for a disk, and of open files.",
                COUNT,
                lines(f"node_procs_running{{{NODES}}}", "running"),
                lines(f"node_procs_blocked{{{NODES}}}", "blocked"),
                lines(f"node_filefd_allocated{{{NODES}}}", "open files"),
                width=8,
                right_axis="open files",
            ),
        ),
    ]
