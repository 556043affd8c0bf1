"""One node: a systemd of its own on an overlay of its own, in a network namespace of its own."""

import fnmatch
import hashlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.node.cluster.network import HUB_ADDRESS, Network, address_of
from tests.node.cluster.workplace import mount

T = TypeVar("T")

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOGIN_PATH = f"/opt/slurm/bin:{DEFAULT_PATH}"


class CommandError(subprocess.CalledProcessError):
    """A command that failed, with what it said."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stdout}{self.stderr}"


class File(NamedTuple):
    """What can be told of a file without opening it, and a digest of its content."""

    type: int
    mode: int
    uid: int
    gid: int
    content: str
    """SHA-256 of a regular file, target of a symbolic link."""

    mtime_ns: int
    """0 for a directory: that its entries changed is told by the entries."""


class Machine:
    """A node that can be booted, entered, stopped and destroyed.

    `lowers` are the layers it is booted from, the topmost first; `binds` are directories of this machine by
    where the node has them; `disks` are sizes in MiB of file systems of its own, by mount point.
    """

    def __init__(
        self,
        network: Network,
        host: int,
        *,
        lowers: Sequence[Path],
        hosts: str = "",
        disk_mib: int = 4096,
        disks: Mapping[str, int] | None = None,
        binds: Mapping[str, Path] | None = None,
    ) -> None:
        self.address = address_of(host)
        self.name = f"ip-{self.address.replace('.', '-')}"
        self._network, self._host = network, host
        self._directory = network.directory / str(host)
        self.root = self._directory / "root"
        """The node's own file system as this machine sees it, without what is mounted on the node."""
        self._disks = {path: self._directory / f"disk{number}" for number, path in enumerate(disks or {})}
        self._binds = dict(binds or {}) | self._disks
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._namespace = network.attach(host, f"192.0.2.{host}/24")
        self._make_disks(lowers, disk_mib, list((disks or {}).values()))
        (self.root / "etc/hostname").write_text(f"{self.name}\n", "utf-8")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}", "utf-8")
        # Nobody listens there, and says so at once: without it, every daemon waits for an answer.
        (self.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n", "utf-8")
        (self.root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] http://{HUB_ADDRESS}/ ./\n", "utf-8")
        (self.root / "etc/machine-id").write_text("", "utf-8")

    # Power

    def boot(self, *, timeout_seconds: float = 90) -> None:
        """Power on, and return when systemd has started everything it was going to."""
        ready, console_file = self._directory / "ready", self._directory / "console"
        ready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, console_file.open("wb") as console:
            notified.bind(str(ready))
            self._nspawn = self._network.spawn(
                str(self._host),
                *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", "--notify-ready=yes"),
                *(f"--machine={self._namespace.name}", f"--network-namespace-path={self._namespace}"),
                *("--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--console=pipe"),
                "--bind=/dev/autofs",
                *(f"--bind={source}:{target}" for target, source in self._binds.items()),
                env=os.environ | {"NOTIFY_SOCKET": str(ready), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdout=console,
                stderr=console,
            )
            deadline = time.monotonic() + timeout_seconds
            told: dict[str, str] = {}
            while "READY" not in told:
                notified.settimeout(0.5)
                try:
                    told |= dict(line.split("=", 1) for line in notified.recv(4096).decode().splitlines())
                except TimeoutError:
                    if self._nspawn.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"{self.name} does not boot: {self._last_words()}") from None
                self._init = int(told.get("X_NSPAWN_LEADER_PID", 0))

    def stop(self) -> None:
        """Power off; the disk stays, and `boot` goes on with it."""
        if self._nspawn:
            os.kill(self._init, signal.SIGRTMIN + 4)
            # systemd gives a service 90 s, and slurmctld that is stopped while it reconfigures itself may take them.
            self._nspawn.wait(150)
            self._nspawn = None

    def restart(self) -> None:
        self.stop()
        self.boot()

    def lose_power(self) -> None:
        """Be off at once, whatever it is doing; the disk stays, and `boot` goes on with it."""
        self._network.kill(self._host)
        self._nspawn = None

    def destroy(self) -> None:
        """Be gone at once, with its disk."""
        self._network.detach(self._host)
        self._nspawn = None

    def resize_disk(self, mib: int) -> None:
        """Make the disk larger or smaller while the node uses it."""
        mount("tmpfs", self._directory, f"remount,size={mib}m", type="tmpfs")

    # What is done on it

    def run(
        self,
        *command: str,
        user: str | None = None,
        check: bool = True,
        timeout_seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command, as root or as a user who has logged in."""
        entered = self._entered(command, user, environment)
        try:
            done = subprocess.run(entered, capture_output=True, text=True, timeout=timeout_seconds, input=input)
        except subprocess.TimeoutExpired as error:
            said = b"".join(filter(None, (error.stdout, error.stderr))).decode("utf-8", "replace")
            took = f"{self.name}: {shlex.join(command)} has not ended after {timeout_seconds} s"
            raise TimeoutError(f"{took}:\n{said}") from None
        if check and done.returncode:
            raise CommandError(done.returncode, f"{self.name}: {shlex.join(command)}", done.stdout, done.stderr)
        return done

    def shell(self, script: str, *, user: str | None = None, check: bool = True, timeout_seconds: float = 60) -> str:
        """Run a line of shell and return what it prints."""
        return self.run("bash", "-c", script, user=user, check=check, timeout_seconds=timeout_seconds).stdout

    def start(self, *command: str, user: str | None = None, **options: Any) -> "subprocess.Popen[str]":
        """Start a command and leave it running; it ends with the node at the latest."""
        return subprocess.Popen(self._entered(command, user, None), text=True, **options)

    def _entered(
        self, command: Sequence[str], user: str | None, environment: Mapping[str, str] | None
    ) -> Sequence[str]:
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        if user:
            command = ("runuser", "--login", user, "--command", shlex.join(["env", *variables, *command]))
        return [
            *("nsenter", f"--target={self._init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"),
            *("--root", "--wd", "/usr/bin/env", "-i", "HOME=/root", "TERM=dumb", f"PATH={LOGIN_PATH}", *variables),
            *command,
        ]

    # Its files and units

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file as the node sees it, with the directories above it."""
        script = 'mkdir -p "$(dirname "$0")" && cat >"$0" && chmod "$1" "$0"'
        self.run("sh", "-c", script, path, f"{mode:o}", input=text)

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def exists(self, path: str) -> bool:
        return not self.run("test", "-e", path, check=False).returncode

    def files(self, ignore: Iterable[str] = ()) -> dict[str, File]:
        """Return everything on the node's own file system, by path without the leading slash.

        `ignore` are patterns as of `fnmatch`, whose `*` matches slashes too. What is mounted on the node is not
        there to be seen: /proc, /sys, /dev, /run, /tmp, the shared file systems, its `disks`.
        """
        patterns = tuple(ignore)
        found: dict[str, File] = {}
        directories = [self.root]
        while directories:
            for entry in os.scandir(directories.pop()):
                path = os.path.relpath(entry.path, self.root)
                if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    directories.append(Path(entry.path))
                found[path] = _described(entry)
        return found

    def units(self) -> dict[str, str]:
        """Return the active state of every unit, by its name."""
        listed = json.loads(self.run("systemctl", "list-units", "--all", "--output=json").stdout)
        return {unit["unit"]: unit["active"] for unit in listed}

    def _make_disks(self, lowers: Sequence[Path], disk_mib: int, sizes_mib: Sequence[int]) -> None:
        self._directory.mkdir()
        mount("tmpfs", self._directory, f"mode=755,size={disk_mib}m", type="tmpfs")
        upper, work = self._directory / "upper", self._directory / "work"
        for directory in (upper, work, self.root, *self._disks.values()):
            directory.mkdir()
        layers = ":".join(map(str, lowers))
        mount("overlay", self.root, f"lowerdir={layers},upperdir={upper},workdir={work}", type="overlay")
        for number, (directory, mib) in enumerate(zip(self._disks.values(), sizes_mib, strict=True), 1):
            mount(f"/dev/nvme{number}n1", directory, f"mode=755,size={mib}m", type="tmpfs")

    def _last_words(self) -> str:
        command = ["journalctl", f"--directory={self.root}/var/log/journal", "--lines=60", "--no-pager"]
        journal = subprocess.run(command, capture_output=True, text=True)
        return (
            f"{(self._directory / 'console').read_text('utf-8', 'replace')[-3000:]}\n{journal.stdout}{journal.stderr}"
        )


def eventually(check: Callable[[], T], *, timeout_seconds: float = 30) -> T:
    """Return what `check` returns as soon as that is true; raise its last error, or say what it returned last."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if result := check():
                return result
            error: Exception = AssertionError(f"still {result!r} after {timeout_seconds} s")
        except (AssertionError, CommandError, OSError) as raised:
            error = raised
        if time.monotonic() > deadline:
            raise error
        time.sleep(0.2)


#: Nodes have nearly all their files in common: one that is what it was need not be read again.
_DIGESTS: dict[tuple[int, ...], str] = {}


def _described(entry: "os.DirEntry[str]") -> File:
    status = entry.stat(follow_symlinks=False)
    content, mtime_ns = "", status.st_mtime_ns
    if entry.is_symlink():
        content = os.readlink(entry.path)  # noqa: PTH115 - there is no Path yet, and there are 30 000 of them
    elif entry.is_file():
        same = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if same not in _DIGESTS:
            with open(entry.path, "rb") as file:  # noqa: PTH123
                _DIGESTS[same] = hashlib.sha256(file.read()).hexdigest()
        content = _DIGESTS[same]
    elif entry.is_dir():
        mtime_ns = 0
    mode = status.st_mode
    return File(stat.S_IFMT(mode), stat.S_IMODE(mode), status.st_uid, status.st_gid, content, mtime_ns)
