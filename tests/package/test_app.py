"""The app as its users run it: the real CDK command line, `make synth`, and files that are wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CLUSTER = "clusters/hyperpod-gpu.yaml"
EXAMPLE = (ROOT / CLUSTER).read_text("utf-8")
STACKS = [f"ml-cluster-gpu-{part}" for part in ("network", "storage", "data", "observability", "studio", "cluster")]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as somebody without AWS credentials, and without a network to ask for them."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_", "MAKE"))}
    path = os.pathsep.join([str(BIN), str(ROOT / "node_modules" / ".bin"), os.environ["PATH"]])
    nobody = {
        "PATH": path,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "1",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, **nobody, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- Good files ---


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `cdk synth` writes of the example with GPUs."""
    directory = tmp_path_factory.mktemp("synth") / "cdk.out"
    done = run("cdk", "synth", "--quiet", "-c", f"cluster={CLUSTER}", "--output", directory)
    assert done.returncode == 0, done.stderr
    return directory


def test_cdk_ls_lists_the_stacks_of_an_account_without_asking_it(tmp_path: Path):
    """Zones, VPCs and AMIs could all be looked up in an account that is named: nothing may be."""
    described = tmp_path / "cluster.yaml"
    text = EXAMPLE.replace("region: us-west-2", 'region: us-west-2\naccount: "111122223333"')
    described.write_text(text, "utf-8")
    done = run("cdk", "ls", "--long", "--json", "-c", f"cluster={described}")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert {one["environment"]["name"] for one in listed} == {"aws://111122223333/us-west-2"}
    names = [one["name"] for one in listed]
    assert sorted(names) == sorted(STACKS)
    assert names[:2] == STACKS[:2], "in the order of deployment"


def test_cdk_synth_writes_every_stack_and_its_policy_report(assembly: Path):
    """Of a newer schema than it knows, the command line would refuse the assembly."""
    manifest = json.loads((assembly / "manifest.json").read_text("utf-8"))
    stacks = [name for name, one in manifest["artifacts"].items() if one["type"] == "aws:cloudformation:stack"]
    assert sorted(stacks) == sorted(STACKS)
    assert all((assembly / f"{name}.template.json").is_file() for name in stacks)
    reports = json.loads((assembly / "validation-report.json").read_text("utf-8"))["pluginReports"]
    assert {"AwsSolutions", "NIST.800.53.R5"} <= {one["pluginName"] for one in reports}
    assert [one for one in reports for violation in one["violations"] if violation.get("severity") != "warning"] == []


def test_cdk_diff_shows_a_change_and_nothing_else(assembly: Path, tmp_path: Path):
    """Offline, against a template: what an update of a cluster that stands would change."""
    cluster = STACKS[-1]
    template = json.loads((assembly / f"{cluster}.template.json").read_text("utf-8"))
    [properties] = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::SageMaker::Cluster"
    ]
    properties["InstanceGroups"][-1]["InstanceCount"] = 1
    former = tmp_path / "former.json"
    former.write_text(json.dumps(template), "utf-8")
    done = run("cdk", "diff", "--app", assembly, "--exclusively", "--template", former, cluster)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    [changed] = re.findall(r"(?m)^\[.\] (\S+) ", text)
    assert changed == "AWS::SageMaker::Cluster"
    assert re.search(r'\[-\] "InstanceCount": 1\b', text)
    assert re.search(r'\[\+\] "InstanceCount": 2\b', text)
    assert "replace" not in text.lower()


# --- Bad files ---


def bomb() -> str:
    """A hundred levels of aliases, each twice the one before."""
    levels = [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 100)]
    return "\n".join(["a0: &a0 [x, x]", *levels])


CAPACITY_LINE = EXAMPLE[: EXAMPLE.index("capacity_gib: 1200")].count("\n") + 1
# A file's name, its text, and what the message begins with.
BAD = {
    "missing.yaml": (None, ": cannot be read: No such file or directory"),
    ".": (None, ": is a directory; name a YAML file in it"),
    "list.yaml": ("- kind: hyperpod\n- name: x\n", ":1:1: error FIELD_TYPE found a list; allowed: a mapping"),
    "bomb.yaml": (bomb(), ":1:10: error YAML_SYNTAX aliases expand to more than"),
    "big.yaml": (f"name: {'x' * 10_000_000}\n", ": is larger than 1 MiB"),
    "rule.yaml": (
        EXAMPLE.replace("capacity_gib: 1200", "capacity_gib: 1300"),
        f":{CAPACITY_LINE}:12: error LUSTRE_CAPACITY_STEP storage.lustre.capacity_gib: found 1300 GiB; allowed on",
    ),
}


def written(name: str, directory: Path) -> Path:
    text, _ = BAD[name]
    if text is not None:
        (directory / name).write_text(text, "utf-8")
    return directory / name


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_message(name: str, tmp_path: Path):
    """The app as the CDK command line runs it."""
    described = written(name, tmp_path)
    outdir = tmp_path / "cdk.out"
    context = json.dumps({"cluster": str(described)})
    done = run(sys.executable, "app.py", CDK_OUTDIR=str(outdir), CDK_CONTEXT_JSON=context)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{described}{BAD[name][1]}")
    assert all(line.startswith(str(described)) for line in lines), "nothing but findings of this file"
    assert len(done.stderr) < 2000, "nobody reads more"
    assert list(outdir.rglob("*")) == []


def test_the_cdk_command_line_passes_the_message_on(tmp_path: Path):
    described = written("rule.yaml", tmp_path)
    done = run("cdk", "synth", "--quiet", "-c", f"cluster={described}", "--output", tmp_path / "cdk.out")
    assert done.returncode == 1
    assert f"{described}{BAD['rule.yaml'][1]}" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "cdk.out").glob("*.template.json")) == []


# --- make synth ---


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile over tools that are installed, and a `cdk` that only says how it was called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    tools = tmp_path / "node_modules" / ".bin"
    tools.mkdir(parents=True)
    (tools / "cdk").write_text('#!/bin/sh\necho "$@" > cdk-was-called\n', "utf-8")
    (tools / "cdk").chmod(0o755)
    return tmp_path


def make_synth(checkout: Path, cluster: str) -> subprocess.CompletedProcess[str]:
    """Without installing anything: `--old-file` takes the target `setup` for made."""
    return run("make", "--old-file=setup", "synth", f"CLUSTER={cluster}", cwd=checkout)


@pytest.mark.parametrize("name", ["rule.yaml", "missing.yaml"])
def test_make_synth_stops_at_a_bad_file(name: str, checkout: Path):
    written(name, checkout)
    done = make_synth(checkout, name)
    assert done.returncode == 2
    assert name in done.stdout
    assert "LUSTRE_CAPACITY_STEP" in done.stdout or "FILE_UNREADABLE" in done.stdout
    assert not (checkout / "cdk-was-called").exists()


def test_make_synth_hands_a_good_file_to_cdk(checkout: Path):
    (checkout / "good.yaml").write_text(EXAMPLE, "utf-8")
    done = make_synth(checkout, "good.yaml")
    assert (checkout / "cdk-was-called").read_text("utf-8").split() == ["synth", "--quiet", "-c", "cluster=good.yaml"]
    assert "good.yaml: no errors" in done.stdout
