"""Signals that ask a process to stop become an exception, so that context managers clean up.

The first one raises; a second one, of any kind, ends the process at once, as the system would.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """The process was asked to stop; `signal` tells by what."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def stopping_by_exception() -> Iterator[None]:
    """Raise `Stopped` in the main thread when the process is asked to stop.

    A signal that whoever started us had ignored (nohup, jobs in the background) stays ignored, and a handler that
    was not installed from Python stays in place.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    wanted = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for number in wanted:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, before[number])
