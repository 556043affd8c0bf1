"""The operating system of the nodes, made once and kept: Debian with Slurm, as HyperPod's AMI has Ubuntu with Slurm."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
#: What the AMI has.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "sudo", "python3", "ca-certificates", "logrotate"),
    *("munge", "slurmctld", "slurmd", "slurm-client", "slurmdbd", "slurm-wlm-mysql-plugin", "libpam-slurm-adopt"),
    *("openssh-server", "openssh-client", "awscli"),
)
#: What the lifecycle installs, and what the tests' own servers are.
INSTALLABLE = ("mariadb-server", "sssd-ldap", "sssd-tools", "libnss-sss", "libpam-sss", "slapd", "ldap-utils")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CACHE = Path(os.environ.get("CDK_SLURM_NODE_CACHE", "/var/cache/cdk-slurm"))


@dataclass(frozen=True)
class Tree:
    """A root directory that nodes share, and a flat apt repository with the packages that they may install."""

    root: Path
    repository: Path


def node_tree() -> Tree:
    """Return the tree, after making it if this machine has none."""
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES, *INSTALLABLE)).encode()).hexdigest()[:12]
    directory = CACHE / key
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            partial = CACHE / f"{key}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _make(Tree(partial / "root", partial / "repository"))
            partial.rename(directory)
    return Tree(directory / "root", directory / "repository")


def _make(tree: Tree) -> None:
    run(
        *("mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(PACKAGES)}", f"--keyring={KEYRING}"),
        *(SUITE, str(tree.root), _mirror()),
    )
    tree.repository.mkdir()
    with overlay(tree.root.parent / "download", [tree.root]) as root:
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        run("chroot", str(root), "apt-get", "-qq", "update")
        run(
            *("chroot", str(root), "apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "install"),
            *INSTALLABLE,
        )
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            shutil.copy(package, tree.repository)
    shutil.rmtree(tree.root.parent / "download")
    index = "\n".join(_index_entry(package) for package in sorted(tree.repository.glob("*.deb")))
    (tree.repository / "Packages").write_text(index)


def _index_entry(package: Path) -> str:
    control = run("dpkg-deb", "--field", str(package)).rstrip()
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return f"{control}\nFilename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"


def _mirror() -> str:
    """The mirror that this machine installs from."""
    for file in (*Path("/etc/apt").glob("sources.list*"), *Path("/etc/apt/sources.list.d").glob("*")):
        if file.is_file() and (
            found := re.search(r"^(?:URIs: *|deb .*?)(https?://\S*debian/?)(?:\s|$)", file.read_text(), re.M)
        ):
            return found[1]
    return "http://deb.debian.org/debian"


@contextmanager
def overlay(directory: Path, lowers: list[Path]) -> Iterator[Path]:
    """Mount an overlay, whose changes go to `directory`, for as long as the block lasts."""
    mounted = mount_overlay(directory, lowers)
    try:
        yield mounted
    finally:
        run("umount", str(mounted))


def mount_overlay(directory: Path, lowers: list[Path]) -> Path:
    """Mount an overlay; return where."""
    upper, work, merged = directory / "upper", directory / "work", directory / "root"
    for part in (upper, work, merged):
        part.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "overlay", "-o", options, str(merged))
    return merged


def run(*command: str, timeout_seconds: float = 600, **options: object) -> str:
    """Run a command on this machine; an error says all that it said."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, **options)  # type: ignore[call-overload]
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} exited with {result.returncode}: {result.stdout}{result.stderr}")
    return str(result.stdout)
