"""The CDK command line at work on a local AWS: synthesis, bootstrap, deployment, destruction, and how they go."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError

from cdk_slurm.assembly import Assembly, read_assembly
from cdk_slurm.rehearsal.local_aws import CHECKOUT, LocalAws, NotInstalledError

_POLL_SECONDS = 0.5

_STACK = "AWS::CloudFormation::Stack"
#: What has events and is no resource of a template, or is none in AWS.
_NOT_COUNTED = (_STACK, "AWS::CDK::Metadata")


@dataclass(frozen=True)
class Replacement:
    """A resource that CloudFormation began to replace."""

    stack: str
    logical_id: str
    type: str
    physical_id: str


class CdkError(Exception):
    """A command of CDK's failed. The message is what CloudFormation and CDK said of it."""

    def __init__(
        self, command: str, output: str, reasons: Sequence[str] = (), replacements: Sequence[Replacement] = ()
    ) -> None:
        self.command = command
        self.output = output
        self.reasons = tuple(reasons)
        """Why resources failed, the first failure of each stack first."""

        self.replacements = tuple(replacements)
        """What the failed update had begun to replace."""

        super().__init__("\n".join(self.reasons) or output.strip()[-2000:])


class Observer(Protocol):
    """Who wants to be told how it goes."""

    def stack(self, name: str, status: str, done: int, total: int) -> None:
        """A stack's status, and how many of its resources are there, have something new to tell."""


class _Nobody:
    def stack(self, name: str, status: str, done: int, total: int) -> None:
        pass


class Stage:
    """Runs the pinned CDK command line of the checkout against a local AWS."""

    def __init__(self, aws: LocalAws, observer: Observer | None = None) -> None:
        self.aws = aws
        self._observer = observer or _Nobody()
        self._cdk = CHECKOUT / "node_modules" / ".bin" / "cdk"
        if not self._cdk.exists():
            raise NotInstalledError(f"{self._cdk} is missing: run `make setup`")
        self._runs = 0

    def synthesise(self, file: Path) -> Assembly:
        """Have the app read a cluster file."""
        self._runs += 1
        directory = self.aws.directory / f"cdk.out-{self._runs}"
        self._run("synth", "--quiet", "--context", f"cluster={file.resolve()}", "--output", str(directory))
        return read_assembly(directory)

    def bootstrap(self, assembly: Assembly) -> None:
        """Make what CDK needs in an account and Region."""
        environment = f"aws://{self.aws.account}/{self.aws.region}"
        # CDK's default, said aloud: left out, a condition decides on it that MiniStack cannot evaluate.
        policies = "arn:aws:iam::aws:policy/AdministratorAccess"
        self._run(
            "bootstrap", "--app", str(assembly.directory), "--cloudformation-execution-policies", policies, environment
        )

    def deploy(self, assembly: Assembly, *stacks: str) -> dict[str, float]:
        """Deploy stacks, or all; returns how many seconds CloudFormation took for each that changed."""
        return self._watched(
            assembly, "deploy", "--concurrency", "4", "--require-approval", "never", *(stacks or ("--all",))
        )

    def destroy(self, assembly: Assembly, *stacks: str) -> dict[str, float]:
        """Destroy stacks, or all; returns how many seconds CloudFormation took for each."""
        return self._watched(assembly, "destroy", "--force", *(stacks or ("--all",)))

    def drifted(self, assembly: Assembly) -> str:
        """What `cdk drift` says; raises `CdkError` when something drifted."""
        return self._run("drift", "--app", str(assembly.directory), "--fail")

    def _watched(self, assembly: Assembly, command: str, *arguments: str) -> dict[str, float]:
        watch = _Watch(self.aws, assembly, self._observer)
        try:
            self._run(command, "--app", str(assembly.directory), "--no-notices", *arguments, beside=watch.look)
        except CdkError as error:
            watch.look()
            raise CdkError(error.command, error.output, watch.failures, watch.replacements) from None
        watch.look()
        return watch.seconds

    def _run(self, command: str, *arguments: str, beside: Callable[[], None] = lambda: None) -> str:
        environment = self.aws.environment | {
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CDK_DISABLE_VERSION_CHECK": "1",
            "CI": "true",
            # The app's language runtime is large; unpacked once for the user, it is only read here.
            "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(_jsii_cache()),
            "NO_COLOR": "1",
            "PATH": os.pathsep.join([str(CHECKOUT / ".venv" / "bin"), str(self._cdk.parent), os.environ["PATH"]]),
        }
        log = self.aws.directory / f"cdk-{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self._cdk), command, *arguments],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while True:
                    try:
                        process.wait(_POLL_SECONDS)
                        break
                    except subprocess.TimeoutExpired:
                        beside()
            except BaseException:
                os.killpg(process.pid, 9)
                process.wait()
                raise
        text = log.read_text("utf-8", errors="replace")
        if process.returncode != 0:
            raise CdkError(f"cdk {command}", text)
        return text


class _Watch:
    """Follows CloudFormation's events of one assembly's stacks while a command runs."""

    def __init__(self, aws: LocalAws, assembly: Assembly, observer: Observer) -> None:
        self._client = aws.client("cloudformation")
        self._totals = {stack.name: stack.resources for stack in assembly.stacks}
        self._observer = observer
        self._shown: dict[str, tuple[str, int]] = {}
        self._states = self._told_states()
        self._former = {event["EventId"] for id_ in self._states for event in self._events(id_)}
        self.seconds: dict[str, float] = {}
        self._failures: dict[str, list[str]] = {}
        self._replacements: dict[str, list[Replacement]] = {}

    @property
    def failures(self) -> list[str]:
        """Why resources failed, by stack and in order."""
        return [one for found in self._failures.values() for one in found]

    @property
    def replacements(self) -> list[Replacement]:
        """What CloudFormation began to replace."""
        return [one for found in self._replacements.values() for one in found]

    def look(self) -> None:
        """Tell the observer what is new. Events are many: only stacks in which something happens are asked for them."""
        states = self._told_states()
        for id_, (name, *state) in states.items():
            if state[0].endswith("_IN_PROGRESS") or self._states.get(id_) != states[id_]:
                self._follow(id_, name)
        for id_, (name, *_) in self._states.items():
            if id_ not in states:  # gone; by its id it can be asked all the same
                self._follow(id_, name)
        self._states = states

    def _follow(self, id_: str, name: str) -> None:
        events = [event for event in self._events(id_) if event["EventId"] not in self._former]
        if not events:
            return
        self.seconds[name] = (events[-1]["Timestamp"] - events[0]["Timestamp"]).total_seconds()
        statuses = [event["ResourceStatus"] for event in events if event["ResourceType"] == _STACK]
        done = {
            event["LogicalResourceId"]
            for event in events
            if event["ResourceType"] not in _NOT_COUNTED and event["ResourceStatus"].endswith(("_COMPLETE", "_SKIPPED"))
        }
        state = (statuses[-1] if statuses else "", len(done))
        if self._shown.get(name) != state:
            self._shown[name] = state
            self._observer.stack(name, *state, self._totals[name])
        self._failures[name] = [_told(name, one) for one in events if one["ResourceStatus"].endswith("_FAILED")]
        self._replacements[name] = [
            Replacement(name, one["LogicalResourceId"], one["ResourceType"], one["PhysicalResourceId"])
            for one in events
            if one.get("ResourceStatusReason", "").startswith(_REPLACING)
        ]

    def _told_states(self) -> dict[str, tuple[str, str, str]]:
        """Name, status and time of the last update of each stack that stands, by id."""
        return {
            one["StackId"]: (one["StackName"], one["StackStatus"], str(one.get("LastUpdatedTime")))
            for one in self._client.describe_stacks()["Stacks"]
            if one["StackName"] in self._totals
        }

    def _events(self, id_: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=id_)
        try:
            return [event for page in pages for event in page["StackEvents"]][::-1]
        except ClientError:  # CDK deleted what had failed, and made another of the same name
            return []


#: CloudFormation's words.
_REPLACING = "Requested update requires the creation of a new physical resource"


def _told(stack: str, event: dict[str, Any]) -> str:
    reason = event.get("ResourceStatusReason", "")
    return f"{stack}: {event['LogicalResourceId']} ({event['ResourceType']}) {event['ResourceStatus']}: {reason}"


def _jsii_cache() -> Path:
    return Path(os.environ.get("JSII_RUNTIME_PACKAGE_CACHE_ROOT") or Path.home() / ".cache/aws/jsii/package-cache")
