"""Reads and writes protobuf's wire format: varints, tags, and the fields of one message.

    message  field field field …
    field    varint number << 3 | kind, then by kind
               0  varint: 7 bits a byte, lowest first; the high bit says that more follow; at most 10 bytes
               1  8 bytes, little-endian
               2  varint size, then that many bytes: text, a message, or numbers packed one after another
               5  4 bytes, little-endian
               3, 4  begin and end of a group: no message here has one, so they are refused like any unknown field

One call decodes one level and leaves nested messages as bytes, so no input can make the decoder recurse.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# In a message's table only: repeated numbers, each a varint field of its own or all packed into bytes.
NUMBERS = 8

# Ten bytes of seven bits hold the 64 bits of the longest number.
LONGEST_VARINT = 10
LARGEST_VARINT = (1 << 64) - 1

# The metadata of a V1 file has a field for each variable, and no known model has 3,000. In memory a field takes up to a
# hundred times its place in the file.
MOST_FIELDS = 100_000


class Malformed(ValueError):
    """Bytes do not follow their format; the caller, who knows file and variable, makes its own error of it."""


class Field(NamedTuple):
    """One row of a message's table: how a field is called, and how it is stored."""

    name: str
    kind: int
    repeated: bool = False


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the unsigned number at `at`, and where it ends.

    >>> read_varint(bytes([0xAC, 0x02]), 0)
    (300, 2)
    """
    value = shift = 0
    for position in range(at, min(at + LONGEST_VARINT, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > LARGEST_VARINT:
                raise Malformed("a varint is larger than 64 bits")
            return value, position + 1
        shift += 7
    raise Malformed("a varint is cut short" if at + LONGEST_VARINT > len(data) else "a varint is longer than 10 bytes")


def write_varint(value: int) -> bytes:
    """Return an unsigned number as varint; a negative one as its 64-bit two's complement, as protobuf does."""
    value &= LARGEST_VARINT
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> int:
    """Return the int32 or int64 that protobuf stored as this unsigned number."""
    return value - (1 << 64) if value >> 63 else value


def unpack_varints(data: bytes | memoryview) -> list[int]:
    """Return the unsigned numbers of a packed field."""
    values, at = [], 0
    while at < len(data):
        value, at = read_varint(data, at)
        values.append(value)
    return values


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, kind, value) of each field of a message, in stored order.

    A value is an unsigned int, or for kind `BYTES` a slice of `data` (of its type: a memoryview is not copied).
    """
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Malformed("a field has the number 0")
        if kind in (VARINT, BYTES):
            if at < end and data[at] < 0x80:
                value, at = data[at], at + 1
            else:
                value, at = read_varint(data, at)
            if kind == VARINT:
                yield number, kind, value
                continue
            size = value
        elif kind == FIXED32:
            size = 4
        elif kind == FIXED64:
            size = 8
        else:
            raise Malformed(f"field {number} has the kind {kind}, which no message here uses")
        if size > end - at:
            raise Malformed(f"field {number} claims {size} bytes where {end - at} are left")
        content = data[at : at + size]
        at += size
        yield number, kind, content if kind == BYTES else int.from_bytes(content, "little")


def decode(data: bytes | memoryview, table: Mapping[int, Field]) -> dict[str, Any]:
    """Return the fields of one message by name; repeated ones as lists; absent ones are left out.

    Refuses a field that `table` lacks, one stored as another kind, and a second value for one that is not repeated:
    no writer of TensorFlow makes them, and each is a way to hide a value from another reader.
    """
    values: dict[str, Any] = {}
    for count, (number, kind, value) in enumerate(fields(data)):
        field = table.get(number)
        if field is None:
            raise Malformed(f"unknown field {number}")
        if count == MOST_FIELDS:
            raise Malformed(f"a message has more than {MOST_FIELDS} fields")
        name, expected, repeated = field
        if expected == NUMBERS and kind in (VARINT, BYTES):
            if kind == BYTES and len(value) > MOST_FIELDS:
                raise Malformed(f"field {number} ({name}) packs {len(value)} bytes of numbers")
            values.setdefault(name, []).extend([value] if kind == VARINT else unpack_varints(value))
        elif kind != expected:
            raise Malformed(f"field {number} ({name}) is stored as kind {kind}, not {expected}")
        elif repeated:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Malformed(f"field {number} ({name}) stands twice")
        else:
            values[name] = value
    return values


def write_number(number: int, value: int) -> bytes:
    """Return a varint field; nothing for 0, which proto3 leaves out."""
    return write_varint(number << 3 | VARINT) + write_varint(value) if value else b""


def write_fixed32(number: int, value: int) -> bytes:
    """Return a fixed32 field; nothing for 0."""
    return write_varint(number << 3 | FIXED32) + value.to_bytes(4, "little") if value else b""


def write_bytes(number: int, content: bytes) -> bytes:
    """Return a field of bytes, also when they are none: an empty message is there, and says so."""
    return write_varint(number << 3 | BYTES) + write_varint(len(content)) + content
