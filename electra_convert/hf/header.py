"""The header of a safetensors file: which tensors there are, of which type and shape, and where.

    [u64 little-endian N] [header: N bytes of JSON] [tensor] [tensor] …

    header   {"__metadata__":{"format":"pt"},"NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},…}
             compact, not ASCII-escaped, padded with spaces so that 8 + N is a multiple of 8
    order    by type in the order of `DTYPES`, then by the name's UTF-8 bytes; no gap between tensors
    offsets  from the end of the header
    tensor   little-endian, C order

Source: safetensors, `safetensors/src/tensor.rs`; versions 0.4.0 to 0.8.0 write the same bytes.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import safetensors

from electra_convert.errors import EnvironmentFailure, FolderError

# NumPy's name, safetensors' name and bytes an element, in the order in which the library writes them.
DTYPES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "uint64": ("U64", 8),
        "int64": ("I64", 8),
        "float64": ("F64", 8),
        "complex64": ("C64", 8),
        "float32": ("F32", 4),
        "uint32": ("U32", 4),
        "int32": ("I32", 4),
        "bfloat16": ("BF16", 2),
        "float16": ("F16", 2),
        "uint16": ("U16", 2),
        "int16": ("I16", 2),
        "int8": ("I8", 1),
        "uint8": ("U8", 1),
        "bool": ("BOOL", 1),
    }
)
_RANK = {dtype: rank for rank, dtype in enumerate(DTYPES)}
_NAMES = {code: dtype for dtype, (code, _) in DTYPES.items()}

# transformers 4 refuses a file without it; with a second entry the library's own order would be random.
METADATA: Mapping[str, str] = MappingProxyType({"format": "pt"})

_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8


class TensorSpec(NamedTuple):
    """A tensor without its values: name, NumPy's name of its type, shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's values."""
        return math.prod(self.shape) * DTYPES[self.dtype][1]


class Header(NamedTuple):
    """What a file's header says; `offsets` count from the start of the file."""

    tensors: Mapping[str, TensorSpec]
    offsets: Mapping[str, int]
    metadata: Mapping[str, str]


def file_order(tensors: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return the tensors in the order in which the file holds them.

    Raises ValueError if two have the same name.
    """
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise ValueError("two tensors have the same name")
    return sorted(tensors, key=lambda tensor: (_RANK[tensor.dtype], tensor.name.encode()))


def encode_header(ordered: Sequence[TensorSpec]) -> bytes:
    """Return everything before the first tensor's bytes, for tensors in `file_order`."""
    entries: dict[str, object] = {"__metadata__": dict(METADATA)}
    end = 0
    for tensor in ordered:
        begin, end = end, end + tensor.nbytes
        code = DTYPES[tensor.dtype][0]
        entries[tensor.name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return the header of the file at `path`, as the safetensors library accepts it.

    Raises FolderError for what is missing, no regular file, refused by the library or of a type not in `DTYPES`, and
    EnvironmentFailure if the system does not give it.
    """
    shown = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(shown).st_mode):
            raise FolderError("the weights are no regular file", where=shown)
        # The library has checked lengths, gaps and overlaps, and tells all but the offsets.
        with safetensors.safe_open(shown, framework="np") as accepted:
            metadata = accepted.metadata() or {}
            slices = {name: accepted.get_slice(name) for name in accepted.keys()}  # noqa: SIM118 - no mapping
            described = {name: (tensor.get_dtype(), tuple(tensor.get_shape())) for name, tensor in slices.items()}
        with open(shown, "rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            entries = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise FolderError("the weights are not there", where=shown) from error
    except OSError as error:
        raise EnvironmentFailure(
            "the weights cannot be read", where=shown, found=error.strerror or str(error)
        ) from error
    except safetensors.SafetensorError as error:
        raise FolderError(
            "the weights cannot be read",
            where=shown,
            found=str(error),
            expected="a file that the safetensors library accepts",
            hint="copy or convert it again",
        ) from error
    start = _LENGTH.size + length
    for name, (code, _) in described.items():
        if code not in _NAMES:
            raise FolderError("a tensor has a type that no ELECTRA has", where=shown, tensor=name, found=code)
    return Header(
        {name: TensorSpec(name, _NAMES[code], shape) for name, (code, shape) in described.items()},
        {name: start + entries[name]["data_offsets"][0] for name in described},
        metadata,
    )
