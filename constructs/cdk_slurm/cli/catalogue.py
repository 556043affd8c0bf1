"""Everything that `cdk-slurm validate` may find: the rules, and the errors of a description itself."""

from collections.abc import Iterator
from dataclasses import dataclass

from cdk_slurm.rules import RULES
from cdk_slurm.spec import HyperPodSpec, Level, Model, ParallelClusterSpec
from cdk_slurm.spec.errors import models_in
from cdk_slurm.spec.finding import dotted


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be known of one id."""

    id: str
    level: Level
    judges: str
    """The parts of a cluster file that are judged, such as `storage.lustre`."""

    title: str
    explanation: str = ""
    reference: str | None = None
    """URL of the page that says so."""


_THE_FILE = "the file"

#: What is found before any rule judges a description, or about its silences. None of it can be silenced.
_OF_THE_FILE = (
    Entry(
        id="FILE_UNREADABLE",
        level="error",
        judges=_THE_FILE,
        title="The file can be read.",
        explanation="There is such a file, it is UTF-8 text, and it is not larger than 1 MiB. "
        "`cdk-slurm validate` ends with status 2 where it is not so.",
    ),
    Entry(
        id="YAML_SYNTAX",
        level="error",
        judges=_THE_FILE,
        title="The file is one YAML document.",
        explanation="Anchors, aliases and merge keys may be used. A key may stand only once, tags other than YAML's "
        "own have no meaning, and what is nested or expanded beyond any description is refused.",
    ),
    Entry(
        id="FIELD_UNKNOWN",
        level="error",
        judges=_THE_FILE,
        title="Every field is one that a cluster has.",
        explanation="The message lists the fields that may stand there. `cdk-slurm schema` prints the JSON Schema of "
        "all fields, with which an editor completes them.",
    ),
    Entry(
        id="FIELD_MISSING",
        level="error",
        judges=_THE_FILE,
        title="Every field without a default is there.",
        explanation="The smallest cluster has kind, name, region, availability_zone and one group in hyperpod.compute.",
    ),
    Entry(
        id="FIELD_TYPE",
        level="error",
        judges=_THE_FILE,
        title="Every value is of its field's type.",
        explanation="Nothing is converted: YAML reads 123456789012 as a number, 1.0 as a fraction and no as false, "
        'so an account id or such a name stands in quotes, as in account: "123456789012".',
    ),
    Entry(
        id="FIELD_VALUE",
        level="error",
        judges=_THE_FILE,
        title="Every value is one that its field may have.",
        explanation="The message says which values, range or form the field allows.",
    ),
    Entry(
        id="SILENCE_UNUSED",
        level="warning",
        judges="silence",
        title="Every silenced rule would find something.",
        explanation="An entry of silence that silences nothing hides the next mistake: remove it.",
    ),
)


def catalogue() -> dict[str, Entry]:
    """All entries by id: the rules in the order of their definition, then the rest."""
    rules = (
        Entry(
            id=rule.id,
            level=rule.level,
            judges=", ".join(dict.fromkeys(_places(rule.judges))),
            title=rule.title,
            explanation=rule.explanation,
            reference=rule.reference,
        )
        for rule in RULES.values()
    )
    return {entry.id: entry for entry in (*rules, *_OF_THE_FILE)}


def _places(judged: type[Model]) -> Iterator[str]:
    for kind in (HyperPodSpec, ParallelClusterSpec):
        yield from _places_in(kind, judged, ())


def _places_in(model: type[Model], judged: type[Model], path: tuple[str, ...]) -> Iterator[str]:
    if issubclass(model, judged):
        yield dotted(path) or "the cluster"
    for name, field in model.model_fields.items():
        for part in models_in(field.annotation):
            yield from _places_in(part, judged, (*path, name))
