"""64 nodes that start at the same moment, as processes that share two directories for their file systems."""

import json
import multiprocessing
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lifecycle import runner
from lifecycle.cluster import parse_cluster
from lifecycle.host import Host
from lifecycle.partitions import announced
from lifecycle.step import Context
from lifecycle.steps import STEPS
from tests.node.recording import RecordingHost, new_host
from tests.node.test_lifecycle_nodes import CLUSTER, PLATFORM, instance

NODES = 64
FORK = multiprocessing.get_context("fork")

# Who is not root can only give files to himself: then that is who alice is.
ALICE = (10001, 1001) if os.getuid() == 0 else (os.getuid(), os.getgid())


@dataclass(frozen=True)
class SharingHost(RecordingHost):
    """A recording host whose files have real owners, as processes see each other's."""

    owner_of = Host.owner_of
    set_owner = Host.set_owner
    move = Host.move
    remove = Host.remove

    def _chown(self, *arguments: str) -> None:
        if ":" in arguments[-2] and not arguments[-2].startswith("slurm"):
            subprocess.run(["chown", *arguments[:-1], self.locate(arguments[-1])], check=True)

    def _ssh_keygen(self, *arguments: str) -> None:
        subprocess.run(["ssh-keygen", *arguments[:-1], self.locate(arguments[-1])], check=True)


def address(number: int) -> str:
    return f"10.0.1.{number}"


def provision(directory: Path, shared: Path, barrier) -> None:
    number = int(directory.name)
    platform = json.loads(json.dumps(PLATFORM))
    platform["InstanceGroups"][2]["Instances"] = [instance(f"worker-{n}", address(n)) for n in range(NODES)]
    cluster = {key: value for key, value in CLUSTER.items() if key != "directory"}
    cluster["users"] = [{"name": "alice", "uid": ALICE[0], "gid": ALICE[1], "ssh_public_keys": []}]
    made = new_host(directory, cluster=cluster, platform=platform, address=address(number))
    host = SharingHost(**vars(made))
    for name in ("home", "fsx"):
        (host.root / name).symlink_to(shared / name)
    host.put_program("mount-s3")
    del host.state.passwd["ubuntu"]
    barrier.wait()
    succeeded = runner.run(STEPS, Context(host))
    os._exit(0 if succeeded else 1)


def test_64_nodes_that_start_together_make_one_home_and_no_rubbish(tmp_path):
    shared = tmp_path / "shared"
    for name in ("home", "fsx"):
        (shared / name).mkdir(parents=True)
    barrier = FORK.Barrier(NODES)
    processes = [
        FORK.Process(target=provision, args=(tmp_path / str(number), shared, barrier)) for number in range(NODES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    failed = [number for number, process in enumerate(processes) if process.exitcode != 0]
    assert failed == [], (tmp_path / str(failed[0]) / "root/var/log/provision/report.json").read_text()

    home = shared / "home/alice"
    assert sorted(path.name for path in home.parent.iterdir()) == ["alice"]
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (home, *home.rglob("*"))}
    assert owners == {ALICE}
    assert sorted(path.name for path in (home / ".ssh").iterdir()) == [
        "authorized_keys",
        "id_ed25519",
        "id_ed25519.pub",
    ]
    # One key pair, whose halves are of one node.
    public = subprocess.run(["ssh-keygen", "-y", "-f", home / ".ssh/id_ed25519"], capture_output=True, text=True)
    assert public.stdout.split()[:2] == (home / ".ssh/authorized_keys").read_text().split()[:2]
    assert (home / ".ssh/id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (home / ".bashrc").read_text() == "# bash\n"

    host = Host(root=tmp_path / "0/root")
    nodes = {
        announcement.node
        for announcement in announced(host, parse_cluster((tmp_path / "0/bundle/cluster.json").read_text()))
    }
    assert nodes == {"ip-" + address(number).replace(".", "-") for number in range(NODES)}
    assert not list((shared / "fsx").rglob(".*.partial"))
