"""Alerts on Slurm: its jobs, its nodes, itself.

A node is in several partitions (HyperPod has all nodes in `dev`), so nothing here sums over partitions.
"""

from cdk_slurm.alerts.alert import Alert
from cdk_slurm.alerts.promql import HEARD_OF_MINUTES, duration, lines, number, spoken
from cdk_slurm.spec import AlertThresholds

_UNAVAILABLE = "draining|drained|failing|down"
_HEARD_OF = duration(HEARD_OF_MINUTES)


def slurm_alerts(thresholds: AlertThresholds) -> tuple[Alert, ...]:
    """Return the alerts on Slurm."""
    return (
        _job_pending_too_long(thresholds),
        _node_count_dropped(thresholds),
        _node_unavailable(thresholds),
        _slurm_silent(thresholds),
    )


def _job_pending_too_long(thresholds: AlertThresholds) -> Alert:
    # The metric is the age of one job, so the waiting is in the value and not in a "for": with "pending > 0 for 30
    # minutes" thirty jobs of two minutes each fire, and a "for" on top of the age would come late. Seen at the next
    # scrape (15 s) and fired at the next evaluation (30 s), the alert is at most 45 s late. It cannot flap: the age
    # only grows until the job starts.
    limit = number(thresholds.max_pending_minutes * 60)
    return Alert(
        name="JobPendingTooLong",
        severity="warning",
        expression=f"max by (cluster, partition) (slurm_oldest_pending_job_seconds) >= {limit}",
        summary="A job waits for {{ $value | humanizeDuration }} in partition {{ $labels.partition }}",
        description=f"It could run (not held, no dependency, its time has come) and has waited for "
        f"{spoken(thresholds.max_pending_minutes)} or longer for free nodes.",
        action="squeue -p PARTITION -t PD --sort=V shows which job and what it waits for. If nodes are out of use, "
        "see NodeUnavailable; if all are busy, it waits its turn: add nodes, or tell its owner.",
        dashboard="cdk-slurm-jobs",
        dashboard_labels=("partition",),
    )


def _node_count_dropped(thresholds: AlertThresholds) -> Alert:
    limit = number(thresholds.node_loss_percent)
    before = "max by (cluster) (max_over_time(slurm_nodes_usable[15m]))"
    lost = f"({before} - max by (cluster) (slurm_nodes_usable))"
    return Alert(
        name="NodeCountDropped",
        severity="critical",
        # Compared as whole numbers of nodes times percent, since 0.07 * 100 is more than 7.
        expression=lines(f"""
            {lost} >= 1
            and 100 * {lost} >= {limit} * {before}
        """),
        for_minutes=1,
        summary="{{ $value }} node{{ if gt $value 1.0 }}s{{ end }} lost within 15 minutes",
        description=f"That is {limit} % or more of the nodes that Slurm could use at some time in the last 15 minutes. "
        "This notice ends 15 minutes after the drop whether the nodes are back or not; NodeUnavailable names those "
        "that stay away.",
        action="sinfo -R says why Slurm does not use them. After a fault HyperPod replaces nodes by itself where "
        "node_recovery is automatic; look at its events. If somebody has just made the cluster smaller, all is well.",
        dashboard="cdk-slurm-overview",
    )


def _node_unavailable(thresholds: AlertThresholds) -> Alert:
    # State and reason are labels, and with a "for" each change of them (draining, then drained) would begin its time
    # anew. So: out of use now, out of use then, and never in use in between.
    window = duration(thresholds.node_unavailable_minutes)
    unavailable = f'slurm_node_state{{state=~"{_UNAVAILABLE}"}}'
    return Alert(
        name="NodeUnavailable",
        severity="warning",
        expression=lines(f"""
            max by (cluster, node, instance_group, state, reason) ({unavailable})
            and on (cluster, node) {unavailable} offset {window}
            unless on (cluster, node) max_over_time(slurm_node_state{{state!~"{_UNAVAILABLE}"}}[{window}])
        """),
        summary="Node {{ $labels.node }} is {{ $labels.state }}",
        description="Slurm gives it no new jobs. Reason: {{ if $labels.reason }}{{ $labels.reason }}{{ else }}none "
        f"given{{{{ end }}}}. It has been out of use for {spoken(thresholds.node_unavailable_minutes)} or longer "
        "(instance group {{ $labels.instance_group }}).",
        action="scontrol show node NODE tells who took it out of use and why. Once that is repaired: scontrol update "
        "nodename=NODE state=resume. If it is broken: "
        'scontrol update nodename=NODE state=fail reason="Action:Replace".',
        dashboard="cdk-slurm-node",
        dashboard_labels=("node",),
    )


def _slurm_silent(thresholds: AlertThresholds) -> Alert:
    return Alert(
        name="SlurmSilent",
        severity="critical",
        expression=lines(f"""
            count by (cluster) (present_over_time(up{{job="node"}}[{_HEARD_OF}]))
            unless on (cluster) (max by (cluster) (max_over_time(slurm_up[{_HEARD_OF}])) == 1)
        """),
        # What was heard of lies in the past already.
        for_minutes=max(0.0, thresholds.silence_minutes - HEARD_OF_MINUTES),
        summary="Slurm does not answer",
        description="{{ $value }} node{{ if gt $value 1.0 }}s{{ end }} of the cluster send metrics, but for "
        f"{spoken(thresholds.silence_minutes)} there was no answer of slurmctld, or the exporter that asks it is down. "
        "Running jobs go on; nothing new starts, and no alert on jobs or nodes of Slurm can fire.",
        action="On the controller: scontrol ping, systemctl status slurmctld, journalctl -u slurmctld -n 100. If Slurm "
        "answers, it is the exporter: systemctl status cdk-slurm-slurm-exporter.",
        dashboard="cdk-slurm-overview",
    )
