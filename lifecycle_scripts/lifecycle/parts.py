"""Finds what the deployment brought along for a node whose AMI lacks it.

`parts.lock.json` beside the scripts names every part, and the deployment's `cdk-slurm bundle` fetched it.
"""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from lifecycle.errors import StepError
from lifecycle.host import Host

LOCK = "parts.lock.json"

_ANY = "any"
#: The kernel's names of architectures, in Debian's words.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHUNK_BYTES = 1024 * 1024


class MissingPartError(StepError):
    """The deployment did not bring a part: it was not fetched, or there is none for this machine."""


def find_part(host: Host, name: str) -> Path:
    """Return the file of a part, after comparing it with its checksum.

    Raises `MissingPartError` when there is no such part for this machine or when it was not fetched before the
    deployment, `StepError` when the file is another one.
    """
    part = locked_part(host, name)
    told = f"part {name} {part['version']}"
    again = f"run `cdk-slurm bundle {name}` (in a checkout `make bundle PARTS={name}`) and deploy again"
    file: Path = host.bundle / "parts" / part["file"]
    if not file.is_file():
        raise MissingPartError(f"{told} is not in the bundle, which has no parts/{part['file']}: {again}")
    found = _sha256(file)
    if found != part["sha256"]:
        raise StepError(f"{told} is damaged: {file} has sha256 {found}, expected {part['sha256']}: {again}")
    return file


def rds_certificates(host: Host) -> str:
    """Return the certificates (PEM) of the authorities that vouch for databases of Amazon RDS."""
    return find_part(host, "rds-ca").read_text(encoding="ascii")


def locked_part(host: Host, name: str) -> dict[str, Any]:
    """Return what the lock says of a part for this machine, whether or not it was fetched."""
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    for part in _lock(host)["parts"]:
        if part["name"] == name and part["architecture"] in (_ANY, architecture):
            found: dict[str, Any] = part
            return found
    raise MissingPartError(f"{LOCK} has no part {name} for {architecture} machines: choose an AMI that has it")


def is_part(host: Host, path: str, name: str) -> bool:
    """Return whether what is at a path of the node is the file of a part."""
    return host.exists(path) and _sha256(host.locate(path)) == locked_part(host, name)["sha256"]


def locked_image(host: Host, name: str) -> str:
    """Return a container image, with its digest, that nodes pull from where it is."""
    for image in _lock(host)["images"]:
        if image["name"] == name:
            return str(image["image"])
    raise StepError(f"{LOCK} has no image {name}")


def _lock(host: Host) -> dict[str, Any]:
    text = host.read_bundled(LOCK)
    if text is None:
        raise StepError(f"{LOCK} is missing beside the scripts")
    lock: dict[str, Any] = json.loads(text)
    return lock


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
