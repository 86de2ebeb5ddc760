"""Signals that ask a process to stop become an exception, so that context managers clean up.

The first one raises; a second one, of any kind, ends the process at once, as the system would. Code in between may
turn the exception into another, so what was raised is remembered. NumPy, while it is imported, would print it as well,
and Python drops it in the callbacks of its import locks: until that is over (0.1 s) the signal waits.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


# Seconds until a signal that waits tries again.
AGAIN = 0.01


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

    def stop(number: int, frame: FrameType | None) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_DFL)
        if (_numpy_is_loading() or _would_swallow(frame)) and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda _, interrupted: stop(number, interrupted))
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        raised.append(Stopped(number))
        raise raised[-1]

    for number in wanted:
        signal.signal(number, stop)
    try:
        yield raised
    finally:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN if ignored_after else before[number])


def _would_swallow(frame: FrameType | None) -> bool:
    """Return whether Python might print and drop an exception, as in the callbacks that free its import locks."""
    return frame is not None and frame.f_code.co_filename == "<frozen importlib._bootstrap>"


def _numpy_is_loading() -> bool:
    spec = getattr(sys.modules.get("numpy"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
