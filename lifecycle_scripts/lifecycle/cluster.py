"""What the deployment says of the cluster: `cluster.json`, beside the scripts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from lifecycle.errors import StepError

NODE_TYPES = frozenset({"controller", "login", "compute"})
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cluster:
    """The part of `cluster.json` that the steps use."""

    name: str
    region: str
    node_types: Mapping[str, str]
    """The node type of each instance group, by the group's name."""


def parse_cluster(text: str | None) -> Cluster:
    """Return the cluster that `cluster.json` describes; raise `StepError` saying what is wrong with it."""
    if text is None:
        raise StepError("cluster.json is missing: the deployment writes it beside the scripts")
    try:
        content = json.loads(text)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise StepError(
                f"cluster.json has schema_version {version!r}, these scripts read {SCHEMA_VERSION}: "
                "deploy the two together"
            )
        node_types = {group["name"]: group["node_type"] for group in content["instance_groups"]}
        cluster = Cluster(content["cluster_name"], content["region"], node_types)
    except ValueError as error:
        raise StepError(f"cluster.json is not JSON: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise StepError(f"cluster.json is not of the known shape: {error!r}") from error
    for group, node_type in node_types.items():
        if node_type not in NODE_TYPES:
            raise StepError(
                f"cluster.json: the node_type of group {group} is {node_type!r}, it may be one of "
                f"{', '.join(sorted(NODE_TYPES))}"
            )
    return cluster
