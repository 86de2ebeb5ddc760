"""Blocks: random entries come back, and whatever a reader would trip over is refused."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.block import BlockWriter, decode_block
from electra_convert.tf1.wire import Malformed, write_varint


def encode(*entries: tuple[int, bytes, bytes], restarts: tuple[int, ...] = (0,)) -> bytes:
    """Return a block of (shared, rest of the key, value), with these restarts."""
    content = b"".join(
        write_varint(shared) + write_varint(len(rest)) + write_varint(len(value)) + rest + value
        for shared, rest, value in entries
    )
    return content + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=200), max_size=60), st.integers(1, 20))
def test_entries_come_back(entries: dict[bytes, bytes], restart_interval: int) -> None:
    block = BlockWriter(restart_interval)
    for key, value in sorted(entries.items()):
        block.add(key, value)
    contents = block.encode()
    assert len(contents) == block.size
    assert decode_block(contents) == sorted(entries.items())


def test_a_block_by_hand() -> None:
    contents = bytes.fromhex("00 02 01 6161 78  01 01 00 62  00000000 01000000")
    assert decode_block(contents) == [(b"aa", b"x"), (b"ab", b"")]


def test_the_empty_block_is_eight_bytes() -> None:
    assert BlockWriter().encode() == bytes.fromhex("00000000 01000000")


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "fewer than an empty one"),
        (bytes(8), "claims 0 restart"),
        (bytes(4) + b"\xff" * 4, "claims 4294967295 restart"),
        (encode((0, b"b", b""), (0, b"a", b"")), "increasing"),
        (encode((0, b"a", b"x"), (1, b"", b"y")), "increasing"),
        (encode((1, b"a", b"")), "shares a key"),
        (encode((0, b"a", b""), (2, b"b", b"")), "shares 2 bytes with one of 1"),
        (encode((0, b"a", b""), restarts=(1,)), "restart offset 1"),
        (encode((0, b"a", b""), restarts=(0, 2)), "restart offset 2"),
        (encode((0, b"a", b""), (1, b"b", b""), restarts=(0, 4)), "shares a key"),
        (encode(restarts=(5,)), "restart offset 5"),
        (b"\x00\x01\x05a" + bytes(4) + b"\x01" + bytes(3), "claims 5 bytes where 0"),
        (b"\x80\x80\x80" + bytes(4) + b"\x01" + bytes(3), "claims|cut short|shares"),
    ],
)
def test_a_block_that_no_writer_makes_is_refused(contents: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        decode_block(contents)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_block_or_malformed(contents: bytes) -> None:
    with suppress(Malformed):
        decode_block(contents)
