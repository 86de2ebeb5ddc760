"""Hugging Face folders to go back from: exports of Google's checkpoints, and what transformers saves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from conftest import google
from made_up import write_made_up

from electra_convert import convert
from electra_convert.stored import StoredTensors

# What nothing in the folders but the hparams tells.
TOLD = {"odd_heads", "relu_activation", "tanh_activation", "finetuned_tagging", "cased_temperature"}


def exported(name: str, out: Path) -> Path:
    """Convert all that a checkpoint of Google's holds."""
    folder = google(name)
    told = {"hparams": folder / "hparams.json"} if name in TOLD and not list(folder.glob("*.meta")) else {}
    export = "encoder" if name.startswith("finetuned") else "available"
    convert(folder, out, export=export, verify=False, **told)  # type: ignore[arg-type]
    return out


def made_up(folder: Path, setup: str, change: Callable[[dict[str, np.ndarray]], None] = lambda _: None) -> Path:
    """Return the halves of a made-up checkpoint as Hugging Face folders."""
    convert(write_made_up(folder / "made", setup, change), folder / "hf", export="available", verify=False)
    return folder / "hf"


def edit_config(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**document, **changes}))


def edit_tensors(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = dict(load_file(folder / "model.safetensors"))
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def state_of(folder: Path) -> dict[str, np.ndarray]:
    tensors = StoredTensors(folder)
    return {name: tensors[name] for name in tensors}


SIZES = {
    "vocab_size": 20,
    "embedding_size": 8,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
}


def network(kind: str, **changes: Any) -> Any:
    import torch
    import transformers

    torch.manual_seed(1)
    model = getattr(transformers, kind)(transformers.ElectraConfig(**{**SIZES, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():  # biases start as zeros, and gammas as ones: swaps would not show
            parameter.normal_()
    return model
