"""The `cdk-slurm` command: a thin layer over `cdk_slurm.spec` and `cdk_slurm.rules`."""

import io
import os
import sys

import click

from cdk_slurm.cli import bundle, pcluster, rehearse, rules, schema, summary, validate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cdk-slurm", prog_name="cdk-slurm")
@click.pass_context
def main(context: click.Context) -> None:
    """Check and explain descriptions of Slurm training clusters on AWS."""
    context.color = False if os.environ.get("NO_COLOR") else None
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name or value may hold what a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")


for _module in (validate, rules, schema, summary, pcluster, rehearse, bundle):
    main.add_command(_module.command)
