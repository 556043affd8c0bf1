"""`cdk-slurm rehearse` as somebody runs it: what it prints, what it leaves, and what it never touches."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from cdk_slurm.rehearsal.local_aws import CHECKOUT

COMMAND = Path(sys.executable).with_name("cdk-slurm")

SMALLEST = """\
kind: hyperpod
name: small
region: us-west-2
availability_zone: usw2-az4
hyperpod:
  compute: [{name: worker, type: ml.c5.large, count: 1}]
"""

#: What would be taken for the user's own.
CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARY0000",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "AWS_SESSION_TOKEN": "canary",
    "AWS_PROFILE": "canary",
    "AWS_ENDPOINT_URL": "http://192.0.2.1:1",
    "HTTPS_PROXY": "http://192.0.2.1:1",
    "HTTP_PROXY": "http://192.0.2.1:1",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with AWS configuration that nobody can read to its end: who opens it waits for ever."""
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    for name in ("config", "credentials"):
        os.mkfifo(tmp_path / "home" / ".aws" / name)
    return tmp_path / "home"


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the command puts its files, and nobody else."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def started(*arguments: str | Path, home: Path, temporary: Path, alone: bool = False) -> subprocess.Popen[str]:
    """Start the command; `alone` without any network but loopback."""
    cache = os.environ.get("JSII_RUNTIME_PACKAGE_CACHE_ROOT") or Path.home() / ".cache/aws/jsii/package-cache"
    environment = {**os.environ, **CANARIES, "HOME": str(home), "TMPDIR": str(temporary)}
    environment["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] = str(cache)
    command = [str(COMMAND), "rehearse", *map(str, arguments)]
    if alone:
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=temporary.parent,
        # As for a command in the foreground, also where the tests run in the background, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture
def network_of_its_own() -> None:
    can = shutil.which("unshare") and subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0
    if not can and os.environ.get("CI"):
        pytest.fail("a network namespace cannot be made here")
    if not can:
        pytest.skip("making a network namespace takes root")


def processes_in(directory: Path) -> list[int]:
    """Processes that were told to keep their files in a directory."""
    found = []
    for status in Path("/proc").glob("[0-9]*"):
        try:
            environment = (status / "environ").read_bytes()
            alive = "State:\tZ" not in (status / "status").read_text("utf-8")
        except OSError:
            continue
        if alive and str(directory).encode() in environment and int(status.name) != os.getpid():
            found.append(int(status.name))
    return found


def assert_nothing_left(temporary: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (processes_in(temporary) or list(temporary.iterdir())):
        time.sleep(0.1)
    assert processes_in(temporary) == []
    assert list(temporary.iterdir()) == []


def test_the_demo_shows_what_stands_and_leaves_nothing(network_of_its_own, home, temporary):
    """Without any network, and with a home that must not be read."""
    done = started(CHECKOUT / "clusters" / "hyperpod-cpu.yaml", home=home, temporary=temporary, alone=True)
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 0, text
    assert re.search(r"AWS on this machine: http://127\.0\.0\.1:\d+, us-west-2, account 111122223333", text)
    for stack in ("network", "storage", "data", "observability", "cluster"):
        assert re.search(rf"ml-cluster-{stack} CREATE_COMPLETE +(\d+) of \1 resources", text)
        assert re.search(rf"ml-cluster-{stack} +\d+\.\d", text), "seconds"
    assert re.search(r"worker +Compute +ml\.c5\.4xlarge +2 of 2 +worker +/fsx, /home", text)
    file_system = re.search(r"(fs-\w{17}) +LUSTRE +1200 +\1\.fsx\.us-west-2\.amazonaws\.com +\w{8}", text)
    assert file_system
    assert re.search(rf"{file_system[1]} +/data +s3://ml-cluster-storage-data", text)
    assert re.search(rf"FSxLustreFilesystemId +{file_system[1]}", text)
    assert re.search(r"ml-cluster-cluster DELETE_COMPLETE", text)
    kept = text.partition("Kept: data")[2]
    assert re.findall(r"ml-cluster-storage +(\w+ \w+)", kept) == ["S3 Bucket", "FSx FileSystem", "FSx FileSystem"]
    assert "canary" not in text.lower()
    assert_nothing_left(temporary)


def test_an_update_that_would_replace_data_is_refused(home, temporary, tmp_path):
    """In one stack, where no export holds the file system: CloudFormation itself would let it happen."""
    lustre = SMALLEST + "storage:\n  lustre: {throughput_mbps_per_tib: %s}\n"
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(lustre % 250, "utf-8")
    new.write_text(lustre % 500, "utf-8")
    done = started(old, new, home=home, temporary=temporary)
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 1, text
    refused = r"REFUSED +small-storage: \w+ \(FSx FileSystem fs-\w{17}\) would be replaced by a new, empty one"
    assert re.search(refused, text)
    assert "cannot be updated as it is in use by small-cluster" in text
    assert re.search(r"Left behind by the rollback.*\n.*\n.*\n +small-storage +\w+ +FSx FileSystem +fs-\w{17}", text)
    assert_nothing_left(temporary)


def test_an_update_tells_of_every_resource_what_became_of_it(home, temporary, tmp_path):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(SMALLEST + "data: {bucket: new}\n", "utf-8")
    new.write_text(SMALLEST.replace("count: 1", "count: 3") + "storage: {openzfs: {}}\n", "utf-8")
    done = started(old, new, home=home, temporary=temporary)
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 1, text
    table = text.partition("What the update did")[2]
    assert re.search(r"updated in place +small-cluster +HyperPod/Cluster +SageMaker Cluster +InstanceGroups", table)
    assert re.search(r"created +small-storage +OpenZfs/FileSystem +FSx FileSystem", table)
    assert re.search(r"deleted +small-storage +Data/Bucket +S3 Bucket", table)
    refused = r"REFUSED +small-storage: Data/Bucket \(S3 Bucket (\S+)\) would be deleted from its stack; it is kept"
    found = re.search(refused, text)
    assert found
    assert re.search(rf"none; was of small-storage +S3 Bucket +{found[1]}", text.partition("Kept: data")[2])
    assert_nothing_left(temporary)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALLEST, "utf-8")
    return tmp_path / "small.yaml"


def until(process: subprocess.Popen[str], wanted: str) -> None:
    """Read what it prints until something stands there."""
    assert process.stdout is not None
    deadline = time.monotonic() + 120
    text = ""
    while wanted not in text and time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 1)[0]:
            line = process.stdout.readline()
            assert line, text
            text += line
    assert wanted in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_it_finds_nothing_left(home, temporary, small, number):
    process = started(small, home=home, temporary=temporary)
    until(process, "Bootstrapped" if number == signal.SIGINT else "AWS on this machine")
    assert len(processes_in(temporary)) > 1
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert_nothing_left(temporary)


def test_the_local_aws_ends_with_the_command_however_that_ends(home, temporary, small):
    """The CDK command line, which is on its own then, finds nobody to talk to."""
    process = started(small, home=home, temporary=temporary)
    until(process, "AWS on this machine")
    assert servers_in(temporary) != []
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and servers_in(temporary):
        time.sleep(0.1)
    assert servers_in(temporary) == []


def servers_in(directory: Path) -> list[int]:
    """The local AWS among a directory's processes."""
    found = []
    for one in processes_in(directory):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if b"local_aws" in (Path("/proc") / str(one) / "cmdline").read_bytes():
                found.append(one)
    return found


def test_what_is_kept_can_be_used_and_stopped(home, temporary, small):
    process = started(small, "--keep", home=home, temporary=temporary)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    told = dict(re.findall(r"  export (\w+)=(\S+)", text))
    client = boto3.client(
        "sagemaker",
        region_name=told["AWS_REGION"],
        endpoint_url=told["AWS_ENDPOINT_URL"],
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
    )
    assert client.describe_cluster(ClusterName="small")["ClusterStatus"] == "InService"
    [pid] = re.findall(r"  kill (\d+)", text)
    os.kill(int(pid), signal.SIGTERM)
    assert_nothing_left(temporary)


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (SMALLEST.replace("count: 1", "count: -1"), 1, "hyperpod.compute[0].count"),
        (None, 2, "cannot be read"),
    ],
)
def test_a_bad_file_is_told_before_anything_is_started(home, temporary, tmp_path, text, status, told):
    file = tmp_path / "bad.yaml"
    if text:
        file.write_text(text, "utf-8")
    done = started(file, home=home, temporary=temporary)
    output, _ = done.communicate(timeout=60)
    assert done.returncode == status
    assert told in output
    assert "AWS on this machine" not in output


def test_files_for_different_regions_are_no_update(home, temporary, tmp_path, small):
    other = tmp_path / "other.yaml"
    other.write_text(SMALLEST.replace("us-west-2", "eu-west-1").replace("usw2", "euw1"), "utf-8")
    done = started(small, other, home=home, temporary=temporary)
    output, _ = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "different Regions or accounts" in output


@pytest.fixture(autouse=True)
def nothing_stays(temporary: Path) -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (left := processes_in(temporary)):
        for one in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
