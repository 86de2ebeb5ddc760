"""Snappy blocks, against the library `cramjam`; hostile ones are refused before memory is asked for."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.snappy import decompress
from electra_convert.tf1.wire import Malformed, write_varint

MOST = 1 << 24

# Text with repetitions near and far: all kinds of copies.
TEXTS = st.lists(st.sampled_from([b"electra/", b"encoder/layer_", b"a", b"ab" * 50, bytes(range(256)) * 300])).map(
    b"".join
)


@given(TEXTS | st.binary(max_size=300))
def test_what_a_library_compresses_is_read(data: bytes) -> None:
    cramjam = pytest.importorskip("cramjam")
    assert decompress(bytes(cramjam.snappy.compress_raw(data)), MOST) == data


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (b"\x08abc", b"abc"),  # literal
        (b"\xf0\x3c" + b"x" * 61, b"x" * 61),  # literal whose size is in one byte
        (b"\xf4\x3c\x00" + b"x" * 61, b"x" * 61),  # in two
        (b"\xf8\x3c\x00\x00" + b"x" * 61, b"x" * 61),
        (b"\xfc\x3c\x00\x00\x00" + b"x" * 61, b"x" * 61),
        (b"\x04ab" + b"\x01\x02", b"ababab"),  # copy of 4 from 2 before: it repeats itself
        (b"\x0cabcd" + b"\x06\x04\x00", b"abcdab"),  # two-byte offset
        (b"\x0cabcd" + b"\x07\x03\x00\x00\x00", b"abcdbc"),  # four-byte offset
    ],
)
def test_each_kind_of_element_is_read(elements: bytes, expected: bytes) -> None:
    assert decompress(write_varint(len(expected)) + elements, MOST) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (write_varint(4 << 30), "declares 4294967296 bytes"),
        (write_varint(10) + b"\x00a" + b"\xfe\x01\x00" * 100, "more than the 10 bytes"),
        (write_varint(4) + b"\x00a" + b"\x01\x02", "before the output"),
        (write_varint(4) + b"\x01\x00", "before the output"),
        (write_varint(5) + b"\x10abc", "past the block's end"),
        (write_varint(2) + b"\x08abc", "more than the 2 bytes"),
        (write_varint(4) + b"\x08abc", "holds 3 bytes and declares 4"),
        (write_varint(70) + b"\xf4\x3c", "cut short"),
        (write_varint(9) + b"\x08abc\x02\x01", "cut short"),
        (b"", "cut short"),
    ],
)
def test_a_block_that_no_library_makes_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        decompress(data, MOST)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_block_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        assert len(decompress(data, 1 << 12)) <= 1 << 12
