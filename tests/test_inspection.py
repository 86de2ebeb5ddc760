"""`inspect` tells what a checkpoint holds and what can be exported, from its index and graph alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_v2
from conftest import all_of, google, other
from made_up import HG, TOKENS, H, shapes_of, values_of, with_slots, write_made_up

from electra_convert import convert, inspect
from electra_convert.electra.layout import HALVES
from electra_convert.errors import ElectraConvertError, LayoutError
from electra_convert.inspection import KINDS, HalfView, Inspection
from electra_convert.tf1.checkpoint import Checkpoint, open_checkpoint


def half(inspection: Inspection, name: str) -> HalfView:
    return inspection.halves[HALVES.index(name)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", all_of("google"))
def test_what_it_says_of_the_halves_is_what_convert_does(name: str, tmp_path: Path) -> None:
    inspection = inspect(google(name))
    for view in inspection.halves:
        if view.exportable:
            done = convert(google(name), tmp_path / view.half, export=view.half, dry_run=True)
            (export,) = done.halves
            assert (view.tensors, view.parameters) == (export.tensors, export.parameters)
            assert (view.config, view.sources) == (export.config, export.sources)
        else:
            with pytest.raises(ElectraConvertError) as refusal:
                convert(google(name), tmp_path / view.half, export=view.half, dry_run=True)
            assert refusal.value.message == view.reason


@pytest.mark.parametrize("name", all_of("google"))
def test_every_variable_is_listed_once_under_one_kind(name: str) -> None:
    inspection = inspect(google(name))
    with open_checkpoint(google(name)) as checkpoint:
        assert [variable.name for variable in inspection.variables] == list(checkpoint.variables)
    assert sum(inspection.counts.values()) == len(inspection.variables)
    assert list(inspection.counts) == list(KINDS)
    assert inspection.counts["unknown"] == 0


def test_no_tensor_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("inspect read a tensor")

    for method in ("read", "read_into", "chunks"):
        monkeypatch.setattr(Checkpoint, method, fail)
    assert inspect(google("default_small")).checkpoint.step == 40


def test_the_default_set_up_in_figures() -> None:
    inspection = inspect(google("default_small"))
    assert inspection.setup == "separate generator, shared embeddings"
    assert (inspection.checkpoint.format, inspection.checkpoint.step, inspection.checkpoint.trained_length) == (
        "V2",
        40,
        32,
    )
    assert inspection.counts == {
        "discriminator": 38, "generator": 39, "shared": 5, "task": 0, "optimizer": 164, "known scalar": 1, "unknown": 0,
    }  # fmt: skip
    assert inspection.optimizer_share == pytest.approx(2 / 3, abs=1e-4)
    assert [view.config["num_attention_heads"] for view in inspection.halves] == [1, 1]
    assert {view.sources["num_attention_heads"].source for view in inspection.halves} == {"graph"}
    assert inspection.vocabulary is not None
    assert (inspection.vocabulary.entries, inspection.vocabulary.casing) == (300, "lower case, accents stripped")
    assert inspection.missing == ()


def test_without_a_graph_the_trained_length_is_left_open() -> None:
    """The slots would tell, but reading them is not what this command does."""
    folder = google("several_steps")
    inspection = inspect(folder / "model.ckpt-40")
    assert any(variable.kind == "optimizer" for variable in inspection.variables)
    assert inspection.checkpoint.trained_length is None
    assert inspection.checkpoint.step == 40


class TestIndexAlone:
    def test_the_released_small_is_told_from_its_index(self) -> None:
        inspection = inspect(other("electra_small_released"))
        assert [view.exportable for view in inspection.halves] == [True, True]
        assert [view.config["hidden_size"] for view in inspection.halves] == [256, 256]
        assert [view.config["num_attention_heads"] for view in inspection.halves] == [4, 4]
        assert [view.tensors for view in inspection.halves] == [203, 204]
        assert inspection.checkpoint.nbytes == 92_491_512
        assert (inspection.checkpoint.step, inspection.checkpoint.step_source) == (None, "")
        assert len(inspection.missing) == 1
        assert "electra_small.data-00000-of-00001" in inspection.missing[0]
        assert inspection.counts["known scalar"] == 2

    def test_its_document_is_json(self) -> None:
        document = json.loads(json.dumps(inspect(other("electra_small_released")).to_json(), allow_nan=False))
        assert document["counts"]["unknown"] == 0
        assert [view["exportable"] for view in document["halves"]] == [True, True]
        assert {"name", "dtype", "shape", "bytes", "slices", "kind"} == set(document["variables"][0])


class TestWhatCannotBeExported:
    @pytest.mark.parametrize(
        ("setup", "name", "reason"),
        [
            ("uniform", "generator", "discriminator only"),
            ("masked LM", "discriminator", "plain masked language model"),
            ("two towers", "generator", "two towers"),
            ("fine-tuned", "generator", "fine-tuned"),
        ],
    )
    def test_a_half_that_is_not_there_has_a_reason(self, tmp_path: Path, setup: str, name: str, reason: str) -> None:
        view = half(inspect(write_made_up(tmp_path / "ckpt", setup)), name)
        assert not view.exportable
        assert reason in view.reason
        assert (view.tensors, view.config) == (0, {})

    def test_an_activation_that_hugging_face_cannot_hold(self) -> None:
        inspection = inspect(google("tanh_activation"))
        if half(inspection, "discriminator").sources["hidden_act"].source != "graph":
            pytest.skip("without its graph here")
        assert half(inspection, "discriminator").exportable
        view = half(inspection, "generator")
        assert "its activation is tanh" in view.reason
        assert view.config["hidden_size"] == 8
        assert view.tensors > 0

    def test_unknown_variables_stop_every_half(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt", change=lambda there: there.update({"crf/x": np.zeros(2, np.float32)}))
        inspection = inspect(path)
        assert {view.reason for view in inspection.halves} == {"a variable is unknown"}
        assert half(inspection, "discriminator").config["hidden_size"] == H

    @pytest.mark.parametrize(
        ("dtype", "reason"),
        [("float16", "have several types"), ("int32", "is not a float"), ("bool", "is not a float")],
    )
    def test_types_that_convert_refuses(self, tmp_path: Path, dtype: str, reason: str) -> None:
        name = "generator_predictions/output_bias"

        def change(variables: dict[str, np.ndarray]) -> None:
            variables[name] = variables[name].astype(dtype)

        inspection = inspect(write_made_up(tmp_path / "ckpt", change=change))
        assert half(inspection, "discriminator").exportable
        assert reason in half(inspection, "generator").reason
        assert half(inspection, "generator").config["hidden_size"] == HG

    def test_an_incomplete_half(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt", change=lambda there: there.pop("generator_predictions/output_bias"))
        inspection = inspect(path)
        assert [view.exportable for view in inspection.halves] == [True, False]
        assert half(inspection, "generator").reason == "the checkpoint has no complete generator"
        assert inspection.counts["generator"] > 0

    def test_another_model_is_refused(self) -> None:
        with pytest.raises(LayoutError, match="this is BERT"):
            inspect(other("bert_tiny_keras_bert"))


class TestVocabularies:
    @pytest.mark.parametrize(
        ("tokens", "casing"),
        [
            (TOKENS, "lower case, accents stripped"),
            ([*TOKENS[:-1], "é"], "lower case, accents kept"),
            ([*TOKENS[:-1], "O"], "cased"),
        ],
    )
    def test_the_casing_it_shows_is_told(self, tmp_path: Path, tokens: list[str], casing: str) -> None:
        vocabulary = inspect(write_made_up(tmp_path / "ckpt", tokens=tokens)).vocabulary
        assert vocabulary is not None
        assert (vocabulary.entries, vocabulary.casing, vocabulary.problem) == (20, casing, None)

    def test_one_that_cannot_be_used_is_told_with_the_reason(self, tmp_path: Path) -> None:
        vocabulary = inspect(write_made_up(tmp_path / "ckpt", tokens=["a"])).vocabulary
        assert vocabulary is not None
        assert (vocabulary.entries, vocabulary.casing) == (0, None)
        assert vocabulary.problem == "the vocabulary lacks special tokens"

    def test_none_is_none(self, tmp_path: Path) -> None:
        folder = write_made_up(tmp_path / "ckpt")
        (folder / "vocab.txt").unlink()
        assert inspect(folder).vocabulary is None


def test_the_share_of_the_optimizer_is_two_thirds_of_what_was_trained(tmp_path: Path) -> None:
    prefix = write_v2(tmp_path / "model.ckpt-7", values_of(with_slots(shapes_of("uniform"))))
    assert inspect(prefix).optimizer_share == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_path_is_told_as_it_was_typed(kind: type) -> None:
    assert inspect(kind(google("default_small"))).checkpoint.path == str(google("default_small"))


def test_an_open_checkpoint_is_taken_and_left_open() -> None:
    with open_checkpoint(google("default_small")) as checkpoint:
        assert inspect(checkpoint).checkpoint.name == "model.ckpt-40"
        assert checkpoint.read("global_step") == 40


def test_warnings_and_notes_are_told_apart(tmp_path: Path) -> None:
    folder = write_made_up(tmp_path / "data/models/small")
    (folder / "vocab.txt").rename(tmp_path / "data/vocab.txt")
    inspection = inspect(folder)
    assert [notice.code for notice in inspection.warnings] == ["vocab-elsewhere"]
    assert {*inspection.warnings, *inspection.notes} == set(inspection.notices)
