"""Buckets as files, through Mountpoint for Amazon S3.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mountpoint.html
https://github.com/awslabs/mountpoint-s3/blob/mountpoint-s3-1.24.0/doc/CONFIGURATION.md
"""

from lifecycle import packages, parts, units
from lifecycle.cluster import S3Mount
from lifecycle.host import File
from lifecycle.step import Context, Step

PROGRAM = "mount-s3"

#: Where its own package puts it.
_DIRECTORY = "/opt/aws/mountpoint-s3"
#: Ubuntu 24.04 calls it libfuse2t64, and apt knows that. Package fuse is not it: that one would remove fuse3.
_LIBRARY = "libfuse2"


def _name(mount: S3Mount) -> str:
    return f"cdk-slurm-s3-{units.path_name(mount.path)}.service"


def _unit(context: Context, mount: S3Mount) -> File:
    options = [
        f"--region={context.cluster.region}",
        "--allow-other",
        *([f"--prefix={mount.prefix}"] if mount.prefix else []),
        # S3 knows nobody's uid: all that is mounted is root's, and its mode is the same for everybody. That the bucket
        # may be written says that the cluster's users may write it.
        *(
            ["--read-only"]
            if mount.read_only
            else ["--allow-delete", "--allow-overwrite", "--dir-mode=0777", "--file-mode=0666"]
        ),
    ]
    return File(
        f"/etc/systemd/system/{_name(mount)}",
        f"[Unit]\nDescription=Bucket {mount.bucket} at {mount.path}\n"
        "Wants=network-online.target\nAfter=network-online.target\nBefore=slurmd.service\n\n"
        # It returns once it has mounted, and what it leaves running is the file system.
        f"[Service]\nType=forking\nExecStart={PROGRAM} {' '.join(options)} {mount.bucket} {mount.path}\n"
        f"ExecStop=umount {mount.path}\n"
        # Of one that died, the mount is left, and nobody could mount there again.
        f"ExecStopPost=-umount --lazy --quiet {mount.path}\n"
        "Restart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=remote-fs.target\n",
    )


def _is_up(context: Context, mount: S3Mount) -> bool:
    host = context.host
    return host.holds(_unit(context, mount)) and units.is_up(host, _name(mount)) and host.is_mounted(mount.path)


def _is_done(context: Context) -> bool:
    return all(_is_up(context, mount) for mount in context.cluster.s3_mounts)


def _do(context: Context) -> None:
    host = context.host
    if not host.finds(PROGRAM):
        _install(context)
    for mount in context.cluster.s3_mounts:
        # Jobs may be using one that is as it is to be.
        if _is_up(context, mount):
            continue
        if not host.exists(mount.path):
            host.make_directory(mount.path)
        host.put(_unit(context, mount))
        units.reload(host)
        units.restart(host, _name(mount))


def _install(context: Context) -> None:
    host = context.host
    archive = parts.find_part(host, PROGRAM)
    packages.install(context, _LIBRARY)
    host.make_directory(_DIRECTORY)
    command = ("tar", "--extract", "--no-same-owner", f"--directory={_DIRECTORY}", f"--file={archive}")
    host.run(*command, timeout_seconds=300)
    # Last, so that the program is found only when it is whole, also after a power loss.
    host.run("sync", "--file-system", _DIRECTORY)
    host.link(f"/usr/bin/{PROGRAM}", f"{_DIRECTORY}/bin/{PROGRAM}")


STEP = Step(
    name="s3-mounts",
    summary="mount buckets",
    is_done=_is_done,
    do=_do,
    is_wanted=lambda context: bool(context.cluster.s3_mounts),
    patience_seconds=packages.PATIENCE_SECONDS,
)
