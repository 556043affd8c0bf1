"""A machine for the fast tests: files in a directory, and commands that are recorded and simulated.

It simulates as little as makes the steps' questions answer truthfully after their own commands: units that are
started run, users that are added exist. What real programs make of the commands is shown on real nodes.
"""

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle.errors import CommandError
from lifecycle.host import File, Host
from lifecycle.node import RESOURCE_CONFIG

BUNDLE = Path(__file__).resolve().parents[2] / "lifecycle_scripts"

SLURM_CONF = """\
ClusterName=ml-cluster
SlurmctldHost=ip-10-0-0-10(10.0.0.10)
SlurmctldParameters=enable_configless
include accounting.conf
NodeName=ip-10-0-0-[12-14] State=CLOUD
PartitionName=dev Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

#: What our services tell when they run, by port.
TOLD = {
    9100: ("cdk-slurm-node-exporter.service", "node_uname_info 1\n"),
    9109: ("cdk-slurm-fabric-exporter.service", "fabric_collector_success 1\n"),
    9341: ("cdk-slurm-slurm-exporter.service", "slurm_up 1.0\n"),
    9400: ("cdk-slurm-dcgm-exporter.service", "DCGM_FI_DEV_GPU_TEMP 31\n"),
    9090: (
        "cdk-slurm-collector.service",
        "prometheus_agent_active_series 700\n"
        'prometheus_remote_storage_queue_highest_sent_timestamp_seconds{url="…"} 1.7e+09\n'
        'prometheus_remote_storage_samples_total{url="…"} 700\n',
    ),
}

Failure = Callable[[tuple[str, ...]], bool]


@dataclass
class State:
    """What the machine has beside files."""

    units: dict[str, set[str]] = field(default_factory=dict)
    """The words that hold of each unit: known, active, enabled, masked."""
    passwd: dict[str, tuple[int, int, str]] = field(default_factory=lambda: {"root": (0, 0, "/root")})
    groups: dict[int, str] = field(default_factory=lambda: {0: "root"})
    mounts: dict[str, str] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    accounting: dict[str, set[str]] = field(
        default_factory=lambda: {"clusters": set(), "accounts": set(), "associations": set()}
    )
    secrets: dict[str, Any] = field(default_factory=dict)
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class RecordingHost(Host):
    """A directory for a machine, which records every command."""

    state: State = field(default_factory=State)
    commands: list[tuple[str, ...]] = field(default_factory=list)
    fails: list[Failure] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    addresses: list[str] = field(default_factory=lambda: ["10.0.0.12"])
    listening: set[tuple[str, int]] = field(default_factory=set)
    while_waiting: Callable[["RecordingHost"], None] = lambda host: None

    # The machine

    def own_addresses(self) -> list[str]:
        return self.addresses

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.while_waiting(self)

    def answers(self, address: str, port: int) -> bool:
        local = {6817: "slurmctld.service", 6819: "slurmdbd.service"}.get(port)
        if address in self.addresses and local:
            return "active" in self.state.units.get(local, ())
        return (address, port) in self.listening

    def fetch(self, url: str) -> str | None:
        unit, text = TOLD[int(url.split(":")[2].split("/")[0])]
        return text if "active" in self._unit(unit) else None

    def is_mounted(self, path: str) -> bool:
        return path in self.state.mounts

    def finds(self, *programs: str) -> bool:
        """As on the machine, where links lead elsewhere than here."""
        links = [self.link_target(f"/usr/bin/{program}") for program in programs]
        return all(self.exists(link) for link in links if link) and super().finds(
            *(program for program, link in zip(programs, links, strict=True) if not link)
        )

    # Owners, which a test that is not root cannot set

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str | None = None) -> None:
        super().write(path, text, mode=mode)
        self.state.owners.pop(path, None)
        if owner not in (None, "root"):
            self.state.owners[path] = self.state.passwd[owner][:2]

    def holds(self, file: File) -> bool:
        owner = self.state.owners.get(file.path, (0, 0))
        return super().holds(file) and owner == self.state.passwd.get(file.owner, (None,))[:2]

    def owner_of(self, path: str) -> tuple[int, int] | None:
        return self.state.owners.get(path, (0, 0)) if self.exists(path) else None

    def set_owner(self, path: str, uid: int, gid: int) -> None:
        # As root it is done for real, so that processes that share a file system see each other's.
        if (uid, gid) == (0, 0):
            self.state.owners.pop(path, None)
        else:
            self.state.owners[path] = (uid, gid)

    def move(self, source: str, target: str) -> bool:
        moved = super().move(source, target)
        if moved:
            for path in [path for path in self.state.owners if path == source or path.startswith(f"{source}/")]:
                self.state.owners[target + path.removeprefix(source)] = self.state.owners.pop(path)
        return moved

    def remove(self, path: str) -> None:
        super().remove(path)
        for owned in [owned for owned in self.state.owners if owned == path or owned.startswith(f"{path}/")]:
            del self.state.owners[owned]

    # Commands

    def run(
        self,
        *command: str,
        timeout_seconds: float = 60,
        input: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        self.commands.append(command)
        for fails in self.fails:
            if fails(command):
                raise CommandError(command[0], 1, f"{command[0]} is broken")
        simulation = getattr(self, f"_{command[0].replace('-', '_')}", None)
        assert simulation, f"no step is known to run {shlex.join(command)}"
        return simulation(*command[1:]) or ""

    def _exit(self, program: str, code: int, errors: str = "") -> None:
        raise CommandError(program, code, errors)

    def _systemctl(self, action: str, *arguments: str) -> str | None:
        names = [argument for argument in arguments if not argument.startswith("-")]
        if action in ("daemon-reload", "reset-failed"):
            return None
        words = {"is-active": "active", "is-enabled": "enabled", "is-failed": "failed", "cat": "known"}
        if action in words:
            word = words[action]
            if not all(word in self._unit(name) for name in names):
                self._exit("systemctl", 3)
            return None
        for name in names:
            unit = self._unit(name)
            if action != "mask" and ("known" not in unit or ("masked" in unit and action != "disable")):
                self._exit("systemctl", 5, f"Unit {name} not found, or masked.")
            if action == "enable":
                unit.add("enabled")
            if action in ("start", "restart", "reload"):
                unit.add("active")
                self._started(name)
            if action in ("mask", "disable"):
                unit -= {"enabled", "active"}
                unit |= {"masked"} if action == "mask" else set()
        return None

    def _unit(self, name: str) -> set[str]:
        unit = self.state.units.setdefault(name, set())
        if self.read(f"/etc/systemd/system/{name}") is not None:
            unit.add("known")
        return unit

    def _started(self, name: str) -> None:
        text = self.read(f"/etc/systemd/system/{name}") or ""
        if name.endswith(".mount"):
            where = re.search(r"^Where=(.*)$", text, re.MULTILINE)
            what = re.search(r"^What=(.*)$", text, re.MULTILINE)
            assert where and what
            self.state.mounts[where[1]] = what[1]
        if mountpoint := re.search(r"^ExecStart=mount-s3 .* (\S+) (/\S+)$", text, re.MULTILINE):
            self.state.mounts[mountpoint[2]] = mountpoint[1]
        if name == "slurmctld.service" and "active" in self._unit("slurmdbd.service"):
            self.state.accounting["clusters"].add("ml-cluster")

    def _journalctl(self, *arguments: str) -> str:
        return "the last words of the unit\n"

    def _getent(self, database: str, key: str) -> str | None:
        if database == "passwd":
            for name, (uid, gid, home) in self.state.passwd.items():
                if key in (name, str(uid)):
                    return f"{name}:x:{uid}:{gid}::{home}:/bin/bash\n"
        elif int(key) in self.state.groups:
            return f"{self.state.groups[int(key)]}:x:{key}:\n"
        return self._exit("getent", 2)

    def _groupadd(self, _option: str, gid: str, name: str) -> None:
        self.state.groups[int(gid)] = name

    def _useradd(self, *arguments: str) -> None:
        options = dict(zip(arguments[:-1:2], arguments[1:-1:2], strict=False))
        self.state.passwd[arguments[-1]] = (int(options["--uid"]), int(options["--gid"]), options["--home-dir"])

    def _usermod(self, *arguments: str) -> None:
        options = dict(zip(arguments[:-1:2], arguments[1:-1:2], strict=True))
        uid = self.state.passwd[arguments[-1]][0]
        self.state.passwd[arguments[-1]] = (uid, int(options["--gid"]), options["--home"])

    def _cp(self, *arguments: str) -> None:
        *_, source, target = [self.locate(argument) for argument in arguments]
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, target)

    def _chown(self, *arguments: str) -> None:
        *_, owner, path = arguments
        user, _, group = owner.partition(":")
        ids = self.state.passwd[user][:2] if user in self.state.passwd else (int(user), int(group))
        self.set_owner(path, *ids)

    def _ssh_keygen(self, *arguments: str) -> None:
        path = arguments[-1]
        self.write(path, "a private key\n", mode=0o600)
        self.write(f"{path}.pub", "ssh-ed25519 AAAA made here\n")

    def _mariadb(self, _option: str, sql: str) -> None:
        if "active" not in self._unit("mariadb.service"):
            self._exit("mariadb", 1, "Can't connect to local server")

    def _sinfo(self, *arguments: str) -> str:
        assert arguments == ("--version",)
        return "slurm 24.11.5\n"

    def _scontrol(self, *arguments: str) -> str | None:
        if arguments == ("reconfigure",) and "active" not in self._unit("slurmctld.service"):
            self._exit("scontrol", 1, "Unable to contact slurm controller")
        if arguments == ("show", "config"):
            return "PluginDir               = /opt/slurm/lib/slurm\nSlurmUser               = slurm(992)\n"
        if arguments[:2] == ("show", "node") and arguments[2] not in ("ip-10-0-0-12", "ip-10-0-0-13"):
            self._exit("scontrol", 1, f"Node {arguments[2]} not found")
        return None

    def _sacctmgr(self, *arguments: str) -> str | None:
        words = [argument for argument in arguments if not argument.startswith("-")]
        if not self.answers("10.0.0.10", 6819) and ("10.0.0.10", 6819) not in self.listening:
            self._exit("sacctmgr", 1, "Unable to connect to slurmdbd")
        if words[0] == "show":
            return "".join(f"{name}\n" for name in sorted(self.state.accounting[words[1]]))
        self.state.accounting["accounts" if words[1] == "account" else "associations"].add(words[2])
        return None

    def _aws(self, service: str, command: str, *arguments: str) -> str | None:
        if (service, command) == ("ecr", "get-login-password"):
            assert arguments == ("--region", "eu-west-1"), "the registry's, not the cluster's"
            return "a password of the registry\n"
        assert arguments[-2:] == ("--region", "us-west-2")
        if service in ("s3", "s3api"):
            return self._s3(command, *arguments)
        assert service == "secretsmanager"
        arn = arguments[arguments.index("--secret-id") + 1]
        if command == "put-secret-value":
            path = arguments[arguments.index("--secret-string") + 1].removeprefix("file://")
            assert self.mode_of(path) == 0o600
            self.state.secrets[arn] = self.read(path)
            return '"a version"\n'
        if arn not in self.state.secrets:
            self._exit("aws", 254, "An error occurred (ResourceNotFoundException): can't find the value")
        return f"{self.state.secrets[arn]}\n"

    def _s3(self, command: str, *arguments: str) -> None:
        if command == "cp":
            path, uri = arguments[1:3]
            assert self.exists(path)
            self.state.objects.add(uri)
        elif f"s3://{arguments[1]}/{arguments[3]}" not in self.state.objects:
            self._exit("aws", 254, "An error occurred (404) when calling the HeadObject operation: Not Found")

    def _apt_get(self, action: str, *arguments: str) -> None:
        if action == "install":
            packages = [Path(a).name for a in arguments if not a.startswith("-") and "=" not in a]
            self.state.packages |= set(packages)
            if "mariadb-server" in packages:
                self.put_program("mariadbd")
                self.state.units["mariadb.service"] = {"known", "active", "enabled"}
            if "sssd-ldap" in packages:
                self.state.units["sssd.service"] = {"known", "enabled"}
            if {"enroot.deb", "enroot+caps.deb"} <= set(packages):
                self.put_program("enroot")

    def _dpkg(self, *arguments: str) -> None:
        assert arguments == ("--configure", "-a")

    def _dpkg_query(self, *arguments: str) -> str | None:
        packages = [argument for argument in arguments if not argument.startswith("-")]
        if not set(packages) <= self.state.packages:
            self._exit("dpkg-query", 1, "no packages found")
        return "installed\n" * len(packages)

    def _tar(self, *arguments: str) -> None:
        [archive] = [argument.removeprefix("--file=") for argument in arguments if argument.startswith("--file=")]
        [directory] = [a.removeprefix("--directory=") for a in arguments if a.startswith("--directory=")]
        if "--create" in arguments:
            names = [argument for argument in arguments if not argument.startswith("-")]
            assert all(self.exists(f"{directory}{name}") for name in names)
            self.write(archive, " ".join(names))
        else:
            for name in Path(archive).read_text().split():
                self.write(f"{directory}/{name}", name, mode=0o755)

    def _make(self, directory: str) -> None:
        directory = directory.removeprefix("--directory=")
        assert self.exists(f"{directory}/Makefile")
        self.write(f"{directory}/spank_pyxis.so", "ELF")

    def _sync(self, *arguments: str) -> None:
        assert self.exists(arguments[-1])

    def _mv(self, source: str, target: str) -> None:
        self.locate(source).rename(self.locate(target))

    def _pam_auth_update(self, *arguments: str) -> None:
        self.write("/etc/pam.d/common-auth", "auth [success=1 default=ignore] pam_sss.so use_first_pass\n")
        self.write("/etc/pam.d/common-session", "session optional pam_mkhomedir.so\n")

    def _timeout(self, _seconds: str, program: str, *arguments: str) -> None:
        if program == "ldapsearch" and not self.answers("ldap.example.com", 636):
            self._exit("timeout", 255, "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)")
        if program == "openssl" and not self.answers("ldap.example.com", 636):
            self._exit("timeout", 1, "connect:errno=111")

    def _dpkg_deb(self, _option: str, package: str, directory: str) -> None:
        for name in Path(package).read_text().split():
            self.write(f"{directory}/{name}", name, mode=0o755)

    def _docker(self, *arguments: str) -> None:
        if arguments[:2] == ("image", "inspect") and arguments[-1] not in self.state.images:
            self._exit("docker", 1, f"Error: No such image: {arguments[-1]}")
        if arguments[0] == "pull":
            self.state.images.add(arguments[-1])

    def _lnetctl(self, *arguments: str) -> str:
        return "net:\n    - net type: tcp\n    - net type: efa\n"

    # What a test puts there

    def put_program(self, name: str) -> None:
        path = self.locate(f"/usr/bin/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    def put_parts(self, **contents: str) -> None:
        """Have the bundle bring these parts, by name, and no others; images stay."""
        (self.bundle / "parts").mkdir(exist_ok=True)
        images = json.loads((self.bundle / "parts.lock.json").read_text(encoding="utf-8"))["images"]
        lock = []
        for name, content in contents.items():
            (self.bundle / "parts" / f"{name}.deb").write_text(content, encoding="utf-8")
            digest = hashlib.sha256(content.encode()).hexdigest()
            lock.append({"name": name, "version": "1", "architecture": "any", "file": f"{name}.deb", "sha256": digest})
        (self.bundle / "parts.lock.json").unlink()
        content = {"parts": lock, "images": images}
        (self.bundle / "parts.lock.json").write_text(json.dumps(content), encoding="utf-8")

    def snapshot(self) -> dict[str, Any]:
        """Return all of the machine that a second run may not change."""
        files = {
            path: (path.readlink() if path.is_symlink() else path.read_bytes(), path.lstat().st_mtime_ns)
            for path in self.root.rglob("*")
            if (path.is_symlink() or path.is_file()) and path.name not in ("report.json", "cdk-slurm-partitions.lock")
        }
        state = json.loads(json.dumps(vars(self.state), default=sorted))
        state["units"] = {name: words for name, words in state["units"].items() if words}
        return {"files": files, "state": state}


def new_host(
    directory: Path, *, cluster: dict[str, Any], platform: dict[str, Any], address: str, **fields: Any
) -> RecordingHost:
    """Return a machine as HyperPod hands it over: its files, users, units and what the AMI has."""
    bundle = directory / "bundle"
    bundle.mkdir(parents=True)
    for name in ("lifecycle", "exporters", "parts.lock.json"):
        (bundle / name).symlink_to(BUNDLE / name)
    (bundle / "cluster.json").write_text(json.dumps(cluster), encoding="utf-8")
    host = RecordingHost(
        **{"root": directory / "root", "bundle": bundle, "environment": {}, "addresses": [address]} | fields
    )
    controller = address in ("10.0.0.10", "10.0.0.20")
    host.write(RESOURCE_CONFIG, json.dumps(platform))
    host.write("/etc/munge/munge.key", "the cluster's key", mode=0o400)
    host.write("/etc/skel/.bashrc", "# bash\n")
    host.write("/etc/pam.d/sshd", "@include common-account\n")
    host.write("/lib/x86_64-linux-gnu/security/pam_slurm_adopt.so", "ELF")
    host.write("/opt/slurm/etc/accounting.conf", "")
    host.write("/opt/slurm/etc/plugstack.conf", "required /opt/slurm/lib/slurm/spank_pyxis.so\n")
    host.write("/opt/slurm/lib/slurm/spank_pyxis.so", "ELF")
    host.write("/opt/slurm/bin/sinfo", "ELF", mode=0o755)
    host.write("/etc/enroot/enroot.conf", "#ENROOT_RUNTIME_PATH /run\nENROOT_MAX_CONNECTIONS 10\n")
    host.write("/etc/docker/daemon.json", '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}')
    host.make_directory("/run")
    host.put_program("enroot")
    host.state.passwd |= {"slurm": (992, 992, "/nonexistent"), "ubuntu": (1000, 1000, "/home/ubuntu")}
    host.state.groups |= {992: "slurm", 1000: "ubuntu"}
    running = {"known", "active", "enabled"}
    host.state.units |= {
        "munge.service": set(running),
        "ssh.service": set(running),
        "docker.service": set(running),
        "dlami-nvme.service": {"known"},
        "slurmctld.service": {"known"},
        "slurmd.service": {"known"},
        "slurmdbd.service": {"known"},
    }
    host.state.mounts["/opt/sagemaker"] = "/dev/nvme1n1"
    if controller:
        host.write("/opt/slurm/etc/slurm.conf", SLURM_CONF, mode=0o640)
        host.make_directory("/var/spool/slurmctld")
    else:
        host.listening.add(("10.0.0.10", 6817))
    return host
