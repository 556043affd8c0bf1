"""Services of ours that answer Prometheus over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass

from lifecycle import units
from lifecycle.errors import NotYetError
from lifecycle.host import File, Host, all_held

_ADDRESS = "127.0.0.1"
#: How long one that was just started is waited for before the step is tried again.
_LOOKS, _PAUSE_SECONDS = 20, 0.25

#: For services that read the node and change nothing on it.
HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
"""


@dataclass(frozen=True)
class Service:
    """A unit, the files that it goes by, and the port at which it tells its metrics."""

    name: str
    """The unit's, without `.service`."""
    unit: str
    """Text of the unit file."""
    port: int
    tells: str = ""
    """What is among its metrics when all is well."""
    files: Sequence[File] = ()

    @property
    def full_name(self) -> str:
        """Name of the unit."""
        return f"{self.name}.service"

    @property
    def url(self) -> str:
        """Where its metrics are."""
        return f"http://{_ADDRESS}:{self.port}/metrics"

    @property
    def _all_files(self) -> list[File]:
        return [*self.files, File(f"/etc/systemd/system/{self.full_name}", self.unit)]

    def is_up(self, host: Host) -> bool:
        """Return whether it is as it is to be, runs now and after the next boot, and answers."""
        return all_held(host, self._all_files) and units.is_up(host, self.full_name) and self._answers(host)

    def bring_up(self, host: Host) -> None:
        """Have it run as it is to be; raise `NotYetError`, with its last words, as long as it does not answer."""
        changed = not all_held(host, self._all_files)
        running = units.is_running(host, self.full_name)
        if not running and host.answers(_ADDRESS, self.port):
            raise NotYetError(f"another program listens on port {self.port}, which is {self.full_name}'s")
        for file in self._all_files:
            host.put(file)
        if changed:
            units.reload(host)
        (units.restart if changed else units.start)(host, self.full_name)
        for _ in range(_LOOKS):
            if self._answers(host):
                return
            host.sleep(_PAUSE_SECONDS)
        why = "does not answer" if units.is_running(host, self.full_name) else "does not stay up"
        raise NotYetError(f"{self.full_name} {why} on port {self.port}: {units.last_words(host, self.full_name)}")

    def _answers(self, host: Host) -> bool:
        text = host.fetch(self.url)
        return text is not None and self.tells in text
