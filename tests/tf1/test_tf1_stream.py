"""Streamed blocks give what held blocks give, and check as much; random blocks, read in random steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import write_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_convert.errors import CheckpointError
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.stream import EntryStream, HeldEntry
from electra_convert.tf1.table import Table

ENTRIES = st.dictionaries(
    st.binary(max_size=30), st.binary(max_size=50) | st.integers(0, 30_000).map(bytes), min_size=1, max_size=12
)


def read_value(entry: HeldEntry | EntryStream, steps: list[int]) -> bytes:
    content = b""
    for step in [*steps, 1 << 30]:
        assert entry.peek(10) == entry.peek(10)
        step = min(step, entry.left)
        if step % 2:
            content += entry.take(step)
        else:
            buffer = np.empty(step, np.uint8)
            entry.take_into(buffer)
            content += buffer.tobytes()
    entry.finish()
    return content


@given(entries=ENTRIES, steps=st.lists(st.integers(0, 9000), max_size=4), absent=st.binary(max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_streamed_value_is_the_held_one(tmp_path: Path, entries: dict[bytes, bytes], steps, absent: bytes) -> None:
    file = SourceHandle(write_table(tmp_path / "x", sorted(entries.items()), block_size=1 << 30))
    table = Table(file)
    for key, value in entries.items():
        stream = EntryStream(table, 0)
        assert stream.find(key)
        assert read_value(stream, steps) == value == read_value(HeldEntry(value), steps)
    if absent not in entries:
        assert not EntryStream(table, 0).find(absent)
    file.close()


def read_key(table: Table, key: bytes) -> bytes | None:
    stream = EntryStream(table, 0, variable="ab")
    return read_value(stream, []) if stream.find(key) else None


def test_every_changed_byte_of_a_streamed_block_is_found(tmp_path: Path) -> None:
    entries = {b"a": b"1" * 40, b"ab": b"2" * 5000, b"b": b"3"}
    path = write_table(tmp_path / "x", sorted(entries.items()))
    content = bytearray(path.read_bytes())
    size = Table(SourceHandle(path)).handles[0].size
    for at in [*range(60), *range(60, size, 501), *range(size - 20, size + 5)]:
        file = SourceHandle(path)
        table = Table(file)
        content[at] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            read_key(table, b"ab")
        content[at] ^= 1
        path.write_bytes(content)
        file.close()


def test_a_streamed_block_must_end_where_the_index_says(tmp_path: Path) -> None:
    table = Table(SourceHandle(write_table(tmp_path / "x", [(b"a", b"1"), (b"b", b"2")])))
    assert read_key(table, b"a") == b"1"
    table.last_keys[0] = b"a"
    with pytest.raises(CheckpointError, match="index says"):
        read_key(table, b"a")
    table.file.close()
