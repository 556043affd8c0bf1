"""Rules of Slurm partitions, and what a group's partition is called."""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.hyperpod.instance_groups import of_shape
from cdk_slurm.rules.likeness import repeated
from cdk_slurm.spec import (
    ComputeGroup,
    HyperPodConfig,
    Path,
)
from cdk_slurm.spec.finding import dotted

_DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
_SLURM = _DG + "sagemaker-hyperpod-ref.html#sagemaker-hyperpod-ref-slurm-configuration"
_DEEP_HEALTH_CHECKS = _DG + "sagemaker-hyperpod-resiliency-slurm-deep-health-checks.html"


def api_partition_name(name: str) -> str:
    """What a partition is called in form `api`, which allows no dots: `ml.p5.48xlarge` is `ml-p5-48xlarge`."""
    return name.replace(".", "-")


def partition_of(group: ComputeGroup, slurm_configuration: str) -> str:
    """The Slurm partition that a group's nodes join: its own, or one of the group's name."""
    name = group.name if group.partition is None else group.partition
    return api_partition_name(name) if slurm_configuration == "api" else name


@rule("error", _SLURM)
def partition_name(config: HyperPodConfig) -> Iterator[Violation]:
    """The name of a partition has only characters that Slurm and HyperPod take.

    In form `api` these are letters, digits and hyphens, a letter or digit first and last (dots are judged
    by PARTITION_NAME_DOTTED); in form `provisioning_parameters` also dots and underscores.
    """
    for index, group in enumerate(config.compute):
        if group.partition is None:
            continue  # then it is the group's name, which has a rule of its own
        name = partition_of(group, config.slurm_configuration)
        if config.slurm_configuration == "api":
            yield from of_shape(("compute", index, "partition"), "ClusterPartitionName", name)
        elif not re.fullmatch("[A-Za-z0-9_.-]+", name):
            yield ("compute", index, "partition"), f"found {name!r}; allowed: letters, digits, '_', '.' and '-'"


@rule("warning", _SLURM)
def partition_name_dotted(config: HyperPodConfig) -> Iterator[Violation]:
    """Dots in the name of a partition become hyphens in form `api`.

    Partitions of the legacy form are often named after an instance type, which HyperPod's API refuses.
    Jobs must ask for the new name; write it here so that nobody is surprised.
    """
    for index, group in enumerate(config.compute):
        if config.slurm_configuration == "api" and "." in (group.partition or ""):
            becomes = partition_of(group, "api")
            yield (
                ("compute", index, "partition"),
                f"found {group.partition!r}, which becomes {becomes}; allowed: names without dots, so write {becomes}",
            )


@rule("error", _DEEP_HEALTH_CHECKS)
def partition_name_reserved(config: HyperPodConfig) -> Iterator[Violation]:
    """Some names of partitions are taken.

    All nodes join HyperPod's `dev`, nodes under deep health checks `hyperpod-system-maintenance`, and Slurm
    reads `default` as the defaults of all partitions.
    """
    for index, group in enumerate(config.compute):
        name = partition_of(group, config.slurm_configuration)
        if name in ("dev", "hyperpod-system-maintenance") or name.lower() == "default":
            yield (
                _partition_path(index, group),
                f"found {name!r}; allowed: partitions other than dev, default and hyperpod-system-maintenance",
            )


@rule("warning", _SLURM)
def partition_shared(config: HyperPodConfig) -> Iterator[Violation]:
    """Each compute group has a partition of its own.

    Jobs in a partition of two groups land on either, whatever instance types they have.
    """
    partitions = (
        (_partition_path(index, group), partition_of(group, config.slurm_configuration))
        for index, group in enumerate(config.compute)
    )
    for path, name, first in repeated(partitions):
        yield path, f"found {name!r}, the partition of {dotted(first[:-1])} too; allowed: one for each group"


def _partition_path(index: int, group: ComputeGroup) -> Path:
    return ("compute", index, "name" if group.partition is None else "partition")
