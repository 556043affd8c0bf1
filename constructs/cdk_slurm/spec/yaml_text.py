"""YAML to plain values, with the position of each, and nothing that could exhaust the reader."""

from typing import Any

import yaml

from cdk_slurm.spec.finding import Path, dotted

Position = tuple[int, int]

_MAX_DEPTH = 50
# A cluster of a hundred groups has some thousand values. Aliases count each time they are used.
_MAX_VALUES = 100_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """The text is not YAML that a description can be in."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        self.message, self.line, self.column = message, line, column
        super().__init__(message)


def read_yaml(text: str) -> tuple[Any, dict[Path, Position]]:
    """Return the value of one YAML document and the line and column (from 1) of every path in it.

    Anchors, aliases and merge keys work. Raises `YamlError` on bad syntax, tags other than YAML's own,
    keys that stand twice, and documents nested or expanded beyond any description.
    """
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
    except yaml.YAMLError as error:  # a character that YAML forbids
        raise YamlError(str(error).splitlines()[0]) from None


def _position(mark: yaml.Mark) -> Position:
    return mark.line + 1, mark.column + 1


class _Reader:
    def __init__(self) -> None:
        self.positions: dict[Path, Position] = {}
        self._scalars = yaml.SafeLoader("")
        self._count = 0

    def value(self, node: yaml.Node, path: Path, position: Position | None = None) -> Any:
        self._count += 1
        if self._count > _MAX_VALUES or len(path) > _MAX_DEPTH:
            raise YamlError(
                f"aliases expand to more than {_MAX_VALUES} values or {_MAX_DEPTH} levels",
                *_position(node.start_mark),
            )
        self.positions[path] = position or _position(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except ValueError as error:  # such as the date 2026-13-45
            raise YamlError(str(error), *_position(node.start_mark)) from None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            position = _position(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("a key must be a name", *position)
            if key_node.tag == "tag:yaml.org,2002:merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in reversed(sources):
                    if not isinstance(source, yaml.MappingNode):
                        raise YamlError("<< takes a mapping, or a list of mappings", *position)
                    merged.update(self.value(source, path, self.positions[path]))
                continue
            key = self._scalars.construct_object(key_node)
            if key in own:
                raise YamlError(f"{dotted((*path, str(key)))} stands here a second time", *position)
            own[key] = self.value(value_node, (*path, key), position)
        return merged | own
