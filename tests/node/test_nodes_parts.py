"""What an AMI may lack, on real nodes: the AMI's, the bundle's, or a cluster without.

The parts themselves cannot be had here. In their place are real packages, a real plugin that gcc builds against the
nodes' own Slurm, and a program that mounts a directory where Mountpoint for Amazon S3 mounts a bucket.
"""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import SCRIPTS, Platform, in_parallel
from tests.node.test_nodes_legacy import GROUPS, SCHEDULER, USERS, changes, partitions_become_right, report

#: A controller, a login node and a worker.
FEW = (GROUPS[0], GROUPS[1], replace(GROUPS[2], count=1))

BUCKETS = [
    {"bucket": "models", "prefix": "llm/", "path": "/s3/models", "read_only": True},
    {"bucket": "results", "path": "/s3-results", "read_only": False},
]

# Stand-ins

#: Knows pyxis's option, and tells the job of it.
PLUGIN = """\
#include <stdlib.h>
#include <slurm/spank.h>

SPANK_PLUGIN(pyxis, 1);

static char *image;

static int take(int value, const char *argument, int remote) {
    image = strdup(argument);
    return ESPANK_SUCCESS;
}

struct spank_option spank_options[] = {
    {"container-image", "IMAGE", "the image", 1, 0, take},
    SPANK_OPTIONS_TABLE_END
};

int slurm_spank_task_init(spank_t spank, int argc, char **argv) {
    return image ? spank_setenv(spank, "CONTAINER_IMAGE", image, 1) : ESPANK_SUCCESS;
}
"""
MAKEFILE = """\
CPPFLAGS := -D_GNU_SOURCE $(CPPFLAGS)
spank_pyxis.so: config.c
\t$(CC) -Werror -fpic -shared $(CPPFLAGS) -include string.h -o $@ $<
\tstrip --strip-unneeded $@
"""
#: Mounts a directory, and stays as the file system until somebody unmounts it.
MOUNT_S3 = """\
#!/usr/bin/env bash
set -euo pipefail
ldconfig -p | grep -q libfuse.so.2 || { echo 'libfuse.so.2: cannot open shared object file' >&2; exit 127; }
prefix='' mode=0755 options=rw
while [[ $1 == --* ]]; do
  case $1 in
    --prefix=*) prefix=${1#*=} ;;
    --dir-mode=*) mode=${1#*=} ;;
    --read-only) options=ro ;;
    --region=us-west-2 | --allow-other | --allow-delete | --allow-overwrite | --file-mode=0666) ;;
    *) echo "unexpected argument $1" >&2; exit 2 ;;
  esac
  shift
done
bucket=/var/lib/buckets/$1/$prefix
[[ -d $bucket ]] || { echo "Error: bucket $1 does not exist" >&2; exit 1; }
chmod "$mode" "$bucket"
mount --bind "$bucket" "$2"
mount -o "remount,bind,$options" "$2"
(while mountpoint -q "$2"; do sleep 0.1; done) </dev/null >/dev/null 2>&1 &
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """The lifecycle scripts with parts, each with the checksum that it has."""
    directory = tmp_path_factory.mktemp("bundle")
    scripts = directory / "scripts"
    ignored = shutil.ignore_patterns("__pycache__", "parts")
    shutil.copytree(SCRIPTS, scripts, ignore=ignored)
    made = {
        "enroot": package(directory, "enroot", "squashfuse", {"usr/bin/enroot": "#!/bin/sh\n"}),
        "enroot+caps": package(directory, "enroot+caps", "enroot (= 4.2.1-1)", {"usr/share/enroot/caps": ""}),
        "pyxis": archive(directory, "pyxis-0.24.0", {"Makefile": MAKEFILE, "config.c": PLUGIN}, strip=False),
        "mount-s3": archive(directory, "mount-s3", {"bin/mount-s3": MOUNT_S3}, strip=True),
    }
    lock = json.loads((scripts / "parts.lock.json").read_text("utf-8"))
    (scripts / "parts").mkdir()
    for part in lock["parts"]:
        if part["name"] in made and part["architecture"] != "arm64":
            shutil.copy(made[part["name"]], scripts / "parts" / part["file"])
            part["sha256"] = hashlib.sha256(made[part["name"]].read_bytes()).hexdigest()
    (scripts / "parts.lock.json").write_text(json.dumps(lock), "utf-8")
    return scripts


def package(directory: Path, name: str, depends: str, files: dict[str, str]) -> Path:
    """Build a package of the distribution."""
    root = directory / f"{name}-package"
    control = {
        "DEBIAN/control": f"Package: {name}\nVersion: 4.2.1-1\nArchitecture: amd64\nDepends: {depends}\n"
        "Maintainer: nobody <nobody@example.com>\nDescription: stand-in\n",
    }
    if name == "enroot":
        control |= {"DEBIAN/conffiles": "/etc/enroot/enroot.conf\n"}
        files = files | {
            "etc/enroot/enroot.conf": "#ENROOT_CACHE_PATH ${XDG_CACHE_HOME}/enroot\nENROOT_LOGIN_SHELL no\n"
        }
    write(root, control | files)
    built = directory / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, built], check=True, capture_output=True)
    return built


def archive(directory: Path, name: str, files: dict[str, str], *, strip: bool) -> Path:
    """Build an archive whose files belong to somebody, with or without a directory around them."""
    write(directory / name, files)
    built = directory / f"{name}.tar.gz"
    what = ["--directory", directory / name, "."] if strip else ["--directory", directory, name]
    owner = ["--owner=somebody:1000", "--group=somebody:1000"]
    subprocess.run(["tar", "--create", "--gzip", *owner, "--file", built, *what], check=True)
    return built


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
        (root / name).chmod(0o755 if "bin/" in name else 0o644)


# What is asked of nodes


def install(platform: Platform, machines: list[Machine], source: Path = SCRIPTS, *, buckets: bool = False) -> None:
    content = platform.cluster_json(users=USERS)
    if buckets:
        content["mounts"] |= {"s3": BUCKETS}
    in_parallel(lambda machine: platform.install_bundle(machine, content, source), machines)


def make_buckets(machine: Machine) -> None:
    machine.write("/var/lib/buckets/models/llm/weights", "heavy\n")
    machine.shell("mkdir -p /var/lib/buckets/results")


def states(machine: Machine) -> dict[str, str]:
    return {step["name"]: step["state"] for step in report(machine)["steps"]}


def warnings(machine: Machine) -> dict[str, list[str]]:
    return {step["name"]: step["warnings"] for step in report(machine)["steps"] if step["warnings"]}


def installed(machine: Machine) -> set[str]:
    return set(machine.shell("dpkg-query --show --showformat='${Package} ${db:Status-Status}\n'").splitlines())


ENROOT_CONF = """\
ENROOT_RUNTIME_PATH /opt/sagemaker/enroot/runtime/user-$(id -u)
ENROOT_DATA_PATH /opt/sagemaker/enroot/data/user-$(id -u)
ENROOT_TEMP_PATH /opt/sagemaker/enroot/tmp
ENROOT_CACHE_PATH /fsx/enroot/user-$(id -u)
"""
RUN = "srun --partition=cpu --container-image=ubuntu bash -c 'echo $CONTAINER_IMAGE on $(hostname)'"


# The AMI's


def test_with_an_ami_that_has_containers_nothing_is_installed(workplace, trees):
    with Platform(
        workplace, trees, form="provisioning_parameters", groups=FEW, layers=["pyxis"], slurm_conf=SCHEDULER
    ) as platform:
        install(platform, platform.all)
        workers = [machine for machine in platform.all if machine is not platform.controller]
        before = {machine.name: installed(machine) for machine in workers}
        platform.run_everywhere()
        for machine in workers:
            assert installed(machine) == before[machine.name]
            assert machine.read("/etc/enroot/enroot.conf") == ENROOT_CONF
            assert states(machine)["install-enroot"] == states(machine)["pyxis"] == "already-done"
            assert warnings(machine) == {}
        assert states(platform.controller)["pyxis"] == "already-done"
        plugstack = "required /opt/slurm/lib/slurm/spank_pyxis.so\n"
        assert platform.controller.read("/opt/slurm/etc/plugstack.conf") == plugstack
        [worker] = platform.workers
        assert worker.read("/var/spool/slurmd/conf-cache/plugstack.conf") == plugstack
        assert platform.login.shell("srun --partition=cpu hostname", user="alice").strip() == worker.name


# The bundle's, on nodes that lack everything


@pytest.fixture(scope="module")
def platform(workplace, trees):
    """A cluster whose AMI lacks it all and whose bundle brings nothing, where people work already."""
    with Platform(workplace, trees, form="provisioning_parameters", groups=FEW, slurm_conf=SCHEDULER) as platform:
        in_parallel(make_buckets, platform.all)
        install(platform, platform.all)
        platform.run_everywhere()
        assert partitions_become_right(platform)
        yield platform


@pytest.fixture(scope="module")
def equipped(platform, scripts):
    """The same, after the scripts have come again with parts and buckets."""
    install(platform, platform.all, scripts, buckets=True)
    platform.run_everywhere()
    return platform


def test_an_ami_without_containers_is_still_a_cluster(platform):
    for machine in platform.all:
        lacks = {"pyxis"} if machine is platform.controller else {"install-enroot", "pyxis"}
        told = warnings(machine)
        assert lacks <= told.keys() <= {*lacks, "scratch", "docker"}, told
        assert "run `cdk-slurm bundle pyxis`" in told["pyxis"][0]
        assert not machine.exists("/etc/enroot")
    assert platform.login.shell("srun hostname", user="alice").strip()
    refused = platform.login.run("bash", "-c", RUN, user="alice", check=False)
    assert "unrecognized option '--container-image=ubuntu'" in refused.stderr


def test_a_running_cluster_gets_containers_from_the_bundle(equipped):
    for machine in equipped.all:
        assert machine.exists("/opt/slurm/lib/slurm/spank_pyxis.so")
        assert not machine.exists("/opt/slurm/lib/slurm/.pyxis")
        has = {f"{name} installed" for name in ("enroot", "enroot+caps", "squashfuse", "fuse-overlayfs", "fuse3")}
        if machine is equipped.controller:
            assert machine.read("/opt/slurm/etc/plugstack.conf") == "required /opt/slurm/lib/slurm/spank_pyxis.so\n"
        else:
            assert has <= installed(machine)
            assert machine.read("/etc/enroot/enroot.conf") == f"ENROOT_LOGIN_SHELL no\n{ENROOT_CONF}"
        assert warnings(machine).keys() <= {"scratch", "docker"}
    [worker] = equipped.workers
    assert equipped.login.shell(RUN, user="alice") == f"ubuntu on {worker.name}\n"
    assert equipped.controller.shell(f"cd / && {RUN}", user="alice") == f"ubuntu on {worker.name}\n"


def test_buckets_are_mounted_for_everybody(equipped):
    for machine in equipped.all:
        assert {"libfuse2t64 installed"} <= installed(machine)
        assert machine.shell("stat --format=%U:%a /opt/aws/mountpoint-s3/bin/mount-s3").strip() == "root:755"
        assert machine.shell("cat /s3/models/weights", user="alice") == "heavy\n"
        assert machine.run("touch", "/s3/models/mine", user="alice", check=False).returncode
        machine.shell("echo 42 >/s3-results/answer-of-$(hostname)", user="alice")
        names = machine.run("systemd-escape", "--path", *(bucket["path"] for bucket in BUCKETS)).stdout.split()
        units = [f"cdk-slurm-s3-{name}.service" for name in names]
        assert machine.run("systemctl", "is-active", *units).stdout.split() == ["active"] * 2


def test_a_second_run_changes_nothing(equipped):
    before = {machine.name: (machine.files(), machine.units(), mounts(machine)) for machine in equipped.all}
    processes = {machine.name: mounting(machine) for machine in equipped.all}
    equipped.run_everywhere()
    for machine in equipped.all:
        assert set(states(machine).values()) <= {"already-done", "not-for-this-node", "not-wanted"}, states(machine)
        files, units, mounted = before[machine.name]
        assert changes(files, machine.files()) == {}
        assert changes(units, machine.units()) == {}
        assert mounts(machine) == mounted
        assert mounting(machine) == processes[machine.name]


def mounting(machine: Machine) -> str:
    """Processes of the mounts' units. `pgrep -f` would find whoever names them, too."""
    return machine.shell("systemctl show --property=Id,MainPID 'cdk-slurm-s3-*.service'")


def mounts(machine: Machine) -> str:
    return machine.shell("findmnt --list --noheadings --output=TARGET,OPTIONS | grep /s3")


def test_buckets_are_there_again_after_a_boot(equipped):
    [worker] = equipped.workers
    worker.restart()
    assert worker.shell("cat /s3/models/weights", user="bob") == "heavy\n"
    assert worker.shell(f"cat /s3-results/answer-of-{worker.name}", user="bob") == "42\n"
    assert partitions_become_right(equipped)
    assert equipped.login.shell(RUN, user="alice") == f"ubuntu on {worker.name}\n"


def test_a_mount_that_dies_is_made_again(equipped):
    [worker] = equipped.workers
    unit = "cdk-slurm-s3-s3-models.service"
    former = worker.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout
    worker.run("kill", "-9", former.strip())

    def is_back() -> bool:
        main = worker.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout
        return main not in (former, "0\n") and worker.shell("cat /s3/models/weights") == "heavy\n"

    assert eventually(is_back)
    assert mounts(worker).count("/s3/models") == 1


def test_an_ami_that_tells_of_pyxis_where_nodes_do_not_look(equipped, scripts):
    controller, [worker] = equipped.controller, equipped.workers
    line = controller.read("/opt/slurm/etc/plugstack.conf")
    controller.write("/opt/slurm/etc/plugstack.conf.d/pyxis.conf", line)
    controller.write("/opt/slurm/etc/plugstack.conf", "include /opt/slurm/etc/plugstack.conf.d/*\n")
    controller.run("scontrol", "reconfigure")
    eventually(lambda: equipped.login.run("bash", "-c", RUN, user="alice", check=False).returncode)
    equipped.run_lifecycle(controller)
    assert controller.read("/opt/slurm/etc/plugstack.conf") == line
    eventually(lambda: equipped.login.shell(RUN, user="alice") == f"ubuntu on {worker.name}\n")


def test_a_replaced_worker_has_it_all_before_its_first_job(equipped, scripts):
    new = equipped.replace(equipped.workers[0])
    make_buckets(new)
    install(equipped, [new], scripts, buckets=True)
    equipped.run_lifecycle(new)
    assert partitions_become_right(equipped)
    assert equipped.login.shell(RUN, user="alice") == f"ubuntu on {new.name}\n"
    assert new.shell("cat /s3/models/weights", user="alice") == "heavy\n"


def test_a_bucket_that_is_not_there_is_named(equipped):
    [worker] = equipped.workers
    content = equipped.cluster_json(users=USERS)
    content["mounts"] |= {"s3": [*BUCKETS, {"bucket": "wrong", "path": "/wrong", "read_only": True}]}
    equipped.install_bundle(worker, content)
    assert equipped.run_lifecycle(worker, check=False).returncode == 1
    error = report(worker)["steps"][-1]["error"]
    assert "does not start: " in error
    assert "bucket wrong does not exist" in error
    assert worker.shell("cat /s3/models/weights") == "heavy\n"


def test_a_part_that_was_damaged_on_its_way(equipped, scripts):
    [worker] = equipped.workers
    install(equipped, [worker], scripts)
    worker.shell("rm /opt/slurm/lib/slurm/spank_pyxis.so; echo >> /opt/ml/lifecycle/*/parts/pyxis-*.tar.gz")
    assert equipped.run_lifecycle(worker, check=False).returncode == 1
    last = report(worker)["steps"][-1]
    assert (last["name"], last["state"]) == ("pyxis", "failed")
    assert last["error"].startswith("part pyxis 0.24.0 is damaged: ")
    install(equipped, [worker], scripts)
    equipped.run_lifecycle(worker)
    assert worker.exists("/opt/slurm/lib/slurm/spank_pyxis.so")


# Where HyperPod has started Slurm before


def test_in_form_api_a_slurm_that_runs_takes_the_plugin_up(workplace, trees, scripts):
    with Platform(workplace, trees, form="api", groups=[FEW[0], FEW[2]], slurm_conf=SCHEDULER) as platform:
        install(platform, platform.all, scripts)
        slurm_conf = platform.controller.read("/opt/slurm/etc/slurm.conf")
        platform.run_everywhere()
        assert platform.controller.read("/opt/slurm/etc/slurm.conf") == slurm_conf
        [worker] = platform.workers
        eventually(lambda: worker.shell("systemctl is-active slurmd", check=False) == "active\n")
        run = f"cd / && {RUN}"
        eventually(lambda: platform.controller.shell(run, user="alice") == f"ubuntu on {worker.name}\n")
