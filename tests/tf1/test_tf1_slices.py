"""Slices: keys as TensorFlow encodes them, and tilings that hold each element exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.errors import SliceError
from electra_convert.tf1.messages import WHOLE
from electra_convert.tf1.slices import MOST_SLICES, _signed, check_tiling, encode_key, resolve, show


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "80"),
        (4, "84"),
        (-1, "7f"),
        (63, "bf"),
        (64, "c040"),
        (8191, "dfff"),
        (8192, "e02000"),
        (-64, "40"),
        (-65, "3fbf"),
        (-8193, "1fdfff"),
        (2**31, "f880000000"),
        (2**62, "ffc04000000000000000"),
        (2**63 - 1, "ffc07fffffffffffffff"),
        (-(2**63), "003f8000000000000000"),
    ],
)
def test_signed_numbers_of_ordered_code(value: int, encoded: str) -> None:
    assert _signed(value).hex() == encoded


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_the_order_of_keys_is_the_order_of_numbers(values: list[int]) -> None:
    assert sorted(values, key=_signed) == sorted(values)


def test_the_key_of_a_slice_by_hand() -> None:
    assert encode_key(b"electra/emb", ((4, 3), (0, 4))) == b"\0electra/emb\0\1\1\2\x84\x83\x80\x84"
    assert encode_key(b"scalar", ()) == b"\0scalar\0\1\0"
    assert encode_key(b"a\0b\xffc", ((0, WHOLE),)) == b"\0a\0\xffb\xff\0c\0\1\1\1\x80\x7f"


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_two_names_have_two_keys_in_their_order(first: bytes, second: bytes) -> None:
    keys = encode_key(first, ()), encode_key(second, ())
    assert (keys[0] < keys[1]) == (first < second)


@st.composite
def tilings(draw: st.DrawFn):
    """A box, cut again and again."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    boxes = [tuple((0, size) for size in shape)]
    for _ in range(draw(st.integers(0, 8))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        begin, end = box[axis]
        at = draw(st.integers(begin, end))
        for cut in ((begin, at), (at, end)):
            if cut[0] < cut[1]:
                boxes.append((*box[:axis], cut, *box[axis + 1 :]))
    return shape, draw(st.permutations(boxes))


@given(tilings(), st.data())
def test_a_tiling_is_taken_and_each_fault_in_it_refused(tiling, data: st.DataObject) -> None:
    shape, boxes = tiling
    check_tiling(boxes, shape, "x", "file")
    one = data.draw(st.integers(0, len(boxes) - 1))
    with pytest.raises(SliceError, match="gap"):
        check_tiling(boxes[:one] + boxes[one + 1 :], shape, "x", "file")
    with pytest.raises(SliceError, match="overlap"):
        check_tiling([*boxes, boxes[one]], shape, "x", "file")


def test_scalars_and_empty_variables_tile() -> None:
    check_tiling([()], (), "x", "file")
    check_tiling([((0, 0), (0, 3))], (0, 3), "x", "file")
    with pytest.raises(SliceError, match="overlap"):
        check_tiling([(), ()], (), "x", "file")
    with pytest.raises(SliceError, match="gap"):
        check_tiling([], (), "x", "file")


def test_a_grid_of_thousands_is_checked_at_once() -> None:
    side = 64
    boxes = [((i, i + 1), (j, j + 1)) for i in range(side) for j in range(side)]
    check_tiling(boxes, (side, side), "x", "file")
    with pytest.raises(SliceError, match="too many"):
        check_tiling([*boxes, boxes[0]] if len(boxes) == MOST_SLICES else [], (side, side), "x", "file")


@pytest.mark.parametrize("extents", [((0, 4),), ((0, 4), (1, 3)), ((3, 2), (0, 3)), ((5, 0), (0, 3))])
def test_a_slice_that_leaves_its_variable_is_refused(extents) -> None:
    with pytest.raises(SliceError):
        resolve(extents, (4, 3), "x", "file")


def test_a_whole_dimension_is_resolved() -> None:
    assert show(resolve(((1, 2), (0, WHOLE)), (4, 3), "x", "file")) == "[1:3, 0:3]"
