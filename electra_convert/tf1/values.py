"""The values of a V1 checkpoint: a TensorProto of which one value field is set, and nothing else.

    type           field of TensorProto            how
    float32        5 float_val                     packed, little-endian: the raw bytes
    float64        6 double_val                    the same
    complex        9 scomplex_val, 12 dcomplex_val the same, real and imaginary parts in turn
    int8 … int32   7 int_val                       packed varints, negative ones of 10 bytes
    int64          10 int64_val                    the same
    bool           11 bool_val                     packed varints, 0 or 1
    float16        13 half_val                     packed varints of the sixteen bits

TensorFlow writes one packed run; protobuf allows several, and unpacked fields, which are read too. There are always as
many values as the slice has elements (tensorflow/core/framework/tensor.proto, core/util/tensor_slice_writer.h).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from electra_convert.tf1.buffers import swap
from electra_convert.tf1.dtypes import DType
from electra_convert.tf1.messages import Extents, encode_slice
from electra_convert.tf1.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    LONGEST_VARINT,
    VARINT,
    Malformed,
    fields,
    read_varint,
    signed,
    write_bytes,
    write_varint,
)

if TYPE_CHECKING:
    import numpy as np


class Storage(NamedTuple):
    """Where the values of a type stand, as what kind of field if unpacked, and the array that holds numbers' bits."""

    field: int
    kind: int
    bits: str = ""


STORAGE = {
    "float32": Storage(5, FIXED32),
    "float64": Storage(6, FIXED64),
    "complex64": Storage(9, FIXED32),
    "complex128": Storage(12, FIXED64),
    "int64": Storage(10, VARINT, "int64"),
    "bool": Storage(11, VARINT, "uint8"),
    "float16": Storage(13, VARINT, "uint16"),
    **{name: Storage(7, VARINT, name) for name in ("int32", "uint8", "int16", "int8", "uint16")},
    **{f"q{name}": Storage(7, VARINT, name) for name in ("int32", "int8")},
    "quint8": Storage(7, VARINT, "uint8"),
}

# Bytes of them; decoding takes about forty times as many.
VARINTS_AT_ONCE = 1 << 18

_WIDTH = {FIXED32: 4, FIXED64: 8}


def raw_head(name: bytes, extents: Extents, dtype: DType, nbytes: int) -> bytes | None:
    """Return what TensorFlow writes before the raw values of a slice, from which they reach to the end of the entry.

    None for a type whose values are not stored as they are.
    """
    storage = STORAGE[dtype.name]
    if storage.kind == VARINT or not nbytes:
        return None
    run = _begin(storage.field, nbytes)
    about = write_bytes(1, name) + write_bytes(2, encode_slice(extents)) + _begin(3, len(run) + nbytes)
    return _begin(2, len(about) + len(run) + nbytes) + about + run


def _begin(field: int, size: int) -> bytes:
    return write_varint(field << 3 | BYTES) + write_varint(size)


def decode_values(data: bytes, dtype: DType, count: int) -> np.ndarray:
    """Return the values of a TensorProto as the uint8 bytes of a native array; refuse any other number of them."""
    import numpy as np

    storage = STORAGE[dtype.name]
    packed = np.frombuffer(_pack(data, storage), np.uint8)
    if storage.kind == VARINT:
        return _unpack(packed, storage, count)
    if packed.size != count * dtype.size:
        raise Malformed(f"it holds {packed.size / dtype.size:g} values, expected {count}")
    if sys.byteorder == "big":
        packed = packed.copy()
        swap(packed, dtype)
    return packed


def decode_integer(data: bytes, dtype: DType) -> int:
    """Return the value of an integer scalar, without NumPy."""
    packed = bytes(_pack(data, STORAGE[dtype.name]))
    if not packed:
        raise Malformed("it holds 0 values, expected 1")
    number, end = read_varint(packed, 0)
    if end != len(packed):
        raise Malformed("it holds several values, expected 1")
    return signed(number)


def _pack(data: bytes, storage: Storage) -> bytearray:
    """Return all values in packed form, whichever way they are stored."""
    packed = bytearray()
    for field, kind, value in fields(data):
        if field != storage.field or kind not in (BYTES, storage.kind):
            raise Malformed(f"it holds field {field} of kind {kind}, expected values in field {storage.field}")
        if kind == BYTES:
            packed += value
        else:
            packed += write_varint(value) if kind == VARINT else value.to_bytes(_WIDTH[kind], "little")
    return packed


def _unpack(packed: np.ndarray, storage: Storage, count: int) -> np.ndarray:
    """Decode varints many at once: a float16 embedding has millions of them."""
    import numpy as np

    found = int(np.count_nonzero(packed < 0x80))
    if found != count or (packed.size and packed[-1] >= 0x80):
        raise Malformed(f"it holds {found} values, expected {count}")
    values: np.ndarray = np.empty(count, storage.bits)
    at = done = 0
    while done < count:
        piece = packed[at : at + VARINTS_AT_ONCE]
        ends = np.flatnonzero(piece < 0x80) + 1
        wide = _join_sevens(piece, ends)
        narrow = values[done : done + ends.size]
        narrow[...] = wide.astype(storage.bits)
        if (narrow != wide).any() or (storage == STORAGE["bool"] and narrow.max(initial=0) > 1):
            raise Malformed("a value does not fit its type")
        done += ends.size
        at += int(ends[-1])
    return values.view(np.uint8)


def _join_sevens(piece: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the signed numbers of varints that end before `ends`."""
    import numpy as np

    sizes = np.diff(ends, prepend=0)
    begins = ends - sizes
    # Without any end, one varint is longer than the piece.
    longest = int(sizes.max()) if sizes.size else piece.size
    if longest > LONGEST_VARINT:
        raise Malformed("a varint is longer than 10 bytes")
    numbers = np.zeros(ends.size, np.uint64)
    for place in range(longest):
        has = sizes > place
        numbers[has] |= (piece[begins[has] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
    return numbers.view(np.int64)
