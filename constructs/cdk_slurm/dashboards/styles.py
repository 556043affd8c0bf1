"""Colours, thresholds, names and links of fields."""

from collections.abc import Iterable, Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    MatcherConfig,
    Threshold,
    ThresholdsMode,
)

from cdk_slurm.dashboards.identifiers import NODE

#: Unit of things that are counted: 12,345 and not 12.3 K.
COUNT = "locale"

#: From each value on, a colour.
Thresholds = Sequence[tuple[float | None, str]]

NEUTRAL: Thresholds = ((None, "blue"),)
TEMPERATURE: Thresholds = ((None, "green"), (75, "orange"), (85, "red"))
MEMORY_TEMPERATURE: Thresholds = ((None, "green"), (85, "orange"), (95, "red"))
ZERO_IS_GOOD: Thresholds = ((None, "green"), (1, "red"))
ZERO_IS_BEST: Thresholds = ((None, "green"), (1, "orange"))

#: The same in tables, where what is good has no colour.
BAD_FROM_ONE: Thresholds = ((None, "transparent"), (1, "red"))
WORSE_FROM_ONE: Thresholds = ((None, "transparent"), (1, "orange"))
SHARE_USED: Thresholds = ((None, "green"), (0.8, "orange"), (0.9, "red"))
ROUND_TRIP_SECONDS: Thresholds = ((None, "green"), (0.001, "orange"), (0.005, "red"))
RETRANSMITTED_SHARE: Thresholds = ((None, "green"), (0.01, "orange"), (0.05, "red"))
LUSTRE_USED: Thresholds = ((None, "green"), (0.75, "orange"), (0.85, "red"))
PENDING_SECONDS: Thresholds = ((None, "green"), (900, "orange"), (1800, "red"))

#: Words for a metric that is 1 for yes and 0 for no.
ANSWERS = {0: ("silent", "red"), 1: ("answers", "green")}

SEVERITY_COLOURS = {"critical": "red", "warning": "orange", "info": "blue"}

STATE_COLOURS = {
    "running": "green",
    "pending": "orange",
    "configuring": "light-blue",
    "completing": "purple",
    "suspended": "text",
    "completed": "green",
    "failed": "red",
    "cancelled": "text",
    "timeout": "orange",
    "node_fail": "dark-red",
    "out_of_memory": "purple",
    "preempted": "yellow",
    "boot_fail": "semi-dark-red",
    "deadline": "semi-dark-orange",
    "idle": "blue",
    "mixed": "light-green",
    "allocated": "green",
    "reserved": "light-blue",
    "draining": "yellow",
    "drained": "orange",
    "failing": "light-red",
    "down": "red",
    "unknown": "text",
    "unusable": "red",
}


def thresholds(steps: Thresholds) -> builders.ThresholdsConfig:
    """Thresholds in the field's own unit."""
    return (
        builders.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=colour) for value, colour in steps])
    )


def named(name: str, **properties: object) -> builders.DashboardFieldConfigSourceOverrides:
    """Properties of the field of this name."""
    return _override("byName", name, properties)


def like(pattern: str, **properties: object) -> builders.DashboardFieldConfigSourceOverrides:
    """Properties of the fields whose names match a regular expression."""
    return _override("byRegexp", f"/{pattern}/", properties)


def colours(by_name: Mapping[str, str]) -> list[builders.DashboardFieldConfigSourceOverrides]:
    """A colour of its own for each series of these names."""
    return [named(name, color={"mode": "fixed", "fixedColor": colour}) for name, colour in by_name.items()]


def bucket_names(bounds_seconds: Iterable[int]) -> list[builders.DashboardFieldConfigSourceOverrides]:
    """Buckets of a histogram of seconds by what is in them: `le` alone says only where a bucket ends."""
    overrides = []
    lower = 0
    for bound in bounds_seconds:
        name = f"{span(lower, before=bound)} to {span(bound)}" if lower else f"under {span(bound)}"
        overrides.append(like(rf"^{bound}(\.0)?$", displayName=name))
        lower = bound
    overrides.append(like(r"^\+Inf$", displayName=f"over {span(lower)}"))
    return overrides


def span(seconds: int, *, before: int = 0) -> str:
    """A round number of seconds in its largest unit, without it where the number that follows has it too."""
    number, unit = _in_largest_unit(seconds)
    return f"{number}" if unit == _in_largest_unit(before)[1] and before else f"{number} {unit}"


def _in_largest_unit(seconds: int) -> tuple[int, str]:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return seconds // size, unit
    return seconds, "s"


def node_link(name: str) -> dict[str, object]:
    """A link to the dashboard of one node; `name` is an expression of Grafana's that gives the node's name."""
    return {
        "title": "Open this node",
        "url": f"/d/{NODE}?${{cluster:queryparam}}&var-node=${{{name}}}&${{__url_time_range}}",
    }


def _override(
    matcher: str, options: str, properties: Mapping[str, object]
) -> builders.DashboardFieldConfigSourceOverrides:
    override = builders.DashboardFieldConfigSourceOverrides()
    return override.matcher(MatcherConfig(id_val=matcher, options=options)).properties(
        [DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()]
    )
