"""One node: a systemd of its own in an overlay, a network namespace and a control group."""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.node.slurm_nodes.tree import mount_overlay, run

AMI = Path(__file__).parent / "ami"
PATH = "/opt/slurm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_TIMEOUT_SECONDS = 60
#: File systems of the kernel and mounts of the test; and what is different after every boot.
NOT_OF_THE_NODE = ("proc", "sys", "dev", "run", "tmp", "backend", "fsx", "home", "opt/sagemaker")


@dataclass
class Hub:
    """The network that nodes share, and nobody else: a bridge in a namespace of its own."""

    name: str
    address: str = "10.78.0.254"

    def open(self) -> None:
        run("ip", "netns", "add", self.name)
        for command in (
            "link add br0 type bridge",
            f"addr add {self.address}/24 dev br0",
            "link set br0 up",
            "link set lo up",
        ):
            run("ip", "-n", self.name, *command.split())

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def start(self, *command: str, **options: object) -> "subprocess.Popen[str]":
        """Start a server on the hub; it ends with `kill`."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], text=True, **options)  # type: ignore[call-overload]


@dataclass
class Machine:
    """A node that can be booted, entered, stopped and destroyed."""

    hub: Hub
    address: str
    directory: Path
    lowers: list[Path]
    backends: Path
    """Directory on this machine that the node's shared file systems are in."""
    hosts: str = ""
    """More lines of /etc/hosts."""
    disk_mib: int | None = None
    """Size of the node's disk, for tests that fill it."""
    ebs: bool = True
    """Whether a volume is mounted at /opt/sagemaker."""
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def name(self) -> str:
        return "ip-" + self.address.replace(".", "-")

    @property
    def root(self) -> Path:
        """Where the node's files are on this machine."""
        return self.directory / "root"

    @property
    def namespace(self) -> str:
        return f"{self.hub.name}-{self.address.rpartition('.')[2]}"

    # Life

    def make(self) -> None:
        """Give the node its disk and its name; it can be written to then, and booted."""
        self.directory.mkdir(parents=True)
        if self.disk_mib:
            run("mount", "-t", "tmpfs", "-o", f"size={self.disk_mib}m", "tmpfs", str(self.directory))
        mount_overlay(self.directory, self.lowers)
        self.write("/etc/machine-id", "")
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.name}\n{self.hosts}")
        # Without a server that refuses at once, every daemon waits for an answer.
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.write("/etc/apt/sources.list", f"deb [trusted=yes] http://{self.hub.address}:8000 ./\n")
        (self.root / "etc/apt/sources.list.d").joinpath("0000debian.sources").unlink(missing_ok=True)

    def boot(self) -> None:
        """Start the node's systemd; return when it is up."""
        self._plug_in()
        command = [
            *("systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.namespace}", "--boot"),
            *("--register=no", "--keep-unit", f"--network-namespace-path=/run/netns/{self.namespace}"),
            *("--resolv-conf=off", "--timezone=off", "--console=pipe", "--bind=/dev/autofs"),
            f"--bind={self.backends}:/backend",
            *(["--tmpfs=/opt/sagemaker:mode=0755"] if self.ebs else []),
        ]
        groups = [group / self.namespace for group in _control_groups()]
        enter = " && ".join(f"echo $$ > {shlex.quote(str(group))}/cgroup.procs" for group in groups)
        for group in groups:
            group.mkdir(exist_ok=True)
        with (self.directory / "console").open("wb") as console:
            self.process = subprocess.Popen(
                ["bash", "-c", f'{enter} && exec "$@"', "_", *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        self.wait_until_booted()

    def wait_until_booted(self) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self._init() and self.run("systemctl", "is-system-running", check=False).stdout.strip() in (
                "running",
                "degraded",
            ):
                return
            time.sleep(0.1)
        raise RuntimeError(
            f"{self.name} does not boot: {(self.directory / 'console').read_text(errors='replace')[-3000:]}"
        )

    def stop(self) -> None:
        """Power the node off; its disk stays."""
        self._end(signal.SIGRTMIN + 4)

    def restart(self) -> None:
        """Power the node off and on again."""
        self.stop()
        self.boot()

    def destroy(self) -> None:
        """Pull the node out of the wall, and its disk with it."""
        self._end(signal.SIGKILL)
        subprocess.run(["umount", "--lazy", str(self.root)], capture_output=True)
        if self.disk_mib:
            subprocess.run(["umount", "--lazy", str(self.directory)], capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, signal_number: int) -> None:
        if self.process:
            if init := self._init():
                os.kill(init, signal_number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                if init := self._init():
                    os.kill(init, signal.SIGKILL)
                self.process.kill()
                self.process.wait()
            self.process = None
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True)
        for group in _control_groups():
            for directory in sorted((group / self.namespace).glob("**/"), reverse=True):
                _remove_control_group(directory)

    def _plug_in(self) -> None:
        cable = f"v{self.namespace[-13:]}"
        run("ip", "netns", "add", self.namespace)
        run(
            "ip",
            "-n",
            self.hub.name,
            "link",
            "add",
            cable,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.namespace,
        )
        run("ip", "-n", self.hub.name, "link", "set", cable, "master", "br0", "up")
        for command in (f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", self.namespace, *command.split())

    def _init(self) -> int | None:
        if self.process is None or self.process.poll() is not None:
            return None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    # What happens on it

    def run(
        self,
        *command: str,
        user: str | None = None,
        check: bool = True,
        timeout_seconds: float = 120,
        environment: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on the node, as root or as a user who has logged in."""
        if user:
            command = ("runuser", "--login", user, "--command", shlex.join(command) if len(command) > 1 else command[0])
        variables = {"HOME": "/root", "PATH": PATH, "TERM": "dumb"} | dict(environment or {})
        result = subprocess.run(
            [
                *("nsenter", f"--target={self._init()}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"),
                *("--root", "--wd", "env", "-i", *(f"{name}={value}" for name, value in variables.items())),
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            input=input,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"{self.name}: {shlex.join(command)} exited with {result.returncode}:\n{result.stdout}{result.stderr}"
            )
        return result

    def shell(self, script: str, *, user: str | None = None, check: bool = True) -> str:
        """Run a line of shell and return what it prints."""
        return self.run(*([script] if user else ["bash", "-c", script]), user=user, check=check).stdout

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.test")
        partial.write_text(text)
        partial.chmod(mode)
        os.chown(partial, *owner)
        partial.replace(target)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def files(self) -> dict[str, tuple[object, ...]]:
        """Return every file of the node's own disk that is not as the image had it, to compare with another time."""
        found: dict[str, tuple[object, ...]] = {}
        upper = self.directory / "upper"
        for path in upper.rglob("*"):
            name = path.relative_to(upper).as_posix()
            status = path.lstat()
            if name.startswith(NOT_OF_THE_NODE) or path.is_socket():
                continue
            content: object = None
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = (hashlib.sha256(path.read_bytes()).hexdigest(), status.st_mtime_ns)
            found[name] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found

    def units(self) -> dict[str, str]:
        """Return the state of every unit, and since when it is in it."""
        listed = self.run(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service,mount,automount,path,socket"
        )
        names = [line.split()[0] for line in listed.stdout.splitlines()]
        shown = self.run(
            "systemctl", "show", "--property=Id,ActiveState,SubState,UnitFileState,MainPID", "--", *names
        ).stdout
        return {block.split("Id=")[1].splitlines()[0]: block for block in shown.strip().split("\n\n")}


def _control_groups() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    hybrid = [root / "unified", root / "systemd"]
    return [group for group in hybrid if group.is_dir()] or [root]


def _remove_control_group(directory: Path) -> None:
    for _ in range(50):
        try:
            directory.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return
