"""For a person at a terminal: a line a finding, and one that sums up."""

from collections.abc import Iterator

import click

from cdk_slurm.cli.formats import Found, counts
from cdk_slurm.spec import Finding

_COLOURS = {"error": "red", "warning": "yellow", "silenced": "blue"}


def render(found: Found) -> str:
    """Return one line for each finding (`file:line:column: level RULE field: message`) and a closing line."""
    lines = [line for findings in found.values() for finding in findings for line in _lines(finding)]
    return "".join(f"{line}\n" for line in (*lines, _closing_line(found)))


def _lines(finding: Finding) -> Iterator[str]:
    level = finding.level if finding.silenced is None else "silenced"
    place = f"{_printable(finding.place)}: " if finding.place else ""
    yield (
        f"{place}{click.style(level, fg=_COLOURS[level], bold=True)} {click.style(finding.rule, bold=True)} "
        f"{_printable(finding.text)}"
    )
    if finding.silenced is not None:
        yield click.style(f"    silenced: {_printable(finding.silenced)}", dim=True)
    elif finding.reference:
        yield click.style(f"    {finding.reference}", dim=True)


def _closing_line(found: Found) -> str:
    number = counts(found)
    texts = [_number(number["errors"], "error"), _number(number["warnings"], "warning")]
    if number["silenced"]:
        texts.append(f"{number['silenced']} silenced")
    files = _printable(next(iter(found))) if len(found) == 1 else f"{len(found)} files"
    return click.style(f"{files}: {', '.join(texts)}", fg="red" if number["errors"] else "green")


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _printable(text: str) -> str:
    """Nothing of a file gets to steer the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
