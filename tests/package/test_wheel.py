"""The package as somebody else has it: a wheel in an environment of its own, far from this checkout."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SCRIPTS = ROOT / "lifecycle_scripts"

APP = """\
import os
import aws_cdk as cdk
from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ComputeGroup, HyperPodConfig, LustreConfig
from cdk_slurm.storage import LustreFileSystem

app = cdk.App()
stack = cdk.Stack(app, "Training", env=cdk.Environment(region="us-west-2"))
network = TrainingNetwork(stack, "Network", availability_zone="usw2-az4")
lustre = LustreFileSystem(
    stack, "Lustre", network=network, config=LustreConfig(capacity_gib=int(os.environ["CAPACITY_GIB"]))
)
config = HyperPodConfig(compute=(ComputeGroup(name="worker", type="ml.c5.4xlarge", count=2),))
HyperPodCluster(stack, "Cluster", cluster_name="demo", network=network, lustre=lustre, config=config)
app.synth()
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program far from here: all that it has of this checkout is Node and CDK's command line."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = os.pathsep.join([str(BIN), str(ROOT / "node_modules" / ".bin"), os.environ["PATH"]])
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, "PATH": path, "CDK_DISABLE_CLI_TELEMETRY": "true", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def install(*command: str | Path) -> None:
    """Run something that installs: from uv's cache, and when that is not enough, from the package index."""
    offline = run(*command, cwd=ROOT, UV_OFFLINE="1")
    if offline.returncode == 0:
        return
    online = run(*command, cwd=ROOT)
    if online.returncode != 0:
        text = online.stdout + online.stderr
        no_network = re.search(r"dns error|timed out|error sending request|[Cc]onnection|Failed to fetch", text)
        if no_network and not os.environ.get("CI"):
            pytest.skip("there is no package index to build and install from")
        pytest.fail(text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    install(sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", directory, ROOT)
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it asks for, at the tested versions."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    uv = BIN / "uv"
    assert run(uv, "venv", "-q", "--python", sys.executable, environment, cwd=ROOT).returncode == 0
    python = environment / "bin" / "python"
    install(uv, "pip", "install", "-q", "--python", python, "--constraint", ROOT / "requirements.txt", wheel)
    return python


def test_the_wheel_holds_the_package_and_its_scripts(wheel: Path):
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    package = {name.removeprefix("cdk_slurm/") for name in names if name.startswith("cdk_slurm/")}
    # What was fetched here goes along, and there may be none.
    package = {name for name in package if not name.startswith("lifecycle_scripts/parts/")}
    ours = files_below(ROOT / "constructs" / "cdk_slurm")
    ours |= {f"lifecycle_scripts/{name}" for name in files_below(SCRIPTS)}
    ours |= {f"functions/{name}" for name in files_below(ROOT / "functions")}
    assert package == ours
    assert {
        "py.typed",
        "rules/instances.json",
        "lifecycle_scripts/on_init_complete.sh",
        "lifecycle_scripts/on_create.sh",
        "lifecycle_scripts/lifecycle/__main__.py",
    } <= package
    assert {name.partition("/")[0] for name in names if not name.startswith("cdk_slurm/")} == {
        f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"
    }


def files_below(directory: Path) -> set[str]:
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not {"__pycache__", "parts"} & set(path.parts)}


def test_the_wheel_holds_scripts_as_they_are(wheel: Path):
    """Line ends and all: what runs on a node is what was tested."""
    with zipfile.ZipFile(wheel) as packed:
        for name in files_below(SCRIPTS):
            content = packed.read(f"cdk_slurm/lifecycle_scripts/{name}")
            assert content == (SCRIPTS / name).read_bytes()
            assert b"\r" not in content


def test_its_metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = packed.read(name).decode()
        entry_points = packed.read(name.replace("METADATA", "entry_points.txt")).decode()
        assert packed.read(name.replace("METADATA", "licenses/LICENSE")) == (ROOT / "LICENSE").read_bytes()
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "cdk-slurm = cdk_slurm.cli:main" in entry_points


def test_constructs_from_the_wheel_make_a_cluster(python: Path, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP, "utf-8")
    done = run(python, "app.py", cwd=tmp_path, CDK_OUTDIR="out", CAPACITY_GIB="1200")
    assert done.returncode == 0, done.stderr
    template = (tmp_path / "out" / "Training.template.json").read_text("utf-8")
    for type_ in ("AWS::SageMaker::Cluster", "AWS::FSx::FileSystem", "AWS::EC2::VPC"):
        assert f'"Type": "{type_}"' in template
    [bundle] = [path.parent for path in (tmp_path / "out").glob("asset.*/on_init_complete.sh")]
    assert files_below(bundle) == {name for name in files_below(SCRIPTS) if not name.startswith("studio/")}
    installed = [*python.parents[1].glob("lib/python*/site-packages/cdk_slurm")]
    assert str(installed[0]) in run(python, "-c", "import cdk_slurm; print(cdk_slurm.__file__)", cwd=tmp_path).stdout


def test_constructs_from_the_wheel_tell_the_rule_that_is_broken(python: Path, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP, "utf-8")
    done = run("cdk", "synth", "--quiet", "--app", f"{python} app.py", cwd=tmp_path, CAPACITY_GIB="1300")
    assert done.returncode == 1
    assert "LUSTRE_CAPACITY_STEP: capacity_gib: found 1300 GiB; allowed on PERSISTENT_2 SSD: 1200, 2400" in done.stderr


def test_the_command_from_the_wheel(python: Path, tmp_path: Path):
    example = (ROOT / "clusters" / "hyperpod-cpu.yaml").read_text("utf-8")
    (tmp_path / "good.yaml").write_text(example, "utf-8")
    (tmp_path / "wrong.yaml").write_text(example.replace("capacity_gib: 1200", "capacity_gib: 1300"), "utf-8")
    command = python.with_name("cdk-slurm")
    good = run(command, "validate", "good.yaml", cwd=tmp_path)
    assert (good.returncode, good.stdout) == (0, "good.yaml: no errors, no warnings\n")
    wrong = run(command, "validate", "wrong.yaml", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "LUSTRE_CAPACITY_STEP storage.lustre.capacity_gib: found 1300 GiB" in wrong.stdout


def test_a_rehearsal_takes_a_checkout(python: Path, tmp_path: Path):
    """The app and the local AWS are not in the wheel; the command says so."""
    (tmp_path / "good.yaml").write_text((ROOT / "clusters" / "hyperpod-cpu.yaml").read_text("utf-8"), "utf-8")
    done = run(python.with_name("cdk-slurm"), "rehearse", "good.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "a rehearsal works in a checkout of cdk-slurm" in done.stderr
