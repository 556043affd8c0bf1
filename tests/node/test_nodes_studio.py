"""A space of SageMaker Studio beside a cluster: the controller publishes, and the space's own script does the rest."""

import base64
import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.node.cluster.machine import eventually
from tests.node.cluster.platform import Group, Platform
from tests.node.cluster.studio import DIRECTORY, HOME, MOUNT, SECRET, STUDIO, USER, Studio, make_what_studio_takes
from tests.node.test_nodes_legacy import SCHEDULER, USERS, install, partitions_become_right, report

GROUPS = (
    Group(name="controller", node_type="controller"),
    Group(name="login", node_type="login"),
    Group(name="worker", node_type="compute", partition="cpu"),
)
PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def empty(workplace, trees) -> Iterator[Platform]:
    """A cluster of which nothing has run, and what CloudFormation makes before it."""
    with Platform(workplace, trees, form="provisioning_parameters", groups=GROUPS, slurm_conf=SCHEDULER) as platform:
        platform.hyperpod.tell(
            [
                {"group": group, "id": f"i-{number:017x}", "address": machine.address, "status": "Running"}
                for group, machines in platform.machines.items()
                for number, machine in enumerate(machines, 1)
            ]
        )
        (platform.shared["lustre"] / "shared").mkdir()
        yield platform


@pytest.fixture(scope="module")
def space(empty) -> Studio:
    """A space that was opened before the cluster was there."""
    studio = Studio(empty, uid=10001, gid=1001)
    studio.start()
    return studio


@pytest.fixture(scope="module")
def platform(empty, space) -> Platform:
    """The cluster, after the scripts have run everywhere."""
    make_what_studio_takes(empty)
    empty.tell_of_aws()
    install(empty, empty.all, studio=STUDIO)
    empty.run_everywhere(environment=empty.aws.environment)
    assert partitions_become_right(empty)
    return empty


@pytest.fixture(scope="module")
def ready(platform, space) -> Studio:
    becomes_ready(space)
    return space


def becomes_ready(space: Studio) -> None:
    try:
        eventually(lambda: space.state().startswith("slurm-ready"), timeout_seconds=PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{space.state()}\n{space.log}") from error


def fails(space: Studio, reason: str) -> None:
    expected = f"slurm-failed:{reason}"
    try:
        eventually(lambda: space.state().startswith(expected), timeout_seconds=PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{space.state()}\n{space.log}") from error


# Without a cluster


def test_studio_starts_where_there_is_no_cluster_and_says_so(space):
    fails(
        space,
        f"cluster ml-cluster is not there, or its controller has not come up yet: no value of secret {SECRET}",
    )


def test_a_space_that_waited_finds_the_cluster_when_it_comes(ready):
    assert ready.state() == "slurm-ready:Slurm 24.11.5 of ml-cluster, as alice (10001:1001)"


# What people do


def test_sinfo_and_squeue(ready):
    assert ready.run("sinfo --noheader --partition=cpu --format=%T").stdout == "idle\n"
    assert ready.run("squeue --noheader").stdout == ""


def test_sbatch_runs_a_job_whose_file_is_in_the_shared_workspace(platform, ready):
    ready.run("echo '#!/bin/bash\nid -un; pwd; echo $HOME; touch from-the-job' >job.sh && sbatch job.sh")
    eventually(lambda: "from-the-job" in ready.run("ls").stdout)
    [owner] = set(ready.run("stat --format=%u:%g from-the-job slurm-*.out").stdout.split())
    assert owner == "10001:1001"
    eventually(lambda: ready.run("cat slurm-*.out").stdout == "alice\n/fsx/shared/studio-workspace\n/home/alice\n")
    assert platform.login.shell("cat /fsx/shared/studio-workspace/job.sh", user="alice")


def test_scancel_ends_a_job_of_one_s_own(ready):
    job = ready.run("sbatch --parsable --wrap='sleep 300'").stdout.strip()
    eventually(lambda: ready.run(f"squeue --noheader --job={job} --format=%T").stdout == "RUNNING\n")
    ready.run(f"scancel {job}")
    eventually(lambda: not ready.run("squeue --noheader").stdout)
    eventually(lambda: ready.run(f"sacct -nPX -j {job} -o user,state").stdout.startswith("alice|CANCELLED"))


def test_a_job_from_elsewhere_goes_to_the_home_on_the_cluster(platform, ready):
    done = ready.run("sbatch --wrap='hostname >from-home'", directory=HOME)
    assert done.stderr == "sbatch: this directory is not on the cluster: what the job writes is in /home/alice there\n"
    eventually(lambda: platform.login.shell("cat ~/from-home", user="alice"))


def test_srun_says_what_to_do(ready):
    done = ready.run("srun hostname", check=False)
    assert done.returncode == 1
    assert done.stderr == "srun cannot work in Studio, which nodes cannot call back: use sbatch, or ssh ml-cluster\n"


def test_ssh_logs_in_to_the_login_node_as_the_person(platform, ready):
    assert ready.run("ssh ml-cluster 'hostname; id -un'").stdout == f"{platform.login.name}\nalice\n"
    nodes = json.loads((platform.network.directory / "hyperpod.json").read_text("utf-8"))["nodes"]
    try:
        platform.hyperpod.tell([one | {"status": "Failure"} if one["group"] == "login" else one for one in nodes])
        assert ready.run("ssh ml-cluster hostname").stdout == f"{platform.controller.name}\n"
    finally:
        platform.hyperpod.tell(nodes)


def test_nobody_logs_in_with_a_key_that_somebody_else_left(platform, ready):
    keys = f"{MOUNT}/.studio-keys"
    ready.machine.shell(f"cp {keys}/alice.pub {keys}/bob.pub && chown 10001:1001 {keys}/bob.pub")
    refused = ready.run("ssh -l bob ml-cluster id -un", check=False)
    assert "Permission denied" in refused.stderr
    ready.machine.shell(f"chown 10002:1001 {keys}/bob.pub")
    assert ready.run("ssh -l bob ml-cluster id -un").stdout == "bob\n"


# The key


def test_the_key_is_where_it_belongs_and_nowhere_else(platform, ready):
    key = platform.munge_key
    assert ready.machine.shell("stat --format='%U:%G %a' /etc/munge/munge.key").strip() == "munge:munge 400"
    assert ready.machine.shell("sha256sum </etc/munge/munge.key") == platform.controller.shell(
        "sha256sum </etc/munge/munge.key"
    )
    said = ready.machine.shell(
        f"cat {DIRECTORY}/*; ps -eo args; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; journalctl --no-pager"
    )
    said += platform.controller.shell("cat /var/log/provision/*; journalctl --no-pager")
    assert base64.b64encode(key).decode() not in said
    assert key.hex() not in said
    assert not platform.controller.exists("/run/cdk-slurm-published.json")


def test_accounts_have_the_ids_of_the_nodes(platform, ready):
    ids = "getent passwd slurm | cut --delimiter=: --fields=3,4"
    assert ready.machine.shell(ids) == platform.controller.shell(ids) != ""


def test_a_second_run_publishes_nothing_anew(platform, ready):
    def version() -> str:
        return platform.aws.call("secretsmanager", "get_secret_value", SecretId=SECRET)["VersionId"]

    before = version()
    platform.run_lifecycle(platform.controller, environment=platform.aws.environment)
    assert version() == before
    states = {step["name"]: step["state"] for step in report(platform.controller)["steps"]}
    assert {states[name] for name in ("studio-workspace", "studio-client", "munge-secret", "studio-ssh")} == {
        "already-done"
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"munge_key": base64.b64encode(b"short").decode()},
            "the published MUNGE key has 5 bytes, MUNGE takes 32 to 1024",
        ),
        (
            {"munge_key": base64.b64encode(bytes(128)).decode()},
            "the published MUNGE key is damaged: it has another sha256 than the controller's",
        ),
        ({"cluster": "another"}, f"secret {SECRET} is of another cluster, another"),
    ],
)
def test_what_is_not_the_cluster_s_key_is_not_taken(platform, ready, change, reason):
    right = platform.aws.call("secretsmanager", "get_secret_value", SecretId=SECRET)["SecretString"]
    try:
        platform.aws.call(
            "secretsmanager", "put_secret_value", SecretId=SECRET, SecretString=json.dumps(json.loads(right) | change)
        )
        ready.stop()
        ready.start()
        fails(ready, reason)
        assert ready.machine.shell("sha256sum </etc/munge/munge.key") == platform.controller.shell(
            "sha256sum </etc/munge/munge.key"
        )
    finally:
        platform.aws.call("secretsmanager", "put_secret_value", SecretId=SECRET, SecretString=right)
    becomes_ready(ready)


def test_a_space_that_may_not_read_the_secret_says_so(platform, ready):
    ready.stop()
    ready.start({"AWS_ENDPOINT_URL_SECRETS_MANAGER": platform.hyperpod.url})
    fails(ready, f"this space may not read secret {SECRET}: cluster ml-cluster is not deployed, or without studio")


def test_a_new_key_reaches_the_space_at_its_next_start(platform, ready):
    new = bytes(range(128))
    for machine in platform.all:
        machine.shell("systemctl stop slurmctld slurmdbd slurmd munge", check=False)
        # In one move, on the machine itself: it watches.
        machine.shell("cp --archive /etc/munge/munge.key /etc/munge/new")
        (machine.root / "etc/munge/new").write_bytes(new)
        machine.shell("mv /etc/munge/new /etc/munge/munge.key")
    for machine in platform.all:
        machine.shell("systemctl start munge")
    platform.controller.shell("systemctl start slurmdbd slurmctld")
    for machine in platform.all:
        machine.shell("systemctl start slurmd", check=False)

    def published() -> bytes:
        secret = platform.aws.call("secretsmanager", "get_secret_value", SecretId=SECRET)["SecretString"]
        return base64.b64decode(json.loads(secret)["munge_key"])

    eventually(lambda: published() == new, timeout_seconds=60)
    ready.stop()
    ready.start()
    becomes_ready(ready)
    assert ready.run("sinfo --noheader --format=%R").stdout


def test_a_key_that_the_cluster_does_not_have_is_told(platform, ready):
    """As when a cluster was made anew and has not published yet."""
    right = json.loads(platform.aws.call("secretsmanager", "get_secret_value", SecretId=SECRET)["SecretString"])
    key = bytes(reversed(range(128)))
    wrong = {"munge_key": base64.b64encode(key).decode(), "munge_key_sha256": hashlib.sha256(key).hexdigest()}
    try:
        platform.aws.call("secretsmanager", "put_secret_value", SecretId=SECRET, SecretString=json.dumps(right | wrong))
        ready.stop()
        ready.start()
        fails(ready, "no controller of ml-cluster answers")
    finally:
        platform.aws.call("secretsmanager", "put_secret_value", SecretId=SECRET, SecretString=json.dumps(right))
    becomes_ready(ready)


# Another kind of space


def test_a_space_whose_user_has_other_ids_still_is_the_person_on_the_cluster(platform, ready):
    """Images of Studio have their user as 1000, who is somebody else on nodes."""
    other = Studio(platform, uid=1000, gid=100)
    other.start()
    becomes_ready(other)
    job = other.run("sbatch --parsable --wrap='id -un'").stdout.strip()
    eventually(lambda: other.run(f"sacct -nPX -j {job} -o user,state").stdout == "alice|COMPLETED\n")
    assert other.run("test $(id -u) = 1000 && id -un").stdout == f"{USER}\n"


def test_everybody_can_have_a_directory_of_their_own(platform, ready):
    own = [
        {"path": f"{STUDIO['workspace']['path']}/{user['name']}", "uid": user["uid"], "gid": user["gid"]}
        for user in USERS
    ]
    studio = STUDIO | {"directories": own, "mounted": [one["path"] for one in own]}
    machines = [platform.controller, platform.login]
    install(platform, machines, studio=studio)
    for machine in machines:
        platform.run_lifecycle(machine, environment=platform.aws.environment)
    listed = platform.login.shell(f"stat --format='%n %u:%g %a' {STUDIO['workspace']['path']}/*/")
    assert listed.split("\n")[:2] == [f"{one['path']}/ {one['uid']}:1001 711" for one in own]
    bobs = Studio(platform, uid=10002, gid=1001, name="bob", account=(10002, 1001), mounted=own[1]["path"])
    bobs.start()
    becomes_ready(bobs)
    bobs.run("sbatch --wrap='touch $(id -un)'", directory=MOUNT)
    eventually(lambda: platform.login.exists(f"{STUDIO['workspace']['path']}/bob/bob"))
    assert platform.login.run("ls", own[1]["path"], user="alice", check=False).returncode
    assert bobs.run("ssh ml-cluster id -un", directory=MOUNT).stdout == "bob\n"
