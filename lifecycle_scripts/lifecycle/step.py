"""What a step is, and what steps share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lifecycle.cluster import NODE_TYPES, Cluster
from lifecycle.host import Host
from lifecycle.node import Node


@dataclass
class Context:
    """What a run knows of the machine, the cluster and the node."""

    host: Host
    entry: str | None = None
    # The first step, `identify`, finds these two: every later step has them, a report of its failure has not.
    cluster: Cluster = field(init=False)
    node: Node = field(init=False)


@dataclass(frozen=True)
class Step:
    """One thing that a node needs.

    `is_done` looks and changes nothing on the machine; `do` is called only where it said False. Both are
    called again, for `patience_seconds` in all, as long as one of them raises `NotYetError`.
    """

    name: str
    summary: str
    """What `do` does, as the plan says it after "would"."""
    is_done: Callable[[Context], bool]
    do: Callable[[Context], None]
    node_types: frozenset[str] = NODE_TYPES
    patience_seconds: float = 120
