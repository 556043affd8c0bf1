"""Rules of an FSx for OpenZFS file system: for each rule what passes, what does not, and what is said."""

import itertools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.spec import (
    ClusterSpec,
    ComputeGroup,
    ExistingOpenZfs,
    HyperPodConfig,
    HyperPodSpec,
    Model,
    OpenZfsConfig,
    Storage,
)
from cdk_slurm.spec.storage import OpenZfsDeploymentType


def openzfs(**fields: Any) -> OpenZfsConfig:
    return OpenZfsConfig(**fields)


def cluster(
    file_system: OpenZfsConfig | ExistingOpenZfs | None, region: str = "us-west-2", **fields: Any
) -> ClusterSpec:
    return HyperPodSpec(
        kind="hyperpod",
        name="ml-cluster",
        region=region,
        availability_zone=f"{region}a",
        storage=Storage(openzfs=file_system),
        hyperpod=HyperPodConfig(compute=(ComputeGroup(name="worker", type="ml.g5.xlarge", count=1),)),
        **fields,
    )


NETWORK = {
    "existing": "vpc-0123456789abcdef0",
    "private_subnet": "subnet-0123456789abcdef0",
    "security_group": "sg-0123456789abcdef0",
}
EXISTING = ExistingOpenZfs(existing="fs-0123456789abcdef0")

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.openzfs"]

PASSING: list[tuple[str, Model]] = [
    ("OPENZFS_MULTI_AZ", openzfs()),
    ("OPENZFS_THROUGHPUT", openzfs()),
    *(
        ("OPENZFS_THROUGHPUT", openzfs(deployment_type="SINGLE_AZ_HA_2", throughput_mbps=value))
        for value in (160, 320, 640, 1280, 2560, 3840, 5120, 7680, 10240)
    ),
    *(
        ("OPENZFS_THROUGHPUT", openzfs(deployment_type="SINGLE_AZ_1", throughput_mbps=value))
        for value in (64, 128, 256, 512, 1024, 2048, 3072, 4096)
    ),
    ("OPENZFS_THROUGHPUT_HA_1", openzfs(deployment_type="SINGLE_AZ_HA_1", throughput_mbps=128)),
    ("OPENZFS_THROUGHPUT_HA_1", openzfs(deployment_type="SINGLE_AZ_1", throughput_mbps=64)),
    ("OPENZFS_CAPACITY", openzfs(capacity_gib=64)),
    ("OPENZFS_CAPACITY", openzfs(capacity_gib=524288)),
    ("OPENZFS_IOPS", openzfs()),
    ("OPENZFS_IOPS", openzfs(capacity_gib=512, iops=1536)),
    ("OPENZFS_IOPS", openzfs(capacity_gib=512, iops=400000)),
    ("OPENZFS_IOPS", openzfs(capacity_gib=64, iops=64000)),
    ("OPENZFS_IOPS_THROUGHPUT", openzfs(iops=100000)),
    ("OPENZFS_IOPS_THROUGHPUT", openzfs(iops=400000, throughput_mbps=10240)),
    ("OPENZFS_IOPS_THROUGHPUT", openzfs(iops=40000, deployment_type="SINGLE_AZ_HA_1", throughput_mbps=128)),
    ("OPENZFS_REGION", cluster(openzfs(), "us-east-1")),
    ("OPENZFS_REGION", cluster(openzfs(deployment_type="SINGLE_AZ_HA_1", throughput_mbps=128), "ap-northeast-3")),
    ("OPENZFS_REGION", cluster(openzfs(deployment_type="SINGLE_AZ_1", throughput_mbps=64), "ap-northeast-3")),
    ("OPENZFS_REGION", cluster(EXISTING, "us-east-1")),
    ("OPENZFS_REGION", cluster(None, "us-east-1")),
    ("OPENZFS_IOPS_REGION", cluster(openzfs(iops=25600), "eu-west-2")),
    ("OPENZFS_IOPS_REGION", cluster(openzfs(iops=25601), "us-west-2")),
    ("OPENZFS_IOPS_REGION", cluster(openzfs(), "eu-west-2")),
    ("OPENZFS_IOPS_REGION", cluster(EXISTING, "eu-west-2")),
    ("OPENZFS_QUOTA", cluster(openzfs(capacity_gib=262144), "us-west-2")),
    ("OPENZFS_QUOTA", cluster(openzfs(capacity_gib=65536), "eu-west-1")),
    ("OPENZFS_QUOTA", cluster(EXISTING, "eu-west-1")),
    ("OPENZFS_CLIENTS", cluster(openzfs())),
    ("OPENZFS_CLIENTS", cluster(EXISTING, network=NETWORK)),
    ("OPENZFS_CLIENTS", cluster(openzfs(), network=NETWORK | {"private_subnet_cidr": "10.1.0.0/16"})),
]

FAILING: list[tuple[str, Model, str, str]] = [
    (
        "OPENZFS_MULTI_AZ",
        openzfs(deployment_type="MULTI_AZ_1"),
        "deployment_type",
        "found MULTI_AZ_1; allowed: SINGLE_AZ_HA_2, SINGLE_AZ_HA_1, SINGLE_AZ_2 or SINGLE_AZ_1",
    ),
    (
        "OPENZFS_THROUGHPUT",
        openzfs(throughput_mbps=64),
        "throughput_mbps",
        "found 64 MB/s; allowed on SINGLE_AZ_HA_2: 160, 320, 640, 1280, 2560, 3840, 5120, 7680, 10240 MB/s",
    ),
    (
        "OPENZFS_THROUGHPUT",
        openzfs(deployment_type="SINGLE_AZ_HA_1", throughput_mbps=160),
        "throughput_mbps",
        "found 160 MB/s; allowed on SINGLE_AZ_HA_1: 64, 128, 256, 512, 1024, 2048, 3072, 4096 MB/s",
    ),
    (
        "OPENZFS_THROUGHPUT_HA_1",
        openzfs(deployment_type="SINGLE_AZ_HA_1", throughput_mbps=64),
        "throughput_mbps",
        "found 64 MB/s; allowed on SINGLE_AZ_HA_1 by the user guide: 128 MB/s or more",
    ),
    ("OPENZFS_CAPACITY", openzfs(capacity_gib=63), "capacity_gib", "found 63 GiB; allowed: 64 to 524288 GiB"),
    ("OPENZFS_CAPACITY", openzfs(capacity_gib=524289), "capacity_gib", "found 524289 GiB; allowed: 64 to 524288 GiB"),
    (
        "OPENZFS_IOPS",
        openzfs(iops=1535),
        "iops",
        "found 1535 IOPS; allowed with 512 GiB on SINGLE_AZ_HA_2: 1536 to 400000 IOPS",
    ),
    (
        "OPENZFS_IOPS",
        openzfs(deployment_type="SINGLE_AZ_1", throughput_mbps=4096, iops=160001),
        "iops",
        "found 160001 IOPS; allowed with 512 GiB on SINGLE_AZ_1: 1536 to 160000 IOPS",
    ),
    (
        "OPENZFS_IOPS",
        openzfs(capacity_gib=64, iops=64001),
        "iops",
        "found 64001 IOPS; allowed with 64 GiB on SINGLE_AZ_HA_2: 192 to 64000 IOPS",
    ),
    (
        "OPENZFS_IOPS",
        openzfs(capacity_gib=200000, iops=400000),
        "iops",
        "found 400000 IOPS; allowed with 200000 GiB on SINGLE_AZ_HA_2: no value, FSx provides 400000 IOPS",
    ),
    (
        "OPENZFS_IOPS_THROUGHPUT",
        openzfs(iops=100001),
        "iops",
        "found 100001 IOPS; of use at 160 MB/s: 100000 IOPS or fewer",
    ),
    (
        "OPENZFS_IOPS_THROUGHPUT",
        openzfs(iops=150001, throughput_mbps=3840),
        "iops",
        "found 150001 IOPS; of use at 3840 MB/s: 150000 IOPS or fewer",
    ),
    (
        "OPENZFS_REGION",
        cluster(openzfs(deployment_type="SINGLE_AZ_HA_1", throughput_mbps=128), "us-east-1"),
        "storage.openzfs.deployment_type",
        "found SINGLE_AZ_HA_1; allowed in us-east-1 when AWS's list was last read: SINGLE_AZ_HA_2 or SINGLE_AZ_1",
    ),
    (
        "OPENZFS_REGION",
        cluster(openzfs(), "ap-northeast-3"),
        "storage.openzfs.deployment_type",
        "found SINGLE_AZ_HA_2; allowed in ap-northeast-3 when AWS's list was last read: SINGLE_AZ_HA_1 or SINGLE_AZ_1",
    ),
    (
        "OPENZFS_IOPS_REGION",
        cluster(openzfs(iops=25601), "eu-west-2"),
        "storage.openzfs.iops",
        "found 25601 IOPS; allowed with 512 GiB in eu-west-2 when AWS's list was last read: 25600 IOPS or fewer",
    ),
    (
        "OPENZFS_QUOTA",
        cluster(openzfs(capacity_gib=65537), "eu-west-1"),
        "storage.openzfs.capacity_gib",
        "found 65537 GiB; allowed by an account's default quota in eu-west-1: 65536 GiB",
    ),
    (
        "OPENZFS_QUOTA",
        cluster(openzfs(capacity_gib=262145), "us-west-2"),
        "storage.openzfs.capacity_gib",
        "found 262145 GiB; allowed by an account's default quota in us-west-2: 262144 GiB",
    ),
    (
        "OPENZFS_CLIENTS",
        cluster(openzfs(), network=NETWORK),
        "network",
        "found no private_subnet_cidr; allowed: the range of the private subnet, such as 10.1.0.0/16",
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
        "OPENZFS_THROUGHPUT_HA_1",
        "OPENZFS_IOPS_THROUGHPUT",
        "OPENZFS_REGION",
        "OPENZFS_IOPS_REGION",
        "OPENZFS_QUOTA",
    }


def test_no_combination_breaks_a_rule() -> None:
    for kind, capacity, throughput, iops in itertools.product(
        get_args(OpenZfsDeploymentType), (1, 10**9), (-1, 0, 10**9), (None, -1, 0, 10**9)
    ):
        file_system = openzfs(deployment_type=kind, capacity_gib=capacity, throughput_mbps=throughput, iops=iops)
        check(cluster(file_system, "sa-east-1"))


def test_capacity_limits_are_those_that_cfn_lint_knows() -> None:
    package = find_spec("cfnlint")
    assert package is not None
    file = Path(str(package.origin)).parent / "data/schemas/extensions/aws_fsx_filesystem/storage_capacity.json"
    [limits] = [
        case["then"]["properties"]["StorageCapacity"]
        for case in json.loads(file.read_text("utf-8"))["allOf"]
        if case["if"]["properties"]["FileSystemType"]["enum"] == ["OPENZFS"]
    ]
    [finding] = [one for one in check(openzfs(capacity_gib=1)) if one.rule == "OPENZFS_CAPACITY"]
    assert finding.message.endswith(f"{limits['minimum']} to {limits['maximum']} GiB")
