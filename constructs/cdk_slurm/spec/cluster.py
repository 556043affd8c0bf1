"""A whole cluster: what one YAML file says."""

from typing import Annotated, Literal

from pydantic import Field

from cdk_slurm.spec.data import Data
from cdk_slurm.spec.directory import DirectoryConfig
from cdk_slurm.spec.hyperpod import HyperPodConfig
from cdk_slurm.spec.model import AvailabilityZone, Model
from cdk_slurm.spec.network import Network, NetworkConfig
from cdk_slurm.spec.observability import ObservabilityConfig
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


class ClusterSpec(Model):
    """A Slurm training cluster on AWS and everything around it."""

    kind: Literal["hyperpod"]
    """SageMaker HyperPod orchestrated by Slurm."""

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

    hyperpod: HyperPodConfig
    """The HyperPod cluster."""

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
