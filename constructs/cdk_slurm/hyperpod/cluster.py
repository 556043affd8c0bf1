"""A SageMaker HyperPod cluster orchestrated by Slurm."""

import re
from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from cdk_slurm.findings import report, tell
from cdk_slurm.hyperpod.lifecycle_bundle import LifecycleBundle, lifecycle_bucket_name
from cdk_slurm.hyperpod.munge_secret import MungeSecret
from cdk_slurm.hyperpod.node_role import NodeRole
from cdk_slurm.hyperpod.slurm_configuration import cluster_json, provisioning_parameters
from cdk_slurm.network import TrainingNetwork, existing_subnet
from cdk_slurm.observability import MetricsWorkspace
from cdk_slurm.rules.hyperpod import partition_of
from cdk_slurm.rules.studio import workspace_findings
from cdk_slurm.spec import (
    ComputeGroup,
    DirectoryConfig,
    ExportersConfig,
    HyperPodConfig,
    InstanceGroup,
    LustreConfig,
    OpenZfsConfig,
    S3Mount,
    Storage,
    StudioConfig,
    User,
)
from cdk_slurm.spec.hyperpod import NodeType
from cdk_slurm.storage import AccountingDatabase, LustreFileSystem, OpenZfsFileSystem

_Props = sagemaker.CfnCluster

#: Where in the lifecycle bucket Slurm's programs are for spaces of Studio.
STUDIO_PREFIX = "studio"

#: Names of databases on Amazon RDS, whose authorities the nodes' slurmdbd has to know.
_RDS = re.compile(r"\.rds\.amazonaws\.com(\.cn)?$")


class HyperPodCluster(Construct):
    """A HyperPod cluster with its node role, lifecycle bucket and lifecycle scripts.

    In form `api` (the default) HyperPod sets Slurm up and mounts the file systems, and our scripts run
    after it; in form `provisioning_parameters` our scripts do it all. With `metrics` every node sends its
    own there, from `exporters`. Configuration that breaks a rule is an error at synthesis; `studio` without
    `lustre` raises `ValueError`. Changing counts, adding a group or changing a script updates the cluster
    in place; another name or network replaces it.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-slurm.html

    >>> cluster = HyperPodCluster(
    ...     stack,
    ...     "Cluster",
    ...     cluster_name="ml-cluster",
    ...     network=network,
    ...     lustre=lustre,
    ...     config=HyperPodConfig(compute=(ComputeGroup(name="gpu", type="ml.p5.48xlarge", count=8),)),
    ... )
    """

    cluster_name: str
    cluster_arn: str
    role: iam.IRole
    """Role of the nodes, to grant more to."""

    munge_secret_arn: str | None
    """Secret with the cluster's MUNGE key, once its controller runs; None without `studio`."""

    client_objects: str | None
    """ARN of what Slurm's programs for spaces of Studio are put into; None without `studio`."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        network: TrainingNetwork,
        config: HyperPodConfig,
        lustre: LustreFileSystem | None = None,
        openzfs: OpenZfsFileSystem | None = None,
        accounting_database: AccountingDatabase | None = None,
        s3_mounts: Sequence[S3Mount] = (),
        users: Sequence[User] = (),
        directory: DirectoryConfig | None = None,
        studio: StudioConfig | None = None,
        metrics: MetricsWorkspace | None = None,
        exporters: ExportersConfig | None = None,
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        report(self, config)
        report(self, _mounted(lustre, openzfs, s3_mounts))
        if directory:
            report(self, directory)
        if studio:
            report(self, studio)
            self._check_workspace(studio, lustre)
        exporters = exporters or ExportersConfig()
        report(self, exporters)
        legacy = config.slurm_configuration == "provisioning_parameters"
        munge_secret = (
            MungeSecret(self, "MungeKey", cluster_name=cluster_name, kms_key_arn=kms_key_arn) if studio else None
        )
        files = {
            "cluster.json": cluster_json(
                cluster_name=cluster_name,
                region=cdk.Stack.of(self).region,
                config=config,
                lustre=lustre,
                openzfs=openzfs,
                s3_mounts=s3_mounts,
                users=users,
                directory=directory,
                accounting_database=accounting_database,
                studio=studio,
                munge_secret=munge_secret,
                client_s3_uri=f"s3://{lifecycle_bucket_name(cluster_name, cdk.Stack.of(self))}/{STUDIO_PREFIX}",
                metrics=metrics,
                exporters=exporters,
            )
        }
        if legacy:
            files["provisioning_parameters.json"] = provisioning_parameters(
                config=config, lustre=lustre, openzfs=openzfs, accounting_database=accounting_database
            )
        bundle = LifecycleBundle(
            self,
            "Lifecycle",
            cluster_name=cluster_name,
            files=files,
            parts=_parts(legacy, accounting_database, s3_mounts, metrics),
            kms_key_arn=kms_key_arn,
        )
        self.client_objects = bundle.bucket.arn_for_objects(f"{STUDIO_PREFIX}/*") if studio else None
        subnets = {
            group.name: _own_subnet(self, group, network) or network.private_subnet() for _, group in config.groups
        }
        # HyperPod takes a customer managed key for volumes with continuous provisioning only.
        volume_kms_key_arn = kms_key_arn if config.continuous_provisioning else None
        secrets = [accounting_database and accounting_database.secret_arn, directory and directory.bind_secret]
        node_role = NodeRole(
            self,
            "NodeRole",
            network=network,
            subnets=list({subnet.node.path: subnet for subnet in subnets.values()}.values()),
            secret_arns=[arn for arn in secrets if arn],
            s3_mounts=s3_mounts,
            munge_secret=munge_secret,
            client_objects=self.client_objects,
            topic_arn=config.failover_topic,
            metrics=metrics,
            image=exporters.dcgm_image if metrics else None,
            kms_key_arn=kms_key_arn,
            volume_kms_key_arn=volume_kms_key_arn,
        )
        self.role = node_role.role
        groups = _Groups(config, network, lustre, openzfs, bundle, self.role, volume_kms_key_arn)
        cluster = sagemaker.CfnCluster(
            self,
            "Cluster",
            cluster_name=cluster_name,
            node_recovery=config.node_recovery.capitalize(),
            node_provisioning_mode="Continuous" if config.continuous_provisioning else None,
            orchestrator=None if legacy else _orchestrator(config, accounting_database),
            vpc_config=_Props.VpcConfigProperty(
                security_group_ids=[network.security_group.security_group_id],
                subnets=[network.private_subnet().subnet_id],
            ),
            instance_groups=[
                groups.render(node_type, group, subnets[group.name]) for node_type, group in config.groups
            ],
        )
        # HyperPod runs scripts, makes network interfaces and mounts file systems while it is being created:
        # everything that this takes, routes and security rules among it, must be there before, and go after.
        storage = [part for part in (lustre, openzfs, accounting_database) if part]
        cluster.node.add_dependency(bundle.uploaded, node_role, network, *storage)
        self.cluster_name = cluster_name
        self.cluster_arn = cluster.attr_cluster_arn
        self.munge_secret_arn = munge_secret.secret_arn if munge_secret else None

    @classmethod
    def from_attributes(
        cls,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        cluster_arn: str,
        role_arn: str,
        munge_secret_arn: str | None = None,
        client_objects: str | None = None,
    ) -> "HyperPodCluster":
        """Refer to a cluster that exists."""
        existing = _ExistingHyperPodCluster(scope, id)
        existing.cluster_name = cluster_name
        existing.cluster_arn = cluster_arn
        existing.role = iam.Role.from_role_arn(existing, "Role", role_arn)
        existing.munge_secret_arn = munge_secret_arn
        existing.client_objects = client_objects
        return existing

    def _check_workspace(self, studio: StudioConfig, lustre: LustreFileSystem | None) -> None:
        if lustre is None:
            raise ValueError("studio: found no lustre; allowed: with a Lustre file system, which holds the workspace")
        for finding in workspace_findings(studio, lustre.mount_path):
            tell(self, finding)


class _ExistingHyperPodCluster(HyperPodCluster):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)


class _Groups:
    """Renders instance groups: what they share is said once."""

    def __init__(
        self,
        config: HyperPodConfig,
        network: TrainingNetwork,
        lustre: LustreFileSystem | None,
        openzfs: OpenZfsFileSystem | None,
        bundle: LifecycleBundle,
        role: iam.IRole,
        volume_kms_key_arn: str | None,
    ) -> None:
        self._config = config
        self._network = network
        self._role = role
        self._api = config.slurm_configuration == "api"
        self._kms_key_arn = volume_kms_key_arn
        self._lifecycle = _Props.ClusterLifeCycleConfigProperty(
            source_s3_uri=bundle.s3_uri,
            on_init_complete="on_init_complete.sh" if self._api else None,
            on_create=None if self._api else "on_create.sh",
        )
        self._mounts = _mounts(lustre, openzfs) if self._api else []

    def render(
        self, node_type: NodeType, group: InstanceGroup, subnet: ec2.ISubnet
    ) -> sagemaker.CfnCluster.ClusterInstanceGroupProperty:
        compute = group if isinstance(group, ComputeGroup) else None
        elsewhere = group.subnet or group.availability_zone
        return _Props.ClusterInstanceGroupProperty(
            instance_group_name=group.name,
            instance_count=group.count,
            instance_type=group.types[0] if len(group.types) == 1 else None,
            instance_requirements=None
            if len(group.types) == 1
            else _Props.InstanceRequirementsProperty(instance_types=list(group.types)),
            execution_role=self._role.role_arn,
            life_cycle_config=self._lifecycle,
            threads_per_core=group.threads_per_core,
            instance_storage_configs=[*self._volumes(group), *self._mounts] or None,
            slurm_config=self._slurm(node_type, compute) if self._api else None,
            override_vpc_config=_Props.VpcConfigProperty(
                security_group_ids=[self._network.security_group.security_group_id], subnets=[subnet.subnet_id]
            )
            if elsewhere
            else None,
            min_instance_count=compute.min_count if compute else None,
            training_plan_arn=compute.training_plan if compute else None,
            on_start_deep_health_checks=list(compute.deep_health_checks) or None if compute else None,
            capacity_requirements=_Props.ClusterCapacityRequirementsProperty(spot={})
            if compute and compute.spot
            else None,
        )

    def _slurm(
        self, node_type: NodeType, compute: ComputeGroup | None
    ) -> sagemaker.CfnCluster.ClusterSlurmConfigProperty:
        return _Props.ClusterSlurmConfigProperty(
            node_type=node_type.capitalize(),
            partition_names=[partition_of(compute, self._config.slurm_configuration)] if compute else None,
        )

    def _volumes(self, group: InstanceGroup) -> list[sagemaker.CfnCluster.ClusterInstanceStorageConfigProperty]:
        volumes = []
        if group.ebs_volume_gib is not None:
            volumes.append(
                _Props.ClusterEbsVolumeConfigProperty(
                    volume_size_in_gb=group.ebs_volume_gib, volume_kms_key_id=self._kms_key_arn
                )
            )
        if self._kms_key_arn:
            volumes.append(_Props.ClusterEbsVolumeConfigProperty(root_volume=True, volume_kms_key_id=self._kms_key_arn))
        return [_Props.ClusterInstanceStorageConfigProperty(ebs_volume_config=volume) for volume in volumes]


def _mounted(
    lustre: LustreFileSystem | None, openzfs: OpenZfsFileSystem | None, s3_mounts: Sequence[S3Mount]
) -> Storage:
    """What is mounted where, as a description would say it: file systems are judged by constructs of their own."""
    return Storage(
        lustre=LustreConfig(mount=lustre.mount_path) if lustre else None,
        openzfs=OpenZfsConfig(mount=openzfs.mount_path) if openzfs else None,
        s3=tuple(s3_mounts),
    )


def _mounts(
    lustre: LustreFileSystem | None, openzfs: OpenZfsFileSystem | None
) -> list[sagemaker.CfnCluster.ClusterInstanceStorageConfigProperty]:
    mounts = []
    if lustre:
        mounts.append(
            _Props.ClusterInstanceStorageConfigProperty(
                fsx_lustre_config=_Props.ClusterFsxLustreConfigProperty(
                    dns_name=lustre.dns_name, mount_name=lustre.mount_name, mount_path=lustre.mount_path
                )
            )
        )
    if openzfs:
        mounts.append(
            _Props.ClusterInstanceStorageConfigProperty(
                fsx_open_zfs_config=_Props.ClusterFsxOpenZfsConfigProperty(
                    dns_name=openzfs.dns_name, mount_path=openzfs.mount_path
                )
            )
        )
    return mounts


def _parts(
    legacy: bool, database: AccountingDatabase | None, s3_mounts: Sequence[S3Mount], metrics: MetricsWorkspace | None
) -> list[str]:
    """What nodes need of the bundle's parts; in form `api` slurmdbd is HyperPod's."""
    parts = []
    # The endpoint of one that is made here is known at deployment only.
    if legacy and database and (cdk.Token.is_unresolved(database.endpoint) or _RDS.search(database.endpoint)):
        parts.append("rds-ca")
    if s3_mounts:
        parts.append("mount-s3")
    if metrics:
        parts += ["node-exporter", "prometheus", "prometheus-client"]
    return parts


def _orchestrator(
    config: HyperPodConfig, database: AccountingDatabase | None
) -> sagemaker.CfnCluster.OrchestratorProperty:
    return _Props.OrchestratorProperty(
        slurm=_Props.ClusterOrchestratorSlurmConfigProperty(
            slurm_config_strategy=config.slurm_config_strategy,
            accounting_database=_Props.ClusterAccountingDatabaseProperty(
                endpoint=database.endpoint, port=database.port, name=database.name, secret_arn=database.secret_arn
            )
            if database
            else None,
        )
    )


def _own_subnet(scope: Construct, group: InstanceGroup, network: TrainingNetwork) -> ec2.ISubnet | None:
    if group.subnet:
        return existing_subnet(scope, f"Subnet-{group.name}", group.subnet)
    if group.availability_zone:
        return network.private_subnet(group.availability_zone)
    return None
