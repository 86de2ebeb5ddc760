"""Decompresses a raw Snappy block, the compression of some checkpoint indexes.

    block    varint decompressed size, then elements
    element  tag byte, whose low two bits are the kind
               00 literal   size - 1 in the upper six bits; 60 to 63: in the 1 to 4 bytes that follow; then the bytes
               01 copy      size - 4 in bits 2 to 4; offset of 11 bits: bits 5 to 7, then one byte
               10 copy      size - 1 in the upper six bits; offset of 2 bytes
               11 copy      the same; offset of 4 bytes

A copy repeats what stands `offset` bytes before the end of the output, and may run into what it writes itself.
https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

from electra_convert.tf1.wire import Malformed, read_varint

# A literal's size of up to 60 stands in its tag.
LONGEST_SHORT_LITERAL = 60


def decompress(data: bytes, most: int) -> bytes:
    """Return the decompressed bytes; refuse a block that declares more than `most` before anything is allocated."""
    declared, at = read_varint(data, 0)
    if declared > most:
        raise Malformed(f"a Snappy block declares {declared} bytes, more than {most}")
    out = bytearray()
    end = len(data)
    while at < end:
        tag = data[at]
        at += 1
        kind, size = tag & 3, (tag >> 2) + 1
        if kind == 0:
            if size > LONGEST_SHORT_LITERAL:
                extra = size - LONGEST_SHORT_LITERAL
                size = _number(data, at, extra) + 1
                at += extra
            if size > end - at:
                raise Malformed("a Snappy literal runs past the block's end")
            if size > declared - len(out):
                raise Malformed(f"a Snappy block holds more than the {declared} bytes it declares")
            out += data[at : at + size]
            at += size
            continue
        if kind == 1:
            size = (tag >> 2 & 7) + 4
            offset = (tag >> 5) << 8 | _number(data, at, 1)
            at += 1
        else:
            width = 2 if kind == 2 else 4
            offset = _number(data, at, width)
            at += width
        if not 0 < offset <= len(out):
            raise Malformed("a Snappy copy begins before the output")
        if size > declared - len(out):
            raise Malformed(f"a Snappy block holds more than the {declared} bytes it declares")
        begin = len(out) - offset
        # A copy that overtakes its own beginning repeats the `offset` bytes that are there.
        repeats = -(-size // offset)
        out += (out[begin:] * repeats)[:size] if repeats > 1 else out[begin : begin + size]
    if len(out) != declared:
        raise Malformed(f"a Snappy block holds {len(out)} bytes and declares {declared}")
    return bytes(out)


def _number(data: bytes, at: int, width: int) -> int:
    if width > len(data) - at:
        raise Malformed("a Snappy element is cut short")
    return int.from_bytes(data[at : at + width], "little")
