"""One block of an SSTable: entries whose keys share their beginnings, and where full keys stand.

    contents  entry entry … · restart offsets, 4 bytes each · their number, 4 bytes
    entry     varint shared · varint unshared · varint value size · the unshared end of the key · value
              key = the first `shared` bytes of the key before it, then the unshared ones

At a restart `shared` is 0. Data blocks restart every 16 entries, index blocks at each.
LevelDB's doc/table_format.md; tensorflow/tsl/lib/io/{block,block_builder}.cc.
"""

from __future__ import annotations

import struct

from electra_convert.tf1.wire import Malformed, read_varint, write_varint

# block_restart_interval of tensorflow/tsl/lib/io/table_options.h.
RESTART_INTERVAL = 16

WORD = 4

# A key is stored without what it shares with the one before, so a block of a megabyte could hold gigabytes of keys.
# An index block of a large model with its optimizer has 2,353 entries with 141 KB of keys.
MOST_ENTRIES = 100_000
MOST_KEY_BYTES = 16 << 20

Entry = tuple[bytes, bytes]


def entries_end(size: int, restart_count: int) -> int:
    """Return where the entries of a block of `size` bytes end; refuse a count that the block cannot hold."""
    end = size - WORD - WORD * restart_count
    if restart_count < 1 or end < 0:
        raise Malformed(f"a block of {size} bytes claims {restart_count} restart offsets")
    return end


def decode_block(contents: bytes) -> list[Entry]:
    """Return the entries of a block; refuse keys that do not increase, too many of them, and false restarts."""
    if len(contents) < 2 * WORD:
        raise Malformed(f"a block has {len(contents)} bytes, fewer than an empty one")
    count = int.from_bytes(contents[-WORD:], "little")
    end = entries_end(len(contents), count)
    restarts = iter(struct.unpack(f"<{count}I", contents[end:-WORD]))
    restart = next(restarts)
    entries: list[Entry] = []
    key, at = b"", 0
    key_bytes = 0
    while at < end:
        begin = at
        if len(entries) == MOST_ENTRIES or key_bytes > MOST_KEY_BYTES:
            raise Malformed(f"more than {len(entries)} entries with {key_bytes} bytes of keys are in one block")
        # The restarts and their count follow, so three bytes are there even behind the last entry.
        shared, unshared, size = contents[at], contents[at + 1], contents[at + 2]
        if shared < 0x80 and unshared < 0x80 and size < 0x80:
            at += 3
        else:
            shared, at = read_varint(contents, at)
            unshared, at = read_varint(contents, at)
            size, at = read_varint(contents, at)
        if begin == restart:
            if shared:
                raise Malformed(f"the entry at {begin} stands at a restart, and shares a key's beginning")
            restart = next(restarts, -1)
        key = next_key(key, shared, contents[at : at + unshared], first=not entries)
        key_bytes += len(key)
        at += unshared
        if size > end - at:
            raise Malformed(f"the entry at {begin} claims {size} bytes where {end - at} are left")
        entries.append((key, contents[at : at + size]))
        at += size
    if restart != -1 and (entries or restart or count > 1):
        raise Malformed(f"the restart offset {restart} is no entry's")
    return entries


def next_key(key: bytes, shared: int, rest: bytes, *, first: bool) -> bytes:
    """Return the key that follows `key`; refuse one that is not larger."""
    if shared > len(key):
        raise Malformed(f"a key shares {shared} bytes with one of {len(key)}")
    following = key[:shared] + rest
    if following <= key and not first:
        raise Malformed("the keys are not in increasing order")
    return following


class BlockWriter:
    """Collects entries, in increasing order of their keys, into the contents of one block."""

    def __init__(self, restart_interval: int = RESTART_INTERVAL) -> None:
        self._interval = restart_interval
        self._out = bytearray()
        self._restarts = [0]
        self._key = b""
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    @property
    def size(self) -> int:
        """How many bytes `encode` would return."""
        return len(self._out) + WORD * (len(self._restarts) + 1)

    def add(self, key: bytes, value: bytes) -> None:
        """Add an entry."""
        shared = 0
        if self._count % self._interval:
            limit = min(len(key), len(self._key))
            shared = next((at for at in range(limit) if key[at] != self._key[at]), limit)
        elif self._count:
            self._restarts.append(len(self._out))
        self._out += write_varint(shared) + write_varint(len(key) - shared) + write_varint(len(value))
        self._out += key[shared:] + value
        self._key = key
        self._count += 1

    def encode(self) -> bytes:
        """Return the contents of the block."""
        return bytes(self._out) + struct.pack(f"<{len(self._restarts) + 1}I", *self._restarts, len(self._restarts))
