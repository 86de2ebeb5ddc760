"""One source file: regular, opened once for reading, its size known before a byte of it is believed.

A FIFO or a device would hang a reader that simply opens and reads, so files are opened without blocking and looked at
first. Reads are positioned and go straight into the caller's memory: a memory map would turn a file that shrinks
into a crash.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from electra_convert.errors import CheckpointError, EnvironmentFailure, TruncatedFile
from electra_convert.tf1.crc import crc32c
from electra_convert.tf1.strangers import Stranger, know_content
from electra_convert.tf1.wire import Malformed

if TYPE_CHECKING:
    import numpy as np

_Result = TypeVar("_Result")

# The size of one read: caches hold it, and system calls no longer count.
PIECE = 1 << 20

# Enough to know every stranger by.
HEAD = 64

HOLE = Stranger("a file of nothing but zero bytes", "the download failed and left a hole; fetch the file again")

DAMAGED = "the file is damaged; copy or download it again"

# What Windows lacks (O_NONBLOCK) has no FIFO to guard against there; what POSIX lacks (O_BINARY) it does not need.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)


class SourceHandle:
    """A regular file that is open for reading; `shown` is what messages call it."""

    def __init__(self, path: Path, shown: str | None = None) -> None:
        """Open the file.

        Raises `FileNotFoundError` for the caller to name, `CheckpointError` for what is no regular file, and
        `EnvironmentFailure` for a file that may not be read.
        """
        self.path = path
        self.shown = str(path) if shown is None else shown
        self._descriptor = _open(path, self.shown)
        try:
            self._state = self._stat()
        except BaseException:
            os.close(self._descriptor)
            raise
        self.size = self._state.st_size

    def _stat(self) -> os.stat_result:
        try:
            state = os.fstat(self._descriptor)
        except OSError as error:
            raise _cannot_read(self.shown, error) from error
        if not stat.S_ISREG(state.st_mode):
            raise _not_regular(self.shown, state.st_mode)
        return state

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return exactly `size` bytes from `offset`; `what` names them in an error. Sizes are checked beforehand."""
        if offset < 0 or size < 0 or size > self.size - offset:
            raise self._cut_short(offset, size, what, max(0, self.size - offset))
        pieces = []
        end = offset + size
        while offset < end:
            piece = self._call(offset, _read_at, self._descriptor, end - offset, offset)
            if not piece:
                raise self._cut_short(offset, end - offset, what, 0)
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, offset: int, buffer: np.ndarray, what: str) -> None:
        """Fill `buffer`, contiguous uint8, from `offset`."""
        view = buffer.data
        while view:
            count = self._call(offset, _read_into, self._descriptor, view, offset)
            if not count:
                raise self._cut_short(offset, len(view), what, 0)
            view = view[count:]
            offset += count

    def crc32c(self) -> int:
        """Return the CRC-32C of the whole file."""
        crc = 0
        for offset in range(0, self.size, PIECE):
            crc = crc32c(self.read(offset, min(PIECE, self.size - offset), "the file"), crc)
        return crc

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` if the file is no longer the one that was opened, by size, time or inode."""
        try:
            now = os.stat(self.path)
            found = f"{now.st_size} bytes, modified at {now.st_mtime_ns} ns"
            same = _identity(now) == _identity(self._state) == _identity(self._stat())
        except FileNotFoundError:
            found, same = "no such file any more", False
        except OSError as error:
            raise _cannot_read(self.shown, error) from error
        if not same:
            raise CheckpointError(
                "a file of the checkpoint changed during the run",
                where=self.shown,
                found=found,
                expected=f"{self.size} bytes, modified at {self._state.st_mtime_ns} ns",
                hint="wait until nothing writes the checkpoint, or convert a copy",
            )

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # Nothing is lost when a file that was only read does not close well.
            with suppress(OSError):
                os.close(descriptor)

    def _call(self, offset: int, action: Callable[..., _Result], *arguments: Any) -> _Result:
        try:
            return action(*arguments)
        except OSError as error:
            raise _cannot_read(self.shown, error, f", byte {offset}") from error

    def _cut_short(self, offset: int, size: int, what: str, left: int) -> TruncatedFile:
        return TruncatedFile(
            f"the file ends within {what}",
            where=f"{self.shown}, byte {offset}",
            found=f"{left} bytes",
            expected=f"{size} bytes",
            hint="the file was cut short; copy or download it again",
        )


@contextmanager
def refusing(message: str, where: str, **facts: str) -> Iterator[None]:
    """Turn `Malformed` into a `CheckpointError` that says where the bytes are."""
    try:
        yield
    except Malformed as error:
        raise CheckpointError(message, where=where, found=str(error), hint=DAMAGED, **facts) from error


def name_stranger(handle: SourceHandle) -> Stranger | None:
    """Return what a file is that cannot be part of a checkpoint; None if it could be one.

    Looks at its first bytes; only where they are zeros, at all.
    """
    head = handle.read(0, min(HEAD, handle.size), "the file")
    if head and not head.strip(b"\0") and _only_zeros(handle):
        return HOLE
    return know_content(head)


def _only_zeros(handle: SourceHandle) -> bool:
    pieces = range(0, handle.size, PIECE)
    return not any(handle.read(at, min(PIECE, handle.size - at), "the file").strip(b"\0") for at in pieces)


def _open(path: Path, shown: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.is_dir():  # Windows refuses to open one
            raise _not_regular(shown, stat.S_IFDIR) from error
        raise _cannot_read(shown, error) from error


def _not_regular(shown: str, mode: int) -> CheckpointError:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return CheckpointError(
        "a file of the checkpoint is no file",
        where=shown,
        found=kinds.get(stat.S_IFMT(mode), "a device"),
        expected="a regular file",
    )


def _cannot_read(shown: str, error: OSError, where: str = "") -> EnvironmentFailure:
    return EnvironmentFailure("a file cannot be read", where=shown + where, found=error.strerror or str(error))


def _identity(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_size, state.st_mtime_ns, state.st_ino


if hasattr(os, "preadv"):

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    def _read_into(descriptor: int, view: memoryview, offset: int) -> int:
        return os.preadv(descriptor, [view], offset)

else:  # Windows has no positioned reads

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)

    def _read_into(descriptor: int, view: memoryview, offset: int) -> int:
        content = _read_at(descriptor, min(len(view), PIECE), offset)
        view[: len(content)] = content
        return len(content)
