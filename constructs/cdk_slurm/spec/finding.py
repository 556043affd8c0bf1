"""What was found wrong with a description, and where."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]

#: Where a value stands in a description: keys and list indices from the top.
Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """Write a path as users do: `hyperpod.compute[1].type`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing wrong: which field, what it was, what it may be."""

    rule: str
    """Id of the rule that does not hold, such as `LUSTRE_CAPACITY_STEP`."""

    level: Level
    path: Path
    message: str
    reference: str | None = None
    """URL of the page that says so."""

    file: str | None = None
    line: int | None = None
    """Counted from 1, as `column`."""

    column: int | None = None
    silenced: str | None = None
    """The reason for which the file silences the rule."""

    @property
    def field(self) -> str:
        """The path in dotted form; empty for the description as a whole."""
        return dotted(self.path)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return (
            " ".join(
                part for part in (place and f"{place}:", self.level, self.rule, self.field and f"{self.field}:") if part
            )
            + f" {self.message}"
        )
