"""`cdk-slurm summary`: what a synthesis is going to deploy."""

from pathlib import Path

import click

from cdk_slurm.assembly import Assembly, AssemblyError, read_assembly
from cdk_slurm.cli.formats import human
from cdk_slurm.spec import ClusterSpec, SpecError, UnreadableError, load


@click.command("summary")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option(
    "--assembly",
    "directory",
    type=click.Path(path_type=Path),
    default="cdk.out",
    show_default=True,
    help="Directory that `cdk synth` wrote.",
)
@click.pass_context
def command(context: click.Context, file: str, directory: Path) -> None:
    """Summarise a cluster and the stacks that were synthesised of it."""
    try:
        spec = load(file).spec
        assembly = _assembly_of(spec, directory)
    except (SpecError, UnreadableError) as error:
        click.echo(human.render({file: error.findings}), err=True, nl=False)
        context.exit(2 if isinstance(error, UnreadableError) else 1)
    except AssemblyError as error:
        raise click.UsageError(str(error)) from None

    from cdk_slurm.cli import summary_view  # rich takes a while to import

    summary_view.show(spec, assembly, file)


def _assembly_of(spec: ClusterSpec, directory: Path) -> Assembly:
    assembly = read_assembly(directory)
    names = [stack.name for stack in assembly.stacks]
    if not any(name == spec.name or name.startswith(f"{spec.name}-") for name in names):
        raise AssemblyError(f"{directory} holds no stack of {spec.name}, but {', '.join(names) or 'no stack at all'}")
    return assembly
