"""How long work tells how far it is: a callback that gets how much is done, how much there is, and what.

writing, reading back    counted in bytes
verifying: float64       counted in steps of the proof; the step that is going on stands after the colon
probing: window          counted in windows of text
"""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, in total, what is being done): bytes, or steps where `counts_steps` says so."""

VERIFYING = "verifying: "
PROBING = "probing: window"

# A terminal redraws no faster than people see; more calls would only cost time.
SHORTEST_INTERVAL = 1 / 20


def counts_steps(what: str) -> bool:
    """Return whether what is being done is counted in steps, and not in bytes.

    >>> counts_steps("verifying: float64"), counts_steps("writing")
    (True, False)
    """
    return what.startswith((VERIFYING, PROBING))


def no_progress(done: int, total: int, what: str) -> None:
    """Tell nobody."""


class Meter:
    """Adds up bytes and passes the sum on, at most 20 times a second, and always at the end."""

    def __init__(self, progress: Progress, total: int, what: str) -> None:
        self._progress, self._total, self._what = progress, total, what
        self._done = 0
        self._last = float("-inf")

    def advance(self, nbytes: int) -> None:
        """Count `nbytes` more as done."""
        self._done += nbytes
        now = time.monotonic()
        if now - self._last >= SHORTEST_INTERVAL or self._done >= self._total:
            self._last = now
            self._progress(self._done, self._total, self._what)
