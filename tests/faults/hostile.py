"""Hostile checkpoints with right checksums, by hand: what a bug or an enemy would write, each a row of one list.

    python hostile.py FOLDER...      reads what `build` wrote, in a process of 512 MiB; one JSON line for each folder

A case changes the entries of a sound ELECTRA, the bytes of its table, or its files. `REFUSED` cases must end in an own
error with exit code 3 or 4, the others must give the values of the sound one.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # what pytest does for the tests
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from builders import Entry, encode_metadata, encode_value, read_table, whole, write_table
from google_crc32c import value as crc32c
from mutations import MAGIC, Hang, Specimen, Values, electra_v1, electra_v2, masked, no_hang, take_converted

from electra_convert.errors import ElectraConvertError
from electra_convert.tf1.dtypes import DTYPES
from electra_convert.tf1.messages import (
    WHOLE,
    BundleEntry,
    BundleHeader,
    Version,
    decode_entry,
    decode_saved_slice,
    encode_entry,
    encode_header,
)
from electra_convert.tf1.slices import encode_key
from electra_convert.tf1.wire import write_bytes, write_number, write_varint

MEMORY = 512 << 20

KERNEL = "electra/encoder/layer_0/intermediate/dense/kernel"  # float32 [8, 32]
SIBLING = "electra/encoder/layer_1/intermediate/dense/kernel"
BIAS = "electra/encoder/layer_0/intermediate/dense/bias"
SHAPE, NBYTES = (8, 32), 1024

Entries = dict[bytes, bytes]
Case = Callable[[Path], None]


# --- a case on the entries of the index -------------------------------------------------------------------------------


def entries(change: Callable[[Entries], Mapping[bytes, bytes] | Iterable[Entry]]) -> Case:
    """Rewrite the index with other entries; every checksum is right."""

    def apply(folder: Path) -> None:
        path = folder / "model.ckpt-7.index"
        changed = change(dict(read_table(path)))
        write_table(path, sorted(changed.items()) if isinstance(changed, Mapping) else changed)

    return apply


def kernel(**changes: Any) -> Case:
    """Change the entry of the kernel."""
    return entries(lambda rows: {**rows, KERNEL.encode(): encode_entry(entry_of(rows)._replace(**changes))})


def entry_of(rows: Entries, name: str = KERNEL) -> BundleEntry:
    return decode_entry(rows[name.encode()])


def raw(change: Callable[[bytes], bytes]) -> Case:
    """Change the bytes of the kernel's entry."""
    return entries(lambda rows: {**rows, KERNEL.encode(): change(rows[KERNEL.encode()])})


def header(content: BundleHeader | bytes) -> Case:
    stored = content if isinstance(content, bytes) else encode_header(content)
    return entries(lambda rows: {**rows, b"": stored})


def moved(by: int) -> Case:
    return entries(
        lambda rows: {**rows, KERNEL.encode(): encode_entry(entry_of(rows)._replace(offset=entry_of(rows).offset + by))}
    )


def renamed(name: bytes) -> Case:
    """Give the kernel another name."""
    return entries(lambda rows: {name if key == KERNEL.encode() else key: value for key, value in rows.items()})


def added(name: bytes) -> Case:
    """Add an empty variable of this name."""
    return entries(lambda rows: {**rows, name: encode_entry(BundleEntry(1, (0,), crc=masked(0)))})


def sliced(*slices: tuple[tuple[int, int], ...], stored: Iterable[tuple[tuple[int, int], ...]] | None = None,
           **changes: Any) -> Case:  # fmt: skip
    """Make the kernel partitioned; `stored` are the slices that have an entry, `changes` those of the first."""

    def change(rows: Entries) -> Entries:
        whole_one = entry_of(rows)
        new = {**rows, KERNEL.encode(): encode_entry(BundleEntry(1, SHAPE, slices=slices))}
        offset = whole_one.offset
        for number, extents in enumerate(slices if stored is None else stored):
            shape = tuple(
                size if length == WHOLE else length for (_, length), size in zip(extents, SHAPE, strict=False)
            )
            size = 4
            for length in shape:
                size *= length
            entry = BundleEntry(1, shape, 0, offset, size, 1)
            new[encode_key(KERNEL.encode(), extents)] = encode_entry(entry._replace(**(changes if not number else {})))
            offset += size
        return new

    return entries(change)


TOP, BOTTOM = ((0, 4), (0, WHOLE)), ((4, 4), (0, WHOLE))


# --- a case on the bytes of the table ---------------------------------------------------------------------------------


def block(rows: Iterable[Entry], restarts: Iterable[int] = (0,), count: int | None = None) -> bytes:
    """Return the contents of a block whose keys are stored in full."""
    body = b"".join(b"\0" + write_varint(len(key)) + write_varint(len(value)) + key + value for key, value in rows)
    return body + ending(restarts, count)


def ending(restarts: Iterable[int] = (0,), count: int | None = None) -> bytes:
    offsets = list(restarts)
    return struct.pack(f"<{len(offsets)}I", *offsets) + struct.pack("<I", len(offsets) if count is None else count)


def stored(contents: bytes, kind: int = 0) -> bytes:
    content = contents + bytes([kind])
    return content + masked(crc32c(content)).to_bytes(4, "little")


def handle(offset: int, size: int) -> bytes:
    return write_varint(offset) + write_varint(size)


def table(
    contents: bytes | Callable[[], bytes], kind: int = 0, *, rows: int | list[Entry] = 1, footer: bytes | None = None
) -> Case:
    """Write an index of one data block with these contents; so many `rows` list it (or these), then comes a footer."""

    def apply(folder: Path) -> None:
        content = contents if isinstance(contents, bytes) else contents()
        data = stored(content, kind)
        meta = stored(block([]))
        every = (
            [(b"\xff%07d" % number, handle(0, len(content))) for number in range(rows)]
            if isinstance(rows, int)
            else rows
        )
        listed = stored(block(every))
        places = handle(len(data), len(meta) - 5) + handle(len(data) + len(meta), len(listed) - 5)
        ends = (places if footer is None else footer).ljust(40, b"\0") + MAGIC
        (folder / "model.ckpt-7.index").write_bytes(data + meta + listed + ends)

    return apply


SOUND_BLOCK = block([(b"", encode_header(BundleHeader(1, 0, Version(1)))), (b"a", encode_entry(BundleEntry(1, (0,))))])
END = len(stored(SOUND_BLOCK)) + 13


def long_keys() -> bytes:
    """65,000 keys of 100,000 bytes each, in a block of half a megabyte."""
    first = b"a" * 100_000
    rows = [b"\0" + write_varint(len(first)) + b"\0" + first]
    shared = write_varint(len(first))
    rows += [shared + b"\2\0" + number.to_bytes(2, "big") for number in range(65_000)]
    return b"".join(rows) + ending()


def short_entries(count: int) -> bytes:
    """Entries of seven bytes without values."""
    return b"".join(b"\0\4\0" + number.to_bytes(4, "big") for number in range(count)) + ending()


def zeros_in_snappy(size: int) -> bytes:
    """A literal of one zero, and copies of 64 bytes until `size` are there."""
    return write_varint(size) + b"\0\0" + b"\xfe\1\0" * ((size - 1) // 64)


# --- a case on the files ----------------------------------------------------------------------------------------------


def replaced(suffix: str, make: Callable[[Path], object]) -> Case:
    def apply(folder: Path) -> None:
        path = folder / f"model.ckpt-7{suffix}"
        path.unlink()
        make(path)

    return apply


def large(path: Path) -> None:
    with path.open("wb") as file:
        os.truncate(file.fileno(), 257 << 20)


def longer(folder: Path) -> None:
    with (folder / f"model.ckpt-7{DATA}").open("ab") as file:
        file.write(b"ab")


DATA = ".data-00000-of-00001"
CASES: dict[str, Case] = {
    "dimension -1": kernel(shape=(-1, 32)),
    "dimension -2^63": kernel(shape=(-(2**63), 32)),
    "dimension 2^62": kernel(shape=(2**62, 32)),
    "255 dimensions": kernel(shape=(1,) * 255),
    "300 dimensions": kernel(shape=(1,) * 300),
    "40 dimensions of 1": kernel(shape=(1,) * 40),
    "100,001 dimensions": kernel(shape=(1,) * 100_001),
    "dimensions 2^31 x 2^31": kernel(shape=(2**31, 2**31)),
    "dimensions 0 x 2^62": kernel(shape=(0, 2**62), size=0),
    "dimensions 0 x 32": kernel(shape=(0, 32), size=0),
    "640 MB of shape": kernel(shape=(40_000_000, 4)),
    "1 TB of shape and size": kernel(shape=(2**38,), size=2**40),
    "2^62 bytes of shape and size": kernel(shape=(2**60,), size=2**62),
    "unknown rank": raw(lambda value: value.replace(b"\x12\x08\x12\x02\x08\x08\x12\x02\x08\x20", b"\x12\x02\x18\1")),
    "size 0": kernel(size=0),
    "size negative": kernel(size=-NBYTES),
    "size 2^63 - 1": kernel(size=2**63 - 1),
    "size 4": kernel(size=4),
    "size 4 more": kernel(size=NBYTES + 4),
    "offset -1": kernel(offset=-1),
    "offset -2^63": kernel(offset=-(2**63)),
    "offset 2^63 - 1": kernel(offset=2**63 - 1),
    "offset 2^40": kernel(offset=2**40),
    "offset 1 more": moved(1),
    "offset 1 less": moved(-1),
    "offset 0": kernel(offset=0),
    "shard 1": kernel(shard=1),
    "shard -1": kernel(shard=-1),
    "shard 99999": kernel(shard=99999),
    "shard 2^31": kernel(shard=2**31),
    **{f"type {number}": kernel(dtype=number) for number in (0, 7, 20, 21, 50, 101, 1000, 2**63)},
    "type int32": kernel(dtype=3),
    "type uint32": kernel(dtype=22),
    "type quantised": kernel(dtype=13),
    "shape transposed": kernel(shape=(32, 8)),
    "shape flattened": kernel(shape=(256,)),
    "shape with a 1 more": kernel(shape=(8, 32, 1)),
    "the bytes of another": entries(lambda rows: {**rows, KERNEL.encode(): rows[SIBLING.encode()]}),
    "half the bytes of another": moved(NBYTES // 2),
    "no checksum": kernel(crc=0),
    "wrong checksum": kernel(crc=0xDEADBEEF),
    "0 data files": header(BundleHeader(0, 0, Version(1))),
    "-1 data files": header(BundleHeader(-1, 0, Version(1))),
    "2 data files": header(BundleHeader(2, 0, Version(1))),
    "99999 data files": header(BundleHeader(99_999, 0, Version(1))),
    "100000 data files": header(BundleHeader(100_000, 0, Version(1))),
    "2^31 - 1 data files": header(BundleHeader(2**31 - 1, 0, Version(1))),
    "endianness 7": header(BundleHeader(1, 7, Version(1))),
    "endianness -1": header(BundleHeader(1, -1, Version(1))),
    "readers from 99": header(BundleHeader(1, 0, Version(1, 99))),
    "readers of 1 forbidden": header(write_number(1, 1) + write_bytes(3, write_number(1, 1) + write_bytes(3, b"\1"))),
    "3,000,000 forbidden readers": header(write_number(1, 1) + write_bytes(3, write_bytes(3, b"\2" * 3_000_000))),
    "writer -1": header(BundleHeader(1, 0, Version(-1))),
    "header of garbage": header(b"\xff" * 30),
    "header missing": entries(lambda rows: {key: value for key, value in rows.items() if key}),
    "header only": entries(lambda rows: {b"": rows[b""]}),
    "no entries": entries(lambda rows: []),
    "a key twice, same value": entries(lambda rows: [*rows.items(), [*rows.items()][-1]]),
    "a key twice, other value": entries(lambda rows: [*rows.items(), ([*rows][-1], rows[KERNEL.encode()])]),
    "the header twice": entries(lambda rows: [(b"", rows[b""]), *rows.items()]),
    "keys unsorted": entries(lambda rows: [(b"", rows[b""]), *sorted(rows.items(), reverse=True)[:-1]]),
    "unknown field": raw(lambda value: value + write_number(8, 1)),
    "unknown group": raw(lambda value: value + b"\x43\x44"),
    "entry cut": raw(lambda value: value[:-2]),
    "entry empty": raw(lambda value: b""),
    "entry of garbage": raw(lambda value: b"\xff" * 40),
    "varint of 11 bytes": raw(lambda value: b"\x08" + b"\x80" * 10 + b"\1"),
    "varint of 70 bits": raw(lambda value: b"\x08" + b"\xff" * 9 + b"\x7f"),
    "10,000 groups, nested": raw(lambda value: b"\x0b" * 10_000),
    "3,000 messages, nested": raw(lambda value: b"\x12\x02" * 3_000),
    "every field twice": raw(lambda value: value * 2),
    "100,001 fields": raw(lambda value: value + write_bytes(7, b"") * 100_001),
    "slices overlap": sliced(TOP, ((3, 5), (0, WHOLE))),
    "slices leave a gap": sliced(TOP, ((5, 3), (0, WHOLE))),
    "a slice is missing": sliced(TOP, BOTTOM, stored=[TOP]),
    "a slice is listed twice": sliced(TOP, TOP, BOTTOM, stored=[TOP, BOTTOM]),
    "a slice lies outside": sliced(TOP, ((4, 5), (0, WHOLE))),
    "a slice begins at -1": sliced(TOP, ((-1, 5), (0, WHOLE)), stored=[TOP]),
    "a slice of 2^62 rows": sliced(TOP, ((4, 2**62), (0, WHOLE)), stored=[TOP]),
    "a slice of another rank": sliced(TOP, ((4, 4),)),
    "a slice of another type": sliced(TOP, BOTTOM, dtype=3),
    "a slice of another shape": sliced(TOP, BOTTOM, shape=(2, 64)),
    "a slice of slices": sliced(TOP, BOTTOM, slices=(TOP,), offset=0, size=0, crc=0),
    "slices that nobody owns": entries(
        lambda rows: {**rows, encode_key(b"x", TOP): encode_entry(BundleEntry(1, (0,)))}
    ),
    "5,000 slices": sliced(*(((0, 0), (0, 0)),) * 5_000, stored=[]),
    **{
        f"a name {what}": added(name)
        for what, name in {
            "that climbs out": b"../../x",
            "of a system file": b"/etc/passwd",
            "with a newline": b"electra/a\nb",
            "with escapes": b"\x1b[31m\x1b]0;title\x07",
            "with a NUL": b"electra/a\0b",
            "from right to left": "electra/\u202eb".encode(),
            "of 10,000 characters": b"x" * 10_000,
            "of 64 KB": b"x" * 65_536,
            "that is not UTF-8": b"electra/\xff\xfe",
        }.items()
    },
    "a known name with a letter changed": renamed(KERNEL.replace("dense", "dense_").encode()),
    "footer: index of 2^63 bytes": table(SOUND_BLOCK, footer=handle(END - 13, 8) + handle(END, 2**63)),
    "footer: index of 2^36 bytes": table(SOUND_BLOCK, footer=handle(END - 13, 8) + handle(END, 2**36)),
    "footer: index of 2^64 - 6 bytes": table(SOUND_BLOCK, footer=handle(END - 13, 8) + handle(END, 2**64 - 6)),
    "footer: index at 2^63": table(SOUND_BLOCK, footer=handle(END - 13, 8) + handle(2**63, 20)),
    "footer: index is the data block": table(SOUND_BLOCK, footer=handle(END - 13, 8) + handle(0, len(SOUND_BLOCK))),
    "footer: metaindex is the index": table(SOUND_BLOCK, footer=handle(END, 20) + handle(END, 20)),
    "footer: zeros": table(SOUND_BLOCK, footer=b""),
    "footer: endless varints": table(SOUND_BLOCK, footer=b"\xff" * 40),
    "a block listed 100,000 times": table(SOUND_BLOCK, rows=100_000),
    "a block listed 2,000,000 times": table(SOUND_BLOCK, rows=2_000_000),
    "no block listed": table(SOUND_BLOCK, rows=[]),
    "a handle cut": table(SOUND_BLOCK, rows=[(b"z", b"\0")]),
    "block type 2": table(SOUND_BLOCK, kind=2),
    "block type 255": table(SOUND_BLOCK, kind=255),
    "Snappy: declares 4 GB": table(write_varint(4 << 30) + b"\0\0", kind=1),
    "Snappy: declares 2^64": table(b"\xff" * 9 + b"\1" + b"\0\0", kind=1),
    "Snappy: 192 MB of copies": table(lambda: zeros_in_snappy(192 << 20), kind=1),
    "Snappy: 16 MB of copies": table(lambda: zeros_in_snappy(16 << 20), kind=1),
    "Snappy: garbage": table(b"\x10" + b"\xf3" * 40, kind=1),
    "Snappy: a copy before the beginning": table(b"\x40\0a\xfe\xff\xff", kind=1),
    "Snappy: a copy of distance 0": table(b"\x40\0a\xfe\0\0", kind=1),
    "a block too small for one": table(b"\0\0"),
    "2^32 - 1 restarts": table(SOUND_BLOCK[:-4] + b"\xff" * 4),
    "no restart": table(SOUND_BLOCK[:-8] + bytes(4)),
    "a restart outside": table(block([(b"", b"")], restarts=(2**31,))),
    "a key that shares 2^40 bytes": table(write_varint(2**40) + b"\1\0a" + ending()),
    "a key of 2^40 bytes": table(b"\0" + write_varint(2**40) + b"\0a" + ending()),
    "a value of 2^40 bytes": table(b"\0\1" + write_varint(2**40) + b"a" + ending()),
    "6 GB of keys in half a megabyte": table(long_keys),
    "2,000,000 entries without values": table(lambda: short_entries(2_000_000)),
    "the index is a FIFO": replaced(".index", os.mkfifo),
    "the data is a FIFO": replaced(DATA, os.mkfifo),
    "the index is /dev/zero": replaced(".index", lambda path: path.symlink_to("/dev/zero")),
    "the data is /dev/zero": replaced(DATA, lambda path: path.symlink_to("/dev/zero")),
    "the index is a folder": replaced(".index", Path.mkdir),
    "the data is a folder": replaced(DATA, Path.mkdir),
    "the index is a link to itself": replaced(".index", lambda path: path.symlink_to(path.name)),
    "the data is a link to itself": replaced(DATA, lambda path: path.symlink_to(path.name)),
    "the data leads nowhere": replaced(DATA, lambda path: path.symlink_to("nowhere")),
    "the index has 257 MB of zeros": replaced(".index", large),
}
"""Each must be refused."""

HARMLESS: dict[str, Case] = {
    "writer 99": header(BundleHeader(1, 0, Version(99))),
    "no version": header(write_number(1, 1)),
    "the data has bytes behind it": longer,
    "an empty variable among the slots": added(b"electra/embeddings/word_embeddings/adam_m"),
}
"""Each must give the values of the sound one."""


# --- V1 ---------------------------------------------------------------------------------------------------------------


def v1(change: Callable[[Entries], Mapping[bytes, bytes] | Iterable[Entry]]) -> Case:
    def apply(folder: Path) -> None:
        path = folder / "model.ckpt-7"
        changed = change(dict(read_table(path)))
        write_table(path, sorted(changed.items()) if isinstance(changed, Mapping) else changed, 1024)

    return apply


KEY = encode_key(KERNEL.encode(), whole(SHAPE))


def metadata(rows: Entries, **changes: Any) -> bytes:
    """Return the metadata, with another row for the kernel."""
    from electra_convert.tf1.messages import decode_saved_metadata

    tensors, _ = decode_saved_metadata(rows[b""])
    listed = []
    for tensor in tensors:
        row = {
            "name": tensor.name.decode(),
            "dtype": DTYPES[tensor.dtype],
            "shape": tensor.shape,
            "slices": tensor.slices,
        }
        listed.append({**row, **changes} if row["name"] == KERNEL else row)
    return encode_metadata([tuple(row.values()) for row in listed])


def about(**changes: Any) -> Case:
    return v1(lambda rows: {**rows, b"": metadata(rows, **changes)})


def valued(change: Callable[[bytes], bytes | None]) -> Case:
    """Change the TensorProto of the kernel; None takes its entry away."""

    def with_value(rows: Entries) -> Entries:
        saved = decode_saved_slice(rows[KEY])
        values = change(saved.data)
        rest = {key: value for key, value in rows.items() if key != KEY}
        return rest if values is None else {**rest, KEY: wrap(values)}

    return v1(with_value)


def wrap(values: bytes, name: str = KERNEL) -> bytes:
    extents = write_bytes(2, write_bytes(1, b"") * 2)
    return write_bytes(2, write_bytes(1, name.encode()) + extents + write_bytes(3, values))


def as_v1(case: Case) -> Case:
    """Make a V1 file of what a case writes as index."""

    def apply(folder: Path) -> None:
        case(folder)
        (folder / "model.ckpt-7.index").replace(folder / "model.ckpt-7")

    return apply


def _number(number: int) -> Any:
    return type("Other", (), {"number": number})


V1_CASES: dict[str, Case] = {
    "no value": valued(lambda values: None),
    "too few values": valued(lambda values: write_bytes(5, values[3:-4])),
    "too many values": valued(lambda values: write_bytes(5, values[3:] + bytes(4))),
    "part of a value too many": valued(lambda values: write_bytes(5, values[3:] + b"\0")),
    "no values": valued(lambda values: b""),
    "the field of another type": valued(lambda values: write_bytes(6, values[3:])),
    "tensor_content": valued(lambda values: write_bytes(4, values[3:])),
    "half the values in another field": valued(
        lambda values: write_bytes(5, values[3:515]) + write_bytes(6, values[515:])
    ),
    "values of garbage": valued(lambda values: b"\xff" * 100),
    "100,000 empty runs and no values": valued(lambda values: write_bytes(5, b"") * 100_000),
    "another name in the value": v1(lambda rows: {**rows, KEY: wrap(decode_saved_slice(rows[KEY]).data, SIBLING)}),
    "another slice in the value": v1(
        lambda rows: {**rows, KEY: encode_value(KERNEL, TOP, __import__("numpy").zeros((4, 32), "f4"))}
    ),
    "a value that is metadata": v1(lambda rows: {**rows, KEY: rows[b""]}),
    "metadata that is a value": v1(lambda rows: {**rows, b"": rows[KEY]}),
    "no metadata": v1(lambda rows: {key: value for key, value in rows.items() if key}),
    "no variables": v1(lambda rows: {b"": encode_metadata([])}),
    "metadata of garbage": v1(lambda rows: {**rows, b"": b"\xff" * 100}),
    "metadata with an unknown field": v1(lambda rows: {**rows, b"": rows[b""] + write_number(9, 1)}),
    "3,000,000 variables without names": v1(lambda rows: {b"": write_bytes(1, write_bytes(1, b"") * 3_000_000)}),
    "dimension 2^62": about(shape=(2**62, 4)),
    "dimension -1": about(shape=(-1, 32)),
    "300 dimensions": about(shape=(1,) * 300),
    "a larger shape": about(shape=(16, 32)),
    "a smaller shape": about(shape=(4, 32)),
    "another shape of as many values": about(shape=(32, 8)),
    "640 MB of shape": about(shape=(40_000_000, 4)),
    "60 MB of shape": about(shape=(500_000, 32)),
    **{f"type {number}": about(dtype=_number(number)) for number in (0, 7, 14, 20, 99, 101, 2**63)},
    "type int32": about(dtype=DTYPES[3]),
    "type float64": about(dtype=DTYPES[2]),
    "type float16": about(dtype=DTYPES[19]),
    "no slices": about(slices=[]),
    "a slice twice": about(slices=[whole(SHAPE)] * 2),
    "a part of the whole": about(slices=[TOP]),
    "a slice outside": about(slices=[TOP, ((4, 5), (0, WHOLE))]),
    "a slice of another rank": about(slices=[((0, WHOLE),)]),
    "5,000 slices": about(slices=[((0, 0), (0, 0))] * 5_000),
    "a name that climbs out": about(name="../../x"),
    "a name of 10,000 characters": about(name="x" * 10_000),
    "a name with a newline and an escape": about(name="electra/\n\x1b[31m"),
    "the value under another key": v1(
        lambda rows: {(key + b"\0" if key == KEY else key): value for key, value in rows.items()}
    ),
    "a key twice": v1(lambda rows: [*rows.items(), [*rows.items()][-1]]),
    "6 GB of keys": as_v1(table(long_keys)),
    "Snappy: 1 GB of copies": as_v1(table(lambda: zeros_in_snappy(1 << 30), kind=1)),
    "it is a FIFO": replaced("", os.mkfifo),
    "it is /dev/zero": replaced("", lambda path: path.symlink_to("/dev/zero")),
    "it is a folder": replaced("", Path.mkdir),
}

V1_HARMLESS: dict[str, Case] = {
    "unpacked values": valued(
        lambda values: b"".join(b"\x2d" + values[at : at + 4] for at in range(3, len(values), 4))
    ),
    "values in two runs": valued(lambda values: write_bytes(5, values[3:515]) + write_bytes(5, values[515:])),
}


LISTS: dict[str, tuple[Callable[[Path], Specimen], Mapping[str, Case], Mapping[str, Case]]] = {
    "V2": (electra_v2, CASES, HARMLESS),
    "V1": (electra_v1, V1_CASES, V1_HARMLESS),
}


# --- running them -----------------------------------------------------------------------------------------------------


def build(folder: Path, which: str) -> dict[str, tuple[str, Path]]:
    """Write every case of a list into a folder of its own; return the expected outcome and the folder of each."""
    make, hostile, harmless = LISTS[which]
    specimen = make(folder / "sound")
    built: dict[str, tuple[str, Path]] = {"the sound one": ("identical", folder / "sound")}
    for expected, cases in (("refused", hostile), ("identical", harmless)):
        for name, case in cases.items():
            place = folder / str(len(built))
            specimen.write(place)
            case(place)
            built[name] = (expected, place)
    return built


def read_in_little_memory(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Read cases of `build`, the sound one first, in a process of 512 MiB; return a document for each, then a peak."""
    # Threads of BLAS reserve memory that nobody uses here.
    done = subprocess.run(
        [sys.executable, __file__, *map(str, folders)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        lines.append(
            {"outcome": f"the process died with {done.returncode}", "text": done.stderr[-2000:], "seconds": 0.0}
        )
    return lines


def main(folders: list[Path]) -> None:
    """Print a JSON line for each folder, and a last one with the peak memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    expected, _ = take_converted(folders[0] / "model.ckpt-7")
    for folder in folders:
        print(json.dumps(outcome(expected, folder)), flush=True)
    print(json.dumps({"peak": peak_memory()}))


def peak_memory() -> int:
    """Return the peak of this process in bytes; 0 where the system does not tell.

    `getrusage` counts what the parent had in memory before the program was loaded.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def outcome(expected: Values, folder: Path) -> dict[str, Any]:
    """Say what the reader made of a case: refused, identical, other values, or what it died of."""
    started = time.perf_counter()
    result: dict[str, Any]
    try:
        with no_hang():
            values, warned = take_converted(folder / "model.ckpt-7")
        result = {"outcome": "identical" if values == expected else "other values", "warned": sorted(warned)}
    except ElectraConvertError as error:
        kind = "refused" if error.exit_code in (3, 4) else f"exit code {error.exit_code}"
        result = {"outcome": kind, "text": str(error), "error": error.to_json()}
    except (Exception, Hang) as error:
        result = {"outcome": type(error).__name__, "text": str(error)}
    return {**result, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
