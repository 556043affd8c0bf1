"""Mounts FSx for Lustre and FSx for OpenZFS, or sees that HyperPod did.

https://docs.aws.amazon.com/fsx/latest/LustreGuide/mounting-ec2-instance.html
https://docs.aws.amazon.com/fsx/latest/OpenZFSGuide/attach-linux-client.html
"""

from collections.abc import Callable

from lifecycle import units
from lifecycle.errors import NotYetError, StepError
from lifecycle.host import File, all_held
from lifecycle.step import Context, Step

_LUSTRE_OPTIONS = "noatime,flock"
_NFS_OPTIONS = "nfsvers=4.2,nconnect=16,rsize=1048576,wsize=1048576,timeo=600,hard"


def _lustre(context: Context) -> tuple[str, str, str, str]:
    lustre = context.cluster.lustre
    assert lustre
    return f"{lustre.dns_name}@tcp:/{lustre.mount_name}", lustre.path, "lustre", _LUSTRE_OPTIONS


def _openzfs(context: Context) -> tuple[str, str, str, str]:
    openzfs = context.cluster.openzfs
    assert openzfs
    return f"{openzfs.dns_name}:/fsx", openzfs.path, "nfs", _NFS_OPTIONS


def _step(name: str, describe: Callable[[Context], tuple[str, str, str, str]], title: str) -> Step:
    def is_done(context: Context) -> bool:
        _, path, _, _ = describe(context)
        mounted = context.host.is_mounted(path)
        if context.cluster.legacy:
            # Like fstab's x-systemd.automount: mounted at first use after a boot, which does not wait for it.
            at_boot = context.host.succeeds("systemctl", "is-enabled", "--quiet", f"{units.path_name(path)}.automount")
            return mounted and at_boot and all_held(context.host, _units(*describe(context)))
        if not mounted:
            raise NotYetError(f"HyperPod has not mounted {title} at {path}")
        _warn_without_efa(context, path)
        return True

    def do(context: Context) -> None:
        source, path, _, _ = describe(context)
        for unit in _units(source, path, *describe(context)[2:]):
            context.host.put(unit)
        units.reload(context.host)
        name = units.path_name(path)
        if not context.host.exists(path):
            context.host.make_directory(path)
        context.host.run("systemctl", "enable", "--quiet", f"{name}.automount")
        if not context.host.is_mounted(path):
            try:
                # The automount holds the path once it is up: what is wrong with the mount shows here first.
                units.start(context.host, f"{name}.mount", at_boot=False)
            except StepError as error:
                raise NotYetError(f"{source} cannot be mounted at {path}: {error}") from error
        _warn_without_efa(context, path)

    return Step(
        name=name,
        summary=f"mount {title}",
        is_done=is_done,
        do=do,
        is_wanted=lambda context: (
            (context.cluster.lustre if describe is _lustre else context.cluster.openzfs) is not None
        ),
        patience_seconds=600,
    )


def _units(source: str, path: str, type_: str, options: str) -> tuple[File, File]:
    """Units rather than lines of fstab: they are files of ours alone, and systemd tells of their failures."""
    directory, name = "/etc/systemd/system", units.path_name(path)
    mount = (
        f"[Unit]\nDescription=Shared file system {path}\nWants=network-online.target\nAfter=network-online.target\n"
        f"Before=slurmd.service slurmctld.service\n\n"
        f"[Mount]\nWhat={source}\nWhere={path}\nType={type_}\nOptions={options},_netdev\nTimeoutSec=120\n"
    )
    automount = (
        f"[Unit]\nDescription=Shared file system {path} on demand\n\n"
        f"[Automount]\nWhere={path}\n\n[Install]\nWantedBy=remote-fs.target\n"
    )
    return File(f"{directory}/{name}.mount", mount), File(f"{directory}/{name}.automount", automount)


def _warn_without_efa(context: Context, path: str) -> None:
    """Say so where Lustre was made for EFA and goes over TCP all the same, at a part of its speed."""
    lustre = context.cluster.lustre
    if not (lustre and lustre.efa and path == lustre.path):
        return
    try:
        networks = context.host.run("lnetctl", "net", "show")
    except StepError as error:
        context.warn(f"cannot tell whether Lustre at {path} is on EFA: {error}")
        return
    if "net type: efa" not in networks:
        context.warn(f"Lustre at {path} was made for EFA and this node reaches it over TCP: LNet has no efa network")


LUSTRE = _step("mount-lustre", _lustre, "FSx for Lustre")
OPENZFS = _step("mount-openzfs", _openzfs, "FSx for OpenZFS")
