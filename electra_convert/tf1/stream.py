"""One entry of a table's block, read forward: from memory, or from the file in pieces under a running CRC.

A V1 checkpoint keeps each value as one entry, and a large one makes a block of its own size. `EntryStream` walks such
a block without ever holding it: to the entry that is wanted, through its value, and on to the block's end, where the
checksum stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from electra_convert.tf1.block import MOST_ENTRIES, WORD, entries_end, next_key
from electra_convert.tf1.crc import crc32c
from electra_convert.tf1.files import PIECE, refusing
from electra_convert.tf1.table import TRAILER_SIZE, Table
from electra_convert.tf1.variable import LONGEST_NAME
from electra_convert.tf1.wire import Malformed, read_varint

if TYPE_CHECKING:
    import numpy as np

# How much is read ahead to parse headers from: half of it holds those of an entry and of the value in it. What a value
# has beyond goes straight into the caller's memory.
WINDOW = 4096

# A slice's key is its name, each byte of it doubled at worst, and at most 8 dimensions of 20 bytes.
LONGEST_KEY = 2 * LONGEST_NAME + 256


class HeldEntry:
    """The value of an entry whose block is in memory, and checked."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes of the value have not been taken."""
        return len(self._value) - self._at

    def peek(self, size: int) -> bytes:
        """Return the next bytes, at most 4096, without taking them; fewer at the value's end."""
        return self._value[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes of the value, which has them left."""
        taken = self.peek(size)
        self._at += size
        return taken

    def take_into(self, buffer: np.ndarray) -> None:
        """Fill `buffer`, contiguous uint8, with the next bytes of the value, which has them left."""
        buffer.data[:] = self.take(buffer.nbytes)

    def finish(self) -> None:
        """Return at once: the checksum was checked before there was a value."""


class EntryStream:
    """The value of an entry in a block that stays in the file; same methods, and `finish` checks the checksum."""

    def __init__(self, table: Table, number: int, **facts: str) -> None:
        """Stand before the first entry of a raw data block; `facts` go into errors."""
        self._table, self._number, self._facts = table, number, facts
        self._file, self._handle = table.file, table.handles[number]
        self._where = f"{self._file.shown}, byte {self._handle.offset}"
        end = self._handle.offset + self._handle.size
        count = int.from_bytes(self._file.read(end - WORD, WORD, "a block of the table"), "little")
        with refusing("a block of a table is damaged", self._where, **self._facts):
            self._entries_end = self._handle.offset + entries_end(self._handle.size, count)
        self._at = self._handle.offset  # of the next byte that is read, which stands behind those in `_ahead`
        self._ahead = b""
        self._crc = 0
        self._key = b""
        self._entries = 0
        self._first: bytes | None = None
        self.left = 0

    def find(self, key: bytes) -> bool:
        """Go to the value of `key`; without it, to the end of the block, whose checksum is checked."""
        while self._next_entry():
            if self._key == key:
                return True
        self._check()
        return False

    def peek(self, size: int) -> bytes:
        """Return the next bytes, at most 4096, without taking them; fewer at the value's end."""
        self._look_ahead()
        return self._ahead[: min(size, self.left)]

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes of the value, which has them left."""
        self.left -= size
        return self._take(size)

    def take_into(self, buffer: np.ndarray) -> None:
        """Fill `buffer`, contiguous uint8, with the next bytes of the value, which has them left."""
        self.left -= buffer.nbytes
        held = min(len(self._ahead), buffer.nbytes)
        buffer.data[:held] = self._take(held)
        rest = buffer[held:]
        self._file.read_into(self._at, rest, "a value of the table")
        self._at += rest.nbytes
        self._crc = crc32c(rest, self._crc)

    def finish(self) -> None:
        """Go to the end of the block; raise `ChecksumError` if any of its bytes, taken or not, is not as written."""
        while self._next_entry():
            pass
        self._check()

    def _next_entry(self) -> bool:
        """Go behind the header of the next entry; False at the end of the entries."""
        while self.left:
            self.take(min(self.left, PIECE))
        self._look_ahead()
        if not self._left_in_block():
            return False
        with refusing("a block of a table is damaged", self._where, **self._facts):
            shared, at = read_varint(self._ahead, 0)
            unshared, at = read_varint(self._ahead, at)
            size, at = read_varint(self._ahead, at)
            self._entries += 1
            if self._entries > MOST_ENTRIES:
                raise Malformed(f"more than {MOST_ENTRIES} entries are in one block")
            if unshared > LONGEST_KEY or at + unshared + size > self._left_in_block():
                raise Malformed(f"an entry claims a key of {unshared} and a value of {size} bytes")
            self._take(at)
            self._key = next_key(self._key, shared, self._take(unshared), first=self._first is None)
        if self._first is None:
            self._first = self._key
        self.left = size
        return True

    def _check(self) -> None:
        end = self._handle.offset + self._handle.size
        self._take(end - self._at + len(self._ahead))
        trailer = self._file.read(end, TRAILER_SIZE, "a block of the table")
        self._table.check_crc(self._handle, crc32c(trailer[:1], self._crc), trailer[1:], **self._facts)
        self._table.check_range(self._number, self._first, self._key)

    def _left_in_block(self) -> int:
        return self._entries_end - self._at + len(self._ahead)

    def _look_ahead(self) -> None:
        if len(self._ahead) < WINDOW // 2:
            self._ahead += self._read(min(WINDOW - len(self._ahead), max(0, self._entries_end - self._at)))

    def _take(self, size: int) -> bytes:
        taken = self._ahead[:size]
        self._ahead = self._ahead[size:]
        return taken + self._read(size - len(taken)) if len(taken) < size else taken

    def _read(self, size: int) -> bytes:
        content = self._file.read(self._at, size, "a block of the table")
        self._at += size
        self._crc = crc32c(content, self._crc)
        return content
