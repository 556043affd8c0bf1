"""Form `provisioning_parameters` on real nodes: our scripts do it all, and then people work on the cluster."""

import json
import re

import pytest

from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import EBS, Group, Platform, in_parallel

USERS = [
    {"name": "alice", "uid": 10001, "gid": 1001, "ssh_public_keys": []},
    {"name": "bob", "uid": 10002, "gid": 1001, "ssh_public_keys": []},
]
GROUPS = (
    Group(name="controller", node_type="controller", disks=EBS),
    Group(name="login", node_type="login", disks=EBS),
    Group(name="worker", node_type="compute", count=2, partition="cpu", disks=EBS),
    Group(name="gpu-worker", node_type="compute", count=2, partition="ml.g5.xlarge", disks=EBS),
    Group(name="to-come", node_type="compute", count=0, partition="to-come"),
)
#: Tests do not wait half a minute for the scheduler's next look.
SCHEDULER = ("SchedulerParameters=sched_interval=2,bf_interval=2",)


@pytest.fixture(scope="module")
def platform(workplace, trees):
    """A cluster on which the entry script has run everywhere at once."""
    with Platform(workplace, trees, form="provisioning_parameters", groups=GROUPS, slurm_conf=SCHEDULER) as platform:
        install(platform, platform.all)
        platform.run_everywhere()
        yield platform


def install(platform: Platform, machines: list[Machine], **more: object) -> None:
    """Give nodes the bundle of a cluster with the users."""
    content = platform.cluster_json(**{"users": USERS} | more)
    in_parallel(lambda machine: platform.install_bundle(machine, content), machines)


def report(machine: Machine, name: str = "report") -> dict:
    return json.loads(machine.read(f"/var/log/provision/{name}.json"))


def partitions(platform: Platform) -> dict[str, set[str]]:
    """Return the nodes of each partition that can take jobs, as sinfo has them."""
    found: dict[str, set[str]] = {}
    for line in platform.controller.shell("sinfo --noheader --Node --format='%R %N %T'").splitlines():
        name, node, state = line.split()
        if state == "idle":
            found.setdefault(name, set()).add(node)
    return found


def expected(platform: Platform) -> dict[str, set[str]]:
    named = {
        group.partition: {machine.name for machine in platform.machines[group.name]}
        for group in platform.groups
        if group.partition and platform.machines[group.name]
    }
    others = {machine.name for machine in platform.all if machine is not platform.controller}
    return {**named, "dev": others}


def partitions_become_right(platform: Platform, timeout_seconds: float = 60) -> bool:
    def agree() -> bool:
        assert partitions(platform) == expected(platform)
        return True

    return eventually(agree, timeout_seconds=timeout_seconds)


@pytest.fixture
def login(platform):
    return platform.login


def test_sinfo_shows_a_partition_for_each_group_and_dev(platform):
    assert partitions_become_right(platform)
    assert set(partitions(platform)) == {"dev", "cpu", "ml.g5.xlarge"}
    # A group that has no instance yet has its partition all the same.
    assert "to-come" in platform.controller.shell("sinfo --noheader --format=%R").split()


def test_no_node_was_asked_to_do_anything_by_hand(platform):
    for machine in platform.all:
        found = report(machine)
        assert (found["state"], found["node"]["ip"]) == ("done", machine.address)


def test_a_second_run_changes_nothing(platform):
    before = {machine.name: (machine.files(), machine.units()) for machine in platform.all}
    platform.run_everywhere()
    for machine in platform.all:
        states = {step["name"]: step["state"] for step in report(machine)["steps"]}
        assert set(states.values()) <= {"already-done", "not-for-this-node", "not-wanted"}, states
        files, units = before[machine.name]
        assert changes(files, machine.files()) == {}
        assert changes(units, machine.units()) == {}


#: What goes on by itself while nobody does anything: logs, journals, databases, Slurm's own state.
LIVE = re.compile(
    r"var/log/|var/lib/mysql/|var/spool/slurm|var/lib/systemd/timers/|var/cache/ldconfig|"
    r"systemd-(logind|hostnamed|tmpfiles-clean)|user@|user-runtime|session|cdk-slurm-partitions.service|^var/lib/mysql$|"
    r"^var/spool$|var/log$"
)


def changes(before: dict, after: dict) -> dict:
    return {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and not LIVE.search(name)
    }


# The first tutorial's chapters 11 and 13, as a user


def test_srun(login):
    assert login.shell("srun hostname", user="alice").strip().startswith("ip-10-78-0-")
    names = login.shell("srun --nodes=4 --ntasks-per-node=1 hostname", user="alice").split()
    assert len(set(names)) == 4
    assert len(login.shell("srun --nodes=2 --ntasks-per-node=2 hostname", user="alice").split()) == 4


def test_each_partition_runs_jobs_on_its_own_nodes(platform, login):
    for partition, names in expected(platform).items():
        ran = login.shell(f"srun --partition={partition} --nodes={len(names)} hostname", user="alice").split()
        assert set(ran) == names


TEST_JOB = """\
#!/bin/bash

#SBATCH --job-name=test-job
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --output=%x_%j.out
#SBATCH --error=%x_%j.err

srun hostname
srun sleep 1
srun date
"""

DISTRIBUTED_JOB = """\
#!/bin/bash

#SBATCH --job-name=distributed-test
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=2
#SBATCH --output=%x_%j.out
#SBATCH --error=%x_%j.err

echo "Tasks: $SLURM_NTASKS"
srun bash -c 'echo "Node: $(hostname), Task: $SLURM_PROCID, Result: $((SLURM_PROCID * 100))"'
"""


def submit(login, name: str, script: str) -> str:
    """Submit a job from the user's home, wait for it, and return its output."""
    login.write(f"/home/alice/{name}.sbatch", script)
    job = login.shell(f"sbatch --parsable --wait {name}.sbatch", user="alice").split(";")[0].strip()
    assert login.shell(f"cat {name}_{job}.err", user="alice") == ""
    return login.shell(f"cat {name}_{job}.out", user="alice")


def test_sbatch(login):
    lines = submit(login, "test-job", TEST_JOB).splitlines()
    assert len(lines) == 8
    assert len(set(lines[:4])) == 2


def test_a_distributed_job(login):
    output = submit(login, "distributed-test", DISTRIBUTED_JOB)
    assert "Tasks: 6" in output
    results = re.findall(r"Node: (\S+), Task: (\d), Result: (\d+)", output)
    assert sorted(int(task) for _, task, _ in results) == list(range(6))
    assert len({node for node, _, _ in results}) == 3
    assert all(int(result) == 100 * int(task) for _, task, result in results)


def test_salloc(login):
    script = "salloc --nodes=2 --ntasks-per-node=2 bash -c 'srun hostname; srun date'"
    assert len(login.shell(script, user="alice").splitlines()) == 8


def test_accounting_has_the_jobs(platform, login):
    login.shell("srun --job-name=counted --nodes=2 true", user="bob")

    def listed() -> str:
        return login.shell(
            "sacct --noheader --parsable2 --allocations --format=jobname,user,account,nnodes,state", user="bob"
        )

    eventually(lambda: "counted|bob|users|2|COMPLETED" in listed().splitlines())


# People


def test_users_log_in_between_nodes_and_share_files(platform, login):
    worker = platform.machines["worker"][1]
    assert login.shell(f"ssh {worker.name} hostname", user="alice").strip() == worker.name
    login.shell("echo of alice > shared.txt; chmod 644 shared.txt; chmod 755 ~", user="alice")
    assert worker.shell("cat /home/alice/shared.txt", user="bob") == "of alice\n"
    login.shell("touch ~alice/forbidden", user="bob", check=False)
    assert not worker.exists("/home/alice/forbidden")
    for machine in platform.all:
        assert machine.shell("id", user="alice").startswith("uid=10001(alice) gid=1001")


def test_the_ami_s_own_user_still_has_a_home_and_can_log_in(login):
    assert login.shell("pwd; touch here", user="ubuntu").strip() == "/home/ubuntu"


# What happens to clusters


def test_slurm_conf_is_written_anew_and_the_partitions_come_back(platform, login):
    running = login.shell("sbatch --parsable --partition=cpu --nodes=2 --wrap='sleep 4'", user="alice").strip()
    waiting = login.shell(
        "sbatch --parsable --partition=cpu --nodes=2 --exclusive --wrap=hostname", user="alice"
    ).strip()
    platform.rewrite_slurm_conf()
    assert partitions_become_right(platform)
    # Jobs outlive it, those that wait too.
    listed = f"sacct -nPX -j {running},{waiting} -o state"
    eventually(lambda: login.shell(listed, user="alice").split() == ["COMPLETED", "COMPLETED"])


def test_a_slurmctld_that_answers_nobody_starts_anew_and_jobs_go_on(platform, login):
    job = login.shell("sbatch --parsable --partition=cpu --wrap='sleep 40'", user="alice").strip()
    eventually(lambda: "RUNNING" in login.shell(f"squeue --noheader --job={job} --format=%T"))
    platform.controller.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "slurmctld.service")
    platform.controller.run("rm", "/opt/slurm/etc/cdk-slurm-partitions.conf")
    assert partitions_become_right(platform, 240)
    journal = "journalctl --quiet --output=cat --unit=cdk-slurm-partitions.service"
    assert "slurmctld runs and answers nobody, so it starts anew" in platform.controller.shell(journal)
    listed = f"sacct -nPX -j {job} -o state"
    eventually(lambda: login.shell(listed, user="alice").split() == ["COMPLETED"], timeout_seconds=60)


def test_the_controller_restarts_and_the_partitions_are_there(platform):
    platform.rewrite_slurm_conf()
    platform.controller.restart()
    assert partitions_become_right(platform, 90)
    assert platform.controller.shell("systemctl is-system-running", check=False).strip() in ("running", "starting")
    platform.run_lifecycle(platform.controller)
    states = {step["name"]: step["state"] for step in report(platform.controller)["steps"]}
    assert set(states.values()) <= {"already-done", "not-for-this-node", "not-wanted"}, states


def test_a_replaced_worker_takes_its_place_and_its_partition(platform, login):
    former = platform.machines["gpu-worker"][0]
    new = platform.replace(former)
    assert new.address != former.address
    install(platform, [new])
    platform.run_lifecycle(new)
    assert partitions_become_right(platform)
    assert new.name in login.shell("srun --partition=ml.g5.xlarge --nodes=2 hostname", user="alice").split()
    # On the same home, with the same key.
    assert login.shell(f"ssh {new.name} hostname", user="alice").strip() == new.name


def test_an_added_group_gets_its_partition_although_the_controller_s_scripts_are_of_before(platform, login):
    added = platform.add_group(Group(name="p5", node_type="compute", partition="ml.p5.48xlarge", disks=EBS))
    install(platform, added)
    assert "p5" not in platform.controller.read("/usr/local/lib/cdk-slurm/cluster.json")
    in_parallel(platform.run_lifecycle, added)
    assert partitions_become_right(platform, 90)
    assert login.shell("srun --partition=ml.p5.48xlarge hostname", user="alice").strip() == added[0].name
