"""TensorFlow's reader and ours agree, variable for variable, on every set with values."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from builders import small_variables, write_v2
from conftest import all_of, google, other
from test_tf1_checkpoint import path_of

from electra_convert.errors import CheckpointError, MissingExtra, UnsupportedFeature
from electra_convert.tf1.checkpoint import open_checkpoint

SETS = [("google", name) for name in all_of("google")] + [("others", name) for name in all_of("others")]


@pytest.mark.parametrize(("kind", "name"), SETS)
def test_both_readers_agree(kind: str, name: str) -> None:
    pytest.importorskip("tensorflow")
    folder = google(name) if kind == "google" else other(name)
    if kind == "others" and not (folder / "values.npz").exists():
        pytest.skip("has no data file")
    path = path_of(folder)
    with open_checkpoint(path) as ours, open_checkpoint(path, reader="tensorflow") as theirs:
        assert (ours.step, ours.format, ours.shards) == (theirs.step, theirs.format, theirs.shards)
        assert list(ours.variables) == list(theirs.variables)
        for variable, other_variable in zip(ours.variables.values(), theirs.variables.values(), strict=True):
            assert (variable.dtype, variable.shape) == (other_variable.dtype, other_variable.shape)
            if variable.dtype.size:
                one, other_one = ours.read(variable.name), theirs.read(variable.name)
                assert (one.dtype, one.shape) == (other_one.dtype, other_one.shape)
                assert one.tobytes() == other_one.tobytes()


def test_pieces_are_those_of_ours(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    path = write_v2(tmp_path / "x", small_variables())
    with open_checkpoint(path, reader="tensorflow") as checkpoint:
        for name, array in small_variables().items():
            pieces = [piece.copy() for piece in checkpoint.chunks(name, 10)]
            assert b"".join(piece.tobytes() for piece in pieces) == array.tobytes()
        checkpoint.check_unchanged()


def test_its_errors_are_ours(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    path = write_v2(tmp_path / "x", {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)})
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    with open_checkpoint(path, reader="tensorflow") as checkpoint, pytest.raises(CheckpointError, match="a float32"):
        checkpoint.read("a")
    (tmp_path / "x.index").write_bytes(b"no table" * 20)
    with pytest.raises(CheckpointError, match="TensorFlow cannot read"):
        open_checkpoint(path, reader="tensorflow")


def test_a_path_that_it_takes_for_a_pattern_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    folder = tmp_path / "run[1]"
    folder.mkdir()
    write_v2(folder / "x", small_variables())
    with pytest.raises(UnsupportedFeature, match="pattern"):
        open_checkpoint(folder / "x", reader="tensorflow")


def test_without_tensorflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtra) as caught:
        open_checkpoint(write_v2(tmp_path / "x", small_variables()), reader="tensorflow")
    assert caught.value.hint == "pip install 'electra-convert[tensorflow]'"
    assert caught.value.exit_code == 4
