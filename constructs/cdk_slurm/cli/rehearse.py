"""`cdk-slurm rehearse`: deploy a cluster on this machine."""

import contextlib
import signal
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdk_slurm.cli.formats import human
from cdk_slurm.cli.validate import findings_in
from cdk_slurm.rules import errors
from cdk_slurm.spec import ClusterSpec, load

if TYPE_CHECKING:
    from cdk_slurm.cli.rehearse_view import View
    from cdk_slurm.rehearsal import LocalAws, Stage


@click.command("rehearse")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.argument("new", type=click.Path(path_type=Path), metavar="[NEW]", required=False)
@click.option("--keep", is_flag=True, help="Leave the local AWS running, and print how to use and stop it.")
@click.option("--enforce-iam", is_flag=True, help="Judge every call by IAM, over TLS.")
@click.pass_context
def command(context: click.Context, file: Path, new: Path | None, keep: bool, enforce_iam: bool) -> None:
    """Deploy a cluster file with the real cdk to an AWS on this machine, show what stands, and take it away.

    With NEW, update what FILE describes to what NEW describes, and say of every resource what became of it.

    Nothing leaves this machine, and no AWS configuration of yours is read. Exit status: 0 when all went well; 1 when
    a file breaks a rule, a deployment fails, a service would be refused what it does afterwards, or the update would
    replace or delete something that holds data; 2 when a file cannot be read or the local AWS is not installed.
    """
    clusters = [(one, _sound(context, one)) for one in (file, new) if one]
    specs = [spec for _, spec in clusters]
    first = specs[0]
    if any((one.region, one.account) != (first.region, first.account) for one in specs):
        raise click.UsageError(f"{file} and {new} are for different Regions or accounts: NEW would update nothing")

    # Rich and boto3 take a while to import.
    from cdk_slurm.cli.rehearse_view import View
    from cdk_slurm.rehearsal import CdkError, LocalAws, NotInstalledError, Stage

    view = View()
    refused = True
    try:
        with _interrupted_by_signals():
            aws = LocalAws(region=first.region, account=first.account, enforce_iam=enforce_iam, keep=keep)
            kept = False
            try:
                view.started(aws, [name for one in specs for name in aws.provide(one)], enforce_iam)
                try:
                    refused = _rehearse(view, aws, Stage(aws, view), clusters, keep)
                except CdkError as error:
                    view.failed(error, aws.left_behind())
                kept = keep
            finally:
                if not kept:
                    aws.stop()
    except NotInstalledError as error:
        raise click.UsageError(str(error)) from None
    except KeyboardInterrupt:
        view.interrupted()
        context.exit(130)
    if kept:
        view.left_running(aws)
    else:
        view.stopped()
    context.exit(1 if refused else 0)


def _rehearse(
    view: "View", aws: "LocalAws", stage: "Stage", clusters: list[tuple[Path, ClusterSpec]], keep: bool
) -> bool:
    """Deploy the first cluster file, update it to the second, destroy; returns whether something is refused."""
    from cdk_slurm.rehearsal import changes_between, describe

    (file, spec), *rest = clusters
    with view.timed(f"Synthesised {file}"):
        assembly = stage.synthesise(file)
    with view.timed("Bootstrapped the account"):
        stage.bootstrap(assembly)
    with view.following("Deploying"):
        seconds = stage.deploy(assembly)
    deployed = describe(aws, spec, assembly.templates)
    view.stands(deployed, seconds)
    refused = bool(deployed.refusals)
    for new, spec in rest:
        with view.timed(f"Synthesised {new}"):
            successor = stage.synthesise(new)
        before = aws.resources()
        with view.following("Updating"):
            seconds = stage.deploy(successor)
        deployed = describe(aws, spec, successor.templates)
        view.stands(deployed, seconds)
        changes = changes_between(before, aws.resources(), old=assembly.templates, new=successor.templates)
        view.changed(changes, sorted(set(assembly.templates) - set(successor.templates)))
        refused = bool(deployed.refusals) or any(change.loses_data for change in changes)
        assembly = successor
    if not keep:
        unprotected = [stack.name for stack in assembly.stacks if not stack.termination_protection]
        with view.following("Destroying"):
            stage.destroy(assembly, *unprotected)
        view.destroyed(aws.resources(), aws.left_behind(), assembly)
    return refused


def _sound(context: click.Context, file: Path) -> ClusterSpec:
    """The description in a file that breaks no rule; otherwise the command ends here."""
    found = findings_in(str(file))
    if found:
        click.echo(human.render({str(file): found}), err=True, nl=False)
    if errors(found):
        context.exit(2 if any(one.rule == "FILE_UNREADABLE" for one in found) else 1)
    return load(file).spec


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the command as Ctrl-C does: with everything stopped."""

    def interrupt(_number: int, _frame: types.FrameType | None) -> None:
        raise KeyboardInterrupt

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
