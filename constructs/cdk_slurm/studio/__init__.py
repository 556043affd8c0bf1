"""SageMaker Studio beside a cluster: a domain, its people with their spaces, and what the cluster lets them do."""

from cdk_slurm.studio.access import StudioAccess
from cdk_slurm.studio.domain import StudioDomain
from cdk_slurm.studio.user import StudioUser

__all__ = ["StudioAccess", "StudioDomain", "StudioUser"]
