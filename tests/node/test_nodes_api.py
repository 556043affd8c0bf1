"""Form `api` on real nodes: HyperPod sets Slurm up, and our scripts extend it, whichever of the two is first."""

import base64
import json

import pytest

from tests.node.cluster.machine import eventually
from tests.node.cluster.platform import Platform
from tests.node.cluster.studio import SECRET, STUDIO, make_what_studio_takes
from tests.node.test_nodes_legacy import (
    GROUPS,
    SCHEDULER,
    changes,
    install,
    partitions_become_right,
    report,
)


@pytest.fixture(scope="module")
def platform(workplace, trees):
    """A cluster whose entry scripts have ended before HyperPod starts Slurm."""
    groups = [group for group in GROUPS if group.count]
    with Platform(
        workplace, trees, form="api", groups=groups, slurm_conf=(*SCHEDULER, "PrologFlags=Contain"), starts_slurm=False
    ) as platform:
        make_what_studio_takes(platform)
        install_with_studio(platform, platform.all)
        platform.tell_of_aws()
        run_everywhere(platform)
        yield platform


def install_with_studio(platform, machines):
    install(platform, machines, studio=STUDIO, restrict_ssh_to_jobs=True)


def as_hyperpod_sets_up_accounting(controller):
    """In form `api` HyperPod deploys MariaDB on the controller, and slurmdbd."""
    controller.run("apt-get", "-qq", "update")
    controller.run("apt-get", "-qq", "-y", "--no-install-recommends", "install", "mariadb-server", timeout_seconds=120)
    controller.run(
        "mariadb",
        "--execute=CREATE DATABASE acct; CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;"
        "GRANT ALL ON acct.* TO slurm@localhost",
    )
    controller.write(
        "/opt/slurm/etc/slurmdbd.conf",
        "AuthType=auth/munge\nDbdHost=localhost\nSlurmUser=slurm\nStorageType=accounting_storage/mysql\n"
        f"DbdAddr={controller.address}\nStorageHost=localhost\nStorageUser=slurm\nStorageLoc=acct\n",
        mode=0o600,
    )
    controller.run("chown", "slurm:slurm", "/opt/slurm/etc/slurmdbd.conf")
    controller.run("systemctl", "enable", "--now", "slurmdbd")
    controller.write(
        "/opt/slurm/etc/accounting.conf",
        f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost={controller.address}\n",
    )


def run_everywhere(platform):
    platform.run_everywhere(environment=platform.aws.environment)


@pytest.fixture(scope="module")
def started(platform):
    """The same, after HyperPod has started Slurm."""
    as_hyperpod_sets_up_accounting(platform.controller)
    platform.start_slurm()
    assert partitions_become_right(platform)
    return platform


def test_the_entry_script_ends_before_slurm_is_there_and_says_what_is_left(platform):
    for machine in platform.all:
        found = report(machine)
        left = {step["name"] for step in found["steps"] if step["state"] == "in-background"}
        assert found["state"] == "done"
        assert left == (
            {"slurm-daemon", "accounting", "slurm-accounts", "studio-client", "munge-secret"}
            if machine is platform.controller
            else {"slurm-daemon"}
        )


def test_what_was_left_is_done_once_hyperpod_has_started_slurm(started):
    for machine in started.all:
        eventually(lambda machine=machine: report(machine, "background")["state"] != "running", timeout_seconds=90)
        assert report(machine, "background")["state"] == "done"
    listed = started.controller.shell("sacctmgr --noheader --parsable2 show associations format=user")
    assert {"alice", "bob"} <= set(listed.split())


def test_people_work_on_it(started):
    login = started.login
    assert len(login.shell("srun --nodes=4 hostname", user="alice").split()) == 4
    assert login.shell("srun --partition=ml.g5.xlarge --nodes=2 hostname", user="bob").split()
    eventually(lambda: login.shell("sacct -nPX -o user,state", user="bob").split() == ["bob|COMPLETED"])


def test_partitions_are_hyperpod_s_and_what_differs_is_only_told(started):
    assert not started.controller.exists("/opt/slurm/etc/cdk-slurm-partitions.conf")
    right = started.controller.read("/opt/slurm/etc/slurm.conf")
    assert "cdk-slurm" not in right
    wrong = right.replace("PartitionName=cpu ", "PartitionName=other ")
    started.controller.write("/opt/slurm/etc/slurm.conf", wrong)
    started.run_lifecycle(started.controller, "--only", "partitions")
    [_, partitions_step] = report(started.controller)["steps"]
    assert partitions_step["warnings"] == ["slurm.conf has no partition cpu, which instance group worker is to have"]
    assert started.controller.read("/opt/slurm/etc/slurm.conf") == wrong
    started.rewrite_slurm_conf()
    assert partitions_become_right(started)


def test_a_second_run_changes_nothing(started):
    run_everywhere(started)
    before = {machine.name: (machine.files(), machine.units()) for machine in started.all}
    run_everywhere(started)
    for machine in started.all:
        states = {step["name"]: step["state"] for step in report(machine)["steps"]}
        assert set(states.values()) <= {"already-done", "not-for-this-node", "not-wanted"}, states
        files, units = before[machine.name]
        assert changes(files, machine.files()) == {}
        assert changes(units, machine.units()) == {}


def test_the_munge_key_is_in_the_secret_and_nowhere_else(started):
    key = (started.controller.root / "etc/munge/munge.key").read_bytes()
    stored = started.aws.call("secretsmanager", "get_secret_value", SecretId=SECRET)
    assert base64.b64decode(json.loads(stored["SecretString"])["munge_key"]) == key
    run_everywhere(started)
    again = started.aws.call("secretsmanager", "get_secret_value", SecretId=SECRET)
    assert again["VersionId"] == stored["VersionId"], "a key that is there already is not published again"
    for machine in started.all:
        logs = machine.shell("cat /var/log/provision/*; journalctl --no-pager")
        assert base64.b64encode(key).decode() not in logs
        assert key.hex() not in logs


def test_studio_s_workspace_belongs_to_its_owner(started):
    for machine in started.all:
        owner = machine.shell("stat --format='%u:%g %a' /fsx/shared/studio-workspace").strip()
        assert owner == "10001:1001 755"
    started.login.shell("touch /fsx/shared/studio-workspace/of-alice", user="alice")


def test_only_who_has_a_job_may_log_in_to_a_compute_node(started):
    login, worker = started.login, started.machines["worker"][0]

    def log_in(user: str) -> str:
        return login.shell(f"ssh {worker.name} hostname 2>&1", user=user, check=False)

    assert "you have no active jobs on this node" in log_in("alice")
    job = login.shell(f"sbatch --parsable --nodelist={worker.name} --wrap='sleep 60'", user="alice").strip()
    eventually(lambda: login.shell(f"squeue -h -j {job} -o %T", user="alice").strip() == "RUNNING")
    eventually(lambda: log_in("alice").split()[-1] == worker.name)
    assert "you have no active jobs on this node" in log_in("bob")
    login.shell(f"scancel {job}", user="alice")
    # Administrators always.
    assert log_in("ubuntu").split()[-1] == worker.name


def test_a_replaced_worker_comes_up_with_its_users_and_its_restriction(started):
    new = started.replace(started.machines["gpu-worker"][1])
    started.start_slurm([new])
    install_with_studio(started, [new])
    started.run_lifecycle(new)
    assert partitions_become_right(started)
    assert started.login.shell(f"srun --nodelist={new.name} id -un", user="alice").strip() == "alice"


def test_logs_are_rotated_and_slurm_writes_to_the_new_one(started):
    controller = started.controller
    controller.shell("logrotate --force /etc/logrotate.d/cdk-slurm")
    assert controller.exists("/var/log/slurm/slurmctld.log.1")
    controller.shell("scontrol setdebug debug; scontrol setdebug info")
    eventually(lambda: "Set debug level to" in controller.read("/var/log/slurm/slurmctld.log"))


def test_containers_have_their_data_on_the_disk_beside_the_root_volume(started):
    worker = started.machines["worker"][0]
    assert json.loads(worker.read("/etc/docker/daemon.json")) == {"data-root": "/opt/sagemaker/docker"}
    assert {"containers", "image"} <= set(worker.shell("ls /opt/sagemaker/docker").split())
    worker.shell("test ! -e /var/lib/docker/containers && touch /scratch/of-alice", user="alice")
    assert worker.shell("findmnt --noheadings --output=TARGET --target /scratch/").strip() == "/opt/sagemaker"
