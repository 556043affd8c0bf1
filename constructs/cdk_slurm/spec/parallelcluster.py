"""An AWS ParallelCluster cluster with Slurm.

https://docs.aws.amazon.com/parallelcluster/latest/ug/cluster-configuration-file-v3.html
"""

from typing import Annotated, Literal

from pydantic import Field

from cdk_slurm.spec.hyperpod import ExistingAccountingDatabase
from cdk_slurm.spec.model import Cidr, Model, MountPath

#: Those that ParallelCluster has images of.
ParallelClusterOs = Literal["alinux2023", "ubuntu2204", "ubuntu2404", "rhel8", "rhel9"]


class CustomAction(Model):
    """A script of one's own that ParallelCluster runs on a node."""

    script: str
    """Where it is: `s3://bucket/key`, or `https://`. Name one that does not change under the same address."""

    args: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Its arguments."""


class CustomActions(Model):
    """Scripts of one's own, run one after the other; a node whose script fails is replaced."""

    on_node_start: Annotated[tuple[CustomAction, ...], Field(strict=False)] = ()
    """Before ParallelCluster sets a node up."""

    on_node_configured: Annotated[tuple[CustomAction, ...], Field(strict=False)] = ()
    """When it has set a node up."""


class HeadNodeActions(CustomActions):
    """Scripts of one's own on the head node."""

    on_node_updated: Annotated[tuple[CustomAction, ...], Field(strict=False)] = ()
    """After each update of the cluster."""


class HeadNode(Model):
    """The instance that runs slurmctld and serves ParallelCluster's own directories."""

    type: str = "m5.2xlarge"
    """EC2 instance type; m5.8xlarge for large clusters."""

    root_volume_gib: int = 500
    """Size of the root volume in GiB."""

    subnet: Literal["private", "public"] = "private"
    """`public` gives it an address in the internet; people reach the other through AWS Systems Manager."""

    ssh_key: str | None = None
    """Name of an EC2 key pair that may log in; none is needed with AWS Systems Manager."""

    ssh_from: Cidr | None = None
    """Addresses from which SSH is let in; left out, those of the VPC."""

    custom_actions: HeadNodeActions = HeadNodeActions()
    """Scripts of one's own."""


class LoginPool(Model):
    """Instances that users log in to."""

    name: str = "login"
    """Name of the pool."""

    type: str = "m5.xlarge"
    """EC2 instance type."""

    count: int = 1
    """Number of instances."""

    grace_period_minutes: int = 10
    """Minutes that people have to finish before an instance is taken away."""


class CapacityReservation(Model):
    """A reservation that instances are started in: one by its id, or a group of them."""

    id: str | None = None
    """Id of an EC2 Capacity Reservation or a Capacity Block, such as `cr-0123456789abcdef0`."""

    resource_group: str | None = None
    """ARN of a resource group of Capacity Reservations."""


class ComputeResource(Model):
    """Instances of a queue that are alike."""

    name: str
    """Name of the compute resource."""

    type: str | Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """EC2 instance type; of a list ParallelCluster takes what there is."""

    min_count: int = 0
    """Instances that run at all times."""

    max_count: int = 10
    """Most instances."""

    efa: bool | None = None
    """Elastic Fabric Adapter; left out, wherever every instance type has it."""

    multithreading: bool = True
    """Simultaneous multithreading."""

    capacity_reservation: CapacityReservation | None = None
    """The reservation that its instances come from."""

    @property
    def types(self) -> tuple[str, ...]:
        """All instance types that it may have."""
        return (self.type,) if isinstance(self.type, str) else self.type


class Queue(Model):
    """A Slurm partition."""

    name: str
    """Name of the queue, and of its partition."""

    capacity: Literal["ondemand", "spot", "capacity_block"] = "ondemand"
    """How instances are bought; a Capacity Block is reserved before."""

    compute: Annotated[tuple[ComputeResource, ...], Field(strict=False, min_length=1)]
    """What runs its jobs."""

    placement_group: bool | None = None
    """Instances close to each other; left out, where EFA is on and no reservation places them."""

    exclusive: bool = True
    """A job has whole nodes."""

    root_volume_gib: int = 200
    """Size of each instance's root volume in GiB."""

    scratch: MountPath | None = "/scratch"
    """Where local NVMe disks are mounted, on types that have them; null for nowhere."""

    gpu_health_check: bool = True
    """GPUs are checked before a job starts, on types that have them."""

    custom_actions: CustomActions = CustomActions()
    """Scripts of one's own."""


class ExistingParallelClusterDatabase(ExistingAccountingDatabase):
    """A MariaDB or MySQL database that exists already, for Slurm's accounting."""

    secret: str
    """ARN of a Secrets Manager secret that is the password itself, and no JSON."""

    user: str = "slurm"
    """User name in the database."""


class ParallelClusterConfig(Model):
    """An AWS ParallelCluster cluster: head node, login nodes and queues."""

    os: ParallelClusterOs = "ubuntu2204"
    """Operating system of all nodes."""

    head_node: HeadNode = HeadNode()
    """The head node."""

    login: LoginPool | None = None
    """Login nodes, if any."""

    queues: Annotated[tuple[Queue, ...], Field(strict=False, min_length=1)]
    """Slurm's partitions."""

    scaledown_idle_minutes: int = 10
    """Minutes after which an idle instance above `min_count` is stopped."""

    queue_update_strategy: Literal["DRAIN", "TERMINATE", "COMPUTE_FLEET_STOP"] = "DRAIN"
    """What becomes of nodes in use when a queue is changed: DRAIN lets jobs end."""

    slurm_settings: dict[str, str | int] = Field(default_factory=dict)
    """Parameters for slurm.conf that ParallelCluster does not set itself."""

    accounting_database: ExistingParallelClusterDatabase | None = None
    """External database of Slurm's accounting; left out, there is no accounting."""

    log_retention_days: int = 180
    """Days that CloudWatch keeps the nodes' logs."""
