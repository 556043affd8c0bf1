"""The database of Slurm's accounting, outside the controllers."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct, IConstruct

from cdk_slurm.findings import acknowledge, report
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import AccountingDatabaseConfig, ExistingAccountingDatabase
from cdk_slurm.storage.file_system import removal_policy

_USER = "slurm"


class AccountingDatabase(Construct):
    """An RDS for MariaDB database for slurmdbd, reached by the nodes only.

    By default db.m6g.large with a standby in a second zone, 100 GiB that grow, a week of backups, and
    kept when its stack goes. The password is generated into a Secrets Manager secret (JSON with
    `username` and `password`). Needs private subnets in two zones. Configuration that breaks a rule is
    an error at synthesis.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-multihead-slurm-setup.html

    >>> database = AccountingDatabase(stack, "Accounting", network=network)
    """

    endpoint: str
    """DNS name."""

    port: int
    name: str
    """Name of the database."""

    secret_arn: str

    user: str | None
    """Name of the database user; None when only the secret knows it."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        config: AccountingDatabaseConfig | None = None,
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        config = config or AccountingDatabaseConfig()
        report(self, config)
        keep = config.removal_policy == "retain"
        key = kms.Key.from_key_arn(self, "Key", kms_key_arn) if kms_key_arn else None
        group = ec2.SecurityGroup(
            self, "SecurityGroup", vpc=network.vpc, description="Slurm accounting database", allow_all_outbound=False
        )
        group.add_ingress_rule(network.security_group, ec2.Port.tcp(3306), "Nodes")
        engine = rds.DatabaseInstanceEngine.maria_db(version=rds.MariaDbEngineVersion.VER_10_11_16)
        policy = removal_policy(config.removal_policy)
        group.apply_removal_policy(policy)
        database = rds.DatabaseInstance(
            self,
            "Database",
            engine=engine,
            instance_type=ec2.InstanceType(config.instance_type),
            allocated_storage=config.storage_gib,
            max_allocated_storage=min(65536, 10 * config.storage_gib),
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            storage_encryption_key=key,
            database_name=config.name,
            # What MariaDB takes and slurmdbd.conf does not: quotes, comments, white space, URL delimiters.
            credentials=rds.Credentials.from_generated_secret(
                _USER, encryption_key=key, exclude_characters=" %+~`#$&*()|[]{}:;<>?!'/@\"\\=,^"
            ),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=list(network.private_subnets)),
            security_groups=[group],
            multi_az=config.multi_az,
            publicly_accessible=False,
            backup_retention=cdk.Duration.days(config.backup_retention_days),
            copy_tags_to_snapshot=True,
            auto_minor_version_upgrade=True,
            cloudwatch_logs_exports=["error"],
            deletion_protection=keep,
            delete_automated_backups=not keep,
            removal_policy=policy,
            parameter_group=rds.ParameterGroup(
                self,
                "Parameters",
                engine=engine,
                description="What slurmdbd asks for: https://slurm.schedmd.com/accounting.html",
                parameters={"innodb_lock_wait_timeout": "900"},
                removal_policy=policy,
            ),
        )
        # What `database.secret` returns is the attachment of this one to the database.
        secret = database.node.find_child("Secret")
        assert isinstance(secret, rds.DatabaseSecret)
        assert database.secret is not None
        secret.apply_removal_policy(policy)
        _acknowledge(database, secret, config, own_key=kms_key_arn is not None)
        self.endpoint = database.db_instance_endpoint_address
        self.port = 3306
        self.name = config.name
        self.secret_arn = database.secret.secret_arn
        self.user = _USER

    @classmethod
    def from_config(
        cls,
        scope: Construct,
        id: str,
        *,
        network: TrainingNetwork,
        config: AccountingDatabaseConfig | ExistingAccountingDatabase,
        kms_key_arn: str | None = None,
    ) -> "AccountingDatabase":
        """Make what a description says: a new database, or one that exists."""
        if isinstance(config, AccountingDatabaseConfig):
            return AccountingDatabase(scope, id, network=network, config=config, kms_key_arn=kms_key_arn)
        return cls.from_attributes(
            scope, id, endpoint=config.existing, secret_arn=config.secret, port=config.port, name=config.name
        )

    @classmethod
    def from_attributes(
        cls,
        scope: Construct,
        id: str,
        *,
        endpoint: str,
        secret_arn: str,
        port: int = 3306,
        name: str = "slurm_acct_db",
    ) -> "AccountingDatabase":
        """Use a database that exists; its security groups must let the nodes in.

        The secret is JSON with `username` and `password`.
        """
        existing = _ExistingAccountingDatabase(scope, id)
        existing.endpoint = endpoint
        existing.secret_arn = secret_arn
        existing.port = port
        existing.name = name
        existing.user = None
        return existing


class _ExistingAccountingDatabase(AccountingDatabase):
    def __init__(self, scope: Construct, id: str) -> None:
        Construct.__init__(self, scope, id)


def _acknowledge(
    database: rds.DatabaseInstance, secret: IConstruct, config: AccountingDatabaseConfig, *, own_key: bool
) -> None:
    acknowledge(
        secret,
        "slurmdbd reads the password when a controller is set up; a rotation in between would stop accounting.",
        "AwsSolutions-SMG4",
        "NIST.800.53.R5-SecretsManagerRotationEnabled",
    )
    acknowledge(
        database,
        "HyperPod's legacy form has no field for the port; the nodes' security group alone reaches it.",
        "AwsSolutions-RDS11",
    )
    acknowledge(
        database,
        "slurmdbd is the only client; CloudWatch's own metrics of the instance tell what it needs.",
        "NIST.800.53.R5-RDSEnhancedMonitoringEnabled",
    )
    acknowledge(
        database,
        "RDS takes backups of its own, which restore to any moment.",
        "NIST.800.53.R5-RDSInBackupPlan",
    )
    acknowledge(
        database,
        "The error log is exported. The others hold every statement of one trusted client, job scripts among them.",
        *(f"NIST.800.53.R5-RDSLoggingEnabled[LogExport::{log}]" for log in ("audit", "general", "slowquery")),
    )
    if not own_key:
        acknowledge(
            secret,
            "Encrypted with Secrets Manager's own key; `kms_key` chooses a customer managed one.",
            "NIST.800.53.R5-SecretsManagerUsingKMSKey",
        )
    if not config.multi_az:
        acknowledge(
            database, "The description asks for no standby.", "AwsSolutions-RDS3", "NIST.800.53.R5-RDSMultiAZSupport"
        )
    if config.removal_policy == "destroy":
        acknowledge(
            database,
            "The description asks for the database to go with its stack.",
            "AwsSolutions-RDS10",
            "NIST.800.53.R5-RDSInstanceDeletionProtectionEnabled",
        )
