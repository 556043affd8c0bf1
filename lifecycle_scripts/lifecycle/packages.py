"""Installs packages of the distribution."""

from collections.abc import Sequence

from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.step import Context

# Unattended upgrades hold dpkg's lock for minutes on a fresh machine.
LOCK_WAIT_SECONDS = 300
# The patience of a step that installs.
PATIENCE_SECONDS = 900.0

_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "LC_ALL": "C"}
_OPTIONS = (
    *("-y", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT_SECONDS}", "-o", "Dpkg::Options::=--force-confold"),
    # What dpkg says of an error is to come where errors come, and not on a terminal of its own.
    *("-o", "Dpkg::Use-Pty=0"),
)


def are_installed(context: Context, packages: Sequence[str]) -> bool:
    """Return whether all packages are installed, wholly."""
    try:
        states = context.host.run("dpkg-query", "--show", "--showformat=${db:Status-Status}\n", *packages)
    except CommandError:
        return False
    return states.split() == ["installed"] * len(packages)


def install(context: Context, *packages: str) -> None:
    """Install packages by name, or from files by path.

    What passes (a locked dpkg, a mirror that is down) raises `NotYetError`, everything else `StepError`.
    """
    # A run that was killed while it installed leaves packages half configured, and apt refuses all others.
    _apt(context, "dpkg", "--configure", "-a")
    if not all(package.startswith("/") for package in packages):
        # Without the option, apt-get tells of a mirror that fails with exit status 0.
        _apt(context, "apt-get", "update", *_OPTIONS, "-o", "APT::Update::Error-Mode=any")
    _apt(context, "apt-get", "install", *_OPTIONS, "--no-install-recommends", *packages)


def _apt(context: Context, *command: str) -> None:
    try:
        context.host.run(*command, timeout_seconds=1800, environment=_ENVIRONMENT)
    except CommandError as error:
        last = next((line for line in error.errors.splitlines() if line.startswith("E: ")), error.errors[-300:])
        if "No space left on device" in error.errors:
            raise StepError(f"the disk is full: {last}") from error
        if "lock" in error.errors:
            raise NotYetError(f"another program holds dpkg's lock: {last}") from error
        if any(sign in error.errors for sign in ("Failed to fetch", "Unable to connect", "Could not resolve", "404")):
            raise NotYetError(f"the package mirror does not deliver: {last}") from error
        raise StepError(f"{command[0]} cannot install: {last}") from error
