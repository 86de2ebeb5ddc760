"""protobuf's wire format: what a writer makes is read back, and what none makes is refused, never believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    NUMBERS,
    VARINT,
    Field,
    Malformed,
    decode,
    fields,
    read_varint,
    signed,
    unpack_varints,
    write_bytes,
    write_fixed32,
    write_number,
    write_varint,
)


@given(st.integers(0, 2**64 - 1))
def test_every_number_comes_back(value: int) -> None:
    assert read_varint(b"\xff" + write_varint(value) + b"\x01", 1) == (value, 1 + len(write_varint(value)))


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_signed_number_comes_back(value: int) -> None:
    assert signed(read_varint(write_varint(value), 0)[0]) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (b"\x80" * 9, "cut short"),
        (b"\x80" * 10 + b"\x01", "longer than 10"),
        (b"\xff" * 9 + b"\x02", "64 bits"),
    ],
)
def test_a_varint_that_no_writer_makes_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read_varint(data, 0)


def test_each_kind_of_field_is_read() -> None:
    data = b"\x08\x96\x01" + b"\x12\x03abc" + b"\x1d\x01\x00\x00\x00" + b"\x21" + b"\x02" + bytes(7) + b"\xa2\x06\x00"
    expected = [(1, VARINT, 150), (2, BYTES, b"abc"), (3, FIXED32, 1), (4, FIXED64, 2), (100, BYTES, b"")]
    assert list(fields(data)) == expected
    assert [(number, kind) for number, kind, _ in fields(memoryview(data))] == [row[:2] for row in expected]


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05abcd",  # five bytes where four are left
        b"\x0a",  # no size
        b"\x0d\x01\x02\x03",  # fixed32 of three bytes
        b"\x09" + bytes(7),  # fixed64 of seven
        b"\x00\x00",  # field 0
        b"\x0b" * 10_000,  # groups, nested
        b"\x0c",  # the end of a group
        b"\x0e\x00",  # kinds 6 and 7 do not exist
        b"\x0f\x00",
    ],
)
def test_a_field_that_no_writer_makes_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(fields(data))


TABLE = {1: Field("one", VARINT), 2: Field("many", BYTES, repeated=True), 3: Field("numbers", NUMBERS)}


def test_a_message_is_decoded_by_its_table() -> None:
    data = write_number(1, 7) + write_bytes(2, b"a") + write_bytes(2, b"") + b"\x18\x05" + b"\x1a\x02\x06\x07"
    assert decode(data, TABLE) == {"one": 7, "many": [b"a", b""], "numbers": [5, 6, 7]}
    assert decode(b"", TABLE) == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (write_number(4, 1), "unknown field 4"),
        (write_number(1, 1) * 2, "stands twice"),
        (write_bytes(1, b"\x01"), "stored as kind 2"),
        (write_number(2, 1), "stored as kind 0"),
        (write_fixed32(3, 1), "stored as kind 5"),
        (write_bytes(3, b"\x80"), "cut short"),
    ],
)
def test_what_a_table_does_not_have_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        decode(data, TABLE)


@given(st.binary(max_size=40))
def test_any_bytes_are_fields_or_malformed(data: bytes) -> None:
    try:
        for _, kind, value in fields(data):
            assert isinstance(value, bytes if kind == BYTES else int)
    except Malformed:
        pass


def test_zero_is_left_out_and_empty_bytes_are_not() -> None:
    assert write_number(1, 0) == b""
    assert write_fixed32(6, 0) == b""
    assert write_bytes(2, b"") == b"\x12\x00"
    assert unpack_varints(b"\x01\xac\x02") == [1, 300]
