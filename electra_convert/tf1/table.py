"""An SSTable, LevelDB's file of sorted entries: a V2 checkpoint's `.index`, and the whole of a V1 checkpoint.

    [data block] … [data block] [metaindex block] [index block] [footer]

    block    contents (block.py) · 1 byte: 0 raw, 1 Snappy · 4 bytes: masked CRC-32C of the contents and that byte
    index    one entry a data block: a key ≥ its last and < the next block's first · handle
    handle   varint offset · varint size of the contents, without the 5 bytes behind them
    footer   handle of the metaindex, which is empty · handle of the index · zeros up to 40 bytes · 8 bytes: magic

Blocks must tile the file, in order and without a gap: so every byte is under a checksum or known beforehand, and a
handle is never believed. LevelDB's doc/table_format.md; tensorflow/tsl/lib/io/{format,table_builder}.cc.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

from electra_convert.errors import CheckpointError, ChecksumError, NotACheckpoint, TruncatedFile
from electra_convert.tf1 import snappy
from electra_convert.tf1.block import BlockWriter, Entry, decode_block
from electra_convert.tf1.crc import crc32c, mask
from electra_convert.tf1.files import DAMAGED, SourceHandle, name_stranger, refusing
from electra_convert.tf1.wire import Malformed, read_varint, write_varint

# "57 fb 80 8b 24 75 47 db": the first 64 bits of the SHA-1 of http://code.google.com/p/leveldb/.
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER_SIZE = 48
HANDLES_SIZE = FOOTER_SIZE - len(MAGIC)

# One byte of type, four of checksum.
TRAILER_SIZE = 5
RAW, SNAPPY = 0, 1

# table_options.h; a block is closed once it is this large, or before an entry of twice the size.
BLOCK_SIZE = 262144

# A Snappy block is expanded in memory. An index holds blocks of 256 KiB, and no known one has more than 90 KB.
MOST_EXPANDED = 16 << 20


class Handle(NamedTuple):
    """Where the contents of a block stand."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the next block begins."""
        return self.offset + self.size + TRAILER_SIZE


def read_handle(data: bytes, at: int) -> tuple[Handle, int]:
    """Return the handle at `at`, and where it ends."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return Handle(offset, size), at


def write_handle(handle: Handle) -> bytes:
    """Return the bytes of a handle."""
    return write_varint(handle.offset) + write_varint(handle.size)


class Table:
    """An open table: its blocks are known, and nothing of them is loaded."""

    def __init__(self, file: SourceHandle, most_expanded: int = MOST_EXPANDED) -> None:
        """Read footer and index; refuse a file whose blocks do not tile it.

        A Snappy block that declares more than `most_expanded` bytes is refused.
        """
        self.file = file
        self._most_expanded = most_expanded
        metaindex, index = self._read_footer()
        if self.read_block(metaindex):
            raise self._refusal("the metaindex block of a table is not empty", metaindex.offset)
        self.last_keys: list[bytes] = []
        self.handles: list[Handle] = []
        expected = 0
        for last_key, value in self.read_block(index):
            with refusing("a table is damaged", self._where(index.offset)):
                handle, end = read_handle(value, 0)
            if end != len(value) or handle.offset != expected or handle.end > metaindex.offset:
                raise self._refusal(
                    "the blocks of a table do not follow each other",
                    index.offset,
                    found=f"a block of {handle.size} bytes at byte {handle.offset}",
                    expected=f"one at byte {expected} that ends by byte {metaindex.offset}",
                )
            expected = handle.end
            self.last_keys.append(last_key)
            self.handles.append(handle)
        if expected != metaindex.offset:
            raise self._refusal(
                "a table has bytes that no block holds",
                expected,
                found=f"data blocks up to byte {expected}",
                expected=f"up to byte {metaindex.offset}",
            )

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in the order of keys; the checksum of a block is checked before its first."""
        for number in range(len(self.handles)):
            yield from self.block_entries(number)

    def block_entries(self, number: int, **facts: str) -> list[Entry]:
        """Return the entries of one data block, whose keys must lie where the index says; `facts` go into errors."""
        entries = self.read_block(self.handles[number], **facts)
        first, last = (entries[0][0], entries[-1][0]) if entries else (None, None)
        self.check_range(number, first, last)
        return entries

    def check_range(self, number: int, first: bytes | None, last: bytes | None) -> None:
        """Refuse a data block that is empty, or whose first or last key is not where the index says."""
        after = self.last_keys[number - 1] if number else None
        if first is None or last is None or last > self.last_keys[number] or (after is not None and first <= after):
            raise self._refusal("a block's keys are not where the table's index says", self.handles[number].offset)

    def find_block(self, key: bytes) -> int | None:
        """Return the number of the only data block that may hold `key`; None if none may."""
        number = bisect_left(self.last_keys, key)
        return number if number < len(self.handles) else None

    def read_block(self, handle: Handle, **facts: str) -> list[Entry]:
        """Return the entries of a block that lies within the file, after checking its checksum."""
        stored = self.file.read(handle.offset, handle.size + TRAILER_SIZE, "a block of the table")
        contents, kind = stored[: handle.size], stored[handle.size]
        self.check_crc(handle, crc32c(stored[: handle.size + 1]), stored[handle.size + 1 :], **facts)
        with refusing("a block of a table is damaged", self._where(handle.offset), **facts):
            if kind == SNAPPY:
                contents = snappy.decompress(contents, self._most_expanded)
            elif kind != RAW:
                raise Malformed(f"its compression is {kind}, neither {RAW} (none) nor {SNAPPY} (Snappy)")
            return decode_block(contents)

    def check_crc(self, handle: Handle, computed: int, stored: bytes, **facts: str) -> None:
        """Raise `ChecksumError` unless `stored` is the masked form of the checksum computed over a block."""
        expected = int.from_bytes(stored, "little")
        if mask(computed) != expected:
            raise ChecksumError(
                "checksum of a block differs",
                where=self._where(handle.offset),
                found=f"0x{mask(computed):08x}",
                expected=f"0x{expected:08x}, stored behind the block",
                hint="the file changed after it was written; copy it again",
                **facts,
            )

    def _read_footer(self) -> tuple[Handle, Handle]:
        file = self.file
        if file.size < FOOTER_SIZE or file.read(file.size - len(MAGIC), len(MAGIC), "the footer") != MAGIC:
            raise self._no_table()
        begin = file.size - FOOTER_SIZE
        footer = file.read(begin, HANDLES_SIZE, "the footer")
        with refusing("a table is damaged", self._where(begin)):
            metaindex, at = read_handle(footer, 0)
            index, _ = read_handle(footer, at)
        # Compared as bytes: a varint can be written in more than one way, and no checksum guards the footer.
        written = (write_handle(metaindex) + write_handle(index)).ljust(HANDLES_SIZE, b"\0")
        if footer != written or metaindex.end != index.offset or index.end != begin:
            raise self._refusal(
                "the footer of a table is damaged",
                begin,
                found=f"bytes {metaindex.offset} to {metaindex.end}, {index.offset} to {index.end}",
                expected=f"metaindex and index one after the other, up to byte {begin}, then zeros",
            )
        return metaindex, index

    def _no_table(self) -> CheckpointError:
        file = self.file
        stranger = name_stranger(file)
        if stranger is not None:
            return NotACheckpoint(
                "a file is not what its name says", where=file.shown, found=stranger.what, hint=stranger.hint
            )
        return TruncatedFile(
            "a file does not end as a checkpoint's table does",
            where=f"{file.shown}, byte {max(0, file.size - len(MAGIC))}",
            found=file.read(max(0, file.size - len(MAGIC)), min(file.size, len(MAGIC)), "the footer").hex(" "),
            expected=MAGIC.hex(" "),
            hint="the file is cut short, or no checkpoint; copy or download it again",
        )

    def _refusal(self, message: str, offset: int, **facts: str) -> CheckpointError:
        return CheckpointError(message, where=self._where(offset), hint=DAMAGED, **facts)

    def _where(self, offset: int) -> str:
        return f"{self.file.shown}, byte {offset}"


class TableWriter:
    """Writes a table, byte for byte as TensorFlow does, to `write`; keys must come in increasing order.

    `compress` (none in TensorFlow's checkpoints) turns the contents of data blocks into Snappy blocks.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        block_size: int = BLOCK_SIZE,
        compress: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._write, self._block_size, self._compress = write, block_size, compress
        self._offset = 0
        self._block = BlockWriter()
        self._index = BlockWriter(restart_interval=1)
        self._last_key = b""
        self._pending: Handle | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """Add an entry; a block that is full with it is written."""
        if len(key) + len(value) >= 2 * self._block_size:
            self._flush()
        if self._pending is not None:
            self._index.add(_separator(self._last_key, key), write_handle(self._pending))
            self._pending = None
        self._block.add(key, value)
        self._last_key = key
        if self._block.size >= self._block_size:
            self._flush()

    def finish(self) -> None:
        """Write what is left: the last block, the metaindex, the index and the footer."""
        self._flush()
        metaindex = self._write_block(BlockWriter().encode(), RAW)
        if self._pending is not None:
            self._index.add(_successor(self._last_key), write_handle(self._pending))
        index = self._write_block(self._index.encode(), RAW)
        self._write((write_handle(metaindex) + write_handle(index)).ljust(HANDLES_SIZE, b"\0") + MAGIC)

    def _flush(self) -> None:
        if self._block:
            contents = self._block.encode()
            if self._compress is None:
                self._pending = self._write_block(contents, RAW)
            else:
                self._pending = self._write_block(self._compress(contents), SNAPPY)
            self._block = BlockWriter()

    def _write_block(self, contents: bytes, kind: int) -> Handle:
        handle = Handle(self._offset, len(contents))
        stored = contents + bytes([kind])
        self._write(stored + mask(crc32c(stored)).to_bytes(4, "little"))
        self._offset = handle.end
        return handle


def _separator(last: bytes, following: bytes) -> bytes:
    """Return a short key that is at least `last` and smaller than `following`."""
    limit = min(len(last), len(following))
    at = next((at for at in range(limit) if last[at] != following[at]), limit)
    if at < limit and last[at] + 1 < following[at]:
        return last[:at] + bytes([last[at] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """Return a short key that is at least `last`."""
    at = next((at for at, byte in enumerate(last) if byte != 0xFF), None)
    return last if at is None else last[:at] + bytes([last[at] + 1])
