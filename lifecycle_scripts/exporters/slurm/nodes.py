"""Nodes as `scontrol` shows them, one line each.

`sinfo` compares each node with each other: with 1,000 nodes it takes ten times as long, and with 5,000 too long.

https://slurm.schedmd.com/archive/slurm-25.11-latest/scontrol.html
"""

import re
from dataclasses import dataclass

COMMAND = ("scontrol", "--all", "--details", "--oneliner", "show", "nodes")

STATES = (
    *("idle", "mixed", "allocated", "completing", "reserved"),
    *("draining", "drained", "failing", "down", "unknown"),
)
#: Those in which a node runs jobs or could: of a reservation at least.
USABLE = frozenset({"idle", "mixed", "allocated", "completing", "reserved"})

#: Older Slurm puts these behind the base state, newer a word.
_SUFFIXES = {
    "*": "not_responding",
    "~": "powered_down",
    "#": "powering_up",
    "!": "power_down",
    "%": "powering_down",
    "$": "maintenance",
    "@": "reboot_requested",
    "^": "reboot_issued",
    "-": "planned",
}
_DOWN = frozenset({"not_responding", "powering_down", "reboot_issued", "invalid_reg"})
_DRAIN = frozenset({"drain", "power_down", "power_drain"})
_RESERVED = frozenset({"reserved", "maintenance"})

#: Who sets a reason may write a book; a label is to stay readable.
_REASON_LENGTH = 200
#: Free text, and after it who set it and when.
_REASON = re.compile(r" Reason=(.*?)(?: \[[^\[\]@\s]+@[\d:T-]+\]| Comment=| Extra=|$)")
#: Every one of them comes before any free text in the line.
_FIELDS = {
    key: re.compile(rf"(?:^| ){key}=(\S*)")
    for key in ("NodeName", "NodeAddr", "State", "Partitions", "CPUAlloc", "CPUTot", "Gres", "GresUsed")
}


@dataclass(frozen=True)
class Node:
    """A node of Slurm's."""

    name: str
    address: str
    partitions: tuple[str, ...]
    state: str
    """One of `STATES`."""
    cpus: int
    allocated_cpus: int
    gpus: int
    allocated_gpus: int
    reason: str
    """Why it cannot be used; empty if it can: Slurm keeps the reason of a node that was resumed."""

    @property
    def usable(self) -> bool:
        """Whether it runs jobs or could."""
        return self.state in USABLE


def parse(text: str) -> tuple[list[Node], list[str]]:
    """Return the nodes, and the lines that are not of the known form."""
    nodes: list[Node] = []
    strange: list[str] = []
    for line in text.splitlines():
        try:
            nodes.append(_node(line))
        except ValueError:
            strange.append(line)
    return nodes, strange


def state_of(text: str) -> str:
    """Return which of `STATES` a node is in, by what Slurm says: a base state, and flags after `+` or as one character.

    The worst that holds of it counts. Flags that say nothing of that (CLOUD, PLANNED, POWERED_DOWN, any that a
    later Slurm may have) leave it at its base state.
    """
    first, *words = text.lower().split("+")
    base = first.rstrip("".join(_SUFFIXES))
    flags = {*words, *(_SUFFIXES[character] for character in first[len(base) :])}
    busy = base in ("allocated", "mixed")
    if base in ("down", "error") or flags & _DOWN:
        return "down"
    if base not in ("idle", "allocated", "mixed"):
        return "unknown"
    if "fail" in flags:
        return "failing"
    if flags & _DRAIN:
        return "draining" if busy or "completing" in flags else "drained"
    if busy:
        return base
    if "completing" in flags:
        return "completing"
    return "reserved" if flags & _RESERVED else base


def gpus_in(gres: str) -> int:
    """Return the number of GPUs in a list like `gpu:a100:4(S:0-1),gpu:8,shard:16(S:0)`."""
    without_places = re.sub(r"\([^)]*\)", "", gres)
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,]+)*?:(\d+)(?=,|$)", without_places))


def _node(line: str) -> Node:
    found = {key: match[1] for key, pattern in _FIELDS.items() if (match := pattern.search(line))}
    # A node without GRES has no GresUsed, and one in no partition no Partitions.
    missing = _FIELDS.keys() - found.keys() - {"Partitions", "GresUsed"}
    if missing or not found["NodeName"]:
        raise ValueError(line)
    state = state_of(found["State"])
    reason = _REASON.search(line)
    return Node(
        name=found["NodeName"],
        address=found["NodeAddr"],
        partitions=tuple(name for name in found.get("Partitions", "").split(",") if name),
        state=state,
        cpus=int(found["CPUTot"]),
        allocated_cpus=int(found["CPUAlloc"]),
        gpus=gpus_in(found["Gres"]),
        allocated_gpus=gpus_in(found.get("GresUsed", "")),
        reason=reason[1][:_REASON_LENGTH] if reason and state not in USABLE else "",
    )
