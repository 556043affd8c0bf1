"""Where MiniStack's CloudFormation makes, changes and deletes resources: what is asked of each of them first."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ministack.services import cloudformation as service
from ministack.services.cloudformation import drift, handlers, provisioners, stacks

from local_aws import schemas
from local_aws.hooks import replace
from local_aws.references import check_deletion, check_references
from local_aws.world import WORLD, Resource

Attributes = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Type:
    """A resource type that MiniStack's CloudFormation lacks."""

    create: Callable[[str, dict[str, Any]], tuple[str, Attributes]]
    """From a name that is free and the properties, the physical id and the attributes."""

    update: Callable[[Resource, dict[str, Any]], None] | None = None
    """Changes what stands to other properties; None where every change replaces, or nothing but the record changes."""

    delete: Callable[[Resource], None] | None = None
    """Takes it away; None where nothing but the record goes."""


@dataclass
class Fault:
    """An operation on a type that is to fail."""

    type: str
    operation: str
    """`create`, `update` or `delete`."""

    nth: int = 1
    """Which of them, counted from 1."""

    seen: int = 0


FAULTS: list[Fault] = []


def install(types: Mapping[str, Type], checks: Mapping[str, Callable[[dict[str, Any], Resource | None], None]]) -> None:
    """Serve these types, and ask these checks of a type's properties (and the resource as it stands) beforehand."""
    for type_, own in types.items():
        provisioners._RESOURCE_HANDLERS[type_] = _handlers(type_, own)
        if "Tags" in (schemas.schema(type_) or {}).get("properties", {}):
            provisioners._STACK_TAG_PROPERTY[type_] = ("Tags", "list")
        drift._DRIFT_READERS[type_] = _drift_reader(type_)
    for type_, name in _CUSTOM_NAMES.items():
        provisioners._CUSTOM_NAME_REPLACEMENT[type_] = {"name": name}
    # Of all types: whoever asks this very server something while it makes a resource must not hold its event loop.
    replace(stacks, "_runs_on_worker_thread", lambda _type: True)
    _join(types, checks)
    _hold_exports()


#: Types whose names a template chooses: CloudFormation refuses to replace what it cannot name anew.
_CUSTOM_NAMES = {"AWS::SageMaker::Cluster": "ClusterName", "AWS::S3::Bucket": "BucketName"}


def _join(types: Mapping[str, Type], checks: Mapping[str, Callable[[dict[str, Any], Resource | None], None]]) -> None:
    def asked(type_: str, operation: str, properties: dict[str, Any], standing: Resource | None) -> dict[str, Any]:
        _injected(type_, operation)
        sound = schemas.validated(type_, _without_system_tags(properties))
        check_references(type_, sound)
        if type_ in checks:
            checks[type_](sound, standing)
        return sound

    def provision(type_: str, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, Attributes]:
        sound = asked(type_, "create", properties, None)
        physical_id, attributes = their_provision(type_, logical_id, properties, stack)
        WORLD.add(Resource(type_, physical_id, sound, dict(attributes), stack, logical_id))
        return physical_id, attributes

    def update(
        type_: str,
        physical_id: str,
        old: dict[str, Any],
        new: dict[str, Any],
        stack: str,
        logical_id: str | None = None,
        old_attributes: Attributes | None = None,
    ) -> tuple[str, Attributes]:
        if old == new:
            return physical_id, old_attributes or {}
        standing = WORLD.get(type_, physical_id)
        replaced = replacing(type_, old, new)
        sound = None if replaced else asked(type_, "update", new, standing)
        done: tuple[str, Attributes] = their_update(type_, physical_id, old, new, stack, logical_id, old_attributes)
        if sound is not None:
            if done[0] != physical_id:  # a custom resource may choose
                WORLD.remove(type_, physical_id)
            WORLD.add(Resource(type_, done[0], sound, dict(done[1]), stack, logical_id or ""))
        return done

    def delete(
        type_: str, physical_id: str, properties: dict[str, Any], stack: str | None = None, id_: str | None = None
    ) -> None:
        _injected(type_, "delete")
        check_deletion(type_, physical_id)
        their_delete(type_, physical_id, properties, stack, id_)
        WORLD.remove(type_, physical_id)

    def replacing(type_: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        if schemas.schema(type_) is None:
            return bool(their_replacing(type_, old, new))
        return schemas.replacing_change(type_, old, new) is not None or their_replacing(type_, old, new)

    def recreation(type_: str, name: str) -> str:
        if (name,) in schemas.replacing_paths(type_):
            return "Always"
        if any(path[0] == name for path in schemas.replacing_paths(type_)):
            return "Conditionally"
        return str(their_recreation(type_, name))

    their_provision = replace(provisioners, "_provision_resource", provision)
    their_update = replace(provisioners, "_update_resource", update)
    their_delete = replace(provisioners, "_delete_resource", delete)
    their_replacing = replace(provisioners, "_replacing_change", replacing)
    their_recreation = replace(provisioners, "_property_recreation", recreation)
    for name, ours in (
        ("_provision_resource", provision),
        ("_update_resource", update),
        ("_delete_resource", delete),
        ("_replacing_change", replacing),
        ("_property_recreation", recreation),
    ):
        replace(stacks, name, ours)


def _hold_exports() -> None:
    """An export that another stack imports can neither change nor go; MiniStack holds only the stack."""

    def resolve(*arguments: Any) -> Any:
        outputs, exports = their_resolve(*arguments)
        for name, export in service._exports.items():
            if export["StackId"] != arguments[-1]:
                continue
            if name not in exports or exports[name]["Value"] != export["Value"]:
                done = "updated" if name in exports else "deleted"
                if users := [stack for stack in _importers(name) if stack != arguments[-2]]:
                    raise ValueError(f"Export {name} cannot be {done} as it is in use by {', '.join(users)}")
        return outputs, exports

    their_resolve = replace(stacks, "_resolve_stack_outputs", resolve)


def _importers(export: str) -> list[str]:
    return sorted(
        name
        for name, stack in service._stacks.items()
        if stack["StackStatus"] != "DELETE_COMPLETE" and export in handlers._imported_export_names(stack, name)
    )


def _handlers(type_: str, own: Type) -> dict[str, Any]:
    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, Attributes]:
        name = provisioners._physical_name(stack, logical_id, max_len=63)
        sound = schemas.validated(type_, _without_system_tags(properties))
        physical_id, attributes = own.create(name, sound)
        if WORLD.get(type_, physical_id):
            raise ValueError(f"Resource of type '{type_}' with identifier '{physical_id}' already exists.")
        return physical_id, attributes

    def update(
        physical_id: str, _old: dict[str, Any], new: dict[str, Any], _stack: str, _logical_id: str | None = None
    ) -> tuple[str, Attributes]:
        standing = WORLD.get(type_, physical_id)
        if standing is None:
            raise ValueError(f"Resource of type '{type_}' with identifier '{physical_id}' was not found.")
        if own.update:
            own.update(standing, schemas.validated(type_, _without_system_tags(new)))
        return physical_id, standing.attributes

    def delete(physical_id: str, _properties: dict[str, Any]) -> None:
        standing = WORLD.get(type_, physical_id)
        if standing and own.delete:
            own.delete(standing)

    return {"create": create, "update": update, "update_with_logical_id": True, "delete": delete}


def _drift_reader(type_: str) -> tuple[Callable[[str, dict[str, Any]], dict[str, Any] | None], frozenset[str]]:
    def read(physical_id: str, _properties: dict[str, Any]) -> dict[str, Any] | None:
        standing = WORLD.get(type_, physical_id)
        return standing.properties if standing else None

    told = frozenset((schemas.schema(type_) or {}).get("properties", ())) - schemas.write_only(type_)
    return read, told


def _injected(type_: str, operation: str) -> None:
    for fault in FAULTS:
        if (fault.type, fault.operation) == (type_, operation):
            fault.seen += 1
            if fault.seen == fault.nth:
                raise ValueError(f"{operation} number {fault.nth} of {type_} fails because it was asked to")


def _without_system_tags(properties: dict[str, Any]) -> dict[str, Any]:
    """What the template says: CloudFormation's own tags on it break the schemas' patterns."""
    tags = properties.get("Tags")
    if isinstance(tags, list):
        kept = [tag for tag in tags if not str(tag.get("Key", "")).startswith("aws:")]
        return {name: value for name, value in properties.items() if name != "Tags"} | ({"Tags": kept} if kept else {})
    return properties


def resources() -> list[dict[str, Any]]:
    """Every resource of every stack that stands, with the properties that it was last given."""
    return [
        {
            "stack": stack["StackName"],
            "logical_id": logical_id,
            "type": one["ResourceType"],
            "physical_id": one["PhysicalResourceId"],
            "properties": json.loads(json.dumps(one["Properties"], default=str)),
        }
        for stack in service._stacks.values()
        if stack["StackStatus"] != "DELETE_COMPLETE"
        for logical_id, one in stack.get("_resources", {}).items()
    ]


def left_behind() -> list[dict[str, Any]]:
    """Every resource that CloudFormation made, that still stands, and that no stack has any more."""
    held = {(one["type"], one["physical_id"]) for one in resources()}
    return [
        {"stack": one.stack, "logical_id": one.logical_id, "type": one.type, "physical_id": one.physical_id}
        for one in WORLD.all()
        if one.stack and (one.type, one.physical_id) not in held
    ]
