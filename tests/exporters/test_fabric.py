"""The fabric exporter, on what drivers show and on real connections."""

import json
import socket
import time

import pytest

from exporters.fabric import collector as fabric
from exporters.fabric import efa, lustre, peers
from exporters.fabric.collector import COLLECTORS, FabricCollector
from lifecycle.host import Host
from tests.exporters.exposition import Read, samples_of
from tests.exporters.trees import (
    EFA_COUNTERS,
    MOUNT,
    P5_DEVICES,
    efa_counter,
    write_efa,
    write_lustre,
    write_node,
)

CACHE = "/var/spool/slurmd/conf-cache/slurm.conf"
NODES = {f"ip-10-0-0-{host}": f"10.0.0.{host}" for host in range(11, 16)}


def told(root, name: str, collect) -> Read:
    return samples_of(FabricCollector(Host(root=root), collectors={name: collect}))


# EFA


def test_each_counter_of_each_device_is_told(tmp_path):
    write_efa(tmp_path)
    read = told(tmp_path, "efa", efa.collect)
    assert read.names() == {f"node_amazonefa_{counter}" for counter in EFA_COUNTERS} | {"fabric_collector_success"}
    assert len(read.samples) == 32 * len(EFA_COUNTERS) + 1
    for number, device in enumerate(P5_DEVICES):
        for counter in EFA_COUNTERS:
            assert read(f"node_amazonefa_{counter}", device=device, port="1") == efa_counter(number, counter)
    assert read("fabric_collector_success", collector="efa") == 1


def test_a_device_may_have_other_counters(tmp_path):
    write_efa(tmp_path, ["rdmap0s6", "rdmap0s7"])
    (tmp_path / "sys/class/infiniband/rdmap0s7/ports/1/hw_counters/retrans_bytes").unlink()
    (tmp_path / "sys/class/infiniband/rdmap0s7/ports/1/hw_counters/something_new").write_text("77")
    read = told(tmp_path, "efa", efa.collect)
    assert len(read.all("node_amazonefa_retrans_bytes", "device")) == 1
    assert read("node_amazonefa_something_new", device="rdmap0s7", port="1") == 77


def test_a_node_without_efa(tmp_path):
    assert told(tmp_path, "efa", efa.collect).samples == {
        ("fabric_collector_success", frozenset({("collector", "efa")})): 1
    }


def test_a_counter_that_cannot_be_read_does_not_keep_the_others_from_being_told(tmp_path, caplog):
    write_efa(tmp_path, ["rdmap0s6", "rdmap0s7"])
    broken = tmp_path / "sys/class/infiniband/rdmap0s6/ports/1/hw_counters/rx_bytes"
    broken.unlink()
    broken.mkdir()
    read = told(tmp_path, "efa", efa.collect)
    assert read("fabric_collector_success", collector="efa") == 0
    assert read.all("node_amazonefa_rx_bytes", "device").keys() == {"rdmap0s7"}
    assert "1 counters cannot be read" in caplog.text


# Lustre


def test_lustre(tmp_path):
    write_lustre(tmp_path)
    read = told(tmp_path, "lustre", lustre.collect)
    assert read("lustre_client_read_bytes_total", file_system="abcdefgh") == 85_899_345_920
    assert read("lustre_client_write_bytes_total", file_system="abcdefgh") == 2_147_483_648
    operations = read.all("lustre_client_operations_total", "operation")
    assert {"open": 5120, "close": 5118, "mknod": 1, "read": 81920, "write": 2048}.items() <= operations.items()
    assert "read_bytes" not in operations
    assert len(operations) == 17


def test_an_older_client_counts_reads_with_their_bytes(tmp_path):
    write_lustre(tmp_path, "lustre-2.12.stats")
    read = told(tmp_path, "lustre", lustre.collect)
    assert read("lustre_client_read_bytes_total", file_system="abcdefgh") == 7_340_032
    assert read.all("lustre_client_operations_total", "operation") == {
        "read": 10,
        "write": 4,
        "osc_read": 12,
        "open": 12,
        "close": 11,
        "mknod": 2,
    }


def test_two_mounts_of_a_file_system_are_one(tmp_path):
    write_lustre(tmp_path)
    write_lustre(tmp_path, mount=MOUNT.replace("7800", "a000"))
    write_lustre(tmp_path, mount="other-fs-ffff9bc043537800")
    read = told(tmp_path, "lustre", lustre.collect)
    assert read.all("lustre_client_write_bytes_total", "file_system") == {
        "abcdefgh": 2 * 2_147_483_648,
        "other-fs": 2_147_483_648,
    }


def test_a_mount_that_nobody_has_used(tmp_path):
    directory = tmp_path / f"sys/kernel/debug/lustre/llite/{MOUNT}"
    directory.mkdir(parents=True)
    (directory / "stats").write_text("snapshot_time             1783960164.279418700 secs.nsecs\n")
    read = told(tmp_path, "lustre", lustre.collect)
    assert read("lustre_client_read_bytes_total", file_system="abcdefgh") == 0


def test_a_node_without_lustre(tmp_path):
    assert told(tmp_path, "lustre", lustre.collect).samples == {
        ("fabric_collector_success", frozenset({("collector", "lustre")})): 1
    }


# Peers


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("10.0.0.11", ["ip-10-0-0-12", "ip-10-0-0-13", "ip-10-0-0-10"]),
        ("10.0.0.13", ["ip-10-0-0-14", "ip-10-0-0-15", "ip-10-0-0-10"]),
        ("10.0.0.14", ["ip-10-0-0-15", "ip-10-0-0-11", "ip-10-0-0-10"]),
        ("10.0.0.15", ["ip-10-0-0-11", "ip-10-0-0-12", "ip-10-0-0-10"]),
    ],
)
def test_the_peers_of_a_node_are_the_next_two_and_the_controller(tmp_path, ip, expected):
    host = write_node(tmp_path, ip=ip, controllers=["10.0.0.10"], nodes=NODES, conf=CACHE)
    assert list(peers.peers_of(host)) == expected
    assert peers.peers_of(host)["ip-10-0-0-10"] == "10.0.0.10"


def test_every_node_is_measured_by_two_others(tmp_path):
    measured = []
    for name, ip in NODES.items():
        host = write_node(tmp_path / name, ip=ip, controllers=[], nodes=NODES, conf=CACHE)
        measured += peers.peers_of(host)
    assert sorted(measured) == sorted([*NODES, *NODES])


def test_the_peers_of_a_controller_are_the_other_one_and_two_nodes(tmp_path):
    host = write_node(
        tmp_path,
        ip="10.0.0.10",
        node_type="controller",
        controllers=["10.0.0.10", "10.0.0.20"],
        nodes=NODES,
        conf="/opt/slurm/etc/slurm.conf",
    )
    assert peers.peers_of(host) == {
        "ip-10-0-0-11": "10.0.0.11",
        "ip-10-0-0-12": "10.0.0.12",
        "ip-10-0-0-20": "10.0.0.20",
    }


def test_a_node_that_asked_for_its_configuration_goes_by_that(tmp_path):
    host = write_node(
        tmp_path, ip="10.0.0.12", controllers=[], nodes={"old": "10.0.0.99"}, conf="/opt/slurm/etc/slurm.conf"
    )
    host.write("/run/slurm/conf/slurm.conf", "NodeName=ip-10-0-0-[11-13]\n")
    assert peers.peers_of(host) == {"ip-10-0-0-13": "10.0.0.13", "ip-10-0-0-11": "10.0.0.11"}


def test_the_name_of_a_node_is_slurm_s(tmp_path):
    nodes = {"a": "10.0.0.11", "b": "10.0.0.12", "c": "10.0.0.13"}
    host = write_node(tmp_path, ip="10.0.0.12", controllers=["10.0.0.10"], nodes=nodes, conf=CACHE)
    assert list(peers.peers_of(host)) == ["c", "a", "ip-10-0-0-10"]


def test_a_small_cluster_has_few_peers(tmp_path):
    nodes = {"ip-10-0-0-11": "10.0.0.11"}
    host = write_node(tmp_path, ip="10.0.0.11", controllers=["10.0.0.10"], nodes=nodes, conf=CACHE)
    assert list(peers.peers_of(host)) == ["ip-10-0-0-10"]


@pytest.fixture
def port():
    """A port that three loopback addresses have free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_peers_that_answer_refuse_or_keep_silent(tmp_path, port):
    nodes = {f"node-{number}": f"127.0.0.{number}" for number in (1, 2, 3)}
    host = write_node(tmp_path, ip="127.0.0.1", controllers=["127.0.0.4", "127.0.0.5"], nodes=nodes, conf=CACHE)
    with (
        socket.create_server(("127.0.0.2", port)),
        socket.create_server(("127.0.0.4", port)),
        socket.create_server(("127.0.0.5", port), backlog=0) as full,
    ):
        # With as many connections as it takes waiting, the kernel drops what comes next.
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        time.sleep(0.1)
        start = time.monotonic()
        read = samples_of(
            FabricCollector(
                host, collectors={"peers": lambda host: peers.collect(host, port=port, timeout_seconds=0.5)}
            )
        )
        took = time.monotonic() - start
        for one in waiting:
            one.close()
    assert 0.45 < took < 1
    up = {peer: read("fabric_peer_up", peer=peer) for peer in ("node-2", "node-3", "ip-127-0-0-4", "ip-127-0-0-5")}
    assert up == {"node-2": 1, "node-3": 0, "ip-127-0-0-4": 1, "ip-127-0-0-5": 0}
    round_trips = read.all("fabric_peer_round_trip_seconds", "peer")
    assert round_trips.keys() == {"node-2", "ip-127-0-0-4"}
    assert all(0 < seconds < 0.1 for seconds in round_trips.values())
    assert read("fabric_collector_success", collector="peers") == 1


def test_a_name_that_nobody_knows_is_a_node_that_is_down(port):
    with socket.create_server(("127.0.0.2", port)):
        answered = peers.connect({"gone": "gone.invalid", "b": "127.0.0.2"}, port=port, timeout_seconds=1)
    assert answered.keys() == {"b"}


def test_when_all_answer_it_does_not_wait(tmp_path, port):
    host = write_node(tmp_path, ip="127.0.0.1", controllers=["127.0.0.2"], nodes={}, conf=CACHE)
    host.write(CACHE, "NodeName=node-1 NodeAddr=127.0.0.1\n")
    with socket.create_server(("127.0.0.2", port)):
        start = time.monotonic()
        list(peers.collect(host, port=port))
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize(
    ("node", "conf", "complaint"),
    [
        (None, "NodeName=a\n", "node.json is missing"),
        ("{", "NodeName=a\n", "JSONDecodeError"),
        ("{}", "NodeName=a\n", "KeyError"),
        (json.dumps({"node_type": "compute", "ip": "10.0.0.1", "controller_ips": []}), None, "names nodes"),
    ],
)
def test_without_knowing_the_others_the_collector_fails_and_says_so_once(tmp_path, caplog, node, conf, complaint):
    host = Host(root=tmp_path)
    if node:
        host.write("/var/log/provision/node.json", node)
    if conf:
        host.write(CACHE, conf)
    collector = FabricCollector(host, collectors={"peers": peers.collect})
    for _ in range(3):
        collector._looked_at = None
        read = samples_of(collector)
    assert read.names() == {"fabric_collector_success"}
    assert read("fabric_collector_success", collector="peers") == 0
    assert caplog.text.count(complaint) == 1


# All of it


def test_a_collector_that_fails_leaves_the_others_alone(tmp_path, caplog):
    caplog.set_level("INFO")
    write_efa(tmp_path, ["rdmap0s6"])
    (tmp_path / "sys/kernel/debug/lustre/llite").mkdir(parents=True)
    (tmp_path / "sys/kernel/debug/lustre/llite/file").write_text("not a directory")
    collector = FabricCollector(Host(root=tmp_path))
    read = samples_of(collector)
    assert read.all("fabric_collector_success", "collector") == {"efa": 1}
    assert set(COLLECTORS) == {"efa", "peers", "lustre"}
    assert read.total("fabric_collector_success") == 1
    assert len(read.all("node_amazonefa_rx_bytes", "device")) == 1
    assert "lustre: NotADirectoryError" in caplog.text
    (tmp_path / "sys/kernel/debug/lustre/llite/file").unlink()
    collector._looked_at = None
    assert samples_of(collector)("fabric_collector_success", collector="lustre") == 1
    assert "lustre: works again" in caplog.text


def test_who_asks_often_is_told_the_same(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(fabric, "MIN_INTERVAL_SECONDS", 60)
    collector = FabricCollector(Host(root=tmp_path), collectors={"efa": lambda host: asked.append(host) or ()})
    for _ in range(5):
        list(collector.collect())
    assert len(asked) == 1
