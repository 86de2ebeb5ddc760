"""Writes `model.safetensors` one piece of one tensor at a time, reads it back, and reads one tensor.

The safetensors library needs all tensors in memory to write, and maps the whole file to read: 282 MB of tensors made
a peak of 303 MB. So the library is the judge of the header, and the values go by plain writes and reads in pieces.
The bytes are the library's own (`header.py` draws them).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import google_crc32c
import numpy as np

from electra_convert.atomic import write_failure
from electra_convert.errors import EnvironmentFailure, FolderError, OutputError
from electra_convert.following import Follower
from electra_convert.hf.header import Header, TensorSpec, encode_header, file_order, read_header
from electra_convert.progress import Meter, Progress, no_progress

# Reading, checksums and writing are no faster in larger pieces (measured), and a signal waits for one piece at most.
PIECE = 1 << 20

# Bytes brought to the disk while the next ones are written: a few calls for a large model.
SYNCED_AT_ONCE = 128 << 20

Array = np.ndarray[Any, np.dtype[Any]]

Pieces = Callable[[TensorSpec], Iterable[Array]]
"""Gives a tensor's values in C order, as arrays of its type, or of uint8 for bytes that are little-endian already.

Each array may be of any size, and may be overwritten once the next one is asked for, if the follower has done by then
what it was given before. Called in `file_order`."""

# What posix_fallocate says on a file system that knows no reservation; writing will show whether there is space.
_NO_RESERVATION = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}


class WrittenWeights(NamedTuple):
    """Bytes and CRC-32C of the file that was written, and the CRC-32C of each tensor's bytes in it."""

    nbytes: int
    crc32c: int
    tensors: Mapping[str, int]


def weights_nbytes(tensors: Sequence[TensorSpec]) -> int:
    """Return the size of the file that `write_weights` makes of these tensors."""
    return len(encode_header(file_order(tensors))) + sum(tensor.nbytes for tensor in tensors)


def write_weights(
    path: Path,
    tensors: Sequence[TensorSpec],
    pieces: Pieces,
    follower: Follower,
    progress: Progress = no_progress,
) -> WrittenWeights:
    """Write a new file, and have the follower read each piece back and compare it bit for bit.

    `synced` then brings it to the disk, and `read_again` looks at what is there in the end.

    Raises OutputError if the disk does not take it, or gives back other bytes (naming the tensor and the first one),
    ValueError if `pieces` gives another type or number of bytes than the tensor has; what `pieces` raises passes
    through.
    """
    ordered = file_order(tensors)
    header = encode_header(ordered)
    total = len(header) + sum(tensor.nbytes for tensor in ordered)
    meter = Meter(progress, total, "writing")
    # One fsync at a time: a second would bring to the disk what `synced` does while other work is done.
    with Follower(ahead=1) as disk, _NewFile(path, total, disk) as file, _ReadBack(path) as back:
        for name, piece in _file_pieces(header, ordered, pieces):
            file.write(piece)
            follower.do(partial(back.compare, name, piece))
            meter.advance(piece.nbytes)
        follower.wait()
        disk.wait()
    checksums = {tensor.name: back.parts.get(tensor.name, 0) for tensor in ordered}
    return WrittenWeights(total, back.crc32c, checksums)


@contextlib.contextmanager
def synced(path: Path) -> Iterator[None]:
    """Bring a file to the disk while the block runs; at its end it is there, or OutputError is raised.

    The disk is waited for in a thread: reading back, and writing small files, needs only the processor.
    """

    def sync() -> None:
        try:
            # Not the descriptor that wrote: it is closed. Windows brings to the disk only what is open for writing.
            with open(path, "r+b", buffering=0) as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise write_failure(path, error, path.stat().st_size) from error

    with Follower() as disk:
        disk.do(sync)
        yield


def read_again(
    path: Path, tensors: Sequence[TensorSpec], written: WrittenWeights, progress: Progress = no_progress
) -> None:
    """Read the whole file anew, and compare its header with what the library makes of it, its bytes by checksums.

    What `write_weights` read back may have come from a cache that the disk, or a server behind it, does not agree with.

    Raises OutputError that names the first tensor that differs.
    """
    ordered = file_order(tensors)
    header = encode_header(ordered)
    meter = Meter(progress, written.nbytes, "reading back")
    try:
        accepted = read_header(path)
    except FolderError as error:
        raise _difference(path, None, found=str(error), expected="what was written") from error
    if dict(accepted.tensors) != {tensor.name: tensor for tensor in ordered}:
        raise _difference(path, None, found="other names, types or shapes", expected="what was written")
    buffer = np.empty(PIECE, np.uint8)
    parts: list[tuple[str | None, int, int]] = [
        (None, len(header), google_crc32c.value(header)),
        *((tensor.name, tensor.nbytes, written.tensors[tensor.name]) for tensor in ordered),
    ]
    offset = 0
    with _open(path) as file:
        for name, nbytes, expected in parts:
            crc = 0
            for start in range(0, nbytes, PIECE):
                piece = buffer[: min(PIECE, nbytes - start)]
                try:
                    crc = google_crc32c.extend(crc, piece[: _fill(file, piece)])
                except OSError as error:
                    raise _cannot_read(f"{path}, byte {offset + start}", error) from error
                meter.advance(piece.nbytes)
            if crc != expected:
                where = f"{path}, bytes {offset} to {offset + nbytes - 1}"
                raise _difference(where, name, found=f"CRC-32C 0x{crc:08x}", expected=f"0x{expected:08x}")
            offset += nbytes


class Weights:
    """A safetensors file open for reading: `tensors` tells what there is, and nothing is loaded before `read`."""

    def __init__(self, path: Path, header: Header, file: FileIO) -> None:
        self.path = path
        self.tensors = header.tensors
        self.metadata = header.metadata
        self._offsets = header.offsets
        self._file = file

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str) -> Array:
        """Return a whole tensor in its stored type (bfloat16 as `ml_dtypes.bfloat16`), writable and its own.

        Raises FolderError if the file ends before it, EnvironmentFailure if the system does not give its bytes.
        """
        tensor = self.tensors[name]
        values = np.empty(tensor.nbytes, np.uint8)
        self._read_into(values, name, 0)
        return values.view(stored_dtype(tensor.dtype)).reshape(tensor.shape)

    def chunks(self, name: str, size: int = PIECE) -> Iterator[Array]:
        """Yield a tensor's bytes as uint8 arrays of at most `size`, each a view of one reused buffer."""
        nbytes = self.tensors[name].nbytes
        buffer = np.empty(min(size, nbytes), np.uint8)
        for start in range(0, nbytes, size):
            piece = buffer[: nbytes - start]
            self._read_into(piece, name, start)
            yield piece

    def _read_into(self, values: Array, name: str, start: int) -> None:
        offset = self._offsets[name] + start
        try:
            self._file.seek(offset)
            count = _fill(self._file, values)
        except OSError as error:
            raise _cannot_read(f"{self.path}, byte {offset}", error, tensor=name) from error
        if count < values.nbytes:
            raise FolderError(
                "the weights end inside a tensor",
                where=f"{self.path}, byte {offset}",
                tensor=name,
                found=f"{count} bytes",
                expected=f"{values.nbytes} bytes",
            )


def open_weights(path: str | os.PathLike[str]) -> Weights:
    """Open a safetensors file; raise FolderError for one that is missing or that the library refuses.

    Raises EnvironmentFailure if the system does not give it.
    """
    header = read_header(path)
    return Weights(Path(path), header, _open(path))


class _NewFile:
    """A file being written: reserves its space, turns the system's refusals into ours.

    `disk` brings what was written to the disk meanwhile: the kernel alone would begin after half a minute.
    """

    def __init__(self, path: Path, total: int, disk: Follower) -> None:
        self._path, self._total, self._disk = path, total, disk
        self._unsynced = 0
        with self._refusals():
            self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> _NewFile:
        if hasattr(os, "posix_fallocate"):
            with self._refusals():
                try:
                    os.posix_fallocate(self._file.fileno(), 0, self._total)
                except OSError as error:
                    if error.errno not in _NO_RESERVATION:
                        self._file.close()
                        raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What made the block fail says more than a close that fails after it.
        with self._refusals() if error is None else contextlib.suppress(OSError):
            self._file.close()

    def write(self, piece: Array) -> None:
        """Write all bytes of a flat uint8 array."""
        rest = piece.data
        with self._refusals():
            while rest:
                # An unbuffered file may take a part only, on a full disk or above 2 GiB.
                count = self._file.write(rest)
                if not count:
                    raise OSError(errno.EIO, "not one byte was taken")
                rest = rest[count:]
        self._unsynced += piece.nbytes
        if self._unsynced >= SYNCED_AT_ONCE and self._disk.offer(self._sync):
            self._unsynced = 0

    def _sync(self) -> None:
        with self._refusals():
            os.fsync(self._file.fileno())

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_failure(self._path, error, self._total) from error


class _ReadBack:
    """Reads a file behind whoever writes it; has the CRC-32C of the whole, and of each part by the tensor's name.

    The header's name is None, here as in messages about it.
    """

    def __init__(self, path: Path) -> None:
        self.crc32c = 0
        self.parts: dict[str | None, int] = {}
        self._path, self._file = path, _open(path)
        self._buffer = np.empty(PIECE, np.uint8)
        self._offset = 0

    def __enter__(self) -> _ReadBack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def compare(self, name: str | None, written: Array) -> None:
        """Compare the file's next bytes with what was written."""
        try:
            stored = self._buffer[: _fill(self._file, self._buffer[: written.nbytes])]
        except OSError as error:
            raise _cannot_read(f"{self._path}, byte {self._offset}", error) from error
        if not np.array_equal(stored, written):
            raise _first_difference(self._path, self._offset, name, stored, written)
        self.crc32c = google_crc32c.extend(self.crc32c, stored)
        self.parts[name] = google_crc32c.extend(self.parts.get(name, 0), stored)
        self._offset += stored.nbytes


def _file_pieces(header: bytes, ordered: Sequence[TensorSpec], pieces: Pieces) -> Iterator[tuple[str | None, Array]]:
    """Yield the whole file in pieces, each with the name of the tensor that it belongs to, or None for the header."""
    for start in range(0, len(header), PIECE):
        yield None, np.frombuffer(header, np.uint8)[start : start + PIECE]
    for tensor in ordered:
        for piece in _byte_pieces(tensor, pieces):
            yield tensor.name, piece


def _byte_pieces(tensor: TensorSpec, pieces: Pieces) -> Iterator[Array]:
    """Yield a tensor's bytes as flat uint8 arrays of 1 to `PIECE` bytes; raise ValueError unless they fit it."""
    count = 0
    for values in pieces(tensor):
        if values.dtype.name not in {tensor.dtype, "uint8"}:
            raise ValueError(f"{tensor.name} is {tensor.dtype}, but a piece of it is {values.dtype.name}")
        # Free for what is contiguous and little-endian already.
        flat = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        count += flat.nbytes
        if count > tensor.nbytes:
            break
        for start in range(0, flat.nbytes, PIECE):
            yield flat[start : start + PIECE]
    if count != tensor.nbytes:
        raise ValueError(f"{tensor.name} has {tensor.nbytes} bytes, but its pieces have {count}")


def _fill(file: FileIO, values: Array) -> int:
    """Read until `values` (flat, uint8) is full or the file ends; return the number of bytes."""
    view = values.data
    count = 0
    while count < len(view):
        got = file.readinto(view[count:])
        if not got:
            break
        count += got
    return count


def _open(path: str | os.PathLike[str]) -> FileIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise _cannot_read(os.fspath(path), error) from error


def _cannot_read(where: str, error: OSError, **facts: str) -> EnvironmentFailure:
    return EnvironmentFailure("the weights cannot be read", where=where, found=error.strerror or str(error), **facts)


def stored_dtype(name: str) -> np.dtype[Any]:
    """Return the type of a stored tensor's values, little-endian; bfloat16 is ml_dtypes'."""
    if name == "bfloat16":
        from ml_dtypes import bfloat16

        dtype: np.dtype[Any] = np.dtype(bfloat16)
    else:
        dtype = np.dtype(name)
    little: np.dtype[Any] = dtype.newbyteorder("<")
    return little


def _first_difference(path: Path, offset: int, name: str | None, stored: Array, written: Array) -> OutputError:
    if stored.nbytes < written.nbytes:
        end = offset + stored.nbytes
        return _difference(path, name, found=f"end of the file at byte {end}", expected=f"{written.nbytes} bytes more")
    at = int(np.argmax(stored != written))
    return _difference(
        f"{path}, byte {offset + at}", name, found=f"0x{stored[at]:02x}", expected=f"0x{written[at]:02x}"
    )


def _difference(where: str | Path, name: str | None, found: str, expected: str) -> OutputError:
    return OutputError(
        "what was read back is not what was written",
        where=str(where),
        tensor="header" if name is None else name,
        found=found,
        expected=expected,
        hint="memory or disk may be faulty; run again, elsewhere if it happens twice",
    )
