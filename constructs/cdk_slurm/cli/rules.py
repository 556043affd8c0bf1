"""`cdk-slurm rules`: list the rules, and explain one."""

import dataclasses
import difflib
import json

import click

from cdk_slurm.cli.catalogue import Entry, catalogue

_COLOURS = {"error": "red", "warning": "yellow"}


@click.group("rules", invoke_without_command=True)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="Form of the output.",
)
@click.pass_context
def command(context: click.Context, format_: str) -> None:
    """List everything that is checked: id, level, what is judged, and what must hold of it."""
    if context.invoked_subcommand is not None:
        return
    entries = catalogue().values()
    if format_ == "json":
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        click.echo(_heading(entry))
        click.echo(f"  {entry.title}")


@command.command("explain")
@click.argument("id_", metavar="ID")
def explain(id_: str) -> None:
    """Say what a rule demands, why, and where that is written."""
    entries = catalogue()
    entry = entries.get(id_.upper())
    if entry is None:
        close = difflib.get_close_matches(id_.upper(), entries, n=1, cutoff=0)
        raise click.BadParameter(f"there is no {id_}; did you mean {close[0]}?", param_hint="ID")
    click.echo(_heading(entry))
    for text in (entry.title, entry.explanation, entry.reference):
        if text:
            click.echo(f"\n{click.wrap_text(text, preserve_paragraphs=True)}")


def _heading(entry: Entry) -> str:
    level = click.style(entry.level, fg=_COLOURS[entry.level])
    return f"{click.style(entry.id, bold=True)}  {level}  {click.style(entry.judges, dim=True)}"
