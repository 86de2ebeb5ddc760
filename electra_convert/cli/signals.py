"""Signals that ask a process to stop become an exception, so that context managers clean up.

The first one raises; a second one, of any kind, ends the process at once, as the system would. Code in between may
turn the exception into another, so what was raised is remembered. While modules are imported it waits: Python drops
what is raised where it frees its import locks, and compiled modules print it or make an ImportError of it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


# Seconds until a signal that waits tries again.
AGAIN = 0.01

# How often it does so at most, while a module is imported: torch takes two seconds.
TRIES = 100


class Stopped(KeyboardInterrupt):
    """The process was asked to stop; `signal` tells by what."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def stopping_by_exception(*, ignored_after: bool = False) -> Iterator[list[Stopped]]:
    """Raise `Stopped` in the main thread when the process is asked to stop; give a list that then holds it.

    A signal that whoever started us had ignored (nohup, jobs in the background) stays ignored, and a handler that
    was not installed from Python stays in place. With `ignored_after` a signal that comes when all is done and told
    cannot change how the process ends; else the handlers are put back.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    wanted = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    raised: list[Stopped] = []

    def stop(number: int, frame: FrameType | None, tries: int = TRIES) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_DFL)
        if (_would_swallow(frame) or (tries and _is_importing(frame))) and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda _, interrupted: stop(number, interrupted, max(0, tries - 1)))
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        raised.append(Stopped(number))
        raise raised[-1]

    for number in wanted:
        signal.signal(number, stop)
    try:
        yield raised
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in wanted:
            signal.signal(number, signal.SIG_IGN if ignored_after else before[number])


def _would_swallow(frame: FrameType | None) -> bool:
    """Return whether Python might print and drop an exception, as in the callbacks that free its import locks."""
    return frame is not None and frame.f_code.co_filename == "<frozen importlib._bootstrap>"


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
