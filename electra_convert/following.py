"""A thread that follows the caller: it does what it is given, in order, while the caller goes on.

Turning kernels and reading back what was written takes about as long as reading the source and writing. Both wait for
memory more than they compute, and NumPy and the system let go of the interpreter meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

# So many actions may be unfinished while the caller prepares the next: one being done, one ready.
AHEAD = 2

BUFFERS = AHEAD + 1
"""Whoever hands over one buffer with each action, and uses so many in turn, never overwrites what is still needed."""

Action = Callable[[], None]


class Follower:
    """A context manager; what an action raises comes out of the next call or of the end, and none after it is done.

    Where no thread can be had, the caller does the work itself.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unfinished: deque[Action] = deque()  # the first is being done
        self._ended = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Follower:
        thread = threading.Thread(target=self._follow, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no memory for its stack, or no more threads are allowed
            return self
        self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        with self._changed:
            self._failure = self._failure or error
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._raise_failure()

    def do(self, action: Action) -> None:
        """Have an action done after those before it; wait while `AHEAD` are unfinished."""
        if self._thread is None:
            action()
            return
        with self._changed:
            while len(self._unfinished) >= AHEAD:
                self._changed.wait()
            self._raise_failure()
            self._unfinished.append(action)
            self._changed.notify_all()

    def offer(self, action: Action) -> bool:
        """Have an action done if the follower is idle; return False if it is not, for the caller to do it at once."""
        if self._thread is None or self._unfinished:
            return False
        self.do(action)
        return True

    def wait(self) -> None:
        """Return once every action is done."""
        with self._changed:
            while self._unfinished:
                self._changed.wait()
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _follow(self) -> None:
        while True:
            with self._changed:
                while not (self._unfinished or self._ended):
                    self._changed.wait()
                if not self._unfinished:
                    return
                action = self._unfinished[0]
            if self._failure is None:
                try:
                    action()
                except BaseException as error:  # whatever it is, it belongs to the thread that waits
                    self._failure = error
            # Its arrays are not kept until the next one comes.
            del action
            with self._changed:
                self._unfinished.popleft()
                self._changed.notify_all()
