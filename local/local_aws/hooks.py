"""The way into MiniStack, which has no public one: its functions are replaced by ours, which call them.

It is pinned to one version, and what is replaced must be there: another version fails at start, not in the middle
of a rehearsal.
"""

from collections.abc import Callable
from typing import Any


def replace(module: Any, name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    """Put a function in the place of MiniStack's; returns theirs. Raises `RuntimeError` where there is none."""
    theirs: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(theirs):
        raise RuntimeError(f"MiniStack has no {module.__name__}.{name}: this is not the version that is pinned")
    setattr(module, name, ours)
    return theirs
