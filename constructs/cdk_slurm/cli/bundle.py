"""`cdk-slurm bundle`: fetch what nodes may lack."""

import click

from cdk_slurm import parts

_LEFT_OUT = """
What is left out was never compared with its checksum where that was written down: parts.lock.json says from whom
it was taken. `cdk-slurm bundle NAME` fetches it, and takes only a file with that checksum.
"""


@click.command("bundle")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """Fetch the parts that nodes may lack, for the next deployment to take along.

    parts.lock.json beside the lifecycle scripts names them all, with version and checksum. Without NAME, those are
    fetched whose checksum was verified; the others only when named. What is there already is not fetched again.

    Exit status: 0 when everything asked for is there, 1 when a part cannot be had or has another checksum, 2 when
    there is no part of that name.
    """
    scripts = parts.lifecycle_scripts()
    locked = parts.locked_parts(scripts)
    known = dict.fromkeys(part.name for part in locked)
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no part {name}; there are {', '.join(known)}")
    width = max(map(len, known), default=0)
    failed = left_out = False
    for part in locked:
        if names and part.name not in names:
            continue
        told = f"{part.name:<{width}} {part.version:<8} {part.architecture:<6} " + (
            "verified    " if part.verified else "unverified  "
        )
        if not names and not part.verified:
            left_out = True
            click.echo(told + "left out")
            continue
        try:
            fetched = parts.fetch(part, scripts)
        except parts.PartError as error:
            failed = True
            click.echo(told + "failed")
            click.echo(f"Error: {part.name}: {error}", err=True)
        else:
            click.echo(told + ("fetched" if fetched else "present"))
    if left_out:
        click.echo(_LEFT_OUT, nl=False)
    context.exit(1 if failed else 0)
