"""CloudFormation's own descriptions of resource types, read from the packages that carry them.

Registry schemas come from cfn-lint's data. They do not say which parts of FSx's configurations replace a file
system when they change; the database of CloudFormation's documentation in the CDK command line does.
"""

import gzip
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

#: Properties on the way to a value; `*` is every item of a list or every key of a map.
PropertyPath = tuple[str, ...]

_ROOT = Path(__file__).resolve().parents[2]


@cache
def schema(type_: str) -> dict[str, Any] | None:
    """The registry schema of a type; None where CloudFormation's registry has none, as for a custom resource."""
    package = importlib.util.find_spec("cfnlint")
    assert package is not None and package.origin is not None
    schemas = Path(package.origin).parent / "data" / "schemas"
    region = os.environ.get("AWS_REGION", "us-west-2")
    hashes = json.loads((schemas / "providers" / f"{region}.json").read_text("utf-8"))
    if type_ not in hashes:
        return None
    loaded: dict[str, Any] = json.loads((schemas / "resources" / f"{hashes[type_]}.json").read_text("utf-8"))
    return loaded


def primary_identifier(type_: str) -> tuple[str, ...]:
    """Names of the properties that make up a resource's physical id."""
    return tuple(_pointers(type_, "primaryIdentifier"))


def write_only(type_: str) -> frozenset[str]:
    """Names of the properties that no description of a resource tells."""
    return frozenset(name for name in _pointers(type_, "writeOnlyProperties") if "/" not in name)


@cache
def replacing_paths(type_: str) -> tuple[PropertyPath, ...]:
    """Paths of the properties whose change replaces a resource of a type."""
    by_schema = {tuple(pointer.split("/")) for pointer in _pointers(type_, "createOnlyProperties")}
    found = by_schema | set(_by_documentation(type_))
    if (schema(type_) or {}).get("tagging", {}).get("tagUpdatable"):
        found.discard(("Tags",))  # of some types the documentation says otherwise
    return tuple(sorted(found))


def replacing_change(type_: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> PropertyPath | None:
    """The first path at which two versions of a resource's properties differ so that it is replaced."""
    for path in replacing_paths(type_):
        if values_at(old, path) != values_at(new, path):
            return path
    return None


def values_at(value: Any, path: PropertyPath) -> list[Any]:
    """Every value at a path."""
    if not path:
        return [value]
    first, *rest = path
    if first == "*":
        items = value if isinstance(value, list) else []
        return [found for item in items for found in values_at(item, tuple(rest))]
    return values_at(value[first], tuple(rest)) if isinstance(value, Mapping) and first in value else []


def validated(type_: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties in the schema's types, as CloudFormation coerces a template's strings.

    Raises `ValueError` in CloudFormation's words where they are not what the schema allows.
    """
    found = schema(type_)
    if found is None:
        return dict(properties)
    coerced: dict[str, Any] = _coerced(properties, found, found)
    for name in _pointers(type_, "readOnlyProperties"):
        if name in coerced:
            raise ValueError(f"Encountered unsupported property {name}: {type_} tells it and does not take it")
    errors = sorted(_validator(type_).iter_errors(coerced), key=lambda error: list(map(str, error.instance_path)))
    if errors:
        told = "; ".join(f"#/{'/'.join(map(str, error.instance_path))}: {error.message[:300]}" for error in errors[:3])
        raise ValueError(f"Properties validation failed for resource of type {type_} with message: {told}")
    return coerced


def _pointers(type_: str, key: str) -> Iterator[str]:
    for pointer in (schema(type_) or {}).get(key, ()):
        yield pointer.removeprefix("/properties/").replace("/properties/", "/")


def _coerced(value: Any, part: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    while "$ref" in part:
        part = root["definitions"][part["$ref"].rpartition("/")[2]]
    wanted = part.get("type")
    if isinstance(value, Mapping):
        known = part.get("properties", {})
        return {key: _coerced(item, known.get(key, {}), root) for key, item in value.items()}
    if isinstance(value, list):
        return [_coerced(item, part.get("items", {}), root) for item in value]
    if isinstance(value, str):
        return _from_text(value, wanted)
    if wanted == "string" and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _from_text(value: str, wanted: Any) -> Any:
    if wanted == "boolean" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return {"integer": int, "number": float}[wanted](value) if wanted in ("integer", "number") else value
    except ValueError:
        return value


@cache
def _validator(type_: str) -> Any:
    import jsonschema_rs  # who only asks what is replaced does not have it

    # Patterns are of several dialects: where a string begins and ends is written in Java's in some.
    text = json.dumps(schema(type_)).replace(r"\\Z", "$").replace(r"\\A", "^")
    return jsonschema_rs.Draft7Validator(json.loads(text))


@cache
def _documentation() -> tuple[dict[str, Any], dict[str, Any]]:
    packed = _ROOT / "node_modules" / "aws-cdk" / "db.json.gz"
    tables = json.loads(gzip.decompress(packed.read_bytes()))["schema"]
    resources = {one["cloudFormationType"]: one["properties"] for one in tables["resource"]["entities"]}
    types = {one["$id"]: one["properties"] for one in tables["typeDefinition"]["entities"]}
    return resources, types


def _by_documentation(type_: str) -> Iterator[PropertyPath]:
    resources, types = _documentation()

    def walk(properties: Any, path: PropertyPath, seen: frozenset[str]) -> Iterator[PropertyPath]:
        for name, definition in properties.items():
            here = (*path, name)
            if definition.get("causesReplacement") == "yes":
                yield here
            kind = definition["type"]
            if kind["type"] in ("array", "map"):
                here, kind = (*here, "*"), kind["element"]
            reference = kind["reference"]["$ref"] if kind["type"] == "ref" else None
            if reference and reference not in seen:
                yield from walk(types[reference], here, seen | {reference})

    yield from walk(resources.get(type_, {}), (), frozenset())
