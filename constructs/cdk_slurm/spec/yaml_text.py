"""YAML to plain values, with the position of each, and nothing that could exhaust the reader."""

from typing import Any

import yaml

from cdk_slurm.spec.finding import Path, dotted

Position = tuple[int, int]

_MAX_DEPTH = 50
# A cluster of a hundred groups has some thousand values. Aliases count each time they are used.
_MAX_VALUES = 100_000
_MAX_BITS = 64

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
# No field is a date, and YAML 1.2, which editors follow, has none: what looks like one is text.
_TEXT = {f"{_TAG}str", f"{_TAG}timestamp"}
_SCALARS = {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}


class YamlError(Exception):
    """The text is not YAML that a description can be in."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        self.message, self.line, self.column = message, line, column
        super().__init__(message)


def read_yaml(text: str) -> tuple[Any, dict[Path, Position]]:
    """Return the value of one YAML document and the line and column (from 1) of every path in it.

    Anchors, aliases and merge keys work, and a key is text whatever it looks like. Raises `YamlError` on
    bad syntax, tags other than YAML's own, keys that stand twice, and documents nested or expanded beyond
    any description.
    """
    forbidden = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if forbidden:
        before = text[: forbidden.start()]
        raise YamlError(
            f"the character {forbidden.group()!r} cannot stand in YAML",
            before.count("\n") + 1,
            len(before) - before.rfind("\n"),
        )
    try:
        # The composer recurses, in C without a limit of its own; the parser does not.
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise YamlError(f"nested deeper than {_MAX_DEPTH} levels", *_position(event.start_mark))
        node = yaml.compose(text, Loader=_LOADER)
        if node is None:
            raise YamlError("the file is empty; allowed: a mapping that begins with kind, name, region")
        reader = _Reader()
        return reader.value(node, ()), reader.positions
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(
            " ".join(part for part in (error.context, error.problem) if part),
            *(_position(mark) if mark else ()),
        ) from None


def _position(mark: Any) -> Position:
    return mark.line + 1, mark.column + 1


def _bad_tag(node: yaml.Node) -> YamlError:
    return YamlError(f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here", *_position(node.start_mark))


class _Reader:
    def __init__(self) -> None:
        self.positions: dict[Path, Position] = {}
        self._scalars = yaml.SafeLoader("")
        self._count = 0
        self._depth = 0

    def value(self, node: yaml.Node, path: Path, position: Position | None = None) -> Any:
        self._count += 1
        self._depth += 1
        if self._count > _MAX_VALUES or self._depth > _MAX_DEPTH:
            raise YamlError(
                f"aliases expand to more than {_MAX_VALUES} values or {_MAX_DEPTH} levels",
                *_position(node.start_mark),
            )
        self.positions[path] = position or _position(node.start_mark)
        value: Any
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node)
        elif isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            value = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            raise _bad_tag(node)
        self._depth -= 1
        return value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag in _TEXT:
            return node.value
        if node.tag not in _SCALARS:
            raise _bad_tag(node)
        try:
            value = self._scalars.construct_object(node)
            if isinstance(value, int) and value.bit_length() > _MAX_BITS:
                raise ValueError
        except (ValueError, LookupError):  # such as !!int x, or a number that Python refuses to print
            kind = node.tag.removeprefix(_TAG)
            raise YamlError(f"cannot read {node.value[:40]!r} as {kind}", *_position(node.start_mark)) from None
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                value = self._merged(key_node, value_node, path) | value
        own: set[str] = set()
        for key_node, value_node in node.value:
            position = _position(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("a key must be a name", *position)
            if key_node.tag == f"{_TAG}merge":
                continue
            if not key_node.tag.startswith(_TAG):
                raise _bad_tag(key_node)
            key = key_node.value
            if key in own:
                first, _ = self.positions[(*path, key)]
                raise YamlError(f"{dotted((*path, key))} stands a second time, after line {first}", *position)
            own.add(key)
            value[key] = self.value(value_node, (*path, key), position)
        return value

    def _merged(self, key_node: yaml.Node, node: yaml.Node, path: Path) -> dict[str, Any]:
        """What a merge key brings: of a list of mappings, the first that has a key."""
        merged: dict[str, Any] = {}
        for source in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            if not isinstance(source, yaml.MappingNode):
                raise YamlError("<< takes a mapping, or a list of mappings", *_position(key_node.start_mark))
            merged.update(self.value(source, path, self.positions[path]))
        return merged
