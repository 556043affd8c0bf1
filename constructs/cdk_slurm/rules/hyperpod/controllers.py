"""Rules of controllers, of how Slurm is configured, and of accounting."""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.hyperpod.instance_groups import of_shape
from cdk_slurm.rules.service_model import problem
from cdk_slurm.spec import (
    AccountingDatabaseConfig,
    ClusterSpec,
    ExistingAccountingDatabase,
    HyperPodConfig,
    HyperPodSpec,
    NetworkConfig,
)

_DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
_API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
_DATABASE = _API + "API_ClusterAccountingDatabase.html"
_SLURM = _DG + "sagemaker-hyperpod-ref.html#sagemaker-hyperpod-ref-slurm-configuration"
_CONTINUOUS = _DG + "sagemaker-hyperpod-scaling-slurm.html"
_TWO_CONTROLLERS = _DG + "sagemaker-hyperpod-multihead-slurm.html"


_ONLY_CONTINUOUS = "only with continuous provisioning (slurm_configuration: api, no slurm_config_strategy)"


@rule("error", _SLURM)
def slurm_config_strategy(config: HyperPodConfig) -> Iterator[Violation]:
    """A strategy for slurm.conf is part of form `api` only.

    In form `provisioning_parameters` our scripts write the partitions.
    """
    if config.slurm_configuration != "api" and config.slurm_config_strategy is not None:
        yield (
            "slurm_config_strategy",
            f"found {config.slurm_config_strategy} with slurm_configuration: {config.slurm_configuration}; "
            "allowed: only with slurm_configuration: api",
        )


@rule("error", _TWO_CONTROLLERS)
def controller_count(config: HyperPodConfig) -> Iterator[Violation]:
    """There is one controller; two in form `provisioning_parameters`.

    Form `api` has no fields for a backup controller.
    """
    count = config.controller.count
    if config.slurm_configuration == "api" and count != 1:
        yield (
            ("controller", "count"),
            f"found {count}; allowed: 1 (2 need slurm_configuration: provisioning_parameters)",
        )
    elif not 1 <= count <= 2:
        yield ("controller", "count"), f"found {count}; allowed: 1 or 2"


@rule("error", _TWO_CONTROLLERS)
def two_controllers_database(config: HyperPodConfig) -> Iterator[Violation]:
    """Two controllers need an accounting database outside of them.

    Both must reach it, so neither can keep it. Write `accounting_database: {}` for a new one.
    """
    if _two_controllers(config) and config.accounting_database is None:
        yield (
            ("controller", "count"),
            "found 2 without an accounting_database; allowed: 2 with one, 1 without",
        )


@rule("error", _TWO_CONTROLLERS)
def two_controllers_storage(spec: HyperPodSpec) -> Iterator[Violation]:
    """Two controllers need a shared directory.

    The backup continues from Slurm's state, so both must see it. Add one of the file systems to `storage`.
    """
    if _two_controllers(spec.hyperpod) and spec.storage.lustre is None and spec.storage.openzfs is None:
        yield (
            ("hyperpod", "controller", "count"),
            "found 2 without shared storage; allowed: 2 with storage.openzfs or storage.lustre, 1 without",
        )


@rule("error", _TWO_CONTROLLERS)
def failover_topic(config: HyperPodConfig) -> Iterator[Violation]:
    """A topic for failovers needs two controllers.

    With one controller nothing is ever published to it.
    """
    if config.failover_topic is not None and not _two_controllers(config):
        yield "failover_topic", "found a topic with one controller; allowed: only with two controllers"


@rule("error", "https://docs.aws.amazon.com/sns/latest/dg/sns-create-topic.html")
def failover_topic_arn(config: HyperPodConfig) -> Iterator[Violation]:
    """The topic for failovers is named by its ARN.

    HyperPod publishes to the topic; people subscribe to it, by e-mail or otherwise.
    """
    topic = config.failover_topic
    if topic is not None and not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}", topic):
        yield (
            "failover_topic",
            f"found {topic!r}; allowed: the ARN of a standard SNS topic, arn:aws:sns:<region>:<account>:<name>",
        )


@rule("error", _DATABASE)
def accounting_database_continuous(config: HyperPodConfig) -> Iterator[Violation]:
    """In form `api` an accounting database needs continuous provisioning.

    Leave `slurm_config_strategy` out to provision continuously.
    """
    if config.slurm_configuration == "api" and config.accounting_database and not config.continuous_provisioning:
        yield (
            "accounting_database",
            f"found one with slurm_config_strategy: {config.slurm_config_strategy}; allowed: {_ONLY_CONTINUOUS}",
        )


@rule("error", _TWO_CONTROLLERS)
def accounting_database_one_controller(config: HyperPodConfig) -> Iterator[Violation]:
    """In form `provisioning_parameters` an accounting database needs two controllers.

    HyperPod reads its address only from `slurm_configurations`, which is for two controllers. With one
    controller use form `api`, or let the controller keep its own database.
    """
    if config.slurm_configuration != "api" and config.accounting_database and not _two_controllers(config):
        yield (
            "accounting_database",
            f"found one with {config.controller.count} controller; allowed: with 2, or with slurm_configuration: api",
        )


@rule("error", _DATABASE)
def existing_accounting_database(database: ExistingAccountingDatabase) -> Iterator[Violation]:
    """An existing database is named by its host, port, database name and the ARN of its secret.

    The secret holds JSON with `username` and `password`. Never write a password here.
    """
    if problem("sagemaker", "ClusterAccountingDatabaseEndpoint", database.existing):
        yield (
            "existing",
            "found text that is no host's name (not shown, it may hold a password); "
            "allowed: a DNS name without scheme, user or port",
        )
    yield from of_shape("port", "ClusterAccountingDatabasePort", database.port)
    yield from of_shape("name", "ClusterAccountingDatabaseName", database.name)
    if problem("sagemaker", "ClusterAccountingDatabaseSecretArn", database.secret):
        yield (
            "secret",
            "found text that is no secret's ARN (not shown, it may be a password); "
            "allowed: arn:aws:secretsmanager:<region>:<account>:secret:<name>",
        )


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html")
def accounting_database_name(database: AccountingDatabaseConfig) -> Iterator[Violation]:
    """The name of a new database is letters, digits and underscores, a letter first.

    RDS for MariaDB takes 1 to 64 of them.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", database.name):
        yield (
            "name",
            f"found {database.name!r}; allowed: 1 to 64 letters, digits and underscores, beginning with a letter",
        )


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.html")
def accounting_database_instance_type(database: AccountingDatabaseConfig) -> Iterator[Violation]:
    """The instance type of a new database is written without `db.`.

    The prefix is added for you: `m6g.large` is RDS's `db.m6g.large`.
    """
    if not re.fullmatch(r"(?!db\.)[a-z][a-z0-9-]*\.[a-z0-9]+", database.instance_type):
        yield "instance_type", f"found {database.instance_type!r}; allowed: text of the form m6g.large, without db."


@rule("error", "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html")
def accounting_database_zones(spec: ClusterSpec) -> Iterator[Violation]:
    """A new accounting database needs a network of two zones.

    RDS places a database only where it could fail over to another zone, standby or not.
    """
    network = spec.network
    if isinstance(network, NetworkConfig):
        others, field = len(network.additional_zones), "network.additional_zones"
    else:
        others, field = len(network.additional_private_subnets), "network.additional_private_subnets"
    if isinstance(spec.accounting_database, AccountingDatabaseConfig) and not others:
        yield (
            (spec.kind, "accounting_database"),
            f"found a new database in a network of one zone; allowed: with a second zone in {field}",
        )


def _two_controllers(config: HyperPodConfig) -> bool:
    return config.slurm_configuration != "api" and config.controller.count == 2
