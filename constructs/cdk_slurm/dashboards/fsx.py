"""The part of Lustre that CloudWatch knows: what Amazon FSx counts itself.

https://docs.aws.amazon.com/fsx/latest/LustreGuide/fs-metrics.html
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import cloudwatch
from grafana_foundation_sdk.models.cloudwatch import CloudWatchQueryMode, MetricEditorMode, MetricQueryType
from grafana_foundation_sdk.models.dashboard import Panel

from cdk_slurm.dashboards.page import Line
from cdk_slurm.dashboards.panels import note, time_series
from cdk_slurm.dashboards.variables import CLOUDWATCH

NOTE = """These panels ask **Amazon CloudWatch**, not Prometheus. They show the Lustre file system that is chosen at the
top as *File system (CloudWatch)*, of the data source's Region and account, and everybody who uses it: other clusters
and data repository tasks too. CloudWatch has a value a minute and charges for queries, so this section is folded."""

#: Metrics count by the minute.
PERIOD = "60"


@dataclass(frozen=True)
class CloudWatchQuery:
    """A statistic of a metric of the chosen file system, or a formula over others by their ids."""

    id: str
    label: str = ""
    metric: str = ""
    formula: str = ""

    def target(self, ref_id: str) -> cloudwatch.CloudWatchMetricsQuery:
        """As a panel's query of this name. Without a label it is only for formulas."""
        query = cloudwatch.CloudWatchMetricsQuery().ref_id(ref_id).id(self.id).datasource(CLOUDWATCH).region("default")
        query = query.query_mode(CloudWatchQueryMode.METRICS).metric_query_type(MetricQueryType.SEARCH)
        query = query.statistic("Sum").label(self.label).hide(not self.label)
        if self.formula:
            return query.metric_editor_mode(MetricEditorMode.CODE).expression(self.formula).dimensions({})
        query = query.metric_editor_mode(MetricEditorMode.BUILDER).namespace("AWS/FSx").metric_name(self.metric)
        return query.dimensions({"FileSystemId": "$file_system"}).match_exact(True).period(PERIOD).expression("")


def section() -> list[Line]:
    """What the file system counts itself."""
    return [
        Line(3, note("About this section", "Where the numbers of this section come from.", NOTE, width=24)),
        Line(
            8,
            _panel(
                "Throughput of the file system",
                "Bytes a second that all clients read and write, by Amazon FSx's own count.",
                "Bps",
                *_rates({"read": "DataReadBytes", "written": "DataWriteBytes"}),
            ),
            _panel(
                "Operations of the file system",
                "Operations a second of all clients: reads, writes and those on metadata.",
                "iops",
                *_rates(
                    {"read": "DataReadOperations", "write": "DataWriteOperations", "metadata": "MetadataOperations"}
                ),
            ),
            _panel(
                "Free capacity",
                "Bytes that are free on the file system's disks.",
                "bytes",
                CloudWatchQuery("m0", "free", metric="FreeDataStorageCapacity"),
            ),
        ),
    ]


def _rates(metrics: Mapping[str, str]) -> Iterator[CloudWatchQuery]:
    for index, (label, metric) in enumerate(metrics.items()):
        yield CloudWatchQuery(f"m{index}", metric=metric)
        yield CloudWatchQuery(f"e{index}", label, formula=f"m{index} / PERIOD(m{index})")


def _panel(title: str, description: str, unit: str, *queries: CloudWatchQuery) -> Panel:
    panel = time_series(title, description, unit, *queries, width=8, min_step="1m", absent="Nothing in CloudWatch")
    panel.datasource = CLOUDWATCH
    return panel
