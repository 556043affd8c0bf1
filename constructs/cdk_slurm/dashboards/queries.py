"""What a panel asks Prometheus, and how Grafana is to read the answer.

Grafana replaces `$cluster`, `$node`, `$partition` (chosen at the top of a dashboard), `$__rate_interval` (four scrapes
at least), `$__range` (the time shown) and `$__interval` (a step of it):
https://grafana.com/docs/grafana/v10.4/datasources/prometheus/template-variables/
"""

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

#: The data source of the variable `datasource`.
AMP = DataSourceRef(type_val="prometheus", uid="${datasource}")

#: Series of the chosen cluster.
CLUSTER = 'cluster="$cluster"'

#: Series of the chosen nodes.
NODES = 'cluster="$cluster",instance=~"$node"'

#: Series of the chosen partitions.
PARTITIONS = 'cluster="$cluster",partition=~"$partition"'

Reading = Literal["lines", "value", "rows", "buckets", "buckets over time"]


@dataclass(frozen=True)
class Query:
    """PromQL; the name of each of its series, with `{{label}}` for a label's value; how the answer is read."""

    expression: str
    legend: str = ""
    reading: Reading = "lines"

    def target(self, ref_id: str) -> prometheus.Dataquery:
        """As a panel's query of this name."""
        target = prometheus.Dataquery().expr(self.expression).ref_id(ref_id).datasource(AMP)
        target = target.editor_mode(QueryEditorMode.CODE)
        target = target.range() if self.reading in ("lines", "buckets over time") else target.instant()
        if self.reading == "rows":
            return target.format(PromQueryFormat.TABLE)
        if self.reading in ("buckets", "buckets over time"):
            # Grafana then sorts the buckets by `le` and takes each one's predecessor off.
            return target.format(PromQueryFormat.HEATMAP).legend_format("{{le}}")
        return target.legend_format(self.legend)


def lines(expression: str, legend: str) -> Query:
    """One line over time for each series."""
    return Query(expression, legend)


def value(expression: str, legend: str = "") -> Query:
    """The newest value of each series."""
    return Query(expression, legend, "value")


def rows(expression: str) -> Query:
    """A table's row for each series, labels as columns."""
    return Query(expression, reading="rows")


def buckets(expression: str) -> Query:
    """A histogram by `le`, of the whole time shown."""
    return Query(expression, reading="buckets")


def buckets_over_time(expression: str) -> Query:
    """A histogram by `le` for each step."""
    return Query(expression, reading="buckets over time")


def rate(series: str) -> str:
    """Increase of counters a second."""
    return f"rate({series}[$__rate_interval])"


def in_range(counters: str) -> str:
    """Increase of counters, or of a sum of counters, in the time shown.

    A subquery takes one sample a step. Without it all samples of thirty days, one every 15 s, are read of every series,
    and the service limits what one query may read:
    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
    """
    return f"increase({counters}[$__range:$__interval])"


def recently(counters: str) -> str:
    """Increase of a sum of counters in each step.

    Of the sum, because a counter whose labels name a user begins with that user's first job, which no increase of it
    alone can show. That is sound here: one exporter has all of them, so they begin again together when it does.
    """
    return f"increase({counters}[$__rate_interval:1m])"


def per_gpu(metric: str) -> str:
    """One series a GPU of the chosen nodes. DCGM gives a GPU with several jobs one series for each of them."""
    return f"max by (instance, gpu) ({metric}{{{NODES}}})"
