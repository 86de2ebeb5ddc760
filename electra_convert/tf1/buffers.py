"""The bytes of a variable in memory: cut into pieces, put together from slices, and swapped; all of it in place.

A buffer is a contiguous uint8 array. To *fill* buffers is to write a variable's next bytes, in native byte order, into
each of them in turn, and to yield it; so one method serves a caller who wants the whole and one who wants pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from electra_convert.tf1.dtypes import DType
from electra_convert.tf1.files import PIECE
from electra_convert.tf1.messages import Shape
from electra_convert.tf1.slices import Box, shape_of

if TYPE_CHECKING:
    import numpy as np

Fill = Callable[["Iterable[np.ndarray]"], "Iterator[np.ndarray]"]


def cut(buffer: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the buffer in pieces of 1 MiB: what a checksum still finds in the cache."""
    return (buffer[at : at + PIECE] for at in range(0, buffer.nbytes, PIECE))


def copy_into(content: np.ndarray, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Fill each of `targets` with the next bytes of `content`."""
    at = 0
    for target in targets:
        target[:] = content[at : at + target.nbytes]
        at += target.nbytes
        yield target


def join(shape: Shape, dtype: DType, slices: Iterable[tuple[Box, Fill]]) -> np.ndarray:
    """Return the bytes of a variable whose slices are filled one after the other; together they must tile it."""
    import numpy as np

    whole = np.empty(shape, f"V{dtype.size}")
    for box, fill in slices:
        part = np.empty(shape_of(box), whole.dtype)
        for _ in fill(cut(part.reshape(-1).view(np.uint8))):
            pass
        whole[tuple(slice(start, stop) for start, stop in box)] = part
    return whole.reshape(-1).view(np.uint8)


def swap(buffer: np.ndarray, dtype: DType) -> None:
    """Reverse the bytes of each number in place; of a complex one, of each of its parts."""
    if dtype.part > 1:
        buffer.view(f"u{dtype.part}").byteswap(inplace=True)
