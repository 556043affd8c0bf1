"""A dashboard: variables at the top, links to the others, panels in lines that fill Grafana's 24 columns."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.dashboard import TimePicker
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, GridPos, Panel, RowPanel

from cdk_slurm.dashboards.identifiers import NODE, TITLES
from cdk_slurm.dashboards.variables import Variable, data_source

#: What Grafana 10.4 itself writes; its frontend brings older ones up to it.
SCHEMA_VERSION = 39

#: That of the panels, which are written for it: Grafana changes none of them as one of an older release.
PLUGIN_VERSION = "10.4.0"

#: Columns of Grafana's grid.
COLUMNS = 24


@dataclass(frozen=True)
class Dashboard:
    """A dashboard as Grafana imports it. The JSON is the same for the same release of this package."""

    uid: str
    title: str
    json: str


class Line:
    """Panels side by side, of the widths that they were made with; a unit of height is 38 pixels."""

    def __init__(self, height: int, *panels: Panel) -> None:
        if sum(_width(panel) for panel in panels) != COLUMNS:
            raise ValueError(f"panels of a line must fill {COLUMNS} columns: {[panel.title for panel in panels]}")
        self.height = height
        self.panels = panels


@dataclass(frozen=True)
class Section:
    """Lines under a heading. A folded section asks for nothing until somebody opens it."""

    title: str
    lines: Sequence[Line]
    folded: bool = False


def page(
    *, uid: str, description: str, variables: Sequence[Variable], top: Line, sections: Sequence[Section]
) -> Dashboard:
    """Build a dashboard; `top` stands above the first heading."""
    builder = builders.Dashboard(TITLES[uid]).uid(uid).description(description).tags(["cdk-slurm"]).readonly()
    builder = builder.time("now-1h", "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    builder = builder.timepicker(TimePicker().refresh_intervals(["30s", "1m", "5m", "15m", "30m", "1h"]))
    builder = builder.variables([data_source(), *variables]).links([_link(other) for other in TITLES if other != uid])
    model = builder.build()
    model.schema_version = SCHEMA_VERSION
    model.panels = list(_placed(top, sections))
    return Dashboard(uid, TITLES[uid], json.dumps(model, cls=JSONEncoder, sort_keys=True, indent=1) + "\n")


def _link(uid: str) -> builders.DashboardLink:
    link = builders.DashboardLink(TITLES[uid]).keep_time(True).icon("dashboard")
    if uid == NODE:
        # It shows one node: "all nodes" chosen elsewhere would be none there.
        return link.url(f"/d/{uid}?${{cluster:queryparam}}")
    return link.url(f"/d/{uid}").include_vars(True)


def _placed(top: Line, sections: Sequence[Section]) -> Iterator[Panel | RowPanel]:
    """Every panel with its place and its number."""
    ids = iter(range(1, 1000))
    yield from _line(top, 0, ids)
    y = top.height
    for section in sections:
        row = RowPanel(title=section.title, collapsed=section.folded, grid_pos=GridPos(x=0, y=y, w=COLUMNS, h=1))
        row.id_val = next(ids)
        row.panels = []
        yield row
        y += 1
        inside = y
        for line in section.lines:
            if section.folded:
                row.panels += _line(line, inside, ids)
                inside += line.height
            else:
                yield from _line(line, y, ids)
                y += line.height


def _line(line: Line, y: int, ids: Iterator[int]) -> Iterator[Panel]:
    x = 0
    for panel in line.panels:
        panel.id_val = next(ids)
        panel.plugin_version = PLUGIN_VERSION
        panel.grid_pos = GridPos(x=x, y=y, w=_width(panel), h=line.height)
        x += panel.grid_pos.w
        yield panel


def _width(panel: Panel) -> int:
    return 0 if panel.grid_pos is None else panel.grid_pos.w
