"""How long to go on, and how often to try again."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MOST_ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 20.0


class Unavailable(Exception):  # noqa: N818  (what it says of the other side, not of us)
    """Somebody did not answer, or asked to be asked later."""

    def __init__(self, message: str, *, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Deadline:
    """A moment after which nothing more is begun."""

    def __init__(self, *, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Below 0 when it has passed."""
        return self._end - time.monotonic()


def patiently(step: Callable[[], T], *, deadline: Deadline, attempts: int | None = MOST_ATTEMPTS) -> T:
    """Do a step, and again from its beginning while somebody is unavailable: it must look before it changes anything.

    `attempts` is None where only the deadline ends it. Raises the last `Unavailable`.
    """
    pause, began, attempt = FIRST_PAUSE_SECONDS, time.monotonic(), 0
    while True:
        attempt += 1
        try:
            return step()
        except Unavailable as error:
            # Not all at the same moment, where several ask.
            wait = max(error.retry_after_seconds, pause * random.uniform(0.75, 1.25))  # noqa: S311
            if attempt == attempts or wait >= deadline.seconds_left:
                took = f"{attempt} attempts in {time.monotonic() - began:.0f} s"
                raise Unavailable(f"{error} ({took})") from error
            print(f"again in {wait:.1f} s: {error}")
        time.sleep(wait)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
