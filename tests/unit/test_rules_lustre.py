"""Rules of an FSx for Lustre file system: for each rule what passes, what does not, and what is said."""

import itertools
from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.spec import (
    ClusterSpec,
    ComputeGroup,
    ExistingLustre,
    HyperPodConfig,
    HyperPodSpec,
    LustreConfig,
    Model,
    Storage,
)


def lustre(**fields: Any) -> LustreConfig:
    return LustreConfig(**fields)


def tiering(**fields: Any) -> LustreConfig:
    return LustreConfig(**{"storage_class": "INTELLIGENT_TIERING", "throughput_mbps": 8000, **fields})


def cluster(
    file_system: LustreConfig | ExistingLustre | None = None, *, compute: str = "ml.p5.48xlarge", **fields: Any
) -> ClusterSpec:
    settings = {"region": "us-west-2", "availability_zone": "usw2-az4", **fields}
    return HyperPodSpec(
        kind="hyperpod",
        name="ml-cluster",
        storage=Storage(lustre=file_system),
        hyperpod=HyperPodConfig(compute=(ComputeGroup(name="worker", type=compute, count=1),)),
        **settings,
    )


KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.lustre"]

PASSING: list[tuple[str, Model]] = [
    ("LUSTRE_STORAGE_CLASS", lustre(deployment_type="PERSISTENT_1", storage_class="HDD")),
    ("LUSTRE_STORAGE_CLASS", lustre(storage_class="INTELLIGENT_TIERING")),
    ("LUSTRE_STORAGE_CLASS", lustre(deployment_type="SCRATCH_2")),
    ("LUSTRE_CAPACITY_STEP", lustre()),
    ("LUSTRE_CAPACITY_STEP", lustre(capacity_gib=2400)),
    ("LUSTRE_CAPACITY_STEP", lustre(capacity_gib=4800, deployment_type="SCRATCH_2")),
    ("LUSTRE_CAPACITY_STEP", lustre(capacity_gib=3600, deployment_type="SCRATCH_1")),
    ("LUSTRE_CAPACITY_STEP", lustre(capacity_gib=6000, deployment_type="PERSISTENT_1", storage_class="HDD")),
    ("LUSTRE_CAPACITY_STEP", tiering()),
    ("LUSTRE_EFA_CAPACITY", lustre(efa=True, capacity_gib=19200)),
    ("LUSTRE_EFA_CAPACITY", lustre(efa=True, capacity_gib=4800, throughput_mbps_per_tib=1000)),
    ("LUSTRE_EFA_CAPACITY", tiering(efa=True)),
    ("LUSTRE_THROUGHPUT_PER_TIB", lustre(deployment_type="SCRATCH_1")),
    ("LUSTRE_THROUGHPUT_PER_TIB", lustre(throughput_mbps_per_tib=1000)),
    ("LUSTRE_THROUGHPUT_PER_TIB", lustre(deployment_type="PERSISTENT_1", throughput_mbps_per_tib=50)),
    # What the deployment type does not have is for LUSTRE_STORAGE_CLASS to say.
    ("LUSTRE_THROUGHPUT_PER_TIB", lustre(storage_class="HDD", throughput_mbps_per_tib=12)),
    ("LUSTRE_THROUGHPUT", tiering(throughput_mbps=2000000)),
    ("LUSTRE_THROUGHPUT", lustre()),
    ("LUSTRE_TIERING_CAPACITY", tiering()),
    ("LUSTRE_TIERING_CAPACITY", lustre(capacity_gib=1200)),
    ("LUSTRE_READ_CACHE", tiering(read_cache_gib=64)),
    ("LUSTRE_READ_CACHE", tiering(read_cache_gib=262144)),
    ("LUSTRE_READ_CACHE", tiering(read_cache_gib=1, throughput_mbps=None)),
    ("LUSTRE_DRIVE_CACHE", lustre(deployment_type="PERSISTENT_1", storage_class="HDD", drive_cache=True)),
    ("LUSTRE_METADATA_IOPS", lustre()),
    *(("LUSTRE_METADATA_IOPS", lustre(metadata_iops=iops)) for iops in (1500, 3000, 6000, 12000, 24000, 192000)),
    ("LUSTRE_METADATA_IOPS", tiering(metadata_iops=12000)),
    ("LUSTRE_EFA_DEPLOYMENT_TYPE", lustre(efa=True)),
    ("LUSTRE_VERSION", lustre(version="2.12")),
    ("LUSTRE_VERSION", lustre(version="2.10", deployment_type="PERSISTENT_1")),
    ("LUSTRE_VERSION", lustre(version="2.15", efa=True, metadata_iops=6000)),
    ("LUSTRE_VERSION_CLIENT", lustre(version="2.12")),
    ("LUSTRE_BACKUPS", lustre(backup_retention_days=90)),
    ("LUSTRE_BACKUPS", lustre(deployment_type="SCRATCH_2")),
    ("LUSTRE_QUOTA", lustre(capacity_gib=100800)),
    ("LUSTRE_QUOTA", lustre(capacity_gib=102000, deployment_type="PERSISTENT_1", storage_class="HDD")),
    ("LUSTRE_QUOTA", tiering(throughput_mbps=100000, read_cache_gib=100800)),
    ("LUSTRE_REGION", cluster(lustre())),
    ("LUSTRE_REGION", cluster(lustre(deployment_type="PERSISTENT_1"), region="sa-east-1")),
    ("LUSTRE_REGION", cluster(region="sa-east-1")),
    ("LUSTRE_EFA_CLIENTS", cluster(lustre(efa=True))),
    ("LUSTRE_EFA_CLIENTS", cluster(lustre(efa=True), compute="ml.unheard-of.48xlarge")),
    ("LUSTRE_EFA_CLIENTS", cluster(lustre(), compute="ml.c5.4xlarge")),
    ("LUSTRE_EFA_CLIENTS", cluster()),
    ("LUSTRE_KMS_KEY", cluster(lustre(), kms_key=KEY)),
    ("LUSTRE_KMS_KEY", cluster(lustre(deployment_type="SCRATCH_2"))),
]

FAILING: list[tuple[str, Model, str, str]] = [
    (
        "LUSTRE_STORAGE_CLASS",
        lustre(storage_class="HDD"),
        "storage_class",
        "found HDD; allowed on PERSISTENT_2: SSD or INTELLIGENT_TIERING",
    ),
    (
        "LUSTRE_STORAGE_CLASS",
        lustre(storage_class="INTELLIGENT_TIERING", deployment_type="SCRATCH_2"),
        "storage_class",
        "found INTELLIGENT_TIERING; allowed on SCRATCH_2: SSD",
    ),
    (
        "LUSTRE_CAPACITY_STEP",
        lustre(capacity_gib=3000),
        "capacity_gib",
        "found 3000 GiB; allowed on PERSISTENT_2 SSD: 1200, 2400, multiples of 2400 GiB (nearest: 2400 and 4800)",
    ),
    (
        "LUSTRE_CAPACITY_STEP",
        lustre(capacity_gib=1),
        "capacity_gib",
        "found 1 GiB; allowed on PERSISTENT_2 SSD: 1200, 2400, multiples of 2400 GiB (nearest: 1200)",
    ),
    (
        "LUSTRE_CAPACITY_STEP",
        lustre(capacity_gib=4800, deployment_type="SCRATCH_1"),
        "capacity_gib",
        "found 4800 GiB; allowed on SCRATCH_1 SSD: 1200, 2400, multiples of 3600 GiB (nearest: 3600 and 7200)",
    ),
    (
        "LUSTRE_CAPACITY_STEP",
        lustre(deployment_type="PERSISTENT_1", storage_class="HDD"),
        "capacity_gib",
        "found 1200 GiB (the default); allowed on PERSISTENT_1 HDD at 12 MB/s/TiB: multiples of 6000 GiB "
        "(nearest: 6000)",
    ),
    (
        "LUSTRE_CAPACITY_STEP",
        lustre(capacity_gib=6000, deployment_type="PERSISTENT_1", storage_class="HDD", throughput_mbps_per_tib=40),
        "capacity_gib",
        "found 6000 GiB; allowed on PERSISTENT_1 HDD at 40 MB/s/TiB: multiples of 1800 GiB (nearest: 5400 and 7200)",
    ),
    (
        "LUSTRE_EFA_CAPACITY",
        lustre(efa=True),
        "capacity_gib",
        "found 1200 GiB (the default); allowed with EFA at 250 MB/s/TiB: multiples of 19200 GiB (nearest: 19200)",
    ),
    (
        "LUSTRE_EFA_CAPACITY",
        lustre(efa=True, capacity_gib=7200, throughput_mbps_per_tib=1000),
        "capacity_gib",
        "found 7200 GiB; allowed with EFA at 1000 MB/s/TiB: multiples of 4800 GiB (nearest: 4800 and 9600)",
    ),
    (
        "LUSTRE_THROUGHPUT_PER_TIB",
        lustre(throughput_mbps_per_tib=200),
        "throughput_mbps_per_tib",
        "found 200 MB/s/TiB; allowed on PERSISTENT_2 SSD: 125, 250, 500, 1000 MB/s/TiB",
    ),
    (
        "LUSTRE_THROUGHPUT_PER_TIB",
        lustre(deployment_type="PERSISTENT_1", storage_class="HDD", throughput_mbps_per_tib=50),
        "throughput_mbps_per_tib",
        "found 50 MB/s/TiB; allowed on PERSISTENT_1 HDD: 12, 40 MB/s/TiB",
    ),
    (
        "LUSTRE_THROUGHPUT_PER_TIB",
        lustre(deployment_type="SCRATCH_2", throughput_mbps_per_tib=200),
        "throughput_mbps_per_tib",
        "found 200 MB/s/TiB; allowed on SCRATCH_2: no value, it has 200 MB/s/TiB",
    ),
    (
        "LUSTRE_THROUGHPUT_PER_TIB",
        tiering(throughput_mbps_per_tib=250),
        "throughput_mbps_per_tib",
        "found 250 MB/s/TiB; allowed on INTELLIGENT_TIERING: no value, say throughput_mbps instead",
    ),
    (
        "LUSTRE_THROUGHPUT",
        lustre(throughput_mbps=4000),
        "throughput_mbps",
        "found 4000 MB/s; allowed on SSD: no value, say throughput_mbps_per_tib instead",
    ),
    (
        "LUSTRE_THROUGHPUT",
        lustre(storage_class="INTELLIGENT_TIERING"),
        "throughput_mbps",
        "is required with INTELLIGENT_TIERING and missing; allowed: multiples of 4000 up to 2000000 MB/s",
    ),
    (
        "LUSTRE_THROUGHPUT",
        tiering(throughput_mbps=6000),
        "throughput_mbps",
        "found 6000 MB/s; allowed on INTELLIGENT_TIERING: multiples of 4000 up to 2000000 MB/s "
        "(nearest: 4000 and 8000)",
    ),
    (
        "LUSTRE_THROUGHPUT",
        tiering(throughput_mbps=0),
        "throughput_mbps",
        "found 0 MB/s; allowed on INTELLIGENT_TIERING: multiples of 4000 up to 2000000 MB/s (nearest: 4000)",
    ),
    (
        "LUSTRE_THROUGHPUT",
        tiering(throughput_mbps=2004000),
        "throughput_mbps",
        "found 2004000 MB/s; allowed on INTELLIGENT_TIERING: multiples of 4000 up to 2000000 MB/s (nearest: 2000000)",
    ),
    (
        "LUSTRE_TIERING_CAPACITY",
        tiering(capacity_gib=1200),
        "capacity_gib",
        "found 1200 GiB; allowed on INTELLIGENT_TIERING: no value, it grows with the data",
    ),
    (
        "LUSTRE_READ_CACHE",
        lustre(read_cache_gib=100),
        "read_cache_gib",
        "found 100 GiB; allowed on SSD: no value",
    ),
    (
        "LUSTRE_READ_CACHE",
        tiering(read_cache_gib=63),
        "read_cache_gib",
        "found 63 GiB; allowed at 8000 MB/s: 64 to 262144 GiB",
    ),
    ("LUSTRE_DRIVE_CACHE", lustre(drive_cache=True), "drive_cache", "found true; allowed on SSD: false"),
    (
        "LUSTRE_METADATA_IOPS",
        lustre(metadata_iops=18000),
        "metadata_iops",
        "found 18000 IOPS; allowed: 1500, 3000, 6000, multiples of 12000 up to 192000 IOPS (nearest: 12000 and 24000)",
    ),
    (
        "LUSTRE_METADATA_IOPS",
        lustre(metadata_iops=4000),
        "metadata_iops",
        "found 4000 IOPS; allowed: 1500, 3000, 6000, multiples of 12000 up to 192000 IOPS (nearest: 3000 and 6000)",
    ),
    (
        "LUSTRE_METADATA_IOPS",
        lustre(metadata_iops=204000),
        "metadata_iops",
        "found 204000 IOPS; allowed: 1500, 3000, 6000, multiples of 12000 up to 192000 IOPS (nearest: 192000)",
    ),
    (
        "LUSTRE_METADATA_IOPS",
        tiering(metadata_iops=1500),
        "metadata_iops",
        "found 1500 IOPS; allowed on INTELLIGENT_TIERING: 6000 or 12000",
    ),
    (
        "LUSTRE_METADATA_IOPS",
        lustre(metadata_iops=1500, deployment_type="SCRATCH_2"),
        "metadata_iops",
        "found 1500 IOPS; allowed on SCRATCH_2: no value",
    ),
    (
        "LUSTRE_EFA_DEPLOYMENT_TYPE",
        lustre(efa=True, deployment_type="PERSISTENT_1"),
        "efa",
        "found true; allowed on PERSISTENT_1: false (PERSISTENT_2 has EFA)",
    ),
    ("LUSTRE_VERSION", lustre(version="2.10"), "version", "found 2.10; allowed on PERSISTENT_2: 2.12 or 2.15"),
    ("LUSTRE_VERSION", lustre(version="2.12", efa=True), "version", "found 2.12; allowed with efa: 2.15"),
    (
        "LUSTRE_VERSION",
        lustre(version="2.12", metadata_iops=6000),
        "version",
        "found 2.12; allowed with metadata_iops: 2.15",
    ),
    ("LUSTRE_VERSION", tiering(version="2.12"), "version", "found 2.12; allowed with INTELLIGENT_TIERING: 2.15"),
    (
        "LUSTRE_VERSION_CLIENT",
        lustre(version="2.10", deployment_type="SCRATCH_1"),
        "version",
        "found 2.10; allowed with the nodes' client 2.15: 2.12 or 2.15",
    ),
    (
        "LUSTRE_BACKUPS",
        lustre(deployment_type="SCRATCH_2", backup_retention_days=7),
        "backup_retention_days",
        "found 7 days; allowed on SCRATCH_2: 0",
    ),
    (
        "LUSTRE_QUOTA",
        lustre(capacity_gib=103200),
        "capacity_gib",
        "found 103200 GiB; allowed by an account's default quota: 100800 GiB",
    ),
    (
        "LUSTRE_QUOTA",
        lustre(capacity_gib=108000, deployment_type="PERSISTENT_1", storage_class="HDD"),
        "capacity_gib",
        "found 108000 GiB; allowed by an account's default quota: 102000 GiB",
    ),
    (
        "LUSTRE_QUOTA",
        tiering(throughput_mbps=104000),
        "throughput_mbps",
        "found 104000 MB/s; allowed by an account's default quota: 100000 MB/s",
    ),
    (
        "LUSTRE_REGION",
        cluster(lustre(), region="sa-east-1"),
        "storage.lustre.deployment_type",
        "found PERSISTENT_2; allowed in sa-east-1 when AWS's list was last read: PERSISTENT_1 or SCRATCH_2",
    ),
    *(
        (
            "LUSTRE_EFA_CLIENTS",
            cluster(file_system, compute="ml.c5.4xlarge"),
            "storage.lustre.efa",
            "found true with compute groups of ml.c5.4xlarge; "
            "allowed: false, or an instance type with EFA such as ml.p5.48xlarge",
        )
        for file_system in (
            lustre(efa=True),
            ExistingLustre(existing="fs-0123456789abcdef0", mount_name="abcdefgh", efa=True),
        )
    ),
    (
        "LUSTRE_KMS_KEY",
        cluster(lustre(deployment_type="SCRATCH_2"), kms_key=KEY),
        "storage.lustre.deployment_type",
        "found SCRATCH_2, which does not use kms_key; allowed with kms_key: PERSISTENT_2 or PERSISTENT_1",
    ),
]


@pytest.mark.parametrize(("rule", "model"), PASSING)
def test_passes(rule: str, model: Model) -> None:
    assert rule not in [finding.rule for finding in check(model)]


@pytest.mark.parametrize(("rule", "model", "field", "message"), FAILING)
def test_fails(rule: str, model: Model, field: str, message: str) -> None:
    found = [(finding.field, finding.message) for finding in check(model) if finding.rule == rule]
    assert found == [(field, message)]


def test_every_rule_is_tested_with_both_outcomes() -> None:
    defined = {one.id for one in DEFINED}
    assert {rule for rule, *_ in PASSING} == {rule for rule, *_ in FAILING} == defined


def test_what_only_warns() -> None:
    assert {one.id for one in DEFINED if one.level == "warning"} == {
        "LUSTRE_VERSION_CLIENT",
        "LUSTRE_QUOTA",
        "LUSTRE_REGION",
        "LUSTRE_EFA_CLIENTS",
        "LUSTRE_KMS_KEY",
    }


def test_no_combination_breaks_a_rule() -> None:
    combinations = itertools.product(
        ("PERSISTENT_2", "PERSISTENT_1", "SCRATCH_1"),
        ("SSD", "HDD", "INTELLIGENT_TIERING"),
        (None, 1, 10**9),
        (None, -1, 0, 300),
        (None, -1, 0, 4001),
        (False, True),
    )
    for deployment_type, storage_class, capacity, per_tib, value, efa in combinations:
        check(
            lustre(
                deployment_type=deployment_type,
                storage_class=storage_class,
                capacity_gib=capacity,
                throughput_mbps_per_tib=per_tib,
                throughput_mbps=value,
                read_cache_gib=value,
                metadata_iops=value,
                efa=efa,
            )
        )
