"""Buffers: cut, filled, joined from slices, and swapped in place."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from electra_convert.tf1.buffers import copy_into, cut, join, swap
from electra_convert.tf1.dtypes import DTYPES
from electra_convert.tf1.files import PIECE


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
def test_a_buffer_is_cut_without_a_rest(size: int) -> None:
    buffer = np.arange(size, dtype=np.uint64).view(np.uint8)[:size]
    pieces = list(cut(buffer))
    assert sum(piece.nbytes for piece in pieces) == size
    assert all(piece.nbytes == PIECE for piece in pieces[:-1])
    assert all(np.shares_memory(piece, buffer) for piece in pieces)


def test_slices_are_put_in_their_places() -> None:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    boxes = [((0, 4), (0, 2)), ((0, 1), (2, 6)), ((1, 4), (2, 6))]
    parts = [np.ascontiguousarray(whole[a:b, c:d]).reshape(-1).view(np.uint8) for (a, b), (c, d) in boxes]
    slices = [(box, partial(copy_into, part)) for box, part in zip(boxes, parts, strict=True)]
    assert join((4, 6), DTYPES[1], slices).tobytes() == whole.tobytes()


@pytest.mark.parametrize("number", [1, 2, 8, 10, 14, 18, 19])
def test_numbers_are_swapped_and_complex_ones_by_halves(number: int) -> None:
    dtype = DTYPES[number]
    buffer = np.arange(32, dtype=np.uint8)
    swap(buffer, dtype)
    expected = [byte for at in range(0, 32, dtype.part) for byte in reversed(range(at, at + dtype.part))]
    assert buffer.tolist() == expected
