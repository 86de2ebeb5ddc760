"""Shards are read as the one file they were, and an index that does not fit them is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from electra_convert.errors import FolderError
from electra_convert.hf.shards import INDEX, FolderWeights

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TENSORS = {name: np.arange(4, dtype=np.float32) + at for at, name in enumerate(("a", "b", "c"))}


def write_shards(folder: Path) -> Path:
    save_file({"a": TENSORS["a"]}, folder / FIRST)
    save_file({"b": TENSORS["b"], "c": TENSORS["c"]}, folder / SECOND)
    weight_map = {"a": FIRST, "b": SECOND, "c": SECOND}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": weight_map}))
    return folder


def test_all_tensors_of_all_shards_are_there(tmp_path: Path) -> None:
    weights = FolderWeights(write_shards(tmp_path))
    assert {name: weights.read(name).tolist() for name in weights.tensors} == {
        name: array.tolist() for name, array in TENSORS.items()
    }
    assert b"".join(piece.tobytes() for piece in weights.chunks("c")) == TENSORS["c"].tobytes()
    assert weights.paths == [tmp_path / INDEX, tmp_path / FIRST, tmp_path / SECOND]
    weights.close()


def test_one_file_comes_before_shards_as_in_transformers(tmp_path: Path) -> None:
    save_file({"alone": TENSORS["a"]}, write_shards(tmp_path) / "model.safetensors")
    weights = FolderWeights(tmp_path)
    assert (list(weights.tensors), weights.paths) == (["alone"], [tmp_path / "model.safetensors"])
    weights.close()


def change_map(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((folder / INDEX).read_text())
    change(document["weight_map"])
    (folder / INDEX).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / SECOND).unlink(), "not there"),
        (lambda folder: change_map(folder, lambda names: names.update(b=FIRST)), "do not hold"),
        (lambda folder: change_map(folder, lambda names: names.pop("b")), "unexpected"),
        (lambda folder: change_map(folder, lambda names: names.update(d=FIRST)), "missing"),
        (
            lambda folder: change_map(folder, lambda names: names.update(a=f"../{folder.name}/{FIRST}")),
            "no file of its",
        ),
        (lambda folder: change_map(folder, lambda names: names.update(a=7)), "no file of its"),
        (lambda folder: change_map(folder, lambda names: names.clear()), "lists no tensor"),
        (lambda folder: (folder / INDEX).write_text("[]"), "no JSON object"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(damage: Callable[[Path], Any], told: str, tmp_path: Path) -> None:
    damage(write_shards(tmp_path))
    with pytest.raises(FolderError) as refusal:
        FolderWeights(tmp_path)
    assert told in str(refusal.value)
