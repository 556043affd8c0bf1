"""Accounts for the people of the cluster: the same on every node, with their homes on the shared file system.

Many nodes do this at the same moment. Nothing on the shared file system is locked for it: a home is made
under a name of this node's, whole, with its keys, and moved to its own name in one move; of all nodes one
succeeds and the others drop theirs.
"""

from lifecycle import units
from lifecycle.cluster import User
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import File
from lifecycle.step import Context, Step

KEYS_DIRECTORY = "/etc/ssh/authorized_keys.d"

# The AMI's own user has its home in /home, where OpenZFS may now be mounted.
AMI_USER = "ubuntu"

_SSHD = File(
    "/etc/ssh/sshd_config.d/50-cdk-slurm.conf",
    "# Keys of the cluster file stand beside those that people add themselves.\n"
    f"AuthorizedKeysFile .ssh/authorized_keys {KEYS_DIRECTORY}/%u\n",
)


def _ssh(context: Context) -> File:
    # Quiet about the keys it does not check; but the reason why somebody may not log in is said at level INFO.
    level = "INFO" if context.cluster.restrict_ssh_to_jobs else "ERROR"
    return File(
        "/etc/ssh/ssh_config.d/50-cdk-slurm.conf",
        "# Nodes of this cluster among themselves: a replaced node has another key, and often a former's address.\n"
        f"Host ip-*\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n    LogLevel {level}\n",
    )


def _is_done(context: Context) -> bool:
    host = context.host
    return all(host.holds(file) for file in (_SSHD, _ssh(context))) and all(
        _account(context, user.name) == (user.uid, user.gid, _home(context, user.name))
        and _has_home(context, user)
        and host.holds(_keys(user))
        for user in _users(context)
    )


def _do(context: Context) -> None:
    homes = context.cluster.homes
    if context.cluster.shared_path and not context.host.is_mounted(homes):
        raise NotYetError(f"{homes}, where homes are, is not mounted")
    for user in _users(context):
        _make_account(context, user)
        if not _has_home(context, user):
            _make_home(context, user)
        context.host.put(_keys(user))
    context.host.put(_ssh(context))
    context.host.put(_SSHD)
    units.reread_sshd(context.host)


def _users(context: Context) -> list[User]:
    """The people of the cluster file, and the AMI's user where a mount hides its home."""
    users = list(context.cluster.users)
    account = _account(context, AMI_USER)
    if account and account[2] == _home(context, AMI_USER) and context.cluster.shared_path:
        users.append(User(AMI_USER, account[0], account[1], ()))
    return users


def _home(context: Context, name: str) -> str:
    return f"{context.cluster.homes}/{name}"


def _keys(user: User) -> File:
    # sshd reads them as the user.
    return File(f"{KEYS_DIRECTORY}/{user.name}", "".join(f"{key}\n" for key in user.ssh_public_keys))


def _account(context: Context, name: str) -> tuple[int, int, str] | None:
    """Return uid, gid and home of an account, or None."""
    line = _getent(context, "passwd", name)
    if line is None:
        return None
    _, _, uid, gid, _, home, _ = line.split(":")
    return int(uid), int(gid), home


def _getent(context: Context, database: str, key: str) -> str | None:
    try:
        return context.host.run("getent", database, key).strip()
    except CommandError as error:
        if error.exit_code == 2:
            return None
        raise


def _make_account(context: Context, user: User) -> None:
    account = _account(context, user.name)
    home = _home(context, user.name)
    if account == (user.uid, user.gid, home):
        return
    if account and account[0] != user.uid:
        raise StepError(f"user {user.name} is to have uid {user.uid}, and has {account[0]} on this node")
    owner = _getent(context, "passwd", str(user.uid))
    if owner and owner.split(":")[0] != user.name:
        raise StepError(f"uid {user.uid} of user {user.name} belongs to {owner.split(':')[0]} on this node")
    if _getent(context, "group", str(user.gid)) is None:
        _shadow(context, "groupadd", "--gid", str(user.gid), user.name if user.gid == user.uid else f"gid{user.gid}")
    if account:
        _shadow(context, "usermod", "--gid", str(user.gid), "--home", home, user.name)
    else:
        _shadow(
            context,
            "useradd",
            *("--uid", str(user.uid), "--gid", str(user.gid), "--home-dir", home, "--shell", "/bin/bash"),
            *("--no-create-home", "--no-user-group", user.name),
        )


def _shadow(context: Context, *command: str) -> None:
    try:
        context.host.run(*command)
    except CommandError as error:
        if "lock" in error.errors:
            raise NotYetError(f"{command[0]}: {error.errors}") from error
        raise


def _has_home(context: Context, user: User) -> bool:
    home = _home(context, user.name)
    owner = context.host.owner_of(home)
    if owner is not None and owner[0] != user.uid:
        raise StepError(f"{home} belongs to uid {owner[0]}, user {user.name} has {user.uid}: nothing was changed")
    return owner is not None


def _make_home(context: Context, user: User) -> None:
    host, home = context.host, _home(context, user.name)
    own = f"{context.cluster.homes}/.{user.name}.{context.node.slurm_name}"
    try:
        host.remove(own)
        host.make_directory(own, mode=0o750)
        host.run("cp", "--recursive", "--no-target-directory", "/etc/skel", own)
        host.make_directory(f"{own}/.ssh", mode=0o700)
        key = f"{own}/.ssh/id_ed25519"
        host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{user.name}@{context.cluster.name}", "-f", key)
        host.run("cp", f"{key}.pub", f"{own}/.ssh/authorized_keys")
        host.run("chown", "--recursive", "--no-dereference", f"{user.uid}:{user.gid}", own)
        if not host.move(own, home):
            host.remove(own)
    except (PermissionError, CommandError) as error:
        # Outside the file system's own zone root may not make homes there: a node in that zone does.
        if isinstance(error, PermissionError) or "not permitted" in error.errors or "denied" in error.errors:
            raise NotYetError(f"{home} is not there, and root of this node may not make it: {error}") from error
        raise


STEP = Step(
    name="users",
    summary="make accounts, homes and keys",
    is_done=_is_done,
    do=_do,
    patience_seconds=900,
)
