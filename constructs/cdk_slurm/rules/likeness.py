"""Values that stand twice, and names that are nearly right."""

import difflib
from collections.abc import Iterable, Iterator

from cdk_slurm.spec import Path


def repeated(values: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str, Path]]:
    """Values that stood before: where they stand, the values, and where their like stands first."""
    first: dict[str, Path] = {}
    for path, value in values:
        if value in first:
            yield path, value, first[value]
        else:
            first[value] = path


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, if any is near."""
    close = difflib.get_close_matches(found, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
