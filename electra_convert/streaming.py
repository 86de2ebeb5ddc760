"""The bytes of one tensor, made from its variable in pieces: read, checked, turned, rounded.

A word embedding can be larger than everything else together, so nothing is held whole but the kernel being transposed:
one buffer, as large as the largest kernel, serves them all. It is filled while the variable is read, a few rows at a
time, which are still in the processor's cache then; a follower takes as many of them as it can.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np

from electra_convert.electra.mapping import Move, Operation
from electra_convert.errors import EnvironmentFailure, ValueRefused
from electra_convert.following import BUFFERS, Follower
from electra_convert.notices import Notice, warning

if TYPE_CHECKING:
    from electra_convert.tf1.checkpoint import Checkpoint

# Rows of a kernel turned at a time: 16 float32 fill a cache line of each row of the result. The whole kernel at once is
# 3 to 6 times as slow, since its rows lie a power of two apart and so share the same few lines of the cache.
STRIP = 16

# Bytes of a variable read at a time: reading and checksums are no faster in larger pieces.
PIECE = 1 << 20


class TensorStream:
    """Yields the tensors of one half as they are written, from an open checkpoint.

    `variable_crcs` fills up with the CRC-32C of every variable that was streamed (whole value, little-endian, C order).
    A piece is overwritten after the next is asked for, but not before the follower has done what it was given with it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        moves: tuple[Move, ...],
        dtype: str,
        allow_nonfinite: bool,
        follower: Follower,
    ) -> None:
        self._checkpoint = checkpoint
        self._moves = {move.tensor: move for move in moves}
        self._dtype = numpy_dtype(dtype)
        self._bits = np.dtype(f"u{self._dtype.itemsize}")
        self._allow_nonfinite = allow_nonfinite
        self._follower = follower
        turned = [move for move in moves if move.operation is Operation.TRANSPOSE]
        self._kernel = np.empty(max((prod(move.tensor_shape) for move in turned), default=0), self._dtype)
        largest = max([PIECE, *map(self._piece_of, turned)])
        self._buffers = [np.empty(largest, np.uint8) for _ in range(BUFFERS)]
        self._handed_over = 0
        inputs = max((move.variable_shape[0] for move in turned), default=0)
        self._factors = np.frombuffer(os.urandom(inputs * self._dtype.itemsize), self._bits) | 1
        self.variable_crcs: dict[str, int] = {}
        self.nonfinite: dict[str, int] = {}

    def pieces(self, tensor: str) -> Iterator[np.ndarray]:
        """Yield flat pieces of a tensor in C order, in the export type.

        Raises:
            CheckpointError: the variable's bytes are damaged or gone.
            ValueRefused: a value is not finite, or becomes infinite in the export type.
        """
        move = self._moves[tensor]
        if move.operation is Operation.TRANSPOSE:
            yield from self._turned(move)
        elif move.operation is Operation.COPY:
            yield from self._copied(move)
        else:
            yield self._built(move)

    def free(self) -> None:
        """Give the buffers back: nothing is streamed any more."""
        self._kernel = self._kernel[:0].copy()
        self._buffers = []

    def notices(self) -> list[Notice]:
        """Return a warning for every variable whose values are not all finite once rounded."""
        return [
            warning(
                "nonfinite",
                "a tensor holds values that are not finite, so no forward pass can be compared",
                variable=name,
                found=f"{count} values",
            )
            for name, count in self.nonfinite.items()
        ]

    def _copied(self, move: Move) -> Iterator[np.ndarray]:
        for _, rounded in self._read(move, PIECE):
            yield rounded
            self._handed_over += 1

    def _turned(self, move: Move) -> Iterator[np.ndarray]:
        inputs, outputs = move.variable_shape
        turned = self._kernel[: inputs * outputs].reshape(move.tensor_shape)
        sums = np.zeros(outputs, self._bits)
        for start, rounded in self._read(move, self._piece_of(move)):
            rows = rounded.reshape(-1, outputs)
            part = slice(start // outputs, start // outputs + len(rows))
            sums += np.einsum("i,ij->j", self._factors[part], rows.view(self._bits))
            action = partial(turn, rows, turned[:, part])
            if not start:
                self._follower.wait()  # it may not be done with the kernel that was here before
            # The last piece is waited for anyway.
            if part.stop < inputs and self._follower.offer(action):
                self._handed_over += 1
            else:
                action()
        self._follower.wait()
        self._follower.do(partial(self._check_turned, move, turned, sums))
        yield turned.reshape(-1)

    def _check_turned(self, move: Move, turned: np.ndarray, sums: np.ndarray) -> None:
        """Compare sums over the kernel as it was read with those over the tensor, each value times a factor of its row.

        A kernel passes through two threads, and reading back cannot tell that what was written was wrong already. The
        values are taken as integers, so sums are exact, and a factor is odd, so that no change of one value is lost.
        Several changes in a row go unseen if they cancel: once in 2^(bits - 1) where they reach the lowest bit (values
        in other places do), always if two signs are flipped and nothing else is.
        """
        found = np.einsum("ji,i->j", turned.view(self._bits), self._factors[: turned.shape[1]])
        if not np.array_equal(found, sums):
            at = int(np.argmax(found != sums))
            raise EnvironmentFailure(
                "a kernel was not transposed as it was read",
                tensor=move.tensor,
                where=f"row {at}",
                found=f"sum 0x{int(found[at]):x}",
                expected=f"0x{int(sums[at]):x}",
                hint="memory may be faulty; run again, elsewhere if it happens twice",
            )

    def _spare_buffers(self) -> Iterator[np.ndarray]:
        """Yield the buffer to read into, another one after each that was handed over."""
        while True:
            yield self._buffers[self._handed_over % BUFFERS]

    def _piece_of(self, kernel: Move) -> int:
        """Return the bytes of a kernel that are read at a time: whole strips of rows."""
        return strips_of(kernel.variable_shape[1] * self._checkpoint.variables[kernel.variable].dtype.size)

    def _read(self, move: Move, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield a variable in flat pieces of at most `size` bytes, rounded, each with the place of its first value."""
        known, crc, start = self._checkpoint.checksum(move.variable), 0, 0
        # A stream may run again, and each run counts anew.
        self.nonfinite.pop(move.variable, None)
        for piece in self._checkpoint.chunks(move.variable, size, self._spare_buffers()):
            if known is None:
                crc = google_crc32c.extend(crc, _bytes_of(piece))
            rounded = self._rounded(piece)
            self._check_finite(move.variable, piece, rounded, start)
            yield start, rounded
            start += piece.size
        self.variable_crcs[move.variable] = crc if known is None else known

    def _built(self, move: Move) -> np.ndarray:
        """Return a tensor of a task's head in one piece: it is no larger than the square of the hidden size."""
        arrays = []
        for name in move.variables:
            array = self._checkpoint.read(name)
            self.variable_crcs[name] = google_crc32c.extend(0, _bytes_of(array))
            self.nonfinite.pop(name, None)
            arrays.append(self._rounded(array))
            self._check_finite(name, array.reshape(-1), arrays[-1].reshape(-1), 0)
        return self._rounded(move.operation.build(arrays, move.tensor_shape)).reshape(-1)

    def _rounded(self, piece: np.ndarray) -> np.ndarray:
        """Return the values in the export type, rounded to nearest even (float64 to bfloat16 by way of float32)."""
        with np.errstate(over="ignore"):
            return piece.astype(self._dtype, copy=False)

    def _check_finite(self, name: str, piece: np.ndarray, rounded: np.ndarray, start: int) -> None:
        """Refuse or count what is not finite; `piece` begins at value `start` of the variable in C order."""
        finite = np.isfinite(rounded)
        if finite.all():
            return
        if not self._allow_nonfinite:
            at = int(np.argmin(finite))
            raise self._refusal(name, piece[at], start + at)
        count = finite.size - int(np.count_nonzero(finite))
        self.nonfinite[name] = self.nonfinite.get(name, 0) + count

    def _refusal(self, name: str, value: np.generic, at: int) -> ValueRefused:
        too_large = bool(np.isfinite(value))
        # Counting reads the whole variable, so damage shows as a wrong checksum before its values are judged.
        count = sum(int((~np.isfinite(self._rounded(piece))).sum()) for piece in self._checkpoint.chunks(name))
        variable = self._checkpoint.variables[name]
        largest = f"at most {largest_value(self._dtype)}"
        return ValueRefused(
            f"a value is too large for {self._dtype.name}" if too_large else "a weight is not finite",
            variable=str(variable),
            where=f"index {[int(i) for i in np.unravel_index(at, variable.shape)]}",
            found=f"{value}" + (f", and {count - 1} more in this variable" if count > 1 else ""),
            expected=largest if too_large else "finite numbers",
            hint="a wider --dtype holds it; --allow-nonfinite makes it infinite"
            if too_large
            else "the training has diverged; --allow-nonfinite converts the values as they are",
        )


def strips_of(row: int) -> int:
    """Return the bytes of as many whole strips as fit a piece, or of one, for rows of so many bytes."""
    return max(1, PIECE // (STRIP * row)) * STRIP * row


def turn(rows: np.ndarray, columns: np.ndarray) -> None:
    """Make rows of a matrix, (N, M), columns of the transposed one, (M, N)."""
    for first in range(0, len(rows), STRIP):
        columns[:, first : first + STRIP] = rows[first : first + STRIP].T


def largest_value(dtype: np.dtype) -> float:
    """Return the largest finite number of a float type."""
    from ml_dtypes import finfo

    return float(finfo(dtype).max)


def numpy_dtype(name: str) -> np.dtype:
    """Return NumPy's type for a name; bfloat16 is ml_dtypes'."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return the array's bytes in little-endian C order, as the checksum of a record is taken."""
    native = array if array.dtype.byteorder in "=|<" else array.astype(array.dtype.newbyteorder("<"))
    return native.reshape(-1).view(np.uint8)
