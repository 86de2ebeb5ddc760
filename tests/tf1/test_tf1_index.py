"""Hostile indexes, checksums right: each row of what TensorFlow dies of, hangs on or takes is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from builders import change_table, read_table, write_table, write_v2
from conftest import google

from electra_convert.errors import CheckpointError, SliceError
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.index import Index, read_index
from electra_convert.tf1.messages import (
    WHOLE,
    BundleEntry,
    BundleHeader,
    Version,
    decode_entry,
    encode_entry,
    encode_header,
)
from electra_convert.tf1.slices import encode_key
from electra_convert.tf1.wire import write_bytes, write_number
from electra_convert.tf1.write import BundleWriter

KERNEL = b"kernel"  # float32 [10, 4], 160 bytes at 40


def open_index(path: Path) -> Index:
    file = SourceHandle(path)
    try:
        return read_index(file)
    finally:
        file.close()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    kernel = np.arange(40, dtype=np.float32).reshape(10, 4)
    write_v2(tmp_path / "x", {"bias": np.ones(10, np.float32), "kernel": kernel, "z": np.ones(4, np.float32)})
    return tmp_path / "x.index"


def with_kernel(**changes: object):
    """Return a change of the entry `kernel`."""

    def change(entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return {**entries, KERNEL: encode_entry(decode_entry(entries[KERNEL])._replace(**changes))}

    return change


def test_an_index_tells_where_everything_is(index: Path) -> None:
    found = open_index(index)
    assert list(found.variables) == ["bias", "kernel", "z"]
    assert found.variables["kernel"].shape == (10, 4)
    assert found.extents["kernel"][0].offset == 40
    assert found.shard_ends() == [216]


HOSTILE_ENTRIES = {
    "negative dimension": {"shape": (-1, 4)},
    "smallest dimension": {"shape": (-(2**63), 4)},
    "dimension of 2^62": {"shape": (2**62, 4)},
    "300 dimensions": {"shape": (1,) * 300},
    "40 dimensions": {"shape": (1,) * 40},
    "overflow": {"shape": (2**31, 2**31)},
    "hidden overflow": {"shape": (0, 2**62, 4)},
    "640 MB of shape": {"shape": (40_000_000, 4)},
    "1 TB of shape and size, past any number of elements": {"shape": (2**62,), "size": 2**64 - 1},
    "no size": {"size": 0},
    "size 4": {"size": 4},
    "size 164": {"size": 164},
    "negative size": {"size": -160},
    "largest size": {"size": 2**63 - 1},
    "offset -1": {"offset": -1},
    "smallest offset": {"offset": -(2**63)},
    "shard 1": {"shard": 1},
    "shard -1": {"shard": -1},
    "shard 99999": {"shard": 99999},
    "shard 2^31": {"shard": 2**31},
    "dtype 0": {"dtype": 0},
    "dtype 50": {"dtype": 50},
    "dtype 101": {"dtype": 101},
    "dtype 1000": {"dtype": 1000},
    "dtype of other width": {"dtype": 2},
    "bytes of another variable": {"offset": 0},
    "one byte of another variable": {"offset": 39},
    "slices and bytes": {"slices": (((0, 10), (0, 4)),)},
}


@pytest.mark.parametrize("case", HOSTILE_ENTRIES)
def test_a_hostile_entry_is_refused_and_named(index: Path, case: str) -> None:
    change_table(index, with_kernel(**HOSTILE_ENTRIES[case]))
    with pytest.raises(CheckpointError) as caught:
        open_index(index)
    assert str(index) in str(caught.value)
    assert "kernel" in str(caught.value)


HOSTILE_BYTES = {
    "empty": b"",
    "cut": b"\x08",
    "varint of 11 bytes": b"\x08" + b"\x80" * 10 + b"\x01",
    "groups, nested": b"\x0b" * 10_000,
    "messages, nested": b"\x12\x02" * 3_000,
    "unknown field": encode_entry(BundleEntry(1, (10, 4), 0, 40, 160, 1)) + write_number(8, 1),
    "a field twice": encode_entry(BundleEntry(1, (10, 4), 0, 40, 160, 1)) * 2,
    "shape as number": write_number(1, 1) + write_number(2, 1),
    "unknown rank": write_number(1, 1) + write_bytes(2, write_number(3, 1)),
}


@pytest.mark.parametrize("case", HOSTILE_BYTES)
def test_bytes_that_are_no_entry_are_refused(index: Path, case: str) -> None:
    change_table(index, lambda entries: {**entries, KERNEL: HOSTILE_BYTES[case]})
    with pytest.raises(CheckpointError, match="kernel"):
        open_index(index)


HOSTILE_HEADERS = {
    "no data files": BundleHeader(0, 0, Version(1)),
    "-1 data files": BundleHeader(-1, 0, Version(1)),
    "2^31 - 1 data files": BundleHeader(2**31 - 1, 0, Version(1)),
    "100000 data files": BundleHeader(100_000, 0, Version(1)),
    "endianness 7": BundleHeader(1, 7, Version(1)),
    "readers from 99": BundleHeader(1, 0, Version(1, 99)),
    "producer -1": BundleHeader(1, 0, Version(-1)),
}


@pytest.mark.parametrize("case", HOSTILE_HEADERS)
def test_a_hostile_header_is_refused(index: Path, case: str) -> None:
    change_table(index, lambda entries: {**entries, b"": encode_header(HOSTILE_HEADERS[case])})
    with pytest.raises(CheckpointError):
        open_index(index)


def test_forbidden_readers_are_obeyed(index: Path) -> None:
    header = write_number(1, 1) + write_bytes(3, write_number(1, 1) + write_bytes(3, b"\1"))
    change_table(index, lambda entries: {**entries, b"": header})
    with pytest.raises(CheckpointError, match="forbids readers"):
        open_index(index)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda entries: [row for row in entries.items() if row[0]], "no header"),
        (lambda entries: {b"": entries[b""]}, "no variables"),
        (lambda entries: [], "no header"),
        (lambda entries: [*entries.items(), (b"z", entries[b"z"])], "increasing"),
        (lambda entries: [*entries.items(), (b"bias", entries[b"bias"])], "increasing"),
        (lambda entries: {**entries, b"x" * 1025: entries[b"z"]}, "1025 bytes"),
        (lambda entries: {**entries, b"x" * 65536: entries[b"z"]}, "65536 bytes"),
        (lambda entries: {**entries, b"na\xffme": entries[b"z"]}, r"na\\xffme"),
        (lambda entries: {**entries, b"\0stray": entries[b"z"]}, "no variable"),
        (lambda entries: {**entries, encode_key(b"kernel", ((0, 5), (0, 4))): entries[b"z"]}, "no variable"),
    ],
)
def test_a_hostile_table_of_entries_is_refused(index: Path, change, reason: str) -> None:
    change_table(index, change)
    with pytest.raises(CheckpointError, match=reason):
        open_index(index)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\nb", "\x1b[31m", "a\0b", "a\u202eb", "x" * 1024])
def test_a_strange_name_is_listed_and_opens_nothing(index: Path, name: str) -> None:
    change_table(index, lambda entries: {**entries, name.encode(): encode_entry(BundleEntry(1, (0,)))})
    assert name in open_index(index).variables


def test_an_absurdly_large_index_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.index").open("wb") as file:
        os.truncate(file.fileno(), 257 << 20)
    with pytest.raises(CheckpointError, match="too large"):
        open_index(tmp_path / "x.index")


def partitioned(prefix: Path) -> Path:
    with BundleWriter(prefix) as bundle:
        bundle.add_slice("emb", (10, 4), ((0, 4), (0, 4)), np.zeros((4, 4), np.float32))
        bundle.add_slice("emb", (10, 4), ((4, 6), (0, WHOLE)), np.ones((6, 4), np.float32))
    return prefix.with_name(prefix.name + ".index")


def with_owner(*slices):
    def change(entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return {**entries, b"emb": encode_entry(BundleEntry(1, (10, 4), slices=slices))}

    return change


def without_slice(entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
    del entries[encode_key(b"emb", ((0, 4), (0, 4)))]
    return entries


def with_slice_of(**changes: object):
    key = encode_key(b"emb", ((0, 4), (0, 4)))
    return lambda entries: {**entries, key: encode_entry(decode_entry(entries[key])._replace(**changes))}


FIRST, SECOND = ((0, 4), (0, 4)), ((4, 6), (0, WHOLE))


@pytest.mark.parametrize(
    "change",
    [
        with_owner(FIRST),
        with_owner(SECOND),
        with_owner(FIRST, FIRST, SECOND),
        with_owner(FIRST, SECOND, ((0, 1), (0, 1))),
        with_owner(((0, 5), (0, 4)), SECOND),
        with_owner(FIRST, ((4, 7), (0, WHOLE))),
        with_owner(FIRST, ((4, 6),)),
        without_slice,
        with_slice_of(shape=(4, 5), size=80),
        with_slice_of(dtype=3),
        with_slice_of(slices=(FIRST,), size=0, crc=0, offset=0),
        with_slice_of(offset=16),
    ],
)
def test_slices_that_do_not_tile_are_refused_at_once(tmp_path: Path, change) -> None:
    path = partitioned(tmp_path / "x")
    assert open_index(path).variables["emb"].slices == 2
    change_table(path, change)
    with pytest.raises(CheckpointError, match="emb"):
        open_index(path)


def test_a_gap_says_what_is_covered(tmp_path: Path) -> None:
    path = partitioned(tmp_path / "x")
    key = encode_key(b"emb", FIRST)
    change_table(path, lambda entries: {k: v for k, v in with_owner(SECOND)(entries).items() if k != key})
    with pytest.raises(SliceError) as caught:
        open_index(path)
    assert caught.value.found == ["24 of 40 elements", "[4:10, 0:4]"]


def test_a_real_index_survives_any_size_of_block(tmp_path: Path) -> None:
    real = next(google("partitioned").glob("*.index"))
    for block_size in (64, 512):
        path = write_table(tmp_path / "x.index", read_table(real), block_size)
        assert open_index(path) == open_index(real)
