"""`cdk-slurm rehearse`: deploy a cluster on this machine."""

import contextlib
import signal
import types
from collections.abc import Callable, Iterator
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
    from cdk_slurm.rehearsal.stage import Assembly


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
    a file breaks a rule, a deployment fails, or the update would replace or delete something that holds data; 2 when
    a file cannot be read or the local AWS is not installed.
    """
    old, *rest = [_sound(context, one) for one in (file, new) if one]
    if any((one.region, one.account) != (old.region, old.account) for one in rest):
        raise click.UsageError(f"{file} and {new} are for different Regions or accounts: NEW would update nothing")

    # Rich and boto3 take a while to import.
    from cdk_slurm.cli.rehearse_view import View
    from cdk_slurm.rehearsal import CdkError, LocalAws, NotInstalledError, Stage

    view = View()
    try:
        with _interrupted_by_signals():
            aws = LocalAws(region=old.region, account=old.account, enforce_iam=enforce_iam, keep=keep)
            left_running = False
            try:
                view.started(aws, [name for one in (old, *rest) for name in aws.provide(one)], enforce_iam)
                stage = Stage(aws, view)
                refused = _rehearse(view, aws, stage, file, old, new, rest[0] if rest else None, keep)
                left_running = keep
            finally:
                if not left_running:
                    aws.stop()
    except NotInstalledError as error:
        raise click.UsageError(str(error)) from None
    except CdkError as error:
        view.failed(error)
        context.exit(1)
    except KeyboardInterrupt:
        view.interrupted()
        context.exit(130)
    if left_running:
        view.left_running(aws)
    context.exit(1 if refused else 0)


def _rehearse(
    view: "View",
    aws: "LocalAws",
    stage: "Stage",
    file: Path,
    old: ClusterSpec,
    new_file: Path | None,
    new: ClusterSpec | None,
    keep: bool,
) -> bool:
    """Deploy, update and destroy; returns whether the update is refused."""
    from cdk_slurm.rehearsal import changes_between, describe

    assembly = _timed(view, f"Synthesised {file}", lambda: stage.synthesise(file))
    _timed(view, "Bootstrapped the account", lambda: stage.bootstrap(assembly))
    seconds = _deployed(view, stage, assembly)
    refused = False
    if new and new_file:
        successor = _timed(view, f"Synthesised {new_file}", lambda: stage.synthesise(new_file))
        before = aws.resources()
        seconds = _deployed(view, stage, successor)
        changes = changes_between(before, aws.resources(), old=assembly.stacks, new=successor.stacks)
        left = sorted(set(assembly.stacks) - set(successor.stacks))
        refused = any(change.loses_data for change in changes)
        assembly, old = successor, new
    view.stands(describe(aws, old.name, assembly.stacks), seconds)
    if new:
        view.changed(changes, left)
    if not keep:
        unprotected = [name for name in assembly.stacks if name not in assembly.protected]
        with view.following("Destroying"):
            stage.destroy(assembly, *unprotected)
        view.destroyed(aws.resources(), assembly)
    return refused


def _deployed(view: "View", stage: "Stage", assembly: "Assembly") -> dict[str, float]:
    with view.following("Deploying"):
        return stage.deploy(assembly)


def _timed(view: "View", text: str, work: Callable[[], "Assembly"] | Callable[[], None]) -> "Assembly":
    with view.timed(text):
        done = work()
    return done  # type: ignore[return-value]


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
