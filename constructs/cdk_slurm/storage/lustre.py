"""Amazon FSx for Lustre."""

import aws_cdk as cdk
from aws_cdk import aws_fsx as fsx
from constructs import Construct

from cdk_slurm.findings import report
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ExistingLustre, LustreConfig
from cdk_slurm.storage.file_system import (
    ALL_TRAFFIC,
    PortRange,
    file_system_security_group,
    regional_dns_name,
    removal_policy,
    security_rules,
)

_TCP: list[PortRange] = [("tcp", 988, 988), ("tcp", 1018, 1023)]


class LustreFileSystem(Construct):
    """An FSx for Lustre file system in the network's first private subnet.

    By default PERSISTENT_2 with 1200 GiB of SSD at 250 MB/s/TiB, LZ4 compression, mounted at /fsx, and
    kept when its stack goes. Configuration that breaks a rule is an error at synthesis.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/what-is.html

    >>> lustre = LustreFileSystem(stack, "Lustre", network=network, config=LustreConfig(capacity_gib=2400))
    """

    file_system_id: str
    dns_name: str
    mount_name: str
    """Lustre's name of what is mounted, as in `<dns_name>@tcp:/<mount_name>`."""

    mount_path: str
    """Where nodes mount it."""

    efa: bool
    """Whether clients reach it over EFA."""

    security_group_id: str | None
    """Its own security group; None for a file system that exists, whose groups are not known."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        config: LustreConfig | None = None,
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        config = config or LustreConfig()
        report(self, config)
        persistent = config.deployment_type.startswith("PERSISTENT")
        ports = [ALL_TRAFFIC] if config.efa else _TCP
        policy = removal_policy(config.removal_policy)
        security_group_id, rules = file_system_security_group(
            self, network, description="FSx for Lustre", ports=ports, both_ways=True, policy=policy
        )
        file_system = fsx.CfnFileSystem(
            self,
            "FileSystem",
            file_system_type="LUSTRE",
            file_system_type_version=config.version,
            storage_type=config.storage_class,
            storage_capacity=config.resolved_capacity_gib,
            subnet_ids=[network.private_subnet().subnet_id],
            security_group_ids=[security_group_id],
            # Scratch file systems are encrypted with a key of FSx's own, always.
            kms_key_id=kms_key_arn if persistent else None,
            lustre_configuration=fsx.CfnFileSystem.LustreConfigurationProperty(
                deployment_type=config.deployment_type,
                per_unit_storage_throughput=config.resolved_throughput_mbps_per_tib,
                throughput_capacity=config.throughput_mbps,
                data_compression_type=config.compression,
                efa_enabled=config.efa or None,
                drive_cache_type=_drive_cache(config),
                automatic_backup_retention_days=config.backup_retention_days if persistent else None,
                # Whether backups are taken or not: another value later would make another file system.
                copy_tags_to_backups=True if persistent else None,
                metadata_configuration=_metadata(config),
                data_read_cache_configuration=_read_cache(config),
            ),
        )
        for rule in rules:
            file_system.add_resource_dependency(rule)
        file_system.apply_removal_policy(policy)
        self.security_group_id = security_group_id
        self.file_system_id = file_system.ref
        self.dns_name = file_system.attr_dns_name
        self.mount_name = file_system.attr_lustre_mount_name
        self.mount_path = config.mount
        self.efa = config.efa

    @classmethod
    def from_config(
        cls,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        config: LustreConfig | ExistingLustre,
        kms_key_arn: str | None = None,
    ) -> "LustreFileSystem":
        """Make what a description says: a new file system, or one that exists."""
        if isinstance(config, LustreConfig):
            return LustreFileSystem(scope, id, network=network, config=config, kms_key_arn=kms_key_arn)
        return cls.from_attributes(
            scope,
            id,
            file_system_id=config.existing,
            mount_name=config.mount_name,
            dns_name=config.dns_name,
            mount_path=config.mount,
            efa=config.efa,
        )

    @classmethod
    def from_attributes(
        cls,
        scope: Construct,
        id: str,
        *,
        file_system_id: str,
        mount_name: str,
        dns_name: str | None = None,
        mount_path: str = "/fsx",
        efa: bool = False,
    ) -> "LustreFileSystem":
        """Use a file system that exists; its security groups must let the nodes in.

        `dns_name` is FSx's regional name of the file system when left out.
        """
        existing = _ExistingLustreFileSystem(scope, id)
        existing.file_system_id = file_system_id
        existing.mount_name = mount_name
        existing.dns_name = dns_name or regional_dns_name(scope, file_system_id)
        existing.mount_path = mount_path
        existing.efa = efa
        existing.security_group_id = None
        return existing

    def allow_clients(self, scope: Construct, security_group_id: str) -> list[cdk.CfnResource]:
        """Let others than nodes be clients, over TCP; return the rules, which are in their scope.

        None for a file system that exists: its groups are its owner's.
        """
        if self.security_group_id is None:
            return []
        directions = [
            ("ClientsToLustre", self.security_group_id, security_group_id),
            ("LustreToClients", security_group_id, self.security_group_id),
        ]
        return security_rules(scope, directions, description="FSx for Lustre", ports=_TCP, both_ways=True)


class _ExistingLustreFileSystem(LustreFileSystem):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)


def _drive_cache(config: LustreConfig) -> str | None:
    if config.storage_class != "HDD":
        return None
    return "READ" if config.drive_cache else "NONE"


def _metadata(config: LustreConfig) -> fsx.CfnFileSystem.MetadataConfigurationProperty | None:
    if config.deployment_type != "PERSISTENT_2" or config.version != "2.15":
        return None
    # Intelligent-Tiering has no automatic mode, and 6000 is its smaller value.
    iops = config.metadata_iops or (6000 if config.storage_class == "INTELLIGENT_TIERING" else None)
    if iops is None:
        return fsx.CfnFileSystem.MetadataConfigurationProperty(mode="AUTOMATIC")
    return fsx.CfnFileSystem.MetadataConfigurationProperty(mode="USER_PROVISIONED", iops=iops)


def _read_cache(config: LustreConfig) -> fsx.CfnFileSystem.DataReadCacheConfigurationProperty | None:
    if config.storage_class != "INTELLIGENT_TIERING":
        return None
    if config.read_cache_gib is None:
        return fsx.CfnFileSystem.DataReadCacheConfigurationProperty(sizing_mode="PROPORTIONAL_TO_THROUGHPUT_CAPACITY")
    return fsx.CfnFileSystem.DataReadCacheConfigurationProperty(
        sizing_mode="USER_PROVISIONED", size_gib=config.read_cache_gib
    )
