"""A deployment rehearsed on this machine: the real CDK command line against a local AWS.

Works in a checkout, where the app, its stacks and the local AWS are. Nothing leaves the machine, and nothing of
the user's AWS configuration is read.
"""

from cdk_slurm.rehearsal.changes import DATA_TYPES, Change, changes_between
from cdk_slurm.rehearsal.dashboards import DeployedDashboard, deployed_dashboards, grafana
from cdk_slurm.rehearsal.deployed import Deployed, DeployedSpace, deployed_spaces, describe
from cdk_slurm.rehearsal.local_aws import LocalAws, NotInstalledError
from cdk_slurm.rehearsal.stage import CdkError, Observer, Stage

__all__ = [
    "DATA_TYPES",
    "CdkError",
    "Change",
    "Deployed",
    "DeployedDashboard",
    "DeployedSpace",
    "LocalAws",
    "NotInstalledError",
    "Observer",
    "Stage",
    "changes_between",
    "deployed_dashboards",
    "deployed_spaces",
    "describe",
    "grafana",
]
