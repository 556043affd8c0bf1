"""Rules of an FSx for Lustre file system."""

from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.service_model import shape
from cdk_slurm.spec import ClusterSpec, LustreConfig

_API = "https://docs.aws.amazon.com/fsx/latest/APIReference"
_GUIDE = "https://docs.aws.amazon.com/fsx/latest/LustreGuide"

_STORAGE_CLASSES = {
    "PERSISTENT_2": ("SSD", "INTELLIGENT_TIERING"),
    "PERSISTENT_1": ("SSD", "HDD"),
    "SCRATCH_2": ("SSD",),
    "SCRATCH_1": ("SSD",),
}

#: MB/s/TiB, for what can choose it.
_THROUGHPUTS = {
    ("PERSISTENT_2", "SSD"): (125, 250, 500, 1000),
    ("PERSISTENT_1", "SSD"): (50, 100, 200),
    ("PERSISTENT_1", "HDD"): (12, 40),
}

#: GiB that a file server holds, by MB/s/TiB.
_HDD_STEP_GIB = {12: 6000, 40: 1800}
_EFA_STEP_GIB = {125: 38400, 250: 19200, 500: 9600, 1000: 4800}

#: MB/s of a file server with INTELLIGENT_TIERING, and the least and most GiB of read cache it can have.
_TIERING_STEP_MBPS = 4000
_READ_CACHE_GIB = (32, 131072)

#: Regions that the user guide lists without PERSISTENT_2.
_WITHOUT_PERSISTENT_2 = frozenset({
    "af-south-1", "ap-northeast-3", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "eu-central-2", "eu-south-1",
    "eu-south-2", "eu-west-3", "me-central-1", "me-south-1", "sa-east-1", "us-gov-east-1", "us-gov-west-1",
})  # fmt: skip


@rule("error", f"{_GUIDE}/using-fsx-lustre.html")
def lustre_storage_class(lustre: LustreConfig) -> Iterator[Violation]:
    """A deployment type has its storage classes.

    HDD exists on PERSISTENT_1 only and INTELLIGENT_TIERING on PERSISTENT_2 only. Neither the deployment
    type nor the storage class of a file system can be changed later.
    """
    allowed = _STORAGE_CLASSES[lustre.deployment_type]
    if lustre.storage_class not in allowed:
        yield (
            "storage_class",
            f"found {lustre.storage_class}; allowed on {lustre.deployment_type}: {' or '.join(allowed)}",
        )


@rule("error", f"{_API}/API_CreateFileSystem.html")
def lustre_capacity_step(lustre: LustreConfig) -> Iterator[Violation]:
    """Storage capacity comes in steps.

    FSx adds whole storage servers, and how much one holds depends on deployment type, storage class and,
    on HDD, throughput. Choose the nearest step above what you need: capacity can grow and never shrink.
    """
    where, throughput = f"on {lustre.deployment_type} {lustre.storage_class}", lustre.resolved_throughput_mbps_per_tib
    if lustre.storage_class == "HDD":
        yield from _off_capacity_step(
            lustre, f"{where} at {throughput} MB/s/TiB", _HDD_STEP_GIB.get(throughput or 0, 0)
        )
    elif lustre.storage_class == "SSD" and not lustre.efa:
        step = 3600 if lustre.deployment_type == "SCRATCH_1" else 2400
        yield from _off_capacity_step(lustre, where, step, small=(1200, 2400))


@rule("error", f"{_GUIDE}/getting-started.html")
def lustre_efa_capacity(lustre: LustreConfig) -> Iterator[Violation]:
    """Storage capacity with EFA comes in larger steps.

    A storage server with EFA serves 4800 MB/s, so it holds the more the lower the throughput per TiB is.
    More throughput per TiB makes a smaller file system possible.
    """
    throughput = lustre.resolved_throughput_mbps_per_tib
    if lustre.efa and lustre.storage_class == "SSD":
        yield from _off_capacity_step(
            lustre, f"with EFA at {throughput} MB/s/TiB", _EFA_STEP_GIB.get(throughput or 0, 0)
        )


@rule("error", f"{_API}/API_CreateFileSystemLustreConfiguration.html")
def lustre_throughput_per_tib(lustre: LustreConfig) -> Iterator[Violation]:
    """Throughput per TiB has a few values for each deployment type and storage class.

    Scratch file systems have 200 MB/s/TiB and cannot choose; with INTELLIGENT_TIERING throughput does not
    follow capacity, so that `throughput_mbps` says it for the whole file system.
    """
    found, kind = lustre.throughput_mbps_per_tib, lustre.storage_class
    allowed = _THROUGHPUTS.get((lustre.deployment_type, kind), ())
    if found is None or found in allowed:
        return
    if allowed:
        text = f"{lustre.deployment_type} {kind}: {', '.join(map(str, allowed))} MB/s/TiB"
    elif kind == "INTELLIGENT_TIERING":
        text = f"{kind}: no value, say throughput_mbps instead"
    elif lustre.deployment_type.startswith("SCRATCH"):
        text = f"{lustre.deployment_type}: no value, it has 200 MB/s/TiB"
    else:
        return  # a storage class that the deployment type does not have
    yield "throughput_mbps_per_tib", f"found {found} MB/s/TiB; allowed on {text}"


@rule("error", f"{_API}/API_CreateFileSystemLustreConfiguration.html")
def lustre_throughput(lustre: LustreConfig) -> Iterator[Violation]:
    """INTELLIGENT_TIERING needs a throughput, in steps of 4000 MB/s, and nothing else has one.

    It is what you pay for beside the data itself, and the number of file servers follows from it. The
    other storage classes say `throughput_mbps_per_tib` instead.
    """
    found = lustre.throughput_mbps
    if lustre.storage_class != "INTELLIGENT_TIERING":
        if found is not None:
            yield (
                "throughput_mbps",
                f"found {found} MB/s; allowed on {lustre.storage_class}: no value, say throughput_mbps_per_tib instead",
            )
        return
    largest = shape("fsx", "ThroughputCapacityMbps")["max"]
    if found is None:
        yield (
            "throughput_mbps",
            "is required with INTELLIGENT_TIERING and missing; allowed: "
            f"multiples of {_TIERING_STEP_MBPS} up to {largest} MB/s",
        )
    elif off := _off_step(found, "MB/s", _TIERING_STEP_MBPS, largest=largest):
        yield "throughput_mbps", f"found {found} MB/s; allowed on INTELLIGENT_TIERING: {off}"


@rule("error", f"{_API}/API_CreateFileSystem.html")
def lustre_tiering_capacity(lustre: LustreConfig) -> Iterator[Violation]:
    """INTELLIGENT_TIERING has no storage capacity.

    It grows and shrinks with the data. Leave `capacity_gib` out, and say `throughput_mbps`.
    """
    if lustre.storage_class == "INTELLIGENT_TIERING" and lustre.capacity_gib is not None:
        yield (
            "capacity_gib",
            f"found {lustre.capacity_gib} GiB; allowed on INTELLIGENT_TIERING: no value, it grows with the data",
        )


@rule("error", f"{_API}/API_LustreReadCacheConfiguration.html")
def lustre_read_cache(lustre: LustreConfig) -> Iterator[Violation]:
    """The read cache of INTELLIGENT_TIERING has limits that follow throughput.

    It is spread over the file servers, one for each 4000 MB/s. Leave it out, and FSx sizes it by
    throughput. The other storage classes have no such cache; before HDD, `drive_cache` is one.
    """
    found = lustre.read_cache_gib
    if found is None:
        return
    if lustre.storage_class != "INTELLIGENT_TIERING":
        yield "read_cache_gib", f"found {found} GiB; allowed on {lustre.storage_class}: no value"
        return
    servers = (lustre.throughput_mbps or 0) // _TIERING_STEP_MBPS
    low, high = (servers * gib for gib in _READ_CACHE_GIB)
    if servers > 0 and not low <= found <= high:
        yield "read_cache_gib", f"found {found} GiB; allowed at {lustre.throughput_mbps} MB/s: {low} to {high} GiB"


@rule("error", f"{_API}/API_CreateFileSystemLustreConfiguration.html")
def lustre_drive_cache(lustre: LustreConfig) -> Iterator[Violation]:
    """Only HDD has a drive cache.

    It is an SSD of a fifth of the capacity that keeps what is read often. SSD needs none.
    """
    if lustre.drive_cache and lustre.storage_class != "HDD":
        yield "drive_cache", f"found true; allowed on {lustre.storage_class}: false"


@rule("error", f"{_GUIDE}/managing-metadata-performance.html")
def lustre_metadata_iops(lustre: LustreConfig) -> Iterator[Violation]:
    """Metadata IOPS can be provisioned on PERSISTENT_2, in steps.

    They bound how many files can be created, opened and deleted in a second, and can only be increased
    later. On SSD leave them out, and FSx follows the capacity.
    """
    found = lustre.metadata_iops
    if found is None:
        return
    largest = shape("fsx", "MetadataIops")["max"]
    if lustre.deployment_type != "PERSISTENT_2":
        yield "metadata_iops", f"found {found} IOPS; allowed on {lustre.deployment_type}: no value"
    elif lustre.storage_class == "INTELLIGENT_TIERING":
        if found not in (6000, 12000):
            yield "metadata_iops", f"found {found} IOPS; allowed on INTELLIGENT_TIERING: 6000 or 12000"
    elif off := _off_step(found, "IOPS", 12000, (1500, 3000, 6000), largest):
        yield "metadata_iops", f"found {found} IOPS; allowed: {off}"


@rule("error", f"{_GUIDE}/efa-file-systems.html")
def lustre_efa_deployment_type(lustre: LustreConfig) -> Iterator[Violation]:
    """Only PERSISTENT_2 has EFA.

    Whether a file system has EFA is decided when it is created; it can be turned neither on nor off later.
    """
    if lustre.efa and lustre.deployment_type != "PERSISTENT_2":
        yield "efa", f"found true; allowed on {lustre.deployment_type}: false (PERSISTENT_2 has EFA)"


@rule("error", f"{_API}/API_CreateFileSystem.html")
def lustre_version(lustre: LustreConfig) -> Iterator[Violation]:
    """PERSISTENT_2 needs Lustre 2.12, and a metadata configuration needs 2.15.

    EFA, provisioned metadata IOPS and INTELLIGENT_TIERING all imply a metadata configuration. 2.15 is right
    for every new file system unless old clients mount it too.
    """
    if lustre.deployment_type != "PERSISTENT_2":
        return
    needs_configuration = {
        "efa": lustre.efa,
        "metadata_iops": lustre.metadata_iops is not None,
        "INTELLIGENT_TIERING": lustre.storage_class == "INTELLIGENT_TIERING",
    }
    what = next((name for name, needed in needs_configuration.items() if needed), None)
    if what and lustre.version != "2.15":
        yield "version", f"found {lustre.version}; allowed with {what}: 2.15"
    elif lustre.version == "2.10":
        yield "version", "found 2.10; allowed on PERSISTENT_2: 2.12 or 2.15"


@rule("warning", f"{_GUIDE}/lustre-client-matrix.html")
def lustre_version_client(lustre: LustreConfig) -> Iterator[Violation]:
    """The nodes' Lustre client does not mount Lustre 2.10.

    HyperPod's images have client 2.15, which AWS lists for file systems of 2.12 and 2.15. Ignore this only
    with an image of your own and an older client in it.
    """
    if lustre.version == "2.10":
        yield "version", "found 2.10; allowed with the nodes' client 2.15: 2.12 or 2.15"


@rule("error", f"{_GUIDE}/using-backups-fsx.html")
def lustre_backups(lustre: LustreConfig) -> Iterator[Violation]:
    """Scratch file systems have no backups.

    They are made to lose their data. Link what must last to a bucket with an association, or take a
    persistent deployment type.
    """
    if lustre.backup_retention_days and lustre.deployment_type.startswith("SCRATCH"):
        yield (
            "backup_retention_days",
            f"found {lustre.backup_retention_days} days; allowed on {lustre.deployment_type}: 0",
        )


@rule("warning", f"{_GUIDE}/limits.html")
def lustre_quota(lustre: LustreConfig) -> Iterator[Violation]:
    """More than the default quota of an account.

    The quota counts all file systems of an account in a Region, so less may be left. Request an increase
    before you deploy, for it can take days.
    """
    amounts = (
        ("capacity_gib", lustre.resolved_capacity_gib, "GiB", 102000 if lustre.storage_class == "HDD" else 100800),
        ("throughput_mbps", lustre.throughput_mbps, "MB/s", 100000),
        ("read_cache_gib", lustre.read_cache_gib, "GiB", 100800),
    )
    for field, found, unit, quota in amounts:
        if found is not None and found > quota:
            yield field, f"found {found} {unit}; allowed by an account's default quota: {quota} {unit}"


@rule("warning", f"{_GUIDE}/using-fsx-lustre.html#persistent-deployment-regions")
def lustre_region(spec: ClusterSpec) -> Iterator[Violation]:
    """PERSISTENT_2 does not exist in every Region.

    The list is AWS's and grows, hence only a warning: look at the page. Where PERSISTENT_2 is missing,
    PERSISTENT_1 is the one that keeps its data.
    """
    lustre = spec.storage.lustre
    missing = spec.region in _WITHOUT_PERSISTENT_2
    if isinstance(lustre, LustreConfig) and lustre.deployment_type == "PERSISTENT_2" and missing:
        yield (
            ("storage", "lustre", "deployment_type"),
            f"found PERSISTENT_2; allowed in {spec.region} when AWS's list was last read: PERSISTENT_1 or SCRATCH_2",
        )


@rule("warning", f"{_GUIDE}/efa-file-systems.html")
def lustre_efa_clients(spec: ClusterSpec) -> Iterator[Violation]:
    """No compute group has EFA, and Lustre has.

    Instances without EFA mount the file system over TCP, no faster than one without EFA, which comes in
    smaller steps of capacity.
    """
    lustre, types = spec.storage.lustre, sorted(spec.compute_types)
    if lustre is not None and lustre.efa and all(_is_without_efa(name) for name in types):
        yield (
            ("storage", "lustre", "efa"),
            f"found true with compute groups of {', '.join(types)}; "
            "allowed: false, or an instance type with EFA such as "
            f"{'ml.' if spec.kind == 'hyperpod' else ''}p5.48xlarge",
        )


@rule("warning", f"{_API}/API_CreateFileSystem.html")
def lustre_kms_key(spec: ClusterSpec) -> Iterator[Violation]:
    """Scratch file systems cannot be encrypted with your own key.

    FSx encrypts them with a key of its own, whatever `kms_key` says. Take a persistent deployment type
    where your own key is required.
    """
    lustre = spec.storage.lustre
    if spec.kms_key and isinstance(lustre, LustreConfig) and lustre.deployment_type.startswith("SCRATCH"):
        yield (
            ("storage", "lustre", "deployment_type"),
            f"found {lustre.deployment_type}, which does not use kms_key; "
            "allowed with kms_key: PERSISTENT_2 or PERSISTENT_1",
        )


def _off_capacity_step(
    lustre: LustreConfig, where: str, step: int, small: tuple[int, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Judge the capacity; a step of 0 says that another rule refuses what the step depends on."""
    found = lustre.resolved_capacity_gib
    if found is None or not step:
        return
    if off := _off_step(found, "GiB", step, small):
        default = " (the default)" if lustre.capacity_gib is None else ""
        yield "capacity_gib", f"found {found} GiB{default}; allowed {where}: {off}"


def _off_step(found: int, unit: str, step: int, small: tuple[int, ...] = (), largest: int | None = None) -> str | None:
    """Say what is allowed when a value is neither one of the small ones nor a multiple of the step."""
    multiples = (found // step * step, (found // step + 1) * step, largest or 0)
    allowed = sorted(value for value in {*small, *multiples} if 0 < value <= (largest or value))
    if found in allowed:
        return None
    nearest = [value for value in allowed if value < found][-1:] + [value for value in allowed if value > found][:1]
    return (
        "".join(f"{value}, " for value in small)
        + f"multiples of {step}{f' up to {largest}' if largest else ''} {unit}"
        + f" (nearest: {' and '.join(map(str, nearest))})"
    )


def _is_without_efa(instance_type: str) -> bool:
    facts = instance_facts(instance_type)
    return facts is not None and not facts.efa_interfaces
