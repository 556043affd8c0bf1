"""ParallelCluster's own configuration of a cluster, written without CDK and without ParallelCluster.

https://docs.aws.amazon.com/parallelcluster/latest/ug/cluster-configuration-file-v3.html
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cdk_slurm.rules.instances import has_gpus, instance_facts
from cdk_slurm.rules.parallelcluster import has_efa, in_placement_group
from cdk_slurm.rules.service_model import partition_of_region
from cdk_slurm.spec import (
    CustomAction,
    CustomActions,
    ExistingLustre,
    ExistingNetwork,
    ExistingOpenZfs,
    ParallelClusterConfig,
    ParallelClusterSpec,
    Queue,
)

Yaml = dict[str, Any]

#: The version of ParallelCluster that the configuration is written for and judged by.
VERSION = "3.16.1"

#: What people need of a node without a key and an open port.
_SESSIONS = "AmazonSSMManagedInstanceCore"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a cluster stands in; strings may be CDK's tokens, or placeholders for people to fill in."""

    private_subnet: str
    public_subnet: str | None
    """Needed for a head node in the internet only."""

    security_group: str
    """Of all nodes: through it they reach each other and the file systems."""

    addresses: str
    """CIDR of the nodes' network."""

    lustre_id: str | None = None
    openzfs_volume_id: str | None = None
    """Root volume of the OpenZFS file system."""

    bucket: str | None = None
    """Name of the data bucket."""


def surroundings(spec: ParallelClusterSpec, outputs: Mapping[str, str]) -> Surroundings:
    """Surroundings of what the description says exists, and of outputs of its network's and storage's stacks.

    Raises `KeyError` with the name of an output that is needed and not there.
    """
    network, lustre, openzfs, data = spec.network, spec.storage.lustre, spec.storage.openzfs, spec.data
    bucket = None
    if data:
        bucket = outputs["S3BucketName"] if data.bucket == "new" else data.bucket
    lustre_id = volume_id = None
    if lustre:
        lustre_id = lustre.existing if isinstance(lustre, ExistingLustre) else outputs["FSxLustreFilesystemId"]
    if openzfs:
        volume_id = openzfs.root_volume if isinstance(openzfs, ExistingOpenZfs) else outputs["FSxORootVolumeId"]
    storage = {"lustre_id": lustre_id, "openzfs_volume_id": volume_id, "bucket": bucket}
    if isinstance(network, ExistingNetwork):
        return Surroundings(
            private_subnet=network.private_subnet,
            public_subnet=network.public_subnet,
            security_group=network.security_group,
            addresses=network.private_subnet_cidr or _NOBODY,
            **storage,
        )
    return Surroundings(
        private_subnet=outputs["PrimaryPrivateSubnet"],
        public_subnet=outputs["PublicSubnet"],
        security_group=outputs["SecurityGroup"],
        addresses=network.private_cidr,
        **storage,
    )


#: For whom SSH is open where nobody said and nobody knows; nodes reach each other through their security group.
_NOBODY = "127.0.0.1/32"


def cluster_configuration(spec: ParallelClusterSpec, surroundings: Surroundings) -> Yaml:
    """Return the document of `cluster.yaml` for a description that breaks no rule."""
    cluster = spec.parallelcluster
    document: Yaml = {
        "Region": spec.region,
        "Image": {"Os": cluster.os},
        "Imds": {"ImdsSupport": "v2.0"},
        "HeadNode": _head_node(spec, surroundings),
        "LoginNodes": _login_nodes(spec, surroundings),
        "Scheduling": {
            "Scheduler": "slurm",
            "SlurmSettings": _slurm_settings(cluster),
            "SlurmQueues": [_queue(queue, spec, surroundings) for queue in cluster.queues],
        },
        "SharedStorage": list(_shared_storage(spec, surroundings)),
        "Monitoring": {
            "DetailedMonitoring": False,
            "Logs": {
                "CloudWatch": {
                    "Enabled": True,
                    "RetentionInDays": cluster.log_retention_days,
                    "DeletionPolicy": "Retain",
                }
            },
            "Dashboards": {"CloudWatch": {"Enabled": True}},
        },
        "Tags": [{"Key": key, "Value": value} for key, value in spec.tags.items()],
    }
    return _without_nothing(document)


def _without_nothing(part: Yaml) -> Yaml:
    return {key: value for key, value in part.items() if value not in (None, [], {})}


def _head_node(spec: ParallelClusterSpec, around: Surroundings) -> Yaml:
    head = spec.parallelcluster.head_node
    public = head.subnet == "public"
    return _without_nothing(
        {
            "InstanceType": head.type,
            "Networking": {
                "SubnetId": around.public_subnet if public else around.private_subnet,
                "AdditionalSecurityGroups": [around.security_group],
            },
            # Left out, everybody may try.
            "Ssh": _without_nothing({"KeyName": head.ssh_key, "AllowedIps": head.ssh_from or around.addresses}),
            "LocalStorage": {"RootVolume": _root_volume(head.root_volume_gib)},
            "Iam": _permissions(spec, around, head.custom_actions),
            "CustomActions": _custom_actions(head.custom_actions),
        }
    )


def _login_nodes(spec: ParallelClusterSpec, around: Surroundings) -> Yaml | None:
    login = spec.parallelcluster.login
    if login is None:
        return None
    pool = {
        "Name": login.name,
        "InstanceType": login.type,
        "Count": login.count,
        "GracetimePeriod": login.grace_period_minutes,
        "Networking": _networking(around),
        "Ssh": {"AllowedIps": around.addresses},
        "Iam": {"AdditionalIamPolicies": [_session_policy(spec)]},  # it takes no S3Access
    }
    return {"Pools": [_without_nothing(pool)]}


def _slurm_settings(cluster: ParallelClusterConfig) -> Yaml:
    database = cluster.accounting_database
    return _without_nothing(
        {
            "ScaledownIdletime": cluster.scaledown_idle_minutes,
            "QueueUpdateStrategy": cluster.queue_update_strategy,
            "Database": database
            and {
                "Uri": f"{database.existing}:{database.port}",
                "UserName": database.user,
                "PasswordSecretArn": database.secret,
                "DatabaseName": database.name,
            },
            "CustomSlurmSettings": [{name: value} for name, value in cluster.slurm_settings.items()],
        }
    )


def _queue(queue: Queue, spec: ParallelClusterSpec, around: Surroundings) -> Yaml:
    types = [name for one in queue.compute for name in one.types]
    has_nvme = any((facts := instance_facts(name)) and facts.nvme_gb for name in types)
    storage: Yaml = {"RootVolume": _root_volume(queue.root_volume_gib)}
    if queue.scratch and has_nvme:
        storage["EphemeralVolume"] = {"MountDir": queue.scratch}
    # Without a word, ParallelCluster asks for one where there is EFA.
    networking = _networking(around) | {"PlacementGroup": {"Enabled": in_placement_group(queue)}}
    return _without_nothing(
        {
            "Name": queue.name,
            "CapacityType": queue.capacity.upper(),
            "JobExclusiveAllocation": queue.exclusive,
            "HealthChecks": {"Gpu": {"Enabled": queue.gpu_health_check}} if any(map(has_gpus, types)) else None,
            "Networking": networking,
            "ComputeSettings": {"LocalStorage": storage},
            "ComputeResources": [
                _without_nothing(
                    {
                        "Name": one.name,
                        **(
                            {"InstanceType": one.type}
                            if isinstance(one.type, str)
                            else {"Instances": [{"InstanceType": name} for name in one.type]}
                        ),
                        "MinCount": one.min_count,
                        "MaxCount": one.max_count,
                        "DisableSimultaneousMultithreading": not one.multithreading or None,
                        "Efa": {"Enabled": True} if has_efa(one) else None,
                        "CapacityReservationTarget": one.capacity_reservation
                        and _without_nothing(
                            {
                                "CapacityReservationId": one.capacity_reservation.id,
                                "CapacityReservationResourceGroupArn": one.capacity_reservation.resource_group,
                            }
                        ),
                    }
                )
                for one in queue.compute
            ],
            "Iam": _permissions(spec, around, queue.custom_actions),
            "CustomActions": _custom_actions(queue.custom_actions),
        }
    )


def _networking(around: Surroundings) -> Yaml:
    return {"SubnetIds": [around.private_subnet], "AdditionalSecurityGroups": [around.security_group]}


def _root_volume(size_gib: int) -> Yaml:
    return {"Size": size_gib, "Encrypted": True}


def _permissions(spec: ParallelClusterSpec, around: Surroundings, actions: CustomActions) -> Yaml:
    """Sessions, the data bucket, and the scripts that the node fetches."""
    buckets: list[Yaml] = [{"BucketName": around.bucket, "EnableWriteAccess": True}] if around.bucket else []
    scripts = {tuple(found.groups()) for one in _all_scripts(actions) if (found := _S3.fullmatch(one.script))}
    buckets += [{"BucketName": bucket, "KeyName": key} for bucket, key in sorted(scripts)]
    return _without_nothing({"AdditionalIamPolicies": [_session_policy(spec)], "S3Access": buckets})


def _session_policy(spec: ParallelClusterSpec) -> Yaml:
    return {"Policy": f"arn:{partition_of_region(spec.region)}:iam::aws:policy/{_SESSIONS}"}


_S3 = re.compile("s3://([^/]+)/(.+)")


def _scripts(actions: CustomActions) -> Iterator[tuple[str, tuple[CustomAction, ...]]]:
    """Scripts of each moment, under ParallelCluster's name of it."""
    for field in type(actions).model_fields:
        yield "".join(word.capitalize() for word in field.split("_")), getattr(actions, field)


def _all_scripts(actions: CustomActions) -> Iterable[CustomAction]:
    return [one for _, scripts in _scripts(actions) for one in scripts]


def _custom_actions(actions: CustomActions) -> Yaml:
    return {
        moment: {"Sequence": [_without_nothing({"Script": one.script, "Args": list(one.args)}) for one in scripts]}
        for moment, scripts in _scripts(actions)
        if scripts
    }


def _shared_storage(spec: ParallelClusterSpec, around: Surroundings) -> Iterator[Yaml]:
    """File systems that ParallelCluster mounts and neither makes nor deletes."""
    if spec.storage.openzfs:
        yield {
            "Name": "openzfs",
            "MountDir": spec.storage.openzfs.mount,
            "StorageType": "FsxOpenZfs",
            "FsxOpenZfsSettings": {"VolumeId": around.openzfs_volume_id},
        }
    if spec.storage.lustre:
        yield {
            "Name": "lustre",
            "MountDir": spec.storage.lustre.mount,
            "StorageType": "FsxLustre",
            "FsxLustreSettings": {"FileSystemId": around.lustre_id},
        }
