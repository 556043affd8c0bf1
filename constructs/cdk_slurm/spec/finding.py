"""What was found wrong with a description, and where."""

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]

#: Where a value stands in a description: keys and list indices from the top.
Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """Write a path as users do: `hyperpod.compute[1].type`, `tags['cost center']`."""
    text = "".join(
        f".{part}" if re.fullmatch(r"[\w-]+", str(part)) and isinstance(part, str) else f"[{part!r}]" for part in path
    )
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

    @property
    def place(self) -> str:
        """File, line and column as compilers write them, as far as they are known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    @property
    def text(self) -> str:
        """The field and the message."""
        return f"{self.field}: {self.message}" if self.path else self.message

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        level = self.level if self.silenced is None else "silenced"
        reason = "" if self.silenced is None else f" (silenced: {self.silenced})"
        return f"{place}{level} {self.rule} {self.text}{reason}"
