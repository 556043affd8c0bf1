"""systemd's units."""

from lifecycle.errors import CommandError, StepError
from lifecycle.host import Host


def path_name(path: str) -> str:
    """Return how a unit's name holds a path, as `systemd-escape --path` does for those that a cluster file may have."""
    return path.strip("/").replace("-", r"\x2d").replace("/", "-")


def is_up(host: Host, unit: str) -> bool:
    """Return whether a unit runs and will after the next boot."""
    return is_running(host, unit) and is_enabled(host, unit)


def is_running(host: Host, unit: str) -> bool:
    """Return whether a unit runs."""
    return host.succeeds("systemctl", "is-active", "--quiet", unit)


def is_enabled(host: Host, unit: str) -> bool:
    """Return whether a unit starts at boot."""
    return host.succeeds("systemctl", "is-enabled", "--quiet", unit)


def is_known(host: Host, unit: str) -> bool:
    """Return whether there is such a unit."""
    return host.succeeds("systemctl", "cat", unit)


def start(host: Host, unit: str, *, at_boot: bool = True) -> None:
    """Start a unit now and at every boot; raise `StepError` with the end of its journal where it does not."""
    if at_boot:
        host.run("systemctl", "enable", "--quiet", unit)
    _act(host, "start", unit)


def restart(host: Host, unit: str) -> None:
    """Start a unit anew now, and at every boot."""
    host.run("systemctl", "enable", "--quiet", unit)
    _act(host, "restart", unit)


def reread_sshd(host: Host) -> None:
    """Have sshd read its changed configuration, where it runs."""
    if is_running(host, "ssh.service"):
        host.run("systemctl", "reload", "ssh.service")


def reload(host: Host) -> None:
    """Have systemd read changed unit files."""
    host.run("systemctl", "daemon-reload")


def last_words(host: Host, unit: str) -> str:
    """Return the end of a unit's journal, in one line."""
    journal = host.run("journalctl", "--no-pager", "--quiet", "--lines=12", "--output=cat", f"--unit={unit}")
    return " | ".join(journal.split("\n")).strip(" |")


def _act(host: Host, action: str, unit: str) -> None:
    # systemd refuses a unit that failed too often in a short time, whatever was mended since.
    host.succeeds("systemctl", "reset-failed", unit)
    try:
        host.run("systemctl", action, unit, timeout_seconds=300)
    except CommandError as error:
        raise StepError(f"{unit} does not start: {last_words(host, unit)}") from error
