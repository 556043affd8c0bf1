"""Rules of where instance groups stand, and of EFA between them and Lustre."""

from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.hyperpod.instance_groups import located_groups, located_types
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.service_model import (
    cluster_instance_types,
    has_resource_type,
    offered_cluster_instance_types,
    regions,
)
from cdk_slurm.spec import (
    ComputeGroup,
    ExistingNetwork,
    HyperPodSpec,
    NetworkConfig,
    Path,
)

_DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
_ZONES = _DG + "sagemaker-hyperpod-prerequisites.html#sagemaker-hyperpod-prerequisites-multiple-availability-zones"
_LUSTRE_EFA = "https://docs.aws.amazon.com/fsx/latest/LustreGuide/efa-file-systems.html"


# EFA instance families of Nitro version 3, and trn2, which FSx leaves out by name.
_FAMILIES_WITHOUT_LUSTRE_EFA = frozenset({"c5n", "g4dn", "g5", "i3en", "p4d", "p4de", "trn2"})


@rule("warning", _DG + "sagemaker-hyperpod.html")
def instance_type_offered(spec: HyperPodSpec) -> Iterator[Violation]:
    """An instance type is offered in the cluster's Region.

    The lists come from cfn-lint and are incomplete: look the type up in Service Quotas, as
    `<type> for cluster usage`, and silence this rule when it is there.
    """
    offered = offered_cluster_instance_types(spec.region)
    if offered is None:
        return
    for group_path, group in located_groups(spec.hyperpod):
        for path, name in located_types(group):
            if name in cluster_instance_types() and name not in offered:
                yield (
                    ("hyperpod", *group_path, *path),
                    f"found {name}, which nobody saw in {spec.region}; allowed: types offered in the Region",
                )


@rule("warning", _DG + "sagemaker-hyperpod.html")
def hyperpod_region(spec: HyperPodSpec) -> Iterator[Violation]:
    """HyperPod is offered in the cluster's Region.

    CloudFormation knows the resource `AWS::SageMaker::Cluster` where it is. The list comes from cfn-lint and
    may be behind: look the Region up, and silence this rule when it is there.
    """
    if spec.region in regions() and not has_resource_type(spec.region, "AWS::SageMaker::Cluster"):
        yield (
            "region",
            f"found {spec.region}, where nobody saw HyperPod; allowed: Regions that have it, such as us-west-2",
        )


@rule("error", _ZONES)
def group_zone(spec: HyperPodSpec) -> Iterator[Violation]:
    """An instance group stands in a zone of the network.

    Each zone needs a private subnet. Add the zone to `network.additional_zones`; in an existing network
    name the subnet in the group's `subnet`.
    """
    network = spec.network
    zones = [spec.availability_zone]
    if isinstance(network, NetworkConfig):
        zones += [zone.availability_zone for zone in network.additional_zones]
        otherwise = ""
    else:
        otherwise = ", or another zone together with the group's subnet"
    for path, group in located_groups(spec.hyperpod):
        zone = group.availability_zone or spec.availability_zone
        has_own_subnet = isinstance(network, ExistingNetwork) and group.subnet is not None
        if zone not in zones and not has_own_subnet:
            yield (
                ("hyperpod", *path, "availability_zone"),
                f"found {zone}; allowed: {', '.join(zones)}{otherwise}",
            )


@rule("error", _ZONES)
def group_subnet(spec: HyperPodSpec) -> Iterator[Violation]:
    """A group names a subnet only in a network that exists already.

    A new VPC has no subnets yet that could be named. Name a zone of the network instead.
    """
    for path, group in located_groups(spec.hyperpod):
        if group.subnet is not None and isinstance(spec.network, NetworkConfig):
            yield (
                ("hyperpod", *path, "subnet"),
                f"found {group.subnet} with a new network; allowed: only with network.existing",
            )


@rule("warning", _ZONES)
def efa_across_zones(spec: HyperPodSpec) -> Iterator[Violation]:
    """Groups with EFA stand in one zone.

    EFA does not cross zones: a job on both groups falls back to TCP, or fails.
    """
    home = None
    for index, group in enumerate(spec.hyperpod.compute):
        zone = group.availability_zone or spec.availability_zone
        if any(map(has_efa, group.types)):
            home = home or zone
            if zone != home:
                yield (
                    ("hyperpod", "compute", index, "availability_zone"),
                    f"found EFA instances in {zone} and in {home}; allowed: one zone for all of them",
                )


@rule("error", _LUSTRE_EFA)
def lustre_efa_other_zone(spec: HyperPodSpec) -> Iterator[Violation]:
    """Clients that reach Lustre over EFA stand in its zone.

    EFA does not cross zones. Move the group to the cluster's zone, or create Lustre without EFA.
    """
    if spec.storage.lustre is not None and spec.storage.lustre.efa:
        for path, group in _compute_elsewhere(spec):
            if any(map(has_efa, group.types)):
                yield (
                    path,
                    f"found {group.availability_zone}, with EFA instances and Lustre on EFA; "
                    f"allowed: {spec.availability_zone}, the zone of Lustre",
                )


@rule("warning", "https://docs.aws.amazon.com/fsx/latest/LustreGuide/using-fsx-lustre.html")
def lustre_other_zone(spec: HyperPodSpec) -> Iterator[Violation]:
    """Compute groups stand in the zone of Lustre.

    Traffic between zones is charged in both directions, and every operation takes longer.
    """
    if spec.storage.lustre is not None:
        for path, group in _compute_elsewhere(spec):
            if not (spec.storage.lustre.efa and any(map(has_efa, group.types))):
                yield path, f"found {group.availability_zone}; allowed: {spec.availability_zone}, the zone of Lustre"


@rule("warning", _LUSTRE_EFA)
def lustre_efa_unsupported_type(spec: HyperPodSpec) -> Iterator[Violation]:
    """Instances with EFA can reach Lustre over it.

    FSx wants Nitro version 4 or later and leaves out trn2. Other instances with EFA (such as p4d and g5)
    mount the file system over TCP, at 100 Gbps at most.
    """
    if spec.storage.lustre is not None and spec.storage.lustre.efa:
        for index, group in enumerate(spec.hyperpod.compute):
            for path, name in located_types(group):
                if has_efa(name) and name.removeprefix("ml.").split(".")[0] in _FAMILIES_WITHOUT_LUSTRE_EFA:
                    yield (
                        ("hyperpod", "compute", index, *path),
                        f"found {name}, which reaches Lustre over TCP only; allowed: types on Nitro 4 or later, not "
                        "trn2",
                    )


def has_efa(name: str) -> bool:
    """Whether an instance type is known to have EFA."""
    facts = instance_facts(name)
    return facts is not None and facts.efa_interfaces > 0


def _compute_elsewhere(spec: HyperPodSpec) -> Iterator[tuple[Path, ComputeGroup]]:
    """Compute groups outside of the cluster's own zone, where its file systems are."""
    for index, group in enumerate(spec.hyperpod.compute):
        if group.availability_zone not in (None, spec.availability_zone):
            yield ("hyperpod", "compute", index, "availability_zone"), group
