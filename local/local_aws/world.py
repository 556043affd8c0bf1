"""Everything that stands: who made it, of which properties, and what refers to what.

MiniStack keeps each service's records. What none of them knows is which resource of which stack stands on
which other, and that is what decides whether something may be made or may go.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Ids that a resource can only have of something that exists.
_ID = re.compile(r"(?:vpc|subnet|sg|rtb|igw|eipalloc|fs)-[0-9a-f]{8,17}")


@dataclass
class Resource:
    """A resource that CloudFormation made, or one that a description says exists already."""

    type: str
    physical_id: str
    properties: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    stack: str = ""
    logical_id: str = ""

    @property
    def model(self) -> dict[str, Any]:
        """What the service tells of it."""
        return self.properties | self.attributes

    @property
    def name(self) -> str:
        """Type and id, for people."""
        return f"{self.type} {self.physical_id}"


class World:
    """The resources of one account in one Region."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str], Resource] = {}
        self._lock = threading.RLock()

    def add(self, resource: Resource) -> None:
        """Note that a resource stands, as it is now."""
        with self._lock:
            self._resources[resource.type, resource.physical_id] = resource

    def remove(self, type_: str, physical_id: str) -> None:
        """Note that a resource has gone."""
        with self._lock:
            self._resources.pop((type_, physical_id), None)

    def get(self, type_: str, physical_id: str) -> Resource | None:
        """A resource that stands; None where there is none."""
        return self._resources.get((type_, physical_id))

    def all(self, type_: str = "") -> list[Resource]:
        """Every resource that stands, or every one of a type."""
        with self._lock:
            return [one for one in self._resources.values() if not type_ or one.type == type_]

    def has_id(self, id_: str) -> bool:
        """Whether a resource is known by an id, as its physical id or as one of its attributes."""
        return any(id_ == one.physical_id or id_ in one.attributes.values() for one in self.all())

    def users_of(self, type_: str, physical_id: str) -> list[Resource]:
        """Who refers to a resource, by any id that is the resource's own."""
        own = {physical_id}
        if standing := self.get(type_, physical_id):
            given = set(ids_in(standing.properties))  # the VPC of a security group, say
            own |= {value for value in standing.attributes.values() if is_id(value) and value not in given}
        return [
            one
            for one in self.all()
            if (one.type, one.physical_id) != (type_, physical_id) and not own.isdisjoint(ids_in(one.properties))
        ]


def is_id(value: Any) -> bool:
    """Whether a value is the id of a resource that must exist."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def ids_in(value: Any) -> Iterator[str]:
    """Every id of something that must exist, anywhere in a value."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from ids_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from ids_in(item)
    elif is_id(value):
        yield value


WORLD = World()
