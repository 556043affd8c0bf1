"""What the exporters on the example's nodes say: node, DCGM and fabric."""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, product

STEP_SECONDS = 15
COUNT = 3 * 3600 // STEP_SECONDS
RANDOM = random.Random(5)  # noqa: S311 - for a picture
GIB = 2**30

Labels = dict[str, object]
Series = tuple[str, Labels, list[float]]

#: Of each metric of a GPU what it is when the GPU is idle, and what full work adds to it. Then those that do not follow
#: the load, but whether there is a job.
GPU = {
    "DEV_GPU_TEMP": (33, 34),
    "DEV_MEMORY_TEMP": (42, 34),
    "DEV_POWER_USAGE": (70, 590),
    "DEV_GPU_UTIL": (0, 98),
    "PROF_GR_ENGINE_ACTIVE": (0, 0.93),
    "PROF_PIPE_TENSOR_ACTIVE": (0, 0.52),
    "PROF_DRAM_ACTIVE": (0, 0.41),
    "PROF_PCIE_RX_BYTES": (0, 6e9),
    "PROF_PCIE_TX_BYTES": (0, 3e9),
    "PROF_NVLINK_RX_BYTES": (0, 1.4e11),
    "PROF_NVLINK_TX_BYTES": (0, 1.4e11),
}
GPU_HELD = {"DEV_FB_USED": (2500, 70000), "DEV_FB_FREE": (79000, -70000), "DEV_SM_CLOCK": (345, 1635)}

#: Counters, a second: of an EFA device, of a disk, of the network, of the node.
EFA = {
    "rx_bytes": 2e9,
    "tx_bytes": 2e9,
    "rx_pkts": 2.5e5,
    "tx_pkts": 2.5e5,
    "rdma_read_bytes": 0.9e9,
    "rdma_write_bytes": 1e9,
    "rdma_write_recv_bytes": 1e9,
    "rx_drops": 0,
    "rdma_read_wr_err": 0,
    "rdma_write_wr_err": 0,
    "retrans_pkts": 0.02,
    "retrans_timeout_events": 0,
    "impaired_remote_conn_events": 0,
    "unresponsive_remote_events": 0,
}
DISK = {
    "read_bytes": (6e5, 3e6),
    "written_bytes": (4e6, 2e7),
    "reads_completed": (20, 90),
    "writes_completed": (90, 400),
    "io_time_seconds": (0.01, 0.06),
}
NODE = {
    **{f"network_{way}_bytes_total": (2e7, 3.5e8) for way in ("receive", "transmit")},
    **{f"network_{way}_{what}_total": (0, 0) for way, what in product(("receive", "transmit"), ("drop", "errs"))},
    **{f"pressure_{what}_seconds_total": (0, 0.05) for what in ("cpu_waiting", "io_waiting", "io_stalled")},
    **{f"pressure_memory_{kind}_seconds_total": (0, 0.01) for kind in ("waiting", "stalled")},
    "netstat_Tcp_OutSegs": (900, 9000),
}
CPU = {"user": (0.05, 0.4), "system": (0.02, 0.06), "iowait": (0, 0.01), "idle": (0.93, -0.47)}
GAUGES = {
    "load1": (0.3, 5),
    "load5": (0.3, 5),
    "load15": (0.3, 5),
    "procs_running": (1, 6),
    "filefd_allocated": (4e3, 90),
}
MEMORY = {"MemTotal": 1, "MemFree": 0.52, "MemAvailable": 0.72, "Buffers": 0.01, "Cached": 0.2, "SReclaimable": 0.02}
LUSTRE = {"open": 12, "close": 12, "getattr": 40, "read": 230, "write": 25, "statfs": 0.07, "unlink": 0.4}
NFS = {"GETATTR": 9, "ACCESS": 4, "LOOKUP": 3, "READ": 2, "WRITE": 1, "OPEN": 1}


@dataclass(frozen=True)
class Node:
    """A node, and the job that has it from a moment on."""

    name: str
    group: str
    kind: str = "compute"
    gpus: int = 0
    job: int = 0
    since: int = 3

    def busy(self, index: int) -> bool:
        """Whether a job runs there."""
        return self.job > 0 and index >= self.since


P5 = [
    Node("ip-10-1-0-21", "p5", gpus=8, job=4711),
    Node("ip-10-1-0-37", "p5", gpus=8, job=4711),
    Node("ip-10-1-0-58", "p5", gpus=8, job=4711),
    Node("ip-10-1-0-94", "p5", gpus=8, job=4711),
    Node("ip-10-1-0-113", "p5", gpus=8, job=4718, since=250),
    Node("ip-10-1-0-140", "p5", gpus=8),
]
G5 = [Node("ip-10-1-0-66", "g5", gpus=1, job=4720), *(Node(f"ip-10-1-0-{n}", "g5", gpus=1) for n in (71, 102, 199))]
NODES = [Node("ip-10-1-0-10", "controller", "controller"), Node("ip-10-1-0-12", "login", "login"), *P5, *G5]
LAGGARD, HOT, BROKEN, SILENT, DOWN = P5[2], P5[1], P5[4], G5[2], G5[3]
DOWN_SINCE = 480


def of_node(node: Node) -> Iterator[Series]:
    """All series of a node."""
    load = [_load(node, index) for index in range(COUNT)]
    parts = {"node": _system(node, load), "fabric": _fabric(node, load)}
    if node.gpus:
        parts["dcgm"] = _gpus(node, load)
    for job, series in parts.items():
        own: Labels = {"job": job, "instance": node.name, "instance_group": node.group, "node_type": node.kind}
        yield "up", own, [0.0 if (job, node) == ("dcgm", SILENT) and index > 600 else 1.0 for index in range(COUNT)]
        for name, labels, values in series:
            yield name, own | labels, values


def steady(size: float, share: float = 0.05) -> list[float]:
    """Return a gauge that wavers about a size."""
    return [_noisy(size, share) for _ in range(COUNT)]


def _noisy(size: float, share: float = 0.05) -> float:
    return max(0, RANDOM.gauss(size, size * share))


def _counter(a_second: Iterable[float]) -> list[float]:
    return list(accumulate(STEP_SECONDS * one for one in a_second))


def _gauge(idle: float, work: float, load: Iterable[float], noise: float = 0.03) -> list[float]:
    return [_noisy(idle + work * one, noise) for one in load]


def _load(node: Node, index: int) -> float:
    """Work of a node from 0 to 1: training, and every twenty minutes a checkpoint, for which GPUs wait."""
    if not node.busy(index):
        return 0.02
    return 0.15 if _checkpoint(index) else _noisy(0.78 if node is LAGGARD and index > 300 else 0.93, 0.02)


def _checkpoint(index: int) -> bool:
    return index % 80 in (40, 41, 42, 43)


def _gpus(node: Node, load: list[float]) -> Iterator[Series]:
    model = "NVIDIA H100 80GB HBM3" if node.gpus == 8 else "NVIDIA A10G"
    for gpu in range(node.gpus):
        labels: Labels = {"gpu": gpu, "modelName": model, "Hostname": node.name}
        if node.job:
            labels["hpc_job"] = node.job
        hotter = [min(16, max(0, index - 560) / 9) * ((node, gpu) == (HOT, 3)) for index in range(COUNT)]
        for name, (idle, work) in GPU.items():
            if "NVLINK" in name and node.gpus == 1:
                continue
            values = _gauge(idle, work, load, 0.01)
            if name.endswith("TEMP"):
                values = [round(value + more + gpu % 4) for value, more in zip(values, hotter, strict=True)]
            yield f"DCGM_FI_{name}", labels, values
        for name, (idle, work) in GPU_HELD.items():
            yield f"DCGM_FI_{name}", labels, [float(idle + work * node.busy(index)) for index in range(COUNT)]
        worn, broken = (node, gpu) == (P5[0], 6), (node, gpu) == (BROKEN, 5)
        counts = {
            "XID_ERRORS": [94.0 * (broken and index > 500) for index in range(COUNT)],
            "ECC_SBE_VOL_TOTAL": [float(worn * index // 90) for index in range(COUNT)],
            "ECC_DBE_VOL_TOTAL": [float(broken and index > 500) for index in range(COUNT)],
            "CORRECTABLE_REMAPPED_ROWS": [float(worn)] * COUNT,
            "UNCORRECTABLE_REMAPPED_ROWS": [float(broken)] * COUNT,
            "ROW_REMAP_FAILURE": [0.0] * COUNT,
            "THERMAL_VIOLATION": _counter(2e8 * (more > 14) for more in hotter),
            "POWER_VIOLATION": _counter(4e7 * one**4 for one in load),
        }
        for name, values in counts.items():
            yield f"DCGM_FI_DEV_{name}", labels, values


def _fabric(node: Node, load: list[float]) -> Iterator[Series]:
    around = (NODES[(NODES.index(node) + away) % len(NODES)] for away in (1, 2))
    for peer in {one.name: one for one in (*around, NODES[0]) if one is not node}.values():
        there = [not (peer is DOWN and index >= DOWN_SINCE) for index in range(COUNT)]
        slow = [12 if LAGGARD in (node, peer) and index > 300 else 1 for index in range(COUNT)]
        trips = [_noisy(9e-5 * times, 0.2) if up else math.nan for times, up in zip(slow, there, strict=True)]
        yield "fabric_peer_round_trip_seconds", {"peer": peer.name}, trips
        yield "fabric_peer_up", {"peer": peer.name}, [float(up) for up in there]
    for device, (name, a_second) in product(range(4 * (node.gpus == 8)), EFA.items()):
        more = 100 if node is LAGGARD and name == "retrans_pkts" else 1
        waves = [max(0, one - 0.1) * (1.6 if index % 20 < 12 else 0.5) for index, one in enumerate(load)]
        labels: Labels = {"device": f"rdmap{79 + 16 * device}s0", "port": 1}
        yield f"node_amazonefa_{name}", labels, _counter(_gauge(0, a_second * more, waves, 0.1))
    writes = [3.1e9 if node.busy(index) and _checkpoint(index) else 4e5 for index in range(COUNT)]
    of: Labels = {"file_system": "abcdbmv"}
    yield "lustre_client_read_bytes_total", of, _counter(_gauge(2e5, 2.4e8, (one > 0.2 for one in load)))
    yield "lustre_client_write_bytes_total", of, _counter(map(_noisy, writes))
    for operation, often in LUSTRE.items():
        labels = of | {"operation": operation}
        yield "lustre_client_operations_total", labels, _counter(_gauge(often / 10, often, (one > 0.1 for one in load)))


def _system(node: Node, load: list[float]) -> Iterator[Series]:
    ethernet: Labels = {"device": "ens32"}
    for name, (idle, work) in NODE.items():
        yield f"node_{name}", ethernet if "network" in name else {}, _counter(_gauge(idle, work, load))
    yield "node_netstat_Tcp_RetransSegs", {}, _counter(steady(140 if node is LAGGARD else 2))
    for cpu, (mode, (idle, work)) in product(range(8), CPU.items()):
        yield "node_cpu_seconds_total", {"cpu": cpu, "mode": mode}, _counter(idle + work * one for one in load)
    for device, (name, (idle, work)) in product(("nvme0n1", "nvme1n1"), DISK.items()):
        yield f"node_disk_{name}_total", {"device": device}, _counter(_gauge(idle, work, load, 0.3))
    for name, (idle, work) in GAUGES.items():
        yield f"node_{name}", {}, _gauge(idle, work, load)
    for kind, share in MEMORY.items():
        size = share * GIB * (2048 if node.gpus == 8 else 64)
        yield f"node_memory_{kind}_bytes", {}, steady(size, 0 if kind == "MemTotal" else 0.01)
    for method, often in NFS.items():
        labels: Labels = {"proto": "4", "method": method}
        yield "node_nfs_requests_total", labels, _counter(steady(often * (3 if node.kind == "login" else 1), 0.2))
    for device, kind, mount, gib, used in (
        ("/dev/nvme0n1p1", "ext4", "/", 100, 0.42),
        ("/dev/nvme1n1", "xfs", "/scratch", 3500, 0.31),
        ("10.1.2.3@tcp:/abcdbmv", "lustre", "/fsx", 14400, 0.63),
        ("fs-0123abcd.fsx.us-west-2.amazonaws.com:/fsx", "nfs4", "/home", 512, 0.27),
    ):
        labels = {"device": device, "fstype": kind, "mountpoint": mount, "device_error": ""}
        grown = [used + 0.006 * (index // 80) * (kind == "lustre") for index in range(COUNT)]
        yield "node_filesystem_size_bytes", labels, [float(gib * GIB)] * COUNT
        yield "node_filesystem_avail_bytes", labels, [gib * GIB * (1 - one) for one in grown]
        yield "node_filesystem_files", labels, [1e8] * COUNT
        yield "node_filesystem_files_free", labels, [1e8 * (1 - used / 3)] * COUNT
        yield "node_filesystem_device_error", labels, [0.0] * COUNT
    for name in ("procs_blocked", "vmstat_oom_kill", "boot_time_seconds"):
        yield f"node_{name}", {}, [0.0] * COUNT
    yield "node_time_seconds", {}, [86400.0 * 9 + index * STEP_SECONDS for index in range(COUNT)]
    uname: Labels = {"nodename": node.name, "release": "6.8.0-1021-aws", "machine": "x86_64"}
    yield "node_uname_info", uname, [1.0] * COUNT
