"""The lifecycle's own copy on the node: what goes on running after the entry script, whose directory may go."""

import hashlib

from lifecycle import parts
from lifecycle.host import File, Host

LIBRARY = "/usr/local/lib/cdk-slurm"
#: How units run it. With env, so that a unit of somebody else's that runs it first keeps its own environment.
PROGRAM = (
    f"/usr/bin/env PYTHONPATH={LIBRARY} PATH=/opt/slurm/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
    "/usr/bin/python3 -B -m lifecycle"
)
#: The part that the exporters need beside Python itself.
PROMETHEUS_CLIENT = "prometheus-client"


def library_files(host: Host, *, exporters: bool) -> list[File]:
    """Return the scripts and what they go by, as they are to be on the node."""
    patterns = ["lifecycle/**/*.py", *(["exporters/**/*.py", "exporters/*.csv"] if exporters else [])]
    paths = [path for pattern in patterns for path in host.bundle.glob(pattern)]
    names = sorted(path.relative_to(host.bundle).as_posix() for path in paths)
    texts = {name: host.read_bundled(name) for name in ("cluster.json", parts.LOCK, *names)}
    return [File(f"{LIBRARY}/{name}", text) for name, text in texts.items() if text is not None]


def scripts_digest(host: Host) -> str:
    """Return what is another text when a script is: a program that runs has what it was started with."""
    digest = hashlib.sha256()
    for file in library_files(host, exporters=True):
        if file.path.endswith(".py"):
            digest.update(f"{file.path}\0{file.text}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def wheel(host: Host) -> str:
    """Return where the node has prometheus_client, which Python takes from there as it is."""
    return f"{LIBRARY}/{parts.locked_part(host, PROMETHEUS_CLIENT)['file']}"
