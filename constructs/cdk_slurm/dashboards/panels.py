"""Panels: each with a title, a description, a unit, and something to say when it is empty."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, statushistory, text, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models.dashboard import DataSourceRef, FieldColorModeId, Panel, ValueMap, ValueMappingResult
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.text import TextMode

from cdk_slurm.dashboards import styles
from cdk_slurm.dashboards.queries import AMP, Query
from cdk_slurm.dashboards.styles import NEUTRAL, Thresholds

#: What an empty panel says when nothing better is known.
NOTHING = "Nothing here"

#: Where the node's name is in a series by node.
BY_NODE = "__field.labels.instance"


class _PanelBuilder(Protocol):
    """What the builders of all kinds of panels have in common."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def span(self, w: int) -> Self: ...
    def datasource(self, datasource: DataSourceRef) -> Self: ...
    def targets(self, targets: list[Builder[Dataquery]]) -> Self: ...


class _Asking(Protocol):
    """A query of some data source."""

    def target(self, ref_id: str) -> Builder[Dataquery]: ...


P = TypeVar("P", bound=_PanelBuilder)


def described(
    panel: P, title: str, description: str, unit: str, queries: Sequence[_Asking], *, width: int, absent: str | None
) -> P:
    """The panel with what every panel has; `width` in columns, of which a dashboard has 24."""
    panel.title(title).description(description).unit(unit).datasource(AMP).span(width)
    if absent is not None:
        panel.no_value(absent)
    return panel.targets([query.target(chr(ord("A") + index)) for index, query in enumerate(queries)])


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    width: int = 3,
    thresholds: Thresholds = NEUTRAL,
    decimals: int | None = None,
    words: Mapping[int, tuple[str, str]] | None = None,
    absent: str = NOTHING,
) -> Panel:
    """One number, on a coloured ground where it can be good or bad. `words` stand for values, each in a colour."""
    panel = described(stat.Panel(), title, description, unit, (query,), width=width, absent=absent)
    panel = panel.thresholds(styles.thresholds(thresholds)).graph_mode(options.BigValueGraphMode.NONE)
    panel = panel.color_scheme(builders.FieldColor().mode(FieldColorModeId.THRESHOLDS)).reduce_options(_newest())
    judged = words is not None or thresholds is not NEUTRAL
    panel = panel.color_mode(
        options.BigValueColorMode.BACKGROUND_SOLID if judged else options.BigValueColorMode.VALUE
    ).text_mode(options.BigValueTextMode.VALUE)
    if decimals is not None:
        panel = panel.decimals(decimals)
    if words is not None:
        shown = {str(number): ValueMappingResult(text=text, color=colour) for number, (text, colour) in words.items()}
        panel = panel.mappings([ValueMap(options=shown)])
    return panel.build()


def time_series(
    title: str,
    description: str,
    unit: str,
    *queries: _Asking,
    width: int,
    thresholds: Thresholds = (),
    legend: Literal["below", "table"] = "below",
    stacked: bool = False,
    bars: bool = False,
    maximum: float | None = None,
    at_least: float | None = None,
    min_step: str | None = None,
    colours: Mapping[str, str] | None = None,
    right_axis: str | None = None,
    by_node: bool = False,
    absent: str | None = None,
) -> Panel:
    """Lines over time. `legend="table"`, with the newest and the greatest value, is for many series.

    The axis goes up to `maximum`, or to `at_least` and further. `right_axis` names a series of another size than the
    rest; `by_node` makes of each series a link to its node. Where series come and go (`topk`), leave `absent` out:
    Grafana would show it beside each of them that is not there at the moment that one points at.
    """
    panel = described(timeseries.Panel(), title, description, unit, queries, width=width, absent=absent).min(0)
    panel = panel.color_scheme(builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    panel = panel.line_width(0 if stacked else 1).show_points(
        options.VisibilityMode.AUTO if min_step else options.VisibilityMode.NEVER
    )
    panel = panel.fill_opacity(70 if stacked else 0).legend(_legend(legend, width))
    panel = panel.tooltip(
        common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING)
    )
    if bars:
        panel = panel.draw_style(options.GraphDrawStyle.BARS)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if thresholds:
        lines = common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(styles.thresholds(thresholds)).thresholds_style(lines)
    if maximum is not None:
        panel = panel.max(maximum)
    if at_least is not None:
        panel = panel.axis_soft_max(at_least)
    if min_step is not None:
        # Such panels are of what happens now and then: a line leads over the steps in which nothing did.
        panel = panel.interval(min_step).span_nulls(True)
    if by_node:
        link = styles.node_link(BY_NODE)
        panel = panel.data_links([builders.DashboardLink(str(link["title"])).url(str(link["url"]))])
    overrides = styles.colours(colours or {})
    if right_axis is not None:
        overrides.append(styles.named(right_axis, **{"custom.axisPlacement": "right"}))
    return panel.overrides([*overrides]).build()


def bars(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int,
    thresholds: Thresholds = NEUTRAL,
    maximum: float | None = None,
    decimals: int | None = None,
    bucket_bounds_seconds: Sequence[int] = (),
    absent: str = NOTHING,
) -> Panel:
    """A bar for each series; with `bucket_bounds_seconds` for each bucket of a histogram."""
    panel = described(bargauge.Panel(), title, description, unit, queries, width=width, absent=absent).min(0)
    panel = panel.thresholds(styles.thresholds(thresholds)).orientation(options.VizOrientation.HORIZONTAL)
    panel = panel.color_scheme(builders.FieldColor().mode(FieldColorModeId.THRESHOLDS)).reduce_options(_newest())
    panel = panel.display_mode(options.BarGaugeDisplayMode.BASIC).show_unfilled(True)
    # Grafana makes room for names of the size that it would choose by the bars' height, which for many bars is less.
    text_size = common.VizTextDisplayOptions().value_size(14)
    panel = panel.text(text_size if bucket_bounds_seconds else text_size.title_size(14))
    panel = panel.value_mode(options.BarGaugeValueMode.TEXT).name_placement(options.BarGaugeNamePlacement.LEFT)
    panel = panel.sizing(options.BarGaugeSizing.MANUAL).min_viz_height(14).max_viz_height(36)
    if maximum is not None:
        panel = panel.max(maximum)
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.overrides([*styles.bucket_names(bucket_bounds_seconds)] if bucket_bounds_seconds else []).build()


def buckets_heatmap(title: str, description: str, query: Query, *, width: int, min_step: str, absent: str) -> Panel:
    """A histogram of seconds over time: the more in a bucket, the brighter."""
    panel = described(heatmap.Panel(), title, description, styles.COUNT, (query,), width=width, absent=absent)
    scheme = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(32).fill("blue")
    panel = panel.calculate(False).color(scheme.exponent(0.5).reverse(False))
    panel = panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(options.AxisPlacement.LEFT))
    panel = panel.rows_frame(heatmap.RowsHeatmapOptions().layout(options.HeatmapCellLayout.AUTO))
    panel = panel.cell_gap(1).cell_values(heatmap.CellValues().decimals(0)).interval(min_step)
    panel = panel.mode(options.TooltipDisplayMode.SINGLE).show_legend().hide_y_histogram()
    # Buckets in which nothing fell stay dark.
    return panel.filter_values(heatmap.FilterValueRange().le(1e-9)).build()


def cells(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    width: int,
    min_step: str,
    colours: FieldColorModeId | Mapping[str, str],
    absent: str = NOTHING,
) -> Panel:
    """A row for each series and a cell for each step: what happens at the same time stands in one column.

    Cells are coloured by value; with a colour for each series, by series.
    """
    panel = described(statushistory.Panel(), title, description, unit, (query,), width=width, absent=absent).min(0)
    panel = panel.interval(min_step)
    if isinstance(colours, FieldColorModeId):
        panel = panel.color_scheme(builders.FieldColor().mode(colours))
    else:
        panel = panel.overrides([*styles.colours(colours)])
    panel = panel.show_value(options.VisibilityMode.NEVER).row_height(0.9).col_width(1).fill_opacity(90).line_width(0)
    panel = panel.legend(common.VizLegendOptions().show_legend(False).display_mode(options.LegendDisplayMode.LIST))
    return panel.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.SINGLE)).build()


def each(panel: Panel, variable: str) -> Panel:
    """The panel once for each chosen value of a variable, four in a line."""
    panel.repeat = variable
    panel.repeat_direction = "h"
    panel.max_per_row = 4
    return panel


def note(title: str, description: str, markdown: str, *, width: int) -> Panel:
    """Text."""
    panel = text.Panel().title(title).description(description).span(width)
    return panel.mode(TextMode.MARKDOWN).content(markdown).build()


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")


def _legend(kind: Literal["below", "table"], width: int) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True)
    if kind == "below":
        return legend.display_mode(options.LegendDisplayMode.LIST).placement(options.LegendPlacement.BOTTOM).calcs([])
    legend = legend.display_mode(options.LegendDisplayMode.TABLE).placement(options.LegendPlacement.RIGHT)
    return legend.calcs(["lastNotNull", "max"] if width > 8 else ["lastNotNull"]).sort_by("Last *").sort_desc(True)
