"""The process of a worker: tasks come as pickles on stdin, answers go as pickles to stdout, one item at a time.

    batch ── stdin ──▶ Task, Task, …                                              until stdin ends
    batch ◀── stdout ── ready; then for each: started, progress …, note, done

Stdin ends when the batch does, however it does: that is how a worker learns that it is to stop, on every system and
after kill -9 too. What it works on then ends where it tells how far it is, and cleans up. Ctrl-C and a closed terminal
reach the whole process group, and it is the batch that answers them. What libraries print goes to stderr.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO

from electra_convert.batching.working import Dropped, Task, Throttle, memory_used, work_on

# Bars move at this rate; more would be work for the batch.
INTERVAL = 0.1

# Seconds from the end of the batch to that of a worker which does not come to telling how far it is.
LAST_SECONDS = 5.0


def serve() -> None:
    """Answer tasks until there are no more."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    orders, answers = _take_streams()
    tasks: SimpleQueue[Task | None] = SimpleQueue()
    over = threading.Event()
    threading.Thread(target=_listen, args=(orders, tasks, over), daemon=True).start()
    with suppress(BrokenPipeError, Dropped):
        _answer(answers, "ready")
        while (task := tasks.get()) is not None:
            result = work_on(task, _Telling(answers, over))
            _answer(answers, "done", result, memory_used("now"))


class _Telling:
    """Tells the batch how far an item is, and ends the item when the batch is over."""

    def __init__(self, answers: BinaryIO, over: threading.Event) -> None:
        self._answers, self._over = answers, over
        self._throttle = Throttle(INTERVAL)

    def __call__(self, kind: str, done: int, total: int, what: str) -> None:
        if self._over.is_set():
            raise Dropped
        if self._throttle.passes(kind, done, total, what):
            try:
                _answer(self._answers, kind, done, total, what)
            except BrokenPipeError as error:
                raise Dropped from error


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return stdin and stdout as they were, and let nobody else read the one or write to the other."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return orders, answers


def _listen(orders: BinaryIO, tasks: SimpleQueue[Task | None], over: threading.Event) -> None:
    with suppress(EOFError, pickle.UnpicklingError):  # the batch may have ended within a task
        while True:
            tasks.put(pickle.load(orders))
    over.set()
    tasks.put(None)
    time.sleep(LAST_SECONDS)
    os._exit(1)


def _answer(answers: BinaryIO, *words: Any) -> None:
    pickle.dump(words, answers)
    answers.flush()
