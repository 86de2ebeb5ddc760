"""What is written, and what a person should know of it, is decided before a byte is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import google
from made_up import HG, TOKENS, E, H, I, L, P, T, V, shapes_of, write_made_up

from electra_convert.errors import (
    ElectraConvertError,
    LayoutError,
    MappingError,
    SettingError,
    UsageError,
    VocabularyError,
)
from electra_convert.options import Options
from electra_convert.planning import ConversionPlan, is_electric, plan_conversion
from electra_convert.tf1.checkpoint import open_checkpoint

TEMPERATURE = "generator_predictions/temperature"

# A Hugging Face config of the made-up discriminator.
CONFIG = {
    "model_type": "electra",
    "vocab_size": V,
    "embedding_size": E,
    "hidden_size": H,
    "num_hidden_layers": L,
    "intermediate_size": I,
    "max_position_embeddings": P,
    "type_vocab_size": T,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
}


def planned(path: Path, **options: Any) -> ConversionPlan:
    with open_checkpoint(path) as checkpoint:
        return plan_conversion(checkpoint, Options(**options))


def codes(plan: ConversionPlan, kind: str = "warning") -> list[str]:
    return [notice.code for notice in plan.notices if notice.kind == kind]


@contextmanager
def refused(error: type[ElectraConvertError], match: str) -> Iterator[Any]:
    with pytest.raises(error, match=match) as refusal:
        yield refusal
    assert refusal.value.exit_code == (2 if error is UsageError else 3)


def adding(**variables: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda there: there.update({name.replace("__", "/"): array for name, array in variables.items()})


def as_type(name: str, dtype: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(variables: dict[str, np.ndarray]) -> None:
        variables[name] = variables[name].astype(dtype)

    return change


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"export": "head"},
            {"task": "mnli"},
            {"export": "encoder", "labels": ["a", "b"]},
            {"export": "task", "task_kind": "chunking"},
            {"dtype": "float64"},
            {"dtype": "int8"},
            {"hidden_act": "swish"},
            {"reader": "torch"},
            {"num_attention_heads": 0},
            {"num_attention_heads": -4},
            {"ignore": "generator_1/*"},
            {"tokenizer": False, "vocab": "x"},
            {"tokenizer": False, "cased": True},
            {"tokenizer": False, "strip_accents": False},
            {"tokenizer": False, "max_length": 5},
        ],
    )
    def test_what_cannot_be_meant_is_a_usage_error(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError) as refusal:
            Options(**options)
        assert refusal.value.exit_code == 2

    @pytest.mark.parametrize(
        ("export", "half", "body", "heads"),
        [
            ("discriminator", "discriminator", "electra", 4),
            ("generator", "generator", "generator", 4),
            ("both", "discriminator", "electra", 4),
            ("both", "generator", "generator", None),  # as Google's override, which reaches `electra` alone
            ("both", "generator", "electra", 4),
            ("available", "generator", "generator", None),
        ],
    )
    def test_heads_are_for_the_half_that_is_exported_or_for_the_tower_electra(
        self, export: Any, half: Any, body: str, heads: int | None
    ) -> None:
        options = Options(export=export, num_attention_heads=4, hidden_act="relu")
        flags = options.flags_for(half, body)
        assert (flags.get("num_attention_heads"), flags["hidden_act"]) == (heads, "relu")


class TestHalves:
    @pytest.mark.parametrize(
        ("setup", "halves"),
        [
            ("separate", ["discriminator", "generator"]),
            ("untied embeddings", ["discriminator", "generator"]),
            ("tied", ["discriminator", "generator"]),
            ("masked LM", ["generator"]),
            ("uniform", ["discriminator"]),
            ("two towers", ["discriminator"]),
            ("two towers, untied embeddings", ["discriminator"]),
        ],
    )
    def test_available_is_every_half_and_names_the_others(self, tmp_path: Path, setup: str, halves: list[str]) -> None:
        path = write_made_up(tmp_path / "ckpt", setup)
        plan = planned(path, export="available")
        assert [half.half for half in plan.halves] == halves
        assert [half for half, _ in plan.refused] == [
            half for half in ("discriminator", "generator") if half not in halves
        ]
        assert all(reason.startswith(f"no {half} can be exported") for half, reason in plan.refused)
        if len(halves) == 2:
            assert [half.half for half in planned(path, export="both").halves] == halves
        else:
            with refused(LayoutError, "can be exported"):
                planned(path, export="both")

    @pytest.mark.parametrize("export", ["discriminator", "generator", "both", "available"])
    def test_a_fine_tuned_checkpoint_has_none(self, tmp_path: Path, export: str) -> None:
        with refused(LayoutError, "no half can be exported" if export == "available" else "fine-tuned"):
            planned(write_made_up(tmp_path / "ckpt", "fine-tuned"), export=export)

    def test_an_incomplete_half_is_one_that_cannot_be_had(self, tmp_path: Path) -> None:
        path = write_made_up(
            tmp_path / "ckpt", change=lambda variables: variables.pop("discriminator_predictions/dense/bias")
        )
        plan = planned(path, export="available")
        assert [half.half for half in plan.halves] == ["generator"]
        assert plan.refused == (("discriminator", "the checkpoint has no complete discriminator"),)

    def test_a_contradiction_is_no_half_that_cannot_be_had(self, tmp_path: Path) -> None:
        with refused(SettingError, "cannot have 3 attention heads"):
            planned(write_made_up(tmp_path / "ckpt"), export="available", num_attention_heads=3)

    def test_parameters_are_counted(self, tmp_path: Path) -> None:
        (half,) = planned(write_made_up(tmp_path / "ckpt", "uniform")).halves
        assert half.parameters == sum(int(np.prod(shape)) for shape in shapes_of("uniform").values())

    def test_unknown_variables_are_refused_after_what_is_missing_was_told(self, tmp_path: Path) -> None:
        def rename(variables: dict[str, np.ndarray]) -> None:
            variables["electra/embeddings/words"] = variables.pop("electra/embeddings/word_embeddings")

        with refused(MappingError, "no complete discriminator") as refusal:
            planned(write_made_up(tmp_path / "a", change=rename))
        assert "electra/embeddings/words" in refusal.value.facts["unexpected"]
        path = write_made_up(tmp_path / "b", change=adding(crf__transitions=np.zeros(3, np.float32)))
        with refused(MappingError, "a variable is unknown") as refusal:
            planned(path, export="available")
        assert refusal.value.hint == "leave them out with --ignore 'crf/*'"
        assert codes(planned(path, ignore=["crf/*"], hparams={})) == ["ignored"]


class TestConfigs:
    def config(self, tmp_path: Path, **change: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**CONFIG, **change}))
        return path

    def test_with_two_halves_it_is_for_the_one_whose_sizes_it_has(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt")
        plan = planned(path, export="both", config=self.config(tmp_path))
        heads = [half.settled.origins["num_attention_heads"] for half in plan.halves]
        assert [origin.source for origin in heads] == ["config", "rule"]
        assert codes(plan) == ["rule"]

    def test_with_equal_halves_it_is_for_both(self, tmp_path: Path) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt", "tied"), export="both", config=self.config(tmp_path))
        assert [half.settled.config.num_attention_heads for half in plan.halves] == [4, 4]

    @pytest.mark.parametrize("export", ["both", "available"])
    def test_a_config_of_neither_half_is_refused_naming_both(self, tmp_path: Path, export: str) -> None:
        with refused(SettingError, "neither half") as refusal:
            planned(write_made_up(tmp_path / "ckpt"), export=export, config=self.config(tmp_path, hidden_size=999))
        assert refusal.value.facts["found"] == ["hidden_size 999"]
        assert refusal.value.facts["expected"][0] == f"hidden_size {H}"
        assert f"hidden_size {HG}" in refusal.value.facts["expected"][1]

    def test_a_config_of_the_other_half_is_refused(self, tmp_path: Path) -> None:
        with refused(SettingError, "gives the generator another"):
            planned(write_made_up(tmp_path / "ckpt"), export="generator", config=self.config(tmp_path))

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"model_type": "bert"}, "another model"),
            ({"num_attention_heads": "4"}, "a wrong value"),
            ({"hidden_act": "silu"}, "activation that no ELECTRA"),
            ({"hidden_act": "no_such"}, "activation that no ELECTRA"),
        ],
    )
    def test_a_config_of_another_kind_is_refused(self, tmp_path: Path, change: dict[str, Any], match: str) -> None:
        with refused(SettingError, match):
            planned(write_made_up(tmp_path / "ckpt"), config=self.config(tmp_path, **change))

    def test_a_config_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with refused(SettingError, "not there"):
            planned(write_made_up(tmp_path / "ckpt"), config=tmp_path / "none.json")


class TestHparams:
    @pytest.mark.parametrize("form", ["mapping", "text", "file", "name"])
    def test_they_may_be_a_mapping_a_json_text_or_a_file(self, tmp_path: Path, form: str) -> None:
        document = {"model_hparam_overrides": {"num_attention_heads": 2}}
        file = tmp_path / "hparams.json"
        file.write_text(json.dumps(document))
        given = {"mapping": document, "text": json.dumps(document), "file": file, "name": str(file)}[form]
        plan = planned(write_made_up(tmp_path / "ckpt"), hparams=given)
        assert plan.halves[0].settled.config.num_attention_heads == 2
        assert codes(plan) == []

    @pytest.mark.parametrize(
        "text",
        ["{", "{'model_size': 'small'}", '{"a": 1}x', '{"a":' * 100_000, f'{{"a": {"9" * 5000}}}'],
        ids=["cut", "single quotes", "more behind it", "deep", "a long number"],
    )
    def test_a_text_that_is_no_json_is_a_usage_error(self, tmp_path: Path, text: str) -> None:
        with refused(UsageError, "--hparams is not JSON"):
            planned(write_made_up(tmp_path / "ckpt"), hparams=text)

    @pytest.mark.parametrize(
        "text", ['{"temperature": NaN}', '{"generator_hidden_size": 1e999}', '{"generator_layers": -Infinity}']
    )
    def test_numbers_that_are_none_are_refused(self, tmp_path: Path, text: str) -> None:
        with refused(SettingError, "Google's code does not take"):
            planned(write_made_up(tmp_path / "ckpt"), hparams=text)

    @pytest.mark.parametrize("content", [None, "[1]", "{", '{"a": NaN}', "\xff"])
    def test_a_file_that_is_missing_or_none_is_refused(self, tmp_path: Path, content: str | None) -> None:
        file = tmp_path / "hparams.json"
        if content is not None:
            file.write_text(content, encoding="latin-1")
        with refused(SettingError, "the hparams"):
            planned(write_made_up(tmp_path / "ckpt"), hparams=file)

    def test_a_file_beside_the_checkpoint_is_not_read_unasked(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt")
        (path / "hparams.json").write_text('{"model_hparam_overrides": {"num_attention_heads": 2}}')
        assert planned(path).halves[0].settled.origins["num_attention_heads"].source == "rule"

    def test_unknown_keys_are_a_warning_that_lists_them(self, tmp_path: Path) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt"), hparams={"whole_word_masking": True, "learning_rate": 1})
        (notice,) = [notice for notice in plan.notices if notice.code == "hparams-unknown"]
        assert dict(notice.facts)["found"] == ["whole_word_masking"]

    def test_hparams_of_another_set_up_are_refused(self, tmp_path: Path) -> None:
        with refused(SettingError, "do not belong to this checkpoint"):
            planned(write_made_up(tmp_path / "ckpt"), hparams={"untied_generator": False})

    def test_longer_texts_than_positions_are_refused(self, tmp_path: Path) -> None:
        with refused(SettingError, "longer texts") as refusal:
            planned(write_made_up(tmp_path / "ckpt"), hparams={"max_seq_length": P + 1})
        assert refusal.value.expected == f"at most {P}"
        assert planned(write_made_up(tmp_path / "b"), hparams={"max_seq_length": P}).trained_length == P


class TestTypes:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_the_stored_type_is_kept_but_for_float64(self, tmp_path: Path, dtype: str) -> None:
        import ml_dtypes

        stored = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        plan = planned(write_made_up(tmp_path / "ckpt", dtype=stored))
        assert plan.halves[0].dtype == ("float32" if dtype == "float64" else dtype)
        assert ("dtype" in codes(plan, "note")) == (dtype == "float64")

    def test_several_types_are_refused_unless_one_is_asked_for(self, tmp_path: Path) -> None:
        odd = "electra/encoder/layer_0/attention/self/key/bias"
        path = write_made_up(tmp_path / "ckpt", change=as_type(odd, "float16"))
        with refused(MappingError, "several types") as refusal:
            planned(path)
        assert refusal.value.facts["variable"] == [odd]
        assert refusal.value.facts["found"] == ["42 of float32", "1 of float16"]
        assert planned(path, dtype="float32").halves[0].dtype == "float32"

    def test_only_exported_variables_are_judged(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt", change=as_type("generator_predictions/output_bias", "float16"))
        assert planned(path).halves[0].dtype == "float32"
        with refused(MappingError, "of the generator have several types"):
            planned(path, export="both")

    @pytest.mark.parametrize("dtype", [None, "float32"])
    @pytest.mark.parametrize("stored", ["int32", "bool", "complex64"])
    def test_a_weight_that_is_no_float_is_refused_whatever_is_asked_for(
        self, tmp_path: Path, stored: str, dtype: str | None
    ) -> None:
        odd = "electra/encoder/layer_1/output/dense/kernel"
        with refused(MappingError, "is not a float") as refusal:
            planned(write_made_up(tmp_path / "ckpt", change=as_type(odd, stored)), dtype=dtype)
        assert (refusal.value.facts["variable"], refusal.value.facts["found"]) == ([odd], [stored])


class TestTokenizers:
    def test_the_vocabulary_beside_the_checkpoint_is_taken(self, tmp_path: Path) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt"))
        assert plan.tokenizing is not None
        assert plan.tokenizing.vocabulary.tokens == tuple(TOKENS)
        assert plan.tokenizing.max_length == P

    def test_without_one_it_must_be_given_or_declined(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt")
        (path / "vocab.txt").rename(tmp_path / "words.txt")
        with refused(VocabularyError, "no vocabulary was found") as refusal:
            planned(path)
        assert refusal.value.hint == "pass --vocab FILE, or --no-tokenizer"
        assert planned(path, tokenizer=False).tokenizing is None
        given = planned(path, vocab=tmp_path / "words.txt").tokenizing
        assert given is not None
        assert given.vocabulary.name == "words.txt"

    @pytest.mark.parametrize("length", [1, P])
    def test_a_length_within_the_position_table_is_taken(self, tmp_path: Path, length: int) -> None:
        tokenizing = planned(write_made_up(tmp_path / "ckpt"), max_length=length).tokenizing
        assert tokenizing is not None
        assert tokenizing.max_length == length

    @pytest.mark.parametrize("length", [-1, 0, P + 1])
    def test_a_length_outside_of_it_is_refused(self, tmp_path: Path, length: int) -> None:
        with refused(SettingError, "does not fit the position table") as refusal:
            planned(write_made_up(tmp_path / "ckpt"), max_length=length)
        assert str(refusal.value.expected).startswith(f"1 to {P}")

    def test_a_longer_vocabulary_is_refused_and_a_shorter_one_warned_of(self, tmp_path: Path) -> None:
        with refused(VocabularyError, "longer than the embedding table"):
            planned(write_made_up(tmp_path / "long", tokens=[*TOKENS, "z"]))
        assert "vocab-short" in codes(planned(write_made_up(tmp_path / "short", tokens=TOKENS[:-1])))

    def test_special_ids_must_be_those_of_the_graph(self, tmp_path: Path) -> None:
        words = (google("default_small") / "vocab.txt").read_text().split("\n")
        cls, sep = words.index("[CLS]"), words.index("[SEP]")
        words[cls], words[sep] = words[sep], words[cls]
        (tmp_path / "vocab.txt").write_text("\n".join(words))
        with refused(VocabularyError, "not the one of the training") as refusal:
            planned(google("default_small"), vocab=tmp_path / "vocab.txt")
        assert "from the graph" in str(refusal.value.expected)

    def test_without_a_graph_nobody_knows_better(self, tmp_path: Path) -> None:
        swapped = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", *TOKENS[4:]]
        assert planned(write_made_up(tmp_path / "ckpt", tokens=swapped)).tokenizing is not None

    @pytest.mark.parametrize(
        ("options", "casing"),
        [
            ({}, (True, True)),
            ({"cased": False, "strip_accents": False}, (True, False)),
            ({"hparams": {"do_lower_case": False}}, (False, False)),
            ({"cased": True}, (False, False)),
        ],
    )
    def test_casing_is_given_or_read_from_the_vocabulary(
        self, tmp_path: Path, options: dict[str, Any], casing: tuple[bool, bool]
    ) -> None:
        tokenizing = planned(write_made_up(tmp_path / "ckpt"), **options).tokenizing
        assert tokenizing is not None
        assert (tokenizing.casing.do_lower_case, tokenizing.casing.strip_accents) == casing

    def test_flag_and_hparams_may_not_disagree_on_casing(self, tmp_path: Path) -> None:
        with refused(UsageError, "contradict each other"):
            planned(write_made_up(tmp_path / "ckpt"), cased=True, hparams={"do_lower_case": True})


class TestScalars:
    @pytest.mark.parametrize("value", [0.0, 1.5, float("nan"), float("-inf")])
    def test_a_temperature_is_left_out_with_its_value(self, tmp_path: Path, value: float) -> None:
        path = write_made_up(tmp_path / "ckpt", change=adding(generator_predictions__temperature=np.float32(value)))
        plan = planned(path)
        assert str(plan.scalars[TEMPERATURE]) == str(value)
        assert "scalar" in codes(plan, "note")
        assert TEMPERATURE in [name for group in plan.left_out for name in group.variables]

    @pytest.mark.parametrize("value", [np.int32(3), np.complex64(1j), np.bool_(True)])
    def test_a_temperature_of_another_type_has_no_value(self, tmp_path: Path, value: Any) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt", change=adding(generator_predictions__temperature=value)))
        assert plan.scalars == {}
        assert TEMPERATURE in [name for group in plan.left_out for name in group.variables]


class TestLeftOut:
    @pytest.mark.parametrize("export", ["discriminator", "generator", "both"])
    def test_every_variable_is_exported_or_left_out_with_a_reason(self, export: str) -> None:
        with open_checkpoint(google("default_small")) as checkpoint:
            plan = plan_conversion(checkpoint, Options(export=export))  # type: ignore[arg-type]
            exported = {move.variable for half in plan.halves for move in half.moves}
            left = [name for group in plan.left_out for name in group.variables]
            assert sorted([*exported, *left]) == sorted(checkpoint.variables)
        assert all(group.reason and group.count == len(group.variables) for group in plan.left_out)

    def test_ignored_variables_are_a_group_of_their_own(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt", change=adding(x__a=np.zeros(2), x__b=np.zeros(2)))
        group = planned(path, ignore=["x/*"]).left_out[-1]
        assert (group.what, group.variables, group.reason) == ("ignored", ("x/a", "x/b"), "matches --ignore")
        assert group.to_json() == {"what": "ignored", "count": 2, "reason": "matches --ignore"}


class TestTrainedLength:
    def test_all_sources_are_kept_and_the_longest_counts(self) -> None:
        plan = planned(google("default_small"), hparams={"max_seq_length": 64})
        assert plan.trained_lengths == {"graph": 32, "slots": 32, "hparams": 64}
        assert plan.trained_length == 64
        assert "trained-length" in codes(plan, "note")

    def test_nothing_known_is_nothing_said(self, tmp_path: Path) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt"))
        assert (plan.trained_lengths, plan.trained_length) == ({}, None)
        assert "trained-length" not in codes(plan, "note")

    def test_the_whole_table_is_no_note(self, tmp_path: Path) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt"), hparams={"max_seq_length": P})
        assert "trained-length" not in codes(plan, "note")


class TestElectric:
    @pytest.mark.parametrize(("name", "electric"), [("electric", True), ("two_tower", False)])
    def test_the_graph_tells_electric_from_two_towers(self, name: str, electric: bool) -> None:
        with open_checkpoint(google(name)) as checkpoint:
            if checkpoint.meta is None:
                pytest.skip("without its graph here")
            plan = plan_conversion(checkpoint, Options())
        assert is_electric(plan.examination, None) is electric
        assert ("energy" in codes(plan)) == electric

    @pytest.mark.parametrize(
        ("hparams", "found"),
        [
            ({"electric_objective": True}, "the model was trained by Electric"),
            ({"two_tower_generator": True}, None),
            (None, "the model may have been trained by Electric"),
        ],
    )
    def test_hparams_tell_it_too_and_otherwise_the_warning_says_may(
        self, tmp_path: Path, hparams: dict[str, Any] | None, found: str | None
    ) -> None:
        plan = planned(write_made_up(tmp_path / "ckpt", "two towers"), hparams=hparams)
        told = [str(dict(notice.facts)["found"]) for notice in plan.notices if notice.code == "energy"]
        assert [text.split(":")[0].split(",")[0] for text in told] == ([found] if found else [])

    def test_hparams_that_the_graph_contradicts_are_refused_naming_both(self) -> None:
        folder = google("two_tower")
        if not list(folder.glob("*.meta")):
            pytest.skip("without its graph here")
        with refused(SettingError, "contradict the graph") as refusal:
            planned(folder, hparams={"electric_objective": True})
        assert refusal.value.found == "Electric's objective"
        assert str(refusal.value.expected).startswith("ELECTRA's objective, from the graph")

    @pytest.mark.parametrize("setup", ["separate", "tied", "uniform"])
    def test_other_set_ups_are_not_warned_of(self, tmp_path: Path, setup: str) -> None:
        assert "energy" not in codes(planned(write_made_up(tmp_path / "ckpt", setup)))
