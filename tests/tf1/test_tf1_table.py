"""Tables: real ones are re-made byte for byte, and every cut and every changed byte is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import read_table, small_variables, write_table, write_v1, write_v2
from conftest import all_of, google, other
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_convert.errors import CheckpointError, ChecksumError, NotACheckpoint
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.table import MAGIC, Handle, Table, write_handle

ENTRIES = [(b"", b"header"), *((f"name/{i:03d}".encode(), bytes([i]) * i) for i in range(60))]


def indexes() -> list[str]:
    return [f"google/{name}" for name in all_of("google")] + [f"others/{name}" for name in all_of("others")]


def tables_of(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.iterdir()
        if ".data-" not in file.name and file.stat().st_size > 48 and file.read_bytes()[-8:] == MAGIC
    ]


@pytest.mark.parametrize("name", indexes())
def test_a_real_table_is_made_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    kind, _, folder = name.partition("/")
    for file in tables_of((google if kind == "google" else other)(folder)):
        again = write_table(tmp_path / "again", read_table(file)).read_bytes()
        if "snappy" in str(file) or folder in {"savedmodel_tf2_object_graph", "t5_bf16_index"}:
            assert len(again) > file.stat().st_size
            assert read_table(tmp_path / "again") == read_table(file)
        else:
            assert again == file.read_bytes()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("block_size", [1, 64, 512, 1 << 18])
def test_entries_come_back_from_blocks_of_any_size(tmp_path: Path, block_size: int, compress: bool) -> None:
    cramjam = pytest.importorskip("cramjam")
    pack = (lambda data: bytes(cramjam.snappy.compress_raw(data))) if compress else None
    assert read_table(write_table(tmp_path / "table", ENTRIES, block_size, pack)) == ENTRIES


@given(
    st.dictionaries(st.binary(max_size=12), st.binary(max_size=100), max_size=40),
    st.integers(1, 300),
    st.binary(max_size=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_key_is_in_the_block_that_the_index_names(
    tmp_path: Path, entries: dict[bytes, bytes], block_size: int, other_key: bytes
) -> None:
    file = SourceHandle(write_table(tmp_path / "table", sorted(entries.items()), block_size))
    table = Table(file)
    for key in {*entries, other_key}:
        number = table.find_block(key)
        held = dict(table.block_entries(number)) if number is not None else {}
        assert held.get(key) == entries.get(key)
    file.close()


@pytest.fixture(params=["index", "many blocks", "v1"])
def small_table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "v1":
        return write_v1(tmp_path / "model.ckpt-40", small_variables(), block_size=256)
    write_v2(tmp_path / "x", small_variables(), block_size=64 if request.param == "many blocks" else 1 << 18)
    return tmp_path / "x.index"


def test_a_table_cut_anywhere_is_refused(small_table: Path) -> None:
    content = small_table.read_bytes()
    for size in range(len(content)):
        small_table.write_bytes(content[:size])
        with pytest.raises(CheckpointError) as caught:
            read_table(small_table)
        assert str(small_table) in str(caught.value)


def test_a_table_with_a_byte_more_is_refused(small_table: Path) -> None:
    for content in (small_table.read_bytes() + b"\0", b"\0" + small_table.read_bytes()):
        small_table.write_bytes(content)
        with pytest.raises(CheckpointError):
            read_table(small_table)


@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_every_changed_byte_of_a_table_is_refused(small_table: Path, mask: int) -> None:
    content = bytearray(small_table.read_bytes())
    for at in range(len(content)):
        content[at] ^= mask
        small_table.write_bytes(content)
        with pytest.raises(CheckpointError):
            read_table(small_table)
        content[at] ^= mask


def test_a_changed_block_is_named_with_its_byte_and_both_checksums(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table", ENTRIES, 64)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChecksumError) as caught:
        read_table(path)
    error = caught.value
    assert error.where is not None
    assert f"{path}, byte " in error.where
    assert str(error.found).startswith("0x")
    assert str(error.expected).startswith("0x")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n", "Git LFS"),
        (b"<!DOCTYPE html><html>" + bytes(100), "web page"),
        (bytes(5000), "zero bytes"),
    ],
)
def test_what_is_no_table_is_called_by_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "x.index").write_bytes(content)
    with pytest.raises(NotACheckpoint) as caught:
        read_table(tmp_path / "x.index")
    assert what in str(caught.value.found)
    assert caught.value.hint


def remake(path: Path, change: object) -> None:
    """Write the table with other handles in its index block; every checksum is right."""
    from electra_convert.tf1.block import BlockWriter
    from electra_convert.tf1.crc import crc32c, mask

    file = SourceHandle(path)
    table = Table(file)
    file.close()
    content = path.read_bytes()
    index = BlockWriter(restart_interval=1)
    for key, handle in change(list(zip(table.last_keys, table.handles, strict=True))):  # type: ignore[operator]
        index.add(key, handle if isinstance(handle, bytes) else write_handle(handle))
    metaindex = Handle(table.handles[-1].end, 8)
    stored = index.encode() + b"\0"
    footer = write_handle(metaindex) + write_handle(Handle(metaindex.end, len(stored) - 1))
    path.write_bytes(
        content[: metaindex.end] + stored + mask(crc32c(stored)).to_bytes(4, "little") + footer.ljust(40, b"\0") + MAGIC
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [*rows[:-1], (rows[-1][0], Handle(rows[-1][1].offset, 1 << 63))],
        lambda rows: [*rows[:-1], (rows[-1][0], Handle(1 << 63, rows[-1][1].size))],
        lambda rows: [*rows[:-1], (rows[-1][0], Handle(rows[-1][1].offset, (1 << 64) - 6))],
        lambda rows: [*rows[:-1], (rows[-1][0], Handle(rows[-1][1].offset, rows[-1][1].size + 20))],
        lambda rows: [(b"%05d" % i, rows[0][1]) for i in range(100)],  # one block again and again
        lambda rows: rows[:-1],  # a block that nothing lists
        lambda rows: rows[1:],
        lambda rows: [(rows[0][0], rows[1][1]), (rows[1][0], rows[0][1]), *rows[2:]],
        lambda rows: [*rows[:-1], (rows[-1][0], write_handle(rows[-1][1]) + b"\0")],  # a byte more
        lambda rows: [(b"", rows[0][1]), *rows[1:]],  # a block whose keys are larger than the index says
        lambda rows: [rows[0], (rows[2][0][:-1], rows[1][1]), *rows[2:]],
    ],
)
def test_blocks_that_do_not_tile_the_file_are_refused(tmp_path: Path, change: object) -> None:
    path = write_table(tmp_path / "table", ENTRIES, 64)
    remake(path, lambda rows: rows)
    assert read_table(path) == ENTRIES
    remake(path, change)
    with pytest.raises(CheckpointError):
        read_table(path)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    from electra_convert.tf1.crc import crc32c, mask

    path = write_table(tmp_path / "table", [(b"", b"x")])
    content = bytearray(path.read_bytes())
    content[12 : 12 + 5] = b"\2" + mask(crc32c(bytes(content[:12]) + b"\2")).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="compression is 2"):
        read_table(path)


def test_a_block_must_begin_after_the_one_before(tmp_path: Path) -> None:
    table = Table(SourceHandle(write_table(tmp_path / "table", ENTRIES, 64)))
    table.last_keys[0] = table.block_entries(1)[0][0]
    with pytest.raises(CheckpointError, match="index says"):
        table.block_entries(1)
    table.file.close()
