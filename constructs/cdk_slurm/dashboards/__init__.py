"""Grafana dashboards as code: six of them, for Amazon Managed Grafana 10.4.

`dashboards()` gives each with its uid, its title and the JSON that Grafana imports.
"""

from cdk_slurm.dashboards.gpu_health import dashboard as _gpu_health
from cdk_slurm.dashboards.identifiers import AMP_UID, CLOUDWATCH_UID, FOLDER_UID
from cdk_slurm.dashboards.jobs import dashboard as _jobs
from cdk_slurm.dashboards.lustre import dashboard as _lustre
from cdk_slurm.dashboards.network import dashboard as _network
from cdk_slurm.dashboards.node import dashboard as _node
from cdk_slurm.dashboards.overview import dashboard as _overview
from cdk_slurm.dashboards.page import Dashboard

__all__ = ["AMP_UID", "CLOUDWATCH_UID", "FOLDER_UID", "Dashboard", "dashboards"]


def dashboards() -> tuple[Dashboard, ...]:
    """All dashboards, the overview first."""
    return tuple(build() for build in (_overview, _gpu_health, _jobs, _network, _node, _lustre))
