"""`config.json`: the keys that transformers 4.46 to 5.23 all accept, typed as strictly as the strictest wants them.

transformers 5 refuses `"layer_norm_eps": 0` and `"hidden_size": 24.0`, so a number is written as what it is: sizes as
integers, rates and the like always with a point or an exponent.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from electra_convert.errors import FolderError, InputError, SettingError
from electra_convert.hf.files import json_text, read_json, write_file

MODEL_TYPE = "electra"

Kind = Literal["size", "number", "rate", "name"]
"""An integer above 0, a finite number from 0, a number from 0 to 1, a word."""

# What fixes the computation, and what training was done with; `ElectraConfig`'s own defaults are those of one model.
FIELDS: Mapping[str, Kind] = {
    "vocab_size": "size",
    "embedding_size": "size",
    "hidden_size": "size",
    "num_hidden_layers": "size",
    "num_attention_heads": "size",
    "intermediate_size": "size",
    "hidden_act": "name",
    "hidden_dropout_prob": "rate",
    "attention_probs_dropout_prob": "rate",
    "max_position_embeddings": "size",
    "type_vocab_size": "size",
    "layer_norm_eps": "number",
    "initializer_range": "number",
}

_EXPECTED: Mapping[Kind, str] = {
    "size": "an integer above 0",
    "number": "a number, not below 0",
    "rate": "a number from 0 to 1",
    "name": "the name of an activation",
}


def config_document(
    fields: Mapping[str, object],
    *,
    architecture: str,
    pad_token_id: int,
    dtype: str,
    task: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, object]:
    """Return what `config.json` holds, for all the `FIELDS`, the class to load it with, and NumPy's name of a type.

    `task` has the keys of a fine-tuned head: the names of its labels, the type of its problem.

    Raises SettingError if a value is not of its field's kind, ValueError if fields are missing or unknown.
    """
    if set(fields) != set(FIELDS):
        raise ValueError(f"fields missing or unknown: {sorted(set(fields) ^ set(FIELDS))}")
    return {
        "architectures": [architecture],
        "model_type": MODEL_TYPE,
        "pad_token_id": pad_token_id,
        # 4.x knows other kinds; 5.x ignores the key.
        "position_embedding_type": "absolute",
        # 4.46 knows the second name only, 5.x the first.
        "dtype": dtype,
        "torch_dtype": dtype,
        **{name: _typed(name, value, "value of a field", SettingError) for name, value in fields.items()},
        **task,
    }


def write_config(path: Path, document: Mapping[str, object]) -> None:
    """Write `config.json`; raise OutputError if it cannot be written."""
    write_file(path, json_text(document).encode())


def read_config(path: str | os.PathLike[str], refusal: type[InputError] = FolderError) -> dict[str, Any]:
    """Return the document of a `config.json`; those of the `FIELDS` it holds have their types.

    Raises `refusal` if the file is missing, no JSON object, of another model type, or has a field of a wrong type.
    """
    document = read_json(path, "the configuration", refusal)
    if document.get("model_type") != MODEL_TYPE:
        raise refusal(
            "the configuration is of another model",
            where=os.fspath(path),
            found=f"model_type {document.get('model_type')!r}",
            expected=f"model_type {MODEL_TYPE!r}",
        )
    typed = {name: _typed(name, document[name], os.fspath(path), refusal) for name in FIELDS if name in document}
    return {**document, **typed}


def _typed(name: str, value: object, where: str, refusal: type[InputError]) -> int | float | str:
    kind = FIELDS[name]
    if kind == "name":
        if isinstance(value, str) and value:
            return value
    # bool is an int in Python, and never one here.
    elif isinstance(value, int) and not isinstance(value, bool) and kind == "size" and value > 0:
        return value
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and kind != "size":
        number = float(value)
        if 0 <= number < math.inf and (kind == "number" or number <= 1):
            return number
    raise refusal(
        "a field of the configuration has a wrong value",
        where=where,
        field=name,
        found=repr(value),
        expected=_EXPECTED[kind],
    )
