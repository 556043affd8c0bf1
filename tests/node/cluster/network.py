"""The network of nodes: a bridge in a namespace of its own, with no way out."""

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.node.cluster.workplace import Workplace

#: Where nodes reach what is not a node: the package mirror and the AWS services.
HUB_ADDRESS = "10.78.0.254"
#: Where a machine of AWS asks about itself.
METADATA_ADDRESS = "169.254.169.254"

_CLONE_NEWNET = 0x40000000
_NAMES = map(str, itertools.count())


def address_of(host: int) -> str:
    return f"10.78.0.{host}"


class Network:
    """A part of a workplace: the hub and everything attached to it, with a directory for what they need.

    Networks have the same addresses, and do not see one another.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._workplace, self._name = workplace, next(_NAMES)
        self.directory = workplace.directory / self._name
        self.directory.mkdir()
        self._namespace = f"{workplace.name}-{self._name}"
        self._attached: dict[int, str] = {}
        self._has_metadata = False
        _ip(f"netns add {self._namespace}")
        for command in (
            "link add bridge type bridge",
            f"addr add {HUB_ADDRESS}/24 dev bridge",
            "link set bridge up",
            "link set lo up",
        ):
            _ip(f"-n {self._namespace} {command}")

    def close(self) -> None:
        """End all that is attached to it, and remove its directory."""
        self._workplace.clear(self._name)

    def attach(self, host: int, *more_addresses: str) -> Path:
        """Return a new network namespace, of a name that no other has, whose `eth0` is on the bridge."""
        name = f"{self._namespace}-{host}"
        _ip(f"netns add {name}")
        _ip(f"-n {self._namespace} link add port{host} type veth peer name eth0 netns {name}")
        _ip(f"-n {self._namespace} link set port{host} master bridge up")
        for address in (f"{address_of(host)}/24", *more_addresses):
            _ip(f"-n {name} addr add {address} dev eth0")
        _ip(f"-n {name} link set eth0 up")
        self._attached[host] = name
        if self._has_metadata:
            self._route_to_metadata(name)
        _ip(f"-n {name} link set lo up")
        return Path("/run/netns") / name

    def add_metadata_address(self) -> None:
        """Have the hub be where machines ask about themselves; before that nobody is."""
        self._has_metadata = True
        _ip(f"-n {self._namespace} addr add {METADATA_ADDRESS}/32 dev bridge")
        for name in self._attached.values():
            self._route_to_metadata(name)

    def _route_to_metadata(self, name: str) -> None:
        _ip(f"-n {name} route add {METADATA_ADDRESS}/32 dev eth0")

    def kill(self, host: int) -> None:
        """End the programs that were started for a host."""
        self._workplace.kill(self._name, str(host))

    def detach(self, host: int) -> None:
        """End the programs that were started for a host, and remove its directory and its namespace."""
        self._workplace.clear(self._name, str(host))
        self._attached.pop(host, None)

    def spawn(self, name: str, *command: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program, under the number of a host or a name."""
        return self._workplace.spawn(f"{self._name}/{name}", *command, stdin=subprocess.DEVNULL, **options)

    def serve(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> Callable[[], None]:
        """Start a server of the hub; return what ends it. Its log is in the network's directory."""
        variables = {"PATH": os.environ["PATH"]} | dict(environment or {})
        entered = ("nsenter", f"--net=/run/netns/{self._namespace}", *command)
        with (self.directory / f"{name}.log").open("ab") as log:
            server = self.spawn(name, *entered, env=variables, stdout=log, stderr=log)

        def end() -> None:
            server.kill()
            server.wait()

        return end

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the sockets that this thread opens be the hub's."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(Path("/run/netns") / self._namespace)
            yield
        finally:
            _setns(own)
            os.close(own)


def _enter(namespace: Path) -> None:
    file = os.open(namespace, os.O_RDONLY)
    try:
        _setns(file)
    finally:
        os.close(file)


def _setns(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
