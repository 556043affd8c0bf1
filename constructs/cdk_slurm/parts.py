"""The parts: what nodes may lack, fetched into the lifecycle scripts before a deployment takes them along."""

import hashlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TIMEOUT_SECONDS = 60
#: Waits between attempts at a download, each longer than the one before.
_PAUSES_SECONDS = (1, 2, 4, 8)
#: What a server answers when a later attempt may well succeed.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_PACKAGE = re.compile(r"pkg:pypi/(?P<name>[^@]+)@(?P<version>[^#]+)(#(?P<member>.+))?")


class PartError(Exception):
    """A part cannot be had, or is not what the lock file says."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file that nodes may need, as `parts.lock.json` names it."""

    name: str
    """Name that a node asks for; parts for different machines share it."""

    version: str
    architecture: Literal["any", "amd64", "arm64"]
    """The machines it is for, in Debian's words."""

    file: str
    """Its name in the directory `parts` beside the scripts."""

    url: str
    """An https address; or the package URL of a wheel, or after `#` of a file in one, which pip fetches from wherever
    it is set up to."""

    sha256: str
    """Checksum of the file."""

    verified: bool
    """Whether the checksum was compared with the file where it was written down, instead of only taken over."""

    checksum_from: str
    license: str
    needed_for: str


def lifecycle_scripts() -> Path:
    """The scripts that nodes run."""
    return shipped_directory("lifecycle_scripts")


def shipped_directory(name: str) -> Path:
    """A directory that comes with this package, or stands beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parents[1] / name


def locked_parts(scripts: Path) -> tuple[Part, ...]:
    """Every part that nodes with these scripts may ask for."""
    lock = json.loads((scripts / "parts.lock.json").read_text("utf-8"))
    return tuple(Part(**part) for part in lock["parts"])


def is_fetched(part: Part, scripts: Path) -> bool:
    """Whether the file of a part is beside the scripts, and is the one that the lock names."""
    file = scripts / "parts" / part.file
    return file.is_file() and _sha256(file.read_bytes()) == part.sha256


def fetch(part: Part, scripts: Path, *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Have the file of a part beside the scripts; returns whether it had to be fetched.

    A file appears only whole and with the right checksum. Raises `PartError` when it cannot be had after
    several attempts, or has another checksum.
    """
    if is_fetched(part, scripts):
        return False
    target = scripts / "parts" / part.file
    package = _PACKAGE.fullmatch(part.url)
    content = _from_wheel(**package.groupdict()) if package else _download(part.url, sleep)
    found = _sha256(content)
    if found != part.sha256:
        raise PartError(f"{part.url} has sha256 {found}, expected {part.sha256}")
    try:
        target.parent.mkdir(exist_ok=True)
        # A name that no deployment takes along, and one only: what a killed run left is overwritten by the next.
        partial = target.with_name(f".{target.name}.partial")
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:
        raise PartError(f"cannot write {target}: {error.strerror}") from error
    return True


def _download(url: str, sleep: Callable[[float], None]) -> bytes:
    for pause in (*_PAUSES_SECONDS, None):
        try:
            # Only what the lock names, and that is https.
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code not in _PASSING:
                raise PartError(f"{url}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        if pause is not None:
            sleep(pause)
    raise PartError(f"{url}: {reason}, after {len(_PAUSES_SECONDS) + 1} attempts")


def _from_wheel(*, name: str, version: str, member: str | None) -> bytes:
    """A wheel or a file of one, by way of pip: it knows this machine's package index, proxy and certificates."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--only-binary=:all:", "--dest", directory, f"{name}=={version}"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise PartError(f"pip cannot download {name} {version}: {last}")
        [wheel] = Path(directory).glob("*.whl")
        if member is None:
            return wheel.read_bytes()
        try:
            with zipfile.ZipFile(wheel) as packed:
                return packed.read(member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise PartError(f"{wheel.name} is not the wheel with {member}: {error}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
