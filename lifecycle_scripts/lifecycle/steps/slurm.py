"""Slurm, in the legacy form from nothing but the agent's slurm.conf; in form `api` HyperPod sets it up.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-ref.html
https://slurm.schedmd.com/configless_slurm.html
"""

from lifecycle import partitions, units
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import File, all_held
from lifecycle.library import LIBRARY, PROGRAM
from lifecycle.node import RESOURCE_CONFIG
from lifecycle.publication import CONTROLLER_PORT, MUNGE_KEY
from lifecycle.slurm_conf import SLURM_CONF, lines_of, node_names, values
from lifecycle.step import COMPUTE, CONTROLLER, Context, Step

PATIENCE_SECONDS = 1800.0


# Configuration


def _configuration_is_done(context: Context) -> bool:
    if not context.host.exists(MUNGE_KEY) or not units.is_running(context.host, "munge.service"):
        raise NotYetError("munge.service does not run: HyperPod has not given this node the cluster's key")
    lines = list(lines_of(context.host))
    if not node_names(lines) or not values(lines, "SlurmctldHost"):
        raise NotYetError(f"{SLURM_CONF} is not there, or has no nodes or no SlurmctldHost: HyperPod's agent writes it")
    return True


def _configuration_do(context: Context) -> None:
    raise AssertionError("there is nothing to do but wait")


CONFIGURATION = Step(
    name="slurm-configuration",
    summary=f"wait for {SLURM_CONF}",
    is_done=_configuration_is_done,
    do=_configuration_do,
    node_types=CONTROLLER,
    patience_seconds=PATIENCE_SECONDS,
    waits_for_slurm=True,
)


# Two controllers

STATE = "/var/spool/slurmctld"


def failover_notice(context: Context) -> File | None:
    """Return the program that slurmctld runs when it takes charge; None where nobody is to be told."""
    topic = context.cluster.failover_topic
    if topic is None or len(context.node.controller_ips) < 2:
        return None
    message = f"is in charge of Slurm on cluster {context.cluster.name}."
    return File(
        f"{LIBRARY}/tell-failover",
        "#!/usr/bin/env bash\n# slurmctld runs this when it takes charge of the cluster.\n"
        "PATH=/usr/local/bin:/usr/bin:/bin\n"
        f"exec aws sns publish --region {context.cluster.region} --topic-arn {topic} \\\n"
        f"  --subject 'Slurm controller of {context.cluster.name}' --message \"Controller $(hostname) {message}\"\n",
        mode=0o755,
    )


def _state_directory(context: Context) -> str:
    return f"{context.cluster.shared_path}/.cdk-slurm/{context.cluster.name}/slurmctld"


def _state_is_done(context: Context) -> bool:
    notice = failover_notice(context)
    shared = context.host.link_target(STATE) == _state_directory(context)
    return shared and (notice is None or context.host.holds(notice))


def _state_do(context: Context) -> None:
    host, shared = context.host, _state_directory(context)
    if context.cluster.shared_path is None:
        raise StepError("two controllers share slurmctld's state, and this cluster has no file system to share it on")
    if notice := failover_notice(context):
        host.put(notice)
    if host.link_target(STATE) == shared:
        return
    if not host.is_mounted(context.cluster.shared_path):
        raise NotYetError(f"{context.cluster.shared_path} is not mounted")
    if units.is_running(host, "slurmctld.service"):
        raise StepError(f"slurmctld runs with its state in {STATE}, which both controllers are to share")
    host.make_directory(shared, mode=0o700)
    host.run("chown", "slurm:slurm", shared)
    if host.names_in(STATE):
        # What a controller of its own knew; the shared state is what counts.
        host.move(STATE, f"{STATE}.former")
    host.remove(STATE)
    host.link(STATE, shared)


STATE_DIRECTORY = Step(
    name="slurm-state",
    summary="share slurmctld's state between the controllers",
    is_done=_state_is_done,
    do=_state_do,
    node_types=CONTROLLER,
    is_wanted=lambda context: context.cluster.legacy and len(context.node.controller_ips) > 1,
)


# Partitions

_RUN = f"{PROGRAM}.partitions"
_UNITS = (
    File(
        "/etc/systemd/system/cdk-slurm-partitions.service",
        "[Unit]\nDescription=Partitions of the cluster file in slurm.conf\n"
        "StartLimitIntervalSec=0\n\n"
        f"[Service]\nType=oneshot\nExecStart={_RUN}\n",
    ),
    File(
        "/etc/systemd/system/cdk-slurm-partitions.path",
        "[Unit]\nDescription=HyperPod's agent changes slurm.conf or resource_config.json\n\n"
        f"[Path]\nPathChanged={SLURM_CONF}\nPathChanged={RESOURCE_CONFIG}\n\n"
        "[Install]\nWantedBy=multi-user.target\n",
    ),
    File(
        "/etc/systemd/system/cdk-slurm-partitions.timer",
        "[Unit]\nDescription=Workers that announce themselves on the shared file system\n\n"
        "[Timer]\nOnBootSec=15\nOnUnitInactiveSec=15\nAccuracySec=1\n\n[Install]\nWantedBy=timers.target\n",
    ),
    File(
        "/etc/systemd/system/slurmctld.service.d/50-cdk-slurm.conf",
        # As root; and slurmctld starts also where the keeper fails.
        f"[Service]\nExecStartPre=-+{_RUN} --before-start\n",
    ),
)
_WATCHERS = ("cdk-slurm-partitions.path", "cdk-slurm-partitions.timer")


def _partitions_are_done(context: Context) -> bool:
    if not context.cluster.legacy:
        # HyperPod owns them: what is written here would be drift, and fail the cluster's next update.
        _configuration_is_done(context)
        for difference in partitions.differences(context.host, context.cluster):
            context.warn(difference)
        return True
    host = context.host
    return (
        all_held(host, _UNITS)
        and all(units.is_up(host, unit) for unit in _WATCHERS)
        and partitions.is_kept(host, context.cluster)
    )


def _partitions_do(context: Context) -> None:
    for file in _UNITS:
        context.host.put(file)
    units.reload(context.host)
    partitions.keep(context.host, context.cluster)
    for unit in _WATCHERS:
        units.start(context.host, unit)


PARTITIONS = Step(
    name="partitions",
    summary="keep a partition for every worker group",
    is_done=_partitions_are_done,
    do=_partitions_do,
    node_types=CONTROLLER,
    waits_for_slurm=True,
)


def _announcement(context: Context) -> partitions.Announcement:
    return partitions.Announcement(context.node.slurm_name, context.group.name, context.group.partition or "")


def _announce_do(context: Context) -> None:
    shared = context.cluster.shared_path
    if shared and not context.host.is_mounted(shared):
        raise NotYetError(f"{shared} is not mounted")
    partitions.announce(context.host, context.cluster, _announcement(context))


ANNOUNCEMENT = Step(
    name="announce",
    summary="tell the controller this node's group and partition",
    is_done=lambda context: _announcement(context) in partitions.announced(context.host, context.cluster),
    do=_announce_do,
    node_types=COMPUTE,
    is_wanted=lambda context: context.cluster.legacy and context.cluster.shared_path is not None,
)


# Daemons


def _client(context: Context) -> File:
    """For nodes without a daemon that fetches slurm.conf: the commands fetch it themselves."""
    servers = ",".join(context.node.controller_ips)
    return File("/etc/profile.d/cdk-slurm.sh", f"export SLURM_CONF_SERVER={servers}\n")


def _slurmd(context: Context) -> File:
    servers = ",".join(f"{ip}:{CONTROLLER_PORT}" for ip in context.node.controller_ips)
    return File(
        "/etc/systemd/system/slurmd.service.d/50-cdk-slurm.conf",
        f'[Service]\nEnvironment="SLURMD_OPTIONS=--conf-server {servers}"\n',
    )


def _off(daemon: str) -> File:
    # Not masked: the AMI's unit stands where the mask would.
    return File(
        f"/etc/systemd/system/{daemon}.service.d/50-cdk-slurm-off.conf",
        f"# On this node {daemon} is not to run, whoever starts it.\n[Unit]\nConditionPathExists=/nonexistent\n",
    )


def _turn_off(context: Context, daemon: str) -> None:
    context.host.put(_off(daemon))
    units.reload(context.host)
    context.host.run("systemctl", "disable", "--now", "--quiet", f"{daemon}.service")


def _daemon_is_done(context: Context) -> bool:
    host = context.host
    if not context.cluster.legacy:
        return _api_daemon_runs(context)
    if context.node.node_type == "controller":
        return host.holds(_off("slurmd")) and units.is_up(host, "slurmctld.service")
    if not host.holds(_off("slurmctld")):
        return False
    if host.holds(_client(context)):
        return True
    return host.holds(_slurmd(context)) and units.is_up(host, "slurmd.service")


def _api_daemon_runs(context: Context) -> bool:
    daemon = "slurmctld" if context.node.node_type == "controller" else "slurmd"
    if not units.is_running(context.host, f"{daemon}.service"):
        raise NotYetError(f"{daemon} does not run: HyperPod starts it")
    return True


def _daemon_do(context: Context) -> None:
    host = context.host
    if context.node.node_type == "controller":
        _turn_off(context, "slurmd")
        units.start(host, "slurmctld.service")
        if not host.answers(context.node.ip, CONTROLLER_PORT):
            raise NotYetError("slurmctld does not answer yet")
        return
    if not any(host.answers(ip, CONTROLLER_PORT) for ip in context.node.controller_ips):
        raise NotYetError(f"no controller answers at {' or '.join(context.node.controller_ips) or 'any address'}")
    _turn_off(context, "slurmctld")
    if context.node.node_type == "login" and not _controller_knows(context):
        host.put(_client(context))
        return
    host.put(_slurmd(context))
    units.reload(host)
    try:
        units.restart(host, "slurmd.service")
    except StepError as error:
        # The controller may be starting anew, or not have read yet that this node is there.
        raise NotYetError(str(error)) from error


def _controller_knows(context: Context) -> bool:
    """Whether slurm.conf has this node: a slurmd that it does not know will not run."""
    servers = {"SLURM_CONF_SERVER": ",".join(context.node.controller_ips)}
    try:
        context.host.run("scontrol", "show", "node", context.node.slurm_name, environment=servers)
    except StepError:
        return False
    return True


DAEMON = Step(
    name="slurm-daemon",
    summary="start slurmctld on a controller, slurmd elsewhere",
    is_done=_daemon_is_done,
    do=_daemon_do,
    patience_seconds=PATIENCE_SECONDS,
    waits_for_slurm=True,
)


# Users' accounts in Slurm

ACCOUNT = "users"


def _accounts_are_done(context: Context) -> bool:
    try:
        return {user.name for user in context.cluster.users} <= _listed(context, "associations", "user")
    except CommandError:
        return False


def _accounts_do(context: Context) -> None:
    host = context.host
    try:
        if not _listed(context, "clusters", "cluster"):
            raise NotYetError("slurmctld has not told slurmdbd of this cluster yet")
        if ACCOUNT not in _listed(context, "accounts", "account"):
            host.run("sacctmgr", "--immediate", "add", "account", ACCOUNT, "Description=users")
        known = _listed(context, "associations", "user")
        for user in context.cluster.users:
            if user.name not in known:
                host.run("sacctmgr", "--immediate", "add", "user", user.name, f"Account={ACCOUNT}")
    except CommandError as error:
        raise NotYetError(f"Slurm's accounting does not take users yet: {error}") from error


def _listed(context: Context, entity: str, field: str) -> set[str]:
    """Return one field of all that Slurm's accounting has of a kind."""
    listing = ("sacctmgr", "--noheader", "--parsable2", "show", entity, f"format={field}")
    return set(context.host.run(*listing).split())


ACCOUNTS = Step(
    name="slurm-accounts",
    summary="add the users to Slurm's accounting",
    is_done=_accounts_are_done,
    do=_accounts_do,
    node_types=CONTROLLER,
    is_wanted=lambda context: bool(context.cluster.users) and context.node.first_controller,
    patience_seconds=PATIENCE_SECONDS,
    waits_for_slurm=True,
)
