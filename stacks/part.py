"""What the stacks of one cluster have in common."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from cdk_slurm.findings import SILENCED_RULES
from cdk_slurm.spec import ClusterSpec


class Part(cdk.Stack):
    """A stack of one cluster: named after it, in its Region, with its tags, and judged by the rules it wants."""

    def __init__(self, scope: Construct, part: str, *, spec: ClusterSpec, **kwargs: Any) -> None:
        super().__init__(
            scope,
            f"{spec.name}-{part}",
            env=cdk.Environment(account=spec.account, region=spec.region),
            tags=spec.tags,
            **kwargs,
        )
        self.node.set_context(SILENCED_RULES, [silence.rule for silence in spec.silence])
