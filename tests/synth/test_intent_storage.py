"""File systems: every option reaches its property, only nodes reach them, and nothing is lost by accident."""

from typing import Any

import aws_cdk as cdk
import pytest

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import LustreConfig, OpenZfsConfig
from cdk_slurm.storage import LustreFileSystem, OpenZfsFileSystem

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NODES = "sg-0123456789abcdef0"
SUBNET = "subnet-0123456789abcdef0"


def existing_network(stack, client_cidrs=("10.1.0.0/16",)):
    return TrainingNetwork.from_attributes(
        stack,
        "Network",
        vpc_id="vpc-0123456789abcdef0",
        availability_zone="usw2-az4",
        private_subnet_id=SUBNET,
        security_group_id=NODES,
        client_cidrs=client_cidrs,
    )


@pytest.fixture(scope="module")
def made(synthesise):
    """The template of a stack that holds one file system."""

    def make(construct, config, **arguments):
        return synthesise.in_stack(
            lambda stack: construct(stack, "Storage", network=existing_network(stack), config=config, **arguments)
        )

    return make


def file_system(template):
    return template.one("AWS::FSx::FileSystem")


# Options

Expected = dict[str, Any]

LUSTRE: list[tuple[dict[str, Any], Expected]] = [
    (
        {},
        {
            "FileSystemType": "LUSTRE",
            "FileSystemTypeVersion": "2.15",
            "StorageType": "SSD",
            "StorageCapacity": 1200,
            "SubnetIds": [SUBNET],
            "KmsKeyId": None,
            "LustreConfiguration": {
                "DeploymentType": "PERSISTENT_2",
                "CopyTagsToBackups": True,
                "PerUnitStorageThroughput": 250,
                "DataCompressionType": "LZ4",
                "MetadataConfiguration": {"Mode": "AUTOMATIC"},
                "AutomaticBackupRetentionDays": 0,
            },
        },
    ),
    ({"capacity_gib": 4800}, {"StorageCapacity": 4800}),
    ({"throughput_mbps_per_tib": 1000}, {"LustreConfiguration.PerUnitStorageThroughput": 1000}),
    ({"compression": "NONE"}, {"LustreConfiguration.DataCompressionType": "NONE"}),
    ({"backup_retention_days": 7}, {"LustreConfiguration.AutomaticBackupRetentionDays": 7}),
    (
        {"metadata_iops": 12000},
        {"LustreConfiguration.MetadataConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 12000}},
    ),
    (
        {"capacity_gib": 19200, "efa": True},
        {
            "LustreConfiguration.EfaEnabled": True,
            # EFA requires a metadata configuration.
            "LustreConfiguration.MetadataConfiguration": {"Mode": "AUTOMATIC"},
        },
    ),
    # Before 2.15 there is no metadata configuration.
    ({"version": "2.12"}, {"FileSystemTypeVersion": "2.12", "LustreConfiguration.MetadataConfiguration": None}),
    (
        {"deployment_type": "SCRATCH_2"},
        {
            "StorageCapacity": 1200,
            "LustreConfiguration": {"DeploymentType": "SCRATCH_2", "DataCompressionType": "LZ4"},
        },
    ),
    (
        {"deployment_type": "PERSISTENT_1"},
        {
            "LustreConfiguration.PerUnitStorageThroughput": 200,
            "LustreConfiguration.MetadataConfiguration": None,
            "LustreConfiguration.DriveCacheType": None,
        },
    ),
    (
        {"deployment_type": "PERSISTENT_1", "storage_class": "HDD", "capacity_gib": 6000},
        {
            "StorageType": "HDD",
            "LustreConfiguration.PerUnitStorageThroughput": 12,
            "LustreConfiguration.DriveCacheType": "NONE",
        },
    ),
    (
        {"deployment_type": "PERSISTENT_1", "storage_class": "HDD", "capacity_gib": 6000, "drive_cache": True},
        {"LustreConfiguration.DriveCacheType": "READ"},
    ),
    (
        {"storage_class": "INTELLIGENT_TIERING", "throughput_mbps": 4000},
        {
            "StorageType": "INTELLIGENT_TIERING",
            "StorageCapacity": None,
            "LustreConfiguration.ThroughputCapacity": 4000,
            "LustreConfiguration.PerUnitStorageThroughput": None,
            "LustreConfiguration.DataReadCacheConfiguration": {"SizingMode": "PROPORTIONAL_TO_THROUGHPUT_CAPACITY"},
            "LustreConfiguration.MetadataConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 6000},
        },
    ),
    (
        {"storage_class": "INTELLIGENT_TIERING", "throughput_mbps": 8000, "read_cache_gib": 64, "metadata_iops": 12000},
        {
            "LustreConfiguration.DataReadCacheConfiguration": {"SizingMode": "USER_PROVISIONED", "SizeGiB": 64},
            "LustreConfiguration.MetadataConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 12000},
        },
    ),
]

OPENZFS: list[tuple[dict[str, Any], Expected]] = [
    (
        {},
        {
            "FileSystemType": "OPENZFS",
            "StorageType": "SSD",
            "StorageCapacity": 512,
            "SubnetIds": [SUBNET],
            "KmsKeyId": None,
            "OpenZFSConfiguration.DeploymentType": "SINGLE_AZ_HA_2",
            "OpenZFSConfiguration.ThroughputCapacity": 160,
            "OpenZFSConfiguration.DiskIopsConfiguration": {"Mode": "AUTOMATIC"},
            "OpenZFSConfiguration.AutomaticBackupRetentionDays": 7,
            "OpenZFSConfiguration.CopyTagsToBackups": True,
            "OpenZFSConfiguration.CopyTagsToVolumes": True,
            "OpenZFSConfiguration.RootVolumeConfiguration.DataCompressionType": "ZSTD",
            "OpenZFSConfiguration.RootVolumeConfiguration.RecordSizeKiB": 128,
            "OpenZFSConfiguration.RootVolumeConfiguration.CopyTagsToSnapshots": True,
        },
    ),
    ({"capacity_gib": 1024}, {"StorageCapacity": 1024}),
    (
        {"deployment_type": "SINGLE_AZ_1", "throughput_mbps": 128},
        {"OpenZFSConfiguration.DeploymentType": "SINGLE_AZ_1", "OpenZFSConfiguration.ThroughputCapacity": 128},
    ),
    (
        {"iops": 6000},
        {"OpenZFSConfiguration.DiskIopsConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 6000}},
    ),
    ({"compression": "LZ4"}, {"OpenZFSConfiguration.RootVolumeConfiguration.DataCompressionType": "LZ4"}),
    ({"record_size_kib": 1024}, {"OpenZFSConfiguration.RootVolumeConfiguration.RecordSizeKiB": 1024}),
    ({"backup_retention_days": 0}, {"OpenZFSConfiguration.AutomaticBackupRetentionDays": 0}),
]

#: Options that no single property holds; the tests below look at what they do.
ELSEWHERE = {"mount", "removal_policy"}


@pytest.mark.parametrize(("fields", "expected"), LUSTRE)
def test_lustre_options_reach_their_properties(made, fields, expected):
    found = file_system(made(LustreFileSystem, LustreConfig(**fields)))
    assert {path: found.at(path) for path in expected} == expected


@pytest.mark.parametrize(("fields", "expected"), OPENZFS)
def test_openzfs_options_reach_their_properties(made, fields, expected):
    found = file_system(made(OpenZfsFileSystem, OpenZfsConfig(**fields)))
    assert {path: found.at(path) for path in expected} == expected


@pytest.mark.parametrize(("config", "table"), [(LustreConfig, LUSTRE), (OpenZfsConfig, OPENZFS)])
def test_no_option_is_forgotten(config, table):
    assert {name for fields, _ in table for name in fields} == set(config.model_fields) - ELSEWHERE


def test_file_systems_stand_in_the_clusters_own_subnet(synthesise):
    assembly = synthesise.example("hyperpod-multihead")
    subnet = assembly["network"].outputs["PrimaryPrivateSubnet"]
    for system in assembly["storage"].all("AWS::FSx::FileSystem"):
        assert assembly.resolved(system.properties["SubnetIds"]) == [subnet]


# Keys


@pytest.mark.parametrize(
    ("construct", "config", "key"),
    [
        (LustreFileSystem, LustreConfig(), KEY),
        (LustreFileSystem, LustreConfig(deployment_type="PERSISTENT_1"), KEY),
        # FSx refuses a key for what it encrypts with keys of its own.
        (LustreFileSystem, LustreConfig(deployment_type="SCRATCH_2"), None),
        (LustreFileSystem, LustreConfig(deployment_type="SCRATCH_1"), None),
        (OpenZfsFileSystem, OpenZfsConfig(), KEY),
    ],
)
def test_a_customers_key_encrypts_what_is_persistent(made, construct, config, key):
    assert file_system(made(construct, config, kms_key_arn=KEY)).at("KmsKeyId") == key


# Who reaches them


def rules(template):
    """Direction, on which group, the other group, protocol and ports of every rule; `own` is the file system's."""
    own = template.one("AWS::EC2::SecurityGroup").att("GroupId")
    peers = {"Ingress": "SourceSecurityGroupId", "Egress": "DestinationSecurityGroupId"}

    def name(group):
        return {NODES: "nodes"}.get(str(group)) or {str(own): "own"}[str(group)]

    return {
        (
            direction,
            name(rule.properties["GroupId"]),
            name(rule.properties[peer]),
            rule.properties["IpProtocol"],
            rule.properties.get("FromPort"),
            rule.properties.get("ToPort"),
        )
        for direction, peer in peers.items()
        for rule in template.all(f"AWS::EC2::SecurityGroup{direction}")
    }


BOTH_WAYS = [("own", "nodes"), ("own", "own"), ("nodes", "own")]


@pytest.mark.parametrize(
    ("config", "ports"),
    [
        (LustreConfig(), [("tcp", 988, 988), ("tcp", 1018, 1023)]),
        # EFA's traffic has no ports, and is matched by group id only.
        (LustreConfig(efa=True, capacity_gib=19200), [("-1", None, None)]),
    ],
)
def test_nodes_and_lustre_servers_reach_each_other(made, config, ports):
    template = made(LustreFileSystem, config)
    receiving = {("Ingress", to, source, *port) for to, source in BOTH_WAYS for port in ports}
    sending = {("Egress", source, to, *port) for to, source in BOTH_WAYS for port in ports}
    assert rules(template) == receiving | sending


@pytest.mark.parametrize("config", [LustreConfig(), LustreConfig(efa=True, capacity_gib=19200)])
def test_lustre_is_made_when_its_servers_may_reach_each_other(made, config):
    """FSx looks at the group's rules while it makes a file system, and refuses one that does not let Lustre through.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/limit-access-security-groups.html
    """
    template = made(LustreFileSystem, config)
    own = template.one("AWS::EC2::SecurityGroup").att("GroupId")
    among_servers = [
        *template.all("AWS::EC2::SecurityGroupIngress", GroupId=own, SourceSecurityGroupId=own),
        *template.all("AWS::EC2::SecurityGroupEgress", GroupId=own, DestinationSecurityGroupId=own),
    ]
    assert among_servers
    assert {rule.id for rule in among_servers} <= file_system(template).depends_on


def test_nodes_reach_openzfs_over_nfs_and_it_opens_no_connection(made):
    template = made(OpenZfsFileSystem, OpenZfsConfig())
    assert rules(template) == {
        ("Ingress", "own", "nodes", protocol, first, last)
        for protocol in ("tcp", "udp")
        for first, last in [(111, 111), (2049, 2049), (20001, 20003)]
    }


@pytest.mark.parametrize(
    ("construct", "config"), [(LustreFileSystem, LustreConfig()), (OpenZfsFileSystem, OpenZfsConfig())]
)
def test_a_file_system_has_a_group_of_its_own_that_is_otherwise_closed(made, construct, config):
    template = made(construct, config)
    group = template.one("AWS::EC2::SecurityGroup")
    assert file_system(template).at("SecurityGroupIds") == [group.att("GroupId")]
    assert "SecurityGroupIngress" not in group.properties
    # An address that nobody has: with no rule at all EC2 would let everything out.
    [nowhere] = group.properties["SecurityGroupEgress"]
    assert nowhere["CidrIp"] == "255.255.255.255/32"


def test_root_is_root_on_openzfs_in_the_first_zone_only(synthesise):
    system = synthesise.example("hyperpod-multihead")["storage"].one("AWS::FSx::FileSystem", FileSystemType="OPENZFS")
    [exports] = system.at("OpenZFSConfiguration.RootVolumeConfiguration.NfsExports")
    # Not by zone: exports cannot change without another file system, and zones are added.
    assert exports["ClientConfigurations"] == [
        {"Clients": "10.1.0.0/16", "Options": ["rw", "crossmnt", "no_root_squash"]},
        {"Clients": "*", "Options": ["rw", "crossmnt", "root_squash"]},
    ]


def test_openzfs_is_refused_where_the_nodes_ranges_are_not_known(synthesise):
    def build(stack):
        with pytest.raises(ValueError, match="client_cidrs: found none on the existing network; allowed"):
            OpenZfsFileSystem(stack, "Home", network=existing_network(stack, client_cidrs=()))

    synthesise.in_stack(build)


# What outlives the stack

CONSTRUCTS = [(LustreFileSystem, LustreConfig), (OpenZfsFileSystem, OpenZfsConfig)]


@pytest.mark.parametrize(("construct", "config"), CONSTRUCTS)
@pytest.mark.parametrize(("policy", "kept"), [("retain", ("Retain", "Retain")), ("destroy", ("Delete", "Delete"))])
def test_a_file_system_and_its_group_are_kept_unless_told_otherwise(made, construct, config, policy, kept):
    template = made(construct, config(removal_policy=policy))
    assert file_system(template).kept == kept
    assert template.one("AWS::EC2::SecurityGroup").kept == kept


@pytest.mark.parametrize("config", [LustreConfig, OpenZfsConfig])
def test_keeping_is_the_default(config):
    assert config().removal_policy == "retain"


def test_child_volumes_go_only_with_an_openzfs_that_is_to_be_destroyed(made):
    kept = file_system(made(OpenZfsFileSystem, OpenZfsConfig()))
    destroyed = file_system(made(OpenZfsFileSystem, OpenZfsConfig(removal_policy="destroy")))
    assert kept.at("OpenZFSConfiguration.Options") is None
    assert destroyed.at("OpenZFSConfiguration.Options") == ["DELETE_CHILD_VOLUMES_AND_SNAPSHOTS"]


# File systems that exist

ADOPTED = [
    (LustreFileSystem, {"mount_name": "2p3fhbmv"}, {}, "/fsx"),
    (LustreFileSystem, {"mount_name": "2p3fhbmv"}, {"mount_path": "/scratch", "dns_name": "lustre.example.com"}, None),
    (OpenZfsFileSystem, {}, {}, "/home"),
    (OpenZfsFileSystem, {}, {"mount_path": "/users", "dns_name": "zfs.example.com"}, None),
]


@pytest.mark.parametrize(("construct", "needed", "chosen", "default_path"), ADOPTED)
def test_a_file_system_that_exists_is_referred_to_and_nothing_else(synthesise, construct, needed, chosen, default_path):
    def build(app):
        stack = cdk.Stack(app, "stack", env=cdk.Environment(region="us-west-2"))
        found = construct.from_attributes(stack, "Found", file_system_id="fs-0123456789abcdef0", **needed, **chosen)
        for name in ("file_system_id", "dns_name", "mount_path", *needed):
            cdk.CfnOutput(stack, name.replace("_", ""), value=getattr(found, name))

    assembly = synthesise.app(build)
    [template] = assembly
    assert template.resources == {}
    outputs = {name: assembly.text(value) for name, value in template.outputs.items()}
    assert outputs.pop("mountname", None) == needed.get("mount_name")
    assert outputs == {
        "filesystemid": "fs-0123456789abcdef0",
        "dnsname": chosen.get("dns_name", "fs-0123456789abcdef0.fsx.us-west-2.${AWS::URLSuffix}"),
        "mountpath": chosen.get("mount_path", default_path),
    }


def test_a_description_of_existing_file_systems_makes_none(synthesise):
    template = synthesise.example("existing")["cluster"]
    assert not template.all("AWS::FSx::FileSystem") + template.all("AWS::EC2::SecurityGroup")
    assert template.outputs["FSxLustreFilesystemId"] == "fs-0123456789abcdef0"
    assert template.outputs["FSxLustreFilesystemMountname"] == "2p3fhbmv"
    assert template.outputs["FSxORootVolumeId"] == "fsvol-0123456789abcdef0"
