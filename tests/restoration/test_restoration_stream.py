"""Comparing two streams of pieces: by bits, whatever their pieces are, and to their ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.restoration.stream import first_difference

NAN = np.float32([np.nan])


def cut(values: np.ndarray, at: list[int]) -> list[np.ndarray]:
    return np.split(values, sorted({place for place in at if 0 < place < values.size}))


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=30), one=st.lists(st.integers(0, 30)),
       other=st.lists(st.integers(0, 30)), changed=st.integers(-1, 29))  # fmt: skip
def test_pieces_need_not_match(values: list[int], one: list[int], other: list[int], changed: int) -> None:
    these, those = np.float32(values), np.float32(values)
    expected = None
    if 0 <= changed < those.size:
        those[changed] += 1
        expected = changed
    assert first_difference(cut(these, one), cut(those, other)) == expected


@pytest.mark.parametrize("lengths", [(3, 2), (2, 3), (1, 0), (0, 1)])
def test_a_stream_that_ends_early_differs_where_it_ends(lengths: tuple[int, int]) -> None:
    these, those = (np.zeros(length, np.float32) for length in lengths)
    assert first_difference([these], [those]) == min(lengths)


def test_bits_are_compared_not_numbers() -> None:
    assert first_difference([NAN], [NAN]) is None
    assert first_difference([np.float32([0.0])], [np.float32([-0.0])]) == 0
    assert first_difference([], []) is None
