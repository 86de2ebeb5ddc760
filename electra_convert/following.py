"""A thread that follows the caller: it does what it is given, in order, while the caller goes on.

Turning kernels and reading back what was written takes about as long as reading the source and writing. Both wait for
memory more than they compute, and NumPy and the system let go of the interpreter meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType

# So many actions may be unfinished while the caller prepares the next: one being done, one ready.
AHEAD = 2

BUFFERS = AHEAD + 1
"""Whoever hands over one buffer with each action, and uses so many in turn, never overwrites what is still needed."""

Action = Callable[[], None]


class Follower:
    """A context manager; what an action raises comes out of a later call or of the end, and none after it is done.

    At most `ahead` actions are unfinished. Where no thread can be had, the caller does the work itself.
    """

    def __init__(self, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._actions: SimpleQueue[Action | None] = SimpleQueue()
        self._ends: SimpleQueue[BaseException | None] = SimpleQueue()
        self._unfinished = 0
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Follower:
        thread = threading.Thread(target=self._follow, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no memory for its stack, or no more threads are allowed
            return self
        except BaseException:  # interrupted while it starts: it would wait for ever
            self._actions.put(None)
            raise
        self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        try:
            if error is None:
                self.wait()
            else:
                self._failure = error
        finally:
            self._actions.put(None)
            self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def do(self, action: Action) -> None:
        """Have an action done after those before it; wait while `ahead` are unfinished."""
        if self._thread is None:
            action()
            return
        self._settle(self._ahead - 1)
        self._unfinished += 1
        self._actions.put(action)

    def offer(self, action: Action) -> bool:
        """Have an action done if fewer than `ahead` are unfinished; return False otherwise, for the caller to do it."""
        if self._thread is None or self._unfinished - self._ends.qsize() >= self._ahead:
            return False
        self.do(action)
        return True

    def wait(self) -> None:
        """Return once every action is done."""
        self._settle(0)

    def _settle(self, left: int) -> None:
        while self._unfinished > left:
            failure = self._next_end()
            self._unfinished -= 1
            if failure is not None:
                raise failure

    def _next_end(self) -> BaseException | None:
        while True:
            try:
                return self._ends.get(timeout=1)
            except Empty:
                if self._thread is None or not self._thread.is_alive():  # without memory even to say so
                    raise MemoryError from self._failure

    def _follow(self) -> None:
        while (action := self._actions.get()) is not None:
            if self._failure is None:
                try:
                    action()
                except BaseException as error:  # whatever it is, it belongs to the thread that waits
                    self._failure = error
            # Its arrays are not kept until the next one comes.
            del action
            self._ends.put(self._failure)
