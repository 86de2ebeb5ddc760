"""Folders to probe: trained_tiny converted, and copies of it with other weights."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import google
from safetensors.numpy import load_file, save_file

from electra_convert import convert

# What the generator and the discriminator of trained_tiny were trained with.
TRAINED = {"mask": 0.25, "temperature": 1.5}

SQUARE = ("query.weight", "key.weight", "value.weight", "attention.output.dense.weight", "predictions.dense.weight")

LINES = "Now is the winter of our discontent\nMade glorious summer by this sun of York;\n"


@functools.cache
def workspace() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="electra-probes-")


@functools.cache
def trained() -> Path:
    """Return a folder with both halves of trained_tiny."""
    out = Path(workspace().name) / "trained"
    convert(google("trained_tiny"), out, export="both", verify=False)
    return out


def heldout() -> Path:
    """Return the text that trained_tiny was not trained on."""
    return google("trained_tiny") / "heldout.txt"


@functools.cache
def with_random_weights(seed: int, spread: float) -> Path:
    """Return both halves, the discriminator's weights drawn anew as Google's code starts (spread 0.02), or wider."""

    def draw(tensors):
        random = np.random.default_rng(seed)
        for name, value in tensors.items():
            if name.endswith("LayerNorm.weight"):
                tensors[name] = np.ones_like(value)
            else:
                tensors[name] = random.normal(0, spread, value.shape).astype(np.float32)

    return changed(f"random-{seed}-{spread}", draw)


@functools.cache
def with_turned_kernels(ending: str) -> Path:
    """Return both halves, the discriminator's square kernels of this ending (or all) as TensorFlow has them."""

    def turn(tensors):
        for name, value in tensors.items():
            if name.endswith(SQUARE if ending == "all" else ending):
                tensors[name] = np.ascontiguousarray(value.T)

    return changed(f"turned-{ending}", turn)


def changed(name: str, change: Callable[[dict[str, np.ndarray]], None], half: str = "discriminator") -> Path:
    """Return a copy of both halves with the weights of one changed."""
    copy = Path(workspace().name) / name
    shutil.copytree(trained(), copy)
    tensors = load_file(copy / half / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / half / "model.safetensors", {"format": "pt"})
    return copy
