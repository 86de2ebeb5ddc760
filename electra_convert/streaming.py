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
        crc, start = 0, 0
        # The stream runs twice (write, compare), and each run counts anew.
        self.nonfinite.pop(move.variable, None)
        for piece in self._checkpoint.chunks(move.variable):
            crc = google_crc32c.extend(crc, _bytes_of(piece))
            rounded = self._rounded(piece)
            self._check_finite(move, piece, rounded, start)
            yield rounded
            start += piece.size
        self.variable_crcs[move.variable] = crc

    def _turned(self, move: Move) -> Iterator[np.ndarray]:
        kernel = self._checkpoint.read_into(move.variable, self._buffer)  # (in, out)
        self.variable_crcs[move.variable] = google_crc32c.extend(0, _bytes_of(kernel))
        self.nonfinite.pop(move.variable, None)
        inputs, outputs = kernel.shape
        for row in range(0, inputs, STRIP):
            rows = kernel[row : row + STRIP].reshape(-1)
            self._check_finite(move, rows, self._rounded(rows), row * outputs)
        strip = np.empty((min(STRIP, outputs), inputs), kernel.dtype)
        for first in range(0, outputs, STRIP):
            columns = kernel[:, first : first + STRIP]
            turned = strip[: columns.shape[1]]
            turned[...] = columns.T
            yield self._rounded(turned.reshape(-1))

    def _rounded(self, piece: np.ndarray) -> np.ndarray:
        """Return the values in the export type, rounded to nearest even (float64 to bfloat16 by way of float32)."""
        with np.errstate(over="ignore"):
            return piece.astype(self._dtype, copy=False)

    def _check_finite(self, move: Move, piece: np.ndarray, rounded: np.ndarray, start: int) -> None:
        """Refuse or count what is not finite; `piece` begins at value `start` of the variable in C order."""
        finite = np.isfinite(rounded)
        if finite.all():
            return
        if not self._allow_nonfinite:
            at = int(np.argmin(finite))
            raise self._refusal(move, piece[at], start + at)
        count = finite.size - int(np.count_nonzero(finite))
        self.nonfinite[move.variable] = self.nonfinite.get(move.variable, 0) + count

    def _refusal(self, move: Move, value: np.generic, at: int) -> ValueRefused:
        too_large = bool(np.isfinite(value))
        # Counting reads the whole variable, so damage shows as a wrong checksum before its values are judged.
        count = sum(int((~np.isfinite(self._rounded(piece))).sum()) for piece in self._checkpoint.chunks(move.variable))
        largest = f"at most {float(ml_dtypes.finfo(self._dtype).max)}"
        return ValueRefused(
            f"a value is too large for {self._dtype.name}" if too_large else "a weight is not finite",
            variable=str(self._checkpoint.variables[move.variable]),
            where=f"index {[int(i) for i in np.unravel_index(at, move.variable_shape)]}",
            found=f"{value}" + (f", and {count - 1} more in this variable" if count > 1 else ""),
            expected=largest if too_large else "finite numbers",
            hint="a wider --dtype holds it; --allow-nonfinite makes it infinite"
            if too_large
            else "the training has diverged; --allow-nonfinite converts the values as they are",
        )


def numpy_dtype(name: str) -> np.dtype:
    """Return NumPy's type for a name; bfloat16 is ml_dtypes'."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return the array's bytes in little-endian C order, as the checksum of a record is taken."""
    native = array if array.dtype.byteorder in "=|<" else array.astype(array.dtype.newbyteorder("<"))
    return native.reshape(-1).view(np.uint8)
