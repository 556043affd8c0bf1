"""Docker and enroot, with their data where there is room for images.

Both are the AMI's; enroot is installed where an AMI lacks it and the deployment brought it.

https://github.com/NVIDIA/enroot/blob/v4.2.1/doc/configuration.md
"""

import json
import re

from lifecycle import packages, parts, units
from lifecycle.errors import StepError
from lifecycle.host import File
from lifecycle.step import Context, Step
from lifecycle.steps.scratch import ANYBODYS, disk

DAEMON_JSON = "/etc/docker/daemon.json"
ENROOT_CONF = "/etc/enroot/enroot.conf"


# Docker


def _daemon_json(context: Context, path: str) -> File:
    """The AMI's configuration, where GPUs may be set up, with another place for the data."""
    text = context.host.read(DAEMON_JSON)
    try:
        content = json.loads(text) if text and text.strip() else {}
    except ValueError as error:
        raise StepError(f"{DAEMON_JSON} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise StepError(f"{DAEMON_JSON} is not a JSON object")
    data_root = f"{path}/docker"
    if content.get("data-root") == data_root:
        return File(DAEMON_JSON, text or "", mode=context.host.mode_of(DAEMON_JSON) or 0o644)
    return File(DAEMON_JSON, json.dumps({**content, "data-root": data_root}, indent=4) + "\n")


def _docker_is_done(context: Context) -> bool:
    path, host = disk(context), context.host
    if path is None:
        context.warn("docker is turned off: without a disk of their own, images would fill the root volume")
        return not any(units.is_running(host, unit) or units.is_enabled(host, unit) for unit in _docker_units(context))
    return host.holds(_daemon_json(context, path))


def _docker_units(context: Context) -> list[str]:
    return [unit for unit in ("docker.socket", "docker.service") if units.is_known(context.host, unit)]


def _docker_do(context: Context) -> None:
    path, host = disk(context), context.host
    if path is None:
        host.run("systemctl", "disable", "--now", "--quiet", *_docker_units(context))
        return
    file = _daemon_json(context, path)
    host.make_directory(f"{path}/docker", mode=0o710)
    host.put(file)
    units.restart(host, "docker.service")


DOCKER = Step(
    name="docker",
    summary="put docker's data on the fastest disk",
    is_done=_docker_is_done,
    do=_docker_do,
    is_wanted=lambda context: units.is_known(context.host, "docker.service"),
)


# Enroot

#: Nodes that run containers, or import their images.
_ENROOT_NODES = frozenset({"compute", "login"})
#: With them, images can be started without being unpacked; enroot's packages only suggest them.
_ENROOT_HELPERS = ("squashfuse", "fuse-overlayfs")


def _enroot_packages(context: Context) -> list[str] | None:
    """Return the packages that the deployment brought; None where it did not, which is told."""
    try:
        # The second lets users, who are not root, import images.
        return [str(parts.find_part(context.host, name)) for name in ("enroot", "enroot+caps")]
    except parts.MissingPartError as error:
        context.warn(f"this AMI lacks enroot, so jobs cannot run in containers: {error}")
        return None


def _install_enroot(context: Context) -> None:
    # Also where the program is there: a run that was killed may have left the packages half installed.
    if found := _enroot_packages(context):
        packages.install(context, *found, *_ENROOT_HELPERS)


INSTALL_ENROOT = Step(
    name="install-enroot",
    summary="install enroot, which this AMI lacks",
    is_done=lambda context: context.host.finds("enroot") or _enroot_packages(context) is None,
    do=_install_enroot,
    node_types=_ENROOT_NODES,
    patience_seconds=packages.PATIENCE_SECONDS,
)


def _enroot_directories(context: Context) -> dict[str, str]:
    """Return where enroot keeps what, by the name of its setting, as directories that all users share."""
    path, lustre = disk(context), context.cluster.lustre
    directories: dict[str, str] = {}
    if path:
        directories |= {
            "ENROOT_RUNTIME_PATH": f"{path}/enroot/runtime",
            "ENROOT_DATA_PATH": f"{path}/enroot/data",
            "ENROOT_TEMP_PATH": f"{path}/enroot/tmp",
        }
    # An image that one node has fetched is there for all.
    if lustre:
        directories["ENROOT_CACHE_PATH"] = f"{lustre.path}/enroot"
    elif path:
        directories["ENROOT_CACHE_PATH"] = f"{path}/enroot/cache"
    return directories


def _enroot_conf(context: Context) -> File:
    """The AMI's configuration with these settings in the place of its own."""
    lines = (context.host.read(ENROOT_CONF) or "").splitlines()
    settings = {}
    for name, directory in _enroot_directories(context).items():
        own = "" if name == "ENROOT_TEMP_PATH" else "/user-$(id -u)"
        settings[name] = f"{name} {directory}{own}"
    kept = [line for line in lines if not any(re.match(rf"\s*#?\s*{name}\b", line) for name in settings)]
    return File(ENROOT_CONF, "\n".join([*kept, *settings.values()]) + "\n")


def _enroot_is_done(context: Context) -> bool:
    host = context.host
    if not host.finds("enroot"):
        return True
    return host.holds(_enroot_conf(context)) and all(
        host.mode_of(path) == ANYBODYS for path in _enroot_directories(context).values()
    )


def _enroot_do(context: Context) -> None:
    for path in _enroot_directories(context).values():
        context.host.make_directory(path, mode=ANYBODYS)
    context.host.put(_enroot_conf(context))


ENROOT = Step(
    name="enroot",
    summary="put enroot's data on the fastest disk and its cache on Lustre",
    is_done=_enroot_is_done,
    do=_enroot_do,
    node_types=_ENROOT_NODES,
)
