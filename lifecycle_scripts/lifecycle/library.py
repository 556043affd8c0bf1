"""The lifecycle's own copy on the node: what goes on running after the entry script, whose directory may go."""

from lifecycle.host import File, Host

LIBRARY = "/usr/local/lib/cdk-slurm"
#: How units run it. With env, so that a unit of somebody else's that runs it first keeps its own environment.
PROGRAM = (
    f"/usr/bin/env PYTHONPATH={LIBRARY} PATH=/opt/slurm/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
    "/usr/bin/python3 -B -m lifecycle"
)


def library_files(host: Host) -> list[File]:
    """Return the scripts and what they go by, as they are to be on the node."""
    names = sorted(path.relative_to(host.bundle).as_posix() for path in host.bundle.glob("lifecycle/**/*.py"))
    return [File(f"{LIBRARY}/{name}", host.read_bundled(name) or "") for name in ("cluster.json", *names)]
