"""One description of a cluster, as HyperPod and the nodes want to read it."""

from collections.abc import Sequence
from typing import Any

from cdk_slurm.hyperpod.munge_secret import MungeSecret
from cdk_slurm.observability import MetricsWorkspace
from cdk_slurm.rules.hyperpod import partition_of
from cdk_slurm.rules.instances import has_gpus, instance_facts
from cdk_slurm.rules.studio import studio_people
from cdk_slurm.spec import (
    ComputeGroup,
    DirectoryConfig,
    ExportersConfig,
    HyperPodConfig,
    InstanceGroup,
    S3Mount,
    StudioConfig,
    User,
)
from cdk_slurm.spec.hyperpod import NodeType
from cdk_slurm.storage import AccountingDatabase, LustreFileSystem, OpenZfsFileSystem

#: The version of `cluster.json` that the lifecycle scripts read.
SCHEMA_VERSION = 1


def cluster_json(
    *,
    cluster_name: str,
    region: str,
    config: HyperPodConfig,
    lustre: LustreFileSystem | None,
    openzfs: OpenZfsFileSystem | None,
    s3_mounts: Sequence[S3Mount],
    users: Sequence[User],
    directory: DirectoryConfig | None,
    accounting_database: AccountingDatabase | None,
    studio: StudioConfig | None,
    munge_secret: MungeSecret | None,
    client_s3_uri: str,
    metrics: MetricsWorkspace | None,
    exporters: ExportersConfig,
) -> dict[str, Any]:
    """What the lifecycle scripts know of the cluster; what it has not is left out, not null.

    Counts are left out too: they change no node.
    """
    return _there(
        schema_version=SCHEMA_VERSION,
        cluster_name=cluster_name,
        region=region,
        slurm_configuration=config.slurm_configuration,
        instance_groups=[
            _group(node_type, group, config, exporting=metrics is not None) for node_type, group in config.groups
        ],
        mounts=_there(
            lustre=lustre
            and {
                "dns_name": lustre.dns_name,
                "mount_name": lustre.mount_name,
                "path": lustre.mount_path,
                "efa": lustre.efa,
            },
            openzfs=openzfs and {"dns_name": openzfs.dns_name, "path": openzfs.mount_path},
            s3=[
                _there(bucket=one.bucket, prefix=one.prefix or None, path=one.mount, read_only=one.read_only)
                for one in s3_mounts
            ]
            or None,
        ),
        users=[
            {
                "name": user.name,
                "uid": user.uid,
                "gid": user.uid if user.gid is None else user.gid,
                "ssh_public_keys": list(user.ssh_public_keys),
            }
            for user in users
        ],
        restrict_ssh_to_jobs=config.restrict_ssh_to_jobs,
        directory=directory
        and _there(
            uri=directory.uri,
            base_dn=directory.base_dn,
            bind_dn=directory.bind_dn,
            bind_secret_arn=directory.bind_secret,
            ca_certificate=directory.ca_certificate,
        ),
        failover_topic=config.failover_topic,
        accounting_database=accounting_database
        and _there(
            endpoint=accounting_database.endpoint,
            port=accounting_database.port,
            name=accounting_database.name,
            secret_arn=accounting_database.secret_arn,
            user=accounting_database.user,
        ),
        studio=_studio(studio, users, lustre, munge_secret, client_s3_uri)
        if studio and lustre and munge_secret
        else None,
        metrics=metrics
        and _there(
            remote_write_url=metrics.remote_write_url,
            dcgm_image=exporters.dcgm_image,
            optional=list(exporters.optional),
        ),
    )


def _there(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _group(node_type: NodeType, group: InstanceGroup, config: HyperPodConfig, *, exporting: bool) -> dict[str, Any]:
    facts = [instance_facts(one) for one in group.types]
    return _there(
        name=group.name,
        node_type=node_type,
        instance_type=group.types[0],
        partition=partition_of(group, config.slurm_configuration) if isinstance(group, ComputeGroup) else None,
        ebs_volume=group.ebs_volume_gib is not None,
        # Where HyperPod chooses among types, only what each of them has can be counted on.
        nvme=all(one is not None and one.nvme_gb > 0 for one in facts),
        # Whether the exporter of GPUs runs there.
        gpu=all(map(has_gpus, group.types)) if exporting else None,
    )


def _studio(
    studio: StudioConfig,
    users: Sequence[User],
    lustre: LustreFileSystem,
    munge_secret: MungeSecret,
    client_s3_uri: str,
) -> dict[str, Any]:
    workspace, mount = studio.workspace, lustre.mount_path
    own = []
    if studio.domain and studio.domain.lustre == "per_user":
        own = [
            {
                "path": studio.mounted_on(mount, user.name),
                "uid": user.uid,
                "gid": user.uid if user.gid is None else user.gid,
            }
            for user, _ in studio_people(studio.domain, users)
        ]
    return {
        "workspace": {"path": workspace.path_on(mount), "uid": workspace.uid, "gid": workspace.gid},
        "directories": own,
        "mounted": [one["path"] for one in own] or [studio.mounted_on(mount)],
        "munge_secret_arn": munge_secret.secret_arn,
        "client_s3_uri": client_s3_uri,
    }


def provisioning_parameters(
    *,
    config: HyperPodConfig,
    lustre: LustreFileSystem | None,
    openzfs: OpenZfsFileSystem | None,
    accounting_database: AccountingDatabase | None,
) -> dict[str, Any]:
    """The legacy form's `provisioning_parameters.json`.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-ref.html
    """
    parameters: dict[str, Any] = {
        "version": "1.0.0",
        "workload_manager": "slurm",
        "controller_group": config.controller.name,
        "worker_groups": [
            {
                "instance_group_name": group.name,
                "partition_name": partition_of(group, config.slurm_configuration),
            }
            for group in config.compute
        ],
    }
    if config.login:
        parameters["login_group"] = config.login.name
    if lustre:
        parameters |= {"fsx_dns_name": lustre.dns_name, "fsx_mountname": lustre.mount_name}
    if openzfs:
        parameters["fsx_openzfs_dns_name"] = openzfs.dns_name
    shared = lustre or openzfs
    if accounting_database and shared:
        parameters["slurm_configurations"] = {
            "slurm_database_secret_arn": accounting_database.secret_arn,
            "slurm_database_endpoint": accounting_database.endpoint,
            "slurm_shared_directory": shared.mount_path,
        }
        if accounting_database.user:
            parameters["slurm_configurations"]["slurm_database_user"] = accounting_database.user
        if config.failover_topic:
            parameters["slurm_configurations"]["slurm_sns_arn"] = config.failover_topic
    return parameters
