"""Slurm's accounting: slurmdbd on the controller, with a MariaDB there or a database outside the cluster.

In form `api` HyperPod sets accounting up, and this only looks.

https://slurm.schedmd.com/accounting.html
https://slurm.schedmd.com/slurmdbd.conf.html
"""

import re

from lifecycle import aws, packages, parts, units
from lifecycle.cluster import AccountingDatabase
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import File
from lifecycle.node import slurm_name
from lifecycle.partitions import PARTITIONS_FILE
from lifecycle.slurm_conf import ACCOUNTING_CONF, ETC, SLURM_CONF, include, includes, lines_of, values
from lifecycle.step import CONTROLLER, Context, Step
from lifecycle.steps.slurm import failover_notice

PORT = 6819
DATABASE = "slurm_acct_db"
SLURMDBD_CONF = f"{ETC}/slurmdbd.conf"
CA_FILE = "/usr/local/share/cdk-slurm/rds-ca.pem"

_MARIADB = File(
    "/etc/mysql/mariadb.conf.d/60-cdk-slurm.cnf",
    "# What Slurm asks of its database: https://slurm.schedmd.com/accounting.html\n"
    "[mariadbd]\nbind-address = 127.0.0.1\ninnodb_buffer_pool_size = 512M\ninnodb_lock_wait_timeout = 900\n"
    "max_allowed_packet = 16M\n"
    # With it, MariaDB 11.8 refuses slurmdbd when two slurmctld register at once, as at a reconfigure; slurmctld then
    # makes up a cluster id, and dies of it at the next one. Loose: older releases do not know the setting.
    "loose_innodb_snapshot_isolation = OFF\n",
)
# Over the socket, as the operating system's user slurm: there is no password that could leak.
_SQL = (
    f"CREATE DATABASE IF NOT EXISTS {DATABASE};"
    "CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED VIA unix_socket;"
    f"GRANT ALL ON {DATABASE}.* TO slurm@localhost;"
)


def _is_done(context: Context) -> bool:
    host = context.host
    if not context.cluster.legacy:
        lines = list(lines_of(host))
        if not lines:
            raise NotYetError(f"{SLURM_CONF} is not there: HyperPod's agent writes it")
        if "accounting_storage/slurmdbd" not in values(lines, "AccountingStorageType"):
            raise NotYetError(f"{SLURM_CONF} has no accounting, so sacct has no jobs: HyperPod sets it up")
        _warn_without_containers(context, lines)
        return True
    # What is right in the database is seen by slurmdbd: it does not stay up without.
    return (
        host.holds(_accounting_conf(context))
        and includes(host, ACCOUNTING_CONF)
        and host.mode_of(SLURMDBD_CONF) == 0o600
        and (context.cluster.accounting_database is not None or host.holds(_MARIADB))
        and units.is_up(host, "slurmdbd.service")
    )


def _do(context: Context) -> None:
    host, database = context.host, context.cluster.accounting_database
    lines = _local_database(context) if database is None else _external_database(context, database)
    conf = File(SLURMDBD_CONF, _slurmdbd_conf(context, lines), mode=0o600, owner="slurm")
    changed = not host.holds(conf)
    host.put(conf)
    host.make_directory("/var/log/slurm")
    host.run("chown", "slurm:slurm", "/var/log/slurm")
    (units.restart if changed else units.start)(host, "slurmdbd.service")
    # Of two only the first answers, the other stands by.
    if not any(host.answers(ip, PORT) for ip in context.node.controller_ips):
        raise NotYetError(f"slurmdbd does not answer on port {PORT} yet")
    if not host.exists(PARTITIONS_FILE):
        # accounting.conf includes it, and what slurm.conf includes has to be there.
        host.write(PARTITIONS_FILE, "")
    # Last, so that slurmctld never starts with accounting that is not there.
    conf = _accounting_conf(context)
    changed = not host.holds(conf) or not includes(host, ACCOUNTING_CONF)
    host.put(conf)
    if not includes(host, ACCOUNTING_CONF):
        include(host, ACCOUNTING_CONF)
    if changed and units.is_running(host, "slurmctld.service"):
        # slurmctld reads where accounting goes only when it starts.
        units.restart(host, "slurmctld.service")


def _local_database(context: Context) -> list[str]:
    host = context.host
    if not host.finds("mariadbd"):
        packages.install(context, "mariadb-server")
    changed = not host.holds(_MARIADB)
    host.put(_MARIADB)
    (units.restart if changed else units.start)(host, "mariadb.service")
    try:
        host.run("mariadb", "--execute", _SQL)
    except CommandError as error:
        raise NotYetError(f"MariaDB does not take the database {DATABASE}: {error.errors}") from error
    return ["StorageHost=localhost", "StorageUser=slurm", f"StorageLoc={DATABASE}"]


def _external_database(context: Context, database: AccountingDatabase) -> list[str]:
    host = context.host
    if not host.answers(database.endpoint, database.port):
        raise NotYetError(f"the accounting database does not answer at {database.endpoint}:{database.port}")
    secret = aws.secret_fields(context, database.secret_arn)
    try:
        user, password = database.user or secret["username"], secret["password"]
    except KeyError as error:
        raise StepError(f"secret {database.secret_arn} has no field {error}") from None
    if '"' in password or "\n" in password:
        raise StepError("the database's password has a quotation mark or a line break, which slurmdbd.conf cannot hold")
    lines = [
        f"StorageHost={database.endpoint}",
        f"StoragePort={database.port}",
        f"StorageLoc={database.name}",
        f"StorageUser={user}",
        # A number sign would begin a comment, also between quotation marks.
        'StoragePass="' + password.replace("#", r"\#") + '"',
    ]
    if re.search(r"\.rds\.amazonaws\.com(\.cn)?$", database.endpoint):
        host.write(CA_FILE, parts.rds_certificates(host))
        lines.append(f"StorageParameters=SSL_CA={CA_FILE}")
    else:
        context.warn(f"{database.endpoint} is not of Amazon RDS: slurmdbd speaks to it without TLS")
    return lines


def _slurmdbd_conf(context: Context, storage: list[str]) -> str:
    first, *backups = context.node.controller_ips
    # By name and address: slurmdbd runs only where it is named, and is to listen for all nodes.
    hosts = [f"DbdHost={slurm_name(first)}", f"DbdAddr={first}"]
    hosts += [f"DbdBackupHost={slurm_name(backup)}" for backup in backups]
    return "\n".join(
        [
            "# Written by cdk-slurm.",
            "AuthType=auth/munge",
            *hosts,
            f"DbdPort={PORT}",
            "SlurmUser=slurm",
            "LogFile=/var/log/slurm/slurmdbd.log",
            "PidFile=/run/slurmdbd/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            *storage,
            "",
        ]
    )


def _accounting_conf(context: Context) -> File:
    first, *backups = context.node.controller_ips
    lines = [
        "# Written by cdk-slurm.",
        "AccountingStorageType=accounting_storage/slurmdbd",
        f"AccountingStorageHost={first}",
        *(f"AccountingStorageBackupHost={backup}" for backup in backups),
        f"AccountingStoragePort={PORT}",
        "AccountingStorageTRES=gres/gpu",
        "JobAcctGatherType=jobacct_gather/linux",
    ]
    # A key that is given twice counts once, and is complained of by every command.
    elsewhere = list(lines_of(context.host, but_not=[ACCOUNTING_CONF]))
    lines = [line for line in lines if not values(elsewhere, line.partition("=")[0])]
    if not values(elsewhere, "GresTypes"):
        lines.append("GresTypes=gpu")
    if context.cluster.restrict_ssh_to_jobs:
        if not values(elsewhere, "PrologFlags"):
            lines.append("PrologFlags=Contain")
        else:
            _warn_without_containers(context, elsewhere)
    if notice := failover_notice(context):
        lines.append(f"SlurmctldPrimaryOnProg={notice.path}")
    # See there: partitions must not be missing for a moment.
    lines.append(f"include {PARTITIONS_FILE.rpartition('/')[2]}")
    return File(ACCOUNTING_CONF, "\n".join([*lines, ""]))


def _warn_without_containers(context: Context, lines: list[str]) -> None:
    """Say so where pam_slurm_adopt would find nobody's job: it looks for the steps that this flag makes."""
    flags = ",".join(values(lines, "PrologFlags")[-1:]).lower().split(",")
    if context.cluster.restrict_ssh_to_jobs and "contain" not in flags:
        context.warn(
            f"restrict_ssh_to_jobs: {SLURM_CONF} is without PrologFlags=Contain, so that nobody but administrators can "
            "log in to compute nodes"
        )


STEP = Step(
    name="accounting",
    summary="set up slurmdbd and its database",
    is_done=_is_done,
    do=_do,
    node_types=CONTROLLER,
    patience_seconds=packages.PATIENCE_SECONDS,
    waits_for_slurm=True,
)
