"""What a step is, and what steps share."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from lifecycle.cluster import NODE_TYPES, Cluster, InstanceGroup
from lifecycle.host import Host
from lifecycle.node import Node

CONTROLLER = frozenset({"controller"})
COMPUTE = frozenset({"compute"})

log = logging.getLogger("lifecycle")


@dataclass
class Context:
    """What a run knows of the machine, the cluster and the node."""

    host: Host
    entry: str | None = None
    # The first step, `identify`, finds these two: every later step has them, a report of its failure has not.
    cluster: Cluster = field(init=False)
    node: Node = field(init=False)
    warnings: list[str] = field(default_factory=list)
    """What the step that is running has to say, although it does not fail."""
    patience_seconds: float | None = None
    """How long steps try again at most; None leaves it to each."""
    in_background: bool = False
    """Whether this is the run that does afterwards what the entry script did not wait for."""

    @property
    def group(self) -> InstanceGroup:
        """The instance group of this node."""
        return self.cluster.instance_groups[self.node.instance_group]

    def warn(self, message: str) -> None:
        """Have the report say something that somebody should look at."""
        if message not in self.warnings:
            log.warning("%s", message)
            self.warnings.append(message)


def always(context: Context) -> bool:
    """Want a step on every cluster."""
    return True


def never(context: Context) -> bool:
    """Do without a step on no cluster."""
    return False


@dataclass(frozen=True)
class Step:
    """One thing that a node needs.

    `is_done` looks and changes nothing on the machine; `do` is called only where it said False, or where a
    former run was stopped in the middle of it, and does all that the step takes. Both are called again, for
    `patience_seconds` in all, as long as one of them raises `NotYetError`.
    """

    name: str
    summary: str
    """What `do` does, as the plan says it after "would"."""
    is_done: Callable[[Context], bool]
    do: Callable[[Context], None]
    node_types: frozenset[str] = NODE_TYPES
    is_wanted: Callable[[Context], bool] = always
    """Whether this cluster has use for it."""
    patience_seconds: float = 120
    waits_for_slurm: bool = False
    """Whether it needs Slurm to be up. In form `api` HyperPod may start Slurm only after the entry script has
    ended, so there such a step is done in the background as soon as it can be."""
    is_optional: Callable[[Context], bool] = never
    """Whether the node comes up all the same without it: then its failure is a warning."""
