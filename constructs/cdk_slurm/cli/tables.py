"""Tables for a person at a terminal."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

Row = tuple[str, ...]


def plain_console() -> Console:
    """A console for which nothing of a file, or of what a service tells, is markup."""
    return Console(markup=False, highlight=False, emoji=False)


def print_table(console: Console, title: str, headers: Row, rows: Iterable[Row]) -> None:
    """Print a table, without the columns in which nothing stands."""
    rows = list(rows)
    if not rows:
        return
    if title:
        console.print(title, style="bold")
    shown = [index for index in range(len(headers)) if any(row[index] for row in rows)]
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, show_header=any(headers), header_style="dim", padding=(0, 1, 0, 0)
    )
    for index in shown:
        numbers = all(row[index].isdigit() for row in rows if row[index])
        table.add_column(headers[index], justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    console.print()
