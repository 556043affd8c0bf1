"""A SageMaker HyperPod cluster orchestrated by Slurm.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-slurm.html
"""

from typing import Annotated, Literal

from pydantic import Field, Tag

from cdk_slurm.spec.model import NEW_OR_EXISTING, AvailabilityZone, Model, RemovalPolicy, SubnetId

NodeType = Literal["controller", "login", "compute"]
DeepHealthCheck = Literal["InstanceStress", "InstanceConnectivity", "MultiNodeTrainingValidation"]


class InstanceGroup(Model):
    """What every instance group can say of its instances."""

    name: str
    """Name of the instance group."""

    type: str | Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Instance type; a list lets HyperPod choose, which AWS documents for EKS only."""

    count: int
    """Number of instances that the group is to have."""

    threads_per_core: int | None = None
    """1 turns simultaneous multithreading off; left out, the instance type decides."""

    ebs_volume_gib: int | None = 500
    """Size of the additional EBS volume at /opt/sagemaker, in GiB; null for none."""

    availability_zone: AvailabilityZone | None = None
    """Another zone of the network than the cluster's own."""

    subnet: SubnetId | None = None
    """A private subnet that exists already, instead of the network's."""

    @property
    def types(self) -> tuple[str, ...]:
        """All instance types that the group may have."""
        return (self.type,) if isinstance(self.type, str) else self.type


class ControllerGroup(InstanceGroup):
    """The instance group that runs slurmctld."""

    name: str = "controller"
    """Name of the instance group."""

    type: str = "ml.m5.2xlarge"
    """Instance type."""

    count: int = 1
    """1, or 2 for a controller and its backup (form `provisioning_parameters` only)."""


class LoginGroup(InstanceGroup):
    """The instance group that users log in to."""

    name: str = "login"
    """Name of the instance group."""

    type: str = "ml.m5.xlarge"
    """Instance type."""

    count: int = 1
    """Number of instances."""


class ComputeGroup(InstanceGroup):
    """An instance group that runs jobs, with a Slurm partition of its own."""

    min_count: int | None = None
    """Fewer instances than this within 3 hours fail the group's scaling (continuous provisioning only)."""

    partition: str | None = None
    """Slurm partition of the group; the group's name when left out."""

    training_plan: str | None = None
    """ARN of a SageMaker training plan that the instances come from."""

    spot: bool = False
    """Spot capacity, which AWS documents for EKS only."""

    deep_health_checks: Annotated[tuple[DeepHealthCheck, ...], Field(strict=False)] = ()
    """Checks that an instance must pass before it takes jobs."""


class ExistingAccountingDatabase(Model):
    """A MariaDB or MySQL database that exists already, for Slurm's accounting."""

    existing: str
    """Its endpoint's DNS name."""

    secret: str
    """ARN of a Secrets Manager secret, JSON with `username` and `password`."""

    port: int = 3306
    """Its TCP port."""

    name: str = "slurm_acct_db"
    """Database name."""


class AccountingDatabaseConfig(Model):
    """A new Amazon RDS for MariaDB database for Slurm's accounting.

    Its password is generated into a Secrets Manager secret. The network needs private subnets in two zones.
    """

    instance_type: str = "m6g.large"
    """RDS instance type without its prefix `db.`."""

    storage_gib: int = Field(default=100, ge=20, le=65536)
    """Storage in GiB, which grows by itself to ten times as much."""

    multi_az: bool = True
    """A standby in a second zone."""

    backup_retention_days: int = Field(default=7, ge=1, le=35)
    """Days that automatic backups are kept."""

    name: str = "slurm_acct_db"
    """Database name."""

    removal_policy: RemovalPolicy = "retain"
    """`destroy` deletes the database and all accounting in it with its stack."""


AccountingDatabase = Annotated[
    Annotated[AccountingDatabaseConfig, Tag("{new}")] | Annotated[ExistingAccountingDatabase, Tag("{existing}")],
    NEW_OR_EXISTING,
]


class HyperPodConfig(Model):
    """A HyperPod cluster: how Slurm is configured, and its instance groups."""

    slurm_configuration: Literal["api", "provisioning_parameters"] = "api"
    """`api`: HyperPod sets Slurm up and our scripts extend it. `provisioning_parameters`: the legacy
    form, where our scripts set Slurm up; needed for two controllers. Cannot be changed back from `api`."""

    slurm_config_strategy: Literal["Managed", "Overwrite", "Merge"] | None = None
    """Left out, form `api` provisions continuously (recommended). A value turns that off and says what
    HyperPod does with a slurm.conf that was changed on the controller."""

    node_recovery: Literal["automatic", "none"] = "automatic"
    """Whether HyperPod replaces or reboots nodes that it finds faulty."""

    controller: ControllerGroup = ControllerGroup()
    """The one instance group of controllers."""

    login: LoginGroup | None = None
    """The one instance group of login nodes, if any."""

    compute: Annotated[tuple[ComputeGroup, ...], Field(strict=False, min_length=1)]
    """Instance groups that run jobs."""

    accounting_database: AccountingDatabase | None = None
    """External database of Slurm's accounting; left out, the controller keeps its own."""

    failover_topic: str | None = None
    """ARN of an SNS topic that learns of a change of controllers (two controllers only)."""

    restrict_ssh_to_jobs: bool = False
    """People may log in to a compute node only while a job of theirs runs there (pam_slurm_adopt)."""

    @property
    def continuous_provisioning(self) -> bool:
        """Whether HyperPod provisions continuously."""
        return self.slurm_configuration == "api" and self.slurm_config_strategy is None

    @property
    def groups(self) -> tuple[tuple[NodeType, InstanceGroup], ...]:
        """All instance groups with their node types: controller, login, compute."""
        groups: list[tuple[NodeType, InstanceGroup]] = [("controller", self.controller)]
        if self.login:
            groups.append(("login", self.login))
        return (*groups, *(("compute", group) for group in self.compute))
