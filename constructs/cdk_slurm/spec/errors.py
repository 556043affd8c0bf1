"""Validation errors as a user wants to read them: field, line, what was found, what is allowed."""

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cdk_slurm.spec.cluster import ClusterSpec
from cdk_slurm.spec.finding import Finding, Path, dotted
from cdk_slurm.spec.model import new_or_existing

_YAML_NAMES = {dict: "a mapping", list: "a list", type(None): "nothing", bool: "true or false"}
_ALLOWED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "invalid_key": "text as a key",
}


def findings_of(
    error: ValidationError, value: Any, positions: dict[Path, tuple[int, int]], file: str
) -> tuple[Finding, ...]:
    """Turn pydantic's errors about `value` into findings, ordered as the file is."""
    at: dict[Path, list[tuple[str, str]]] = {}
    for details in error.errors(include_url=False):
        path = _path(details, value)
        at.setdefault(path, []).append(_rule_and_text(details, path, value))
    findings = []
    for path, texts in at.items():
        anchor = path
        while anchor not in positions:
            anchor = anchor[:-1]
        line, column = positions[anchor]
        # A field that may be text or a list fails twice; that is one finding.
        message = " or ".join(dict.fromkeys(text for _, text in texts))
        if len(texts) > 1:
            message = message.replace(f" or found {_found(_at(value, path))}; allowed:", " or")
        findings.append(
            Finding(
                rule=texts[0][0],
                level="error",
                path=path,
                message=message,
                file=file,
                line=line,
                column=column,
            )
        )
    return tuple(sorted(findings, key=lambda finding: (finding.line or 0, finding.column or 0, finding.field)))


def _path(details: ErrorDetails, value: Any) -> Path:
    """Pydantic's location without what is not in the file: names of a union's members."""
    path: Path = ()
    for index, part in enumerate(details["loc"]):
        is_key = isinstance(value, dict) and part in value
        is_item = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_item:
            value = value[part]
        elif not (details["type"] == "missing" and index == len(details["loc"]) - 1):
            continue
        path = (*path, part)
    return path


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _rule_and_text(details: ErrorDetails, path: Path, value: Any) -> tuple[str, str]:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        model = _model_at(path[:-1], value)
        description = model.model_fields[str(path[-1])].description if model else None
        return "FIELD_MISSING", f"is required and missing: {description or 'a value'}"
    if kind == "extra_forbidden":
        model = _model_at(path[:-1], value)
        names = list(model.model_fields) if model else []
        close = difflib.get_close_matches(str(path[-1]), names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return (
            "FIELD_UNKNOWN",
            f"is not a field of {dotted(path[:-1]) or 'a cluster'}; {hint}allowed: {', '.join(names)}",
        )
    found = f"found {_found(details['input'])}"
    if kind in _ALLOWED:
        quotes = kind == "string_type" and isinstance(details["input"], int | float)
        return "FIELD_TYPE", f"{found}; allowed: {_ALLOWED[kind]}{' (put it in quotes)' if quotes else ''}"
    if kind == "literal_error":
        close = difflib.get_close_matches(
            str(details["input"]),
            [str(name).strip("'") for name in _options(context["expected"])],
            n=1,
            cutoff=0.4,
        )
        hint = f" (did you mean {close[0]}?)" if close else ""
        return "FIELD_VALUE", f"{found}; allowed: {context['expected'].replace(chr(39), '')}{hint}"
    if kind == "string_pattern_mismatch":
        model = _model_at(path[:-1], value)
        field = model.model_fields.get(str(path[-1])) if model else None
        such_as = f", such as {' or '.join(field.examples)}" if field and field.examples else ""
        return "FIELD_VALUE", f"{found}; allowed: text of the form {context['pattern']}{such_as}"
    if kind == "too_short":
        return (
            "FIELD_VALUE",
            f"found {context['actual_length']} items; allowed: {context['min_length']} or more",
        )
    if kind == "too_long":
        return (
            "FIELD_VALUE",
            f"found {context['actual_length']} items; allowed: {context['max_length']} or fewer",
        )
    return "FIELD_VALUE", f"{found}; {details['msg'].replace('Input should', 'it should')}"


def _options(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")


def _found(value: Any) -> str:
    text = _YAML_NAMES.get(type(value)) if not isinstance(value, bool) else str(value).lower()
    text = text or repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _model_at(path: Path, value: Any) -> type[BaseModel] | None:
    """The model that the mapping at a path is judged by."""
    model: type[BaseModel] = ClusterSpec
    candidates: list[type[BaseModel]] = [model]
    for part in path:
        value = value[part]
        if isinstance(part, str):
            if part not in model.model_fields:
                return None
            candidates = list(_models(model.model_fields[part].annotation))
        if isinstance(value, dict):
            wanted = new_or_existing(value) == "{existing}"
            if len(candidates) > 1:
                candidates = [one for one in candidates if ("existing" in one.model_fields) == wanted]
            if not candidates:
                return None
            model = candidates[0]
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
