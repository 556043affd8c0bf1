"""The parts of Node about its devices: GPUs, disks and network."""

from functools import partial

from cdk_slurm.dashboards import fabric
from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import bars, time_series
from cdk_slurm.dashboards.queries import NODES, lines, rate, rows, value
from cdk_slurm.dashboards.styles import BAD_FROM_ONE, SHARE_USED, TEMPERATURE
from cdk_slurm.dashboards.tables import Column, listing

NO_GPU = "No GPU"
NO_NODE = "The node does not report"

#: Local file systems: not those in memory, of containers, or shared by the cluster.
LOCAL = f'{NODES},fstype!~"tmpfs|ramfs|devtmpfs|overlay|squashfs|iso9660|fuse.*|lustre|nfs.*"'
DISK_USED = (
    f"1 - max by (mountpoint) (node_filesystem_avail_bytes{{{LOCAL}}})"
    f" / max by (mountpoint) (node_filesystem_size_bytes{{{LOCAL}}})"
)

#: Whole disks, without what lies on them.
DISKS = f'{NODES},device!~"(loop|ram|dm-|md|sr|zram|nbd).*"'

node_lines = partial(time_series, absent=NO_NODE)
gpu_lines = partial(time_series, absent=NO_GPU)


def gpus() -> list[Line]:
    """Each GPU of the node."""

    def gpu(metric: str) -> str:
        return f"max by (gpu) ({metric}{{{NODES}}})"

    used = gpu("DCGM_FI_DEV_FB_USED")
    return [
        Line(
            8,
            gpu_lines(
                "GPU temperature",
                "Temperature of each GPU, in °C. Dashed: 75 and 85 °C.",
                "celsius",
                lines(gpu("DCGM_FI_DEV_GPU_TEMP"), "GPU {{gpu}}"),
                width=6,
                thresholds=TEMPERATURE,
            ),
            gpu_lines(
                "GPU use",
                "Share of time in which each GPU ran anything, in percent.",
                "percent",
                lines(gpu("DCGM_FI_DEV_GPU_UTIL"), "GPU {{gpu}}"),
                width=6,
                maximum=100,
            ),
            gpu_lines(
                "Tensor cores",
                "Share of cycles in which each GPU's tensor cores worked, in percent.",
                "percentunit",
                lines(gpu("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"), "GPU {{gpu}}"),
                width=6,
                maximum=1,
            ),
            gpu_lines(
                "GPU memory used",
                "Used share of each GPU's memory, in percent. Dashed: 80 and 90 percent.",
                "percentunit",
                lines(f"{used} / ({used} + {gpu('DCGM_FI_DEV_FB_FREE')})", "GPU {{gpu}}"),
                width=6,
                thresholds=SHARE_USED,
                maximum=1,
            ),
        ),
        Line(
            10,
            gpu_lines(
                "GPU power",
                "Power that each GPU draws, in watts.",
                "watt",
                lines(gpu("DCGM_FI_DEV_POWER_USAGE"), "GPU {{gpu}}"),
                width=8,
            ),
            gpu_lines(
                "NVLink",
                "Bytes a second that all GPUs of the node receive and send over NVLink.",
                "Bps",
                lines(f"sum({gpu('DCGM_FI_PROF_NVLINK_RX_BYTES')})", "received"),
                lines(f"sum({gpu('DCGM_FI_PROF_NVLINK_TX_BYTES')})", "sent"),
                width=8,
            ),
            listing(
                "GPUs",
                "Each GPU now: its model, the job that has it, and its last error (XID), 0 for none.",
                rows(f"max by (gpu, modelName, hpc_job) (DCGM_FI_DEV_XID_ERRORS{{{NODES}}})"),
                width=8,
                columns=[
                    Column(field="gpu", title="GPU", width_pixels=60),
                    Column(field="modelName", title="Model"),
                    Column(field="hpc_job", title="Job", width_pixels=80),
                    Column(field="Value", title="XID", unit="none", thresholds=BAD_FROM_ONE, width_pixels=60),
                ],
                sort_by="GPU",
                descending=False,
                absent=NO_GPU,
            ),
        ),
    ]


def disks() -> list[Line]:
    """Space, throughput and how busy disks are."""
    return [
        Line(
            8,
            bars(
                "Space used",
                "Used share of each local file system, in percent: orange from 80, red from 90, where an alert fires.",
                "percentunit",
                value(DISK_USED, "{{mountpoint}}"),
                width=6,
                thresholds=SHARE_USED,
                maximum=1,
                decimals=0,
                absent=NO_NODE,
            ),
            node_lines(
                "Throughput",
                "Bytes a second that each disk reads and writes.",
                "Bps",
                lines(f"max by (device) ({rate(f'node_disk_read_bytes_total{{{DISKS}}}')})", "{{device}} reads"),
                lines(f"max by (device) ({rate(f'node_disk_written_bytes_total{{{DISKS}}}')})", "{{device}} writes"),
                width=6,
            ),
            node_lines(
                "Operations",
                "Reads and writes a second of each disk.",
                "iops",
                lines(f"max by (device) ({rate(f'node_disk_reads_completed_total{{{DISKS}}}')})", "{{device}} reads"),
                lines(f"max by (device) ({rate(f'node_disk_writes_completed_total{{{DISKS}}}')})", "{{device}} writes"),
                width=6,
            ),
            node_lines(
                "Busy",
                "Share of time in which each disk had something to do, in percent.",
                "percentunit",
                lines(f"max by (device) ({rate(f'node_disk_io_time_seconds_total{{{DISKS}}}')})", "{{device}}"),
                width=6,
                maximum=1,
            ),
        )
    ]


def network() -> list[Line]:
    """Ethernet and EFA."""
    interfaces = f'{NODES},device=~"(en|eth).*"'
    return [
        Line(
            7,
            node_lines(
                "Ethernet",
                "Bytes a second that each interface receives and sends.",
                "Bps",
                lines(
                    f"max by (device) ({rate(f'node_network_receive_bytes_total{{{interfaces}}}')})", "{{device}} in"
                ),
                lines(
                    f"max by (device) ({rate(f'node_network_transmit_bytes_total{{{interfaces}}}')})", "{{device}} out"
                ),
                width=8,
            ),
            time_series(
                "EFA",
                "Bytes a second that all EFA devices receive and send, and of them by RDMA.",
                "Bps",
                lines(fabric.total("rx_bytes"), "received"),
                lines(fabric.total("tx_bytes"), "sent"),
                lines(fabric.total("rdma_read_bytes"), "RDMA read"),
                lines(fabric.total("rdma_write_bytes"), "RDMA written"),
                width=8,
                absent="No EFA",
            ),
            time_series(
                "Round trip to peers",
                "Round trip of TCP from this node to its neighbours and to controllers, in seconds.",
                "s",
                lines(f"max by (peer) (fabric_peer_round_trip_seconds{{{NODES}}})", "{{peer}}"),
                width=8,
                absent="No round trip is measured",
            ),
        )
    ]
