"""The machine as the steps see it."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.errors import StepError


@dataclass(frozen=True)
class Host:
    """Everything a step reads, changes or runs, so that a test can give it a directory for a machine.

    Paths are the node's absolute paths. `root` stands before each of them; `bundle` is the directory that
    the deployment filled, and is found where it is.
    """

    root: Path = Path("/")
    bundle: Path = Path(__file__).resolve().parent.parent
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def read(self, path: str) -> str | None:
        """Return the file's text, or None where there is no such file."""
        return _read(self._locate(path))

    def read_bundled(self, name: str) -> str | None:
        """Return the text of a file of the bundle, or None where there is no such file."""
        return _read(self.bundle / name)

    def write(self, path: str, text: str) -> None:
        """Replace the file in one move, so that no reader and no power loss ever sees half of it."""
        target = self._locate(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # One fixed name: what a killed run left behind is overwritten by the next, not collected.
        partial = target.with_name(f".{target.name}.partial")
        with partial.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(target)

    def own_addresses(self) -> list[str]:
        """Return every IP address of this machine, loopback excepted."""
        return self.run("hostname", "--all-ip-addresses").split()

    def run(self, *command: str, timeout_seconds: float = 60) -> str:
        """Run a command and return its standard output; raise `StepError` unless it exits with 0."""
        try:
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_seconds,
            )
        # The arguments stay out of every message: they may hold a secret.
        except subprocess.TimeoutExpired:
            raise StepError(f"{command[0]} did not end within {timeout_seconds:g} s") from None
        except OSError as error:
            raise StepError(f"cannot run {command[0]}: {error.strerror}") from error
        if result.returncode != 0:
            raise StepError(f"{command[0]} exited with {result.returncode}: {result.stderr.strip()}")
        return result.stdout

    def sleep(self, seconds: float) -> None:
        """Wait before another attempt."""
        time.sleep(seconds)

    def _locate(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def _read(path: Path) -> str | None:
    try:
        # A file damaged or cut inside a character is for its reader to judge, not a reason to crash here.
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
