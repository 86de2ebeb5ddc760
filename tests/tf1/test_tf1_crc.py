"""CRC-32C and its mask, against the values of RFC 3720 and of LevelDB's own test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.crc import crc32c, mask, unmask


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_checksums_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


@given(st.binary(), st.binary())
def test_a_checksum_goes_on_from_the_bytes_before(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == crc32c(first + second)


@given(st.integers(0, 2**32 - 1))
def test_a_mask_comes_off(crc: int) -> None:
    assert unmask(mask(crc)) == crc


def test_an_array_has_the_checksum_of_its_bytes() -> None:
    array = np.arange(100, dtype=np.uint8)
    assert crc32c(array[3:50]) == crc32c(array[3:50].tobytes())


def test_no_bytes_have_the_mask_that_an_empty_tensor_carries() -> None:
    assert mask(crc32c(b"")) == 0xA282EAD8
