"""Asks a Prometheus what a dashboard would ask, as Grafana would: variables first, then each panel at its own step."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

#: Width of a column of the grid with its gap, and what of a panel's width a plot does not get, in pixels.
COLUMN, EDGE = 65, 26
SCRAPE_SECONDS = 15

#: Steps that Grafana rounds to, in seconds: `rangeUtil.roundInterval` of @grafana/data 10.4.
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Prometheus:
    """A server, and the time that is asked about, in seconds since 1970."""

    address: str
    start: int
    end: int

    def label_values(self, series: str, label: str) -> list[str]:
        """Values that a label of these series has."""
        answer = self._get(f"label/{label}/values", {"match[]": series, "start": self.start, "end": self.end})
        values: list[str] = answer
        return values

    def now(self, expression: str) -> list[Json]:
        """Values at the end."""
        return self._results("query", {"query": expression, "time": self.end})

    def over_time(self, expression: str, step_seconds: int) -> list[Json]:
        """Values at each step, as Grafana aligns them."""
        start = -(-self.start // step_seconds) * step_seconds
        parameters = {"query": expression, "start": start, "end": self.end, "step": step_seconds}
        return self._results("query_range", parameters)

    def _results(self, call: str, parameters: Json) -> list[Json]:
        data = self._get(call, parameters)
        results: list[Json] = data["result"]
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": results}]
        return results

    def _get(self, call: str, parameters: Json) -> Any:
        url = f"{self.address}/api/v1/{call}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - the caller's own server
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.read().decode()}: {parameters}") from error


def chosen(dashboard: Json, prometheus: Prometheus, wishes: Mapping[str, str]) -> dict[str, str]:
    """What is chosen at the top: as wished, else everything, else the first."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        name, query = variable["name"], variable["query"]
        if variable["type"] == "constant":
            values[name] = query
        elif name in wishes:
            values[name] = wishes[name]
        elif variable.get("includeAll"):
            values[name] = variable["allValue"]
        elif match := re.fullmatch(r"label_values\((.+), (\w+)\)", str(query)):
            there = prometheus.label_values(substituted(match[1], values), match[2])
            if not there:
                raise RuntimeError(f"{dashboard['title']}: nothing to choose for {name} from {query}")
            values[name] = min(there)
    return values


def answers(dashboard: Json, prometheus: Prometheus, values: Mapping[str, str]) -> dict[int, Json]:
    """For each panel that shows something its step, and what each of its queries returned."""
    found = {}
    for panel in dashboard["panels"]:
        targets = [target for target in panel.get("targets", []) if "expr" in target]
        step = _step(panel, prometheus.end - prometheus.start)
        own = dict(_built_in(step, prometheus.end - prometheus.start)) | dict(values)
        results = {}
        for target in targets:
            expression = substituted(target["expr"], own)
            instant = target.get("instant")
            results[target["refId"]] = prometheus.now(expression) if instant else prometheus.over_time(expression, step)
        found[panel["id"]] = {"step": step, "answers": results}
    return found


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Values in the place of variables."""
    return _VARIABLE.sub(lambda match: values[match[1] or match[2]], text)


def _step(panel: Json, span: int) -> int:
    points = panel["gridPos"]["w"] * COLUMN - EDGE
    least = _seconds(panel.get("interval") or f"{SCRAPE_SECONDS}s")
    return max(least, next((step for step in STEPS if step * points >= span), STEPS[-1]))


def _built_in(step: int, span: int) -> Iterator[tuple[str, str]]:
    yield "__interval", f"{step}s"
    yield "__rate_interval", f"{max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)}s"
    yield "__range", f"{span}s"


def _seconds(text: str) -> int:
    return int(text[:-1]) * _SECONDS[text[-1]]
