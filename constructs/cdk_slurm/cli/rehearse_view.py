"""How a rehearsal looks."""

import contextlib
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cdk_slurm.assembly import Assembly
from cdk_slurm.cli.tables import plain_console, print_table
from cdk_slurm.rehearsal import CdkError, Change, Deployed, LocalAws
from cdk_slurm.rehearsal.changes import DATA_TYPES

_ENDED = ("_COMPLETE", "_FAILED")

#: Columns where no terminal says how many there are: enough for a DNS name beside what it is of.
_WIDTH_ELSEWHERE = 132


class View:
    """Prints to a terminal, or line by line to wherever else the output goes."""

    def __init__(self) -> None:
        self._console = plain_console()
        if not self._console.is_terminal:
            self._console.width = _WIDTH_ELSEWHERE
        self._doing = ""
        self._stacks: dict[str, str] = {}
        self._status = self._console.status("")

    # --- As it goes ---

    def started(self, aws: LocalAws, stand_ins: Sequence[str], enforce_iam: bool) -> None:
        """The local AWS is up."""
        judged = ", every call judged by IAM" if enforce_iam else ""
        self._console.print(
            f"AWS on this machine: {aws.url}, {aws.region}, account {aws.account}{judged}", style="bold"
        )
        if stand_ins:
            self._console.print(f"Standing in for what exists already: {', '.join(dict.fromkeys(stand_ins))}")

    @contextlib.contextmanager
    def timed(self, text: str) -> Iterator[None]:
        """Something that takes seconds."""
        begin = time.monotonic()
        with self._console.status(text):
            yield
        self._line(text, f"{time.monotonic() - begin:.1f} s")

    @contextlib.contextmanager
    def following(self, doing: str) -> Iterator[None]:
        """Something that happens to stacks."""
        self._doing, self._stacks = doing, {}
        self._console.print(doing)
        self._status = self._console.status(f"{doing} …")
        with self._status:
            yield

    def stack(self, name: str, status: str, done: int, total: int) -> None:
        """A stack has something new to tell."""
        told = f"{done} of {max(done, total)} resources"
        if status.endswith(_ENDED) and self._stacks.get(name) != status:
            self._line(f"{name} {status}", told, style="red" if "FAILED" in status or "ROLLBACK" in status else "")
        self._stacks[name] = status
        self._status.update(f"{self._doing} {name}: {told}")

    def failed(self, error: CdkError, left_behind: Iterable[Mapping[str, Any]]) -> None:
        """A command of CDK's failed, and CloudFormation rolled back."""
        console = self._console
        console.print(f"{error.command} failed", style="bold red")
        for reason in error.reasons or [error.output.strip()[-4000:]]:
            console.print(f"  {reason}", soft_wrap=True)
        console.print()
        rows = [(one["stack"], one["logical_id"], _short(one["type"]), one["physical_id"]) for one in left_behind]
        title = "Left behind by the rollback, in no stack: what is retained"
        print_table(console, title, ("Stack", "Resource", "Type", "Id"), rows)
        for one in error.replacements:
            if one.type in DATA_TYPES:
                what = f"{one.stack}: {one.logical_id} ({_short(one.type)} {one.physical_id})"
                self._refuse(f"{what} would be replaced by a new, empty one.")

    def interrupted(self) -> None:
        """Somebody wants it to end."""
        self._console.print("Interrupted.", style="bold")
        self.stopped()

    def stopped(self) -> None:
        """The local AWS has ended."""
        self._console.print("The local AWS is stopped; nothing of it is left.", style="bold")

    def _refuse(self, why: str) -> None:
        self._console.print(f"REFUSED  {why}\n", style="bold red", soft_wrap=True)

    def _line(self, text: str, told: str, style: str = "") -> None:
        self._console.print(f"  {text:<58} {told}", style=style, soft_wrap=True)

    # --- What there is ---

    def stands(self, deployed: Deployed, seconds: Mapping[str, float]) -> None:
        """What is deployed, and how long each stack took."""
        console = self._console
        console.print()
        if deployed.cluster:
            print_table(
                console,
                f"HyperPod cluster {deployed.cluster}: {deployed.status}",
                ("Instance group", "Node type", "Instance type", "Nodes", "Partition", "Mounts"),
                [
                    (
                        group.name,
                        group.node_type,
                        group.instance_type,
                        f"{group.current} of {group.target}",
                        group.partition,
                        ", ".join(group.mounts),
                    )
                    for group in deployed.groups
                ],
            )
        print_table(
            console,
            "File systems",
            ("Id", "Type", "GiB", "DNS name", "Mount name"),
            [
                (one.id, one.type, str(one.capacity_gib or ""), one.dns_name, one.mount_name)
                for one in deployed.file_systems
            ],
        )
        print_table(console, "Buckets", ("Name", "Objects"), [(n, str(count)) for n, count in deployed.buckets.items()])
        print_table(console, "Associations", ("File system", "Directory", "Follows"), deployed.associations)
        print_table(
            console,
            "Dashboards",
            ("Folder", "Title", "Id"),
            [(one.folder, one.title, one.uid) for one in deployed.dashboards],
        )
        print_table(
            console,
            "Studio",
            ("Space", "App", "Person", "Uid", "Gid", "Directory of Lustre"),
            [
                (one.name, one.app, one.person, str(one.uid), str(one.gid), ", ".join(one.directories))
                for one in deployed.spaces
            ],
        )
        print_table(
            console,
            "Outputs",
            ("Stack", "Output", "Value"),
            [(stack, name, value) for stack, outputs in deployed.outputs.items() for name, value in outputs.items()],
        )
        print_table(
            console,
            "Seconds that CloudFormation took here (in AWS: minutes)",
            ("Stack", "Seconds"),
            [(name, f"{took:.1f}") for name, took in seconds.items()],
        )

        for refusal in deployed.refusals:
            self._refuse(f"{refusal} (when it does its work, not while it is deployed).")

    def changed(self, changes: Sequence[Change], left: Sequence[str]) -> None:
        """What an update did, and whether it may be done."""
        console = self._console
        print_table(
            console,
            "What the update did",
            ("", "Stack", "Resource", "Type", "Properties"),
            [
                (change.action, change.stack, change.path, _short(change.type), ", ".join(change.properties))
                for change in sorted(changes, key=lambda one: (one.action, one.stack, one.path))
            ],
        )
        if not changes:
            console.print("The update changed nothing.\n", style="bold")
        for name in left:
            console.print(f"{name} is not of NEW: `cdk deploy` leaves it as it is, with all that is in it.\n")
        lost = [change for change in changes if change.loses_data]
        for change in lost:
            self._refuse(_refusal(change))
        if not lost:
            console.print("Nothing that holds data was replaced or deleted.\n", style="bold green")

    def destroyed(
        self, resources: Iterable[Mapping[str, Any]], left_behind: Iterable[Mapping[str, Any]], assembly: Assembly
    ) -> None:
        """What `cdk destroy` left, and what updates had let go of before."""
        standing = [(one["stack"], one) for one in resources if one["stack"] in assembly.templates]
        standing += [(f"none; was of {one['stack']}", one) for one in left_behind]
        rows = [
            (stack, _short(one["type"]), one["physical_id"]) for stack, one in standing if one["type"] in DATA_TYPES
        ]
        self._console.print()
        print_table(self._console, "Kept: data, in stacks that are protected or in none", ("Stack", "Type", "Id"), rows)

    def left_running(self, aws: LocalAws) -> None:
        """How to use the local AWS, and how to stop it."""
        self._console.print("The local AWS keeps running. To use it:", style="bold")
        own = {name: value for name, value in aws.environment.items() if name.startswith(("AWS_", "NODE_EXTRA"))}
        for name, value in own.items():
            self._console.print(f"  export {name}={shlex.quote(value)}", soft_wrap=True)
        self._console.print(f"Who answers over TLS has the certificate {aws.certificate}", soft_wrap=True)
        self._console.print(f"To stop it, with all that it started and wrote:\n  kill {aws.pid}", soft_wrap=True)


def _short(type_: str) -> str:
    return type_.removeprefix("AWS::").replace("::", " ")


def _refusal(change: Change) -> str:
    what = f"{change.stack}: {change.path} ({_short(change.type)} {change.physical_id})"
    old = "is kept, outside every stack" if change.kept else "is gone"
    if change.action == "replaced":
        return f"{what} would be replaced by a new, empty one, for {', '.join(change.properties)}; the old one {old}."
    return f"{what} would be deleted from its stack; it {old}."
