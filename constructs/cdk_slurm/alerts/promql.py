"""Pieces of PromQL that several alerts are made of."""

import math
import textwrap

#: Scrapes come every 15 s, so that a node that sends anything has some in here, even if one or two failed.
HEARD_OF_MINUTES = 1.0


def by_node(selector: str) -> str:
    """Return series with the label `node` beside `instance`, which the exporters' jobs have.

    Slurm's series say `node`. With one name for it, alerts of the same node can be told, silenced and linked
    as such.
    """
    return f'label_replace({selector}, "node", "$1", "instance", "(.+)")'


def number(value: float) -> str:
    """Return a threshold as PromQL and a person write it. Raises `ValueError` for what is no number."""
    if not math.isfinite(value):
        raise ValueError(f"found {value}; a threshold is a finite number")
    return str(int(value)) if value == int(value) else repr(value)


def duration(minutes: float) -> str:
    """Return a duration of PromQL, to the second and never less than one, which ranges and offsets cannot be.

    Raises `ValueError` for what is no finite number, or less than 0.
    """
    return "".join(f"{amount}{unit[0]}" for amount, unit in _parts(minutes))


def spoken(minutes: float) -> str:
    """Return a duration as a person says it: `1 hour 30 minutes`. Raises `ValueError` as `duration` does."""
    return " ".join(f"{amount} {unit}{'s' * (amount != 1)}" for amount, unit in _parts(minutes))


def lines(text: str) -> str:
    """Return an expression of several lines without the indentation it has in Python."""
    return textwrap.dedent(text).strip()


def _parts(minutes: float) -> list[tuple[int, str]]:
    if not math.isfinite(minutes) or minutes < 0:
        raise ValueError(f"found {minutes} minutes; a duration is 0 or more")
    seconds = max(1, round(minutes * 60))
    parts = ((seconds // 3600, "hour"), (seconds // 60 % 60, "minute"), (seconds % 60, "second"))
    return [(amount, unit) for amount, unit in parts if amount]
