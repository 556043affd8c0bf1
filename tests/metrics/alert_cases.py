"""What makes each alert fire, and from when to when: recorded series, 15 s between samples, as if scraped."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SCRAPES_A_MINUTE = 4

#: In the place of a value: nothing was sent, or a word that the series has ended.
NONE, END = "_", "stale"

NODE = "ip-10-1-2-3"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, without their label `cluster`, and the alerts that they cause."""

    name: str
    alert: str
    series: dict[str, list[str]]
    fires: float
    """Minutes after the first sample, at which the alert fires and half a minute before does not."""

    ends: float
    """Minutes at which it fires no more and half a minute before still does."""

    labels: dict[str, str]
    """Besides cluster, severity and alertname. Exactly one alert fires."""

    summary: str
    description: str
    silent: tuple[str, ...] = ()
    """Alerts that the same series must never cause."""

    thresholds: dict[str, float] = field(default_factory=dict)


def samples(*stretches: tuple[object, float]) -> list[str]:
    """Return values, each for so many minutes."""
    return [str(value) for value, minutes in stretches for _ in range(round(minutes * SCRAPES_A_MINUTE))]


def ended() -> list[str]:
    """Return the word that a series has ended."""
    return [END]


def rising(by: float, minutes: float, *, above: float = 0) -> list[str]:
    """Return a counter that grows with each sample."""
    count = round(minutes * SCRAPES_A_MINUTE)
    return [f"{above + by * number:g}" for number in range(1, count + 1)]


def gpu(metric: str, gpu: int = 0, **labels: object) -> str:
    """Return a series of the DCGM exporter."""
    own = {"job": "dcgm", "instance": NODE, "gpu": gpu, "Hostname": NODE, "modelName": "NVIDIA A10G"} | labels
    return named(metric, own)


def named(metric: str, labels: Mapping[str, object]) -> str:
    """Return the name of a series."""
    pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{pairs}}}"


def _file_system(what: str, mountpoint: str, fstype: str, node: str = NODE) -> str:
    return f'node_filesystem_{what}_bytes{{job="node",instance="{node}",mountpoint="{mountpoint}",fstype="{fstype}"}}'


def _state(state: str, reason: str = "", node: str = NODE) -> str:
    return f'slurm_node_state{{job="slurm",node="{node}",instance_group="worker",state="{state}",reason="{reason}"}}'


_GPU = {"node": NODE, "gpu": "0"}
_XIDS = ("GpuXidError", "GpuXidMemoryError", "GpuXidApplicationError")
_APPLICATION = (
    "XID 31 is most often a fault of the program: an address out of bounds, an illegal instruction, or a process "
    "killed. This notice ends an hour after the error."
)
_IDLE = (
    "Slurm has given them to a job, and they have been busy for less than 5 % of the time for 2 hours. Nobody else can "
    "use them meanwhile."
)
_SLURM_SILENT = (
    "2 nodes of the cluster send metrics, but for 5 minutes there was no answer of slurmctld, or the exporter that "
    "asks it is down. Running jobs go on; nothing new starts, and no alert on jobs or nodes of Slurm can fire."
)
_TWO_NODES = {f'up{{job="node",instance="ip-10-1-2-{number}"}}': samples((1, 30)) for number in (3, 4)}

CASES = (
    Case(
        name="a GPU above 85 °C, though another job comes",
        alert="GpuTemperatureHigh",
        series={
            gpu("DCGM_FI_DEV_GPU_TEMP", hpc_job=7): [*samples((85, 2), (91, 3)), *ended()],
            gpu("DCGM_FI_DEV_GPU_TEMP", hpc_job=8): samples((NONE, 5), (91, 7), (70, 5)),
            gpu("DCGM_FI_DEV_GPU_TEMP", gpu=1): samples((85, 17)),
        },
        fires=7,
        ends=12,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} is at 91 °C",
        description="It has been above 85 °C for 5 minutes. A GPU this hot slows itself down, and every GPU of its "
        "job waits for it.",
    ),
    Case(
        name="a GPU above a threshold of one's own",
        alert="GpuTemperatureHigh",
        series={gpu("DCGM_FI_DEV_GPU_TEMP"): samples((70.5, 2), (71, 3), (70, 5))},
        thresholds={"max_gpu_temperature_celsius": 70.5, "gpu_temperature_minutes": 1.5},
        fires=3.5,
        ends=5,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} is at 71 °C",
        description="It has been above 70.5 °C for 1 minute 30 seconds. A GPU this hot slows itself down, and every "
        "GPU of its job waits for it.",
    ),
    Case(
        name="a GPU off the bus, and its job's processes cleaned up right after",
        alert="GpuXidError",
        series={gpu("DCGM_FI_DEV_XID_ERRORS"): samples((0, 2), (79, 1), (45, 40))},
        fires=2,
        ends=18,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} reports XID 79",
        description="XID 79 is none of those that programs cause: the GPU, its NVLink or PCIe connection, or its "
        "driver has failed. It stays until the GPU is reset or the node is replaced.",
        silent=("GpuXidMemoryError",),
    ),
    Case(
        name="a memory error contained",
        alert="GpuXidMemoryError",
        series={gpu("DCGM_FI_DEV_XID_ERRORS"): [*samples((NONE, 1), (94, 10)), *ended(), *samples((0, 5))]},
        fires=1,
        ends=11,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} contained a memory error (XID 94)",
        description="XID 94: the GPU took a bad row of its memory out of use, or is about to. Other jobs are not "
        "affected. It stays until the GPU is reset or the node reboots.",
        silent=("GpuXidError", "GpuXidApplicationError"),
    ),
    Case(
        name="a page fault, the first XID of a GPU",
        alert="GpuXidApplicationError",
        series={gpu("DCGM_FI_DEV_XID_ERRORS"): samples((NONE, 1), (31, 120))},
        fires=1,
        ends=61,
        labels=_GPU,
        summary=f"A program failed on GPU 0 of {NODE} (XID 31)",
        description=_APPLICATION,
        silent=("GpuXidError", "GpuXidMemoryError"),
    ),
    Case(
        name="a page fault after another XID",
        alert="GpuXidApplicationError",
        series={gpu("DCGM_FI_DEV_XID_ERRORS"): samples((0, 61), (31, 120))},
        fires=61,
        ends=121,
        labels=_GPU,
        summary=f"A program failed on GPU 0 of {NODE} (XID 31)",
        description=_APPLICATION,
        silent=("GpuXidError", "GpuXidMemoryError"),
    ),
    Case(
        name="a GPU slowed down a tenth of the time",
        alert="GpuThermalViolation",
        series={
            gpu("DCGM_FI_DEV_THERMAL_VIOLATION"): [
                *samples((7e9, 5)),
                *rising(1.5e9, 15, above=7e9),
                *samples((97e9, 15)),
            ],
            gpu("DCGM_FI_DEV_THERMAL_VIOLATION", gpu=1): samples((9e9, 35)),
        },
        fires=10,
        ends=25,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} slows down for heat",
        description="Heat kept its clock down for 30s of the last 5 minutes, and did so for 5 minutes before. Its job "
        "is as slow as its slowest GPU.",
    ),
    Case(
        name="an uncorrectable error, which ends the job and so the series",
        alert="GpuUncorrectableEcc",
        series={
            gpu("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", hpc_job=7): [*samples((0, 5)), *ended()],
            gpu("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"): samples((NONE, 5), (1, 90)),
            gpu("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", gpu=1): samples((3, 95)),
        },
        fires=5,
        ends=64.5,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} has uncorrectable memory errors",
        description="1 in the last hour. What a program computed with that memory is lost; the driver ends the "
        "program. This notice ends an hour after the last error.",
    ),
    Case(
        name="no spare rows left",
        alert="GpuRowRemapFailure",
        series={gpu("DCGM_FI_DEV_ROW_REMAP_FAILURE"): samples((0, 1), (1, 5), (0, 5))},
        fires=1,
        ends=6,
        labels=_GPU,
        summary=f"GPU 0 of {NODE} cannot replace bad memory any more",
        description="It has no spare rows left for a bad one. The next memory error there ends a job.",
    ),
    Case(
        name="two of a job's three GPUs idle, until it ends",
        alert="GpusIdle",
        series={
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=0, hpc_job=7): [*samples((2, 130)), *ended()],
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=1, hpc_job=7): [*samples((0, 130)), *ended()],
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=2, hpc_job=7): [*samples((97, 130)), *ended()],
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=3): samples((0, 140)),
            f'slurm_node_allocated_gpus{{job="slurm",node="{NODE}",instance_group="gpu"}}': samples((3, 130), (0, 10)),
        },
        fires=120,
        ends=130,
        labels={"node": NODE, "hpc_job": "7"},
        summary=f"2 allocated GPUs of {NODE} idle (job 7)",
        description=_IDLE,
    ),
    Case(
        name="one of three allocated GPUs idle, of jobs that are not known",
        alert="GpusIdle",
        series={
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=0): samples((0, 140)),
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=1): samples((0, 140)),
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=2): samples((60, 140)),
            gpu("DCGM_FI_DEV_GPU_UTIL", gpu=3): samples((97, 140)),
            f'slurm_node_allocated_gpus{{job="slurm",node="{NODE}",instance_group="gpu"}}': samples((3, 130), (0, 10)),
        },
        fires=120,
        ends=130,
        labels={"node": NODE},
        summary=f"1 allocated GPU of {NODE} idle",
        description=_IDLE,
    ),
    Case(
        name="one job that has waited half an hour, and many that have not",
        alert="JobPendingTooLong",
        series={
            'slurm_oldest_pending_job_seconds{job="slurm",partition="c5"}': [
                *samples((0, 0.25)),
                *rising(15, 35),
                *samples((0, 5)),
            ],
            'slurm_oldest_pending_job_seconds{job="slurm",partition="dev"}': samples((1785, 40)),
            'slurm_queue_jobs{job="slurm",partition="dev",state="pending"}': samples((50, 40)),
        },
        fires=30,
        ends=35.5,
        labels={"partition": "c5"},
        summary="A job waits for 30m 0s in partition c5",
        description="It could run (not held, no dependency, its time has come) and has waited for 30 minutes or "
        "longer for free nodes.",
    ),
    Case(
        name="a fifth of the nodes lost, each of them in dev too",
        alert="NodeCountDropped",
        series={
            'slurm_nodes_usable{job="slurm"}': samples((10, 5), (8, 30)),
            'slurm_partition_nodes_in_state{job="slurm",partition="dev",state="idle"}': samples((10, 5), (8, 30)),
            'slurm_partition_nodes_in_state{job="slurm",partition="c5",state="idle"}': samples((10, 5), (8, 30)),
        },
        fires=6,
        ends=20,
        labels={},
        summary="2 nodes lost within 15 minutes",
        description="That is 20 % or more of the nodes that Slurm could use at some time in the last 15 minutes. This "
        "notice ends 15 minutes after the drop whether the nodes are back or not; NodeUnavailable names those that "
        "stay away.",
    ),
    Case(
        name="seven of a hundred nodes lost, exactly the threshold",
        alert="NodeCountDropped",
        series={'slurm_nodes_usable{job="slurm"}': samples((100, 5), (93, 3), (100, 5))},
        thresholds={"node_loss_percent": 7},
        fires=6,
        ends=8,
        labels={},
        summary="7 nodes lost within 15 minutes",
        description="That is 7 % or more of the nodes that Slurm could use at some time in the last 15 minutes. This "
        "notice ends 15 minutes after the drop whether the nodes are back or not; NodeUnavailable names those that "
        "stay away.",
    ),
    Case(
        name="a node that drains, is drained, and comes back",
        alert="NodeUnavailable",
        series={
            _state("idle"): [*samples((1, 5)), *ended(), *samples((NONE, 24.75), (1, 10))],
            _state("draining", "GPU 3 fails"): [*samples((NONE, 5), (1, 5)), *ended()],
            _state("drained", "GPU 3 fails"): [*samples((NONE, 10), (1, 20)), *ended()],
        },
        fires=20,
        ends=30,
        labels={"node": NODE, "instance_group": "worker", "state": "drained", "reason": "GPU 3 fails"},
        summary=f"Node {NODE} is drained",
        description="Slurm gives it no new jobs. Reason: GPU 3 fails. It has been out of use for 15 minutes or longer "
        "(instance group worker).",
    ),
    Case(
        name="slurmctld does not answer",
        alert="SlurmSilent",
        series=_TWO_NODES | {'slurm_up{job="slurm"}': samples((1, 5), (0, 10), (1, 15))},
        fires=10,
        ends=15,
        labels={},
        summary="Slurm does not answer",
        description=_SLURM_SILENT,
        silent=("ClusterSilent",),
    ),
    Case(
        name="the controller is gone without a word",
        alert="SlurmSilent",
        series=_TWO_NODES | {'slurm_up{job="slurm"}': samples((1, 5), (NONE, 10), (1, 15))},
        fires=10,
        ends=15,
        labels={},
        summary="Slurm does not answer",
        description=_SLURM_SILENT,
        silent=("ClusterSilent",),
    ),
    Case(
        name="all nodes are cut off at once",
        alert="ClusterSilent",
        series={
            'slurm_up{job="slurm"}': samples((1, 10)),
            f'up{{job="node",instance="{NODE}"}}': samples((1, 10)),
        },
        fires=15,
        ends=24 * 60 + 10,
        labels={},
        summary="No node sends metrics any more",
        description="Nothing has come from any of its nodes for 5 minutes, so that no other alert on it can fire. "
        "This notice ends after a day of silence.",
        silent=("SlurmSilent", "NodeSilent", "ExporterDown"),
    ),
    Case(
        name="a disk above 90 %, and a tmpfs that is full",
        alert="DiskNearlyFull",
        series={
            _file_system("size", "/", "ext4"): samples((1e11, 20)),
            _file_system("avail", "/", "ext4"): samples((1e10, 2), (0.9e10, 10), (5e10, 8)),
            _file_system("size", "/run", "tmpfs"): samples((1e9, 20)),
            _file_system("avail", "/run", "tmpfs"): samples((0, 20)),
            _file_system("size", "/fsx", "lustre"): samples((1e12, 20)),
            _file_system("avail", "/fsx", "lustre"): samples((1e9, 20)),
        },
        fires=7,
        ends=12,
        labels={"node": NODE, "mountpoint": "/"},
        summary=f"Disk / of {NODE} is 91 % full",
        description="It has been above 90 % for 5 minutes. With a full disk jobs fail that write to it, and with a "
        "full / the node's daemons do.",
    ),
    Case(
        name="a shared file system above 85 %, on two nodes",
        alert="SharedFileSystemNearlyFull",
        series={
            series: values
            for node in (NODE, "ip-10-1-2-4")
            for series, values in {
                _file_system("size", "/fsx", "lustre", node): samples((1e12, 20)),
                _file_system("avail", "/fsx", "lustre", node): samples((1.5e11, 2), (1.2e11, 10), (5e11, 8)),
                _file_system("size", "/home", "nfs4", node): samples((1e12, 20)),
                _file_system("avail", "/home", "nfs4", node): samples((8e11, 20)),
            }.items()
        },
        fires=7,
        ends=12,
        labels={"mountpoint": "/fsx"},
        summary="/fsx is 88 % full",
        description="The file system that all nodes share has been above 85 % for 5 minutes. Lustre slows down when "
        "it is this full, and a job that cannot write its checkpoint loses its work.",
        silent=("DiskNearlyFull",),
    ),
    Case(
        name="an exporter that does not answer its collector",
        alert="ExporterDown",
        series={
            f'up{{job="dcgm",instance="{NODE}",instance_group="gpu",node_type="compute"}}': samples(
                (1, 2), (0, 10), (1, 5)
            ),
            f'up{{job="node",instance="{NODE}",instance_group="gpu",node_type="compute"}}': samples((1, 17)),
            _state("allocated"): samples((1, 17)),
            'slurm_up{job="slurm"}': samples((1, 17)),
        },
        fires=7,
        ends=12,
        labels={"node": NODE, "job": "dcgm"},
        summary=f"Exporter dcgm of {NODE} is down",
        description="The node's collector has had no answer from it for 5 minutes. What it measures is missing from "
        "dashboards, and alerts on it cannot fire.",
        silent=("NodeSilent", "SlurmSilent", "ClusterSilent"),
    ),
    Case(
        name="a node that Slurm knows and nothing comes from",
        alert="NodeSilent",
        series={
            _state("allocated"): samples((1, 20)),
            _state("idle", node="ip-10-1-2-4"): samples((1, 20)),
            f'up{{job="node",instance="{NODE}"}}': samples((1, 5), (NONE, 10), (1, 5)),
            'up{job="node",instance="ip-10-1-2-4"}': samples((1, 20)),
            'slurm_up{job="slurm"}': samples((1, 20)),
        },
        fires=10,
        ends=15,
        labels={"node": NODE, "instance_group": "worker"},
        summary=f"Node {NODE} sends no metrics",
        description="Slurm knows it (instance group worker), but nothing has come from it for 5 minutes: the node is "
        "down, cut off, or its collector does not run.",
        silent=("ExporterDown", "SlurmSilent", "ClusterSilent"),
    ),
    Case(
        name="retransmissions that time out again and again",
        alert="EfaErrors",
        series={
            f'node_amazonefa_retrans_timeout_events{{job="fabric",instance="{NODE}",device="rdmap0s6",port="1"}}': [
                *samples((4, 5)),
                *rising(3, 15, above=4),
                *samples((184, 15)),
            ],
            f'node_amazonefa_unresponsive_remote_events{{job="fabric",instance="{NODE}",device="rdmap0s6",port="1"}}': (
                samples((2, 35))
            ),
        },
        fires=15,
        ends=25,
        labels={"node": NODE},
        summary=f"EFA of {NODE} loses its peers",
        description="60 retransmissions timed out or remote nodes did not answer in the last 5 minutes, and it has "
        "gone on for 10 minutes. Jobs over several nodes slow down or hang.",
    ),
)

#: What looks like a fault and is none.
QUIET = {
    "NodeCountDropped: one of ten nodes lost": {
        'slurm_nodes_usable{job="slurm"}': samples((10, 5), (9, 30)),
    },
    "NodeCountDropped: slurmctld restarts": {
        'slurm_nodes_usable{job="slurm"}': samples((10, 5), (0, 0.5), (10, 30)),
    },
    "NodeUnavailable: a node of which Slurm learns while it boots": {
        _state("down", "Not responding"): [*samples((NONE, 20), (1, 10)), *ended()],
        _state("idle"): samples((NONE, 30), (1, 30)),
    },
    "NodeUnavailable: drained twice for ten minutes": {
        _state("drained", "test"): [*samples((1, 10)), *ended(), *samples((NONE, 4.75), (1, 10)), *ended()],
        _state("idle"): [*samples((NONE, 10), (1, 5)), *ended(), *samples((NONE, 9.75), (1, 20))],
    },
    "NodeSilent: a node that Slurm knows before its collector runs": {
        _state("idle"): samples((1, 30)),
        f'up{{job="node",instance="{NODE}"}}': samples((NONE, 4), (1, 26)),
    },
    "EfaErrors: a burst when a job is killed": {
        f'node_amazonefa_retrans_timeout_events{{job="fabric",instance="{NODE}"}}': samples((0, 10), (90, 40)),
        f'node_amazonefa_unresponsive_remote_events{{job="fabric",instance="{NODE}"}}': samples((0, 10), (8, 40)),
    },
    "GpusIdle: GPUs that nobody has": {
        gpu("DCGM_FI_DEV_GPU_UTIL"): samples((0, 200)),
        f'slurm_node_allocated_gpus{{job="slurm",node="{NODE}",instance_group="gpu"}}': samples((0, 200)),
    },
    "GpusIdle: a job that pauses": {
        gpu("DCGM_FI_DEV_GPU_UTIL", hpc_job=7): samples((0, 100), (90, 6), (0, 100)),
    },
    "GpuXidError: programs that fail": {
        gpu("DCGM_FI_DEV_XID_ERRORS", gpu=number): samples((0, 2), (xid, 60))
        for number, xid in enumerate((13, 31, 43, 45, 68, 109))
    },
    "GpuThermalViolation: a moment's heat": {
        gpu("DCGM_FI_DEV_THERMAL_VIOLATION"): samples((0, 10), (2e9, 30)),
    },
    "ExporterDown: a node that is gone": {
        f'up{{job="node",instance="{NODE}"}}': samples((1, 10), (NONE, 30)),
    },
    "SlurmSilent: slurmctld restarts": {
        f'up{{job="node",instance="{NODE}"}}': samples((1, 30)),
        'slurm_up{job="slurm"}': samples((1, 10), (0, 4), (1, 16)),
    },
}
