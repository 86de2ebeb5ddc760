"""The values of one variable, made from its tensor in pieces: read, checked, turned back, rounded.

What `streaming.py` does, the other way round. Nothing is held whole but the matrix being transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from electra_convert.electra.mapping import Move, Operation
from electra_convert.errors import ValueRefused
from electra_convert.notices import Notice, warning
from electra_convert.streaming import STRIP, largest_value, numpy_dtype

if TYPE_CHECKING:
    from electra_convert.restoration.sources import StoredHalf

Array = np.ndarray[Any, np.dtype[Any]]

# Values rounded and compared at a time.
BLOCK = 1 << 18


class VariableStream:
    """Yields the variables of a checkpoint as they are written, from the tensors of one half.

    `tensor_crcs` fills up with the CRC-32C of every tensor whose variable was streamed, as the folder stores it.
    """

    def __init__(self, half: StoredHalf, dtype: str, allow_nonfinite: bool) -> None:
        self._half, self._dtype, self._allow_nonfinite = half, numpy_dtype(dtype), allow_nonfinite
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
        matrix = self._half.tensors[self._half.names[move.tensor]]  # (out, in)
        self._check(move, matrix.reshape(-1))
        outputs, inputs = matrix.shape
        strip = np.empty((min(STRIP, inputs), outputs), matrix.dtype)
        for first in range(0, inputs, STRIP):
            columns = matrix[:, first : first + STRIP]
            turned = strip[: columns.shape[1]]
            turned[...] = columns.T
            yield self._rounded(turned.reshape(-1))

    def tensor(self, move: Move) -> Iterator[Array]:
        """Yield flat pieces of the tensor itself in C order, in the checkpoint's type; raise as `variable` does."""
        name = self._half.names[move.tensor]
        whole = move.operation is not Operation.COPY
        self._start(move)
        start = 0
        for piece in [self._half.tensors[name].reshape(-1)] if whole else self._half.tensors.chunks(name):
            yield from self._checked(move, piece, start)
            start += piece.size

    def notices(self) -> list[Notice]:
        """Return a warning for every tensor whose values are not all finite once rounded."""
        return [
            warning("nonfinite", "a tensor holds values that are not finite", tensor=name, found=f"{count} values")
            for name, count in self.nonfinite.items()
        ]

    def _check(self, move: Move, values: Array) -> None:
        self._start(move)
        for _ in self._checked(move, values, 0):
            pass

    def _start(self, move: Move) -> None:
        # A tensor is streamed once to write it and once more to compare; each time counts anew.
        self.tensor_crcs[move.tensor] = 0
        self.nonfinite.pop(move.tensor, None)

    def _checked(self, move: Move, values: Array, start: int) -> Iterator[Array]:
        """Yield the values rounded, in blocks; `values` begins at value `start` of the tensor."""
        crc = google_crc32c.extend(self.tensor_crcs[move.tensor], values.view(np.uint8))
        self.tensor_crcs[move.tensor] = crc
        for at in range(0, values.size, BLOCK):
            block = values[at : at + BLOCK]
            rounded = self._rounded(block)
            finite = np.isfinite(rounded)
            if not finite.all():
                if not self._allow_nonfinite:
                    first = int(np.argmin(finite))
                    raise self._refusal(move, block[first], start + at + first)
                count = finite.size - int(np.count_nonzero(finite))
                self.nonfinite[move.tensor] = self.nonfinite.get(move.tensor, 0) + count
            yield rounded

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
