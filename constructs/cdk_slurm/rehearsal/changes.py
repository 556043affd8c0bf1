"""What an update did to each resource, and to the data in them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cdk_slurm.assembly import KEEPING

#: Types whose resources hold what cannot be made again from a description.
DATA_TYPES = frozenset(
    {
        "AWS::APS::Workspace",
        "AWS::FSx::FileSystem",
        "AWS::RDS::DBInstance",
        "AWS::S3::Bucket",
        "AWS::SageMaker::Domain",
        "AWS::SageMaker::Space",
        "AWS::SecretsManager::Secret",
    }
)

Action = Literal["created", "updated in place", "replaced", "deleted"]

#: What CDK notes for itself, and what only CDK's own functions are told.
_NOT_SHOWN = ("AWS::CDK::Metadata",)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What became of one resource."""

    stack: str
    path: str
    """Where it is in the app, without the stack; its logical id where the template does not tell."""

    type: str
    action: Action
    properties: tuple[str, ...] = ()
    """Which of its properties changed."""

    physical_id: str = ""
    """The resource as it was, or as it is where it was created."""

    kept: bool = False
    """Whether what was replaced or deleted still stands, outside every stack."""

    @property
    def loses_data(self) -> bool:
        """Whether something that holds data is not there any more for whoever uses the stack."""
        return self.type in DATA_TYPES and self.action in ("replaced", "deleted")


def changes_between(
    before: Iterable[Mapping[str, Any]],
    after: Iterable[Mapping[str, Any]],
    *,
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
) -> list[Change]:
    """Compare the resources of all stacks before and after an update.

    `before` and `after` are what `LocalAws.resources` tells, `old` and `new` the templates by stack name.
    Resources of stacks that `new` has not are left out: `cdk deploy` leaves them as they are.
    """
    was = {(one["stack"], one["logical_id"]): one for one in before}
    now = {(one["stack"], one["logical_id"]): one for one in after}
    return [
        change
        for key in dict.fromkeys([*was, *now])
        if key[0] in new
        for change in _change(was.get(key), now.get(key), old.get(key[0], {}), new[key[0]])
        if change.type not in _NOT_SHOWN
    ]


def _change(
    was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Change]:
    one = was or now
    assert one is not None
    template = new if now else old
    definition = template.get("Resources", {}).get(one["logical_id"], {})
    told = {
        "stack": one["stack"],
        "path": _path(one, definition),
        "type": one["type"],
        "physical_id": one["physical_id"],
    }
    if was is None:
        yield Change(**told, action="created")
    elif now is None:
        yield Change(**told, action="deleted", kept=definition.get("DeletionPolicy") in KEEPING)
    else:
        names = was["properties"].keys() | now["properties"].keys()
        differing = tuple(sorted(name for name in names if was["properties"].get(name) != now["properties"].get(name)))
        if was["physical_id"] != now["physical_id"] or was["type"] != now["type"]:
            kept = definition.get("UpdateReplacePolicy") in KEEPING
            yield Change(**told, action="replaced", properties=differing, kept=kept)
        elif differing:
            yield Change(**told, action="updated in place", properties=differing)


def _path(one: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
    path = str(definition.get("Metadata", {}).get("aws:cdk:path", one["logical_id"]))
    return path.removeprefix(f"{one['stack']}/").removesuffix("/Resource").removesuffix("/Default")
