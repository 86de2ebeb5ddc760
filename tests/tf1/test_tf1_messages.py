"""The messages of a checkpoint, against the bytes that TensorFlow writes and against what no writer makes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.messages import (
    WHOLE,
    BundleEntry,
    BundleHeader,
    Version,
    check_version,
    decode_entry,
    decode_header,
    decode_saved_metadata,
    decode_saved_slice,
    decode_shape,
    decode_slice,
    decode_version,
    encode_entry,
    encode_header,
    encode_shape,
    encode_slice,
)
from electra_convert.tf1.wire import Malformed, write_bytes, write_number

SHAPES = st.lists(st.integers(0, 2**20), max_size=3).map(tuple)
EXTENTS = st.lists(st.just((0, WHOLE)) | st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=3).map(tuple)


def test_the_header_that_every_checkpoint_has() -> None:
    header = BundleHeader(1, 0, Version(1))
    assert encode_header(header) == bytes.fromhex("08011a020801")
    assert decode_header(bytes.fromhex("08011a020801")) == header


@given(
    st.builds(
        BundleEntry,
        *(st.integers(0, 30), SHAPES, st.integers(0, 99999), st.integers(0, 2**62), st.integers(0, 2**62)),
        *(st.integers(0, 2**32 - 1), st.lists(EXTENTS, max_size=3).map(tuple)),
    )
)
def test_an_entry_comes_back(entry: BundleEntry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


def test_the_shape_of_a_scalar_is_written() -> None:
    assert encode_entry(BundleEntry(9)) == bytes.fromhex("0809 1200")
    assert encode_shape((0,)) == bytes.fromhex("1200")


@given(EXTENTS)
def test_a_slice_comes_back(extents) -> None:
    assert decode_slice(encode_slice(extents)) == extents


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (write_number(3, 1), "unknown rank"),
        (encode_shape([1] * 9), "9 dimensions"),
        (encode_shape([1] * 300), "300 dimensions"),
        (encode_shape([-1]), "negative"),
        (encode_shape([-(2**63)]), "negative"),
        (encode_shape([2**62, 2]), "more elements"),
        (encode_shape([2**31] * 3), "more elements"),
        (encode_shape([0, 2**62, 2**62]), "more elements"),
        (write_bytes(2, write_number(3, 1)), "unknown field 3"),
        (write_bytes(2, b"\x0a" * 3000), "unknown field|claims|stored"),
    ],
)
def test_a_shape_that_no_file_can_hold_is_refused(shape: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        decode_shape(shape)


@pytest.mark.parametrize("extent", [write_number(1, -1) + b"\x10\x01", write_number(2, -1), write_number(1, 3)])
def test_an_extent_that_no_writer_makes_is_refused(extent: bytes) -> None:
    with pytest.raises(Malformed):
        decode_slice(write_bytes(1, extent))


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (b"", True),
        (bytes.fromhex("0801"), True),
        (bytes.fromhex("0863"), True),  # written by version 99
        (bytes.fromhex("0801 1001"), True),
        (bytes.fromhex("0801 1063"), False),  # readers from version 99
        (bytes.fromhex("0801 1a0101"), False),  # not by version 1, packed
        (bytes.fromhex("0801 1801"), False),  # the same, not packed
        (bytes.fromhex("0801 1802"), True),
        (write_number(1, -1), False),
    ],
)
def test_versions_by_the_rule_of_tensorflow(version: bytes, accepted: bool) -> None:
    if accepted:
        check_version(decode_version(version))
    else:
        with pytest.raises(Malformed):
            check_version(decode_version(version))


def test_metadata_and_values_of_v1_are_not_confused() -> None:
    with pytest.raises(Malformed):
        decode_saved_metadata(write_bytes(2, b""))
    with pytest.raises(Malformed):
        decode_saved_slice(write_bytes(1, b""))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        decode_entry(data)
