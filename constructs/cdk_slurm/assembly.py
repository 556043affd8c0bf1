"""A cloud assembly as `cdk synth` leaves it, read as JSON, without the CDK."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Policies with which CloudFormation lets go of a resource and leaves it, or a copy of its data, standing.
KEEPING = frozenset({"Retain", "RetainExceptOnCreate", "Snapshot"})


class AssemblyError(Exception):
    """The directory is not a cloud assembly of this cluster."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One CloudFormation stack."""

    name: str
    template: dict[str, Any]
    termination_protection: bool
    waits_for: tuple[str, ...]
    """Names of the stacks that are deployed before it."""

    @property
    def resources(self) -> int:
        """How many resources it has in AWS, where what CDK adds for itself is none."""
        return sum(one["Type"] != "AWS::CDK::Metadata" for one in self._resources())

    @property
    def kept(self) -> dict[str, int]:
        """How many resources of each type outlive the stack."""
        return dict(Counter(one["Type"] for one in self._resources() if one.get("DeletionPolicy") in KEEPING))

    def _resources(self) -> list[dict[str, Any]]:
        return list(self.template.get("Resources", {}).values())


@dataclass(frozen=True, kw_only=True)
class PolicyPack:
    """What one policy pack found in all stacks."""

    name: str
    open: int
    acknowledged: int


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """All stacks, those of nested assemblies included."""

    directory: Path
    stacks: tuple[Stack, ...]
    packs: tuple[PolicyPack, ...] | None
    """Packs with findings, open or acknowledged; None when no pack was applied."""

    @property
    def templates(self) -> dict[str, dict[str, Any]]:
        """Templates by the names of their stacks."""
        return {stack.name: stack.template for stack in self.stacks}


def read_assembly(directory: Path) -> Assembly:
    """Read an assembly. Raises `AssemblyError` when the directory holds none."""
    try:
        report = directory / "validation-report.json"
        return Assembly(
            directory=directory,
            stacks=tuple(_stacks(directory)),
            packs=tuple(_packs(_json(report))) if report.exists() else None,
        )
    except FileNotFoundError as error:
        raise AssemblyError(f"{error.filename} is missing; has `cdk synth` written {directory}?") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AssemblyError(f"{directory} is not what `cdk synth` writes: {error!r}") from None


def _stacks(directory: Path) -> Iterator[Stack]:
    artifacts = _json(directory / "manifest.json")["artifacts"]
    stacks = {id_: one for id_, one in artifacts.items() if one["type"] == "aws:cloudformation:stack"}
    names = {id_: one["properties"].get("stackName", id_) for id_, one in stacks.items()}
    for id_, artifact in stacks.items():
        properties = artifact["properties"]
        yield Stack(
            name=names[id_],
            template=_json(directory / properties["templateFile"]),
            termination_protection=properties.get("terminationProtection", False),
            waits_for=tuple(names[one] for one in artifact.get("dependencies", ()) if one in names),
        )
    for artifact in artifacts.values():
        if artifact["type"] == "cdk:cloud-assembly":
            yield from _stacks(directory / artifact["properties"]["directoryName"])


def _packs(report: Any) -> Iterator[PolicyPack]:
    for one in report["pluginReports"]:
        yield PolicyPack(
            name=one["pluginName"],
            open=_number(one["violations"]),
            acknowledged=_number(one.get("suppressedViolations", ())),
        )


def _number(violations: Any) -> int:
    return sum(max(1, len(violation["violatingConstructs"])) for violation in violations)


def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))
