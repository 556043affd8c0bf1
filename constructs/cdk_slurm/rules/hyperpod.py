"""Rules of HyperPod clusters and of their instance groups."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import cast

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.service_model import cluster_instance_types, offered_cluster_instance_types, problem, shape
from cdk_slurm.spec import (
    AccountingDatabaseConfig,
    ClusterSpec,
    ComputeGroup,
    ControllerGroup,
    ExistingAccountingDatabase,
    ExistingNetwork,
    HyperPodConfig,
    InstanceGroup,
    LoginGroup,
    NetworkConfig,
    Path,
)
from cdk_slurm.spec.finding import dotted

#: The three kinds of instance group.
Group = ControllerGroup | LoginGroup | ComputeGroup

_DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
_API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
_GROUP = _API + "API_ClusterInstanceGroupSpecification.html"
_DATABASE = _API + "API_ClusterAccountingDatabase.html"
_SLURM = _DG + "sagemaker-hyperpod-ref.html#sagemaker-hyperpod-ref-slurm-configuration"
_MIGRATION = _DG + "sagemaker-hyperpod-slurm-api-config-migration.html"
_CONTINUOUS = _DG + "sagemaker-hyperpod-scaling-slurm.html"
_TWO_CONTROLLERS = _DG + "sagemaker-hyperpod-multihead-slurm.html"
_DEEP_HEALTH_CHECKS = _DG + "sagemaker-hyperpod-resiliency-slurm-deep-health-checks.html"
_TRAINING_PLANS = _DG + "reserve-capacity-with-training-plans.html"
_ZONES = _DG + "sagemaker-hyperpod-prerequisites.html#sagemaker-hyperpod-prerequisites-multiple-availability-zones"
_LUSTRE_EFA = "https://docs.aws.amazon.com/fsx/latest/LustreGuide/efa-file-systems.html"

# EFA instance families of Nitro version 3, and trn2, which FSx leaves out by name.
_FAMILIES_WITHOUT_LUSTRE_EFA = frozenset({"c5n", "g4dn", "g5", "i3en", "p4d", "p4de", "trn2"})


def api_partition_name(name: str) -> str:
    """What a partition is called in form `api`, which allows no dots: `ml.p5.48xlarge` is `ml-p5-48xlarge`."""
    return name.replace(".", "-")


def partition_of(group: ComputeGroup, slurm_configuration: str) -> str:
    """The Slurm partition that a group's nodes join: its own, or one of the group's name."""
    name = group.name if group.partition is None else group.partition
    return api_partition_name(name) if slurm_configuration == "api" else name


def groups(config: HyperPodConfig) -> Iterator[tuple[Path, Group]]:
    """All instance groups, each with where it stands in the configuration."""
    yield ("controller",), config.controller
    if config.login is not None:
        yield ("login",), config.login
    for index, group in enumerate(config.compute):
        yield ("compute", index), group


# Instance groups, each by itself


@rule("error", _GROUP)
def instance_group_name(group: InstanceGroup) -> Iterator[Violation]:
    """The name of an instance group is letters, digits and hyphens.

    HyperPod takes 1 to 63 of them, with a letter or digit first and last.
    """
    yield from _of_shape("name", "ClusterInstanceGroupName", _named(group).name)


@rule("error", _API + "API_ClusterInstanceDetails.html")
def instance_type(group: InstanceGroup) -> Iterator[Violation]:
    """An instance type is one that HyperPod accepts.

    Its types are those of EC2 with the prefix `ml.`, but by far not all of them.
    """
    legal = cluster_instance_types()
    for path, name in _types(group):
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
    yield from _of_shape("count", "ClusterInstanceCount", _named(group).count)


@rule("error", _GROUP)
def threads_per_core(group: InstanceGroup) -> Iterator[Violation]:
    """Threads per core are 1 or 2.

    1 turns simultaneous multithreading off. Leave the field out for the instance type's default.
    """
    yield from _of_shape("threads_per_core", "ClusterThreadsPerCore", group.threads_per_core)


@rule("error", _API + "API_ClusterEbsVolumeConfig.html")
def ebs_volume_size(group: InstanceGroup) -> Iterator[Violation]:
    """The additional volume has 1 to 16384 GiB.

    For no volume at /opt/sagemaker write null, not 0.
    """
    yield from _of_shape("ebs_volume_gib", "ClusterEbsVolumeSizeInGB", group.ebs_volume_gib)


# Compute groups


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
    yield from _of_shape("training_plan", "TrainingPlanArn", group.training_plan)


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


# All groups of a cluster


@rule("error", _GROUP)
def instance_group_names_unique(config: HyperPodConfig) -> Iterator[Violation]:
    """Instance groups have different names.

    The name is all that tells one group from another, on updates too.
    """
    for path, name, first in repeated(((*path, "name"), group.name) for path, group in groups(config)):
        yield path, f"found {name!r}, the name of {dotted(first[:-1])} too; allowed: names that differ"


@rule("error", _API + "API_CreateCluster.html")
def instance_group_limit(config: HyperPodConfig) -> Iterator[Violation]:
    """A cluster has at most 100 instance groups.

    One page of AWS's says 20; the API takes 100, controller and login group counted.
    """
    found, most = len(list(groups(config))), shape("sagemaker", "ClusterInstanceGroupSpecifications")["max"]
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


@rule("error", _SLURM)
def slurm_config_strategy(config: HyperPodConfig) -> Iterator[Violation]:
    """A strategy for slurm.conf is part of form `api` only.

    In form `provisioning_parameters` our scripts write the partitions.
    """
    if config.slurm_configuration != "api" and config.slurm_config_strategy is not None:
        yield (
            "slurm_config_strategy",
            f"found {config.slurm_config_strategy} with slurm_configuration: {config.slurm_configuration}; "
            "allowed: only with slurm_configuration: api",
        )


# Controllers and accounting


@rule("error", _TWO_CONTROLLERS)
def controller_count(config: HyperPodConfig) -> Iterator[Violation]:
    """There is one controller; two in form `provisioning_parameters`.

    Form `api` has no fields for a backup controller.
    """
    count = config.controller.count
    if config.slurm_configuration == "api" and count != 1:
        yield (
            ("controller", "count"),
            f"found {count}; allowed: 1 (2 need slurm_configuration: provisioning_parameters)",
        )
    elif not 1 <= count <= 2:
        yield ("controller", "count"), f"found {count}; allowed: 1 or 2"


@rule("error", _TWO_CONTROLLERS)
def two_controllers_database(config: HyperPodConfig) -> Iterator[Violation]:
    """Two controllers need an accounting database outside of them.

    Both must reach it, so neither can keep it. Write `accounting_database: {}` for a new one.
    """
    if _two_controllers(config) and config.accounting_database is None:
        yield (
            ("controller", "count"),
            "found 2 without an accounting_database; allowed: 2 with one, 1 without",
        )


@rule("error", _TWO_CONTROLLERS)
def two_controllers_storage(spec: ClusterSpec) -> Iterator[Violation]:
    """Two controllers need a shared directory.

    The backup continues from Slurm's state, so both must see it. Add one of the file systems to `storage`.
    """
    if _two_controllers(spec.hyperpod) and spec.storage.lustre is None and spec.storage.openzfs is None:
        yield (
            ("hyperpod", "controller", "count"),
            "found 2 without shared storage; allowed: 2 with storage.openzfs or storage.lustre, 1 without",
        )


@rule("error", _TWO_CONTROLLERS)
def failover_topic(config: HyperPodConfig) -> Iterator[Violation]:
    """A topic for failovers needs two controllers.

    With one controller nothing is ever published to it.
    """
    if config.failover_topic is not None and not _two_controllers(config):
        yield "failover_topic", "found a topic with one controller; allowed: only with two controllers"


@rule("error", "https://docs.aws.amazon.com/sns/latest/dg/sns-create-topic.html")
def failover_topic_arn(config: HyperPodConfig) -> Iterator[Violation]:
    """The topic for failovers is named by its ARN.

    HyperPod publishes to the topic; people subscribe to it, by e-mail or otherwise.
    """
    topic = config.failover_topic
    if topic is not None and not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}", topic):
        yield (
            "failover_topic",
            f"found {topic!r}; allowed: the ARN of a standard SNS topic, arn:aws:sns:<region>:<account>:<name>",
        )


@rule("error", _DATABASE)
def accounting_database_continuous(config: HyperPodConfig) -> Iterator[Violation]:
    """In form `api` an accounting database needs continuous provisioning.

    Leave `slurm_config_strategy` out to provision continuously.
    """
    if config.slurm_configuration == "api" and config.accounting_database and not config.continuous_provisioning:
        yield (
            "accounting_database",
            f"found one with slurm_config_strategy: {config.slurm_config_strategy}; allowed: {_ONLY_CONTINUOUS}",
        )


@rule("error", _TWO_CONTROLLERS)
def accounting_database_one_controller(config: HyperPodConfig) -> Iterator[Violation]:
    """In form `provisioning_parameters` an accounting database needs two controllers.

    HyperPod reads its address only from `slurm_configurations`, which is for two controllers. With one
    controller use form `api`, or let the controller keep its own database.
    """
    if config.slurm_configuration != "api" and config.accounting_database and not _two_controllers(config):
        yield (
            "accounting_database",
            f"found one with {config.controller.count} controller; allowed: with 2, or with slurm_configuration: api",
        )


@rule("error", _DATABASE)
def existing_accounting_database(database: ExistingAccountingDatabase) -> Iterator[Violation]:
    """An existing database is named by its host, port, database name and the ARN of its secret.

    The secret holds JSON with `username` and `password`. Never write a password here.
    """
    if problem("sagemaker", "ClusterAccountingDatabaseEndpoint", database.existing):
        yield (
            "existing",
            "found text that is no host's name (not shown, it may hold a password); "
            "allowed: a DNS name without scheme, user or port",
        )
    yield from _of_shape("port", "ClusterAccountingDatabasePort", database.port)
    yield from _of_shape("name", "ClusterAccountingDatabaseName", database.name)
    if problem("sagemaker", "ClusterAccountingDatabaseSecretArn", database.secret):
        yield (
            "secret",
            "found text that is no secret's ARN (not shown, it may be a password); "
            "allowed: arn:aws:secretsmanager:<region>:<account>:secret:<name>",
        )


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html")
def accounting_database_name(database: AccountingDatabaseConfig) -> Iterator[Violation]:
    """The name of a new database is letters, digits and underscores, a letter first.

    RDS for MariaDB takes 1 to 64 of them.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", database.name):
        yield (
            "name",
            f"found {database.name!r}; allowed: 1 to 64 letters, digits and underscores, beginning with a letter",
        )


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.html")
def accounting_database_instance_type(database: AccountingDatabaseConfig) -> Iterator[Violation]:
    """The instance type of a new database is written without `db.`.

    The prefix is added for you: `m6g.large` is RDS's `db.m6g.large`.
    """
    if not re.fullmatch(r"(?!db\.)[a-z][a-z0-9-]*\.[a-z0-9]+", database.instance_type):
        yield "instance_type", f"found {database.instance_type!r}; allowed: text of the form m6g.large, without db."


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html")
def accounting_database_zones(spec: ClusterSpec) -> Iterator[Violation]:
    """A new accounting database needs a network of two zones.

    RDS places a database only where it could fail over to another zone, standby or not.
    """
    network = spec.network
    if isinstance(network, NetworkConfig):
        others, field = len(network.additional_zones), "network.additional_zones"
    else:
        others, field = len(network.additional_private_subnets), "network.additional_private_subnets"
    if isinstance(spec.hyperpod.accounting_database, AccountingDatabaseConfig) and not others:
        yield (
            ("hyperpod", "accounting_database"),
            f"found a new database in a network of one zone; allowed: with a second zone in {field}",
        )


# Partitions


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
            yield from _of_shape(("compute", index, "partition"), "ClusterPartitionName", name)
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


# Where groups stand


@rule("warning", _DG + "sagemaker-hyperpod.html")
def instance_type_offered(spec: ClusterSpec) -> Iterator[Violation]:
    """An instance type is offered in the cluster's Region.

    The lists come from cfn-lint and are incomplete: look the type up in Service Quotas, as
    `<type> for cluster usage`, and silence this rule when it is there.
    """
    offered = offered_cluster_instance_types(spec.region)
    if offered is None:
        return
    for group_path, group in groups(spec.hyperpod):
        for path, name in _types(group):
            if name in cluster_instance_types() and name not in offered:
                yield (
                    ("hyperpod", *group_path, *path),
                    f"found {name}, which nobody saw in {spec.region}; allowed: types offered in the Region",
                )


@rule("error", _ZONES)
def group_zone(spec: ClusterSpec) -> Iterator[Violation]:
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
    for path, group in groups(spec.hyperpod):
        zone = group.availability_zone or spec.availability_zone
        has_own_subnet = isinstance(network, ExistingNetwork) and group.subnet is not None
        if zone not in zones and not has_own_subnet:
            yield (
                ("hyperpod", *path, "availability_zone"),
                f"found {zone}; allowed: {', '.join(zones)}{otherwise}",
            )


@rule("error", _ZONES)
def group_subnet(spec: ClusterSpec) -> Iterator[Violation]:
    """A group names a subnet only in a network that exists already.

    A new VPC has no subnets yet that could be named. Name a zone of the network instead.
    """
    for path, group in groups(spec.hyperpod):
        if group.subnet is not None and isinstance(spec.network, NetworkConfig):
            yield (
                ("hyperpod", *path, "subnet"),
                f"found {group.subnet} with a new network; allowed: only with network.existing",
            )


@rule("warning", _ZONES)
def efa_across_zones(spec: ClusterSpec) -> Iterator[Violation]:
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
def lustre_efa_other_zone(spec: ClusterSpec) -> Iterator[Violation]:
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
def lustre_other_zone(spec: ClusterSpec) -> Iterator[Violation]:
    """Compute groups stand in the zone of Lustre.

    Traffic between zones is charged in both directions, and every operation takes longer.
    """
    if spec.storage.lustre is not None:
        for path, group in _compute_elsewhere(spec):
            if not (spec.storage.lustre.efa and any(map(has_efa, group.types))):
                yield path, f"found {group.availability_zone}; allowed: {spec.availability_zone}, the zone of Lustre"


@rule("warning", _LUSTRE_EFA)
def lustre_efa_unsupported_type(spec: ClusterSpec) -> Iterator[Violation]:
    """Instances with EFA can reach Lustre over it.

    FSx wants Nitro version 4 or later and leaves out trn2. Other instances with EFA (such as p4d and g5)
    mount the file system over TCP, at 100 Gbps at most.
    """
    if spec.storage.lustre is not None and spec.storage.lustre.efa:
        for index, group in enumerate(spec.hyperpod.compute):
            for path, name in _types(group):
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


def repeated(values: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str, Path]]:
    """Values that stood before: where they stand, the values, and where their like stands first."""
    first: dict[str, Path] = {}
    for path, value in values:
        if value in first:
            yield path, value, first[value]
        else:
            first[value] = path


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, if any is near."""
    close = difflib.get_close_matches(found, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


_ONLY_CONTINUOUS = "only with continuous provisioning (slurm_configuration: api, no slurm_config_strategy)"


def _named(group: InstanceGroup) -> Group:
    # Every instance group is of one of the three kinds, which all have a name, a type and a count.
    return cast(Group, group)


def _types(group: InstanceGroup) -> list[tuple[Path, str]]:
    found = _named(group).type
    if isinstance(found, str):
        return [(("type",), found)]
    return [(("type", index), name) for index, name in enumerate(found)]


def _of_shape(where: str | Path, name: str, value: str | int | None) -> Iterator[Violation]:
    if value is not None and (text := problem("sagemaker", name, value)):
        yield where, text


def _two_controllers(config: HyperPodConfig) -> bool:
    return config.slurm_configuration != "api" and config.controller.count == 2


def _partition_path(index: int, group: ComputeGroup) -> Path:
    return ("compute", index, "name" if group.partition is None else "partition")


def _compute_elsewhere(spec: ClusterSpec) -> Iterator[tuple[Path, ComputeGroup]]:
    """Compute groups outside of the cluster's own zone, where its file systems are."""
    for index, group in enumerate(spec.hyperpod.compute):
        if group.availability_zone not in (None, spec.availability_zone):
            yield ("hyperpod", "compute", index, "availability_zone"), group
