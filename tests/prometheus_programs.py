"""Prometheus and its companions for tests: from PATH, or unpacked from Debian's own packages."""

import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

_PAUSES_SECONDS = (1, 2, 4)
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class _Package:
    folder: str
    name: str
    #: Checksum by Debian's name of the architecture.
    sha256: dict[str, str]


_PROMETHEUS = _Package(
    folder="pool/main/p/prometheus",
    name="prometheus_2.53.3+ds1-2",
    sha256={
        "amd64": "58c3e6a86c56cb3bfd71032fa48d65945d526441a212f5815dfe5ed9cb787ecc",
        "arm64": "59b459dee0ceef9c645a98166ea00f0d10946391a5d486505360e2d21cd1ddec",
    },
)
_PROMTOOL = _Package(
    folder="pool/main/p/prometheus",
    name="promtool_2.53.3+ds1-2",
    sha256={"amd64": "ff27654eacc95abd846d344e91fe4ba3b4f0588a50d606ed1d2f09ad3408722f"},
)
_NODE_EXPORTER = _Package(
    folder="pool/main/p/prometheus-node-exporter",
    name="prometheus-node-exporter_1.9.0-1+b4",
    sha256={
        "amd64": "9db00cad0c9e160a4e9c13cbdb2833d58becb1f4cd60eeb0b5e12477ba6a42bd",
        "arm64": "1717bb967ca111dda6ce39c12d1da934cef37045a68905fa67e3150e9b65df1e",
    },
)
_ALERTMANAGER = _Package(
    folder="pool/main/p/prometheus-alertmanager",
    name="prometheus-alertmanager_0.28.1+ds-1",
    sha256={"amd64": "76ee08c2bf686fa32ca243d099b6bfc6cb00074e9337c18ef73154b60c5830a9"},
)
_PACKAGES = {
    "prometheus": _PROMETHEUS,
    "promtool": _PROMTOOL,
    "prometheus-node-exporter": _NODE_EXPORTER,
    "prometheus-alertmanager": _ALERTMANAGER,
    "amtool": _ALERTMANAGER,
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def program(name: str) -> Path:
    """Return where a program is: Prometheus' tools, Prometheus itself, its node exporter, its Alertmanager.

    `name` is the one that Debian gives it. Where it cannot be had the test is skipped with the reason, or fails with
    CDK_SLURM_REQUIRE_NODES=1.
    """
    path, reason = _located(name)
    if path is None:
        (pytest.fail if os.environ.get("CDK_SLURM_REQUIRE_NODES") == "1" else pytest.skip)(f"{name}: {reason}")
    return path


def debian_mirror() -> str:
    """Return the mirror of Debian that this machine uses itself, without a trailing slash."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(source.read_text("utf-8") for source in sources if source.is_file())
    found = re.search(r"https?://\S+/debian(?=/?\s)", text)
    return found[0] if found else "http://deb.debian.org/debian"


@functools.cache
def _located(name: str) -> tuple[Path | None, str]:
    """Return a program and no reason, or no program and the reason. Asked for once a run, whatever the answer."""
    package = _PACKAGES[name]
    if found := shutil.which(name):
        return Path(found), ""
    if not shutil.which("dpkg-deb"):
        return None, "neither on PATH nor a dpkg-deb to unpack Debian's package with"
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if architecture not in package.sha256:
        return None, f"not on PATH, and no checksum of {package.name} for {architecture}"
    try:
        return _unpacked(package, architecture) / "usr/bin" / name, ""
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        return None, f"not on PATH, and {package.name}: {error}"


def _unpacked(package: _Package, architecture: str) -> Path:
    sha256 = package.sha256[architecture]
    cache = _cache()
    whole, partial = cache / f"programs-{sha256[:16]}", cache / f"programs-{sha256[:16]}.partial"
    with (cache / "programs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            url = f"{debian_mirror()}/{package.folder}/{package.name}_{architecture}.deb"
            (partial / "package.deb").write_bytes(_fetched(url, sha256))
            command = ["dpkg-deb", "--extract", str(partial / "package.deb"), str(partial)]
            subprocess.run(command, check=True, capture_output=True)
            (partial / "package.deb").unlink()
            partial.rename(whole)
    return whole


def _cache() -> Path:
    """Where real nodes are kept too; a user who may not write there has a place of their own."""
    wanted = Path(os.environ.get("CDK_SLURM_NODE_CACHE") or "/var/cache/cdk-slurm")
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cdk-slurm"
    for cache in (wanted, own):
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(cache, os.W_OK):
            return cache
    raise PermissionError(f"neither {wanted} nor {own} can be written to")


def _fetched(url: str, sha256: str) -> bytes:
    for pause in (*_PAUSES_SECONDS, None):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                content: bytes = answer.read()
            break
        except urllib.error.HTTPError as error:
            # Not there is an answer; anything else may pass.
            if error.code == 404 or pause is None:
                raise
        except OSError:
            if pause is None:
                raise
        time.sleep(pause)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"sha256 {found} instead of {sha256}")
    return content
