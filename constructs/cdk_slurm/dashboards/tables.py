"""Tables: rows from labels, columns from queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models.dashboard import DashboardSpecialValueMapOptions as SpecialValueMapOptions
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    Panel,
    SpecialValueMap,
    SpecialValueMatch,
    ValueMap,
    ValueMappingResult,
)

from cdk_slurm.dashboards import styles
from cdk_slurm.dashboards.panels import NOTHING, described
from cdk_slurm.dashboards.queries import Query
from cdk_slurm.dashboards.styles import Thresholds


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    field: str
    """A label; or `Value` for the one query, `Value #A` for the first of several."""

    title: str
    unit: str | None = None
    """Left out, the table's, or none for a label."""

    decimals: int | None = None
    width_pixels: int | None = None
    thresholds: Thresholds = ()
    """Colour of the cells' ground by value."""

    words: Mapping[str, str] | None = None
    """Colours of words in the cells."""

    bar_up_to: float | None = None
    """A bar in the cell, full at this value."""

    node: bool = False
    """The cells name nodes: each is a link to that node's dashboard."""


def listing(
    title: str,
    description: str,
    *queries: Query,
    width: int,
    columns: Sequence[Column],
    sort_by: str,
    descending: bool = True,
    hidden: Sequence[str] = (),
    unit: str = styles.COUNT,
    absent: str = NOTHING,
) -> Panel:
    """A row for each set of labels, in the order of a column; of several queries each has a column for its values."""
    steps = [DataTransformerConfig(id_val="merge", options={})] if len(queries) > 1 else []
    panel = described(table.Panel(), title, description, unit, queries, width=width, absent=absent)
    return _arranged(panel, steps, columns, hidden, sort_by, descending)


def matrix(
    title: str,
    description: str,
    query: Query,
    *,
    width: int,
    row: Column,
    by: str,
    columns: Sequence[Column],
    unit: str,
    absent: str = NOTHING,
) -> Panel:
    """A row for each value of the label of `row`, a column for each of the label `by`."""
    pivot = DataTransformerConfig(
        id_val="groupingToMatrix",
        options={"columnField": by, "rowField": row.field, "valueField": "Value", "emptyValue": "null"},
    )
    # Grafana calls the first column so.
    first = Column(field=f"{row.field}\\{by}", title=row.title, node=row.node, width_pixels=row.width_pixels)
    panel = described(table.Panel(), title, description, unit, (query,), width=width, absent=absent)
    return _arranged(panel, [pivot], (first, *columns), (), row.title, False)


def _arranged(
    panel: table.Panel,
    steps: list[DataTransformerConfig],
    columns: Sequence[Column],
    hidden: Sequence[str],
    sort_by: str,
    descending: bool,
) -> Panel:
    arrangement = DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": dict.fromkeys(("Time", *hidden), True),
            "indexByName": {column.field: index for index, column in enumerate(columns)},
            "renameByName": {column.field: column.title for column in columns},
        },
    )
    panel = panel.transformations([*steps, arrangement])
    # The panel's own text for nothing is for an empty table, not for an empty cell.
    empty_cell = styles.like(".*", noValue="-")
    panel = panel.overrides([empty_cell, *(styles.named(column.title, **_properties(column)) for column in columns)])
    panel = panel.min_width(60).show_header(True).cell_height(options.TableCellHeight.SM)
    return panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(descending)]).build()


def _properties(column: Column) -> dict[str, object]:
    properties: dict[str, object] = {}
    # A label is text, whatever it looks like: job 4711 is not 4,711.
    unit = column.unit if column.field.startswith("Value") or column.unit else "string"
    if unit is not None:
        properties["unit"] = unit
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.width_pixels is not None:
        properties["custom.width"] = column.width_pixels
    if column.thresholds:
        properties["thresholds"] = styles.thresholds(column.thresholds).build()
        properties["color"] = {"mode": "thresholds"}
        if column.bar_up_to is None:
            properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        # Else Grafana colours an empty cell as if it were good.
        nothing = SpecialValueMapOptions(SpecialValueMatch.NULL, ValueMappingResult(text="-", color="transparent"))
        properties["mappings"] = [SpecialValueMap(options=nothing)]
    if column.bar_up_to is not None:
        properties["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        properties["min"] = 0
        properties["max"] = column.bar_up_to
    if column.words is not None:
        shown = {word: ValueMappingResult(color=colour) for word, colour in column.words.items()}
        properties["mappings"] = [ValueMap(options=shown)]
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.node:
        properties["links"] = [styles.node_link("__value.raw")]
    return properties
