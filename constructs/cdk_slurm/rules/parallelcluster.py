"""Rules of AWS ParallelCluster: what its schema and its validators hold, said before anything is deployed.

tests/oracle/test_parallelcluster.py asks ParallelCluster itself whether it is of the same opinion.
"""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.likeness import did_you_mean, repeated
from cdk_slurm.rules.service_model import shape
from cdk_slurm.spec import (
    CapacityReservation,
    ComputeResource,
    CustomAction,
    HeadNode,
    LoginPool,
    ParallelClusterConfig,
    ParallelClusterSpec,
    Path,
    Queue,
)
from cdk_slurm.spec.finding import dotted

_UG = "https://docs.aws.amazon.com/parallelcluster/latest/ug/"
_SCHEDULING = _UG + "Scheduling-v3.html"
_HEAD_NODE = _UG + "HeadNode-v3.html"
_LOGIN_NODES = _UG + "LoginNodes-v3.html"
_CAPACITY_BLOCKS = _UG + "launch-instances-capacity-blocks.html"
_SHARED_STORAGE = _UG + "SharedStorage-v3.html"

#: https://docs.aws.amazon.com/parallelcluster/latest/ug/Scheduling-v3.html
_MOST_QUEUES = _MOST_COMPUTE_RESOURCES = 50
_NAME = "[a-z][a-z0-9-]{0,24}"

#: With accounting, the database's tables are named after the cluster.
_LONGEST_NAME, _LONGEST_NAME_WITH_ACCOUNTING = 60, 40

_LOG_RETENTION_DAYS = (0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653)

#: GiB of ParallelCluster's images.
_SMALLEST_ROOT_VOLUME_GIB = 45


def has_efa(resource: ComputeResource) -> bool:
    """Whether the instances of a compute resource have EFA: as is said, or wherever all of its types can have it."""
    if resource.efa is not None:
        return resource.efa
    return all((facts := instance_facts(name)) is not None and facts.efa_interfaces for name in resource.types)


def in_placement_group(queue: Queue) -> bool:
    """Whether a queue's instances are in a placement group: as is said, or where EFA is and nobody reserved."""
    if queue.placement_group is not None:
        return queue.placement_group
    return any(map(has_efa, queue.compute)) and not _is_reserved(queue)


def _is_reserved(queue: Queue) -> bool:
    return queue.capacity == "capacity_block" or any(one.capacity_reservation for one in queue.compute)


# The cluster


@rule("error", _UG + "pcluster.create-cluster-v3.html")
def pcluster_name(spec: ParallelClusterSpec) -> Iterator[Violation]:
    """The name of a ParallelCluster cluster is letters, digits and hyphens.

    It begins with a letter and has 60 characters at most, or 40 with accounting.
    """
    most = _LONGEST_NAME_WITH_ACCOUNTING if spec.accounting_database else _LONGEST_NAME
    if not re.fullmatch(f"[a-zA-Z][a-zA-Z0-9-]{{0,{most - 1}}}", spec.name):
        why = " with accounting" if spec.accounting_database else ""
        yield "name", f"found {spec.name!r}; allowed: 1 to {most} letters, digits and hyphens{why}, a letter first"


@rule("error", _SCHEDULING)
def pcluster_queue_count(config: ParallelClusterConfig) -> Iterator[Violation]:
    """A cluster has 50 queues and 50 compute resources at most.

    The compute resources of all queues count.
    """
    if len(config.queues) > _MOST_QUEUES:
        yield "queues", f"found {len(config.queues)}; allowed: {_MOST_QUEUES} at most"
    resources = sum(len(queue.compute) for queue in config.queues)
    if resources > _MOST_COMPUTE_RESOURCES:
        yield "queues", f"found {resources} compute resources; allowed: {_MOST_COMPUTE_RESOURCES} in all queues"


@rule("error", _SCHEDULING)
def pcluster_queue_name(config: ParallelClusterConfig) -> Iterator[Violation]:
    """Queues and compute resources have names of their own that begin with a letter.

    They are of small letters, digits and hyphens, 25 characters at most, and none is `default`: partitions and
    nodes are named after them.
    """
    queues: list[tuple[Path, str]] = [
        (("queues", index, "name"), queue.name) for index, queue in enumerate(config.queues)
    ]
    resources: list[list[tuple[Path, str]]] = [
        [(("queues", index, "compute", number, "name"), one.name) for number, one in enumerate(queue.compute)]
        for index, queue in enumerate(config.queues)
    ]
    for named in (queues, *resources):
        for path, name in named:
            if name == "default" or not re.fullmatch(_NAME, name):
                yield path, f"found {name!r}; allowed: 1 to 25 of a to z, 0 to 9 and '-', a letter first, not default"
        for path, name, first in repeated(named):
            yield path, f"found {name}, as {dotted(first)}; allowed: each name once"


@rule("error", _HEAD_NODE)
def pcluster_instance_type(config: ParallelClusterConfig) -> Iterator[Violation]:
    """An instance type is one of EC2's.

    The list is that of the installed botocore: for a newer type, upgrade it. HyperPod's types have a prefix `ml.`,
    which EC2's have not.
    """
    legal = shape("ec2", "InstanceType")["enum"]
    for path, name in _types(config):
        if name not in legal:
            bare = name.removeprefix("ml.")
            hint = f"; did you mean {bare}?" if name.startswith("ml.") and bare in legal else did_you_mean(name, legal)
            yield path, f"found {name!r}{hint} allowed: an instance type of EC2, such as m5.xlarge"


@rule("error", _UG + "HeadNode-v3.html#HeadNode-v3-LocalStorage")
def pcluster_root_volume(config: ParallelClusterConfig) -> Iterator[Violation]:
    """A root volume is as large as ParallelCluster's images.

    They have 45 GiB.
    """
    sizes: list[tuple[Path, int]] = [(("head_node", "root_volume_gib"), config.head_node.root_volume_gib)]
    sizes += [(("queues", index, "root_volume_gib"), one.root_volume_gib) for index, one in enumerate(config.queues)]
    for path, size in sizes:
        if size < _SMALLEST_ROOT_VOLUME_GIB:
            yield path, f"found {size}; allowed: {_SMALLEST_ROOT_VOLUME_GIB} or more"


@rule("error", _UG + "Monitoring-v3.html")
def pcluster_log_retention(config: ParallelClusterConfig) -> Iterator[Violation]:
    """Logs are kept for as many days as CloudWatch knows.

    0 keeps them for ever.
    """
    if config.log_retention_days not in _LOG_RETENTION_DAYS:
        allowed = ", ".join(map(str, _LOG_RETENTION_DAYS))
        yield "log_retention_days", f"found {config.log_retention_days}; allowed: {allowed}"


@rule("error", _UG + "Scheduling-v3.html#yaml-Scheduling-SlurmSettings-ScaledownIdletime")
def pcluster_scaledown(config: ParallelClusterConfig) -> Iterator[Violation]:
    """Idle nodes stop after some minutes, or never with -1.

    Minutes, whatever the tutorials say of seconds.
    """
    if config.scaledown_idle_minutes < -1 or config.scaledown_idle_minutes == 0:
        yield "scaledown_idle_minutes", f"found {config.scaledown_idle_minutes}; allowed: 1 or more, or -1 for never"


@rule("error", _UG + "slurm-configuration-settings-v3.html")
def pcluster_slurm_setting(config: ParallelClusterConfig) -> Iterator[Violation]:
    """Slurm's parameters that ParallelCluster sets are left to it.

    It refuses a cluster that sets them itself.
    """
    denied = {name.lower() for name in _DENIED_SLURM_SETTINGS}
    if config.accounting_database:
        denied |= {name.lower() for name in _DENIED_WITH_ACCOUNTING}
    for name in config.slurm_settings:
        if name.lower() in denied:
            yield ("slurm_settings", name), f"found {name}, which ParallelCluster sets; allowed: others"


#: https://docs.aws.amazon.com/parallelcluster/latest/ug/slurm-configuration-settings-v3.html
_DENIED_SLURM_SETTINGS = (
    *("Epilog", "GresTypes", "LaunchParameters", "Prolog", "ReconfigFlags", "ResumeFailProgram", "ResumeProgram"),
    *("ResumeTimeout", "SlurmctldHost", "SlurmctldLogFile", "SlurmctldParameters", "SlurmdLogFile", "SlurmUser"),
    *("SuspendExcNodes", "SuspendProgram", "SuspendTime", "TaskPlugin", "TreeWidth"),
)
_DENIED_WITH_ACCOUNTING = (
    *("AccountingStorageType", "AccountingStorageHost", "AccountingStoragePort", "AccountingStorageUser"),
    "JobAcctGatherType",
)


# Queues


@rule("error", _UG + "Scheduling-v3.html#yaml-Scheduling-SlurmQueues-ComputeResources-MaxCount")
def pcluster_count(resource: ComputeResource) -> Iterator[Violation]:
    """A compute resource has at least one instance at the most, and no more at all times than at the most.

    `min_count` run at all times, `max_count` when there is work.
    """
    if resource.max_count < 1:
        yield "max_count", f"found {resource.max_count}; allowed: 1 or more"
    if not 0 <= resource.min_count <= max(resource.max_count, 0):
        yield "min_count", f"found {resource.min_count}; allowed: 0 to max_count, which is {resource.max_count}"


@rule("error", _UG + "efa-v3.html")
def pcluster_efa(resource: ComputeResource) -> Iterator[Violation]:
    """EFA is on types that have it.

    Left out, it is on exactly there.
    """
    without = [name for name in resource.types if (facts := instance_facts(name)) and not facts.efa_interfaces]
    if resource.efa and without:
        yield "efa", f"found true with {', '.join(without)}; allowed: only on types with EFA, such as p5.48xlarge"


@rule("warning", _UG + "efa-v3.html")
def pcluster_efa_off(resource: ComputeResource) -> Iterator[Violation]:
    """Types that have EFA use it.

    Without it nodes talk over TCP, and training over many nodes is slow.
    """
    with_efa = [name for name in resource.types if (facts := instance_facts(name)) and facts.efa_interfaces]
    if resource.efa is False and with_efa:
        yield "efa", f"found false with {', '.join(with_efa)}; allowed without this warning: true, or nothing"


@rule("error", _CAPACITY_BLOCKS)
def pcluster_capacity_block(queue: Queue) -> Iterator[Violation]:
    """A queue in a Capacity Block has the reservation's id, and all of its nodes at all times.

    Its instances are of one type, and placed by the block: no placement group.
    """
    if queue.capacity != "capacity_block":
        return
    for index, one in enumerate(queue.compute):
        where = ("compute", index)
        if one.capacity_reservation is None or one.capacity_reservation.id is None:
            yield (*where, "capacity_reservation"), "found no id; allowed: the id of a Capacity Block"
        if one.min_count != one.max_count:
            found = f"found {one.min_count} and max_count {one.max_count}"
            yield (*where, "min_count"), f"{found}; allowed: the same in a Capacity Block"
    if queue.placement_group:
        yield "placement_group", "found true in a Capacity Block; allowed: false, or nothing"


@rule("error", _UG + "launch-instances-odcr-v3.html")
def pcluster_reservation(reservation: CapacityReservation) -> Iterator[Violation]:
    """A reservation is named by its id or by the ARN of a resource group, and not by both.

    An empty text is neither.
    """
    if (reservation.id is None) == (reservation.resource_group is None):
        yield (), "found both id and resource_group, or neither; allowed: one of them"
    if reservation.id is not None and not re.fullmatch("cr-[0-9a-f]{17}", reservation.id):
        yield "id", f"found {reservation.id!r}; allowed: text of the form cr-0123456789abcdef0"
    group = reservation.resource_group
    if group is not None and not re.fullmatch(r"arn:aws[a-z-]*:resource-groups:[a-z0-9-]+:\d{12}:group/.+", group):
        yield "resource_group", f"found {group!r}; allowed: arn:aws:resource-groups:<region>:<account>:group/<name>"


@rule("error", _UG + "launch-instances-odcr-v3.html")
def pcluster_reserved_types(queue: Queue) -> Iterator[Violation]:
    """A reservation by id is for one instance type, and for instances that are not spot ones.

    EC2 reserves instances of one type, and sells spot ones from what nobody reserved.
    """
    for index, one in enumerate(queue.compute):
        if one.capacity_reservation is None:
            continue
        path = ("compute", index, "capacity_reservation")
        if not isinstance(one.type, str) and one.capacity_reservation.id is not None:
            yield path, f"found a reservation with {', '.join(one.types)} in a list; allowed: with one type"
        if queue.capacity == "spot":
            yield path, "found a reservation in a queue of spot instances; allowed: with ondemand or capacity_block"


@rule("error", _UG + "Scheduling-v3.html#yaml-Scheduling-SlurmQueues-ComputeResources-Instances")
def pcluster_types_alike(resource: ComputeResource) -> Iterator[Violation]:
    """Instance types of one compute resource have as many CPUs and GPUs, and all EFA or none of it.

    Slurm takes its nodes for alike.
    """
    known = [(name, facts) for name in resource.types if (facts := instance_facts(name))]
    for what, values in (
        ("CPUs", [facts.vcpus for _, facts in known]),
        ("GPUs", [facts.gpus for _, facts in known]),
    ):
        if len(set(values)) > 1:
            told = ", ".join(f"{name} with {value}" for (name, _), value in zip(known, values, strict=True))
            yield "type", f"found {told} {what}; allowed: types with as many {what}"


@rule("warning", _UG + "networking-placement-groups-v3.html")
def pcluster_placement_group(queue: Queue) -> Iterator[Violation]:
    """Reserved instances are placed by their reservation.

    A placement group works with a reservation only if that was made in it, which nobody can see from here.
    """
    if queue.placement_group and queue.capacity != "capacity_block" and _is_reserved(queue):
        yield "placement_group", "found true beside a reservation; allowed without this warning: false, or nothing"


# Head node, login nodes and scripts


@rule("warning", _UG + "HeadNode-v3.html#yaml-HeadNode-Ssh-AllowedIps")
def pcluster_ssh_from_everywhere(head: HeadNode) -> Iterator[Violation]:
    """SSH is let in from addresses of one's own.

    A head node that everybody may reach is tried by everybody.
    """
    if head.ssh_from is not None and head.ssh_from.endswith("/0"):
        yield "ssh_from", f"found {head.ssh_from}; allowed without this warning: addresses of one's own"


@rule("error", _LOGIN_NODES)
def pcluster_login(login: LoginPool) -> Iterator[Violation]:
    """A pool of login nodes has a name and some instances.

    People have 3 minutes at least, and 120 at most, to finish before an instance goes.
    """
    if not re.fullmatch(_NAME, login.name):
        yield "name", f"found {login.name!r}; allowed: 1 to 25 of a to z, 0 to 9 and '-', a letter first"
    if login.count < 1:
        yield "count", f"found {login.count}; allowed: 1 or more"
    if not 3 <= login.grace_period_minutes <= 120:
        yield "grace_period_minutes", f"found {login.grace_period_minutes}; allowed: 3 to 120"


@rule("error", _UG + "custom-bootstrap-actions-v3.html")
def pcluster_script_address(action: CustomAction) -> Iterator[Violation]:
    """A script is fetched from S3 or over TLS.

    Nodes run it as root: what is fetched over plain HTTP is anybody's.
    """
    if not re.fullmatch(r"s3://[^/]+/.+|https://.+", action.script):
        yield "script", f"found {action.script!r}; allowed: s3://bucket/key, or https://"


@rule("warning", _UG + "custom-bootstrap-actions-v3.html")
def pcluster_script_moves(action: CustomAction) -> Iterator[Violation]:
    """A script is the same for every node, today and tomorrow.

    One from a moving branch is another one on the node that replaces a faulty one. Keep it in S3, under a name that
    changes when it does.
    """
    if re.search(r"/(main|master|latest|HEAD)/", action.script):
        yield "script", f"found {action.script!r}; allowed without this warning: an address whose content never changes"


# What is described beside the cluster


@rule("error", _SHARED_STORAGE)
def pcluster_openzfs_volume(spec: ParallelClusterSpec) -> Iterator[Violation]:
    """ParallelCluster mounts an OpenZFS volume, and knows it by its id.

    Of a file system that exists already, `root_volume` says it.
    """
    openzfs = spec.storage.openzfs
    if openzfs is not None and getattr(openzfs, "root_volume", "a new one") is None:
        path = ("storage", "openzfs", "root_volume")
        yield path, "found none; allowed: the id of the volume, such as fsvol-0123456789abcdef0"


@rule("error", _HEAD_NODE)
def pcluster_public_subnet(spec: ParallelClusterSpec) -> Iterator[Violation]:
    """A head node in the internet needs a public subnet.

    A network that exists already names it in `public_subnet`.
    """
    missing = getattr(spec.network, "public_subnet", "a new one") is None
    if spec.parallelcluster.head_node.subnet == "public" and missing:
        yield (
            ("parallelcluster", "head_node", "subnet"),
            "found public; allowed: with network.public_subnet, or private",
        )


@rule("error", _UG + "cluster-configuration-file-v3.html")
def pcluster_section(spec: ParallelClusterSpec) -> Iterator[Violation]:
    """Accounts, directories, mounted buckets, metrics and Studio are HyperPod's here.

    They are set up by scripts that run on HyperPod's nodes.
    """
    others: tuple[tuple[Path, object], ...] = (
        (("users",), spec.users or None),
        (("directory",), spec.directory),
        (("studio",), spec.studio),
        (("observability",), spec.observability),
        (("storage", "s3"), spec.storage.s3 or None),
    )
    for path, found in others:
        if found is not None:
            yield path, f"found {dotted(path)} with kind parallelcluster; allowed: with kind hyperpod"


def _types(config: ParallelClusterConfig) -> Iterator[tuple[Path, str]]:
    """Every instance type, and where it is written."""
    yield ("head_node", "type"), config.head_node.type
    if config.login:
        yield ("login", "type"), config.login.type
    for index, queue in enumerate(config.queues):
        for number, one in enumerate(queue.compute):
            where: Path = ("queues", index, "compute", number, "type")
            if isinstance(one.type, str):
                yield where, one.type
            else:
                yield from (((*where, place), name) for place, name in enumerate(one.type))
