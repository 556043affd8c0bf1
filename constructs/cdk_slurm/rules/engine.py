"""Rules: how one is written, listed and applied."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from cdk_slurm.spec import ClusterSpec, Finding, Level, LoadedSpec, Model, Path

#: What a rule yields: a field of the model that it judges (or a path below it), and a sentence.
Violation = tuple[str | Path, str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that must hold of one model."""

    id: str
    level: Level
    judges: type[Model]
    title: str
    explanation: str
    reference: str
    violations: Callable[[Any], Iterator[Violation]]


#: All rules by id, in the order in which they are defined.
RULES: dict[str, Rule] = {}


def rule(
    level: Level, reference: str
) -> Callable[[Callable[[Any], Iterator[Violation]]], Callable[[Any], Iterator[Violation]]]:
    """Make a rule of a generator function.

    The function's name in capitals is the rule's id, its only parameter's type the model that it
    judges, its docstring's first line the title and the rest the explanation. It yields a violation
    for everything that does not hold, and must not fail on a model that other rules would refuse.
    """

    def register(function: Callable[[Any], Iterator[Violation]]) -> Callable[[Any], Iterator[Violation]]:
        title, _, explanation = inspect.cleandoc(function.__doc__ or "").partition("\n")
        parameter = next(iter(inspect.signature(function).parameters))
        identifier = function.__name__.upper()
        if identifier in RULES:
            raise ValueError(f"rule {identifier} is defined twice")
        RULES[identifier] = Rule(
            id=identifier,
            level=level,
            judges=get_type_hints(function)[parameter],
            title=title,
            explanation=explanation.strip(),
            reference=reference,
            violations=function,
        )
        return function

    return register


def check(described: Model | LoadedSpec) -> tuple[Finding, ...]:
    """Apply every rule to a model and to all models in it.

    A `LoadedSpec` gives findings with file and line. Findings that a whole `ClusterSpec` silences
    are returned too, with the reason in `silenced`.
    """
    model = described.spec if isinstance(described, LoadedSpec) else described
    findings = [
        Finding(
            rule=one.id,
            level=one.level,
            path=(*path, *((where,) if isinstance(where, str) else where)),
            message=message,
            reference=one.reference,
        )
        for path, part in _parts(model, ())
        for one in RULES.values()
        if isinstance(part, one.judges)
        for where, message in one.violations(part)
    ]
    if isinstance(model, ClusterSpec):
        findings = _silenced(findings, model)
    if isinstance(described, LoadedSpec):
        findings = sorted(
            (_located(finding, described) for finding in findings),
            key=lambda f: (f.line or 0, f.column or 0, f.rule),
        )
    return tuple(findings)


def errors(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings that stand in the way: errors that nobody silenced."""
    return tuple(finding for finding in findings if finding.level == "error" and finding.silenced is None)


def _parts(value: Any, path: Path) -> Iterator[tuple[Path, Model]]:
    if isinstance(value, Model):
        yield path, value
        for name in type(value).model_fields:
            yield from _parts(getattr(value, name), (*path, name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _parts(item, (*path, index))


def _silenced(findings: list[Finding], spec: ClusterSpec) -> list[Finding]:
    reasons = {silence.rule: silence.reason for silence in spec.silence}
    found = {finding.rule for finding in findings}
    unused = [
        Finding(
            rule="SILENCE_UNUSED",
            level="warning",
            path=("silence", index, "rule"),
            message=f"found {silence.rule}, which finds nothing here; remove the entry",
        )
        for index, silence in enumerate(spec.silence)
        if silence.rule in RULES and silence.rule not in found
    ]
    return [replace(finding, silenced=reasons.get(finding.rule)) for finding in findings] + unused


def _located(finding: Finding, loaded: LoadedSpec) -> Finding:
    line, column = loaded.position(finding.path)
    return replace(finding, file=loaded.file, line=line, column=column)
