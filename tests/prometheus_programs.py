"""Prometheus and its companions for tests: from PATH, or unpacked from Debian's own packages."""

import fcntl
import functools
import os
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cdk_slurm.parts import Part, PartError, fetch, lifecycle_scripts, locked_parts


def _only_for_tests(name: str, folder: str, version: str, sha256: str) -> Part:
    file = f"{name}_{version}_amd64.deb"
    return Part(
        name=name,
        version=version,
        architecture="amd64",
        file=file,
        url=f"https://snapshot.debian.org/archive/debian/20261101T000000Z/pool/main/p/{folder}/{file}",
        sha256=sha256,
        verified=True,
        checksum_from="Debian's own file.",
        license="Apache-2.0",
        needed_for="tests",
    )


#: Beside what nodes get: the rules' judge, and who sends alerts.
_PARTS = (
    *locked_parts(lifecycle_scripts()),
    _only_for_tests(
        "promtool",
        "prometheus",
        "2.53.3+ds1-2",
        "ff27654eacc95abd846d344e91fe4ba3b4f0588a50d606ed1d2f09ad3408722f",
    ),
    _only_for_tests(
        "prometheus-alertmanager",
        "prometheus-alertmanager",
        "0.28.1+ds-1",
        "76ee08c2bf686fa32ca243d099b6bfc6cb00074e9337c18ef73154b60c5830a9",
    ),
)
#: In which part each program is, by the name that Debian gives it.
_PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "promtool",
    "prometheus-node-exporter": "node-exporter",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
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


def from_mirror(part: Part) -> Part:
    """Return a part as this machine's own mirror of Debian has it, while it does: the lock names an archive."""
    pool = part.url.partition("/pool/")[2]
    return replace(part, url=f"{debian_mirror()}/pool/{pool}") if pool else part


@functools.cache
def _located(name: str) -> tuple[Path | None, str]:
    """Return a program and no reason, or no program and the reason. Asked for once a run, whatever the answer."""
    if found := shutil.which(name):
        return Path(found), ""
    if not shutil.which("dpkg-deb"):
        return None, "neither on PATH nor a dpkg-deb to unpack Debian's package with"
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    found_parts = [part for part in _PARTS if (part.name, part.architecture) == (_PROGRAMS[name], architecture)]
    if not found_parts:
        return None, f"not on PATH, and no package with it for {architecture}"
    try:
        return _unpacked(found_parts[0]) / "usr/bin" / name, ""
    except (OSError, subprocess.CalledProcessError, PartError) as error:
        return None, f"not on PATH, and {found_parts[0].file}: {error}"


def _unpacked(part: Part) -> Path:
    cache = _cache()
    whole, partial = cache / f"programs-{part.sha256[:16]}", cache / f"programs-{part.sha256[:16]}.partial"
    with (cache / "programs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fetch(from_mirror(part), partial)
            command = ["dpkg-deb", "--extract", str(partial / "parts" / part.file), str(partial)]
            subprocess.run(command, check=True, capture_output=True)
            shutil.rmtree(partial / "parts")
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
