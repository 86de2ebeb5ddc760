"""Which set-up folders make, and what a checkpoint says besides its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import google
from made_up import write_made_up
from restored import edit_config, edit_tensors, exported, made_up, network, same

from electra_convert import convert, open_checkpoint, restore
from electra_convert.errors import (
    FolderError,
    LayoutError,
    MappingError,
    SettingError,
    StrictError,
    UsageError,
    VocabularyError,
)


@pytest.mark.parametrize("setup", ["separate", "untied embeddings", "tied", "masked LM", "uniform"])
@pytest.mark.parametrize("width", [4, 6, 8])
def test_every_set_up_is_found_again(setup: str, width: int, tmp_path: Path) -> None:
    """Widths of the embeddings below, at and above the towers' own: with and without projections."""
    made = write_made_up(tmp_path / "made", setup, width=width)
    convert(made, tmp_path / "hf", export="available", verify=False)
    restoration = restore(tmp_path / "hf", tmp_path / "ckpt")
    for ending in ("index", "data-00000-of-00001"):
        name = f"model.ckpt-7.{ending}"
        assert (tmp_path / "ckpt" / name).read_bytes() == (made / name).read_bytes()
    assert restoration.step == 7


def test_equal_towers_that_are_told_apart_by_their_config_are_not_tied(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "tied")
    edit_config(hf / "discriminator", num_attention_heads=2)
    restoration = restore(hf, tmp_path / "ckpt")
    assert restoration.setup == "separate generator, shared embeddings"
    assert restoration.hparams["model_hparam_overrides"]["num_attention_heads"] == 2


@pytest.mark.parametrize("tensor", ["encoder.layer.1.output.dense.weight", "embeddings_project.bias"])
def test_towers_that_differ_in_one_value_are_not_tied(tensor: str, tmp_path: Path) -> None:
    """Google's released small has a generator as large as its discriminator."""
    hf = made_up(tmp_path, "tied")
    edit_tensors(hf / "generator", lambda tensors: tensors[f"electra.{tensor}"].view(-1)[-1].add_(1))
    restoration = restore(hf, tmp_path / "ckpt", step=0)
    assert restoration.setup == "separate generator, shared embeddings"
    assert restoration.hparams["generator_hidden_size"] == restoration.hparams["generator_layers"] == 1.0


def test_halves_that_share_nothing_are_refused(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    edit_tensors(hf / "generator", lambda tensors: tensors["electra.embeddings.LayerNorm.bias"].add_(1))
    with pytest.raises(LayoutError) as refusal:
        restore(hf, tmp_path / "ckpt")
    assert "electra.embeddings.LayerNorm.bias" in str(refusal.value)
    assert "word_embeddings" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_attention_heads": 2}, "expected  1, hidden size // 64"),
        ({"hidden_act": "relu"}, "ElectraForMaskedLM has gelu"),
    ],
)
def test_a_generator_that_google_cannot_build_is_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    edit_config(hf / "generator", **change)
    with pytest.raises(SettingError) as refusal:
        restore(hf, tmp_path / "ckpt")
    assert told in str(refusal.value)


def test_a_generator_alone_is_a_masked_language_model_or_keeps_its_scope(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    restoration = restore(hf / "generator", tmp_path / "mlm")
    assert restoration.hparams["electra_objective"] is False
    restore(hf / "generator", tmp_path / "part", generator_scope="generator")
    with (
        open_checkpoint(tmp_path / "made" / "model.ckpt-7") as original,
        open_checkpoint(tmp_path / "mlm") as mlm,
        open_checkpoint(tmp_path / "part") as part,
    ):
        assert not any(name.startswith("generator/") for name in mlm.variables)
        kernel = "encoder/layer_1/output/dense/kernel"
        assert same(mlm.read(f"electra/{kernel}"), original.read(f"generator/{kernel}"))
        assert all(same(part.read(name), original.read(name)) for name in part.variables)
        assert {name for name in original.variables if "/" in name} - set(part.variables) == {
            name
            for name in original.variables
            if name.startswith(("electra/encoder", "electra/embeddings_project", "discriminator"))
        }
    with pytest.raises(UsageError, match="generator-scope"):
        restore(hf, tmp_path / "both", generator_scope="generator")


def test_shards_come_before_a_bin_file_as_in_transformers(tmp_path: Path) -> None:
    network("ElectraForPreTraining").save_pretrained(tmp_path / "hf", max_shard_size="3KB")
    (tmp_path / "hf" / "pytorch_model.bin").write_bytes(b"no tensors")
    assert restore(tmp_path / "hf", tmp_path / "ckpt").halves[0].half == "discriminator"


def test_shards_of_bin_files_are_refused_by_name(tmp_path: Path) -> None:
    network("ElectraForPreTraining").save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    (tmp_path / "hf" / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(FolderError, match="save_pretrained"):
        restore(tmp_path / "hf", tmp_path / "ckpt")


def test_folders_that_make_no_checkpoint_are_refused(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    one = hf / "discriminator"
    for folders, encoder in (([one, one], False), ([hf, one], False), ([], False), (hf, True)):
        with pytest.raises(UsageError):
            restore(folders, tmp_path / "ckpt", encoder=encoder)
    for wrong in (tmp_path, tmp_path / "nothing", one / "config.json"):
        with pytest.raises(FolderError):
            restore(wrong, tmp_path.parent / f"{tmp_path.name}-ckpt")


BIAS = "electra.embeddings_project.bias"


@pytest.mark.parametrize(
    ("label", "change"),
    [
        ("missing", lambda tensors: tensors.pop("discriminator_predictions.dense.bias")),
        ("unexpected", lambda tensors: tensors.update({"electra.pooler": tensors[BIAS] + 1})),
        ("differing", lambda tensors: tensors.update({BIAS: tensors[BIAS][1:].clone()})),
        ("differing", lambda tensors: tensors.update({BIAS: tensors[BIAS].int()})),
    ],
)
def test_tensors_that_do_not_fit_are_listed(label: str, change: Callable[[Any], Any], tmp_path: Path) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    edit_tensors(hf, change)
    with pytest.raises(MappingError) as refusal:
        restore(hf, tmp_path / "ckpt")
    assert label in refusal.value.facts
    assert not (tmp_path / "ckpt").exists()


def test_the_step_is_given_recorded_or_zero(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    assert restore(hf, tmp_path / "a").step_source == "conversion.json"
    assert restore(hf, tmp_path / "b", step=10**12).name == "model.ckpt-1000000000000"
    with open_checkpoint(tmp_path / "b") as checkpoint:
        assert checkpoint.read("global_step").dtype == np.int64
    with pytest.raises(UsageError):
        restore(hf, tmp_path / "c", step=-1)
    edit_tensors(hf, lambda tensors: tensors["electra.embeddings_project.bias"].add_(1))
    stale = restore(hf, tmp_path / "c")
    assert (stale.step, [notice.code for notice in stale.warnings]) == (0, ["record"])
    (hf / "conversion.json").unlink()
    assert (restore(hf, tmp_path / "d").step, restore(hf, tmp_path / "e").warnings) == (0, ())


def test_halves_of_different_steps_are_refused(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    record = json.loads((hf / "generator" / "conversion.json").read_text())
    record["checkpoint"]["step"] = 8
    (hf / "generator" / "conversion.json").write_text(json.dumps(record))
    with pytest.raises(SettingError, match="--step"):
        restore(hf, tmp_path / "ckpt")
    assert restore(hf, tmp_path / "ckpt", step=8).step == 8


def test_the_vocabulary_comes_from_tokenizer_json_where_transformers_left_nothing_else(tmp_path: Path) -> None:
    hf = exported("cased_temperature", tmp_path / "hf") / "discriminator"
    (hf / "vocab.txt").unlink()
    restoration = restore(hf, tmp_path / "ckpt")
    assert (tmp_path / "ckpt" / "vocab.txt").read_bytes() == (google("cased_temperature") / "vocab.txt").read_bytes()
    assert restoration.hparams["do_lower_case"] is False
    (hf / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')
    with pytest.raises(VocabularyError, match="Unigram"):
        restore(hf, tmp_path / "again")
    (hf / "tokenizer.json").unlink()
    assert "no-vocabulary" in [notice.code for notice in restore(hf, tmp_path / "without").warnings]
    assert restore(hf, tmp_path / "asked", tokenizer=False, strict=False).hparams.get("do_lower_case") is None
    given = restore(hf, tmp_path / "given", vocab=google("cased_temperature") / "vocab.txt")
    assert "vocab.txt" in dict(given.files)


def test_an_id_without_a_token_is_a_blank_line(tmp_path: Path) -> None:
    """The Chinese vocabulary has such lines, and a later id must not move up."""
    hf = made_up(tmp_path, "uniform") / "discriminator"
    tokenizer = json.loads((hf / "tokenizer.json").read_text())
    del tokenizer["model"]["vocab"]["c"]
    (hf / "tokenizer.json").write_text(json.dumps(tokenizer))
    lines = (hf / "vocab.txt").read_text().split("\n")
    (hf / "vocab.txt").unlink()
    restore(hf, tmp_path / "ckpt")
    expected = ["" if line == "c" else line for line in lines]
    assert (tmp_path / "ckpt" / "vocab.txt").read_text().split("\n") == expected


def test_tokenizers_that_google_does_not_have_are_a_warning(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "uniform") / "discriminator"
    config = json.loads((hf / "tokenizer_config.json").read_text())
    assert restore(hf, tmp_path / "plain").warnings == ()
    changed = {**config, "strip_accents": not config["do_lower_case"], "tokenize_chinese_chars": False}
    (hf / "tokenizer_config.json").write_text(json.dumps({**changed, "tokenizer_class": "BertJapaneseTokenizer"}))
    (warning,) = restore(hf, tmp_path / "ckpt").warnings
    assert warning.code == "tokenizer"
    assert len(dict(warning.facts)["found"]) == 3
    with pytest.raises(StrictError):
        restore(hf, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_halves_with_different_vocabularies_are_refused(tmp_path: Path) -> None:
    hf = made_up(tmp_path, "separate")
    lines = (hf / "generator" / "vocab.txt").read_text().replace("o\n", "ö\n")
    (hf / "generator" / "vocab.txt").write_text(lines)
    with pytest.raises(VocabularyError, match="--vocab FILE"):
        restore(hf, tmp_path / "ckpt")
    restore(hf, tmp_path / "ckpt", vocab=hf / "discriminator" / "vocab.txt")
