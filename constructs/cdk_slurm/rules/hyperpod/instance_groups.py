"""Rules of instance groups: each by itself, compute groups, and all groups of a cluster."""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.likeness import did_you_mean, repeated
from cdk_slurm.rules.service_model import cluster_instance_types, problem, shape
from cdk_slurm.spec import (
    ComputeGroup,
    HyperPodConfig,
    InstanceGroup,
    Path,
)
from cdk_slurm.spec.finding import dotted

_DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
_API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
_GROUP = _API + "API_ClusterInstanceGroupSpecification.html"
_CONTINUOUS = _DG + "sagemaker-hyperpod-scaling-slurm.html"
_DEEP_HEALTH_CHECKS = _DG + "sagemaker-hyperpod-resiliency-slurm-deep-health-checks.html"
_TRAINING_PLANS = _DG + "reserve-capacity-with-training-plans.html"


_ONLY_CONTINUOUS = "only with continuous provisioning (slurm_configuration: api, no slurm_config_strategy)"


def located_groups(config: HyperPodConfig) -> Iterator[tuple[Path, InstanceGroup]]:
    """All instance groups, each with where it stands in the configuration."""
    yield ("controller",), config.controller
    if config.login is not None:
        yield ("login",), config.login
    for index, group in enumerate(config.compute):
        yield ("compute", index), group


@rule("error", _GROUP)
def instance_group_name(group: InstanceGroup) -> Iterator[Violation]:
    """The name of an instance group is letters, digits and hyphens.

    HyperPod takes 1 to 63 of them, with a letter or digit first and last.
    """
    yield from of_shape("name", "ClusterInstanceGroupName", group.name)


@rule("error", _API + "API_ClusterInstanceDetails.html")
def instance_type(group: InstanceGroup) -> Iterator[Violation]:
    """An instance type is one that HyperPod accepts.

    Its types are those of EC2 with the prefix `ml.`, but by far not all of them.
    """
    legal = cluster_instance_types()
    for path, name in located_types(group):
        if name not in legal:
            hint = (
                f" without its prefix; did you mean ml.{name}?"
                if f"ml.{name}" in legal
                else did_you_mean(name, legal) + ";"
            )
            yield path, f"found {name!r}{hint} allowed: a type of HyperPod, such as ml.p5.48xlarge"


@rule("error", _GROUP)
def instance_count(group: InstanceGroup) -> Iterator[Violation]:
    """An instance group has 0 to 6758 instances.

    A group of 0 is kept for later; your quotas may allow far fewer than the API.
    """
    yield from of_shape("count", "ClusterInstanceCount", group.count)


@rule("error", _GROUP)
def threads_per_core(group: InstanceGroup) -> Iterator[Violation]:
    """Threads per core are 1 or 2.

    1 turns simultaneous multithreading off. Leave the field out for the instance type's default.
    """
    yield from of_shape("threads_per_core", "ClusterThreadsPerCore", group.threads_per_core)


@rule("error", _API + "API_ClusterEbsVolumeConfig.html")
def ebs_volume_size(group: InstanceGroup) -> Iterator[Violation]:
    """The additional volume has 1 to 16384 GiB.

    For no volume at /opt/sagemaker write null, not 0.
    """
    yield from of_shape("ebs_volume_gib", "ClusterEbsVolumeSizeInGB", group.ebs_volume_gib)


@rule("error", _GROUP)
def min_count(group: ComputeGroup) -> Iterator[Violation]:
    """The minimum of instances is at most the group's count.

    HyperPod waits 3 hours for so many instances and then rolls the group back.
    """
    if group.min_count is not None and not 0 <= group.min_count <= group.count:
        yield "min_count", f"found {group.min_count}; allowed: 0 to {group.count}, the group's count"


@rule("error", _TRAINING_PLANS)
def training_plan_arn(group: ComputeGroup) -> Iterator[Violation]:
    """A training plan is named by its ARN.

    `aws sagemaker list-training-plans` shows it.
    """
    yield from of_shape("training_plan", "TrainingPlanArn", group.training_plan)


@rule("error", _TRAINING_PLANS)
def training_plan_and_spot(group: ComputeGroup) -> Iterator[Violation]:
    """Instances come from a training plan or from spot capacity, not from both.

    A training plan is capacity reserved and paid in advance. Make two groups to use both.
    """
    if group.training_plan is not None and group.spot:
        yield "spot", "found true beside a training_plan; allowed: one of the two in a group"


@rule("warning", _DG + "sagemaker-hyperpod-spot.html")
def spot_on_slurm(group: ComputeGroup) -> Iterator[Violation]:
    """Spot capacity is documented for clusters on EKS only.

    The API has the field for every cluster, but AWS describes neither requests nor interruptions on Slurm.
    Try it on a small group first.
    """
    if group.spot:
        yield "spot", "found true; allowed: false, as AWS documents spot capacity for EKS only"


@rule("warning", _API + "API_ClusterInstanceRequirements.html")
def instance_types_on_slurm(group: ComputeGroup) -> Iterator[Violation]:
    """Groups of several instance types are documented for clusters on EKS only.

    Slurm also counts on nodes of one partition being alike. Make one group for each type instead.
    """
    if len(group.types) > 1:
        yield (
            "type",
            f"found {len(group.types)} types; allowed: one, as AWS documents groups of several types for EKS only",
        )


@rule("warning", _DEEP_HEALTH_CHECKS)
def deep_health_check_type(group: ComputeGroup) -> Iterator[Violation]:
    """Deep health checks are for GPU instances of the families g5, p4, p5 and later.

    On Slurm AWS documents every check for GPUs. It skips instances without accelerators; what happens on
    Trainium and on older GPUs is not documented.
    """
    if group.deep_health_checks:
        for name in group.types:
            if not re.match(r"ml\.(g[5-9]|gr[6-9]|p[4-9])", name):
                yield "deep_health_checks", f"found checks on {name}; allowed: GPU families g5, p4, p5 and later"


@rule("warning", _DEEP_HEALTH_CHECKS)
def deep_health_check_connectivity(group: ComputeGroup) -> Iterator[Violation]:
    """InstanceConnectivity needs two instances with EFA.

    It measures collective communication between nodes. A lone node has nobody to talk to, and types without
    EFA are not made for it.
    """
    if "InstanceConnectivity" in group.deep_health_checks:
        if group.count == 1:
            yield "deep_health_checks", "found InstanceConnectivity on 1 instance; allowed: on 2 or more"
        for name in group.types:
            if (facts := instance_facts(name)) and not facts.efa_interfaces:
                yield "deep_health_checks", f"found InstanceConnectivity on {name}; allowed: on types with EFA"


@rule("warning", _DEEP_HEALTH_CHECKS)
def deep_health_check_on_slurm(group: ComputeGroup) -> Iterator[Violation]:
    """MultiNodeTrainingValidation is documented for clusters on EKS only.

    For Slurm AWS describes InstanceStress and InstanceConnectivity.
    """
    if "MultiNodeTrainingValidation" in group.deep_health_checks:
        yield (
            "deep_health_checks",
            "found MultiNodeTrainingValidation; allowed: InstanceStress and InstanceConnectivity, documented on Slurm",
        )


@rule("warning", _DEEP_HEALTH_CHECKS)
def deep_health_checks_unique(group: ComputeGroup) -> Iterator[Violation]:
    """Each deep health check is asked for once.

    Twice is most likely a slip: was another check meant?
    """
    checks = ((("deep_health_checks", index), check) for index, check in enumerate(group.deep_health_checks))
    for path, check, _ in repeated(checks):
        yield path, f"found {check} again; allowed: each check once"


@rule("error", _GROUP)
def instance_group_names_unique(config: HyperPodConfig) -> Iterator[Violation]:
    """Instance groups have different names.

    The name is all that tells one group from another, on updates too.
    """
    for path, name, first in repeated(((*path, "name"), group.name) for path, group in located_groups(config)):
        yield path, f"found {name!r}, the name of {dotted(first[:-1])} too; allowed: names that differ"


@rule("error", _API + "API_CreateCluster.html")
def instance_group_limit(config: HyperPodConfig) -> Iterator[Violation]:
    """A cluster has at most 100 instance groups.

    One page of AWS's says 20; the API takes 100, controller and login group counted.
    """
    found, most = len(list(located_groups(config))), shape("sagemaker", "ClusterInstanceGroupSpecifications")["max"]
    if found > most:
        yield "compute", f"found {found} instance groups with controller and login; allowed: {most} or fewer"


@rule("error", _CONTINUOUS)
def min_count_continuous(config: HyperPodConfig) -> Iterator[Violation]:
    """A minimum of instances needs continuous provisioning.

    Without it a group is provisioned wholly or not at all. Use form `api` without `slurm_config_strategy`,
    or leave `min_count` out.
    """
    for index, group in enumerate(config.compute):
        if group.min_count is not None and not config.continuous_provisioning:
            yield ("compute", index, "min_count"), f"found {group.min_count}; allowed: {_ONLY_CONTINUOUS}"


def located_types(group: InstanceGroup) -> list[tuple[Path, str]]:
    """A group's instance types, each with where it stands in the group."""
    found = group.type
    if isinstance(found, str):
        return [(("type",), found)]
    return [(("type", index), name) for index, name in enumerate(found)]


def of_shape(where: str | Path, name: str, value: str | int | None) -> Iterator[Violation]:
    """A violation where a value is not of a SageMaker shape; a value left out is none."""
    if value is not None and (text := problem("sagemaker", name, value)):
        yield where, text
