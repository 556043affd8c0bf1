"""Validation errors as a user wants to read them: field, line, what was found, what is allowed."""

import difflib
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cdk_slurm.spec.cluster import ClusterSpec, spec_of
from cdk_slurm.spec.finding import Finding, Path, dotted
from cdk_slurm.spec.model import Model, new_or_existing

_YAML_NAMES = {dict: "a mapping", list: "a list", type(None): "nothing", bool: "true or false"}
_ALLOWED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
}


def findings_of(
    error: ValidationError, value: Any, positions: dict[Path, tuple[int, int]], file: str
) -> tuple[Finding, ...]:
    """Turn pydantic's errors about `value` into findings, ordered as the file is."""
    at: dict[Path, list[tuple[str, str]]] = {}
    for details in error.errors(include_url=False):
        path = _path(details, value)
        if not _follows_from_another(details, path, value):
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


def _follows_from_another(details: ErrorDetails, path: Path, value: Any) -> bool:
    """Whether pydantic reports, of something wrong within a list, the list as well."""
    if details["type"] == "too_short":  # counts only the items that have no errors
        found = _at(value, path)
        return isinstance(found, list) and len(found) >= details["ctx"]["min_length"]
    # Where text or a list may be, and a list is.
    return details["type"] == "string_type" and isinstance(details["input"], list) and details["loc"][-1] != path[-1]


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
        forms = _forms_at(path[:-1], value)
        names = list(forms[0].model_fields) if forms else []
        keys = [*names, *("existing" for form in forms if "existing" in form.model_fields)]
        close = difflib.get_close_matches(str(path[-1]), keys, n=1)
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
        if path == ("kind",):  # judged as the kind that most files are, for want of one
            context = {"expected": " or ".join(get_args(ClusterSpec.model_fields["kind"].annotation))}
        options = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        close = difflib.get_close_matches(str(details["input"]), options, n=1, cutoff=0.4) if options[1:] else []
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
    return "FIELD_VALUE", f"{found}; {re.sub('^(Input|String) should', 'it should', details['msg'])}"


def _found(value: Any) -> str:
    text = _YAML_NAMES.get(type(value)) if not isinstance(value, bool) else str(value).lower()
    text = text or repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _model_at(path: Path, value: Any) -> type[Model] | None:
    """The model that the mapping at a path is judged by."""
    return next(iter(_forms_at(path, value)), None)


def _forms_at(path: Path, value: Any) -> list[type[Model]]:
    """The models that the mapping at a path may be, the one that it is judged by first."""
    forms: list[type[Model]] = [spec_of(value)]
    for part in path:
        value = value[part]
        if isinstance(part, str):
            field = forms[0].model_fields.get(part)
            forms = list(models_in(field.annotation)) if field else []
        if not forms:
            break
        if isinstance(value, dict):
            existing = new_or_existing(value) == "{existing}"
            forms.sort(key=lambda form: ("existing" in form.model_fields) != existing)
    return forms


def models_in(annotation: Any) -> Iterator[type[Model]]:
    """All models that a field's type may be, or a list of."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
