"""What a run holds and leaves as it was: a lock on a name, and cleaning that a signal cannot skip.

The lock is an empty file, held with flock(2), so that it is free once its holder is dead, however it died. It is
removed when nobody holds it. Windows has no flock: there the lock keeps nobody out.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from electra_convert.errors import OutputError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def at_the_end(clean: Callable[..., None], *arguments: Path) -> Iterator[None]:
    """Call `clean` when the block ends; twice, since a signal may stop the first call (a second one ends the process).

    What is cleaned is known by its name before it is created: a signal may come between the creation and the next line.
    """
    try:
        try:
            yield
        finally:
            clean(*arguments)
    finally:
        clean(*arguments)


def lock_name(target: Path) -> Path:
    """Return the lock of `target`, beside it."""
    return target.with_name(f".{target.name}.lock")


@contextlib.contextmanager
def held_lock(path: Path, shown: str) -> Iterator[None]:
    """Hold the lock at `path` while the block runs; raise OutputError if another run holds it."""
    if sys.platform == "win32":
        yield
        return
    lock = _Lock(path)
    with at_the_end(lock.release):
        try:
            taken = lock.take()
        except OSError as error:
            raise OutputError(
                "the lock of the output cannot be opened",
                where=shown,
                lock=path.name,
                found=error.strerror or str(error),
                hint="check the permissions of the output's parent, or choose another folder",
            ) from error
        if not taken:
            raise OutputError(
                "another run is replacing this output", where=shown, lock=path.name, hint="wait for it to end"
            )
        yield


def remove_free_lock(path: Path) -> None:
    """Remove the lock if nobody holds it; a file with something in it is no lock of ours."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            ours = stat.S_ISREG(found.st_mode) and found.st_size == 0
            # Removed while it is held: whoever opened it before must see that it is gone, and does (`take`).
            if ours and _hold(descriptor) and _is_open_as(path, descriptor):
                os.unlink(path)
        finally:
            os.close(descriptor)


class _Lock:
    """A lock that may be held; it knows its descriptor from the moment there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> bool:
        """Take the lock; return False if somebody else holds it."""
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            if not _hold(self._descriptor):
                return False
            if _is_open_as(self._path, self._descriptor):
                return True
            # Whoever held it before has removed it meanwhile: a lock without a name keeps nobody out.
            self._close()

    def release(self) -> None:
        """Let the lock go, and remove it unless somebody else has taken it."""
        self._close()
        remove_free_lock(self._path)

    def _close(self) -> None:
        if self._descriptor >= 0:
            # Nothing was written through it, so nothing can be lost.
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _hold(descriptor: int) -> bool:
    """Take the lock on an open file; return False if somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some network file systems have no flock; publishing by renames keeps the output whole there too.
        return True
    return True


def _is_open_as(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
