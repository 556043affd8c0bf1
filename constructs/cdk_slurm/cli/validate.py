"""`cdk-slurm validate`: check cluster files."""

from collections.abc import Callable

import click

from cdk_slurm.cli.formats import Found, github, human, machine, sarif
from cdk_slurm.rules import check, errors
from cdk_slurm.spec import Finding, SpecError, UnreadableError, load

FORMATS: dict[str, Callable[[Found], str]] = {
    "human": human.render,
    "json": machine.render,
    "sarif": sarif.render,
    "github": github.render,
}


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    default="human",
    show_default=True,
    help="Form of the output.",
)
@click.pass_context
def command(context: click.Context, files: tuple[str, ...], format_: str) -> None:
    """Check cluster files.

    Exit status: 0 without errors (warnings may be there), 1 with errors, 2 when a file cannot be read.
    """
    found = {file: findings_in(file) for file in files}
    click.echo(FORMATS[format_](found), nl=False)
    everything = tuple(finding for findings in found.values() for finding in findings)
    unreadable = any(finding.rule == "FILE_UNREADABLE" for finding in everything)
    context.exit(2 if unreadable else 1 if errors(everything) else 0)


def findings_in(file: str) -> tuple[Finding, ...]:
    """Everything that is wrong with a file, that it cannot be read included."""
    try:
        return check(load(file))
    except (SpecError, UnreadableError) as error:
        return error.findings
