"""What can be chosen at the top of a dashboard: the cluster, nodes, partitions, a file system."""

from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from cdk_slurm.dashboards.identifiers import AMP_UID, CLOUDWATCH_UID
from cdk_slurm.dashboards.queries import AMP, CLUSTER

Variable: TypeAlias = Builder[VariableModel]

#: CloudWatch as a data source.
CLOUDWATCH = DataSourceRef(type_val="cloudwatch", uid=CLOUDWATCH_UID)


def data_source() -> Variable:
    """Where metrics come from, as a constant: a copy of a dashboard asks elsewhere when it is changed in one place.

    Not a variable of Grafana's type for data sources: that one goes by the name and the plugin of a data source, both
    of which may change, and takes another data source where it finds none.
    """
    return builders.ConstantVariable("datasource").label("Data source").value(AMP_UID)


def cluster() -> Variable:
    """One of the clusters that write to the workspace."""
    return _labels("cluster", "Cluster", 'label_values(up{job="node",node_type!=""}, cluster)')


def nodes(job: str = "node") -> Variable:
    """Any of the cluster's nodes, by Slurm's names; those that this exporter runs on."""
    variable = _labels("node", "Node", f'label_values(up{{{CLUSTER},job="{job}"}}, instance)')
    # ".*" in the place of a thousand names.
    return variable.multi(True).include_all(True).all_value(".*").current(_all())


def one_node() -> Variable:
    """One of the cluster's nodes."""
    return _labels("node", "Node", f'label_values(up{{{CLUSTER},job="node"}}, instance)')


def partitions() -> Variable:
    """Any of the cluster's partitions."""
    variable = _labels("partition", "Partition", f"label_values(slurm_queue_jobs{{{CLUSTER}}}, partition)")
    return variable.multi(True).include_all(True).all_value(".*").current(_all())


def lustre_file_system() -> Variable:
    """One of the Lustre file systems of the data source's Region: the metric is one that only Lustre has."""
    query: dict[str, object] = {
        "queryType": "dimensionValues",
        "namespace": "AWS/FSx",
        "region": "default",
        "metricName": "FreeDataStorageCapacity",
        "dimensionKey": "FileSystemId",
        "dimensionFilters": {},
        "refId": "CloudWatchVariableQueryEditor-VariableQuery",
    }
    variable = builders.QueryVariable("file_system").label("File system (CloudWatch)").datasource(CLOUDWATCH)
    return variable.query(query).refresh(VariableRefresh.ON_DASHBOARD_LOAD).sort(VariableSort.ALPHABETICAL_ASC)


def _labels(name: str, label: str, query: str) -> builders.QueryVariable:
    variable = builders.QueryVariable(name).label(label).datasource(AMP).query(query)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.NATURAL_ASC)


def _all() -> VariableOption:
    return VariableOption(selected=True, text=["All"], value=["$__all"])
