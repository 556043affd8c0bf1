"""Buckets as files, through Mountpoint for Amazon S3.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mountpoint.html
"""

from lifecycle import packages, parts, units
from lifecycle.cluster import S3Mount
from lifecycle.host import File
from lifecycle.step import Context, Step

PROGRAM = "mount-s3"


def _unit(context: Context, mount: S3Mount) -> File:
    name = "cdk-slurm-s3-" + mount.path.strip("/").replace("/", "-")
    options = [
        f"--region={context.cluster.region}",
        "--allow-other",
        *([f"--prefix={mount.prefix}"] if mount.prefix else []),
        *(["--read-only"] if mount.read_only else ["--allow-delete", "--allow-overwrite"]),
    ]
    return File(
        f"/etc/systemd/system/{name}.service",
        f"[Unit]\nDescription=Bucket {mount.bucket} at {mount.path}\n"
        "Wants=network-online.target\nAfter=network-online.target\n\n"
        f"[Service]\nType=forking\nExecStart=/usr/bin/env {PROGRAM} {' '.join(options)} {mount.bucket} {mount.path}\n"
        f"ExecStop=/usr/bin/env umount {mount.path}\nRestart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=remote-fs.target\n",
    )


def _is_done(context: Context) -> bool:
    return all(
        context.host.holds(_unit(context, mount)) and context.host.is_mounted(mount.path)
        for mount in context.cluster.s3_mounts
    )


def _do(context: Context) -> None:
    host = context.host
    if not host.finds(PROGRAM):
        packages.install(context, str(parts.find_part(host, PROGRAM)))
    for mount in context.cluster.s3_mounts:
        unit = _unit(context, mount)
        host.make_directory(mount.path) if not host.exists(mount.path) else None
        host.put(unit)
        units.reload(host)
        units.restart(host, unit.path.rpartition("/")[2])


STEP = Step(
    name="s3-mounts",
    summary="mount buckets",
    is_done=_is_done,
    do=_do,
    is_wanted=lambda context: bool(context.cluster.s3_mounts),
    patience_seconds=packages.PATIENCE_SECONDS,
)
