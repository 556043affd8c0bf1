"""Rules of an FSx for OpenZFS file system."""

from collections.abc import Iterator
from dataclasses import dataclass

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.spec import ClusterSpec, ExistingNetwork, OpenZfsConfig

_GUIDE = "https://docs.aws.amazon.com/fsx/latest/OpenZFSGuide"

_CAPACITY_GIB = (64, 524288)
_IOPS_PER_GIB = (3, 1000)

#: Disk IOPS that a file server of either generation sustains for each MB/s of throughput.
_IOPS_PER_MBPS = 39.0625


@dataclass(frozen=True, kw_only=True)
class _FileServers:
    """What a generation of file servers can be given."""

    throughputs_mbps: tuple[int, ...]
    most_iops: int
    burst_iops: int


_FIRST = _FileServers(
    throughputs_mbps=(64, 128, 256, 512, 1024, 2048, 3072, 4096), most_iops=160_000, burst_iops=40_000
)
_SECOND = _FileServers(
    throughputs_mbps=(160, 320, 640, 1280, 2560, 3840, 5120, 7680, 10240), most_iops=400_000, burst_iops=100_000
)
_FILE_SERVERS = {
    "SINGLE_AZ_1": _FIRST,
    "SINGLE_AZ_HA_1": _FIRST,
    "SINGLE_AZ_2": _SECOND,
    "SINGLE_AZ_HA_2": _SECOND,
    "MULTI_AZ_1": _SECOND,
}

#: Regions that the user guide lists without SINGLE_AZ_HA_1, and without SINGLE_AZ_2 and SINGLE_AZ_HA_2.
_WITHOUT_HA_1 = frozenset({
    "ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1", "eu-west-1",
    "us-east-1", "us-east-2", "us-gov-west-1", "us-west-2",
})  # fmt: skip
_WITHOUT_SECOND_GENERATION = frozenset({
    "ap-east-1", "ap-east-2", "ap-northeast-3", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5",
    "ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-south-1", "us-gov-east-1",
})  # fmt: skip

#: Regions where the user guide says 50 IOPS a GiB are the most.
_FEW_IOPS_PER_GIB = frozenset({
    "af-south-1", "ap-east-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2", "ap-southeast-3",
    "ca-central-1", "eu-north-1", "eu-south-1", "eu-west-2", "eu-west-3", "il-central-1", "me-central-1",
    "me-south-1", "sa-east-1",
})  # fmt: skip

#: Default quota of capacity in GiB, and what it is in some Regions.
_QUOTA_GIB = 65536
_LARGER_QUOTA_GIB = {"us-east-1": 262144, "us-east-2": 262144, "us-west-2": 262144}


@rule("error", f"{_GUIDE}/availability-durability.html")
def openzfs_multi_az(openzfs: OpenZfsConfig) -> Iterator[Violation]:
    """MULTI_AZ_1 is not supported here.

    It needs a subnet in a second zone and route tables to write to, while all nodes are in one zone.
    SINGLE_AZ_HA_2 also fails over by itself, within that zone. A MULTI_AZ_1 file system that exists
    already can be named with `existing`.
    """
    if openzfs.deployment_type == "MULTI_AZ_1":
        yield (
            "deployment_type",
            "found MULTI_AZ_1; allowed: SINGLE_AZ_HA_2, SINGLE_AZ_HA_1, SINGLE_AZ_2 or SINGLE_AZ_1",
        )


@rule("error", f"{_GUIDE}/managing-throughput-capacity.html")
def openzfs_throughput(openzfs: OpenZfsConfig) -> Iterator[Violation]:
    """Throughput has a few values for each deployment type.

    It is the size of the file server, and bounds IOPS and memory too. It can be changed later, with a short
    interruption.
    """
    allowed = _FILE_SERVERS[openzfs.deployment_type].throughputs_mbps
    if openzfs.throughput_mbps not in allowed:
        yield (
            "throughput_mbps",
            f"found {openzfs.throughput_mbps} MB/s; allowed on {openzfs.deployment_type}: "
            f"{', '.join(map(str, allowed))} MB/s",
        )


@rule("warning", f"{_GUIDE}/managing-throughput-capacity.html")
def openzfs_throughput_ha_1(openzfs: OpenZfsConfig) -> Iterator[Violation]:
    """SINGLE_AZ_HA_1 may not have 64 MB/s.

    AWS's pages disagree: the API reference lets throughput begin at 64 MB/s, the user guide at 128.
    """
    if openzfs.deployment_type == "SINGLE_AZ_HA_1" and openzfs.throughput_mbps == 64:
        yield "throughput_mbps", "found 64 MB/s; allowed on SINGLE_AZ_HA_1 by the user guide: 128 MB/s or more"


@rule("error", f"{_GUIDE}/limits.html")
def openzfs_capacity(openzfs: OpenZfsConfig) -> Iterator[Violation]:
    """Storage capacity has limits.

    Any whole number of GiB between them is possible. Capacity can grow later and never shrink.
    """
    low, high = _CAPACITY_GIB
    if not low <= openzfs.capacity_gib <= high:
        yield "capacity_gib", f"found {openzfs.capacity_gib} GiB; allowed: {low} to {high} GiB"


@rule("error", f"{_GUIDE}/performance-ssd.html#ssd-iops-disk-performance")
def openzfs_iops(openzfs: OpenZfsConfig) -> Iterator[Violation]:
    """Provisioned IOPS have limits that follow capacity and deployment type.

    3 IOPS for each GiB come with the capacity and are the least that can be provisioned. Leave `iops`
    out to have just them.
    """
    if openzfs.iops is None:
        return
    low, high = (each * openzfs.capacity_gib for each in _IOPS_PER_GIB)
    high = min(high, _FILE_SERVERS[openzfs.deployment_type].most_iops)
    if not low <= openzfs.iops <= high:
        allowed = f"{low} to {high} IOPS" if low <= high else f"no value, FSx provides {high} IOPS"
        yield (
            "iops",
            f"found {openzfs.iops} IOPS; allowed with {openzfs.capacity_gib} GiB on {openzfs.deployment_type}: "
            f"{allowed}",
        )


@rule("warning", f"{_GUIDE}/performance-ssd.html#data-access-disk")
def openzfs_iops_throughput(openzfs: OpenZfsConfig) -> Iterator[Violation]:
    """More IOPS than the file server can use.

    How many it drives, even in a burst, follows from its throughput. What is provisioned beyond is paid
    for and never seen: raise `throughput_mbps`, or lower `iops`.
    """
    servers = _FILE_SERVERS[openzfs.deployment_type]
    usable = max(servers.burst_iops, int(openzfs.throughput_mbps * _IOPS_PER_MBPS))
    if openzfs.iops is not None and usable < openzfs.iops <= servers.most_iops:
        yield (
            "iops",
            f"found {openzfs.iops} IOPS; of use at {openzfs.throughput_mbps} MB/s: {usable} IOPS or fewer",
        )


@rule("warning", f"{_GUIDE}/available-aws-regions.html")
def openzfs_region(spec: ClusterSpec) -> Iterator[Violation]:
    """A deployment type does not exist in every Region.

    Most Regions have either SINGLE_AZ_HA_1 or SINGLE_AZ_HA_2 for failover within a zone. The list is AWS's
    and grows, hence only a warning: look at the page.
    """
    openzfs = spec.storage.openzfs
    if not isinstance(openzfs, OpenZfsConfig):
        return
    kind, other = openzfs.deployment_type, None
    if kind == "SINGLE_AZ_HA_1" and spec.region in _WITHOUT_HA_1:
        other = "SINGLE_AZ_HA_2"
    elif kind in ("SINGLE_AZ_HA_2", "SINGLE_AZ_2") and spec.region in _WITHOUT_SECOND_GENERATION:
        other = "SINGLE_AZ_HA_1"
    if other:
        yield (
            ("storage", "openzfs", "deployment_type"),
            f"found {kind}; allowed in {spec.region} when AWS's list was last read: {other} or SINGLE_AZ_1",
        )


@rule("warning", f"{_GUIDE}/performance-ssd.html#ssd-iops-disk-performance")
def openzfs_iops_region(spec: ClusterSpec) -> Iterator[Violation]:
    """Some Regions have fewer IOPS for each GiB.

    There 50 IOPS for each GiB are the most, instead of 1000. The list is AWS's and shrinks, hence only a
    warning. More capacity makes more IOPS possible.
    """
    openzfs = spec.storage.openzfs
    if not isinstance(openzfs, OpenZfsConfig) or openzfs.iops is None or spec.region not in _FEW_IOPS_PER_GIB:
        return
    most = 50 * openzfs.capacity_gib
    if openzfs.iops > most:
        yield (
            ("storage", "openzfs", "iops"),
            f"found {openzfs.iops} IOPS; allowed with {openzfs.capacity_gib} GiB in {spec.region} when AWS's list "
            f"was last read: {most} IOPS or fewer",
        )


@rule("warning", f"{_GUIDE}/limits.html")
def openzfs_quota(spec: ClusterSpec) -> Iterator[Violation]:
    """More than the default quota of an account.

    The quota counts all file systems of an account in a Region, so less may be left. Request an increase
    before you deploy, for it can take days.
    """
    openzfs = spec.storage.openzfs
    quota = _LARGER_QUOTA_GIB.get(spec.region, _QUOTA_GIB)
    if isinstance(openzfs, OpenZfsConfig) and openzfs.capacity_gib > quota:
        yield (
            ("storage", "openzfs", "capacity_gib"),
            f"found {openzfs.capacity_gib} GiB; allowed by an account's default quota in {spec.region}: {quota} GiB",
        )


@rule("error", f"{_GUIDE}/nfs-exports.html")
def openzfs_clients(spec: ClusterSpec) -> Iterator[Violation]:
    """A new file system in an existing network must know its clients.

    Root on a node makes home directories, so the file system is exported without root squash, and
    therefore to the nodes' range only and never to everybody. State the private subnet's range.
    """
    network = spec.network
    if (
        isinstance(spec.storage.openzfs, OpenZfsConfig)
        and isinstance(network, ExistingNetwork)
        and not network.private_subnet_cidr
    ):
        yield "network", "found no private_subnet_cidr; allowed: the range of the private subnet, such as 10.1.0.0/16"
