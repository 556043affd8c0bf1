"""What the controller publishes for spaces of SageMaker Studio: one document in the cluster's secret.

It runs when the node comes up, and again when MUNGE's key changes.
"""

import base64
import hashlib
import json
import logging
import platform
import re
import sys

from lifecycle import aws
from lifecycle.cluster import Studio, parse_cluster
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import Host
from lifecycle.node import find_node, read_resource_config
from lifecycle.step import Context

MUNGE_KEY = "/etc/munge/munge.key"
CONTROLLER_PORT = 6817
CLIENT_ARCHIVE = "/var/lib/cdk-slurm/slurm-client.tar.gz"
_DOCUMENT = "/run/cdk-slurm-published.json"

log = logging.getLogger(__name__)


def is_current(context: Context) -> bool:
    """Return whether the secret has what is to be in it."""
    try:
        return aws.secret_string(context, _studio(context).munge_secret_arn) == document(context)
    except CommandError as error:
        # A secret that was just made has no value yet.
        if "ResourceNotFoundException" in error.errors:
            return False
        raise


def publish(context: Context) -> None:
    """Put it there."""
    # In memory, for root, for a moment; the command reads it itself: the key is in no argument, no log and no output.
    context.host.write(_DOCUMENT, document(context), mode=0o600)
    try:
        aws.secretsmanager(
            context,
            *("put-secret-value", "--secret-id", _studio(context).munge_secret_arn),
            *("--secret-string", f"file://{_DOCUMENT}", "--query", "VersionId"),
        )
    finally:
        context.host.remove(_DOCUMENT)


def document(context: Context) -> str:
    """Return all that a space has to know, in one document, so that it is never of two clusters."""
    host = context.host
    try:
        key = host.locate(MUNGE_KEY).read_bytes()
    except FileNotFoundError:
        raise NotYetError(f"{MUNGE_KEY} is missing: HyperPod has not given this node the cluster's key") from None
    name, uid, gid = _slurm_user(host)
    content = {
        "cluster": context.cluster.name,
        "controllers": context.node.controller_ips,
        "port": CONTROLLER_PORT,
        "homes": context.cluster.homes,
        "slurm_version": host.run("sinfo", "--version").split()[-1],
        "slurm_user": {"name": name, "uid": uid, "gid": gid},
        "client": {
            "s3_uri": client_uri(context),
            "sha256": sha256(host, CLIENT_ARCHIVE),
            "machine": platform.machine(),
        },
        "munge_key": base64.b64encode(key).decode("ascii"),
        "munge_key_sha256": hashlib.sha256(key).hexdigest(),
    }
    return json.dumps(content, sort_keys=True)


def client_uri(context: Context) -> str:
    """Return where Slurm's programs are for spaces: another place for other programs."""
    return f"{_studio(context).client_s3_uri}/slurm-client-{sha256(context.host, CLIENT_ARCHIVE)}.tar.gz"


def configured(host: Host, key: str) -> str:
    """Return a value of the configuration that slurmctld goes by; raise `NotYetError` where it does not say."""
    try:
        said = host.run("scontrol", "show", "config")
    except CommandError as error:
        raise NotYetError(f"slurmctld does not answer: {error.errors}") from error
    match = re.search(rf"^{key}\s*=\s*(\S+)", said, re.MULTILINE)
    if not match:
        raise StepError(f"slurmctld's configuration has no {key}")
    return match[1]


def sha256(host: Host, path: str) -> str:
    """Return the checksum of a file."""
    return hashlib.sha256(host.locate(path).read_bytes()).hexdigest()


def _slurm_user(host: Host) -> tuple[str, int, int]:
    """Return SlurmUser, as whom slurmctld answers: commands believe nobody else."""
    name = configured(host, "SlurmUser").partition("(")[0]
    fields = host.run("getent", "passwd", name).split(":")
    return name, int(fields[2]), int(fields[3])


def _studio(context: Context) -> Studio:
    assert context.cluster.studio
    return context.cluster.studio


def main() -> int:
    """Publish what is new."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    context = Context(host=Host())
    try:
        context.cluster = parse_cluster(context.host.read_bundled("cluster.json"))
        resource_config = read_resource_config(context.host)
        context.node = find_node(resource_config, context.cluster, context.host.own_addresses())
        if not is_current(context):
            publish(context)
            log.info("published what spaces of Studio have to know")
    except (StepError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
