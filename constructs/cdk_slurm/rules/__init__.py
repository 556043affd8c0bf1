"""What must hold of a description: one rule, one id. Pure Python: no CDK, no AWS call."""

from cdk_slurm.rules import (
    cluster,
    data,
    directory,
    grafana,
    hyperpod,
    lustre,
    mounts,
    network,
    observability,
    openzfs,
    parallelcluster,
    studio,
)
from cdk_slurm.rules.engine import RULES, Rule, check, errors

__all__ = [
    "RULES",
    "Rule",
    "check",
    "cluster",
    "data",
    "directory",
    "errors",
    "grafana",
    "hyperpod",
    "lustre",
    "mounts",
    "network",
    "observability",
    "openzfs",
    "parallelcluster",
    "studio",
]
