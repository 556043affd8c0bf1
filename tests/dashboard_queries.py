"""What the dashboards ask, for tests: read from the JSON that Grafana would get, not from the code that makes it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser

from cdk_slurm.dashboards import Dashboard

Json = dict[str, Any]

#: Of the exporters.
SCRAPE_SECONDS = 15

#: Panels that are empty when all is well.
EMPTY_WHEN_WELL = {
    ("cdk-slurm-overview", "Nodes out of service"),
    ("cdk-slurm-overview", "Alerts that fire"),
    ("cdk-slurm-gpu-health", "XID errors"),
    ("cdk-slurm-gpu-health", "Memory errors"),
    ("cdk-slurm-network", "Pairs not reached now"),
}

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


@dataclass(frozen=True)
class PanelQuery:
    """One query of one panel, with its variables still in it."""

    dashboard: str
    panel: str
    expression: str
    legend: str
    instant: bool
    step_seconds: int
    """The least step of the panel, which is that of its queries when one hour is shown."""

    def of(self, **chosen: str) -> str:
        """The expression as Grafana sends it, with what is chosen at the top: `cluster`, `node`, `partition`."""
        return substituted(self.expression, chosen, step_seconds=self.step_seconds)


@dataclass(frozen=True)
class LabelValues:
    """A variable's query: values of a label of series, which may contain variables that come before it."""

    variable: str
    series: str
    label: str


def expressions(dashboard: Dashboard) -> list[PanelQuery]:
    """Every query to Prometheus of every panel, of folded sections too."""
    return [
        PanelQuery(
            dashboard=dashboard.uid,
            panel=panel["title"],
            expression=target["expr"],
            legend=target.get("legendFormat", ""),
            instant=bool(target.get("instant")),
            step_seconds=_seconds(panel.get("interval", f"{SCRAPE_SECONDS}s")),
        )
        for panel in panels(json.loads(dashboard.json))
        for target in panel.get("targets", [])
        if "expr" in target
    ]


def variable_queries(dashboard: Dashboard) -> list[LabelValues]:
    """Every variable whose values come from Prometheus, in the order in which they are to be asked for."""
    found = []
    for variable in json.loads(dashboard.json)["templating"]["list"]:
        if variable["type"] == "query" and isinstance(variable["query"], str):
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert match, variable["query"]
            found.append(LabelValues(variable["name"], match[1], match[2]))
    return found


def substituted(text: str, values: Mapping[str, str], *, step_seconds: int = SCRAPE_SECONDS) -> str:
    """Put values in the place of variables, and Grafana's own for one hour; a variable without one raises `KeyError`.

    https://grafana.com/docs/grafana/v10.4/datasources/prometheus/template-variables/
    """
    built_in = {
        "__interval": f"{step_seconds}s",
        "__rate_interval": f"{max(step_seconds + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)}s",
        "__range": "1h",
    }
    return _VARIABLE.sub(lambda match: {**built_in, **values}[match[1] or match[2]], text)


def variables_in(text: str) -> set[str]:
    """Names of the variables in a text, without Grafana's own."""
    names = {match[1] or match[2] for match in _VARIABLE.finditer(text)}
    return {name for name in names if not name.startswith("__")}


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def panels(dashboard: Json, *, kind: str | None = None) -> Iterator[Json]:
    """Panels that show something: all but headings, those under folded headings too."""
    for panel in dashboard["panels"]:
        for each in [panel, *panel.get("panels", [])]:
            if each["type"] != "row" and kind in (None, each["type"]):
                yield each


def within(expression: Any) -> Iterator[Any]:
    """A parsed expression of PromQL and all in it."""
    yield expression
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (part := getattr(expression, name, None)) is not None:
            yield from within(part)
    for part in getattr(expression, "args", []):
        yield from within(part)


def selectors(expression: str) -> set[str]:
    """What an expression reads: its selectors, each as it would be asked for by itself, now."""
    return {
        part.prettify().partition(" offset ")[0]
        for part in within(promql_parser.parse(expression))
        if isinstance(part, promql_parser.VectorSelector)
    }
