"""The way back: what Google's code or transformers wrote becomes a checkpoint again, with every bit and setting."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from conftest import all_of, google
from restored import SIZES, edit_config, edit_tensors, exported, network, same, state_of

from electra_convert import convert, open_checkpoint, restore
from electra_convert.errors import (
    LayoutError,
    MappingError,
)
from electra_convert.stored import StoredTensors

# tf.train.Saver wrote these without slots, as one shard: the same tensors in the same order.
SAVERS = ("base_like", "masked_lm", "tied_generator", "no_meta", "dtype_float16", "dtype_bfloat16")


@pytest.mark.parametrize("name", all_of("google"))
def test_a_checkpoint_of_google_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    hf = exported(name, tmp_path / "hf")
    restoration = restore(hf, tmp_path / "ckpt")
    with open_checkpoint(google(name)) as original, open_checkpoint(tmp_path / "ckpt") as restored:
        assert (restoration.name, restored.step) == (f"model.ckpt-{original.step}", original.step)
        for variable in restored.variables:
            expected = original.read(variable)
            if expected.dtype == np.float64:  # the folder in between has float32
                expected = expected.astype(np.float32)
            assert same(restored.read(variable), expected), variable
        # What is not there again was not exported: slots, the temperature, heads of tasks, two towers, a refused half.
        lost = set(original.variables) - set(restored.variables)
        towers = ("generator_ltr", "generator_rtl", "cloze_predictions", "task_specific")
        gone = (*towers, "generator/", "generator_predictions/") if len(restoration.halves) == 1 else towers
        assert all(each.endswith(("/adam_m", "/adam_v", "/temperature")) or each.startswith(gone) for each in lost)


@pytest.mark.parametrize("name", SAVERS)
def test_the_files_are_those_of_tensorflow_byte_for_byte(name: str, tmp_path: Path) -> None:
    folder = google(name)
    restore(exported(name, tmp_path / "hf"), tmp_path / "ckpt")
    for ending in (".index", ".data-00000-of-00001"):
        (theirs,) = folder.glob(f"*{ending}")
        (ours,) = (tmp_path / "ckpt").glob(f"*{ending}")
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("name", [name for name in all_of("google") if name != "dtype_float64"])
def test_the_folders_come_back_with_the_written_hparams(name: str, tmp_path: Path) -> None:
    """Tensors, every config value and the vocabulary; each value is then known from the hparams."""
    hf = exported(name, tmp_path / "hf")
    restoration = restore(hf, tmp_path / "ckpt")
    (halves,) = {len(restoration.halves)}
    export = "both" if halves == 2 else restoration.halves[0].half
    again = tmp_path / "again"
    conversion = convert(
        tmp_path / "ckpt", again, export=export, hparams=tmp_path / "ckpt" / "hparams.json", verify=False
    )
    assert {origin.source for half in conversion.halves for origin in half.sources.values()} <= {
        *("shape", "hparams"),
        "rule",
    }
    for half in restoration.halves:
        before, after = Path(half.folder), again / half.half if halves == 2 else again
        for file in ("config.json", "model.safetensors", "vocab.txt"):
            assert (after / file).read_bytes() == (before / file).read_bytes(), file


def test_the_second_way_gives_the_same_checkpoint_byte_for_byte(tmp_path: Path) -> None:
    restore(exported("default_small", tmp_path / "hf"), tmp_path / "one")
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(tmp_path / "hf", tmp_path / "elsewhere" / "copy")
    halves = [tmp_path / "elsewhere" / "copy" / half for half in ("generator", "discriminator")]
    restore(halves, tmp_path / "elsewhere" / "two")
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "elsewhere" / "two" / file.name).read_bytes(), file.name
    assert str(tmp_path) not in (tmp_path / "one" / "restoration.json").read_text()


SAVED: dict[str, Callable[[Any, Path], None]] = {
    "whole": lambda model, out: model.save_pretrained(out),
    "sharded": lambda model, out: model.save_pretrained(out, max_shard_size="3KB"),
}


@pytest.mark.parametrize("form", SAVED)
@pytest.mark.parametrize("kind", ["ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForCausalLM", "ElectraModel"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_folder_of_transformers_goes_there_and_back(kind: str, dtype: str, form: str, tmp_path: Path) -> None:
    model = network(kind).to(dtype=getattr(pytest.importorskip("torch"), dtype))
    SAVED[form](model, tmp_path / "hf")
    assert (form == "sharded") == bool(list((tmp_path / "hf").glob("*.index.json")))
    restoration = restore(tmp_path / "hf", tmp_path / "ckpt")
    assert restoration.dtype == dtype
    half = restoration.halves[0].half
    convert(
        tmp_path / "ckpt",
        tmp_path / "again",
        export=half,
        tokenizer=False,
        hparams=tmp_path / "ckpt" / "hparams.json",
        verify=False,
    )
    before, after = state_of(tmp_path / "hf"), state_of(tmp_path / "again")
    assert before.keys() == after.keys()
    assert all(same(after[name], before[name]) for name in before)
    told, again = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("hf", "again"))
    assert {key: again[key] for key in [*SIZES, "hidden_act", "layer_norm_eps"]} == {
        key: told[key] for key in [*SIZES, "hidden_act", "layer_norm_eps"]
    }


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_old_spellings_and_copies_say_the_same(form: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    model = network("ElectraForMaskedLM")
    model.save_pretrained(tmp_path / "plain")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert "generator_lm_head.weight" in state
    for name in list(state):
        if name.endswith(("LayerNorm.weight", "LayerNorm.bias")):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            state[old] = state.pop(name)
    state["electra.embeddings.position_ids"] = torch.arange(16)[None]
    (tmp_path / "old").mkdir()
    shutil.copy(tmp_path / "plain" / "config.json", tmp_path / "old")
    if form == "bin":
        torch.save(state, tmp_path / "old" / "pytorch_model.bin")
    else:
        save_file(state, tmp_path / "old" / "model.safetensors", metadata={"format": "pt"})
    restore(tmp_path / "plain", tmp_path / "one")
    restore(tmp_path / "old", tmp_path / "two")
    for ending in ("index", "data-00000-of-00001"):
        name = f"model.ckpt-0.{ending}"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_head_that_is_not_tied_is_refused(tmp_path: Path) -> None:
    network("ElectraForMaskedLM").save_pretrained(tmp_path / "hf")
    edit_config(tmp_path / "hf", tie_word_embeddings=False)
    with pytest.raises(MappingError, match=r"generator_lm_head\.weight"):
        restore(tmp_path / "hf", tmp_path / "ckpt")
    edit_tensors(
        tmp_path / "hf",
        lambda tensors: tensors.update(
            {"generator_lm_head.weight": tensors["electra.embeddings.word_embeddings.weight"] + 1}
        ),
    )
    with pytest.raises(MappingError, match="unexpected"):
        restore(tmp_path / "hf", tmp_path / "ckpt")


def test_a_head_that_differs_in_its_last_value_is_no_copy(tmp_path: Path) -> None:
    """Also where the two are compared in several pieces."""
    network("ElectraForMaskedLM", vocab_size=50_000).save_pretrained(tmp_path / "hf")

    def add(tensors: dict[str, Any]) -> None:
        tensors["generator_lm_head.weight"] = tensors["electra.embeddings.word_embeddings.weight"].clone()

    edit_tensors(tmp_path / "hf", add)
    restore(tmp_path / "hf", tmp_path / "ckpt")
    edit_tensors(tmp_path / "hf", lambda tensors: tensors["generator_lm_head.weight"][-1, -1].add_(1))
    with pytest.raises(MappingError, match="generator_lm_head"):
        restore(tmp_path / "hf", tmp_path / "again")


FINE_TUNED = [
    *("ElectraForSequenceClassification", "ElectraForTokenClassification"),
    *("ElectraForQuestionAnswering", "ElectraForMultipleChoice"),
]


@pytest.mark.parametrize("kind", FINE_TUNED)
def test_a_fine_tuned_folder_is_refused_by_its_head_and_gives_its_encoder(kind: str, tmp_path: Path) -> None:
    model = network(kind)
    model.save_pretrained(tmp_path / "hf")
    with pytest.raises(LayoutError) as refusal:
        restore(tmp_path / "hf", tmp_path / "ckpt")
    assert kind in str(refusal.value)
    assert "--encoder" in str(refusal.value)
    restoration = restore(tmp_path / "hf", tmp_path / "ckpt", encoder=True)
    assert [notice.code for notice in restoration.notes if notice.code == "head-left-out"] == ["head-left-out"]
    with open_checkpoint(tmp_path / "ckpt") as checkpoint:
        assert {name.split("/")[0] for name in checkpoint.variables} == {"electra", "global_step"}
        query = model.electra.encoder.layer[0].attention.self.query.weight.detach().numpy()
        assert same(checkpoint.read("electra/encoder/layer_0/attention/self/query/kernel"), query.T.copy())


def test_the_record_holds_the_checksums_of_both_sides(tmp_path: Path) -> None:
    hf = exported("dtype_bfloat16", tmp_path / "hf")
    restore(hf, tmp_path / "ckpt", dtype="float32")
    record = json.loads((tmp_path / "ckpt" / "restoration.json").read_text())
    halves = {half: StoredTensors(hf / half) for half in ("discriminator", "generator")}
    with open_checkpoint(tmp_path / "ckpt") as checkpoint:
        assert [entry["variable"] for entry in record["variables"]] == [
            name for name in checkpoint.variables if name != "global_step"
        ]
        for entry in record["variables"]:
            value = np.ascontiguousarray(checkpoint.read(entry["variable"]))
            tensor = halves[entry["half"]][entry["tensor"]]
            assert f"{google_crc32c.value(value.tobytes()):08x}" == entry["crc32c"]
            assert f"{google_crc32c.value(tensor.tobytes()):08x}" == entry["tensor_crc32c"]
    shared = {entry["half"] for entry in record["variables"] if entry["variable"].startswith("electra/embeddings/")}
    assert shared == {"discriminator"}
    for file in record["files"]:
        assert f"{google_crc32c.value((tmp_path / 'ckpt' / file['name']).read_bytes()):08x}" == file["crc32c"]
    assert {file["name"] for file in record["files"]} == {path.name for path in (tmp_path / "ckpt").iterdir()} - {
        "restoration.json"
    }
