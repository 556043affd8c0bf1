"""The machine as the steps see it."""

import http.client
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.errors import CommandError, StepError


@dataclass(frozen=True)
class File:
    """A file as a step wants it: all of its text, its mode, and its owner by name."""

    path: str
    text: str
    mode: int = 0o644
    owner: str = "root"


@dataclass(frozen=True)
class Host:
    """Everything a step reads, changes or runs, so that a test can give it a directory for a machine.

    Paths are the node's absolute paths. `root` stands before each of them; `bundle` is the directory that
    the deployment filled, and is found where it is.
    """

    root: Path = Path("/")
    bundle: Path = Path(__file__).resolve().parent.parent
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    # Files

    def read(self, path: str) -> str | None:
        """Return the file's text, or None where there is no such file."""
        return _read(self.locate(path))

    def read_bundled(self, name: str) -> str | None:
        """Return the text of a file of the bundle, or None where there is no such file."""
        return _read(self.bundle / name)

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str | None = None) -> None:
        """Replace the file in one move, so that no reader and no power loss ever sees half of it.

        A symbolic link is followed, so that what it names is replaced and the link stays. Without an owner
        the file is root's, as who runs this is.
        """
        self._replace(path, text.encode("utf-8", "surrogateescape"), mode, owner)

    def copy(self, source: Path, path: str) -> None:
        """Put a file of the bundle at the path, as `write` does."""
        self._replace(path, source.read_bytes(), 0o644, None)

    def _replace(self, path: str, content: bytes, mode: int, owner: str | None) -> None:
        target = self.locate(path).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        # One fixed name: what a killed run left behind is overwritten by the next, not collected.
        partial = target.with_name(f".{target.name}.partial")
        partial.unlink(missing_ok=True)
        # Never readable by more than it is going to be, not for a moment: it may hold a secret.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if owner not in (None, "root"):
            shutil.chown(partial, owner)
        partial.chmod(mode)
        partial.replace(target)

    def holds(self, file: File) -> bool:
        """Return whether the file is there, with this text, mode and owner."""
        path = self.locate(file.path)
        return (
            _read(path) == file.text
            and path.stat().st_mode & 0o7777 == file.mode
            and (self.root != Path("/") or path.owner() == file.owner)
        )

    def put(self, file: File) -> None:
        """Make the file what it is to be."""
        self.write(file.path, file.text, mode=file.mode, owner=file.owner)

    def rewrite(self, path: str, text: str) -> None:
        """Replace the text of a file; mode and owner of one that is there stay."""
        owner, mode = self.owner_of(path), self.mode_of(path)
        self.write(path, text, mode=0o644 if mode is None else mode)
        if owner is not None:
            self.set_owner(path, *owner)

    def exists(self, path: str) -> bool:
        """Return whether there is anything at the path."""
        return self.locate(path).exists()

    def names_in(self, path: str) -> list[str]:
        """Return the sorted names in a directory; none where there is no such directory."""
        try:
            return sorted(entry.name for entry in self.locate(path).iterdir())
        except FileNotFoundError:
            return []

    def mode_of(self, path: str) -> int | None:
        """Return the permission bits of what is at the path, or None."""
        try:
            return self.locate(path).stat().st_mode & 0o7777
        except FileNotFoundError:
            return None

    def owner_of(self, path: str) -> tuple[int, int] | None:
        """Return uid and gid of what is at the path, or None."""
        try:
            status = self.locate(path).stat()
        except FileNotFoundError:
            return None
        return status.st_uid, status.st_gid

    def make_directory(self, path: str, *, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Make the directory, and those above it, unless it is there; set its mode and owner either way."""
        directory = self.locate(path)
        directory.mkdir(parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o7777 != mode:
            directory.chmod(mode)
        if owner is not None and self.owner_of(path) != owner:
            self.set_owner(path, *owner)

    def set_owner(self, path: str, uid: int, gid: int) -> None:
        """Give the path, and not what is in it, to somebody."""
        os.chown(self.locate(path), uid, gid)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link at the path, in the place of a former one."""
        self.make_directory(str(Path(path).parent))
        partial = self.locate(f"{path}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(target)
        partial.replace(self.locate(path))

    def link_target(self, path: str) -> str | None:
        """Return what the symbolic link at the path names, or None where there is no link."""
        location = self.locate(path)
        return str(location.readlink()) if location.is_symlink() else None

    def move(self, source: str, target: str) -> bool:
        """Move a directory to a name that is free, in one move; return False where the name was taken."""
        try:
            self.locate(source).rename(self.locate(target))
        except OSError:
            if self.exists(target):
                return False
            raise
        return True

    def remove(self, path: str) -> None:
        """Remove a file, a link or a whole directory, if it is there."""
        location = self.locate(path)
        if location.is_dir() and not location.is_symlink():
            shutil.rmtree(location)
        else:
            location.unlink(missing_ok=True)

    def is_mounted(self, path: str) -> bool:
        """Return whether a file system is mounted at the path; one that is mounted on demand is, once used."""
        try:
            # Opening it triggers an automount, as anybody's first use would; only asking about it does not.
            os.close(os.open(self.locate(path), os.O_RDONLY | os.O_DIRECTORY))
        except OSError:
            return False
        mounts = [line.split() for line in (self.read("/proc/self/mounts") or "").splitlines()]
        return any(fields[1] == path and fields[2] != "autofs" for fields in mounts)

    # Programs

    def finds(self, *programs: str) -> bool:
        """Return whether all of these programs are installed."""
        path = self.environment.get("PATH", os.defpath)
        path += ":/usr/local/sbin:/usr/sbin:/sbin:/opt/slurm/bin:/opt/slurm/sbin"
        return all(
            any(os.access(self.locate(f"{directory}/{program}"), os.X_OK) for directory in path.split(":"))
            for program in programs
        )

    def run(
        self,
        *command: str,
        timeout_seconds: float = 60,
        input: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command and return its standard output; raise `StepError` unless it exits with 0."""
        if self.root != Path("/") and command[0] != "hostname":
            raise StepError(f"{self.root} stands for a machine: {command[0]} would change this one")
        try:
            result = subprocess.run(
                command,
                **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_seconds,
                env={**self.environment, **environment} if environment else None,
            )
        # The arguments stay out of every message: they may hold a secret.
        except subprocess.TimeoutExpired:
            raise StepError(f"{command[0]} did not end within {timeout_seconds:g} s") from None
        except OSError as error:
            raise StepError(f"cannot run {command[0]}: {error.strerror}") from error
        if result.returncode != 0:
            raise CommandError(command[0], result.returncode, result.stderr.strip())
        return result.stdout

    def succeeds(self, *command: str, timeout_seconds: float = 60) -> bool:
        """Run a command that answers a question with its exit status."""
        try:
            self.run(*command, timeout_seconds=timeout_seconds)
        except CommandError:
            return False
        return True

    # The network

    def own_addresses(self) -> list[str]:
        """Return every IP address of this machine, loopback excepted."""
        return self.run("hostname", "--all-ip-addresses").split()

    def answers(self, address: str, port: int) -> bool:
        """Return whether somebody listens there."""
        try:
            with socket.create_connection((address, port), timeout=3):
                return True
        except OSError:
            return False

    def fetch(self, url: str) -> str | None:
        """Return what a server of this machine answers; None where there is none, or something is wrong with it."""
        # Straight there, whatever proxy the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=10) as answer:
                content: bytes = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        return content.decode("utf-8", "replace")

    # Time

    def sleep(self, seconds: float) -> None:
        """Wait before another attempt."""
        time.sleep(seconds)

    def locate(self, path: str) -> Path:
        """Return where the node's path is on this machine."""
        return self.root / path.lstrip("/")


def all_held(host: Host, files: Sequence[File]) -> bool:
    """Return whether each of the files is as it is to be."""
    return all(host.holds(file) for file in files)


def _read(path: Path) -> str | None:
    try:
        # A file damaged or cut inside a character is for its reader to judge, not a reason to crash here.
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
