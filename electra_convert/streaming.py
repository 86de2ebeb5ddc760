"""The bytes of one tensor, made from its variable in pieces: read, checked, turned, rounded.

A word embedding can be larger than everything else together, so nothing is held whole but the kernel being transposed:
one buffer, as large as the largest kernel, serves them all. The same stream is run twice, to write and to compare what
was written, so the comparison starts from the checkpoint again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import google_crc32c
import ml_dtypes
import numpy as np

from electra_convert.electra.mapping import Move, Operation
from electra_convert.errors import ValueRefused
from electra_convert.notices import Notice, warning

if TYPE_CHECKING:
    from electra_convert.tf1.checkpoint import Checkpoint

# Columns of a kernel turned at a time: 64 float32 fill whole cache lines, and a strip stays within the cache.
STRIP = 64


class TensorStream:
    """Yields the tensors of one half as they are written, from an open checkpoint.

    `variable_crcs` fills up with the CRC-32C of every variable that was streamed (whole value, little-endian, C order).
    """

    def __init__(self, checkpoint: Checkpoint, moves: tuple[Move, ...], dtype: str, allow_nonfinite: bool) -> None:
        self._checkpoint = checkpoint
        self._moves = {move.tensor: move for move in moves}
        self._dtype = numpy_dtype(dtype)
        self._allow_nonfinite = allow_nonfinite
        turned = [move.variable for move in moves if move.operation is Operation.TRANSPOSE]
        largest = max((checkpoint.variables[name].nbytes for name in turned), default=0)
        self._buffer = np.empty(largest, np.uint8)
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
        else:
            yield from self._copied(move)

    def notices(self) -> list[Notice]:
        """Return a warning for every variable whose values are not all finite."""
        return [
            warning("nonfinite", "a variable holds values that are not finite", variable=name, found=f"{count} values")
            for name, count in self.nonfinite.items()
        ]

    def _copied(self, move: Move) -> Iterator[np.ndarray]:
        crc, start = 0, 0
        for piece in self._checkpoint.chunks(move.variable):
            crc = google_crc32c.extend(crc, _bytes_of(piece))
            self._check_finite(move, piece, start)
            yield self._rounded(move, piece, start)
            start += piece.size
        self.variable_crcs[move.variable] = crc

    def _turned(self, move: Move) -> Iterator[np.ndarray]:
        kernel = self._checkpoint.read_into(move.variable, self._buffer)  # (in, out)
        self.variable_crcs[move.variable] = google_crc32c.extend(0, _bytes_of(kernel))
        self._check_finite(move, kernel, 0)
        inputs, outputs = kernel.shape
        strip = np.empty((min(STRIP, outputs), inputs), kernel.dtype)
        for first in range(0, outputs, STRIP):
            columns = kernel[:, first : first + STRIP]
            turned = strip[: columns.shape[1]]
            turned[...] = columns.T
            yield self._rounded(move, turned.reshape(-1), None)

    def _rounded(self, move: Move, piece: np.ndarray, start: int | None) -> np.ndarray:
        if piece.dtype == self._dtype:
            return piece
        with np.errstate(over="ignore"):
            rounded = piece.astype(self._dtype)
        if not self._allow_nonfinite and not np.isfinite(rounded).all():
            at = int(np.argmin(np.isfinite(rounded)))
            raise ValueRefused(
                f"a value is too large for {self._dtype.name}",
                variable=move.variable,
                where=_place(move, start + at) if start is not None else f"tensor {move.tensor}",
                found=str(piece[at]),
                expected=f"at most {_largest(self._dtype)}",
                hint="export as bfloat16 or float32",
            )
        return rounded

    def _check_finite(self, move: Move, values: np.ndarray, start: int) -> None:
        finite = np.isfinite(values)
        if finite.all():
            return
        if not self._allow_nonfinite:
            at = start + int(np.argmin(finite.reshape(-1)))
            value = values.reshape(-1)[at - start]
            raise ValueRefused(
                "a weight is not finite",
                variable=str(self._checkpoint.variables[move.variable]),
                where=_place(move, at),
                found=f"{value}, and {self._count_nonfinite(move) - 1} more in this variable",
                expected="finite numbers",
                hint="the training has diverged; --allow-nonfinite converts the values as they are",
            )
        # The stream runs twice (write, compare); each run starts the count of a variable anew at its first piece.
        before = self.nonfinite.get(move.variable, 0) if start else 0
        self.nonfinite[move.variable] = before + int(finite.size - finite.sum())

    def _count_nonfinite(self, move: Move) -> int:
        return sum(int((~np.isfinite(piece)).sum()) for piece in self._checkpoint.chunks(move.variable))


def numpy_dtype(name: str) -> np.dtype:
    """Return NumPy's type for a name; bfloat16 is ml_dtypes'."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return the array's bytes in little-endian C order, as the checksum of a record is taken."""
    native = array if array.dtype.byteorder in "=|<" else array.astype(array.dtype.newbyteorder("<"))
    return native.reshape(-1).view(np.uint8)


def _place(move: Move, at: int) -> str:
    return f"index {[int(i) for i in np.unravel_index(at, move.variable_shape)]}"


def _largest(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(dtype).max)
