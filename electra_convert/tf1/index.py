"""A V2 checkpoint's `.index`: for each variable its type, its shape and where its bytes are; every rule checked.

    key ""            BundleHeader: number of data files, byte order, version
    key NAME          BundleEntry: where the tensor stands; with slices, only what it is
    key 00 NAME …     BundleEntry of one slice (slices.py)

Nothing here opens a data file or loads NumPy. What is refused beyond TensorFlow's own checks: keys out of order,
unknown fields, tensors that share bytes, slices that nothing owns (tensorflow/core/util/tensor_bundle/*).
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import NamedTuple

from electra_convert.errors import CheckpointError
from electra_convert.tf1.dtypes import find_dtype
from electra_convert.tf1.files import DAMAGED, SourceHandle, refusing
from electra_convert.tf1.messages import (
    BundleEntry,
    BundleHeader,
    Extents,
    check_version,
    decode_entry,
    decode_header,
)
from electra_convert.tf1.slices import Box, check_tiling, encode_key, is_slice_key, resolve, shape_of, show
from electra_convert.tf1.table import Table
from electra_convert.tf1.variable import NO_VARIABLES, Variable, bytes_of, decode_name
from electra_convert.tf1.wire import Malformed

# An index of a large model with its optimizer has 90 KB.
LARGEST_INDEX = 256 << 20

# A large model with its optimizer has 2,353. In memory an entry takes a few hundred bytes more than in the file.
MOST_VARIABLES = 100_000

# A data file's number has five digits.
MOST_SHARDS = 99_999


class Extent(NamedTuple):
    """Where the bytes of a tensor, or of one slice of it, stand; `crc` is masked, `box` None for a whole tensor."""

    shard: int
    offset: int
    size: int
    crc: int
    box: Box | None = None


class Index(NamedTuple):
    """The whole of an index: variables by name, sorted, and the extents of each."""

    shards: int
    big_endian: bool
    producer: int
    variables: dict[str, Variable]
    extents: dict[str, tuple[Extent, ...]]

    def shard_ends(self) -> list[int]:
        """Return, for each data file, how many bytes it must have at least."""
        ends = [0] * self.shards
        for parts in self.extents.values():
            for part in parts:
                ends[part.shard] = max(ends[part.shard], part.offset + part.size)
        return ends


def read_index(file: SourceHandle) -> Index:
    """Return the index that `file` holds; raise `CheckpointError` for anything that is not as it must be."""
    if file.size > LARGEST_INDEX:
        raise CheckpointError(
            "an index is too large", where=file.shown, found=f"{file.size} bytes", expected=f"≤ {LARGEST_INDEX} bytes"
        )
    entries = Table(file).entries()
    first, content = next(entries, (None, b""))
    if first != b"":
        raise CheckpointError("an index has no header", where=file.shown, hint=DAMAGED)
    with refusing("the header of an index is not usable", file.shown):
        header = _checked_header(decode_header(content))

    plain: dict[str, BundleEntry] = {}
    sliced: dict[bytes, BundleEntry] = {}
    for key, content in entries:
        name = key.decode("utf-8", "surrogateescape") if is_slice_key(key) else decode_name(key, file.shown)
        try:
            entry = _checked_entry(decode_entry(content), header)
        except Malformed as error:
            raise CheckpointError(
                "an entry of the index is not usable", where=file.shown, variable=name, found=str(error), hint=DAMAGED
            ) from error
        if is_slice_key(key):
            sliced[key] = entry
        else:
            plain[name] = entry
        if len(plain) + len(sliced) > MOST_VARIABLES:
            raise CheckpointError(
                "an index has too many entries", where=file.shown, expected=f"≤ {MOST_VARIABLES} variables and slices"
            )
    if not plain:
        raise CheckpointError("the checkpoint has no variables", where=file.shown, hint=NO_VARIABLES)
    index = _join(plain, sliced, header, file.shown)
    _check_overlap(index, file.shown)
    return index


def _checked_header(header: BundleHeader) -> BundleHeader:
    check_version(header.version)
    if not 1 <= header.shards <= MOST_SHARDS:
        raise Malformed(f"it claims {header.shards} data files, expected 1 to {MOST_SHARDS}")
    if header.endianness not in (0, 1):
        raise Malformed(f"its endianness is {header.endianness}, expected 0 (little) or 1 (big)")
    return header


def _checked_entry(entry: BundleEntry, header: BundleHeader) -> BundleEntry:
    dtype = find_dtype(entry.dtype)
    if entry.slices:
        if entry.shard or entry.offset or entry.size or entry.crc:
            raise Malformed("it has slices, and bytes of its own")
        return entry
    if not 0 <= entry.shard < header.shards:
        raise Malformed(f"it stands in data file {entry.shard}, of {header.shards}")
    if entry.offset < 0 or entry.size < 0:
        raise Malformed(f"it stands at byte {entry.offset} with {entry.size} bytes")
    expected = prod(entry.shape) * dtype.size
    if dtype.size and entry.size != expected:
        raise Malformed(f"it has {entry.size} bytes, and {dtype} {list(entry.shape)} needs {expected}")
    return entry


def _join(plain: dict[str, BundleEntry], sliced: dict[bytes, BundleEntry], header: BundleHeader, where: str) -> Index:
    """Find the slices of each variable; refuse one that is missing, and one that no variable owns."""
    variables: dict[str, Variable] = {}
    extents: dict[str, tuple[Extent, ...]] = {}
    for name, entry in sorted(plain.items()):
        dtype = find_dtype(entry.dtype)
        nbytes = bytes_of(dtype, entry.shape)
        variables[name] = Variable(name, dtype, entry.shape, nbytes, len(entry.slices) or 1)
        if entry.slices:
            parts = [_take_slice(name, entry, slice_, sliced, where) for slice_ in entry.slices]
            check_tiling([part.box for part in parts if part.box is not None], entry.shape, name, where)
            extents[name] = tuple(parts)
        else:
            extents[name] = (Extent(entry.shard, entry.offset, entry.size, entry.crc),)
    if sliced:
        found = next(iter(sliced)).decode("utf-8", "surrogateescape")
        raise CheckpointError("a slice belongs to no variable", where=where, found=found, hint=DAMAGED)
    return Index(header.shards, header.endianness == 1, header.version.producer, variables, extents)


def _take_slice(
    name: str, owner: BundleEntry, extents: Extents, sliced: dict[bytes, BundleEntry], where: str
) -> Extent:
    box = resolve(extents, owner.shape, name, where)
    entry = sliced.pop(encode_key(name.encode(), extents), None)
    if entry is None:
        raise CheckpointError(
            "a slice of a variable is missing or listed twice",
            where=where,
            variable=f"{name} {list(owner.shape)}",
            expected=f"an entry for {show(box)}",
            hint=DAMAGED,
        )
    if entry.slices or entry.dtype != owner.dtype or entry.shape != shape_of(box):
        raise CheckpointError(
            "a slice does not fit its variable",
            where=where,
            variable=f"{name} {list(owner.shape)}",
            found=f"{find_dtype(entry.dtype)} {list(entry.shape)}",
            expected=f"{find_dtype(owner.dtype)} {list(shape_of(box))}, for {show(box)}",
            hint=DAMAGED,
        )
    return Extent(entry.shard, entry.offset, entry.size, entry.crc, box)


def _check_overlap(index: Index, where: str) -> None:
    """Refuse two tensors that share bytes: no writer makes them, and one of the two must be wrong."""
    spans = sorted(
        (part.shard, part.offset, part.offset + part.size, name)
        for name, parts in index.extents.items()
        for part in parts
        if part.size
    )
    for (shard, begin, end, name), (next_shard, next_begin, next_end, next_name) in pairwise(spans):
        if next_shard == shard and next_begin < end:
            raise CheckpointError(
                "two variables of the index share bytes",
                where=f"{where}, data file {shard}",
                found=[f"{name}: bytes {begin} to {end}", f"{next_name}: bytes {next_begin} to {next_end}"],
                expected="each byte used once",
                hint=DAMAGED,
            )
