"""Alerts on nodes: their disks, their network, and whether they are heard of at all."""

from cdk_slurm.alerts.alert import Alert
from cdk_slurm.alerts.promql import HEARD_OF_MINUTES, by_node, duration, lines, number, spoken
from cdk_slurm.spec import AlertThresholds

_HEARD_OF = duration(HEARD_OF_MINUTES)
_ON_DISK = 'fstype=~"ext[234]|xfs|btrfs|zfs"'
_SHARED = 'fstype=~"lustre|nfs.*"'
_DISK_MINUTES = 5
_EFA_MINUTES = 10


def node_alerts(thresholds: AlertThresholds) -> tuple[Alert, ...]:
    """Return the alerts on nodes."""
    return (
        _disk_nearly_full(thresholds),
        _shared_file_system_nearly_full(thresholds),
        _exporter_down(thresholds),
        _node_silent(thresholds),
        _cluster_silent(thresholds),
        _efa_errors(),
    )


def _disk_nearly_full(thresholds: AlertThresholds) -> Alert:
    limit = number(thresholds.max_disk_used_percent)
    return Alert(
        name="DiskNearlyFull",
        severity="warning",
        expression=f"max by (cluster, node, mountpoint) ({by_node(_used_percent(_ON_DISK))}) > {limit}",
        for_minutes=_DISK_MINUTES,
        summary='Disk {{ $labels.mountpoint }} of {{ $labels.node }} is {{ $value | printf "%.0f" }} % full',
        description=f"It has been above {limit} % for {spoken(_DISK_MINUTES)}. With a full disk jobs fail that write "
        "to it, and with a full / the node's daemons do.",
        action="On the node: du -xh --max-depth=2 MOUNTPOINT | sort -h | tail. Container images and Enroot's data "
        "belong on the large disk, users' files on the shared file system.",
        dashboard="cdk-slurm-node",
        dashboard_labels=("node",),
    )


def _shared_file_system_nearly_full(thresholds: AlertThresholds) -> Alert:
    limit = number(thresholds.max_lustre_used_percent)
    # Every node has it mounted, and it is one.
    return Alert(
        name="SharedFileSystemNearlyFull",
        severity="warning",
        expression=f"max by (cluster, mountpoint) ({_used_percent(_SHARED)}) > {limit}",
        for_minutes=_DISK_MINUTES,
        summary='{{ $labels.mountpoint }} is {{ $value | printf "%.0f" }} % full',
        description=f"The file system that all nodes share has been above {limit} % for {spoken(_DISK_MINUTES)}. "
        "Lustre slows down when it is this full, and a job that cannot write its checkpoint loses its work.",
        action="lfs df -h MOUNTPOINT shows whether one storage target is full before the others. Delete old "
        "checkpoints, release files that are in S3 as well (lfs hsm_release), or raise its capacity in the cluster "
        "file.",
        dashboard="cdk-slurm-lustre",
    )


def _exporter_down(thresholds: AlertThresholds) -> Alert:
    return Alert(
        name="ExporterDown",
        severity="warning",
        expression=f"max by (cluster, node, job) ({by_node('up')}) == 0",
        for_minutes=thresholds.silence_minutes,
        summary="Exporter {{ $labels.job }} of {{ $labels.node }} is down",
        description=f"The node's collector has had no answer from it for {spoken(thresholds.silence_minutes)}. "
        "What it measures is missing from dashboards, and alerts on it cannot fire.",
        action="On the node: systemctl status cdk-slurm-JOB-exporter, journalctl -u cdk-slurm-JOB-exporter -n 50, "
        "where JOB is node, dcgm, fabric or slurm. systemctl restart it; if it stops again, the journal says why.",
        dashboard="cdk-slurm-node",
        dashboard_labels=("node",),
    )


def _node_silent(thresholds: AlertThresholds) -> Alert:
    # A range, since a series whose collector died without a word is taken for alive for five minutes more. The "for"
    # on top of it gives a node that Slurm has just come to know the time to start its collector.
    return Alert(
        name="NodeSilent",
        severity="warning",
        expression=lines(f"""
            max by (cluster, node, instance_group) (slurm_node_state)
            unless on (cluster, node) {by_node(f"present_over_time(up[{_HEARD_OF}])")}
        """),
        for_minutes=max(0.0, thresholds.silence_minutes - HEARD_OF_MINUTES),
        summary="Node {{ $labels.node }} sends no metrics",
        description=f"Slurm knows it (instance group {{{{ $labels.instance_group }}}}), but nothing has come from it "
        f"for {spoken(thresholds.silence_minutes)}: the node is down, cut off, or its collector does not run.",
        action="sinfo -N -n NODE: if Slurm has lost it too, it is the node, which HyperPod replaces or you do. If "
        "not, log in: journalctl -u cdk-slurm-collector -n 50.",
        dashboard="cdk-slurm-node",
        dashboard_labels=("node",),
    )


def _cluster_silent(thresholds: AlertThresholds) -> Alert:
    # Every other alert of a cluster needs its metrics, so that a lost permission or route would silence them all. That
    # there was a cluster is told by one series a cluster, which a day's range is cheap for.
    window = duration(max(thresholds.silence_minutes, HEARD_OF_MINUTES))
    return Alert(
        name="ClusterSilent",
        severity="critical",
        expression=lines(f"""
            max by (cluster) (max_over_time(slurm_up[1d]))
            unless on (cluster) count by (cluster) (present_over_time(up{{job="node"}}[{window}]))
        """),
        summary="No node sends metrics any more",
        description=f"Nothing has come from any of its nodes for {spoken(thresholds.silence_minutes)}, so that no "
        "other alert on it can fire. This notice ends after a day of silence.",
        action="If the cluster has been deleted, all is well. Otherwise look on a node at journalctl -u "
        "cdk-slurm-collector -n 50: the answers to its remote write tell whether permission (aps:RemoteWrite), the way "
        "to the workspace, or a limit of it is missing.",
        dashboard="cdk-slurm-overview",
    )


def _efa_errors() -> Alert:
    rising = " + ".join(
        f"increase(node_amazonefa_{counter}[5m])"
        for counter in ("retrans_timeout_events", "unresponsive_remote_events")
    )
    return Alert(
        name="EfaErrors",
        severity="warning",
        expression=f"sum by (cluster, node) ({by_node(f'({rising})')}) > 0",
        # A job that is killed leaves a burst of them behind, which is over by then.
        for_minutes=_EFA_MINUTES,
        summary="EFA of {{ $labels.node }} loses its peers",
        description='{{ $value | printf "%.0f" }} retransmissions timed out or remote nodes did not answer in the last '
        f"5 minutes, and it has gone on for {spoken(_EFA_MINUTES)}. Jobs over several nodes slow down or hang.",
        action="See in the dashboard whether one node or many are affected: one is a broken node or adapter (replace "
        "it), many are a peer that all of them talk to, or the security group. fi_info -p efa must list the devices.",
        dashboard="cdk-slurm-network",
        dashboard_labels=("node",),
    )


def _used_percent(selector: str) -> str:
    of = f"node_filesystem_avail_bytes{{{selector}}} / node_filesystem_size_bytes{{{selector}}}"
    return f"(100 - 100 * {of})"
