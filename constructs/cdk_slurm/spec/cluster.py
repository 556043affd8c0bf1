"""A whole cluster: what one YAML file says."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from cdk_slurm.spec.data import Data
from cdk_slurm.spec.directory import DirectoryConfig
from cdk_slurm.spec.hyperpod import AccountingDatabaseConfig, ExistingAccountingDatabase, HyperPodConfig
from cdk_slurm.spec.model import AvailabilityZone, Model
from cdk_slurm.spec.network import Network, NetworkConfig
from cdk_slurm.spec.observability import ObservabilityConfig
from cdk_slurm.spec.parallelcluster import ParallelClusterConfig
from cdk_slurm.spec.storage import Storage
from cdk_slurm.spec.studio import StudioConfig


class User(Model):
    """A person with an account on every node."""

    name: str
    """Login name."""

    uid: int
    """User id, the same on every node and file system."""

    gid: int | None = None
    """Group id; the user id when left out."""

    ssh_public_keys: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Keys that may log in, in OpenSSH's public form."""


class Silence(Model):
    """A rule that this file does not want to be judged by."""

    rule: str
    """Id of the rule."""

    reason: Annotated[str, Field(min_length=1)]
    """Why it does not hold here; shown wherever the rule would have been."""


class ClusterSpec(Model, ABC):
    """A Slurm training cluster on AWS and everything around it, of either kind.

    Files are read as `HyperPodSpec` or `ParallelClusterSpec`, as their `kind` says.
    """

    kind: Literal["hyperpod", "parallelcluster"]
    """What runs Slurm: SageMaker HyperPod, or AWS ParallelCluster."""

    name: str
    """Name of the cluster, and prefix of its stacks' names."""

    region: str
    """AWS Region, such as `us-west-2`."""

    availability_zone: AvailabilityZone
    """Zone of nodes and file systems; an id such as `usw2-az4` means the same in every account."""

    account: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None
    """AWS account id, in quotes; left out, the account that deploys."""

    network: Network = NetworkConfig()
    """The VPC."""

    storage: Storage = Storage()
    """What nodes mount."""

    data: Data | None = None
    """Data bucket and its associations with Lustre."""

    users: Annotated[tuple[User, ...], Field(strict=False)] = ()
    """Accounts on the nodes."""

    directory: DirectoryConfig | None = None
    """An LDAP directory whose people have accounts on the nodes too."""

    studio: StudioConfig | None = None
    """What the cluster has ready for SageMaker Studio spaces; `{}` for all of it."""

    observability: ObservabilityConfig | None = None
    """Metrics, dashboards and alerts; `{}` for all of it."""

    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of every resource that takes tags."""

    kms_key: str | None = None
    """ARN of a customer managed key for volumes, file systems and buckets; AWS's own keys when left out."""

    silence: Annotated[tuple[Silence, ...], Field(strict=False)] = ()
    """Rules that do not hold for this cluster, each with a reason."""

    @property
    @abstractmethod
    def accounting_database(self) -> AccountingDatabaseConfig | ExistingAccountingDatabase | None:
        """External database of Slurm's accounting, in the section that is named as the kind is."""

    @property
    @abstractmethod
    def compute_types(self) -> tuple[str, ...]:
        """Every instance type that may run jobs, as it is written, each once."""


class HyperPodSpec(ClusterSpec):
    """A Slurm training cluster on SageMaker HyperPod and everything around it."""

    kind: Literal["hyperpod"]
    """SageMaker HyperPod orchestrated by Slurm."""

    hyperpod: HyperPodConfig
    """The HyperPod cluster."""

    @property
    def accounting_database(self) -> AccountingDatabaseConfig | ExistingAccountingDatabase | None:
        """`hyperpod.accounting_database`."""
        return self.hyperpod.accounting_database

    @property
    def compute_types(self) -> tuple[str, ...]:
        """Those of compute groups."""
        return tuple(dict.fromkeys(name for group in self.hyperpod.compute for name in group.types))


class ParallelClusterSpec(ClusterSpec):
    """A Slurm training cluster on AWS ParallelCluster and everything around it."""

    kind: Literal["parallelcluster"]
    """AWS ParallelCluster."""

    parallelcluster: ParallelClusterConfig
    """The cluster."""

    @property
    def accounting_database(self) -> AccountingDatabaseConfig | ExistingAccountingDatabase | None:
        """`parallelcluster.accounting_database`."""
        return self.parallelcluster.accounting_database

    @property
    def compute_types(self) -> tuple[str, ...]:
        """Those of compute resources."""
        resources = (one for queue in self.parallelcluster.queues for one in queue.compute)
        return tuple(dict.fromkeys(name for one in resources for name in one.types))


def spec_of(value: object) -> type[HyperPodSpec] | type[ParallelClusterSpec]:
    """The class that a description's `kind` names; `HyperPodSpec` where it names none."""
    kind = value.get("kind") if isinstance(value, dict) else None
    return ParallelClusterSpec if kind == "parallelcluster" else HyperPodSpec
