"""Finds out which node this is, and writes it down for the other programs on the node."""

import json
from dataclasses import asdict

from lifecycle.cluster import parse_cluster
from lifecycle.errors import StepError
from lifecycle.node import Node, find_node, read_resource_config, resource_config_path
from lifecycle.step import Context, Step

NODE_FILE = "/var/log/provision/node.json"
_ENTRIES = {"api": "on_init_complete", "provisioning_parameters": "on_create"}


def _is_done(context: Context) -> bool:
    # Found anew in every run: the other steps go by this, node.json is only for other programs.
    context.cluster = parse_cluster(context.host.read_bundled("cluster.json"))
    if context.entry not in (None, _ENTRIES[context.cluster.slurm_configuration]):
        raise StepError(
            f"HyperPod started {context.entry}, which is not for slurm_configuration "
            f"{context.cluster.slurm_configuration!r} of cluster.json"
        )
    resource_config = read_resource_config(context.host)
    own_addresses = context.host.own_addresses()
    try:
        context.node = find_node(resource_config, context.cluster, own_addresses)
    except (AttributeError, KeyError, TypeError) as error:
        path = resource_config_path(context.host)
        raise StepError(f"{path} is not of the known shape: {error!r}") from error
    return context.host.read(NODE_FILE) == _as_text(context.node)


def _do(context: Context) -> None:
    context.host.write(NODE_FILE, _as_text(context.node))


def _as_text(node: Node) -> str:
    return json.dumps(asdict(node), indent=2) + "\n"


STEP = Step(name="identify", summary=f"write {NODE_FILE}", is_done=_is_done, do=_do)
