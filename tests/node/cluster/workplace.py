"""Where a test run keeps its nodes: a directory, a cgroup and network namespaces that carry the run's name.

A run that was killed leaves all of it behind; the next one finds the run's lock free, and clears up.
"""

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_RUNS = Path("/run/cdk-slurm-nodes")
_LOCKS = _RUNS / "locks"
_WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")

#: Programs, and the Debian packages that bring them.
_PROGRAMS = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "systemd-nspawn": "systemd-container",
}


def why_impossible() -> str | None:
    """Say why this machine cannot carry nodes, or None if it can."""
    if os.geteuid() != 0:
        return "nodes need root"
    missing = [package for program, package in _PROGRAMS.items() if not shutil.which(program)]
    if missing:
        return f"nodes need programs that are not installed: apt-get install {' '.join(missing)}"
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True).returncode:
        return "nodes need namespaces, which this container may not make"
    return None


class Workplace:
    """The things of one test run, as a context manager. Each part of it has a name, and can be cleared by it."""

    def __init__(self) -> None:
        self.name = f"cdk-slurm-{os.getpid()}"
        self.directory = _RUNS / self.name
        self._lock_file = _LOCKS / self.name
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> "Workplace":
        _LOCKS.mkdir(parents=True, exist_ok=True)
        # One at a time: a lock file that is there and not locked yet looks abandoned.
        directory = os.open(_LOCKS, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            for lock in _LOCKS.iterdir():
                _clear_if_abandoned(lock)
            self._lock = self._lock_file.open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(directory)
        self.directory.mkdir()
        # systemd of every node watches files, all of them as this machine's root; 128, as distributions have it, is
        # what some twenty nodes take.
        if int(_WATCHERS.read_text("utf-8")) < 1024:
            _WATCHERS.write_text("1024", "utf-8")
        # In memory: nothing waits for a disk, an overlay can lie on it, and one unmount is the end of it.
        mount("tmpfs", self.directory, "mode=755", type="tmpfs")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        _clear(self.name)
        self._lock_file.unlink()
        self._lock.close()

    def clear(self, *part: str) -> None:
        """End the processes of a part, and remove its directory and its network namespaces."""
        self.kill(*part)
        _clear(self.name, *part)

    def spawn(self, name: str, *command: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program of the part that `name` begins with, in a cgroup of its own.

        Of its own, or `systemctl kill` on one node would reach the same unit of every other.
        """
        groups = [root / self.name / name for root in _cgroup_roots()]
        for group in groups:
            group.mkdir(parents=True, exist_ok=True)
        enter = "; ".join(f"echo $$ >{group}/cgroup.procs" for group in groups)
        process = subprocess.Popen(["sh", "-ec", f'{enter}; exec "$@"', "sh", *command], **options)
        self._processes.append((f"{name}/", process))
        return process

    def kill(self, *part: str) -> None:
        """End the processes of a part, and wait for them: who has not been waited for is still in its cgroup."""
        _kill("/".join([self.name, *part]))
        ended = "".join(f"{one}/" for one in part)
        for name, process in self._processes:
            if name.startswith(ended):
                process.kill()
                process.wait()
        # In a cgroup that was killed, Linux 6.18 kills at once what is started in a new one below it.
        _remove_cgroups(self.name, *part)


def mount(source: str, target: Path, options: str, *, type: str) -> None:
    subprocess.run(["mount", "-t", type, "-o", options, source, str(target)], check=True)


def _clear_if_abandoned(lock: Path) -> None:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _clear(lock.name)
        lock.unlink(missing_ok=True)


def _remove_cgroups(run: str, *part: str) -> None:
    for root in _cgroup_roots():
        for below, *_ in os.walk(root.joinpath(run, *part), topdown=False):
            _remove_cgroup(Path(below))


def _clear(run: str, *part: str) -> None:
    _kill("/".join([run, *part]))
    _remove_cgroups(run, *part)
    directory = _RUNS.joinpath(run, *part)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    for target in reversed(mounts):
        if Path(target).is_relative_to(directory):
            # Lazily: what has just been killed may hold it for a moment.
            subprocess.run(["umount", "--lazy", target], check=True)
    shutil.rmtree(directory, ignore_errors=True)
    # A name ends here, or goes on after a hyphen.
    names = re.compile(rf"{'-'.join([run, *part])}(-.*)?")
    for namespace in Path("/run/netns").glob(f"{run}*"):
        if names.fullmatch(namespace.name):
            subprocess.run(["ip", "netns", "del", namespace.name], check=True)
    for left in Path("/run/systemd/nspawn/propagate").glob(f"{run}*"):
        if names.fullmatch(left.name):
            left.rmdir()


def _cgroup_roots() -> Iterable[Path]:
    """Return where cgroups of systemd can be made: version 2, and version 1's hierarchy of that name."""
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, target, type, options, *_ = line.split()
        if type == "cgroup2" or (type == "cgroup" and "name=systemd" in options.split(",")):
            yield Path(target)


def _kill(name: str) -> None:
    for root in _cgroup_roots():
        if (kill := root / name / "cgroup.kill").exists():
            kill.write_text("1", "utf-8")


def _remove_cgroup(group: Path) -> None:
    """Remove it as soon as nobody is in it any more."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
