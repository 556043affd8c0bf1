"""One description of a cluster, as HyperPod and the nodes want to read it."""

from collections.abc import Sequence
from typing import Any

from cdk_slurm.rules.hyperpod import partition_of
from cdk_slurm.spec import ComputeGroup, HyperPodConfig, User
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
    users: Sequence[User],
    accounting_database: AccountingDatabase | None,
) -> dict[str, Any]:
    """What the lifecycle scripts know of the cluster; what it has not is left out, not null.

    Counts are left out too: they change no node.
    """
    description: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "cluster_name": cluster_name,
        "region": region,
        "slurm_configuration": config.slurm_configuration,
        "instance_groups": [
            {"name": group.name, "node_type": node_type, "instance_type": group.types[0]}
            | (
                {"partition": partition_of(group, config.slurm_configuration)}
                if isinstance(group, ComputeGroup)
                else {}
            )
            for node_type, group in config.groups
        ],
        "mounts": {},
        "users": [
            {
                "name": user.name,
                "uid": user.uid,
                "gid": user.uid if user.gid is None else user.gid,
                "ssh_public_keys": list(user.ssh_public_keys),
            }
            for user in users
        ],
    }
    if lustre:
        description["mounts"]["lustre"] = {
            "dns_name": lustre.dns_name,
            "mount_name": lustre.mount_name,
            "path": lustre.mount_path,
            "efa": lustre.efa,
        }
    if openzfs:
        description["mounts"]["openzfs"] = {"dns_name": openzfs.dns_name, "path": openzfs.mount_path}
    if accounting_database:
        description["accounting_database"] = {
            "endpoint": accounting_database.endpoint,
            "port": accounting_database.port,
            "name": accounting_database.name,
            "secret_arn": accounting_database.secret_arn,
        }
    return description


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
