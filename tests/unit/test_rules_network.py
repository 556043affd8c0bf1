"""Rules of the network: a table of what each finds, and what it lets pass."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.rules.network import RETENTION_DAYS
from cdk_slurm.spec import ExistingNetwork, HyperPodSpec, NetworkConfig

EXISTING = {"existing": "vpc-01234567", "private_subnet": "subnet-01234567", "security_group": "sg-01234567"}
PRIVATE = "ranges of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"


def network(*zones, **fields):
    additional = [
        {"availability_zone": name, "private_cidr": cidr}
        for name, cidr in (zone if isinstance(zone, tuple) else ("usw2-az1", zone) for zone in zones)
    ]
    return NetworkConfig.model_validate({"additional_zones": additional} | fields)


def existing(**fields):
    return ExistingNetwork.model_validate(EXISTING | fields)


def cluster(count=2, type="ml.p5.48xlarge", *, group=(), **fields):
    return HyperPodSpec.model_validate(
        {
            "kind": "hyperpod",
            "name": "ml-cluster",
            "region": "us-west-2",
            "availability_zone": "usw2-az4",
            "hyperpod": {"compute": [{"name": "gpu", "type": type, "count": count} | dict(group)]},
        }
        | fields
    )


FAR = {"availability_zone": "usw2-az1"}

#: Rule, what it refuses, the field that it names, and what it says of it.
REFUSED = [
    ("CIDR_SYNTAX", network(public_cidr="10.0.0.256/16"), "public_cidr", "found 10.0.0.256/16; allowed: four numbers"),
    ("CIDR_SYNTAX", network(private_cidr="10.1.0.0/33"), "private_cidr", "found 10.1.0.0/33; allowed: four numbers"),
    (
        "CIDR_SYNTAX",
        network("10.2.0.1/16"),
        "additional_zones[0].private_cidr",
        "found 10.2.0.1/16, with bits set after the prefix; allowed: 10.2.0.0/16",
    ),
    ("CIDR_SIZE", network(private_cidr="10.2.0.0/15"), "private_cidr", "found 10.2.0.0/15; allowed: /16 to /28"),
    ("CIDR_SIZE", network("10.2.0.0/29"), "additional_zones[0].private_cidr", "found 10.2.0.0/29; allowed: /16 to /28"),
    (
        "CIDR_RESERVED",
        network(private_cidr="169.254.0.0/16"),
        "private_cidr",
        f"found 169.254.0.0/16; allowed: {PRIVATE}",
    ),
    ("CIDR_PUBLIC", network(private_cidr="8.8.0.0/16"), "private_cidr", f"found 8.8.0.0/16; allowed: {PRIVATE}"),
    (
        "CIDR_DOCKER",
        network(public_cidr="172.17.0.0/20"),
        "public_cidr",
        "found 172.17.0.0/20; allowed: ranges outside of 172.17.0.0/16, which is Docker's",
    ),
    (
        "CIDR_OVERLAP",
        network(private_cidr="10.0.128.0/20"),
        "private_cidr",
        "found 10.0.128.0/20, which overlaps public_cidr (10.0.0.0/16); allowed: ranges of their own",
    ),
    ("CIDR_OVERLAP", network("10.1.0.0/24"), "additional_zones[0].private_cidr", "overlaps private_cidr (10.1.0.0/16)"),
    (
        "CIDR_ASSOCIATION",
        network(private_cidr="172.16.0.0/16"),
        "private_cidr",
        "found 172.16.0.0/16 in a VPC of 10.0.0.0/16; allowed: ranges of 10.0.0.0/8 or 100.64.0.0/10",
    ),
    (
        "CIDR_ASSOCIATION",
        network(public_cidr="100.64.0.0/16"),
        "private_cidr",
        "found 10.1.0.0/16 in a VPC of 100.64.0.0/16; allowed: ranges of 100.64.0.0/10",
    ),
    (
        "CIDR_ASSOCIATION",
        network(public_cidr="10.1.0.0/16", private_cidr="10.0.0.0/16"),
        "private_cidr",
        "allowed: ranges of 10.0.0.0/8 or 100.64.0.0/10, but beside 10.1.0.0/16 none of 10.0.0.0/16",
    ),
    (
        "CIDR_ASSOCIATION",
        network("10.0.0.0/24", public_cidr="10.4.0.0/16"),
        "additional_zones[0].private_cidr",
        "but beside 10.1.0.0/16 none of 10.0.0.0/16",
    ),
    (
        "CIDR_ASSOCIATION",
        network(public_cidr="172.16.0.0/16", private_cidr="172.31.0.0/16"),
        "private_cidr",
        "allowed: ranges of 172.16.0.0/12 or 100.64.0.0/10, but none of 172.31.0.0/16",
    ),
    ("CIDR_ASSOCIATION", network(private_cidr="198.19.0.0/16"), "private_cidr", "found 198.19.0.0/16 in a VPC of"),
    ("PUBLIC_CIDR_SIZE", network(public_cidr="10.0.0.0/25"), "public_cidr", "found 10.0.0.0/25; allowed: /16 to /24"),
    (
        "FLOW_LOG_RETENTION",
        network(flow_log_retention_days=2),
        "flow_log_retention_days",
        "found 2; allowed: 1, 3, 5, 7,",
    ),
    (
        "ADDITIONAL_ZONES_UNIQUE",
        network("10.2.0.0/16", "10.3.0.0/16"),
        "additional_zones[1].availability_zone",
        "found usw2-az1, as additional_zones[0].availability_zone; allowed: zones that differ",
    ),
    (
        "ADDITIONAL_ZONE_IS_MAIN",
        cluster(network=network(("usw2-az4", "10.2.0.0/16"))),
        "network.additional_zones[0].availability_zone",
        "found usw2-az4, the cluster's own zone; allowed: other zones",
    ),
    (
        "EXISTING_SUBNET_CIDR",
        existing(private_subnet_cidr="10.0.0.1/24"),
        "private_subnet_cidr",
        "found 10.0.0.1/24, with bits set after the prefix; allowed: 10.0.0.0/24",
    ),
    (
        "EXISTING_SUBNET_CIDR",
        existing(private_subnet_cidr="10.0.0.0/8"),
        "private_subnet_cidr",
        "found 10.0.0.0/8; allowed: /16 to /28",
    ),
    (
        "EXISTING_SUBNETS_UNIQUE",
        existing(additional_private_subnets=["subnet-01234567"]),
        "additional_private_subnets[0]",
        "found subnet-01234567, as private_subnet; allowed: subnets that differ",
    ),
    (
        "SUBNET_ADDRESSES",  # 8 P5 of 32 addresses each, and a controller
        cluster(8, network=network(private_cidr="10.1.0.0/24")),
        "network.private_cidr",
        "found 10.1.0.0/24 with 256 addresses, and 270 are needed (257 for instances, 8 for file systems and others, "
        "5 for AWS); allowed: /23 or larger",
    ),
    (
        "SUBNET_ADDRESSES",  # 100800 GiB in servers of 2400 GiB, and 4 metadata servers
        cluster(
            1, "ml.c5.large", network=network(private_cidr="10.1.0.0/27"), storage={"lustre": {"capacity_gib": 100800}}
        ),
        "network.private_cidr",
        "found 10.1.0.0/27 with 32 addresses, and 61 are needed (2 for instances, 54 for file systems and others,",
    ),
    (
        "SUBNET_ADDRESSES",
        cluster(3000, network=network(private_cidr="10.1.0.0/16")),
        "network.private_cidr",
        "allowed: no range is so large; spread the groups over zones",
    ),
    (
        "SUBNET_ADDRESSES",
        cluster(12, "ml.unknown.large", group=FAR, network=network("10.2.0.0/28")),
        "network.additional_zones[0].private_cidr",
        "and 17 are needed (12 for instances, 0 for file systems and others, 5 for AWS); allowed: /27 or larger",
    ),
    (
        "SUBNET_ADDRESSES",
        cluster(8, network=existing(private_subnet_cidr="10.1.0.0/24")),
        "network.private_subnet_cidr",
        "and 270 are needed",
    ),
    (
        "SUBNET_ADDRESSES",
        cluster(8, group={"subnet": "subnet-01234567"}, network=existing(private_subnet_cidr="10.1.0.0/24")),
        "network.private_subnet_cidr",
        "and 270 are needed",
    ),
]

#: Rule, and something near to what it refuses that it lets pass.
PASSED = [
    ("CIDR_SYNTAX", network("10.2.0.0/16")),
    ("CIDR_SIZE", network("10.2.0.0/28", private_cidr="10.1.0.0/16")),
    ("CIDR_RESERVED", network(private_cidr="8.8.0.0/16")),
    ("CIDR_PUBLIC", network("100.127.0.0/16", private_cidr="192.168.0.0/16", public_cidr="172.31.0.0/16")),
    ("CIDR_PUBLIC", network(private_cidr="169.254.0.0/16")),
    ("CIDR_DOCKER", network(public_cidr="172.18.0.0/16", private_cidr="172.16.0.0/16")),
    ("CIDR_OVERLAP", network("10.2.0.0/16")),
    ("CIDR_ASSOCIATION", network("10.2.0.0/16", "100.64.0.0/16")),
    ("CIDR_ASSOCIATION", network(public_cidr="192.168.0.0/17", private_cidr="192.168.128.0/17")),
    ("CIDR_ASSOCIATION", network(public_cidr="10.2.0.0/16", private_cidr="10.0.0.0/16")),
    ("CIDR_ASSOCIATION", network(public_cidr="10.0.0.999/16", private_cidr="172.16.0.0/16")),
    ("PUBLIC_CIDR_SIZE", network(public_cidr="10.0.0.0/24")),
    ("PUBLIC_CIDR_SIZE", network(private_cidr="10.1.0.0/28")),
    ("FLOW_LOG_RETENTION", network(flow_log_retention_days=3653)),
    ("ADDITIONAL_ZONES_UNIQUE", network(("usw2-az1", "10.2.0.0/16"), ("usw2-az2", "10.3.0.0/16"))),
    ("ADDITIONAL_ZONE_IS_MAIN", cluster(network=network("10.2.0.0/16"))),
    ("EXISTING_SUBNET_CIDR", existing(private_subnet_cidr="10.0.0.0/24")),
    ("EXISTING_SUBNET_CIDR", existing()),
    ("EXISTING_SUBNETS_UNIQUE", existing(additional_private_subnets=["subnet-76543210", "subnet-89abcdef"])),
    ("SUBNET_ADDRESSES", cluster(7, network=network(private_cidr="10.1.0.0/24"))),
    ("SUBNET_ADDRESSES", cluster(0, network=network(private_cidr="10.1.0.0/28"))),
    ("SUBNET_ADDRESSES", cluster(2000)),
    ("SUBNET_ADDRESSES", cluster(11, "ml.unknown.large", group=FAR, network=network("10.2.0.0/28"))),
    ("SUBNET_ADDRESSES", cluster(8, network=existing())),
    (
        "SUBNET_ADDRESSES",
        cluster(8, group={"subnet": "subnet-76543210"}, network=existing(private_subnet_cidr="10.1.0.0/24")),
    ),
]

WARNINGS = {"CIDR_DOCKER", "CIDR_PUBLIC"}


@pytest.mark.parametrize(("identifier", "model", "field", "message"), REFUSED)
def test_refuses(identifier, model, field, message):
    findings = [finding for finding in check(model) if finding.rule == identifier]
    assert [finding.field for finding in findings] == [field]
    assert message in findings[0].message


@pytest.mark.parametrize(("identifier", "model"), PASSED)
def test_lets_pass(identifier, model):
    assert identifier not in {finding.rule for finding in check(model)}


def test_every_rule_is_in_both_tables():
    defined = {rule.id for rule in RULES.values() if rule.violations.__module__ == "cdk_slurm.rules.network"}
    assert {row[0] for row in REFUSED} == defined
    assert {row[0] for row in PASSED} == defined


def test_levels():
    defined = [rule for rule in RULES.values() if rule.violations.__module__ == "cdk_slurm.rules.network"]
    assert {rule.id for rule in defined if rule.level == "warning"} == WARNINGS


@pytest.mark.parametrize(
    ("lustre", "servers"),
    [
        ({"capacity_gib": 1200}, 2),
        ({"capacity_gib": 4800}, 3),
        ({"capacity_gib": 48000}, 22),
        ({"capacity_gib": 4800, "metadata_iops": 24000}, 4),
        ({"capacity_gib": 38400, "throughput_mbps_per_tib": 1000, "efa": True}, 9),
        ({"capacity_gib": 7200, "deployment_type": "SCRATCH_1"}, 3),
        ({"capacity_gib": 6000, "deployment_type": "PERSISTENT_1", "storage_class": "HDD"}, 2),
        ({"storage_class": "INTELLIGENT_TIERING", "throughput_mbps": 8000}, 3),
        ({"existing": "fs-01234567", "mount_name": "abcdefgh"}, 0),
    ],
)
def test_every_server_of_lustre_has_an_address(lustre, servers):
    spec = cluster(9, "ml.c5.large", network=network(private_cidr="10.1.0.0/28"), storage={"lustre": lustre})
    message = next(finding.message for finding in check(spec) if finding.rule == "SUBNET_ADDRESSES")
    assert f"{servers + 8} for file systems and others" in message


def test_values_that_are_wrong_in_many_ways_break_no_rule():
    spec = cluster(
        -3,
        network=network(
            "0.0.0.0/0", ("usw2-az1", "999.0.0.0/99"), public_cidr="255.255.255.255/32", private_cidr="0.0.0.0/1"
        ),
        storage={"lustre": {"efa": True, "throughput_mbps_per_tib": -1}},
    )
    assert {"CIDR_SYNTAX", "CIDR_SIZE", "CIDR_OVERLAP"} <= {finding.rule for finding in check(spec)}


def test_default_network_is_sound():
    assert check(NetworkConfig()) == ()


def test_retention_periods_are_those_of_cloudformations_schema():
    schemas = Path(find_spec("cfnlint").origin).parent / "data" / "schemas"
    name = json.loads((schemas / "providers" / "us-east-1.json").read_text("utf-8"))["AWS::Logs::LogGroup"]
    schema = json.loads((schemas / "resources" / f"{name}.json").read_text("utf-8"))
    assert list(RETENTION_DAYS) == schema["properties"]["RetentionInDays"]["enum"]
