"""The tensors that a Hugging Face folder holds on disk, under the names of the mapping table, read one at a time.

Other writers spell some names otherwise or store more; all of it says the same to transformers:

    electra.….LayerNorm.gamma, .beta       what transformers 5.0.0 saves for .weight and .bias
    generator_lm_head.weight               a copy of the word embeddings it is tied to
    ….embeddings.position_ids              0, 1, 2, …: a buffer that old versions stored
    electra.…                              where a bare ElectraModel is wanted, whose names lack the prefix
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from electra_convert.electra.mapping import OLD_ENDINGS, TIED, TOWER_PREFIX
from electra_convert.errors import FolderError
from electra_convert.hf.shards import INDEX, FolderWeights
from electra_convert.hf.weights import PIECE, stored_dtype

Array = np.ndarray[Any, np.dtype[Any]]

WEIGHTS, PICKLE = "model.safetensors", "pytorch_model.bin"
POSITION_IDS = "embeddings.position_ids"


class StoredTensors(Mapping[str, Array]):
    """A folder's tensors by their current names; a value is read when it is asked for.

    `copies` are tensors that are stored but say nothing that the others do not say; they are left out of the rest.
    """

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        self._weights: FolderWeights | None = None
        self._loaded: dict[str, Array] = {}
        if (folder / WEIGHTS).exists() or (folder / INDEX).exists() or not (folder / PICKLE).exists():
            self._weights = FolderWeights(folder)
            stored = {name: (spec.shape, spec.dtype) for name, spec in self._weights.tensors.items()}
        else:
            self._loaded = _load_pickle(folder / PICKLE)
            stored = {name: (array.shape, array.dtype.name) for name, array in self._loaded.items()}
        self.paths = self._weights.paths if self._weights else [folder / PICKLE]
        self.where = str(self.paths[0])
        # A tensor that is there under both of its names is not renamed: then the old one is one too many.
        renamed = {name: current_name(name).removeprefix(TOWER_PREFIX if bare else "") for name in stored}
        self._stored_name = {name if renamed[name] in stored else renamed[name]: name for name in stored}
        self.shapes = {name: stored[original][0] for name, original in self._stored_name.items()}
        self.dtypes = {name: stored[original][1] for name, original in self._stored_name.items()}
        self.copies = tuple(name for name in self._stored_name if self._is_copy(name))
        for name in self.copies:
            del self._stored_name[name], self.shapes[name], self.dtypes[name]

    def __getitem__(self, name: str) -> Array:
        stored = self._stored_name[name]
        return self._weights.read(stored) if self._weights else self._loaded[stored]

    def chunks(self, name: str, size: int = PIECE) -> Iterator[Array]:
        """Yield a tensor in flat pieces of at most `size` bytes, in C order; the next may overwrite the one before."""
        stored = self._stored_name[name]
        if self._weights is None:
            values = self._loaded[stored].reshape(-1)
            step = size // values.itemsize
            yield from (values[start : start + step] for start in range(0, values.size, step))
            return
        dtype = stored_dtype(self.dtypes[name])
        for piece in self._weights.chunks(stored, size):
            yield piece.view(dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored_name)

    def __len__(self) -> int:
        return len(self._stored_name)

    def close(self) -> None:
        """Close the file."""
        if self._weights:
            self._weights.close()

    def _is_copy(self, name: str) -> bool:
        if name in TIED and TIED[name] in self._stored_name:
            source = TIED[name]
            if (self.dtypes[name], self.shapes[name]) != (self.dtypes[source], self.shapes[source]):
                return False
            return all(
                np.array_equal(piece.view(np.uint8), other.view(np.uint8))
                for piece, other in zip(self.chunks(name), self.chunks(source), strict=True)
            )
        if name.endswith(POSITION_IDS):
            return np.array_equal(self[name].reshape(-1), np.arange(self[name].size))
        return False


def current_name(stored: str) -> str:
    """Return the name that the mapping table has for a stored one.

    >>> current_name("electra.embeddings.LayerNorm.gamma")
    'electra.embeddings.LayerNorm.weight'
    """
    for old, current in OLD_ENDINGS.items():
        if stored.endswith(old):
            return stored.removesuffix(old) + current
    return stored


def stored_names(folder: Path) -> list[str]:
    """Return the names of the tensors that a folder holds."""
    tensors = StoredTensors(folder)
    try:
        return list(tensors)
    finally:
        tensors.close()


def _load_pickle(path: Path) -> dict[str, Array]:
    """Return the tensors of a `.bin`; it is a pickle, of which only tensors are let out (`weights_only`)."""
    import pickle

    import torch

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise FolderError(
            "not a file of tensors", where=str(path), found="what torch does not load as tensors alone"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise FolderError("not a file of tensors", where=str(path), expected="a dict of tensors by their names")
    return {str(name): _to_numpy(tensor.detach(), str(name), path) for name, tensor in tensors.items()}


def _to_numpy(tensor: Any, name: str, path: Path) -> Array:
    import ml_dtypes
    import torch

    if tensor.dtype is torch.bfloat16:  # NumPy has no such type of its own
        return _to_numpy(tensor.contiguous().view(torch.int16), name, path).view(ml_dtypes.bfloat16)
    try:
        return np.ascontiguousarray(tensor.numpy())
    except (TypeError, RuntimeError) as error:  # sparse, quantized, of 8 bits
        kind = f"{tensor.dtype}, {tensor.layout}"
        raise FolderError(
            "a tensor has a type that no ELECTRA has", where=str(path), tensor=name, found=kind
        ) from error
