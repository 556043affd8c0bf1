"""Amazon FSx for OpenZFS."""

from aws_cdk import aws_fsx as fsx
from constructs import Construct

from cdk_slurm.findings import report
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ExistingOpenZfs, OpenZfsConfig
from cdk_slurm.storage.file_system import (
    PortRange,
    file_system_security_group,
    regional_dns_name,
    removal_policy,
)

_PORTS: tuple[PortRange, ...] = tuple(
    (protocol, first, last) for protocol in ("tcp", "udp") for first, last in ((111, 111), (2049, 2049), (20001, 20003))
)


class OpenZfsFileSystem(Construct):
    """An FSx for OpenZFS file system in the network's first private subnet, for home directories.

    By default SINGLE_AZ_HA_2 with 512 GiB at 160 MB/s, ZSTD compression, a week of backups, mounted at
    /home, exported to the nodes' ranges only, and kept when its stack goes. Configuration that breaks a
    rule is an error at synthesis.

    https://docs.aws.amazon.com/fsx/latest/OpenZFSGuide/what-is-fsx.html

    >>> home = OpenZfsFileSystem(stack, "Home", network=network, config=OpenZfsConfig(capacity_gib=1024))
    """

    file_system_id: str
    dns_name: str
    root_volume_id: str | None
    mount_path: str
    """Where nodes mount it."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        config: OpenZfsConfig | None = None,
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        config = config or OpenZfsConfig()
        report(self, config)
        policy = removal_policy(config.removal_policy)
        security_group_id, rules = file_system_security_group(
            self, network, description="FSx for OpenZFS", ports=_PORTS, both_ways=False, policy=policy
        )
        iops = fsx.CfnFileSystem.DiskIopsConfigurationProperty(
            mode="USER_PROVISIONED" if config.iops else "AUTOMATIC", iops=config.iops
        )
        file_system = fsx.CfnFileSystem(
            self,
            "FileSystem",
            file_system_type="OPENZFS",
            storage_type="SSD",
            storage_capacity=config.capacity_gib,
            subnet_ids=[network.private_subnet().subnet_id],
            security_group_ids=[security_group_id],
            kms_key_id=kms_key_arn,
            open_zfs_configuration=fsx.CfnFileSystem.OpenZFSConfigurationProperty(
                deployment_type=config.deployment_type,
                throughput_capacity=config.throughput_mbps,
                automatic_backup_retention_days=config.backup_retention_days,
                copy_tags_to_backups=True,
                copy_tags_to_volumes=True,
                disk_iops_configuration=iops,
                # Without this FSx refuses to delete a file system that has child volumes; with it, they go.
                options=["DELETE_CHILD_VOLUMES_AND_SNAPSHOTS"] if config.removal_policy == "destroy" else None,
                root_volume_configuration=fsx.CfnFileSystem.RootVolumeConfigurationProperty(
                    data_compression_type=config.compression,
                    record_size_kib=config.record_size_kib,
                    copy_tags_to_snapshots=True,
                    nfs_exports=[_exports(network)],
                ),
            ),
        )
        for rule in rules:
            file_system.add_resource_dependency(rule)
        file_system.apply_removal_policy(policy)
        self.file_system_id = file_system.ref
        self.dns_name = file_system.attr_dns_name
        self.root_volume_id = file_system.attr_root_volume_id
        self.mount_path = config.mount

    @classmethod
    def from_config(
        cls,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        config: OpenZfsConfig | ExistingOpenZfs,
        kms_key_arn: str | None = None,
    ) -> "OpenZfsFileSystem":
        """Make what a description says: a new file system, or one that exists."""
        if isinstance(config, OpenZfsConfig):
            return OpenZfsFileSystem(scope, id, network=network, config=config, kms_key_arn=kms_key_arn)
        return cls.from_attributes(
            scope,
            id,
            file_system_id=config.existing,
            dns_name=config.dns_name,
            root_volume_id=config.root_volume,
            mount_path=config.mount,
        )

    @classmethod
    def from_attributes(
        cls,
        scope: Construct,
        id: str,
        *,
        file_system_id: str,
        dns_name: str | None = None,
        root_volume_id: str | None = None,
        mount_path: str = "/home",
    ) -> "OpenZfsFileSystem":
        """Use a file system that exists; its security groups and NFS exports must let the nodes in.

        `dns_name` is FSx's regional name of the file system when left out.
        """
        existing = _ExistingOpenZfsFileSystem(scope, id)
        existing.file_system_id = file_system_id
        existing.dns_name = dns_name or regional_dns_name(scope, file_system_id)
        existing.root_volume_id = root_volume_id
        existing.mount_path = mount_path
        return existing


class _ExistingOpenZfsFileSystem(OpenZfsFileSystem):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)


def _exports(network: TrainingNetwork) -> fsx.CfnFileSystem.NfsExportsProperty:
    """Root on a node of the first zone makes home directories, so it stays root; for others it is nobody.

    The security group lets nodes in and nobody else. Exports belong to the root volume, which CloudFormation
    cannot change: a zone that is added later must find itself here.
    """
    if not network.client_cidrs:
        raise ValueError(
            "client_cidrs: found none on the existing network; allowed: the ranges that nodes have addresses in, "
            "which a new OpenZFS file system exports to"
        )
    exports = fsx.CfnFileSystem.ClientConfigurationsProperty
    return fsx.CfnFileSystem.NfsExportsProperty(
        client_configurations=[
            exports(clients=network.client_cidrs[0], options=["rw", "crossmnt", "no_root_squash"]),
            exports(clients="*", options=["rw", "crossmnt", "root_squash"]),
        ]
    )
