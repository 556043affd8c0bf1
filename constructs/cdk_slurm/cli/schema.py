"""`cdk-slurm schema`: the JSON Schema of a cluster file."""

import json

import click

from cdk_slurm.spec import json_schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a cluster file, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
