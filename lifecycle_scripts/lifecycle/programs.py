"""Programs that come as packages of Debian, and are used without being installed.

Installing them would start their own services, make their users, and ask for what they depend on. The programs
themselves need a C library of 2.34 or later.
"""

from lifecycle import parts
from lifecycle.host import Host

_DIRECTORY = "/usr/local/lib/cdk-slurm-programs"


def program(host: Host, part: str, name: str) -> str:
    """Return where a program of a part is, or is to be: another version is at another place."""
    return f"{_unpacked(host, part)}/usr/bin/{name}"


def unpack(host: Host, part: str) -> None:
    """Have the files of a part where `program` finds them, unless they are there."""
    target = _unpacked(host, part)
    if host.exists(target):
        return
    package = parts.find_part(host, part)
    partial = f"{target}.partial"
    host.remove(partial)
    host.make_directory(partial)
    host.run("dpkg-deb", "--extract", str(package), partial, timeout_seconds=300)
    # What a power loss leaves is all of it or nothing.
    host.run("sync", "--file-system", partial)
    host.move(partial, target)


def _unpacked(host: Host, part: str) -> str:
    return f"{_DIRECTORY}/{part}-{parts.locked_part(host, part)['version']}"
