"""One alert."""

from dataclasses import dataclass
from typing import Literal, get_args

Severity = Literal["critical", "warning", "info"]

#: Somebody must act now; somebody should look today; worth knowing.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What fires when, and what a person then reads.

    `summary` and `description` are templates of Prometheus over the labels and the value of `expression`:
    https://prometheus.io/docs/prometheus/2.53/configuration/template_reference/
    """

    name: str
    severity: Severity

    expression: str
    """PromQL. What it returns fires, one alert for each set of labels, among which `cluster` always is."""

    for_minutes: float = 0
    """For so long the expression must have held at every evaluation."""

    summary: str
    """One line: what, where, how much. Subject of an e-mail, title in Slack."""

    description: str
    """A sentence or two: since when it counts, against which threshold."""

    action: str
    """What to do. The same for all alerts of this name, since a message says it once."""

    dashboard: str
    """Uid of the dashboard to look at."""

    dashboard_labels: tuple[str, ...] = ()
    """Labels besides `cluster` that the dashboard is opened with, as its variables."""

    @property
    def anchor(self) -> str:
        """Anchor of its section in the runbooks, as GitHub derives it from the heading."""
        return self.name.lower()
