"""Slices of partitioned variables: the keys they stand under, and the proof that they tile the whole exactly once.

    key        00 · name · rank · (start · length) for each dimension
    name       bytes, 00 as 00 ff and ff as ff 00, then 00 01
    rank       one byte that counts bytes, then the number big-endian without leading zeros
    start …    signed: -64 to 63 in one byte, 80 xor it; n bytes hold 7 n - 1 bits: two's complement, big-endian,
               its upper bits inverted by a header of n one-bits, so that the order of keys is the order of numbers
    length     the same; -1 means the whole dimension

tensorflow/core/lib/strings/ordered_code.cc, core/util/saved_tensor_slice_util.cc (EncodeTensorNameSlice).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from electra_convert.errors import SliceError
from electra_convert.tf1.messages import WHOLE, Extents, Shape
from electra_convert.tf1.wire import Malformed
from electra_convert.wording import some

Box = tuple[tuple[int, int], ...]
"""(start, stop) for each dimension: a slice with `WHOLE` resolved."""

# Far above what any partitioner makes.
MOST_SLICES = 4096

# The search for overlaps compares slices that lie side by side. A grid of 64 by 64 takes a quarter of this; slices made
# to lie all beside each other would take ten seconds.
MOST_COMPARED = 1 << 19

_ESCAPES = {b"\x00": b"\x00\xff", b"\xff": b"\xff\x00"}


def is_slice_key(key: bytes) -> bool:
    """Return whether a key is that of a slice; a name cannot begin with this byte."""
    return key.startswith(b"\0")


def encode_key(name: bytes, extents: Extents) -> bytes:
    """Return the key under which the slice of a variable stands.

    >>> encode_key(b"emb", ((4, 3), (0, WHOLE))).hex(" ")
    '00 65 6d 62 00 01 01 02 84 83 80 7f'
    """
    escaped = re.sub(rb"[\x00\xff]", lambda byte: _ESCAPES[byte[0]], name)
    return b"\0" + escaped + b"\0\1" + _unsigned(len(extents)) + b"".join(_signed(n) for pair in extents for n in pair)


def _unsigned(value: int) -> bytes:
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(content)]) + content


def _signed(value: int) -> bytes:
    size = 1
    while not -(1 << (7 * size - 1)) <= value < 1 << (7 * size - 1):
        size += 1
    header = ((1 << size) - 1) << (7 * size)
    return ((value ^ header) & ((1 << 8 * size) - 1)).to_bytes(size, "big")


def resolve(extents: Extents, shape: Shape, name: str, where: str) -> Box:
    """Return the slice as starts and stops; refuse one of another rank, or one that leaves the variable."""
    box = tuple(
        (0, size) if length == WHOLE else (start, start + length)
        for (start, length), size in zip(extents, shape, strict=False)
    )
    if len(extents) != len(shape) or any(stop > size for (_, stop), size in zip(box, shape, strict=True)):
        raise SliceError(
            "a slice does not lie within its variable",
            where=where,
            variable=f"{name} {list(shape)}",
            found=show(box) if len(extents) == len(shape) else f"{len(extents)} dimensions",
            expected=f"within {list(shape)}",
        )
    return box


def shape_of(box: Box) -> Shape:
    """Return the shape of a slice."""
    return tuple(stop - start for start, stop in box)


def show(box: Box) -> str:
    """Return a slice as people write it.

    >>> show(((0, 43), (0, 16)))
    '[0:43, 0:16]'
    """
    return "[" + ", ".join(f"{start}:{stop}" for start, stop in box) + "]"


def check_tiling(boxes: Sequence[Box], shape: Shape, name: str, where: str) -> None:
    """Refuse slices that overlap, or that leave a gap: together they must hold each element once."""
    facts = {"where": where, "variable": f"{name} {list(shape)}"}
    if len(boxes) > MOST_SLICES:
        raise SliceError("a variable has too many slices", found=f"{len(boxes)}", expected=f"≤ {MOST_SLICES}", **facts)
    try:
        clash = _find_overlap(boxes)
    except Malformed as error:
        raise SliceError("slices of a variable are no grid", found=str(error), **facts) from error
    if clash is not None:
        raise SliceError(
            "slices of a variable overlap", found=list(map(show, clash)), expected="each element once", **facts
        )
    # Without overlaps, as many elements as the whole has are the whole.
    held = sum(prod(shape_of(box)) for box in boxes)
    if held != prod(shape):
        raise SliceError(
            "slices of a variable leave a gap",
            found=[f"{held} of {prod(shape)} elements", *some(list(map(show, sorted(boxes))), 8)],
            expected=f"slices that cover {list(shape)}",
            hint="a file of the checkpoint is missing, or belongs to another checkpoint",
            **facts,
        )


def _find_overlap(boxes: Sequence[Box]) -> tuple[Box, Box] | None:
    """Sweep along the axis that separates most boxes; only those still open there can overlap the next one."""
    solid = [box for box in boxes if all(start < stop for start, stop in box)]
    rank = len(solid[0]) if solid else 0
    axis = max(range(rank), key=lambda number: len({box[number][0] for box in solid}), default=None)
    if axis is None:
        return (solid[0], solid[1]) if len(solid) > 1 else None
    still_open: list[Box] = []
    compared = 0
    for box in sorted(solid, key=lambda box: box[axis]):
        still_open = [other for other in still_open if other[axis][1] > box[axis][0]]
        compared += len(still_open)
        if compared > MOST_COMPARED:
            raise Malformed(f"{len(boxes)} slices, of which too many lie side by side")
        for other in still_open:
            if all(a < d and c < b for (a, b), (c, d) in zip(box, other, strict=True)):
                return other, box
        still_open.append(box)
    return None
