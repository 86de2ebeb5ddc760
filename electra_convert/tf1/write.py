"""Writes a V2 checkpoint, byte for byte as TensorFlow's SaveV2 does for the same tensors in the same order.

    with BundleWriter(Path("out/model.ckpt-0")) as bundle:
        bundle.add("electra/embeddings/word_embeddings", array)
        bundle.add_chunks("global_step", DTYPES[9], (), [np.array(0)])

Data files are written as the tensors come, and the index last: without it there is no checkpoint. A save that fails,
while the index is written too, leaves no file. Options that TensorFlow's own saver lacks (small blocks, Snappy,
big-endian) are for tests of readers.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import numpy as np

from electra_convert.tf1.buffers import swap
from electra_convert.tf1.crc import crc32c, mask, unmask
from electra_convert.tf1.dtypes import DType, dtype_of
from electra_convert.tf1.messages import BundleEntry, BundleHeader, Extents, Shape, Version, encode_entry, encode_header
from electra_convert.tf1.slices import encode_key
from electra_convert.tf1.table import BLOCK_SIZE, TableWriter
from electra_convert.tf1.variable import bytes_of

# kTensorBundleVersion and kTensorBundleMinProducer of tensor_bundle.h; the minimal consumer is 0.
PRODUCER = 1


class BundleWriter:
    """A V2 checkpoint that is being written; leaving the `with` block without an error writes the index."""

    def __init__(
        self,
        prefix: Path,
        *,
        shards: int = 1,
        byteorder: Literal["little", "big"] = "little",
        block_size: int = BLOCK_SIZE,
        compress: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Create the data files beside `prefix`; a file that is there already raises `FileExistsError`."""
        self._prefix, self._byteorder = prefix, byteorder
        self._block_size, self._compress = block_size, compress
        self._entries: dict[bytes, BundleEntry] = {}
        self._files: list[BinaryIO] = []
        self._created: list[Path] = []
        self._offsets = [0] * shards
        try:
            for shard in range(shards):
                self._files.append(self._create(f".data-{shard:05d}-of-{shards:05d}"))
        except BaseException:
            self.abandon()
            raise

    def add(self, name: str, array: np.ndarray, *, shard: int = 0) -> int:
        """Write a variable; return the CRC-32C of its bytes in the file."""
        return self.add_chunks(name, dtype_of(array.dtype), array.shape, [array], shard=shard)

    def add_chunks(self, name: str, dtype: DType, shape: Shape, chunks: Iterable[np.ndarray], *, shard: int = 0) -> int:
        """Write a variable whose values come in pieces, in C order and native byte order; return as `add` does."""
        entry = self._write(dtype, shape, chunks, shard)
        self._add(name.encode(), entry)
        return unmask(entry.crc)

    def add_slice(self, name: str, shape: Shape, extents: Extents, array: np.ndarray, *, shard: int = 0) -> None:
        """Write one slice of a partitioned variable of this shape; the slices' order is that of the calls."""
        dtype, key = dtype_of(array.dtype), name.encode()
        slices = self._entries[key].slices if key in self._entries else ()
        self._add(encode_key(key, extents), self._write(dtype, array.shape, [array], shard))
        self._entries[key] = BundleEntry(dtype.number, shape, slices=(*slices, extents))

    def finish(self) -> None:
        """Write the index; the checkpoint is there from then on. If the disk does not take it, nothing is."""
        try:
            for file in self._files:
                _close_on_disk(file)
            header = BundleHeader(len(self._files), int(self._byteorder == "big"), Version(PRODUCER))
            index = self._create(".index")
            self._files.append(index)
            table = TableWriter(index.write, self._block_size, self._compress)
            table.add(b"", encode_header(header))
            for key, entry in sorted(self._entries.items()):
                table.add(key, encode_entry(entry))
            table.finish()
            _close_on_disk(index)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove every file that was created."""
        for file in self._files:
            # What could not be written is still in its buffer, and would fail again.
            with contextlib.suppress(OSError):
                file.close()
        for path in self._created:
            path.unlink(missing_ok=True)

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def _create(self, suffix: str) -> BinaryIO:
        path = self._prefix.with_name(f"{self._prefix.name}{suffix}")
        file = path.open("xb")
        self._created.append(path)
        return file

    def _add(self, key: bytes, entry: BundleEntry) -> None:
        if key in self._entries or not key:
            raise ValueError(f"a variable needs a name of its own: {key!r}")
        self._entries[key] = entry

    def _write(self, dtype: DType, shape: Shape, chunks: Iterable[np.ndarray], shard: int) -> BundleEntry:
        offset, crc, size = self._offsets[shard], 0, 0
        for chunk in chunks:
            stored = np.ascontiguousarray(chunk, dtype.numpy).reshape(-1).view(np.uint8)
            if self._byteorder != sys.byteorder:
                stored = stored.copy()
                swap(stored, dtype)
            self._files[shard].write(stored.data)
            crc = crc32c(stored, crc)
            size += stored.nbytes
        if size != bytes_of(dtype, shape):
            raise ValueError(f"{size} bytes for {dtype} {list(shape)}, which has {bytes_of(dtype, shape)}")
        self._offsets[shard] += size
        return BundleEntry(dtype.number, shape, shard, offset, size, mask(crc))


def _close_on_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
