"""A cloud assembly as `cdk synth` leaves it, read as JSON: what a summary needs of it, without the CDK."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Deletion policies with which a resource, or a copy of its data, outlives its stack.
_KEEPING = {"Retain", "RetainExceptOnCreate", "Snapshot"}


class AssemblyError(Exception):
    """The directory is not a cloud assembly of this cluster."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One CloudFormation stack."""

    name: str
    resources: int
    termination_protection: bool
    waits_for: tuple[str, ...]
    """Names of the stacks that are deployed before it."""

    kept: dict[str, int]
    """How many resources of each type outlive the stack."""


@dataclass(frozen=True, kw_only=True)
class PolicyPack:
    """What one policy pack found in all stacks."""

    name: str
    open: int
    acknowledged: int


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """All stacks, those of nested assemblies included."""

    stacks: tuple[Stack, ...]
    packs: tuple[PolicyPack, ...] | None
    """Packs with findings, open or acknowledged; None when no pack was applied."""


def read_assembly(directory: Path) -> Assembly:
    """Read an assembly. Raises `AssemblyError` when the directory holds none."""
    try:
        report = directory / "validation-report.json"
        return Assembly(
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
        resources = _json(directory / properties["templateFile"]).get("Resources", {}).values()
        yield Stack(
            name=names[id_],
            # What CDK adds for itself is no resource in AWS.
            resources=sum(resource["Type"] != "AWS::CDK::Metadata" for resource in resources),
            termination_protection=properties.get("terminationProtection", False),
            waits_for=tuple(names[one] for one in artifact.get("dependencies", ()) if one in names),
            kept=dict(Counter(one["Type"] for one in resources if one.get("DeletionPolicy") in _KEEPING)),
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
