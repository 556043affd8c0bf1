"""What SageMaker Studio's spaces have of the cluster: directories, MUNGE's key, Slurm's programs, and a way in."""

from lifecycle import aws, publication, units
from lifecycle.cluster import OwnedDirectory, Studio
from lifecycle.errors import NotYetError
from lifecycle.host import File, Host, all_held
from lifecycle.library import PROGRAM
from lifecycle.publication import CLIENT_ARCHIVE, MUNGE_KEY
from lifecycle.step import CONTROLLER, Context, Step


def _is_published(context: Context) -> bool:
    return context.cluster.studio is not None and context.node.first_controller


def _studio(context: Context) -> Studio:
    assert context.cluster.studio
    return context.cluster.studio


# Directories

#: Where spaces leave the public halves of people's keys, below what they mount.
KEYS = ".studio-keys"


def _directories(context: Context) -> list[tuple[OwnedDirectory, int]]:
    """The directories and their modes, those above before those in them."""
    studio = _studio(context)
    directories = [(studio.workspace, 0o755)]
    if studio.directories:
        # A person's own. Others may pass through it, as sshd does for the key that is there, and not look.
        return [*directories, *((one, 0o711) for one in studio.directories)]
    [mounted] = studio.mounted
    # Everybody may leave a file there, and nobody may take another's away.
    return [*directories, (OwnedDirectory(f"{mounted.rstrip('/')}/{KEYS}", 0, 0), 0o1777)]


def _workspace_is_done(context: Context) -> bool:
    host = context.host
    return all(
        host.owner_of(one.path) == (one.uid, one.gid) and host.mode_of(one.path) == mode
        for one, mode in _directories(context)
    )


def _workspace_do(context: Context) -> None:
    lustre = context.cluster.lustre
    if lustre and not context.host.is_mounted(lustre.path):
        raise NotYetError(f"{lustre.path} is not mounted")
    for one, mode in _directories(context):
        context.host.make_directory(one.path, mode=mode, owner=(one.uid, one.gid))


WORKSPACE = Step(
    name="studio-workspace",
    summary="make the directories that Studio's spaces share with the nodes",
    is_done=_workspace_is_done,
    do=_workspace_do,
    node_types=CONTROLLER,
    is_wanted=_is_published,
)


# Slurm's programs

_PREFIX = "/opt/slurm"
#: What can be done without being called back by nodes.
_PROGRAMS = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "sprio", "squeue", "sstat")
#: Says of which files the archive was made.
_CONTENTS = "/var/lib/cdk-slurm/slurm-client.contents"


def _client_files(host: Host) -> list[str]:
    """Slurm's programs for people, and its library and plugins, wherever this Slurm has those."""
    directories = {f"{_PREFIX}/lib/slurm", publication.configured(host, "PluginDir")}
    paths = {f"{directory}/{name}" for directory in directories for name in host.names_in(directory) if ".so" in name}
    return sorted(paths | {path for name in _PROGRAMS if host.exists(path := f"{_PREFIX}/bin/{name}")})


def _contents(host: Host, files: list[str]) -> str:
    """Return what is another text when a file is."""
    return "".join(f"{publication.sha256(host, file)}  {file}\n" for file in files)


def _client_is_done(context: Context) -> bool:
    host = context.host
    if not host.exists(CLIENT_ARCHIVE) or host.read(_CONTENTS) != _contents(host, _client_files(host)):
        return False
    return aws.object_exists(context, publication.client_uri(context))


def _client_do(context: Context) -> None:
    host = context.host
    files = _client_files(host)
    contents = _contents(host, files)
    host.remove(_CONTENTS)
    host.make_directory("/var/lib/cdk-slurm")
    # The same files make the same archive, wherever and whenever.
    options = ("--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--mode=u=rwX,go=rX", "--dereference")
    host.run(
        "tar",
        *("--create", "--use-compress-program=gzip --no-name", *options, f"--file={CLIENT_ARCHIVE}", "--directory=/"),
        *(file.lstrip("/") for file in files),
        timeout_seconds=600,
    )
    aws.upload(context, CLIENT_ARCHIVE, publication.client_uri(context))
    host.write(_CONTENTS, contents)


CLIENT = Step(
    name="studio-client",
    summary="put Slurm's programs where Studio's spaces take them from",
    is_done=_client_is_done,
    do=_client_do,
    node_types=CONTROLLER,
    is_wanted=_is_published,
    patience_seconds=300,
    waits_for_slurm=True,
)


# What is published

_WATCH = "cdk-slurm-publish.path"
_UNITS = (
    File(
        "/etc/systemd/system/cdk-slurm-publish.service",
        "[Unit]\nDescription=MUNGE's key and what else spaces of Studio have to know, in the cluster's secret\n\n"
        # Slurm may be down while its key changes.
        f"[Service]\nType=oneshot\nExecStart={PROGRAM}.publication\nRestart=on-failure\nRestartSec=15\n",
    ),
    File(
        f"/etc/systemd/system/{_WATCH}",
        "[Unit]\nDescription=MUNGE's key changes\n\n"
        f"[Path]\nPathChanged={MUNGE_KEY}\n\n[Install]\nWantedBy=multi-user.target\n",
    ),
)


def _secret_is_done(context: Context) -> bool:
    host = context.host
    return all_held(host, _UNITS) and units.is_up(host, _WATCH) and publication.is_current(context)


def _secret_do(context: Context) -> None:
    host = context.host
    if not all_held(host, _UNITS):
        for file in _UNITS:
            host.put(file)
        units.reload(host)
    units.start(host, _WATCH)
    if not publication.is_current(context):
        publication.publish(context)


MUNGE_SECRET = Step(
    name="munge-secret",
    summary="publish MUNGE's key and what else spaces have to know, now and when the key changes",
    is_done=_secret_is_done,
    do=_secret_do,
    node_types=CONTROLLER,
    is_wanted=_is_published,
    waits_for_slurm=True,
)


# SSH

_PROGRAM = "/etc/ssh/cdk-slurm-studio-keys"


def _ssh_files(context: Context) -> list[File]:
    paths = [f"{mounted.rstrip('/')}/{KEYS}" for mounted in _studio(context).mounted]
    return [
        File(
            _PROGRAM,
            "#!/usr/bin/python3 -I\n"
            "# Written by cdk-slurm: tells sshd which keys a person has in SageMaker Studio. A space left them on the\n"
            "# shared file system, where nobody can make a file of somebody else's: who owns it wrote it.\n"
            "import os\nimport pwd\nimport stat\nimport sys\n\n"
            "user = pwd.getpwnam(sys.argv[1])\n"
            f"for directory in {paths!r} if user.pw_uid >= 1000 else []:\n"
            "    try:\n"
            "        file = os.open(f'{directory}/{user.pw_name}.pub', os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)\n"
            "    except OSError:\n"
            "        continue\n"
            "    status = os.fstat(file)\n"
            "    if stat.S_ISREG(status.st_mode) and status.st_uid == user.pw_uid:\n"
            "        sys.stdout.write(os.read(file, 65536).decode('ascii', 'ignore'))\n",
            mode=0o755,
        ),
        File(
            "/etc/ssh/sshd_config.d/50-cdk-slurm-studio.conf",
            f"AuthorizedKeysCommand {_PROGRAM} %u\nAuthorizedKeysCommandUser nobody\n",
        ),
    ]


def _ssh_is_done(context: Context) -> bool:
    return all_held(context.host, _ssh_files(context))


def _ssh_do(context: Context) -> None:
    for file in _ssh_files(context):
        context.host.put(file)
    units.reread_sshd(context.host)


SSH = Step(
    name="studio-ssh",
    summary="let people log in with the keys that they have in Studio",
    is_done=_ssh_is_done,
    do=_ssh_do,
    node_types=frozenset({"controller", "login"}),
    is_wanted=lambda context: context.cluster.studio is not None,
)
