"""A V1 checkpoint: tables that hold the values themselves, in one file or in one for each shard.

    key ""         SavedTensorSlices.meta: name, shape, type and slices of each variable that this file has a slice of
    key 00 NAME …  SavedTensorSlices.data: name, slice and values (values.py), also of a variable in one piece

A partitioned variable may have its slices in several files: only the metadata of all files says whether it is whole.
Blocks have checksums, variables have none (tensorflow/core/util/{tensor_slice_writer,tensor_slice_reader}.*).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from electra_convert.errors import CheckpointError, UnsupportedFeature
from electra_convert.notices import Notice, note
from electra_convert.tf1.buffers import copy_into, join, swap
from electra_convert.tf1.dtypes import find_dtype
from electra_convert.tf1.files import DAMAGED, PIECE, SourceHandle, refusing
from electra_convert.tf1.messages import (
    OUR_VERSION,
    Extents,
    SavedSlice,
    SavedTensor,
    check_version,
    decode_saved_metadata,
    decode_saved_slice,
)
from electra_convert.tf1.slices import Box, check_tiling, encode_key, resolve, shape_of, show
from electra_convert.tf1.stream import EntryStream, HeldEntry
from electra_convert.tf1.table import RAW, Table
from electra_convert.tf1.values import STORAGE, decode_integer, decode_values, raw_head
from electra_convert.tf1.variable import NO_VARIABLES, Variable, bytes_of, decode_name
from electra_convert.tf1.wire import VARINT, Malformed

if TYPE_CHECKING:
    import numpy as np

# The metadata names every slice once; that of a large model with its optimizer has 200 KB.
LARGEST_METADATA = 256 << 20

# A block up to this size is held, with its entries, for the next variable; a larger one is streamed.
LARGEST_HELD = PIECE

# What Snappy, or a shape that nothing bears out, may claim beyond the size of the files.
MOST_EXPANDED = 64 << 20


class Part(NamedTuple):
    """One slice of a variable: in which file, under which extents, and where in the whole."""

    file: int
    extents: Extents
    box: Box


class SavedSlices:
    """An open V1 checkpoint; its metadata is read, its values are not."""

    format: Literal["V1"] = "V1"
    missing: tuple[str, ...] = ()

    def __init__(self, paths: Sequence[Path], shown: Sequence[str]) -> None:
        """Open all files and join their metadata; `shown` is what messages call each.

        Raises `CheckpointError` for a damaged file, and `SliceError` for a variable that is not whole.
        """
        self._files: list[SourceHandle] = []
        self._held: tuple[int, int, dict[bytes, bytes]] | None = None
        try:
            for path, name in zip(paths, shown, strict=True):
                self._files.append(SourceHandle(path, name))
            self._tables = [Table(file, file.size + MOST_EXPANDED) for file in self._files]
            self._producer = 0
            self._parts: dict[str, list[Part]] = {}
            self.variables = self._read_metadata()
        except BaseException:
            self.close()
            raise
        self.shards = len(self._files)

    @property
    def tables(self) -> tuple[SourceHandle, ...]:
        """The files."""
        return tuple(self._files)

    @property
    def data_files(self) -> tuple[SourceHandle, ...]:
        """None: a table holds its values."""
        return ()

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a user should know about the files."""
        if self._producer <= OUR_VERSION:
            return ()
        return (note("producer", "the checkpoint's writer is newer than this reader", found=f"{self._producer}"),)

    def checksum(self, variable: Variable) -> int | None:
        """Return None: no checksum here is that of one whole variable."""
        return None

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()

    def require_data(self) -> None:
        """Do nothing: what was opened is all there."""

    def read_number(self, name: str) -> int | None:
        """Return the value of an integer scalar, without NumPy."""
        variable, (part, *_) = self.variables[name], self._parts[name]
        entry = self._find(variable, part)
        content = entry.take(entry.left)
        entry.finish()
        with refusing("a value is not usable", self._files[part.file].shown, variable=str(variable)):
            return decode_integer(self._check_slice(variable, part, content).data, variable.dtype)

    def fill(self, variable: Variable, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Fill each of `targets`, contiguous uint8, with the next bytes of a variable, and yield it filled.

        Together they have the variable's size, each a multiple of an element's. The checksum is checked after the last
        one, so only what came before a `ChecksumError` was wrong to trust.
        """
        parts = self._parts[variable.name]
        if variable.dtype.name not in STORAGE:
            raise UnsupportedFeature(
                "a V1 checkpoint cannot hold this type",
                where=self._files[parts[0].file].shown,
                variable=str(variable),
                hint="try `--reader tensorflow`",
            )
        if len(parts) == 1:
            yield from self._fill_part(variable, parts[0], targets)
        else:
            slices = ((part.box, partial(self._fill_part, variable, part)) for part in parts)
            yield from copy_into(join(variable.shape, variable.dtype, slices), targets)

    def _fill_part(self, variable: Variable, part: Part, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        shape, dtype = shape_of(part.box), variable.dtype
        nbytes = bytes_of(dtype, shape)
        entry = self._find(variable, part)
        head = raw_head(variable.name.encode(), part.extents, dtype, nbytes)
        if head is not None and entry.left == len(head) + nbytes and entry.peek(len(head)) == head:
            entry.take(len(head))
            for target in targets:
                entry.take_into(target)
                if sys.byteorder == "big":
                    swap(target, dtype)
                yield target
            entry.finish()
        else:
            content = entry.take(entry.left)
            entry.finish()
            with refusing("a value is not usable", self._files[part.file].shown, variable=str(variable)):
                values = decode_values(self._check_slice(variable, part, content).data, dtype, prod(shape))
            yield from copy_into(values, targets)

    def _find(self, variable: Variable, part: Part) -> HeldEntry | EntryStream:
        """Return the entry of a slice; its block is held if it is small or compressed."""
        table, file = self._tables[part.file], self._files[part.file]
        key = encode_key(variable.name.encode(), part.extents)
        number = table.find_block(key)
        if number is not None:
            handle = table.handles[number]
            kind = file.read(handle.offset + handle.size, 1, "a block of the table")[0]
            if handle.size > LARGEST_HELD and kind == RAW:
                stream = EntryStream(table, number, variable=str(variable))
                if stream.find(key):
                    return stream
            else:
                value = self._hold(part.file, number, variable).get(key)
                if value is not None:
                    return HeldEntry(value)
        raise CheckpointError(
            "the values of a variable are not in the file that lists it",
            where=file.shown,
            variable=str(variable),
            expected=f"an entry for {show(part.box)}",
            hint=DAMAGED,
        )

    def _hold(self, file: int, number: int, variable: Variable) -> dict[bytes, bytes]:
        """Return the entries of a block; the last block stays, for variables that stand side by side."""
        if self._held is None or self._held[:2] != (file, number):
            self._held = (file, number, dict(self._tables[file].block_entries(number, variable=str(variable))))
        return self._held[2]

    def _check_slice(self, variable: Variable, part: Part, content: bytes) -> SavedSlice:
        saved = decode_saved_slice(content)
        if saved.name != variable.name.encode() or saved.extents != part.extents:
            raise Malformed(f"its entry holds {saved.name.decode(errors='surrogateescape')} {saved.extents}")
        return saved

    def _read_metadata(self) -> dict[str, Variable]:
        """Return the variables that all files together have; keep where their slices are."""
        found: dict[str, SavedTensor] = {}
        for file, table in enumerate(self._tables):
            where = self._files[file].shown
            for saved in self._read_tensors(table, where):
                name = decode_name(saved.name, where)
                known = found.setdefault(name, saved)
                if (known.dtype, known.shape) != (saved.dtype, saved.shape):
                    raise CheckpointError(
                        "the files of the checkpoint contradict each other",
                        where=where,
                        variable=name,
                        found=f"type {saved.dtype}, shape {list(saved.shape)}",
                        expected=f"type {known.dtype}, shape {list(known.shape)}, as in {self._files[0].path.name}",
                    )
                boxes = [(extents, resolve(extents, saved.shape, name, where)) for extents in saved.slices]
                self._parts.setdefault(name, []).extend(Part(file, extents, box) for extents, box in boxes)
        if not found:
            raise CheckpointError("the checkpoint has no variables", where=self._files[0].shown, hint=NO_VARIABLES)
        return {name: self._make_variable(name, found[name]) for name in sorted(found)}

    def _read_tensors(self, table: Table, where: str) -> list[SavedTensor]:
        if not table.handles or table.handles[0].size > LARGEST_METADATA:
            raise CheckpointError("a file has no usable metadata", where=where, hint=DAMAGED)
        key, content = table.block_entries(0)[0]
        if key:
            raise CheckpointError("a file has no metadata", where=where, hint="the file is a table, but no checkpoint")
        with refusing("the metadata of a file is not usable", where):
            tensors, version = decode_saved_metadata(content)
            check_version(version)
        for saved in tensors:
            with refusing("the type of a variable is not usable", where, variable=decode_name(saved.name, where)):
                find_dtype(saved.dtype)
        self._producer = max(self._producer, version.producer)
        return tensors

    def _make_variable(self, name: str, saved: SavedTensor) -> Variable:
        dtype, parts = find_dtype(saved.dtype), self._parts[name]
        where = self._files[parts[0].file].shown if parts else self._files[0].shown
        check_tiling([part.box for part in parts], saved.shape, name, where)
        # A value takes a byte at least, so a shape that no file can bear out is known before memory is asked for.
        packed = dtype.name in STORAGE and STORAGE[dtype.name].kind == VARINT
        least = prod(saved.shape) * (1 if packed else dtype.size)
        held = sum(file.size for file in self._files)
        if least > held + MOST_EXPANDED:
            raise CheckpointError(
                "a variable is larger than the files that hold it",
                where=where,
                variable=f"{name} {dtype} {list(saved.shape)}",
                found=f"{held} bytes",
                expected=f"at least {least} bytes",
                hint=DAMAGED,
            )
        return Variable(name, dtype, saved.shape, bytes_of(dtype, saved.shape), len(parts))
