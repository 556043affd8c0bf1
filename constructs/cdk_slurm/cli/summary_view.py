"""How a summary looks."""

import shlex
from collections.abc import Iterator, Sequence

from cdk_slurm.assembly import Assembly
from cdk_slurm.cli.observability_view import ON_DESTROY, observability_rows
from cdk_slurm.cli.tables import Row, plain_console, print_table
from cdk_slurm.rules.hyperpod import partition_of
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.studio import studio_people
from cdk_slurm.spec import (
    AccountingDatabaseConfig,
    ClusterSpec,
    ComputeGroup,
    Data,
    ExistingNetwork,
    HyperPodConfig,
    HyperPodSpec,
    LustreConfig,
    OpenZfsConfig,
    ParallelClusterConfig,
    ParallelClusterSpec,
    Storage,
    StudioConfig,
    User,
)

_NOT_OURS = "not touched"


def show(spec: ClusterSpec, assembly: Assembly, file: str) -> None:
    """Print a summary of a cluster file and the assembly that was synthesised of it."""
    console = plain_console()
    console.print(spec.name, style="bold cyan")
    print_table(console, "", ("", ""), _cluster(spec))
    counted = ("Instance type", "Count", "GPUs each", "GPUs", "Partition")
    if isinstance(spec, HyperPodSpec):
        print_table(console, "Instance groups", ("Name", "Node type", *counted), _instance_groups(spec))
    elif isinstance(spec, ParallelClusterSpec):
        print_table(console, "Nodes", ("Name", "Node type", *counted), _nodes(spec.parallelcluster))
    print_table(console, "Network", ("Part", "Range or id", "Zone"), _network(spec))
    print_table(console, "Storage", ("", "Type", "Capacity", "Throughput", "Mount", "On destroy"), _storage(spec))
    if spec.storage.s3:
        print_table(console, "Mounted buckets", ("Name", "Prefix", "Mount", "Access"), _buckets(spec.storage))
    if spec.data:
        directories = _associations(spec.data, spec.storage)
        print_table(console, f"Data: {_bucket(spec.data)}", ("Directory", "Prefix", "Imports", "Exports"), directories)
    print_table(console, "Stacks", ("Name", "Resources", "Protected", "Waits for"), _stacks(assembly))
    print_table(console, "Kept when a stack is destroyed", ("Stack", "Resources"), _kept(assembly))
    print_table(console, "Policy packs", ("Pack", "Open findings", "Acknowledged"), _packs(assembly))
    console.print("Next", style="bold")
    console.print(f"  cdk deploy --all --concurrency 4 -c cluster={shlex.quote(file)}", soft_wrap=True)
    if isinstance(spec, ParallelClusterSpec):
        console.print(f"  cdk-slurm pcluster render {shlex.quote(file)} --deployed", soft_wrap=True)


def _cluster(spec: ClusterSpec) -> Iterator[Row]:
    yield "Kind", "SageMaker HyperPod with Slurm" if spec.kind == "hyperpod" else "AWS ParallelCluster"
    yield "Region", f"{spec.region}, zone {spec.availability_zone}"
    yield "Account", spec.account or "the one that deploys"
    if isinstance(spec, HyperPodSpec):
        yield from _hyperpod(spec.hyperpod)
    elif isinstance(spec, ParallelClusterSpec):
        yield "Operating system", spec.parallelcluster.os
        yield "Idle nodes stop after", f"{spec.parallelcluster.scaledown_idle_minutes} minutes"
    if spec.directory:
        yield "Accounts", f"{spec.directory.uri}, beside {len(spec.users)} of the file"
    if spec.studio and spec.storage.lustre:
        yield "Studio workspace", spec.studio.workspace.path_on(spec.storage.lustre.mount)
        yield "Studio domain", _domain(spec.studio, spec.users)
    if spec.observability:
        yield from observability_rows(spec.observability)


def _hyperpod(hyperpod: HyperPodConfig) -> Iterator[Row]:
    yield "Slurm configuration", hyperpod.slurm_configuration
    yield "Provisioning", "continuous" if hyperpod.continuous_provisioning else "all instances or none"
    yield "Node recovery", hyperpod.node_recovery
    if hyperpod.restrict_ssh_to_jobs:
        yield "Log in to compute nodes", "only while a job of one's own runs there"


def _nodes(cluster: ParallelClusterConfig) -> Iterator[Row]:
    yield "head", "head", cluster.head_node.type, "1", "", "", ""
    if login := cluster.login:
        yield login.name, "login", login.type, str(login.count), "", "", ""
    for queue in cluster.queues:
        for one in queue.compute:
            each, most = _gpus_each(one.types), one.max_count
            count = str(most) if one.min_count == most else f"{one.min_count} to {most}"
            gpus = (_unless_zero(each), _unless_zero(each * most))
            yield one.name, "compute", "\n".join(one.types), count, *gpus, queue.name


def _domain(studio: StudioConfig, users: Sequence[User]) -> str:
    domain = studio.domain
    if domain is None:
        return "none of ours"
    people = ", ".join(user.name for user, _ in studio_people(domain, users)) or "nobody"
    apps = " and ".join(one.replace("_", " ") for one in domain.apps)
    return f"{apps} for {people}, {ON_DESTROY[domain.removal_policy]} on destroy"


def _instance_groups(spec: HyperPodSpec) -> Iterator[Row]:
    nodes = gpus = 0
    for node_type, group in spec.hyperpod.groups:
        each = _gpus_each(group.types)
        nodes += group.count
        gpus += group.count * each
        yield (
            group.name,
            node_type,
            "\n".join(group.types),
            str(group.count),
            _unless_zero(each),
            _unless_zero(group.count * each),
            partition_of(group, spec.hyperpod.slurm_configuration) if isinstance(group, ComputeGroup) else "",
        )
    yield "Total", "", "", str(nodes), "", _unless_zero(gpus), ""


def _gpus_each(types: tuple[str, ...]) -> int:
    """Fewest GPUs that an instance of a group can have."""
    facts = [instance_facts(one) for one in types]
    return min((one.gpus if one else 0) for one in facts)


def _unless_zero(number: int) -> str:
    return str(number) if number else ""


def _network(spec: ClusterSpec) -> Iterator[Row]:
    network, zone = spec.network, spec.availability_zone
    if isinstance(network, ExistingNetwork):
        yield "Existing VPC", network.existing, ""
        yield "Private subnet", network.private_subnet, zone
        yield "Security group", network.security_group, ""
        return
    zones = [zone, *(one.availability_zone for one in network.additional_zones)]
    yield "Public subnets", network.public_cidr, ", ".join(zones)
    yield "Private subnet", network.private_cidr, zone
    for one in network.additional_zones:
        yield "Private subnet", one.private_cidr, one.availability_zone


def _storage(spec: ClusterSpec) -> Iterator[Row]:
    lustre, openzfs, database = spec.storage.lustre, spec.storage.openzfs, spec.accounting_database
    if isinstance(lustre, LustreConfig):
        yield (
            "Lustre",
            f"{lustre.deployment_type} {lustre.storage_class}",
            f"{lustre.resolved_capacity_gib} GiB" if lustre.resolved_capacity_gib else "elastic",
            _lustre_throughput(lustre),
            lustre.mount,
            ON_DESTROY[lustre.removal_policy],
        )
    elif lustre:
        yield "Lustre", lustre.existing, "", "", lustre.mount, _NOT_OURS
    if isinstance(openzfs, OpenZfsConfig):
        yield (
            "OpenZFS",
            openzfs.deployment_type,
            f"{openzfs.capacity_gib} GiB",
            f"{openzfs.throughput_mbps} MB/s",
            openzfs.mount,
            ON_DESTROY[openzfs.removal_policy],
        )
    elif openzfs:
        yield "OpenZFS", openzfs.existing, "", "", openzfs.mount, _NOT_OURS
    if isinstance(database, AccountingDatabaseConfig):
        size, kept = f"{database.storage_gib} GiB", ON_DESTROY[database.removal_policy]
        yield "Accounting", f"MariaDB db.{database.instance_type}", size, "", "", kept
    elif database:
        yield "Accounting", database.existing, "", "", "", _NOT_OURS


def _buckets(storage: Storage) -> Iterator[Row]:
    for one in storage.s3:
        yield one.bucket, one.prefix or "whole bucket", one.mount, "read" if one.read_only else "read and write"


def _lustre_throughput(lustre: LustreConfig) -> str:
    if lustre.throughput_mbps:
        return f"{lustre.throughput_mbps} MB/s"
    per_tib = lustre.resolved_throughput_mbps_per_tib
    return f"{per_tib} MB/s per TiB" if per_tib else ""


def _bucket(data: Data) -> str:
    if data.bucket == "new":
        return f"a new bucket, {ON_DESTROY[data.removal_policy]} on destroy"
    return f"the existing bucket {data.bucket}"


def _associations(data: Data, storage: Storage) -> Iterator[Row]:
    mount = storage.lustre.mount if storage.lustre else ""
    for one in data.associations:
        directory = f"{mount}{one.path}".rstrip("/")
        yield directory, one.prefix or "whole bucket", _events(one.import_events), _events(one.export_events)
    if not data.associations:
        yield "none", "", "", ""


def _events(events: tuple[str, ...]) -> str:
    return ", ".join(event.lower() for event in events) or "nothing"


def _stacks(assembly: Assembly) -> Iterator[Row]:
    for stack in assembly.stacks:
        protected = "yes" if stack.termination_protection else "no"
        yield stack.name, str(stack.resources), protected, ", ".join(stack.waits_for)


def _kept(assembly: Assembly) -> Iterator[Row]:
    for stack in assembly.stacks:
        types = (
            f"{number} {kind.removeprefix('AWS::').replace('::', ' ')}" for kind, number in sorted(stack.kept.items())
        )
        if stack.kept:
            yield stack.name, ", ".join(types)


def _packs(assembly: Assembly) -> Iterator[Row]:
    if assembly.packs is None:
        yield "none was applied", "", ""
    elif not assembly.packs:
        yield "all", "0", "0"
    else:
        for pack in assembly.packs:
            yield pack.name, str(pack.open), str(pack.acknowledged)
