"""Pulls a container image, from a private registry of Amazon ECR as the node's role.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
"""

import logging
import re
import sys

from lifecycle import aws
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import Host

_ECR = re.compile(r"\d{12}\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
#: Docker's configuration while it pulls, which has the password in it: in memory, root's, and gone afterwards.
_LOGIN_DIRECTORY = "/run/cdk-slurm-docker"
#: What will be the same however often it is tried, in the words of docker and of registries.
_LASTING = (
    *("denied", "unauthorized", "no basic auth", "invalid reference"),
    *("not found", "manifest unknown", "name unknown", "no matching manifest"),
)

log = logging.getLogger(__name__)


def is_pulled(host: Host, image: str) -> bool:
    """Return whether docker has the image."""
    return host.succeeds("docker", "image", "inspect", "--format={{.Id}}", image)


def pull(host: Host, image: str) -> None:
    """Have docker pull an image, unless it has it.

    What passes (a registry that does not answer) raises `NotYetError`, everything else `StepError`.
    """
    if is_pulled(host, image):
        return
    registry = image.partition("/")[0]
    private = _ECR.fullmatch(registry)
    if private is None:
        _docker(host, "pull", "--quiet", image)
        return
    password = _password(host, private["region"])
    own = {"DOCKER_CONFIG": _LOGIN_DIRECTORY}
    host.make_directory(_LOGIN_DIRECTORY, mode=0o700)
    try:
        _docker(host, "login", "--username=AWS", "--password-stdin", registry, input=password, environment=own)
        _docker(host, "pull", "--quiet", image, environment=own)
    finally:
        host.remove(_LOGIN_DIRECTORY)


def _password(host: Host, region: str) -> str:
    try:
        return host.run("aws", "ecr", "get-login-password", "--region", region)
    except CommandError as error:
        if any(name in error.errors for name in aws.LASTING):
            raise
        raise NotYetError(f"Amazon ECR gives no password: {error.errors}") from error


def _docker(host: Host, *arguments: str, input: str | None = None, environment: dict[str, str] | None = None) -> None:
    try:
        host.run("docker", *arguments, timeout_seconds=1200, input=input, environment=environment)
    except CommandError as error:
        told = f"docker {arguments[0]} of {arguments[-1]}: {error.errors[-500:]}"
        if any(word in error.errors for word in _LASTING):
            raise StepError(told) from error
        raise NotYetError(told) from error


def main() -> int:
    """Pull the image that is the argument, before a unit runs it."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    try:
        pull(Host(), sys.argv[1])
    except (StepError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
