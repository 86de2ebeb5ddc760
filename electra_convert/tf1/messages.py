"""The protobuf messages of a checkpoint: one table of fields each, `decode_…` beside `encode_…`.

    index (V2)   "" → BundleHeader, name → BundleEntry             tensorflow/core/protobuf/tensor_bundle.proto
    V1 file      "" → SavedTensorSlices.meta, slice key → .data    tensorflow/core/util/saved_tensor_slice.proto
    both         TensorShape, TensorSlice, Version                 tensorflow/core/framework/*.proto

Everything raises `Malformed`; whoever knows the file and the variable says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from electra_convert.tf1.wire import (
    BYTES,
    FIXED32,
    NUMBERS,
    VARINT,
    Field,
    Malformed,
    decode,
    signed,
    write_bytes,
    write_fixed32,
    write_number,
)

Shape = tuple[int, ...]

Extents = tuple[tuple[int, int], ...]
"""(start, length) for each dimension of a slice; the length is `WHOLE` where the slice has the whole dimension."""

WHOLE = -1

# What the readers of TensorFlow 1.x and 2.x call themselves (kTensorBundleVersion, TF_CHECKPOINT_VERSION).
OUR_VERSION = 1

# No variable of a known model has more than five dimensions; NumPy 1 stops at 32.
MOST_DIMENSIONS = 8

# More elements than a file of 2^63 bytes can hold.
MOST_ELEMENTS = 1 << 63

_VERSION = {1: Field("producer", VARINT), 2: Field("min_consumer", VARINT), 3: Field("bad_consumers", NUMBERS)}
_HEADER = {1: Field("shards", VARINT), 2: Field("endianness", VARINT), 3: Field("version", BYTES)}
_ENTRY = {
    1: Field("dtype", VARINT),
    2: Field("shape", BYTES),
    3: Field("shard", VARINT),
    4: Field("offset", VARINT),
    5: Field("size", VARINT),
    6: Field("crc", FIXED32),
    7: Field("slices", BYTES, repeated=True),
}
_SHAPE = {2: Field("dims", BYTES, repeated=True), 3: Field("unknown_rank", VARINT)}
_DIMENSION = {1: Field("size", VARINT), 2: Field("name", BYTES)}
_SLICE = {1: Field("extents", BYTES, repeated=True)}
_EXTENT = {1: Field("start", VARINT), 2: Field("length", VARINT)}
_SAVED = {1: Field("meta", BYTES), 2: Field("data", BYTES)}
_SAVED_META = {1: Field("tensors", BYTES, repeated=True), 2: Field("version", BYTES)}
_SAVED_TENSOR = {
    1: Field("name", BYTES),
    2: Field("shape", BYTES),
    3: Field("dtype", VARINT),
    4: Field("slices", BYTES, repeated=True),
}
_SAVED_SLICE = {1: Field("name", BYTES), 2: Field("slice", BYTES), 3: Field("data", BYTES)}


class Version(NamedTuple):
    """What wrote a file, and which readers may read it."""

    producer: int = 0
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()


class BundleHeader(NamedTuple):
    """The entry of the empty key: what holds for the whole bundle. `endianness` is 0 little or 1 big."""

    shards: int = 0
    endianness: int = 0
    version: Version = Version()


class BundleEntry(NamedTuple):
    """Where one tensor stands: `size` bytes from `offset` of data file `shard`; `crc` is masked.

    With `slices` the bytes stand elsewhere, each slice under its own key.
    """

    dtype: int = 0
    shape: Shape = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    slices: tuple[Extents, ...] = ()


class SavedTensor(NamedTuple):
    """A variable in the metadata of a V1 file: its full shape, and the slices that this file holds."""

    name: bytes
    shape: Shape
    dtype: int
    slices: tuple[Extents, ...]


class SavedSlice(NamedTuple):
    """One value of a V1 file; `data` is a TensorProto of which only a value field is set."""

    name: bytes
    extents: Extents
    data: bytes


def decode_version(data: bytes) -> Version:
    """Return a VersionDef."""
    get = decode(data, _VERSION).get
    bad = tuple(map(signed, get("bad_consumers", ())))
    return Version(signed(get("producer", 0)), signed(get("min_consumer", 0)), bad)


def check_version(version: Version) -> None:
    """Refuse a file that says it needs a newer reader, by the rule of tensorflow/core/framework/versions.cc."""
    if version.producer < 0:
        raise Malformed(f"its version is {version.producer}")
    if version.min_consumer > OUR_VERSION:
        raise Malformed(f"it needs a reader of version {version.min_consumer} or later; this is version {OUR_VERSION}")
    if OUR_VERSION in version.bad_consumers:
        raise Malformed(f"it forbids readers of version {OUR_VERSION}")


def encode_version(version: Version) -> bytes:
    """Return the bytes of a VersionDef without `bad_consumers`, which no writer sets."""
    return write_number(1, version.producer) + write_number(2, version.min_consumer)


def decode_header(data: bytes) -> BundleHeader:
    """Return a BundleHeaderProto."""
    values = decode(data, _HEADER)
    version = decode_version(values.get("version", b""))
    return BundleHeader(signed(values.get("shards", 0)), signed(values.get("endianness", 0)), version)


def encode_header(header: BundleHeader) -> bytes:
    """Return the bytes of a BundleHeaderProto."""
    version = write_bytes(3, encode_version(header.version))
    return write_number(1, header.shards) + write_number(2, header.endianness) + version


def decode_entry(data: bytes) -> BundleEntry:
    """Return a BundleEntryProto."""
    get = decode(data, _ENTRY).get
    return BundleEntry(
        get("dtype", 0),
        decode_shape(get("shape", b"")),
        signed(get("shard", 0)),
        signed(get("offset", 0)),
        signed(get("size", 0)),
        get("crc", 0),
        tuple(map(decode_slice, get("slices", ()))),
    )


def encode_entry(entry: BundleEntry) -> bytes:
    """Return the bytes of a BundleEntryProto; the shape is always written, also that of a scalar."""
    return b"".join(
        (
            write_number(1, entry.dtype),
            write_bytes(2, encode_shape(entry.shape)),
            write_number(3, entry.shard),
            write_number(4, entry.offset),
            write_number(5, entry.size),
            write_fixed32(6, entry.crc),
            *(write_bytes(7, encode_slice(extents)) for extents in entry.slices),
        )
    )


# The 2,353 variables of a large model with its optimizer have about ten shapes.
@lru_cache(maxsize=256)
def decode_shape(data: bytes) -> Shape:
    """Return the dimensions of a TensorShapeProto: not negative, at most 8, with fewer than 2^63 elements."""
    values = decode(data, _SHAPE)
    if values.get("unknown_rank"):
        raise Malformed("its shape is of unknown rank")
    dims = values.get("dims", [])
    if len(dims) > MOST_DIMENSIONS:
        raise Malformed(f"its shape has {len(dims)} dimensions, more than {MOST_DIMENSIONS}")
    shape = tuple(signed(decode(dim, _DIMENSION).get("size", 0)) for dim in dims)
    if any(size < 0 for size in shape):
        raise Malformed(f"its shape {list(shape)} has a negative dimension")
    # A zero among the dimensions would hide that the others overflow.
    if prod(max(size, 1) for size in shape) >= MOST_ELEMENTS:
        raise Malformed(f"its shape {list(shape)} has more elements than a file can hold")
    return shape


def encode_shape(shape: Sequence[int]) -> bytes:
    """Return the bytes of a TensorShapeProto."""
    return b"".join(write_bytes(2, write_number(1, size)) for size in shape)


def decode_slice(data: bytes) -> Extents:
    """Return the extents of a TensorSliceProto."""
    return tuple(_decode_extent(extent) for extent in decode(data, _SLICE).get("extents", []))


def _decode_extent(data: bytes) -> tuple[int, int]:
    values = decode(data, _EXTENT)
    start, length = signed(values.get("start", 0)), signed(values.get("length", 0))
    if start < 0 or length < 0:
        raise Malformed(f"a slice has the start {start} and the length {length}")
    if "length" in values:
        return start, length
    if start:
        raise Malformed(f"a slice has the start {start} and the whole dimension")
    return 0, WHOLE


def encode_slice(extents: Extents) -> bytes:
    """Return the bytes of a TensorSliceProto; a length is written even if 0, since its absence means the whole."""
    return b"".join(write_bytes(1, _encode_extent(*extent)) for extent in extents)


def _encode_extent(start: int, length: int) -> bytes:
    if length == WHOLE:
        return b""
    return write_number(1, start) + (write_number(2, length) or b"\x10\x00")


def decode_saved_metadata(data: bytes) -> tuple[list[SavedTensor], Version]:
    """Return what the empty key of a V1 file holds: its variables, and the file's version."""
    saved = decode(data, _SAVED)
    if "meta" not in saved or "data" in saved:
        raise Malformed("the entry of the empty key is no metadata")
    values = decode(saved["meta"], _SAVED_META)
    tensors = [_decode_saved_tensor(tensor) for tensor in values.get("tensors", [])]
    return tensors, decode_version(values.get("version", b""))


def _decode_saved_tensor(data: bytes) -> SavedTensor:
    values: dict[str, Any] = decode(data, _SAVED_TENSOR)
    name = values.get("name", b"")
    try:
        shape, slices = decode_shape(values.get("shape", b"")), tuple(map(decode_slice, values.get("slices", [])))
    except Malformed as error:
        raise Malformed(f"{name.decode(errors='surrogateescape')}: {error}") from error
    return SavedTensor(name, shape, values.get("dtype", 0), slices)


def decode_saved_slice(data: bytes) -> SavedSlice:
    """Return one value of a V1 file."""
    saved = decode(data, _SAVED)
    if "data" not in saved or "meta" in saved:
        raise Malformed("the entry of a slice is no slice")
    values = decode(saved["data"], _SAVED_SLICE)
    return SavedSlice(values.get("name", b""), decode_slice(values.get("slice", b"")), values.get("data", b""))
