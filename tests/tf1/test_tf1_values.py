"""Values of V1: packed or not, in one run or several, always as many as the slice has."""

from __future__ import annotations

import numpy as np
import pytest
from builders import encode_value, whole
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.dtypes import DTYPES
from electra_convert.tf1.messages import decode_saved_slice
from electra_convert.tf1.values import STORAGE, decode_integer, decode_values, raw_head
from electra_convert.tf1.wire import Malformed, write_bytes, write_number, write_varint

PLAIN = [dtype for dtype in DTYPES.values() if dtype.name in STORAGE and dtype.name == dtype.array]


@given(st.sampled_from(PLAIN), st.binary(max_size=160))
def test_values_come_back(dtype, content: bytes) -> None:
    content = content[: len(content) // dtype.size * dtype.size]
    if dtype.name == "bool":
        content = bytes(byte & 1 for byte in content)
    array = np.frombuffer(content, dtype.numpy)
    stored = encode_value("x", whole(array.shape), array)
    assert decode_values(decode_saved_slice(stored).data, dtype, array.size).tobytes() == content
    head = raw_head(b"x", whole(array.shape), dtype, array.nbytes)
    if head is not None:
        assert stored == head + content


def test_unpacked_values_and_several_runs_are_read() -> None:
    one, two = np.float32(1.5).tobytes(), np.float32(-2).tobytes()
    floats = b"\x2d" + one + write_bytes(5, two + one) + b"\x2d" + two
    expected = np.array([1.5, -2, 1.5, -2], np.float32)
    assert decode_values(floats, DTYPES[1], 4).tobytes() == expected.tobytes()
    numbers = write_number(7, -5) + write_bytes(7, write_varint(7))
    assert decode_values(numbers, DTYPES[3], 2).view(np.int32).tolist() == [-5, 7]


FLOATS = np.arange(4, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("data", "dtype", "reason"),
    [
        (write_bytes(5, FLOATS[:-4]), 1, "holds 3 values, expected 4"),
        (write_bytes(5, FLOATS + FLOATS), 1, "holds 8 values"),
        (write_bytes(5, FLOATS[:-1]), 1, "holds 3.75 values"),
        (b"", 1, "holds 0 values"),
        (write_bytes(6, FLOATS), 1, "field 6"),
        (write_bytes(4, FLOATS), 1, "field 4"),  # tensor_content
        (write_bytes(7, b"\x80" * 4), 3, "holds 0 values"),
        (write_bytes(7, bytes(3) + b"\x80" * 10 + b"\1"), 3, "longer than 10"),
        (write_bytes(7, bytes(3) + write_varint(1 << 40)), 3, "fit"),
        (write_bytes(11, bytes(3) + b"\2"), 10, "fit"),
        (write_bytes(13, bytes(3) + write_varint(1 << 16)), 19, "fit"),
        (write_bytes(7, bytes(3) + write_varint(-1)), 4, "fit"),
        (write_number(5, 1), 1, "kind 0"),
    ],
)
def test_any_other_values_are_refused(data: bytes, dtype: int, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        decode_values(data, DTYPES[dtype], 4)


def test_an_integer_scalar_needs_no_numpy() -> None:
    assert decode_integer(write_bytes(10, write_varint(-3)), DTYPES[9]) == -3
    with pytest.raises(Malformed, match="holds 0 values"):
        decode_integer(b"", DTYPES[9])
