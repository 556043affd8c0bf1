"""Rules of the network: ranges, zones, and room for all nodes."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.hyperpod.instance_groups import located_groups
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.likeness import repeated
from cdk_slurm.spec import ClusterSpec, ExistingNetwork, HyperPodSpec, LustreConfig, NetworkConfig, Path
from cdk_slurm.spec.finding import dotted

_VPC = "https://docs.aws.amazon.com/vpc/latest/userguide/"
_CIDR_BLOCKS = _VPC + "vpc-cidr-blocks.html"
_ASSOCIATIONS = _CIDR_BLOCKS + "#add-cidr-block-restrictions"
_SUBNETS = _VPC + "subnet-sizing.html"
_HYPERPOD_VPC = (
    "https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-prerequisites.html"
    "#sagemaker-hyperpod-prerequisites-optional-vpc"
)

_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_SHARED = IPv4Network("100.64.0.0/10")
_NEVER_ASSIGNED = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
_DOCKER = IPv4Network("172.17.0.0/16")

RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

#: Addresses of a subnet that AWS keeps for itself.
_RESERVED_ADDRESSES = 5
#: Addresses kept free beside nodes and Lustre's servers: OpenZFS, the accounting database, endpoints.
_SPARE_ADDRESSES = 8


@rule("error", _CIDR_BLOCKS)
def cidr_syntax(config: NetworkConfig) -> Iterator[Violation]:
    """A range is an IPv4 address, a slash and the length of its prefix.

    Bits after the prefix are zero: AWS would quietly change them, and the file would no longer say what is
    there.
    """
    for path, cidr in _cidrs(config):
        if text := _syntax_problem(cidr):
            yield path, text


@rule("error", _CIDR_BLOCKS)
def cidr_size(config: NetworkConfig) -> Iterator[Violation]:
    """A range of a VPC is a /16 to a /28.

    A /16 has 65,536 addresses and a /28 has 16. For more than a /16 spread the nodes over zones.
    """
    for path, found in _ranges(config):
        if not 16 <= found.prefixlen <= 28:
            yield path, f"found {found}; allowed: /16 to /28"


@rule("error", _ASSOCIATIONS)
def cidr_reserved(config: NetworkConfig) -> Iterator[Violation]:
    """A range of a VPC is none of the ranges with a special meaning.

    Loopback, link-local and multicast addresses cannot be assigned to a VPC.
    """
    for path, found in _ranges(config):
        if any(found.overlaps(never) for never in _NEVER_ASSIGNED):
            yield path, f"found {found}; allowed: {_private_text()}"


@rule("warning", _CIDR_BLOCKS)
def cidr_public(config: NetworkConfig) -> Iterator[Violation]:
    """A range of a VPC is a private one.

    AWS takes public addresses too, but the machines on the internet that own them become unreachable.
    """
    for path, found in _ranges(config):
        usual = any(found.subnet_of(private) for private in (*_PRIVATE, _SHARED))
        if not usual and not any(found.overlaps(never) for never in _NEVER_ASSIGNED):
            yield path, f"found {found}; allowed: {_private_text()}"


@rule("warning", _CIDR_BLOCKS)
def cidr_docker(config: NetworkConfig) -> Iterator[Violation]:
    """A range leaves 172.17.0.0/16 to Docker.

    Docker's bridge on every node has it, so that nodes could not reach each other there. AWS names SageMaker
    as a service that conflicts with it.
    """
    for path, found in _ranges(config):
        if found.overlaps(_DOCKER):
            yield path, f"found {found}; allowed: ranges outside of {_DOCKER}, which is Docker's"


@rule("error", _CIDR_BLOCKS)
def cidr_overlap(config: NetworkConfig) -> Iterator[Violation]:
    """Ranges of a network do not overlap.

    AWS refuses a range that overlaps one of the VPC's. Ranges of peered VPCs must not overlap either, which
    nobody can see from here.
    """
    for (first_path, first), (path, found) in combinations(_ranges(config), 2):
        if found.overlaps(first):
            yield path, f"found {found}, which overlaps {dotted(first_path)} ({first}); allowed: ranges of their own"


@rule("error", _ASSOCIATIONS)
def cidr_association(config: NetworkConfig) -> Iterator[Violation]:
    """A private range can be added to a VPC whose first range is the public one.

    AWS refuses private ranges of another family than the first (10/8, 172.16/12, 192.168/16), parts of
    10.0.0.0/16 beside 10.0.0.0/15, and 172.31.0.0/16. Ranges of 100.64.0.0/10 can always be added.
    """
    ranges = dict(_ranges(config))
    primary = ranges.pop(("public_cidr",), None)
    if primary is None:
        return
    for path, added in ranges.items():
        others = [primary, *(found for other, found in ranges.items() if other != path)]
        if allowed := _instead_of(added, primary, others):
            yield path, f"found {added} in a VPC of {primary}; allowed: {allowed}"


@rule("error", _SUBNETS)
def public_cidr_size(config: NetworkConfig) -> Iterator[Violation]:
    """The public range is large enough for a public subnet in each zone.

    Public subnets are its sixteenths, and no subnet is smaller than a /28.
    """
    for path, found in _ranges(config):
        if path == ("public_cidr",) and 24 < found.prefixlen <= 28:
            yield path, f"found {found}; allowed: /16 to /24"


@rule("error", "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html")
def flow_log_retention(config: NetworkConfig) -> Iterator[Violation]:
    """Flow logs are kept for one of the periods that CloudWatch Logs knows.

    Take the next longer one.
    """
    if config.flow_log_retention_days not in RETENTION_DAYS:
        yield (
            "flow_log_retention_days",
            f"found {config.flow_log_retention_days}; allowed: {', '.join(map(str, RETENTION_DAYS))}",
        )


@rule("error", _SUBNETS)
def additional_zones_unique(config: NetworkConfig) -> Iterator[Violation]:
    """An additional zone stands in the list once.

    Each gives the network one private subnet. For more addresses give the zone a larger range.
    """
    zones = (
        (("additional_zones", index, "availability_zone"), zone.availability_zone)
        for index, zone in enumerate(config.additional_zones)
    )
    for path, zone, first in repeated(zones):
        yield path, f"found {zone}, as {dotted(first)}; allowed: zones that differ"


@rule("error", _SUBNETS)
def additional_zone_is_main(spec: ClusterSpec) -> Iterator[Violation]:
    """An additional zone is another than the cluster's own.

    The cluster's own zone has its private subnet already, `network.private_cidr`.
    """
    if isinstance(spec.network, NetworkConfig):
        for index, zone in enumerate(spec.network.additional_zones):
            if zone.availability_zone == spec.availability_zone:
                yield (
                    ("network", "additional_zones", index, "availability_zone"),
                    f"found {zone.availability_zone}, the cluster's own zone; allowed: other zones",
                )


@rule("error", _SUBNETS)
def existing_subnet_cidr(network: ExistingNetwork) -> Iterator[Violation]:
    """The range of an existing subnet is one that a subnet can have.

    `aws ec2 describe-subnets` shows it as CidrBlock. Leave it out, and nobody checks that the nodes fit.
    """
    cidr = network.private_subnet_cidr
    if cidr is None:
        return
    found = _parsed(cidr)
    if text := _syntax_problem(cidr):
        yield "private_subnet_cidr", text
    elif found and not 16 <= found.prefixlen <= 28:
        yield "private_subnet_cidr", f"found {found}; allowed: /16 to /28"


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html")
def existing_subnets_unique(network: ExistingNetwork) -> Iterator[Violation]:
    """Additional subnets are others than the private subnet, each named once.

    They are there for their zones, which an accounting database needs two of.
    """
    others = network.additional_private_subnets
    subnets: list[Path] = [
        ("private_subnet",),
        *(("additional_private_subnets", index) for index in range(len(others))),
    ]
    for path, subnet, first in repeated(zip(subnets, (network.private_subnet, *others), strict=True)):
        yield path, f"found {subnet}, as {dotted(first)}; allowed: subnets that differ"


@rule("error", _HYPERPOD_VPC)
def subnet_addresses(spec: ClusterSpec) -> Iterator[Violation]:
    """A private subnet has an address for every node.

    On Slurm an instance takes one for each network interface: 32 for a P5. AWS keeps 5, Lustre has one for
    each file and metadata server, and 8 are left for OpenZFS, a database and endpoints. A subnet cannot grow.
    """
    for path, cidr, zone in _private_subnets(spec):
        subnet, nodes = _parsed(cidr), _node_addresses(spec, zone)
        others = _lustre_servers(spec) + _SPARE_ADDRESSES if zone == spec.availability_zone else 0
        needed = nodes + others + _RESERVED_ADDRESSES
        if subnet is not None and subnet.num_addresses < needed:
            prefix = 32 - (needed - 1).bit_length()
            larger = f"/{prefix} or larger" if prefix >= 16 else "no range is so large; spread the groups over zones"
            yield (
                path,
                f"found {subnet} with {subnet.num_addresses} addresses, and {needed} are needed ({nodes} for "
                f"instances, {others} for file systems and others, {_RESERVED_ADDRESSES} for AWS); allowed: {larger}",
            )


def _cidrs(config: NetworkConfig) -> Iterator[tuple[Path, str]]:
    yield ("public_cidr",), config.public_cidr
    yield ("private_cidr",), config.private_cidr
    for index, zone in enumerate(config.additional_zones):
        yield ("additional_zones", index, "private_cidr"), zone.private_cidr


def _ranges(config: NetworkConfig) -> Iterator[tuple[Path, IPv4Network]]:
    """The ranges that can be read; CIDR_SYNTAX refuses the others."""
    for path, cidr in _cidrs(config):
        if (found := _parsed(cidr)) is not None:
            yield path, found


def _parsed(cidr: str) -> IPv4Network | None:
    try:
        return IPv4Network(cidr, strict=False)
    except ValueError:
        return None


def _syntax_problem(cidr: str) -> str | None:
    found = _parsed(cidr)
    if found is None:
        return f"found {cidr}; allowed: four numbers up to 255 and a prefix up to 32, such as 10.0.0.0/16"
    if str(found) != cidr:
        return f"found {cidr}, with bits set after the prefix; allowed: {found}"
    return None


def _private_text() -> str:
    return f"ranges of {', '.join(map(str, _PRIVATE))} or {_SHARED}"


def _instead_of(added: IPv4Network, primary: IPv4Network, others: list[IPv4Network]) -> str | None:
    """What may be added to a VPC instead of a range that AWS refuses; None when it does not refuse it."""
    family = _family(primary)
    own = f"ranges of {family} or {_SHARED}" if family else f"ranges of {_SHARED}"
    if _family(added) not in (None, family) or added.overlaps(IPv4Network("198.19.0.0/16")):
        return own
    near = next((found for found in others if found.overlaps(IPv4Network("10.0.0.0/15"))), None)
    if near and added.overlaps(IPv4Network("10.0.0.0/16")):
        return f"{own}, but beside {near} none of 10.0.0.0/16"
    if family and added.overlaps(IPv4Network("172.31.0.0/16")):
        return f"{own}, but none of 172.31.0.0/16"
    return None


def _family(found: IPv4Network) -> IPv4Network | None:
    return next((private for private in _PRIVATE if found.overlaps(private)), None)


def _private_subnets(spec: ClusterSpec) -> Iterator[tuple[Path, str, str]]:
    """Private subnets whose range is known: where it is written, the range, the zone."""
    if isinstance(spec.network, NetworkConfig):
        yield ("network", "private_cidr"), spec.network.private_cidr, spec.availability_zone
        for index, zone in enumerate(spec.network.additional_zones):
            yield ("network", "additional_zones", index, "private_cidr"), zone.private_cidr, zone.availability_zone
    elif spec.network.private_subnet_cidr is not None:
        yield ("network", "private_subnet_cidr"), spec.network.private_subnet_cidr, spec.availability_zone


def _node_addresses(spec: ClusterSpec, zone: str) -> int:
    own = spec.network.private_subnet if isinstance(spec.network, ExistingNetwork) else None
    if not isinstance(spec, HyperPodSpec):
        return 0
    total = 0
    for _, group in located_groups(spec.hyperpod):
        if (group.availability_zone or spec.availability_zone) == zone and group.subnet in (None, own):
            total += max(group.count, 0) * max(
                facts.addresses if (facts := instance_facts(name)) else 1 for name in group.types
            )
    return total


def _lustre_servers(spec: ClusterSpec) -> int:
    """Servers of a new Lustre file system, each with an address; 0 when unknown.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/using-fsx-lustre.html#ip-addesses-for-fs
    """
    lustre = spec.storage.lustre
    if not isinstance(lustre, LustreConfig):
        return 0
    capacity = lustre.resolved_capacity_gib
    if capacity is None:  # INTELLIGENT_TIERING: a server for each 4000 MB/s
        return 1 - (-(lustre.throughput_mbps or 0) // 4000)
    throughput = lustre.resolved_throughput_mbps_per_tib
    gib_per_server = {"SCRATCH_1": 3600}.get(lustre.deployment_type, 2400)
    if lustre.storage_class == "HDD":
        gib_per_server = 6000 if throughput == 12 else 1800
    elif lustre.efa and throughput:
        gib_per_server = max(4800 * 1000 // throughput, 1)
    # One metadata server for each 12000 metadata IOPS, which by default follow capacity.
    metadata_iops = lustre.metadata_iops or capacity // 24000 * 12000
    return max(-(-metadata_iops // 12000), 1) - (-capacity // gib_per_server)
