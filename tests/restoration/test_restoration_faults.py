"""A restoration that cannot be right, or cannot be written, leaves OUT as it was."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from restored import edit_tensors, made_up, network

from electra_convert import open_checkpoint, restore
from electra_convert.atomic import _FULL
from electra_convert.errors import (
    ChecksumError,
    FolderError,
    InputError,
    MappingError,
    OutputError,
    UsageError,
    ValueRefused,
)
from electra_convert.restoration import writing as restoration_writing
from electra_convert.restoration.stream import VariableStream
from electra_convert.restoration.writing import CheckpointWriter


def test_what_is_not_finite_is_refused_or_counted(tmp_path: Path) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["electra.encoder.layer.1.output.dense.weight"][3, 5] = float("nan")
        tensors["electra.embeddings.word_embeddings.weight"][2] = float("inf")

    hf = made_up(tmp_path, "uniform") / "discriminator"
    edit_tensors(hf, spoil)
    with pytest.raises(ValueRefused) as refusal:
        restore(hf, tmp_path / "ckpt", step=0)
    assert "index [2, 0]" in str(refusal.value)
    assert not (tmp_path / "ckpt").exists()
    restoration = restore(hf, tmp_path / "ckpt", step=0, allow_nonfinite=True)
    counts = {dict(notice.facts)["tensor"]: dict(notice.facts)["found"] for notice in restoration.warnings}
    assert counts == {
        "electra.encoder.layer.1.output.dense.weight": "1 values",
        "electra.embeddings.word_embeddings.weight": "4 values",
    }


def test_a_value_too_large_for_the_type_is_refused(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    edit_tensors(hf, lambda tensors: tensors["electra.encoder.layer.0.intermediate.dense.weight"][7, 1].fill_(1e5))
    with pytest.raises(ValueRefused) as refusal:
        restore(hf, tmp_path / "ckpt", step=0, dtype="float16")
    assert "index [7, 1]" in str(refusal.value)
    assert "65504" in str(refusal.value)


def test_mixed_types_are_refused_unless_one_is_asked_for(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    edit_tensors(
        hf,
        lambda tensors: tensors.update(
            {"electra.embeddings_project.bias": tensors["electra.embeddings_project.bias"].half()}
        ),
    )
    with pytest.raises(MappingError, match="--dtype"):
        restore(hf, tmp_path / "ckpt", step=0)
    restore(hf, tmp_path / "ckpt", step=0, dtype="float32")
    with pytest.raises(UsageError, match="contradict"):
        restore(hf, tmp_path / "slots", slots=True, dtype="float16")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("nth", range(1, 9))
def test_a_disk_that_fills_up_leaves_what_was_there(
    nth: int, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fsync of a run fails in turn: of data, index and every other file."""
    hf = made_up(tmp_path, "uniform") / "discriminator"
    out = tmp_path / "ckpt"
    if overwrite:
        restore(hf, out, step=1)
    before = {path.name: path.read_bytes() for path in out.iterdir()} if overwrite else None
    calls, fsync = [0], os.fsync

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(next(iter(_FULL)), "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError):
        restore(hf, out, step=2, overwrite=overwrite)
    assert (before is None and not out.exists()) or (before == {path.name: path.read_bytes() for path in out.iterdir()})
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".ckpt")] == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_signal_leaves_what_was_there(overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    if overwrite:
        restore(hf, tmp_path / "ckpt", step=1)

    def stopped(self: VariableStream, move: Any) -> Any:
        yield from self.tensor(move)
        if "layer_1" in move.variable:
            raise KeyboardInterrupt

    monkeypatch.setattr(VariableStream, "variable", stopped)
    with pytest.raises(KeyboardInterrupt):
        restore(hf, tmp_path / "ckpt", step=2, overwrite=overwrite)
    assert (tmp_path / "ckpt" / "model.ckpt-1.index").exists() == overwrite
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_wrong_turn_is_found_before_anything_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Square kernels fit whichever way they are turned: converting back is what tells."""
    hf = made_up(tmp_path, "uniform") / "discriminator"
    monkeypatch.setattr(VariableStream, "variable", VariableStream.tensor)
    with pytest.raises(OutputError, match="what was read back is not what was written"):
        restore(hf, tmp_path / "ckpt")
    assert not (tmp_path / "ckpt").exists()


def test_bytes_that_change_on_the_disk_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaging(folder: Path) -> Any:
        (data,) = folder.glob("*.data-*")
        content = bytearray(data.read_bytes())
        content[100] ^= 1
        data.write_bytes(content)
        return open_checkpoint(folder)

    hf = made_up(tmp_path, "uniform") / "discriminator"
    monkeypatch.setattr(restoration_writing, "open_checkpoint", damaging)
    with pytest.raises(OutputError) as refusal:
        restore(hf, tmp_path / "ckpt")
    assert isinstance(refusal.value.__cause__, ChecksumError)
    assert not (tmp_path / "ckpt").exists()


def test_a_folder_that_changes_meanwhile_is_the_one_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    prove = CheckpointWriter.prove

    def changing(self: CheckpointWriter, progress: Any) -> str:
        with (hf / "model.safetensors").open("r+b") as file:
            file.seek(-8, 2)
            file.write(b"\1" * 8)
        return prove(self, progress)

    monkeypatch.setattr(CheckpointWriter, "prove", changing)
    with pytest.raises(FolderError, match="changed during the run"):
        restore(hf, tmp_path / "ckpt")


def test_output_rules_are_those_of_the_other_way(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    for inside in (hf, hf / "ckpt", tmp_path):
        with pytest.raises(UsageError, match="overlap"):
            restore(hf, inside)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        restore(hf, tmp_path / "full")
    planned = restore(hf, tmp_path / "dry", dry_run=True)
    assert not (tmp_path / "dry").exists()
    written = restore(hf, tmp_path / "full", overwrite=True)
    assert dict(planned.files).keys() == dict(written.files).keys() == {p.name for p in (tmp_path / "full").iterdir()}
    assert json.loads(json.dumps(written.to_json()))["prefix"].endswith("model.ckpt-7")


def test_memory_holds_no_more_than_pieces_and_one_matrix(tmp_path: Path) -> None:
    model = network("ElectraForPreTraining", vocab_size=60_000, embedding_size=128)
    model.save_pretrained(tmp_path / "hf")  # 31 MB of word embeddings
    restore(tmp_path / "hf", tmp_path / "warm", dry_run=True)
    tracemalloc.start()
    try:
        restore(tmp_path / "hf", tmp_path / "ckpt", slots=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


def test_every_refusal_is_an_input_error_with_a_place(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    (hf / "config.json").write_text("{")
    with pytest.raises(InputError) as refusal:
        restore(hf, tmp_path / "ckpt")
    assert refusal.value.where is not None
    assert refusal.value.exit_code == 3
