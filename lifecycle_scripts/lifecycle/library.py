"""The lifecycle's own copy on the node: what goes on running after the entry script, whose directory may go."""

from lifecycle.host import File, Host

LIBRARY = "/usr/local/lib/cdk-slurm"
PROGRAM = "/usr/bin/python3 -B -m lifecycle"
#: What units that run it say first.
ENVIRONMENT = f"Environment=PYTHONPATH={LIBRARY} PATH=/opt/slurm/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def library_files(host: Host) -> list[File]:
    """Return the scripts and what they go by, as they are to be on the node."""
    names = sorted(path.relative_to(host.bundle).as_posix() for path in host.bundle.glob("lifecycle/**/*.py"))
    return [File(f"{LIBRARY}/{name}", host.read_bundled(name) or "") for name in ("cluster.json", *names)]
