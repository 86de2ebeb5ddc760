"""Reads a Hugging Face ELECTRA folder into torch tensors, and fits tensors to the parameters of a model, strictly.

Here, and nowhere else in this layer, files are opened: the included model is also there for people who use it on its
own, and then needs nothing of this package but these few modules.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.mapping import OLD_ENDINGS
from electra_convert.errors import FolderError, MappingError
from electra_convert.wording import some

# Fields of config.json that would make transformers compute something else than the included model does.
REQUIRED: dict[str, Any] = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}

# What JSON may hold for a field of ElectraConfig, by its annotation: a rate may be written 0.
TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "str": (str,)}

# Every class stores the tower under this prefix but ElectraModel, which may have it.
BODY = "electra."

# PretrainedConfig's default.
TRANSFORMERS_LABELS = 2

OUTPUT_MATRIX = "generator_lm_head.weight"
WORD_EMBEDDINGS = "electra.embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds; `architectures` is empty and `tied` true where config.json is silent, as in transformers.

    `labels` are those of a fine-tuned head; transformers takes two where config.json is silent.
    """

    where: str
    config: ElectraConfig
    architectures: tuple[str, ...]
    tied: bool
    labels: int
    tensors: Mapping[str, Tensor]


def read_folder(path: str | PathLike[str]) -> Folder:
    """Read `config.json`, and `model.safetensors` or else `pytorch_model.bin`; raise FolderError where that fails.

    A `.bin` file is a pickle: only tensors are let out of it (`weights_only`). Sizes and heads must be in the config:
    transformers' defaults for them are those of one model, and a wrong head count changes no shape.
    """
    folder = Path(path)
    where = str(folder / "config.json")
    values = _read_values(folder / "config.json")
    return Folder(
        where=str(folder),
        config=_make_config(values, where),
        architectures=tuple(map(str, values.get("architectures") or ())),
        tied=values.get("tie_word_embeddings") is not False,
        labels=len(values["id2label"]) if isinstance(values.get("id2label"), dict) else TRANSFORMERS_LABELS,
        tensors=_read_weights(folder),
    )


def fit(
    tensors: Mapping[str, Tensor | NDArray[Any]],
    wanted: Mapping[str, Tensor],
    dtype: torch.dtype | str,
    *,
    where: str | None = None,
) -> dict[str, Tensor]:
    """Return a copy in `dtype` of each tensor that is wanted, by the name it is wanted under.

    Raises MappingError, which lists the tensors that are missing, unexpected (nothing wants them, and they are none of
    the extras below) or differing (another shape, or no floating-point numbers).

    Other spellings: `LayerNorm.gamma` and `.beta`; the prefix `electra.` where it is not wanted (ElectraModel).
    Extras: `generator_lm_head.weight` where it equals the word embeddings bit for bit, being tied to them;
    `embeddings.position_ids` where it counts from 0, a buffer that old versions of transformers stored.
    """
    weights: dict[str, Tensor] = {}
    extras: dict[str, Tensor] = {}
    differing = []
    for stored in tensors:
        name, tensor = _current_name(stored, wanted), _as_tensor(tensors[stored])
        if name not in wanted or name in weights:
            extras[stored] = tensor
            continue
        if tensor.shape != wanted[name].shape or not tensor.is_floating_point():
            differing.append(f"{stored}: {_describe(tensor)}, expected {list(wanted[name].shape)}")
        weights[name] = tensor.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype, copy=True)
    lists = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "unexpected": sorted(name for name, tensor in extras.items() if not _is_harmless(name, tensor, tensors)),
        "differing": sorted(differing),
    }
    if any(lists.values()):
        shown: dict[str, Any] = {label: some(names) for label, names in lists.items() if names}
        raise MappingError("the tensors do not fit the model", where=where, **shown)
    return weights


def _current_name(stored: str, wanted: Mapping[str, Tensor]) -> str:
    name = stored
    for old, current in OLD_ENDINGS.items():
        if name.endswith(old):
            name = name.removesuffix(old) + current
    return name if name in wanted else name.removeprefix(BODY)


def _as_tensor(value: Tensor | NDArray[Any]) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = value if value.flags.writeable else value.copy()  # torch warns about arrays it must not write to
    if array.dtype.name == "bfloat16":  # ml_dtypes' type, which torch does not take
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _is_harmless(name: str, tensor: Tensor, tensors: Mapping[str, Tensor | NDArray[Any]]) -> bool:
    if name == OUTPUT_MATRIX and WORD_EMBEDDINGS in tensors:
        return _same_bits(tensor, _as_tensor(tensors[WORD_EMBEDDINGS]))
    return name.endswith("embeddings.position_ids") and torch.equal(tensor.flatten(), torch.arange(tensor.numel()))


def _same_bits(this: Tensor, that: Tensor) -> bool:
    if (this.dtype, this.shape) != (that.dtype, that.shape):
        return False
    return bool(torch.equal(this.contiguous().view(torch.uint8), that.contiguous().view(torch.uint8)))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _read_values(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError("config.json cannot be read", where=str(file), found=str(error)) from error
    if not isinstance(values, dict) or values.get("model_type", "electra") != "electra":
        raise FolderError("not the config of an ELECTRA model", where=str(file), expected='"model_type": "electra"')
    for key, needed in REQUIRED.items():
        if values.get(key, needed) != needed:
            found, expected = f"{key} {values[key]!r}", f"{key} {needed!r}"
            raise FolderError("no model here computes this config", where=str(file), found=found, expected=expected)
    return values


def _make_config(values: Mapping[str, Any], where: str) -> ElectraConfig:
    chosen: dict[str, Any] = {}
    for field in fields(ElectraConfig):
        if field.name not in values and field.default is not MISSING:
            continue
        value: Any = values.get(field.name)
        kinds = TYPES[str(field.type)]
        usable = isinstance(value, kinds) and not isinstance(value, bool)
        if not usable or (kinds == (int,) and int(value) < 1):
            raise FolderError(
                "config.json lacks a value that the model needs",
                where=where,
                found=f"{field.name} {value!r}" if field.name in values else f"no {field.name}",
                expected=f"{field.name}, of type {field.type}",
            )
        chosen[field.name] = value
    return ElectraConfig(**chosen)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name, load in LOADERS.items():
        if (folder / name).is_file():
            return load(folder / name)
    raise FolderError("no weights in this folder", where=str(folder), expected=" or ".join(LOADERS))


def _load_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return dict(safetensors.torch.load_file(file))
    except (OSError, safetensors.SafetensorError) as error:
        raise FolderError("not a safetensors file", where=str(file), found=str(error)) from error


def _load_pickle(file: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        # torch's text goes on about loading without `weights_only`, which would run code from the file.
        raise FolderError(
            "not a file of tensors", where=str(file), found="what torch does not load as tensors alone"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise FolderError("not a file of tensors", where=str(file), expected="a dict of tensors by their names")
    return dict(tensors)


LOADERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "model.safetensors": _load_safetensors,
    "pytorch_model.bin": _load_pickle,
}
"""In the order of preference, which is transformers'."""
