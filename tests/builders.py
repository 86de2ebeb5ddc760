"""Makes checkpoints of which every byte is known: V1 files, tables from entries, and indexes changed on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from electra_convert.tf1.dtypes import DType, dtype_of
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.messages import WHOLE, Extents, Shape, encode_shape, encode_slice
from electra_convert.tf1.slices import encode_key
from electra_convert.tf1.table import BLOCK_SIZE, Table, TableWriter
from electra_convert.tf1.values import STORAGE
from electra_convert.tf1.wire import VARINT, write_bytes, write_number, write_varint
from electra_convert.tf1.write import BundleWriter

Entry = tuple[bytes, bytes]


def write_table(
    path: Path,
    entries: Iterable[Entry],
    block_size: int = BLOCK_SIZE,
    compress: Callable[[bytes], bytes] | None = None,
) -> Path:
    """Write a table of these entries, in this order, whatever they are."""
    with path.open("wb") as file:
        table = TableWriter(file.write, block_size, compress)
        for key, value in entries:
            table.add(key, value)
        table.finish()
    return path


def read_table(path: Path) -> list[Entry]:
    """Return the entries of a table."""
    file = SourceHandle(path)
    try:
        return list(Table(file).entries())
    finally:
        file.close()


def change_table(path: Path, change: Callable[[dict[bytes, bytes]], Mapping[bytes, bytes] | Iterable[Entry]]) -> Path:
    """Write a table again after `change` saw its entries; checksums are right, so only the content can be wrong."""
    changed = change(dict(read_table(path)))
    return write_table(path, sorted(changed.items()) if isinstance(changed, Mapping) else changed)


def write_v2(prefix: Path, variables: Mapping[str, np.ndarray], **options: object) -> Path:
    """Write a V2 checkpoint, with the options of `BundleWriter`; variables go round its data files."""
    shards = int(options.get("shards", 1))  # type: ignore[call-overload]
    with BundleWriter(prefix, **options) as bundle:  # type: ignore[arg-type]
        for number, (name, array) in enumerate(variables.items()):
            bundle.add(name, array, shard=number % shards)
    return prefix


def encode_value(name: str, extents: Extents, array: np.ndarray) -> bytes:
    """Return the entry of a slice in a V1 file, as TensorFlow writes it."""
    storage = STORAGE[dtype_of(array.dtype).name]
    if storage.kind == VARINT:
        numbers = array.view(storage.bits).reshape(-1).tolist()
        packed = b"".join(map(write_varint, numbers))
    else:
        packed = array.tobytes()
    values = write_bytes(storage.field, packed) if array.size else b""
    return write_bytes(
        2, write_bytes(1, name.encode()) + write_bytes(2, encode_slice(extents)) + write_bytes(3, values)
    )


def encode_metadata(tensors: Iterable[tuple[str, DType, Shape, Iterable[Extents]]]) -> bytes:
    """Return the entry of the empty key of a V1 file."""
    listed = b"".join(
        write_bytes(
            1,
            write_bytes(1, name.encode())
            + write_bytes(2, encode_shape(shape))
            + write_number(3, dtype.number)
            + b"".join(write_bytes(4, encode_slice(extents)) for extents in slices),
        )
        for name, dtype, shape, slices in tensors
    )
    return write_bytes(1, listed + write_bytes(2, write_number(1, 1)))


def whole(shape: Shape) -> Extents:
    """Return the extents of a slice that is the whole variable."""
    return ((0, WHOLE),) * len(shape)


def v1_entries(variables: Mapping[str, np.ndarray]) -> dict[bytes, bytes]:
    """Return the entries of a V1 file with these variables, none of them partitioned."""
    metadata = [(name, dtype_of(array.dtype), array.shape, [whole(array.shape)]) for name, array in variables.items()]
    entries = {b"": encode_metadata(metadata)}
    for name, array in variables.items():
        extents = whole(array.shape)
        entries[encode_key(name.encode(), extents)] = encode_value(name, extents, array)
    return entries


def write_v1(path: Path, variables: Mapping[str, np.ndarray], block_size: int = BLOCK_SIZE) -> Path:
    """Write a V1 checkpoint of one file."""
    return write_table(path, sorted(v1_entries(variables).items()), block_size)


def write_v1_shard(path: Path, shapes: Mapping[str, Shape], slices: Iterable[tuple[str, Extents, np.ndarray]]) -> Path:
    """Write one shard of a V1 checkpoint with these slices of variables of these shapes."""
    slices = list(slices)
    metadata = [
        (name, dtype_of(own[0][2].dtype), shape, [extents for _, extents, _ in own])
        for name, shape in shapes.items()
        if (own := [part for part in slices if part[0] == name])
    ]
    entries = {
        encode_key(name.encode(), extents): encode_value(name, extents, array) for name, extents, array in slices
    }
    return write_table(path, sorted({b"": encode_metadata(metadata), **entries}.items()))


def small_variables() -> dict[str, np.ndarray]:
    """Return eleven variables of several types and ranks, 488 bytes of them in float32."""
    generator = np.random.default_rng(11)
    floats = {f"electra/layer_{i}/kernel": generator.standard_normal((4, 6)).astype(np.float32) for i in range(4)}
    return {
        **floats,
        "electra/empty": np.zeros((0, 3), np.float32),
        "electra/scalar": np.array(2.5, np.float32),
        "electra/half": generator.standard_normal(5).astype(np.float16),
        "electra/double": generator.standard_normal((2, 2)),
        "flags": np.array([True, False, True]),
        "global_step": np.array(40, np.int64),
        "negative": np.array([-1, 7, -300], np.int32),
    }
