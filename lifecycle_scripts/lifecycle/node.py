"""Which node of the cluster this machine is."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle.cluster import Cluster
from lifecycle.errors import NotYetError, StepError
from lifecycle.host import Host

RESOURCE_CONFIG = "/opt/ml/config/resource_config.json"

# A cluster may have thousands of nodes, and an error must stay readable.
NAMES_SHOWN = 50


@dataclass(frozen=True)
class Node:
    """This machine's place in the cluster, and where its controllers are."""

    cluster_name: str
    region: str
    instance_group: str
    instance_name: str
    instance_id: str
    node_type: str
    ip: str
    controller_ips: tuple[str, ...]

    @property
    def slurm_name(self) -> str:
        """What Slurm calls this node."""
        return slurm_name(self.ip)

    @property
    def first_controller(self) -> bool:
        """Whether this is the controller that does what is to be done once for the cluster."""
        return self.ip == self.controller_ips[0] if self.controller_ips else False


def slurm_name(ip: str) -> str:
    """What Slurm calls the node with this address on HyperPod, which is its host name too."""
    return "ip-" + ip.replace(".", "-")


def resource_config_path(host: Host) -> str:
    """Return where the platform keeps its `resource_config.json`, which its own variable may say."""
    return host.environment.get("SAGEMAKER_RESOURCE_CONFIG_PATH") or RESOURCE_CONFIG


def read_resource_config(host: Host) -> Mapping[str, Any]:
    """Return what the platform says of the cluster's instances; raise `NotYetError` before it is written, whole."""
    path = resource_config_path(host)
    text = host.read(path)
    if text is None:
        raise NotYetError(f"{path} is missing: the platform has not written it")
    try:
        content: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise NotYetError(f"{path} is not complete: {error}") from error
    return content


def find_node(resource_config: Mapping[str, Any], cluster: Cluster, own_addresses: Sequence[str]) -> Node:
    """Return the one instance of the platform's `resource_config.json` that has an address of this machine.

    Nothing is guessed: no such instance, more than one, or a group or cluster that `cluster.json` does not
    know raise `StepError`.
    """
    cluster_name = resource_config["ClusterConfig"]["ClusterName"]
    region = _region(resource_config["ClusterConfig"]["ClusterArn"])
    if (cluster_name, region) != (cluster.name, cluster.region):
        raise StepError(
            f"this node is of cluster {cluster_name} in {region}, "
            f"cluster.json describes {cluster.name} in {cluster.region}"
        )
    instances = list(instances_of(resource_config))
    found = [candidate for candidate in instances if candidate[1] in own_addresses]
    if len(found) != 1:
        raise StepError(
            f"{'more than one' if found else 'no'} instance has an address of this node: "
            f"the node has {_listed(own_addresses)}; "
            f"the instances have {_listed([ip for _, ip, _ in instances])}"
        )
    [(group_name, ip, instance)] = found
    controllers = {group.name for group in cluster.instance_groups.values() if group.node_type == "controller"}
    if group_name not in cluster.instance_groups:
        raise StepError(
            f"this node is of instance group {group_name}, cluster.json knows {_listed(list(cluster.instance_groups))}"
        )
    return Node(
        cluster_name=cluster_name,
        region=region,
        instance_group=group_name,
        instance_name=instance["InstanceName"],
        instance_id=instance["InstanceId"],
        node_type=cluster.instance_groups[group_name].node_type,
        ip=ip,
        controller_ips=tuple(ip for name, ip, _ in instances if name in controllers),
    )


def instances_of(resource_config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield group name, address and description of each instance in the platform's `resource_config.json`."""
    # Instances is null for a group that has none yet; an instance without an address is not up yet.
    for group in resource_config["InstanceGroups"] or ():
        for instance in group.get("Instances") or ():
            if instance.get("CustomerIpAddress"):
                yield group["Name"], instance["CustomerIpAddress"], instance


def _region(arn: str) -> str:
    fields = arn.split(":")
    if len(fields) < 6 or fields[0] != "arn" or not fields[3]:
        raise StepError(f"ClusterArn {arn!r} is not an ARN with a Region")
    return fields[3]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN]) or "none"
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"
