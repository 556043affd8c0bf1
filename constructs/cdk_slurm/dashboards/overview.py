"""Cluster Overview: is the cluster well, and what is it doing."""

from functools import partial

from cdk_slurm.dashboards import overview_nodes
from cdk_slurm.dashboards.identifiers import OVERVIEW
from cdk_slurm.dashboards.overview_nodes import NO_SLURM, OUT_OF_SERVICE, of_groups, slurm_lines
from cdk_slurm.dashboards.page import Dashboard, Line, Section, page
from cdk_slurm.dashboards.panels import bars, number, time_series
from cdk_slurm.dashboards.queries import CLUSTER, lines, rate, rows, value
from cdk_slurm.dashboards.styles import (
    BAD_FROM_ONE,
    COUNT,
    LUSTRE_USED,
    PENDING_SECONDS,
    SEVERITY_COLOURS,
    STATE_COLOURS,
    TEMPERATURE,
    WORSE_FROM_ONE,
    ZERO_IS_BEST,
    ZERO_IS_GOOD,
)
from cdk_slurm.dashboards.tables import Column, listing
from cdk_slurm.dashboards.variables import cluster

NO_NODE = "No node reports"
NO_GPU = "No GPU reports"

#: Labels of alerts besides the node. Where no alert has one it is no column.
ABOUT = {
    "gpu": "GPU",
    "partition": "Partition",
    "mountpoint": "Mounted at",
    "job": "Exporter",
    "hpc_job": "Job",
    "instance_group": "Group",
    "state": "State",
    "reason": "Reason",
}
FIRING = f'ALERTS{{{CLUSTER},alertstate="firing"}}'


def dashboard() -> Dashboard:
    """Build it."""
    return page(
        uid=OVERVIEW,
        description="Nodes, GPUs, jobs, alerts and file systems of a cluster. A node in two partitions counts once.",
        variables=[cluster()],
        top=_now(),
        sections=[
            Section("Nodes", overview_nodes.nodes()),
            Section("Jobs", [_jobs()]),
            Section("Alerts and exporters", [_alerts()]),
            Section("Hardware", [_hardware()]),
        ],
    )


def _now() -> Line:
    slurm = partial(number, absent=NO_SLURM)
    return Line(
        4,
        slurm(
            "Usable nodes",
            "Number of compute nodes that run jobs or could.",
            COUNT,
            value(f"max(slurm_nodes_usable{{{CLUSTER}}})"),
        ),
        slurm(
            "Out of service",
            "Number of nodes that Slurm gives no jobs: draining, drained, failing, down, or of unknown state.",
            COUNT,
            value(of_groups("nodes", OUT_OF_SERVICE)),
            thresholds=ZERO_IS_BEST,
        ),
        slurm(
            "GPUs allocated",
            "Share of the cluster's GPUs that jobs have, in percent.",
            "percentunit",
            value(f"{of_groups('gpus', 'allocated')} / (sum(slurm_group_gpus{{{CLUSTER}}}) > 0)"),
            decimals=0,
            absent="No GPUs",
        ),
        slurm(
            "Running",
            "Number of jobs that run now.",
            COUNT,
            value(f'sum(slurm_queue_jobs{{{CLUSTER},state="running"}})'),
        ),
        slurm(
            "Pending",
            "Number of jobs that wait now, for any reason.",
            COUNT,
            value(f'sum(slurm_queue_jobs{{{CLUSTER},state="pending"}})'),
        ),
        slurm(
            "Oldest pending job",
            "How long the job that waits longest has waited for resources: orange from 15 minutes, red from 30.",
            "s",
            value(f"max(slurm_oldest_pending_job_seconds{{{CLUSTER}}})"),
            thresholds=PENDING_SECONDS,
        ),
        number(
            "Alerts firing",
            "Number of alerts that fire now, of severity critical and warning.",
            COUNT,
            # No series means no alert.
            value(f'count(ALERTS{{{CLUSTER},alertstate="firing",severity=~"critical|warning"}}) or vector(0)'),
            thresholds=ZERO_IS_GOOD,
        ),
        number(
            "Exporters silent",
            "Number of exporters that do not answer on nodes that do.",
            COUNT,
            value(f"sum(1 - up{{{CLUSTER}}})"),
            thresholds=ZERO_IS_BEST,
            absent=NO_NODE,
        ),
    )


def _jobs() -> Line:
    states = ("running", "completing", "configuring", "suspended", "pending")
    return Line(
        8,
        slurm_lines(
            "Jobs by state",
            "Number of jobs in the queue by their state.",
            COUNT,
            *(lines(f'sum(slurm_queue_jobs{{{CLUSTER},state="{state}"}})', state) for state in states),
            stacked=True,
            colours=STATE_COLOURS,
        ),
        bars(
            "Oldest pending job by partition",
            "How long the job that waits longest has waited for resources: orange from 15 minutes, red from 30.",
            "s",
            value(f"max by (partition) (slurm_oldest_pending_job_seconds{{{CLUSTER}}})", "{{partition}}"),
            width=8,
            thresholds=PENDING_SECONDS,
            absent=NO_SLURM,
        ),
        time_series(
            "GPU use by instance group",
            "Share of time in which GPUs ran anything, in percent, mean of the group's GPUs.",
            "percent",
            lines(f"avg by (instance_group) (DCGM_FI_DEV_GPU_UTIL{{{CLUSTER}}})", "{{instance_group}}"),
            width=8,
            maximum=100,
            absent=NO_GPU,
        ),
    )


def _alerts() -> Line:
    return Line(
        7,
        listing(
            "Alerts that fire",
            "Alerts that fire now, with what they are about. The runbook says what to do for each.",
            rows(FIRING),
            width=14,
            columns=[
                Column(field="severity", title="Severity", width_pixels=90, words=SEVERITY_COLOURS),
                Column(field="alertname", title="Alert", width_pixels=220),
                Column(field="node", title="Node", node=True),
                *(Column(field=label, title=title) for label, title in ABOUT.items()),
            ],
            sort_by="Severity",
            descending=False,
            hidden=["Value", "__name__", "alertstate", "cluster"],
            absent="No alert fires",
        ),
        listing(
            "Exporters",
            "Number of exporters that answer, that do not, and that went with their nodes in the last ten minutes.",
            rows(f"sum by (job) (up{{{CLUSTER}}})"),
            rows(f"sum by (job) (1 - up{{{CLUSTER}}})"),
            rows(
                f"count by (job) (up{{{CLUSTER}}} offset 10m unless on (job, instance) up{{{CLUSTER}}})"
                f" or 0 * count by (job) (up{{{CLUSTER}}})"
            ),
            width=10,
            columns=[
                Column(field="job", title="Exporter"),
                Column(field="Value #A", title="Answer", decimals=0),
                Column(field="Value #B", title="Silent", decimals=0, thresholds=WORSE_FROM_ONE),
                Column(field="Value #C", title="Gone", decimals=0, thresholds=BAD_FROM_ONE),
            ],
            sort_by="Exporter",
            descending=False,
            absent=NO_NODE,
        ),
    )


def _hardware() -> Line:
    shared = f'{CLUSTER},fstype=~"lustre|nfs.*"'
    interfaces = f'{CLUSTER},device=~"(en|eth).*"'
    return Line(
        8,
        time_series(
            "CPU use by kind of node",
            "Share of CPU time that is not idle, in percent, mean of the nodes.",
            "percentunit",
            lines(
                f"""1 - avg by (node_type) ({rate(f'node_cpu_seconds_total{{{CLUSTER},mode="idle"}}')})""",
                "{{node_type}}",
            ),
            width=6,
            maximum=1,
            absent=NO_NODE,
        ),
        time_series(
            "Hottest GPU",
            "Temperature of the hottest GPU of each instance group, in °C. Dashed: 75 and 85 °C.",
            "celsius",
            lines(f"max by (instance_group) (DCGM_FI_DEV_GPU_TEMP{{{CLUSTER}}})", "{{instance_group}}"),
            width=6,
            thresholds=TEMPERATURE,
            absent=NO_GPU,
        ),
        time_series(
            "Network",
            "Bytes a second that all nodes receive, over Ethernet and over EFA.",
            "Bps",
            lines(f"sum({rate(f'node_network_receive_bytes_total{{{interfaces}}}')})", "Ethernet"),
            lines(f"sum({rate(f'node_amazonefa_rx_bytes{{{CLUSTER}}}')})", "EFA"),
            width=6,
            absent=NO_NODE,
        ),
        bars(
            "Shared file systems",
            "Used share of each shared file system, in percent: orange from 75, red from 85.",
            "percentunit",
            value(
                f"1 - min by (mountpoint) (node_filesystem_avail_bytes{{{shared}}})"
                f" / max by (mountpoint) (node_filesystem_size_bytes{{{shared}}})",
                "{{mountpoint}}",
            ),
            width=6,
            thresholds=LUSTRE_USED,
            maximum=1,
            decimals=0,
            absent="None is mounted",
        ),
    )
