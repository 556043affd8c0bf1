"""What a description says exists already, as the local AWS is asked to stand in for it."""

from typing import Any

from cdk_slurm.spec import (
    ClusterSpec,
    ExistingAccountingDatabase,
    ExistingLustre,
    ExistingMetricsWorkspace,
    ExistingNetwork,
    ExistingOpenZfs,
    HyperPodSpec,
)


def what_exists(spec: ClusterSpec) -> tuple[dict[str, Any], list[str]]:
    """What to stand in for, and the ids of it for people to read."""
    wanted: dict[str, Any] = {}
    ids: list[str] = []
    network, database = spec.network, spec.accounting_database
    if isinstance(network, ExistingNetwork):
        wanted["network"] = _network(spec, network)
        ids += [network.existing, *(subnet["id"] for subnet in wanted["network"]["subnets"]), network.security_group]
    if isinstance(spec.storage.lustre, ExistingLustre):
        lustre = spec.storage.lustre
        wanted["lustre"] = {"id": lustre.existing, "mount_name": lustre.mount_name, "dns_name": lustre.dns_name}
        ids.append(lustre.existing)
    if isinstance(spec.storage.openzfs, ExistingOpenZfs):
        openzfs = spec.storage.openzfs
        wanted["openzfs"] = {
            "id": openzfs.existing,
            "root_volume": openzfs.root_volume,
            "dns_name": openzfs.dns_name,
        }
        ids.append(openzfs.existing)
    buckets = [spec.data.bucket] if spec.data and spec.data.bucket != "new" else []
    buckets += [one.bucket for one in spec.storage.s3]
    secrets = [database.secret] if isinstance(database, ExistingAccountingDatabase) else []
    if spec.directory and spec.directory.bind_secret:
        secrets.append(spec.directory.bind_secret)
    for kind, names in (("buckets", buckets), ("secrets", secrets)):
        if names:
            wanted[kind] = list(dict.fromkeys(names))
            ids += wanted[kind]
    if spec.observability and isinstance(spec.observability.workspace, ExistingMetricsWorkspace):
        wanted["metrics"] = spec.observability.workspace.existing
        ids.append(wanted["metrics"])
    if spec.kms_key:
        wanted["kms_key"] = spec.kms_key
        ids.append(spec.kms_key)
    return wanted, ids


def _network(spec: ClusterSpec, network: ExistingNetwork) -> dict[str, Any]:
    groups = spec.hyperpod.groups if isinstance(spec, HyperPodSpec) else ()
    own = [group.subnet for _, group in groups if group.subnet]
    others = [network.public_subnet, *network.additional_private_subnets, *own]
    # A description knows the range of one subnet at the most. The others get some, each its own.
    ranges = {id_: f"10.254.{number}.0/24" for number, id_ in enumerate(dict.fromkeys(others)) if id_}
    ranges[network.private_subnet] = network.private_subnet_cidr or "10.255.0.0/16"
    elsewhere = set(network.additional_private_subnets)
    zones = (zone for zone in "abcdef" if not spec.availability_zone.endswith(zone))
    return {
        "vpc": network.existing,
        "cidr": "10.0.0.0/8",
        "security_group": network.security_group,
        "subnets": [
            {
                "id": id_,
                "cidr": cidr,
                "availability_zone": f"{spec.region}{next(zones)}" if id_ in elsewhere else spec.availability_zone,
            }
            for id_, cidr in ranges.items()
        ],
    }
