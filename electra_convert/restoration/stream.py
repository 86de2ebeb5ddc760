"""The values of one variable, made from its tensor in pieces: read, checked, turned back, rounded.

What `streaming.py` does, the other way round, and in one thread. Nothing is held whole but the kernel being transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from electra_convert.electra.mapping import Move, Operation
from electra_convert.errors import ValueRefused
from electra_convert.notices import Notice, warning
from electra_convert.streaming import PIECE, largest_value, numpy_dtype, strips_of, turn

if TYPE_CHECKING:
    from electra_convert.restoration.sources import StoredHalf

Array = np.ndarray[Any, np.dtype[Any]]


class VariableStream:
    """Yields the variables of a checkpoint as they are written, from the tensors of one half; `moves` are those wanted.

    `tensor_crcs` fills up with the CRC-32C of every tensor whose variable was streamed, as the folder stores it.
    """

    def __init__(self, half: StoredHalf, moves: Sequence[Move], dtype: str, allow_nonfinite: bool) -> None:
        self._half, self._dtype, self._allow_nonfinite = half, numpy_dtype(dtype), allow_nonfinite
        kernels = [prod(move.tensor_shape) for move in moves if move.operation is Operation.TRANSPOSE]
        self._kernel = np.empty(max(kernels, default=0), self._dtype)
        self.tensor_crcs: dict[str, int] = {}
        self.nonfinite: dict[str, int] = {}

    def variable(self, move: Move) -> Iterator[Array]:
        """Yield flat pieces of a variable in C order, in the checkpoint's type.

        Raises:
            FolderError: the tensor's file ends before it.
            ValueRefused: a value is not finite, or becomes infinite in the checkpoint's type.
        """
        if move.operation is Operation.COPY:
            yield from self.tensor(move)
            return
        inputs, outputs = move.variable_shape
        turned = self._kernel[: inputs * outputs].reshape(inputs, outputs)
        row = inputs * numpy_dtype(self._half.tensors.dtypes[self._half.names[move.tensor]]).itemsize
        at = 0
        for piece in self._pieces(move, strips_of(row)):
            rows = piece.reshape(-1, inputs)
            turn(rows, turned[:, at : at + len(rows)])
            at += len(rows)
        yield turned.reshape(-1)

    def tensor(self, move: Move) -> Iterator[Array]:
        """Yield flat pieces of the tensor itself in C order, in the checkpoint's type; raise as `variable` does."""
        return self._pieces(move, PIECE)

    def notices(self) -> list[Notice]:
        """Return a warning for every tensor whose values are not all finite once rounded."""
        return [
            warning("nonfinite", "a tensor holds values that are not finite", tensor=name, found=f"{count} values")
            for name, count in self.nonfinite.items()
        ]

    def _pieces(self, move: Move, size: int) -> Iterator[Array]:
        """Yield a tensor in flat pieces of at most `size` bytes, rounded."""
        # A tensor is streamed once to write it and once more to compare; each time counts anew.
        self.nonfinite.pop(move.tensor, None)
        crc = start = 0
        for piece in self._half.tensors.chunks(self._half.names[move.tensor], size):
            crc = google_crc32c.extend(crc, piece.view(np.uint8))
            rounded = self._rounded(piece)
            self._check_finite(move, piece, rounded, start)
            yield rounded
            start += piece.size
        self.tensor_crcs[move.tensor] = crc

    def _check_finite(self, move: Move, piece: Array, rounded: Array, start: int) -> None:
        """Refuse or count what is not finite; `piece` begins at value `start` of the tensor."""
        finite = np.isfinite(rounded)
        if finite.all():
            return
        if not self._allow_nonfinite:
            first = int(np.argmin(finite))
            raise self._refusal(move, piece[first], start + first)
        count = finite.size - int(np.count_nonzero(finite))
        self.nonfinite[move.tensor] = self.nonfinite.get(move.tensor, 0) + count

    def _rounded(self, values: Array) -> Array:
        with np.errstate(over="ignore"):
            return values.astype(self._dtype, copy=False)

    def _refusal(self, move: Move, value: Any, at: int) -> ValueRefused:
        too_large = bool(np.isfinite(value))
        return ValueRefused(
            f"a value is too large for {self._dtype.name}" if too_large else "a weight is not finite",
            where=f"{self._half.tensors.where}, index {[int(i) for i in np.unravel_index(at, move.tensor_shape)]}",
            tensor=self._half.names[move.tensor],
            found=str(value),
            expected=f"at most {largest_value(self._dtype)}" if too_large else "finite numbers",
            hint="a wider --dtype holds it; --allow-nonfinite makes it infinite"
            if too_large
            else "the training has diverged; --allow-nonfinite converts the values as they are",
        )


def first_difference(these: Iterable[Array], those: Iterable[Array]) -> int | None:
    """Return the index of the first value whose bits differ, or that only one side has; pieces need not match.

    >>> first_difference([np.float32([1, 2]), np.float32([3])], [np.float32([1]), np.float32([2, 4])])
    2
    """
    others = iter(those)
    rest = np.empty(0)
    at = 0
    for piece in these:
        while piece.size:
            if not rest.size:
                rest = next(others, rest)
                if not rest.size:
                    return at
            count = min(piece.size, rest.size)
            differing = piece[:count].view(_bits(piece)) != rest[:count].view(_bits(rest))
            if differing.any():
                return at + int(np.argmax(differing))
            at += count
            piece, rest = piece[count:], rest[count:]
    return at if rest.size or next(others, None) is not None else None


def _bits(values: Array) -> np.dtype[Any]:
    return np.dtype(f"u{values.itemsize}")
