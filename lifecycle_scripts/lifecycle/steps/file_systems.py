"""Mounts FSx for Lustre and FSx for OpenZFS, or sees that HyperPod did.

https://docs.aws.amazon.com/fsx/latest/LustreGuide/mounting-ec2-instance.html
https://docs.aws.amazon.com/fsx/latest/OpenZFSGuide/attach-linux-client.html
"""

from collections.abc import Callable
from dataclasses import dataclass

from lifecycle import units
from lifecycle.cluster import Cluster
from lifecycle.errors import NotYetError, StepError
from lifecycle.host import File, all_held
from lifecycle.step import Context, Step

_LUSTRE_OPTIONS = "noatime,flock"
_NFS_OPTIONS = "nfsvers=4.2,nconnect=16,rsize=1048576,wsize=1048576,timeo=600,hard"


@dataclass(frozen=True)
class _FileSystem:
    source: str
    path: str
    type: str
    options: str
    efa: bool = False

    def unit(self, kind: str) -> str:
        return f"{units.path_name(self.path)}.{kind}"


def _lustre(cluster: Cluster) -> _FileSystem | None:
    lustre = cluster.lustre
    if lustre is None:
        return None
    source = f"{lustre.dns_name}@tcp:/{lustre.mount_name}"
    return _FileSystem(source, lustre.path, "lustre", _LUSTRE_OPTIONS, lustre.efa)


def _openzfs(cluster: Cluster) -> _FileSystem | None:
    openzfs = cluster.openzfs
    return _FileSystem(f"{openzfs.dns_name}:/fsx", openzfs.path, "nfs", _NFS_OPTIONS) if openzfs else None


def _step(name: str, find: Callable[[Cluster], _FileSystem | None], title: str) -> Step:
    def wanted(context: Context) -> _FileSystem:
        found = find(context.cluster)
        assert found
        return found

    def is_done(context: Context) -> bool:
        host, file_system = context.host, wanted(context)
        mounted = host.is_mounted(file_system.path)
        if context.cluster.legacy:
            # Like fstab's x-systemd.automount: mounted at first use after a boot, which does not wait for it.
            at_boot = units.is_enabled(host, file_system.unit("automount"))
            return mounted and at_boot and all_held(host, _units(file_system))
        if not mounted:
            raise NotYetError(f"HyperPod has not mounted {title} at {file_system.path}")
        _warn_without_efa(context, file_system)
        return True

    def do(context: Context) -> None:
        host, file_system = context.host, wanted(context)
        for unit in _units(file_system):
            host.put(unit)
        units.reload(host)
        if not host.exists(file_system.path):
            host.make_directory(file_system.path)
        host.run("systemctl", "enable", "--quiet", file_system.unit("automount"))
        if not host.is_mounted(file_system.path):
            try:
                # The automount holds the path once it is up: what is wrong with the mount shows here first.
                units.start(host, file_system.unit("mount"), at_boot=False)
            except StepError as error:
                raise NotYetError(f"{file_system.source} cannot be mounted at {file_system.path}: {error}") from error
        _warn_without_efa(context, file_system)

    return Step(
        name=name,
        summary=f"mount {title}",
        is_done=is_done,
        do=do,
        is_wanted=lambda context: find(context.cluster) is not None,
        patience_seconds=600,
    )


def _units(file_system: _FileSystem) -> tuple[File, File]:
    """Units rather than lines of fstab: they are files of ours alone, and systemd tells of their failures."""
    directory, path = "/etc/systemd/system", file_system.path
    mount = (
        f"[Unit]\nDescription=Shared file system {path}\nWants=network-online.target\nAfter=network-online.target\n"
        f"Before=slurmd.service slurmctld.service\n\n"
        f"[Mount]\nWhat={file_system.source}\nWhere={path}\nType={file_system.type}\n"
        f"Options={file_system.options},_netdev\nTimeoutSec=120\n"
    )
    automount = (
        f"[Unit]\nDescription=Shared file system {path} on demand\n\n"
        f"[Automount]\nWhere={path}\n\n[Install]\nWantedBy=remote-fs.target\n"
    )
    return (
        File(f"{directory}/{file_system.unit('mount')}", mount),
        File(f"{directory}/{file_system.unit('automount')}", automount),
    )


def _warn_without_efa(context: Context, file_system: _FileSystem) -> None:
    """Say so where Lustre was made for EFA and goes over TCP all the same, at a part of its speed."""
    if not file_system.efa:
        return
    lustre = f"Lustre at {file_system.path}"
    try:
        networks = context.host.run("lnetctl", "net", "show")
    except StepError as error:
        context.warn(f"cannot tell whether {lustre} is on EFA: {error}")
        return
    if "net type: efa" not in networks:
        context.warn(f"{lustre} was made for EFA and this node reaches it over TCP: LNet has no efa network")


LUSTRE = _step("mount-lustre", _lustre, "FSx for Lustre")
OPENZFS = _step("mount-openzfs", _openzfs, "FSx for OpenZFS")
