"""Reads what the lifecycle needs of Slurm's configuration files.

https://slurm.schedmd.com/slurm.conf.html
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from lifecycle.host import Host

ETC = "/opt/slurm/etc"
SLURM_CONF = f"{ETC}/slurm.conf"
ACCOUNTING_CONF = f"{ETC}/accounting.conf"


def lines_of(host: Host, path: str = SLURM_CONF, *, but_not: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of a file and of those that it includes, without comments; `but_not` are left unread."""
    text = host.read(path)
    if text is None or path in but_not:
        return
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(?<!\\)#.*", "", line).strip()
        included = included_file(line)
        if included is not None:
            yield from lines_of(host, included, but_not=[*but_not, path])
        elif line:
            yield line


def included_file(line: str) -> str | None:
    """Return the path of the file that a line includes, or None."""
    match = re.match(r"include\s+(\S+)", line.strip(), re.IGNORECASE)
    return match and str(PurePosixPath(ETC) / match[1])


def includes(host: Host, path: str, *, within: str = SLURM_CONF) -> bool:
    """Return whether a file itself includes another."""
    return any(included_file(line) == path for line in (host.read(within) or "").splitlines())


def include(host: Host, path: str, *, within: str = SLURM_CONF) -> None:
    """Have a file include another that is there, at its end; its owner and mode stay."""
    host.rewrite(
        within, "\n".join([*(host.read(within) or "").splitlines(), f"include {PurePosixPath(path).name}", ""])
    )


def values(lines: Sequence[str], key: str) -> list[str]:
    """Return the values that the lines give to a key, in order: Slurm takes the last."""
    found = []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip().lower() == key.lower():
            found.append(value.split()[0] if value.split() else "")
    return found


def node_names(lines: Sequence[str]) -> dict[str, str]:
    """Return the nodes that are defined, by name, with their addresses (the name itself where none is given)."""
    nodes: dict[str, str] = {}
    for line in lines:
        fields = _fields(line)
        if fields.get("nodename", "DEFAULT") == "DEFAULT":
            continue
        names = expand(fields["nodename"])
        addresses = expand(fields["nodeaddr"]) if "nodeaddr" in fields else names
        nodes |= zip(names, addresses if len(addresses) == len(names) else names, strict=True)
    return nodes


def partitions(lines: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the partitions that are defined, by name, with the nodes that they name."""
    found = {}
    for line in lines:
        fields = _fields(line)
        if fields.get("partitionname", "DEFAULT") != "DEFAULT":
            found[fields["partitionname"]] = frozenset(expand(fields.get("nodes", "")))
    return found


def expand(hostlist: str) -> list[str]:
    """Return the names that a host list stands for: `ip-10-0-0-[1-2,05]` are three of them."""
    names = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", hostlist.strip('"')):
        expanded = [""]
        for literal, ranges in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            choices = [literal] if literal else [number for item in ranges.split(",") for number in _range(item)]
            expanded = [name + choice for name in expanded for choice in choices]
        names += expanded
    return names


def _range(item: str) -> list[str]:
    first, dash, last = item.partition("-")
    if not dash:
        return [first]
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


def _fields(line: str) -> dict[str, str]:
    pairs = re.findall(r'(\w+)\s*=\s*("[^"]*"|\S*)', line)
    return {key.lower(): value for key, value in pairs}
