"""What nodes are booted from: a Debian tree and the packages that are installed at run time, built once."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

from tests.prometheus_programs import debian_mirror

SUITE = "trixie"

#: What the AMI has.
_INSTALLED = (
    "awscli",
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-slurm-adopt",
    "libslurm-dev",
    "logrotate",
    "munge",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "slurm-client",
    "slurm-wlm-mysql-plugin",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "sudo",
    "systemd",
    "systemd-sysv",
)
#: What nodes install, and what the machine with the services has.
_MIRRORED = (
    "fuse-overlayfs",
    "gcc",
    "ldap-utils",
    "libc6-dev",
    "libfuse2",
    "libnss-sss",
    "libpam-sss",
    "make",
    "mariadb-server",
    "slapd",
    "squashfuse",
    "sssd-ldap",
    "sssd-tools",
)
#: What a space of Studio installs, and nodes have.
_OF_NODES = ("libmunge2", "munge")
_OF_SERVICES = ("ldap-utils", "mariadb-server", "slapd")
_LEFT_OUT = ("doc", "info", "locale", "man")


@dataclass(frozen=True)
class Trees:
    """Directories, none of which is ever written to again."""

    base: Path
    """The root of a node."""

    services: Path
    """What the machine with the services has in addition, as a layer over `base`."""

    studio: Path
    """What a space of SageMaker Studio lacks, as a layer over `base`: Slurm and MUNGE."""

    packages: Path
    """A flat apt repository."""


def prepared_trees() -> Trees:
    """Return the trees, building them where they are not in the cache (`CDK_SLURM_NODE_CACHE` says where that is)."""
    cache = Path(os.environ.get("CDK_SLURM_NODE_CACHE") or "/var/cache/cdk-slurm")
    cache.mkdir(parents=True, exist_ok=True)
    # Whatever changes the way they are built is part of the key: this file is.
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    whole, partial = cache / f"{SUITE}-{key}", cache / "partial"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(partial, ignore_errors=True)
            _build(_trees(partial))
            partial.rename(whole)
    return _trees(whole)


def _trees(directory: Path) -> Trees:
    return Trees(**{field.name: directory / field.name for field in fields(Trees)})


def _build(trees: Trees) -> None:
    trees.packages.mkdir(parents=True)
    _run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=apt",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{one}/*" for one in _LEFT_OUT),
        f"--include={','.join(_INSTALLED)}",
        # Apt still knows the mirror here, and what is missing beside what is installed.
        '--customize-hook=chroot "$1" apt-get clean',
        '--customize-hook=chroot "$1" apt-get install -qq --no-install-recommends --download-only '
        + " ".join(_MIRRORED),
        f'--customize-hook=mv "$1"/var/cache/apt/archives/*.deb {trees.packages}',
        # Without a sandbox: apt's own user may not write here.
        f'--customize-hook=cd {trees.packages} && apt-get -o Dir="$1" -o Dir::State::status="$1"/var/lib/dpkg/status '
        f"-o APT::Sandbox::User=root download -qq {' '.join(_OF_NODES)}",
        '--customize-hook=chroot "$1" systemctl disable slurmctld slurmd slurmdbd',
        SUITE,
        str(trees.base),
        debian_mirror(),
    )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        index = pool.map(_index_entry, sorted(trees.packages.glob("*.deb")))
    (trees.packages / "Packages").write_text("\n".join(index), "utf-8")
    _build_services(trees)
    _build_studio(trees)


def _build_studio(trees: Trees) -> None:
    trees.studio.mkdir()
    with overlaid(trees.studio, lower=[trees.base], work=trees.studio.with_name("work")) as root:
        run_in(
            root,
            """set -e
            DEBIAN_FRONTEND=noninteractive apt-get purge -qq '?installed?name(slurm)' libmunge2 munge
            rm -rf /etc/munge /etc/slurm /var/lib/munge""",
        )


def _build_services(trees: Trees) -> None:
    trees.services.mkdir()
    with overlaid(trees.services, lower=[trees.base], work=trees.services.with_name("work")) as root:
        shutil.copytree(trees.packages, root / "mnt/packages")
        (root / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/mnt/packages ./\n", "utf-8")
        run_in(
            root,
            f"""set -e
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -qq {" ".join(_OF_SERVICES)}
            systemctl disable --quiet mariadb slapd
            rm -r /mnt/packages /var/lib/apt/lists/*""",
        )


def run_in(root: Path, script: str) -> None:
    """Run a shell script in a root directory, with /proc, and nothing started by what it installs."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", "utf-8")
    policy.chmod(0o755)
    enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" bash -c "$1"'
    _run("unshare", "--mount", "sh", "-c", enter, str(root), script)
    policy.unlink()


@contextlib.contextmanager
def overlaid(upper: Path, *, lower: list[Path], work: Path) -> Iterator[Path]:
    """A mounted overlay whose changes go to `upper`; `work` is there only meanwhile."""
    (work / "root").mkdir(parents=True)
    (work / "work").mkdir()
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}/work"
    _run("mount", "-t", "overlay", "-o", options, "overlay", str(work / "root"))
    try:
        yield work / "root"
    finally:
        _run("umount", str(work / "root"))
        shutil.rmtree(work)


def _index_entry(package: Path) -> str:
    fields = _run("dpkg-deb", "--field", str(package))
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return f"{fields}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"


def _run(*command: str) -> str:
    # What is entered has its programs where Debian has them, wherever this machine's are.
    path = f"{os.environ['PATH']}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout
