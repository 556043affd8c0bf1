"""What a user may write: frozen models, YAML loading, JSON Schema."""

from cdk_slurm.spec.cluster import ClusterSpec, Silence, User
from cdk_slurm.spec.data import AssociationConfig, Data
from cdk_slurm.spec.directory import DirectoryConfig
from cdk_slurm.spec.finding import Finding, Level, Path
from cdk_slurm.spec.hyperpod import (
    AccountingDatabaseConfig,
    ComputeGroup,
    ControllerGroup,
    ExistingAccountingDatabase,
    HyperPodConfig,
    InstanceGroup,
    LoginGroup,
)
from cdk_slurm.spec.loading import LoadedSpec, SpecError, UnreadableError, load, loads
from cdk_slurm.spec.model import Model
from cdk_slurm.spec.network import AdditionalZone, ExistingNetwork, NetworkConfig
from cdk_slurm.spec.observability import (
    AlertThresholds,
    ExistingMetricsWorkspace,
    ExportersConfig,
    GrafanaAccess,
    GrafanaConfig,
    MetricsWorkspaceConfig,
    ObservabilityConfig,
    RepeatIntervals,
    SamlConfig,
    SlackConfig,
)
from cdk_slurm.spec.schema import json_schema
from cdk_slurm.spec.storage import (
    ExistingLustre,
    ExistingOpenZfs,
    LustreConfig,
    OpenZfsConfig,
    S3Mount,
    Storage,
)
from cdk_slurm.spec.studio import StudioApp, StudioConfig, StudioDomainConfig, StudioUser, StudioWorkspace

__all__ = [
    "AccountingDatabaseConfig",
    "AdditionalZone",
    "AlertThresholds",
    "AssociationConfig",
    "ClusterSpec",
    "ComputeGroup",
    "ControllerGroup",
    "Data",
    "DirectoryConfig",
    "ExistingAccountingDatabase",
    "ExistingLustre",
    "ExistingMetricsWorkspace",
    "ExistingNetwork",
    "ExistingOpenZfs",
    "ExportersConfig",
    "Finding",
    "GrafanaAccess",
    "GrafanaConfig",
    "HyperPodConfig",
    "InstanceGroup",
    "Level",
    "LoadedSpec",
    "LoginGroup",
    "LustreConfig",
    "MetricsWorkspaceConfig",
    "Model",
    "NetworkConfig",
    "ObservabilityConfig",
    "OpenZfsConfig",
    "Path",
    "RepeatIntervals",
    "S3Mount",
    "SamlConfig",
    "Silence",
    "SlackConfig",
    "SpecError",
    "Storage",
    "StudioApp",
    "StudioConfig",
    "StudioDomainConfig",
    "StudioUser",
    "StudioWorkspace",
    "UnreadableError",
    "User",
    "json_schema",
    "load",
    "loads",
]
