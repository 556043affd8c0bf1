"""Sends what the node's exporters tell to Amazon Managed Service for Prometheus: Prometheus in agent mode.

It keeps on disk what it cannot send. Whole segments of its log go every two hours, and one that was not sent whole is
left for three times as long; so that is what an outage may last. What was not sent when it is stopped, is lost.

https://prometheus.io/docs/prometheus/2.53/feature_flags/#prometheus-agent
https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-onboard-ingest-metrics-remote-write-EC2.html
"""

import json
import re

from lifecycle import programs, slurm_targets, units
from lifecycle.host import File, all_held
from lifecycle.library import PROGRAM
from lifecycle.services import HARDENING, Service
from lifecycle.slurm_targets import EXPORTER_TARGETS, SLURMCTLD_PATH, SLURMCTLD_TARGETS
from lifecycle.step import Context, Step
from lifecycle.steps.metrics import DCGM_PORT, FABRIC_PORT, NODE_PORT, wanted

PORT = 9090

#: How long the first samples are waited for: a scrape, and what Prometheus gathers to send together.
_LOOKS, _PAUSE_SECONDS = 80, 0.5

#: What programs tell of themselves: each series is paid for, and nobody looks at these. And mounts look read-only to an
#: exporter that may not write.
_LEFT_OUT = "(go|process|promhttp|python)_.*|node_filesystem_readonly|node_scrape_collector_duration_seconds"

_TARGETS_UNIT = "cdk-slurm-slurm-targets"
_TARGETS_UNITS = (
    File(
        f"/etc/systemd/system/{_TARGETS_UNIT}.service",
        "[Unit]\nDescription=Where the collector finds metrics of Slurm\nStartLimitIntervalSec=0\n\n"
        # Without a line in the journal whenever it is started.
        f"[Service]\nType=oneshot\nExecStart={PROGRAM}.slurm_targets\nLogLevelMax=notice\n",
    ),
    File(
        f"/etc/systemd/system/{_TARGETS_UNIT}.timer",
        "[Unit]\nDescription=Another controller in charge, or slurmctld set to tell metrics\n\n"
        "[Timer]\nOnBootSec=15\nOnUnitInactiveSec=60\nAccuracySec=1\n\n[Install]\nWantedBy=timers.target\n",
    ),
)


def _scrape(job: str, *lines: str) -> list[str]:
    return [
        f"  - job_name: {job}",
        *lines,
        "    metric_relabel_configs:",
        f"      - {{source_labels: [__name__], regex: {_LEFT_OUT}, action: drop}}",
    ]


def _configuration(context: Context) -> File:
    node, metrics = context.node, context.cluster.metrics
    assert metrics
    labels = {"instance": node.slurm_name, "instance_group": node.instance_group, "node_type": node.node_type}
    ports = {"node": NODE_PORT, "fabric": FABRIC_PORT}
    if context.group.gpu and node.node_type == "compute":
        ports["dcgm"] = DCGM_PORT
    lines = [
        "# Written by cdk-slurm.",
        "global:",
        "  scrape_interval: 15s",
        "  scrape_timeout: 10s",
        "  external_labels:",
        f"    cluster: {json.dumps(context.cluster.name)}",
        "scrape_configs:",
    ]
    for job, port in ports.items():
        target = json.dumps({"targets": [f"127.0.0.1:{port}"], "labels": labels})
        lines += _scrape(job, f"    static_configs: [{target}]")
    if node.node_type == "controller":
        lines += _scrape("slurm", f"    file_sd_configs: [{{files: [{EXPORTER_TARGETS}]}}]")
        lines += _scrape(
            "slurmctld",
            f"    metrics_path: {SLURMCTLD_PATH}",
            f"    file_sd_configs: [{{files: [{SLURMCTLD_TARGETS}]}}]",
        )
    lines += [
        "remote_write:",
        f"  - url: {json.dumps(metrics.remote_write_url)}",
        # As the node's role, which the SDK finds by itself.
        f"    sigv4: {{region: {context.cluster.region}}}",
        "    queue_config:",
        "      min_shards: 1",
        "      max_shards: 4",
        "      batch_send_deadline: 5s",
        "      max_backoff: 10s",
        # All nodes send at once what an outage has held up, which may be more than the workspace takes in a second.
        "      retry_on_http_429: true",
        "",
    ]
    return File("/etc/cdk-slurm/collector.yml", "\n".join(lines))


def _collector(context: Context) -> Service:
    configuration = _configuration(context)
    options = [
        "--enable-feature=agent",
        f"--config.file={configuration.path}",
        "--storage.agent.path=/var/lib/cdk-slurm-collector",
        "--storage.agent.wal-truncate-frequency=2h",
        "--storage.agent.retention.max-time=8h",
        # At the end of a node nobody waits a minute for a receiver that is down.
        "--storage.remote.flush-deadline=10s",
        f"--web.listen-address=127.0.0.1:{PORT}",
    ]
    unit = (
        "[Unit]\nDescription=Sends the metrics of this node\nWants=network-online.target\n"
        "After=network-online.target\nStartLimitIntervalSec=0\n\n"
        f"[Service]\nType=exec\nExecStart={programs.program(context.host, 'prometheus', 'prometheus')} "
        f"{' '.join(options)}\nDynamicUser=yes\nStateDirectory=cdk-slurm-collector\n"
        # Two of the node's many processors, and less memory than it may have, so that it collects its garbage first.
        "Environment=GOMAXPROCS=2 GOMEMLIMIT=400MiB\nMemoryMax=512M\n"
        f"Restart=always\nRestartSec=1\nTimeoutStopSec=30\nNice=10\nCPUWeight=20\n{HARDENING}"
        "CapabilityBoundingSet=\nPrivateDevices=yes\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    return Service("cdk-slurm-collector", unit, PORT, tells="prometheus_agent_active_series", files=[configuration])


def _is_done(context: Context) -> bool:
    host = context.host
    if context.node.node_type == "controller" and not (
        all_held(host, _TARGETS_UNITS) and units.is_up(host, f"{_TARGETS_UNIT}.timer") and slurm_targets.are_there(host)
    ):
        return False
    if not _collector(context).is_up(host):
        return False
    if (trouble := _trouble(context)) is not None:
        _tell(context, trouble)
    return True


def _do(context: Context) -> None:
    host = context.host
    programs.unpack(host, "prometheus")
    if context.node.node_type == "controller":
        for file in _TARGETS_UNITS:
            host.put(file)
        units.reload(host)
        slurm_targets.begin(host, context.cluster, context.node)
        units.start(host, f"{_TARGETS_UNIT}.timer")
    _collector(context).bring_up(host)
    for _ in range(_LOOKS):
        trouble = _trouble(context)
        if trouble != _NOTHING_SENT:
            break
        host.sleep(_PAUSE_SECONDS)
    if trouble is not None:
        _tell(context, trouble)


_NOTHING_SENT = "has taken no samples yet"


def _trouble(context: Context) -> str | None:
    """Return what is wrong with sending; None where all is well.

    A node without metrics can do its work, and a workspace that does not answer must not keep a cluster from growing:
    so this does not fail the step.
    """
    told = context.host.fetch(_collector(context).url) or ""

    def total(name: str) -> float:
        return sum(map(float, re.findall(rf"^prometheus_remote_storage_{name}(?:{{.*}})? (\S+)$", told, re.MULTILINE)))

    if not total("queue_highest_sent_timestamp_seconds"):
        return _NOTHING_SENT
    # One that comes too late now and then is not what is looked for here.
    refused = total("samples_failed_total")
    accepted = total("samples_total") - total("samples_retried_total") - refused
    return "refuses samples" if refused > accepted else None


def _tell(context: Context, trouble: str) -> None:
    metrics = context.cluster.metrics
    assert metrics
    journal = units.last_words(context.host, _collector(context).full_name)
    said = re.findall(r'\berr="((?:[^"\\]|\\.)*)"', journal)
    why = ": " + said[-1].replace('\\"', '"') if said else ""
    context.warn(f"{metrics.remote_write_url} {trouble}{why}")


STEP = Step(
    name="collector",
    summary="send metrics to the workspace",
    is_done=_is_done,
    do=_do,
    is_wanted=wanted,
)
