"""`cdk-slurm pcluster`: files for teams that drive ParallelCluster by its own command line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import yaml

from cdk_slurm.cli.formats import human
from cdk_slurm.pcluster_configuration import VERSION, cluster_configuration, surroundings
from cdk_slurm.rules import check, errors
from cdk_slurm.spec import ExistingNetwork, ParallelClusterSpec, SpecError, UnreadableError, load


@click.group("pcluster")
def command() -> None:
    """Write files for ParallelCluster's own command line."""


@command.command("render")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option(
    "--output",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    show_default=True,
    help="Directory that cluster.yaml and config.yaml are written to.",
)
@click.option(
    "--deployed",
    is_flag=True,
    help="Ask CloudFormation for the outputs of the network's and the storage's stacks; otherwise their names stand in "
    "their places, as ${PrimaryPrivateSubnet}, for envsubst.",
)
@click.pass_context
def render(context: click.Context, file: str, directory: Path, deployed: bool) -> None:
    """Write cluster.yaml, for `pcluster create-cluster`, and config.yaml with what it was made of."""
    spec = _sound(context, file)
    outputs = _deployed_outputs(spec) if deployed else _Placeholders()
    try:
        configuration = cluster_configuration(spec, surroundings(spec, outputs))
    except KeyError as error:
        text = f"no stack of {spec.name} has the output {error.args[0]}: deploy them first"
        raise click.ClickException(text) from None
    directory.mkdir(parents=True, exist_ok=True)
    named = dict(_variables(spec, outputs if deployed else {}))
    for name, document in (("cluster.yaml", configuration), ("config.yaml", named)):
        text = yaml.safe_dump(document, sort_keys=False, width=120)
        (directory / name).write_text(f"# Written by cdk-slurm of {file}; a change belongs there.\n{text}", "utf-8")
        click.echo(f"{directory / name}")


def _sound(context: click.Context, file: str) -> ParallelClusterSpec:
    try:
        loaded = load(file)
    except (SpecError, UnreadableError) as error:
        click.echo(human.render({file: error.findings}), err=True, nl=False)
        context.exit(2 if isinstance(error, UnreadableError) else 1)
    findings = check(loaded)
    if errors(findings):
        click.echo(human.render({file: findings}), err=True, nl=False)
        context.exit(1)
    if not isinstance(loaded.spec, ParallelClusterSpec):
        raise click.UsageError(f"{file}: found kind {loaded.spec.kind}; allowed: parallelcluster")
    return loaded.spec


class _Placeholders(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"${{{name}}}"


def _deployed_outputs(spec: ParallelClusterSpec) -> dict[str, str]:
    """Outputs of all stacks of the description that stand."""
    import boto3  # takes a while to import
    from botocore.exceptions import BotoCoreError, ClientError

    found: dict[str, str] = {}
    try:
        pages = boto3.client("cloudformation", region_name=spec.region).get_paginator("describe_stacks").paginate()
        for stack in (one for page in pages for one in page["Stacks"]):
            if stack["StackName"] in (f"{spec.name}-network", f"{spec.name}-storage"):
                told = (one for one in stack.get("Outputs", ()) if "ExportName" not in one)  # those are for stacks
                found |= {one["OutputKey"]: one["OutputValue"] for one in told}
    except (BotoCoreError, ClientError) as error:
        raise click.ClickException(f"CloudFormation in {spec.region} does not answer: {error}") from None
    return found


def _variables(spec: ParallelClusterSpec, outputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the tutorial keeps in its config.yaml, under its names."""
    cluster = spec.parallelcluster
    first = cluster.queues[0].compute[0]
    yield "CLUSTER_NAME", spec.name
    yield "AWS_REGION", spec.region
    yield "PCLUSTER_VERSION", VERSION
    yield "AZ", spec.availability_zone
    yield "NUM_INSTANCES", str(first.max_count)
    yield "INSTANCE", first.types[0]
    if first.capacity_reservation and first.capacity_reservation.id:
        yield "CAPACITY_RESERVATION_ID", first.capacity_reservation.id
    if cluster.head_node.ssh_key:
        yield "KEYPAIR_NAME", cluster.head_node.ssh_key
    if spec.data:
        made = outputs.get("S3BucketName", "${S3BucketName}")
        yield "DATA_BUCKET_NAME", made if spec.data.bucket == "new" else spec.data.bucket
    if not isinstance(spec.network, ExistingNetwork):
        yield "STACK_ID_VPC", f"{spec.name}-network"
    yield from sorted(outputs.items())
