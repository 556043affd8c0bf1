"""Directories that stand for a node's /sys and /proc, as the drivers of EFA and Lustre fill them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lifecycle.host import Host
from tests.exporters.recordings import RECORDED

#: The counters of a port that AWS documents, and one that is no number; none of the numbers is like another.
EFA_COUNTERS = (
    *("tx_bytes", "rx_bytes", "tx_pkts", "rx_pkts", "rx_drops", "send_bytes", "recv_bytes", "send_wrs", "recv_wrs"),
    *("rdma_write_wrs", "rdma_read_wrs", "rdma_write_bytes", "rdma_read_bytes", "rdma_write_wr_err"),
    *("rdma_read_wr_err", "rdma_read_resp_bytes", "rdma_write_recv_bytes", "retrans_bytes", "retrans_pkts"),
    *("retrans_timeout_events", "impaired_remote_conn_events", "unresponsive_remote_events", "lifespan"),
)
#: Of ml.p5.48xlarge: 32, four at each of eight places.
P5_DEVICES = tuple(f"rdmap{place + number}s0" for place in range(79, 199, 17) for number in range(4))

MOUNT = "abcdefgh-ffff9bc043537800"


def efa_counter(device: int, counter: str) -> int:
    """Return what the tree has: errors are few, bytes are many."""
    number = 1000 * (device + 1) + EFA_COUNTERS.index(counter)
    if counter == "lifespan":
        return 12
    if counter.endswith(("_err", "_drops", "_events")) or counter.startswith("retrans"):
        return number % 7
    return number * 1_000_003 if counter.endswith("bytes") else number * 307


def write_efa(root: Path, devices: Sequence[str] = P5_DEVICES) -> None:
    """Write what the EFA driver shows of so many adapters."""
    for number, device in enumerate(devices):
        counters = root / f"sys/class/infiniband/{device}/ports/1/hw_counters"
        counters.mkdir(parents=True)
        for counter in EFA_COUNTERS:
            (counters / counter).write_text(f"{efa_counter(number, counter)}\n", "utf-8")
        (counters / "firmware").write_text("0xbeef (new)\n", "utf-8")
        (counters.parent / "state").write_text("4: ACTIVE\n", "utf-8")


def write_lustre(root: Path, recorded: str = "lustre-2.15.stats", mount: str = MOUNT) -> None:
    """Write what the Lustre client shows of a mount, where its version does."""
    parent = "proc/fs" if "2.12" in recorded else "sys/kernel/debug"
    directory = root / f"{parent}/lustre/llite/{mount}"
    directory.mkdir(parents=True)
    (directory / "stats").write_text((RECORDED / recorded).read_text("utf-8"), "utf-8")


def write_node(
    root: Path, *, ip: str, node_type: str = "compute", controllers: Sequence[str], nodes: Mapping[str, str], conf: str
) -> Host:
    """Write what a node knows of itself, and of the others in a slurm.conf at `conf`."""
    host = Host(root=root)
    content = {"node_type": node_type, "ip": ip, "controller_ips": list(controllers)}
    host.write("/var/log/provision/node.json", json.dumps(content))
    lines = [f"NodeName={name} NodeHostname={name} NodeAddr={address} CPUs=4" for name, address in nodes.items()]
    host.write(conf, "\n".join(["ClusterName=ml-cluster", *lines, "PartitionName=dev Nodes=ALL", ""]))
    return host
