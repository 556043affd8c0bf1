"""What the other tests of nodes rely on: the nodes are what HyperPod's would be, and see nothing else."""

import json
import os
import subprocess
import sys

import pytest

from tests.node.cluster.machine import CommandError, eventually
from tests.node.cluster.platform import EBS, GROUPS, LUSTRE_SOURCE, OPENZFS_SOURCE, Group, Platform, in_parallel
from tests.node.cluster.services import (
    DATABASE_ENDPOINT,
    DATABASE_PASSWORD,
    DATABASE_USER,
    DIRECTORY_BASE_DN,
    DIRECTORY_BIND_DN,
    DIRECTORY_BIND_PASSWORD,
    DIRECTORY_URI,
    REGION,
)


@pytest.fixture(scope="module")
def platform(workplace, trees):
    with Platform(workplace, trees, form="provisioning_parameters", layers=["pyxis"]) as platform:
        yield platform


def test_nodes_are_up_with_nothing_of_slurm_running(platform):
    assert [len(platform.machines[group.name]) for group in GROUPS] == [1, 1, 2, 2, 0]
    for machine in platform.all:
        assert machine.run("systemctl", "is-system-running").stdout == "running\n"
        units = machine.units()
        assert units["munge.service"] == units["ssh.service"] == units["docker.service"] == "active"
        for unit in ("slurmctld", "slurmd", "slurmdbd"):
            assert machine.run("systemctl", "is-enabled", unit, check=False).stdout == "disabled\n"
            assert units.get(f"{unit}.service", "inactive") == "inactive"


def test_nodes_find_themselves_and_one_another(platform):
    for machine in platform.all:
        config = json.loads(machine.read("/opt/ml/config/resource_config.json"))
        groups = {group["Name"]: group["Instances"] for group in config["InstanceGroups"]}
        assert groups["worker-p5"] is None
        addresses = [one["CustomerIpAddress"] for instances in groups.values() for one in instances or ()]
        assert set(machine.run("hostname", "--all-ip-addresses").stdout.split()) & set(addresses) == {machine.address}
        assert machine.run("hostname").stdout.strip() == machine.name
        assert platform.controller.name in machine.run("getent", "hosts", platform.controller.name).stdout


def test_munge_credentials_of_one_node_hold_on_another(platform):
    credential = platform.controller.run("munge", "--no-input").stdout
    for worker in platform.workers:
        assert "Success" in worker.run("unmunge", input=credential).stdout


def test_nodes_reach_one_another_and_nothing_outside(platform):
    [worker, *_] = platform.workers
    nodes = (platform.controller, platform.login)
    keys = [
        worker.run("ssh-keyscan", "-qt", "ed25519", node.name).stdout.partition("ssh-ed25519 ")[2] for node in nodes
    ]
    assert all(keys)
    assert keys[0] != keys[1], "each has a key of its own"
    for outside in ("1.1.1.1/53", "169.254.169.254/80", "deb.debian.org/80"):
        with pytest.raises(CommandError, match=r"Network is unreachable|Temporary failure in name resolution"):
            worker.run("timeout", "10", "bash", "-c", f"exec 3<>/dev/tcp/{outside}")


def test_users_of_a_node_log_in(platform):
    environment = platform.login.run("env", user="ubuntu", environment={"GIVEN": "a b"}).stdout.splitlines()
    assert {"HOME=/home/ubuntu", "USER=ubuntu", "GIVEN=a b"} <= set(environment)
    assert any(line.startswith("PATH=/opt/slurm/bin:") for line in environment)
    assert platform.login.shell("sudo id -un", user="ubuntu") == "root\n"


def test_file_systems_are_mounted_by_their_names_and_shared(platform):
    first, second = platform.workers[:2]
    for machine in (first, second):
        machine.run("mkdir", "--parents", "/mnt/lustre", "/mnt/nfs")
        machine.run("mount", "-t", "lustre", "-o", "noatime,flock", LUSTRE_SOURCE, "/mnt/lustre")
        machine.run("mount", "-t", "nfs", "-o", "nfsvers=4.2,nconnect=16", OPENZFS_SOURCE, "/mnt/nfs")
    first.write("/mnt/lustre/shared", "by the first")
    assert second.read("/mnt/lustre/shared") == "by the first"
    assert (platform.shared["lustre"] / "shared").read_text("utf-8") == "by the first"
    assert second.run("findmnt", "-no", "SOURCE", "/mnt/lustre").stdout.strip() == LUSTRE_SOURCE
    assert second.run("findmnt", "-no", "SOURCE", "/mnt/nfs").stdout.strip() == OPENZFS_SOURCE
    assert "mnt/lustre/shared" not in second.files(), "it is no file of the node's own"
    in_parallel(lambda machine: machine.run("umount", "/mnt/lustre", "/mnt/nfs"), [first, second])


@pytest.mark.parametrize(
    ("type", "source", "error"),
    [
        ("lustre", LUSTRE_SOURCE.replace("abcdefgh", "wrong"), "failed: No such file or directory\nIs the MGS"),
        ("lustre", "fs-unknown@tcp:/abcdefgh", "mount.lustre: Can't parse NID 'fs-unknown@tcp'"),
        ("nfs", OPENZFS_SOURCE + "/none", "failed, reason given by server: No such file or directory"),
        ("nfs4", "fs-unknown:/fsx", "Failed to resolve server fs-unknown: Name or service not known"),
    ],
)
def test_other_file_systems_are_refused_as_the_clients_do(platform, type, source, error):
    with pytest.raises(CommandError, match=error):
        platform.login.run("mount", "-t", type, source, "/mnt")


def test_the_tree_of_files_tells_every_change(platform):
    machine = platform.login
    before = machine.files()
    assert machine.files() == before
    machine.write("/etc/new", "new")
    machine.run("chmod", "600", "/etc/hosts")
    machine.run("rm", "/etc/profile.d/slurm.sh")
    machine.run("touch", "/run/volatile", "/dev/volatile")
    after = machine.files()
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if path.startswith("etc/")} == {"etc/new", "etc/hosts", "etc/profile.d/slurm.sh"}
    assert not [path for path in changed if "volatile" in path]
    assert "etc/new" not in machine.files(ignore=["etc/n*"])


def test_a_disk_that_is_full_says_so_until_it_is_larger(platform):
    machine = platform.workers[3]
    machine.resize_disk(64)
    with pytest.raises(CommandError, match="No space left on device"):
        machine.run("dd", "if=/dev/zero", "of=/var/fill", "bs=1M", "count=100")
    assert machine.run("touch", "/opt/sagemaker/still").returncode == 0, "its other disks have room"
    machine.resize_disk(512)
    machine.run("dd", "if=/dev/zero", "of=/var/fill", "bs=1M", "count=100")
    machine.run("rm", "/var/fill")


def test_packages_come_from_the_mirror_alone(platform):
    machine = platform.workers[0]
    platform.mirror.stop()
    assert "Could not connect" in machine.shell("apt-get update -o Acquire::Retries=0 2>&1")
    platform.mirror.start()
    eventually(lambda: "Get:" in machine.shell("apt-get update"))
    machine.run("apt-get", "install", "-qq", "ldap-utils")
    assert machine.exists("/usr/bin/ldapsearch")


def test_docker_starts_only_with_a_configuration_that_is_json(platform):
    machine = platform.workers[0]
    machine.write("/etc/docker/daemon.json", "{data-root: /opt}")
    assert machine.run("systemctl", "restart", "docker", check=False).returncode
    assert "unable to configure the Docker daemon" in machine.run("journalctl", "--unit=docker").stdout
    machine.write("/etc/docker/daemon.json", '{"data-root": "/opt/sagemaker/docker"}')
    machine.run("systemctl", "restart", "docker")
    assert machine.exists("/opt/sagemaker/docker/overlay2")


def test_secrets_and_objects_are_what_the_test_puts_there(platform):
    arn = platform.aws.call("secretsmanager", "create_secret", Name="munge")["ARN"]
    platform.aws.call("secretsmanager", "put_secret_value", SecretId=arn, SecretBinary=b"\x00\xff")
    platform.aws.call("s3", "create_bucket", Bucket="parts", CreateBucketConfiguration={"LocationConstraint": REGION})
    platform.aws.call("s3", "put_object", Bucket="parts", Key="part", Body=b"content")

    def aws(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        command = ("aws", *arguments, "--region", REGION)
        return platform.controller.run(*command, environment=platform.aws.environment, check=check)

    get = ("secretsmanager", "get-secret-value", "--output", "text")
    assert aws(*get, "--query", "SecretBinary", "--secret-id", arn).stdout == "AP8=\n"
    assert "ResourceNotFoundException" in aws(*get, "--secret-id", "none", check=False).stderr
    assert aws("s3", "cp", "s3://parts/part", "-").stdout == "content"
    assert "404" in aws("s3", "cp", "s3://parts/none", "-", check=False).stderr


def test_the_database_and_the_directory_speak_tls(platform):
    backroom, worker = platform.backroom, platform.workers[0]
    in_parallel(lambda start: start(), [backroom.start_database, backroom.start_directory])
    database = ("mariadb", f"--host={DATABASE_ENDPOINT}", f"--user={DATABASE_USER}", f"--password={DATABASE_PASSWORD}")
    # The client comes with the server only.
    assert "TLS_AES" in backroom.machine.run(*database, "--ssl-ca=/etc/ssl/test/ca.pem", "--execute=\\s").stdout
    search = f"LDAPTLS_CACERT=/etc/ssl/ca.pem ldapsearch -x -LLL -H {DIRECTORY_URI} -b {DIRECTORY_BASE_DN} uid=dora"
    worker.shell("apt-get update -qq && apt-get install -qq ldap-utils")
    worker.write("/etc/ssl/ca.pem", backroom.ca_certificate)
    assert "No such object" in worker.shell(f"{search} 2>&1", check=False)
    assert "uidNumber: 30001" in worker.shell(f"{search} -D {DIRECTORY_BIND_DN} -w {DIRECTORY_BIND_PASSWORD}")


def test_a_node_keeps_its_disks_when_it_restarts_and_loses_them_when_it_is_replaced(platform):
    worker = platform.workers[2]
    worker.run("touch", "/var/kept", "/opt/sagemaker/kept")
    worker.restart()
    worker.lose_power()
    worker.boot()
    assert worker.exists("/var/kept")
    assert worker.exists("/opt/sagemaker/kept")
    new = platform.replace(worker)
    assert platform.workers[2] is new
    assert new.address != worker.address
    assert not new.exists("/var/kept")
    for machine in platform.all:
        assert worker.address not in machine.read("/opt/ml/config/resource_config.json")
        assert new.address in machine.read("/opt/ml/config/resource_config.json")


def test_old_nodes_do_not_hear_of_a_new_group_s_partition(platform):
    [added] = platform.add_group(Group(name="worker-new", node_type="compute", partition="new", disks=EBS))
    parameters = "/opt/ml/config/provisioning_parameters.json"
    assert "worker-new" in added.read(parameters)
    assert "worker-new" not in platform.controller.read(parameters)
    assert "worker-new" in platform.controller.read("/opt/ml/config/resource_config.json")
    assert added.name in platform.controller.read("/opt/slurm/etc/slurm.conf")


def test_the_api_form_comes_mounted_and_with_slurm_beside_another_cluster(workplace, trees, platform):
    with Platform(workplace, trees, form="api", layers=["pyxis"], slurm_conf=["PrologFlags=Contain"]) as other:
        partitions = {"cpu": 2, "gpu": 2, "dev*": 5}
        idle = "sinfo --noheader --states=idle --format='%P %D'"
        eventually(
            lambda: (
                dict(line.split() for line in other.login.shell(idle).splitlines())
                == {name: str(count) for name, count in partitions.items()}
            )
        )
        names = other.login.run("srun", "--partition=gpu", "--nodes=2", "hostname").stdout.split()
        assert set(names) == {machine.name for machine in other.workers[2:]}
        assert other.workers[0].run("findmnt", "-no", "SOURCE", "/fsx").stdout.strip() == LUSTRE_SOURCE
        other.rewrite_slurm_conf()
        replaced = other.replace(other.workers[3])
        eventually(lambda: replaced.name in other.login.shell("sinfo --noheader --states=idle --partition=gpu -N"))
    assert platform.controller.run("hostname").stdout.strip() == platform.controller.name


def test_what_a_killed_run_leaves_is_cleared_by_the_next():
    script = (
        "import os\n"
        "from tests.node.cluster.network import Network\n"
        "from tests.node.cluster.workplace import Workplace\n"
        "with Workplace() as workplace:\n"
        "    {}\n"
        "print(workplace.name)\n"
    )
    left = (
        "Network(workplace).serve('left', 'sleep', '600'); print(workplace.name, flush=True); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": "."}

    def run(body: str) -> str:
        command = [sys.executable, "-c", script.format(body)]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()

    def namespaces() -> str:
        return subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout

    killed = run(left)
    assert f"{killed}-0" in namespaces()
    assert run("pass") != killed
    assert killed not in namespaces()


def test_runs_that_begin_at_the_same_moment_leave_each_other_alone():
    script = (
        "import fcntl, time\n"
        "from tests.node.cluster.workplace import Workplace\n"
        "def slow(file, how, lock=fcntl.flock):\n"
        "    time.sleep({})\n"
        "    lock(file, how)\n"
        "fcntl.flock = slow\n"
        "with Workplace():\n"
        "    pass\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", script.format(pause)], env=os.environ | {"PYTHONPATH": "."})
        for pause in (0.3, 0.2, 0.1)
    ]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
