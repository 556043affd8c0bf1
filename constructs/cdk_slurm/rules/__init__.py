"""What must hold of a description: one rule, one id. Pure Python: no CDK, no AWS call."""

from cdk_slurm.rules import cluster, data, hyperpod, lustre, network, openzfs
from cdk_slurm.rules.engine import RULES, Rule, check, errors

__all__ = ["RULES", "Rule", "check", "cluster", "data", "errors", "hyperpod", "lustre", "network", "openzfs"]
