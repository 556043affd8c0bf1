"""Pyxis, Slurm's plugin for containers: the AMI's, or built here where the AMI lacks it and the deployment brought it.

A plugin belongs to one release of Slurm, so what is brought is source, and the headers are those of the AMI's Slurm.

https://github.com/NVIDIA/pyxis/wiki/Setup
https://slurm.schedmd.com/spank.html
https://slurm.schedmd.com/configless_slurm.html
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from lifecycle import packages, parts, units
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import Host
from lifecycle.slurm_conf import ETC, included_file
from lifecycle.step import Context, Step

PLUGIN = "spank_pyxis.so"
PLUGSTACK_CONF = f"{ETC}/plugstack.conf"
BUILT = f"/opt/slurm/lib/slurm/{PLUGIN}"

_INCLUDES = "/opt/slurm/include"
_TOOLS = ("gcc", "libc6-dev", "make")
#: Beside where the plugin goes, so that it gets there in one move.
_BUILD = "/opt/slurm/lib/slurm/.pyxis"


def _plugin(host: Host) -> str | None:
    """Return where this node has the plugin, or None."""
    # What a worker runs with comes from the controller, so this node's own file is no more than a hint.
    hints = [line.split()[1] for line in _lines(host) if _loads_pyxis(line)]
    directories = ["/opt/slurm/lib/slurm", "/usr/local/lib/slurm", "/usr/lib/slurm"]
    for libraries in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"):
        directories += [f"{libraries}/{name}" for name in host.names_in(libraries) if name.startswith("slurm")]
    places = [*(hint for hint in hints if "/" in hint), *(f"{directory}/{PLUGIN}" for directory in directories)]
    return next((place for place in places if host.exists(place)), None)


def _part_is_missing(context: Context) -> bool:
    try:
        parts.find_part(context.host, "pyxis")
    except parts.MissingPartError as error:
        context.warn(f"this AMI lacks pyxis, so srun knows no --container-image: {error}")
        return True
    return False


# plugstack.conf, which the controller hands to all nodes


def _plugstack_conf(host: Host, plugin: str) -> list[str]:
    """The lines of the AMI's file, if they load the plugin on all nodes; else with one that does."""
    lines = _lines(host)
    if not any(map(_loads_pyxis, lines)):
        # Nodes get this file and nothing that it includes from elsewhere, and ran the jobs outside of containers.
        lines = [inner for line in lines for inner in _included(host, line)]
    if not any(_loads_pyxis(line) and host.exists(_loaded(line, plugin)) for line in lines):
        # Required: a node that lacks the plugin is not to run the job outside of its container, but to refuse it.
        lines = [*(line for line in lines if not _loads_pyxis(line)), f"required {plugin}"]
    return lines


def _included(host: Host, line: str) -> Iterator[str]:
    """Yield the line, or what it includes where that loads the plugin."""
    pattern = PurePosixPath(included_file(line) or "/")
    names = [name for name in host.names_in(str(pattern.parent)) if fnmatchcase(name, pattern.name)]
    inner = [one for name in names for one in (host.read(f"{pattern.parent}/{name}") or "").splitlines()]
    yield from inner if any(map(_loads_pyxis, inner)) else [line]


def _lines(host: Host) -> list[str]:
    return (host.read(PLUGSTACK_CONF) or "").splitlines()


def _loads_pyxis(line: str) -> bool:
    return bool(re.match(rf"\s*(required|optional)\s+\S*{re.escape(PLUGIN)}(\s|$)", line))


def _loaded(line: str, plugin: str) -> str:
    # A name alone is looked for where Slurm has its plugins, wherever that is.
    name = line.split()[1]
    return name if "/" in name else plugin


# The step


def _is_done(context: Context) -> bool:
    plugin = _plugin(context.host)
    if plugin is None:
        return _part_is_missing(context)
    return context.node.node_type != "controller" or _lines(context.host) == _plugstack_conf(context.host, plugin)


def _do(context: Context) -> None:
    host = context.host
    plugin = _plugin(host)
    if plugin is None:
        if _part_is_missing(context):
            return
        _build(context)
        plugin = BUILT
    host.remove(_BUILD)
    if context.node.node_type == "controller":
        if (lines := _plugstack_conf(host, plugin)) != _lines(host):
            # It remains whose it is: slurmctld reads it, and is not root.
            host.rewrite(PLUGSTACK_CONF, "\n".join([*lines, ""]))
        if units.is_running(host, "slurmctld.service"):
            _reconfigure(host)
    # One that came up before its plugin was there has failed.
    elif any(host.succeeds("systemctl", state, "--quiet", "slurmd.service") for state in ("is-active", "is-failed")):
        try:
            units.restart(host, "slurmd.service")
        except StepError as error:
            # Its controller may be starting anew.
            raise NotYetError(str(error)) from error


def _build(context: Context) -> None:
    host = context.host
    source = parts.find_part(host, "pyxis")
    if not host.exists(f"{_INCLUDES}/slurm/spank.h"):
        raise StepError(f"pyxis cannot be built: this AMI has no {_INCLUDES}/slurm/spank.h of its own Slurm")
    if not packages.are_installed(context, _TOOLS):
        packages.install(context, *_TOOLS)
    host.remove(_BUILD)
    host.make_directory(_BUILD)
    host.run("tar", "--extract", "--no-same-owner", "--strip-components=1", f"--directory={_BUILD}", f"--file={source}")
    try:
        host.run("make", f"--directory={_BUILD}", timeout_seconds=600, environment={"CPPFLAGS": f"-I{_INCLUDES}"})
    except CommandError as error:
        first = next((line for line in error.errors.splitlines() if "error" in line), error.errors[-300:])
        raise StepError(f"pyxis cannot be built with this AMI's Slurm: {first}") from error
    # What a power loss leaves is all of it or nothing.
    host.run("sync", f"{_BUILD}/{PLUGIN}")
    host.run("mv", f"{_BUILD}/{PLUGIN}", BUILT)


def _reconfigure(host: Host) -> None:
    try:
        host.run("scontrol", "reconfigure")
    except CommandError as error:
        raise NotYetError(f"slurmctld does not take its new {PLUGSTACK_CONF}: {error.errors}") from error


STEP = Step(
    name="pyxis",
    summary="have Slurm load pyxis",
    is_done=_is_done,
    do=_do,
    patience_seconds=packages.PATIENCE_SECONDS,
)
