"""The programs on a node that tell its metrics; `collector` asks them, and nobody else can.

https://github.com/prometheus/node_exporter/blob/v1.9.0/README.md
https://github.com/NVIDIA/dcgm-exporter/blob/4.6.0-4.8.3/README.md
"""

from lifecycle import images, parts, programs, units
from lifecycle.cluster import Metrics
from lifecycle.errors import NotYetError, StepError
from lifecycle.host import File, all_held
from lifecycle.library import LIBRARY, PROGRAM, scripts_digest, wheel
from lifecycle.services import HARDENING, Service
from lifecycle.slurm_targets import EXPORTER_PORT
from lifecycle.step import COMPUTE, CONTROLLER, Context, Step

NODE_PORT, DCGM_PORT, FABRIC_PORT = 9100, 9400, 9109

_PATIENCE_SECONDS = 120.0
#: Of an image of a gigabyte, from a registry that may be busy.
_PULL_PATIENCE_SECONDS = 900.0

#: Jobs come first; and what has failed is started again for ever, at a pace that a node does not feel.
_SERVICE = "Restart=always\nRestartSec=15\nNice=10\nCPUWeight=20\n"
_INSTALL = "\n[Install]\nWantedBy=multi-user.target\n"


def wanted(context: Context) -> bool:
    """Want a step on every node of a cluster that is observed."""
    return context.cluster.metrics is not None


def _metrics(context: Context) -> Metrics:
    assert context.cluster.metrics
    return context.cluster.metrics


def _unit(description: str, *, after: str = "network.target") -> str:
    return f"[Unit]\nDescription={description}\nAfter={after}\nStartLimitIntervalSec=0\n\n[Service]\nType=exec\n"


# Node exporter

_COLLECTORS = (
    *("cpu", "diskstats", "filefd", "filesystem", "infiniband", "loadavg", "meminfo", "netdev", "netstat", "nfs"),
    *("pressure", "stat", "time", "uname", "vmstat"),
)
#: Of containers and of people who are logged in, which come and go; and the exporter's own, which nobody else has.
_MOUNTS_LEFT_OUT = "^/(dev|proc|sys|tmp|var/tmp|run/.+)($|/)"
_DEVICES_LEFT_OUT = "^(lo|docker.*|br-.*|veth.*)$"


def _node_exporter(context: Context) -> Service:
    program = programs.program(context.host, "node-exporter", "prometheus-node-exporter")
    options = [
        f"--web.listen-address=127.0.0.1:{NODE_PORT}",
        "--web.disable-exporter-metrics",
        "--collector.disable-defaults",
        *(f"--collector.{name}" for name in _COLLECTORS),
        # In a unit file a dollar begins the name of a variable.
        f"--collector.filesystem.mount-points-exclude={_MOUNTS_LEFT_OUT.replace('$', '$$')}",
        f"--collector.netdev.device-exclude={_DEVICES_LEFT_OUT.replace('$', '$$')}",
    ]
    unit = (
        f"{_unit('Metrics of this node')}ExecStart={program} {' '.join(options)}\nDynamicUser=yes\n{_SERVICE}"
        f"{HARDENING}CapabilityBoundingSet=\nPrivateDevices=yes\n{_INSTALL}"
    )
    return Service("cdk-slurm-node-exporter", unit, NODE_PORT, tells="node_uname_info")


def _node_exporter_do(context: Context) -> None:
    programs.unpack(context.host, "node-exporter")
    _node_exporter(context).bring_up(context.host)


NODE_EXPORTER = Step(
    name="node-exporter",
    summary="tell metrics of the node",
    is_done=lambda context: _node_exporter(context).is_up(context.host),
    do=_node_exporter_do,
    is_wanted=wanted,
    patience_seconds=_PATIENCE_SECONDS,
)


# DCGM exporter

_DCGM = "cdk-slurm-dcgm-exporter"
_COUNTERS = "/etc/cdk-slurm/dcgm-collectors.csv"
#: Where the AMI's prolog writes which job has a GPU, and what in the AMI does so.
_JOBS = "/run/slurm/dcgm-job-mapping"
_JOBS_PROLOG = "/opt/slurm/etc/prolog.d/700_dcgm_job_map_register.sh"

#: The directory has to stay the one that the container has, and is in slurmd's, which goes when slurmd stops.
_KEPT_DIRECTORY = File(
    "/etc/systemd/system/slurmd.service.d/60-cdk-slurm-metrics.conf",
    "# The DCGM exporter's container has a directory of jobs from there.\n[Service]\nRuntimeDirectoryPreserve=yes\n",
)


def _image(context: Context) -> str:
    return _metrics(context).dcgm_image or parts.locked_image(context.host, "dcgm-exporter")


def _slurmd_files(context: Context) -> list[File]:
    return [_KEPT_DIRECTORY] if _knows_jobs(context) else []


def _knows_jobs(context: Context) -> bool:
    return context.host.exists(_JOBS_PROLOG) or context.host.exists(_JOBS)


def _dcgm_exporter(context: Context) -> Service:
    image = _image(context)
    options = [
        f"--name={_DCGM}",
        *("--rm", "--pull=never", "--log-driver=none"),
        # The label Hostname is the container's.
        f"--hostname={context.node.slurm_name}",
        # What the exporter's authors name for metrics of profiling.
        *("--gpus=all", "--user=0", "--cap-drop=ALL", "--cap-add=SYS_ADMIN"),
        f"--publish=127.0.0.1:{DCGM_PORT}:9400",
        f"--volume={_COUNTERS}:{_COUNTERS}:ro",
        f"--env=DCGM_EXPORTER_COLLECTORS={_COUNTERS}",
        "--env=DCGM_EXPORTER_INTERVAL=15000",
    ]
    prepare = ""
    if _knows_jobs(context):
        options += [f"--volume={_JOBS}:{_JOBS}:ro", f"--env=DCGM_HPC_JOB_MAPPING_DIR={_JOBS}"]
        prepare = f"ExecStartPre=mkdir -p {_JOBS}\n"
    unit = (
        f"{_unit('Metrics of the GPUs', after='docker.service network-online.target')}"
        f"ExecStartPre=-docker rm --force {_DCGM}\nExecStartPre={PROGRAM}.images {image}\n{prepare}"
        f"ExecStart=docker run {' '.join(options)} {image}\nExecStopPost=-docker rm --force {_DCGM}\n"
        f"TimeoutStartSec=1800\n{_SERVICE}{_INSTALL}"
    )
    counters = context.host.read_bundled("exporters/dcgm-collectors.csv")
    if counters is None:
        raise StepError("exporters/dcgm-collectors.csv is missing beside the scripts")
    return Service(_DCGM, unit, DCGM_PORT, tells="DCGM_FI_", files=[File(_COUNTERS, counters)])


def _dcgm_is_done(context: Context) -> bool:
    return all_held(context.host, _slurmd_files(context)) and _dcgm_exporter(context).is_up(context.host)


def _dcgm_do(context: Context) -> None:
    host = context.host
    if not units.is_running(host, "docker.service"):
        raise NotYetError("docker.service does not run, and the DCGM exporter is a container")
    # Here first: what a registry says is not for the end of a unit's journal.
    images.pull(host, _image(context))
    for file in _slurmd_files(context):
        host.put(file)
        units.reload(host)
    _dcgm_exporter(context).bring_up(host)


DCGM_EXPORTER = Step(
    name="dcgm-exporter",
    summary="tell metrics of the GPUs",
    is_done=_dcgm_is_done,
    do=_dcgm_do,
    node_types=COMPUTE,
    is_wanted=lambda context: wanted(context) and context.group.gpu,
    patience_seconds=_PULL_PATIENCE_SECONDS,
    is_optional=lambda context: "dcgm" in _metrics(context).optional,
)


# Exporters of our own


def _own_unit(context: Context, description: str, module: str, rights: str, *, after: str = "network.target") -> str:
    path = f"{LIBRARY}:{wheel(context.host)}"
    return (
        # With it the unit changes when the scripts do, and is started anew.
        f"# Of scripts {scripts_digest(context.host)[:16]}\n{_unit(description, after=after)}"
        f"Environment=PYTHONPATH={path} PATH=/opt/slurm/bin:/usr/bin:/bin\n"
        f"ExecStart=/usr/bin/python3 -B -m exporters.{module}\n{rights}{_SERVICE}{HARDENING}PrivateTmp=yes\n{_INSTALL}"
    )


def _fabric_exporter(context: Context) -> Service:
    # Root, as only root may look at Lustre's statistics, and with none of root's rights beyond that.
    unit = _own_unit(context, "Metrics of the network and of Lustre", "fabric", "CapabilityBoundingSet=\n")
    return Service("cdk-slurm-fabric-exporter", unit, FABRIC_PORT, tells="fabric_collector_success")


FABRIC_EXPORTER = Step(
    name="fabric-exporter",
    summary="tell metrics of EFA, of the way to other nodes and of Lustre",
    is_done=lambda context: _fabric_exporter(context).is_up(context.host),
    do=lambda context: _fabric_exporter(context).bring_up(context.host),
    is_wanted=wanted,
    patience_seconds=_PATIENCE_SECONDS,
    is_optional=lambda context: "fabric" in _metrics(context).optional,
)


def _slurm_exporter(context: Context) -> Service:
    # As Slurm sees all jobs; resource_config.json may be root's alone.
    rights = (
        "User=slurm\nAmbientCapabilities=CAP_DAC_READ_SEARCH\nCapabilityBoundingSet=CAP_DAC_READ_SEARCH\n"
        "StateDirectory=cdk-slurm-exporter\nPrivateDevices=yes\n"
    )
    unit = _own_unit(context, "Metrics of Slurm", "slurm", rights, after="munge.service slurmctld.service")
    # Where another controller is in charge, it answers and tells nothing.
    return Service("cdk-slurm-slurm-exporter", unit, EXPORTER_PORT)


SLURM_EXPORTER = Step(
    name="slurm-exporter",
    summary="tell metrics of Slurm",
    is_done=lambda context: _slurm_exporter(context).is_up(context.host),
    do=lambda context: _slurm_exporter(context).bring_up(context.host),
    node_types=CONTROLLER,
    is_wanted=wanted,
    patience_seconds=_PATIENCE_SECONDS,
    is_optional=lambda context: "slurm" in _metrics(context).optional,
)
