"""How a node finds the parts that the deployment brought along."""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from lifecycle.errors import NotYetError, StepError
from lifecycle.host import Host
from lifecycle.parts import find_part, is_part, locked_image, rds_certificates

CONTENT = b"-----BEGIN CERTIFICATE-----\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def entry(name: str, architecture: str = "any", **changed: Any) -> dict[str, Any]:
    told = {"name": name, "version": "1.0", "architecture": architecture, "file": f"{name}-{architecture}.file"}
    return told | {"sha256": SHA256} | changed


LOCK = {
    "parts": [
        entry("rds-ca"),
        entry("mount-s3", "amd64"),
        entry("mount-s3", "arm64"),
        entry("enroot", "amd64", sha256="0" * 64),
    ],
    "images": [{"name": "dcgm-exporter", "image": "registry.example.com/dcgm@sha256:1234"}],
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts.lock.json").write_text(json.dumps(LOCK), "utf-8")
    for part in LOCK["parts"]:
        (tmp_path / "parts" / part["file"]).write_bytes(CONTENT)
    return Host(bundle=tmp_path)


@pytest.fixture(params=[("x86_64", "amd64"), ("aarch64", "arm64")], ids=lambda names: names[1])
def architecture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kernels, debians = request.param
    monkeypatch.setattr(platform, "machine", lambda: kernels)
    return debians


def test_a_part_is_found_for_this_kind_of_machine(host, architecture):
    assert find_part(host, "mount-s3") == host.bundle / "parts" / f"mount-s3-{architecture}.file"
    assert find_part(host, "rds-ca") == host.bundle / "parts" / "rds-ca-any.file"


def test_the_certificates_of_amazon_rds(host):
    assert rds_certificates(host) == CONTENT.decode()


def test_an_image_is_the_one_that_the_lock_names(host):
    assert locked_image(host, "dcgm-exporter") == "registry.example.com/dcgm@sha256:1234"
    with pytest.raises(StepError, match=r"parts\.lock\.json has no image other"):
        locked_image(host, "other")


def test_what_is_on_the_node_is_a_part_or_is_not(tmp_path, host):
    node = Host(root=tmp_path / "root", bundle=host.bundle)
    assert not is_part(node, "/opt/ca.pem", "rds-ca")
    node.copy(find_part(node, "rds-ca"), "/opt/ca.pem")
    assert is_part(node, "/opt/ca.pem", "rds-ca")
    assert node.mode_of("/opt/ca.pem") == 0o644
    node.write("/opt/ca.pem", "damaged")
    assert not is_part(node, "/opt/ca.pem", "rds-ca")


def failure(host: Host, name: str) -> str:
    with pytest.raises(StepError) as raised:
        find_part(host, name)
    assert not isinstance(raised.value, NotYetError), "it does not pass by itself"
    return str(raised.value)


def test_a_part_that_was_not_fetched(host):
    (host.bundle / "parts" / "rds-ca-any.file").unlink()
    expected = (
        "part rds-ca 1.0 is not in the bundle, which has no parts/rds-ca-any.file: "
        "run `cdk-slurm bundle rds-ca` (in a checkout `make bundle PARTS=rds-ca`) and deploy again"
    )
    assert failure(host, "rds-ca") == expected
    for file in (host.bundle / "parts").iterdir():
        file.unlink()
    (host.bundle / "parts").rmdir()
    assert failure(host, "rds-ca") == expected


def test_a_part_that_is_another_file(host, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    told = failure(host, "enroot")
    assert told.startswith(f"part enroot 1.0 is damaged: {host.bundle}/parts/enroot-amd64.file has sha256 {SHA256}, ")
    assert f"expected {'0' * 64}: run `cdk-slurm bundle enroot`" in told


def test_a_part_that_is_not_for_this_kind_of_machine(host, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert failure(host, "enroot") == (
        "parts.lock.json has no part enroot for arm64 machines: choose an AMI that has it"
    )


def test_a_bundle_without_a_lock(host):
    (host.bundle / "parts.lock.json").unlink()
    assert failure(host, "rds-ca") == "parts.lock.json is missing beside the scripts"
