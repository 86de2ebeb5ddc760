"""Hparams mean what Google's arithmetic makes of them; what cannot have led to the checkpoint is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import all_of, google
from made_up import HG, IG, SETUP_NAMES, E, H, I, L, P, T, V, shapes_of

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.hparams import FITTING, MODEL_SIZES, WITH_MEANING, WITHOUT_MEANING, Hparams, parse_hparams
from electra_convert.electra.layout import HALVES, find_layout
from electra_convert.electra.settings import Given, settle, sizes_of
from electra_convert.electra.setups import SETUPS
from electra_convert.errors import LayoutError, SettingError
from electra_convert.tf1.checkpoint import open_checkpoint

BY_NAME = {setup.name: setup for setup in SETUPS}


def hparams(**document: Any) -> Hparams:
    return parse_hparams(document, "--hparams")


def settled(setup: str, half: str, **document: Any) -> ElectraConfig:
    given = Given(hparams=hparams(**document))
    return settle(find_layout(shapes_of(setup)), half, given, None).config  # type: ignore[arg-type]


class TestGooglesSets:
    @pytest.mark.parametrize("half", HALVES)
    @pytest.mark.parametrize("name", [name for name in all_of("google") if not name.startswith("finetuned")])
    def test_shapes_and_hparams_give_the_config_that_trained(self, name: str, half: str) -> None:
        """Without `.meta` and without a rule: in all sets, and for refused generators up to the refusal."""
        folder = google(name)
        expected = json.loads((folder / "expected_config.json").read_text())
        with open_checkpoint(folder) as checkpoint:
            layout = find_layout({name: variable.shape for name, variable in checkpoint.variables.items()})
        given = Given(hparams=parse_hparams(json.loads((folder / "hparams.json").read_text()), "hparams.json"))
        if "refused" in expected[half]:
            with pytest.raises(LayoutError, match=f"no {half} can be exported"):
                settle(layout, half, given, None)  # type: ignore[arg-type]
            return
        result = settle(layout, half, given, None)  # type: ignore[arg-type]
        assert result.config.to_json() == expected[half]
        assert {origin.source for origin in result.origins.values()} == {"shape", "hparams", "rule"}
        assert [field for field, origin in result.origins.items() if origin.source == "rule"] == ["layer_norm_eps"]
        assert not [notice for notice in result.notices if notice.kind == "warning"]

    def test_every_key_that_these_trainings_used_is_known(self) -> None:
        used = [key for name in all_of("google") for key in json.loads((google(name) / "hparams.json").read_text())]
        assert set(used) <= WITH_MEANING | WITHOUT_MEANING
        assert not WITH_MEANING & WITHOUT_MEANING


class TestTypes:
    @pytest.mark.parametrize(
        ("document", "key"),
        [
            ({"model_size": "tiny"}, "model_size"),
            ({"model_size": ["small"]}, "model_size"),
            ({"model_size": None}, "model_size"),
            ({"model_hparam_overrides": [1]}, "model_hparam_overrides"),
            ({"model_hparam_overrides": {"hidden_size": 32.0}}, "model_hparam_overrides.hidden_size"),
            ({"model_hparam_overrides": {"hidden_size": True}}, "model_hparam_overrides.hidden_size"),
            ({"model_hparam_overrides": {"num_attention_heads": 0}}, "model_hparam_overrides.num_attention_heads"),
            ({"model_hparam_overrides": {"num_attention_heads": "4"}}, "model_hparam_overrides.num_attention_heads"),
            ({"model_hparam_overrides": {"hidden_dropout_prob": 1.5}}, "model_hparam_overrides.hidden_dropout_prob"),
            ({"model_hparam_overrides": {"initializer_range": "x"}}, "model_hparam_overrides.initializer_range"),
            ({"model_hparam_overrides": {"hidden_act": "swish"}}, "model_hparam_overrides.hidden_act"),
            ({"model_hparam_overrides": {"hidden_act": 0}}, "model_hparam_overrides.hidden_act"),
            ({"vocab_size": "300"}, "vocab_size"),
            ({"vocab_size": -1}, "vocab_size"),
            ({"embedding_size": 0}, "embedding_size"),
            ({"max_seq_length": 1.5}, "max_seq_length"),
            ({"generator_hidden_size": -0.25}, "generator_hidden_size"),
            ({"generator_hidden_size": float("nan")}, "generator_hidden_size"),
            ({"generator_hidden_size": float("inf")}, "generator_hidden_size"),
            ({"generator_layers": 10**400}, "generator_layers"),
            ({"temperature": float("nan")}, "temperature"),
            ({"mask_prob": 15}, "mask_prob"),
            ({"untied_generator": 0}, "untied_generator"),
            ({"debug": "yes"}, "debug"),
            ({"do_lower_case": None}, "do_lower_case"),
        ],
    )
    def test_a_value_that_googles_code_would_not_take_is_refused_by_its_key(
        self, document: dict[str, Any], key: str
    ) -> None:
        with pytest.raises(SettingError) as refusal:
            hparams(**document)
        assert refusal.value.where == f"--hparams, `{key}`"
        assert refusal.value.exit_code == 3

    @pytest.mark.parametrize("document", [[], "{}", 1, None])
    def test_hparams_are_an_object(self, document: Any) -> None:
        with pytest.raises(SettingError, match="not a JSON object"):
            parse_hparams(document, "x.json")

    @pytest.mark.parametrize(
        ("given", "meant"), [("GELU", "gelu"), ("Relu", "relu"), ("", "linear"), (None, "linear"), ("linear", "linear")]
    )
    def test_an_activation_is_read_as_googles_code_reads_it(self, given: Any, meant: str) -> None:
        values = hparams(model_hparam_overrides={"hidden_act": given}).settings("electra", H)
        assert values["hidden_act"] == (meant, "model_hparam_overrides.hidden_act")

    def test_null_is_googles_default_for_sizes_that_have_one(self) -> None:
        assert hparams(embedding_size=None, max_seq_length=None).trained_length is None


class TestUnknown:
    def test_keys_of_forks_are_listed_and_those_without_meaning_are_not(self) -> None:
        document = {"whole_word_masking": True, "train_batch_size": 3, "model_hparam_overrides": {"layer_norm_eps": 1}}
        assert hparams(**document).unknown == ["whole_word_masking", "model_hparam_overrides.layer_norm_eps"]

    def test_the_key_word_for_overrides_is_known(self) -> None:
        assert hparams(model_hparam_overrides={"hidden_size": 8}, model_name="x", data_dir="y").unknown == []

    def test_what_no_model_holds_is_kept_for_the_record(self) -> None:
        document = {"temperature": 0.7, "mask_prob": 0.25, "disallow_correct": True, "learning_rate": 1}
        assert hparams(**document).for_the_record() == {
            "temperature": 0.7,
            "mask_prob": 0.25,
            "disallow_correct": True,
        }


class TestSizes:
    def sizes(self, half: str = "discriminator", setup: str = "separate", **document: Any) -> dict[str, Any]:
        layout = find_layout(shapes_of(setup))
        scopes = layout.half(half).scopes  # type: ignore[arg-type]
        assert scopes is not None
        found = sizes_of(layout.halves["discriminator"])
        return hparams(**document).sizes(half, scopes.body, BY_NAME[setup], found)  # type: ignore[arg-type]

    @pytest.mark.parametrize("size", MODEL_SIZES)
    def test_a_model_size_names_width_and_depth_and_no_more(self, size: str) -> None:
        named = self.sizes(model_size=size)
        assert {key: value for key, (value, _) in named.items()} == MODEL_SIZES[size]
        assert {where for _, where in named.values()} == {f"model_size {size}"}

    def test_what_is_left_out_is_not_named(self) -> None:
        assert self.sizes() == {}

    def test_overrides_stand_above_the_model_size(self) -> None:
        named = self.sizes(model_size="large", model_hparam_overrides={"hidden_size": 8, "intermediate_size": 7})
        assert named["hidden_size"] == (8, "model_hparam_overrides.hidden_size")
        assert named["num_hidden_layers"] == (24, "model_size large")
        assert named["intermediate_size"] == (7, "model_hparam_overrides.intermediate_size")

    def test_debug_stands_above_everything(self) -> None:
        named = self.sizes(debug=True, vocab_size=9, model_size="large", model_hparam_overrides={"hidden_size": 8})
        assert named == {
            "vocab_size": (9, "vocab_size"),
            "hidden_size": (144, "debug"),
            "num_hidden_layers": (3, "debug"),
            "intermediate_size": (576, "debug"),
        }

    def test_debug_gives_four_heads_where_the_rule_says_two_and_the_generator_keeps_the_rule(self) -> None:
        debug = hparams(debug=True)
        assert debug.settings("electra", 144)["num_attention_heads"] == (4, "debug")
        assert debug.settings("generator", 36)["num_attention_heads"][0] == 1
        assert hparams(debug=False).settings("electra", 144)["num_attention_heads"][0] == 2

    @pytest.mark.parametrize(
        ("hidden", "fraction", "size"),
        [(768, 0.33333, 256), (768, 0.33, 253), (10, 0.25, 2), (30, 0.25, 8), (32, 0.33333, 11), (2, 0.25, 0)],
    )
    def test_a_generators_width_is_rounded_as_python_rounds(self, hidden: int, fraction: float, size: int) -> None:
        """Halves go to the even number: 2.5 is 2, 7.5 is 8."""
        document = hparams(generator_hidden_size=fraction)
        named = document.sizes("generator", "generator", BY_NAME["separate"], {"hidden_size": hidden})
        assert named == {"hidden_size": (size, "generator_hidden_size")}

    def test_a_generators_depth_is_rounded_as_python_rounds(self) -> None:
        for layers, fraction, depth in [(1, 0.5, 0), (3, 0.5, 2), (5, 0.5, 2), (12, 0.33, 4), (2, 1, 2)]:
            document = hparams(generator_layers=fraction)
            named = document.sizes("generator", "generator", BY_NAME["separate"], {"num_hidden_layers": layers})
            assert named == {"num_hidden_layers": (depth, "generator_layers")}

    def test_fractions_are_of_the_discriminator_as_its_shapes_are(self) -> None:
        named = self.sizes("generator", generator_hidden_size=0.75, generator_layers=1.0, model_size="small")
        assert named == {"hidden_size": (HG, "generator_hidden_size"), "num_hidden_layers": (L, "generator_layers")}

    def test_fractions_of_a_discriminator_that_is_gone_are_not_checked(self) -> None:
        document = hparams(generator_hidden_size=0.25, generator_layers=1.0)
        assert document.sizes("generator", "generator", BY_NAME["separate"], {"num_hidden_layers": 0}) == {}

    def test_overrides_of_width_heads_and_inner_size_do_not_reach_the_generator(self) -> None:
        overrides = {"hidden_size": H, "intermediate_size": I, "num_attention_heads": 2, "max_position_embeddings": P}
        named = self.sizes("generator", vocab_size=V, embedding_size=E, model_hparam_overrides=overrides)
        assert {key: value for key, (value, _) in named.items()} == {
            "vocab_size": V,
            "embedding_size": E,
            "max_position_embeddings": P,
        }
        document = hparams(model_hparam_overrides=overrides)
        assert document.settings("generator", HG)["num_attention_heads"][0] == 1
        assert document.settings("electra", H)["num_attention_heads"][0] == 2

    def test_dropouts_and_activation_of_the_overrides_reach_both(self) -> None:
        overrides = {"hidden_act": "relu", "hidden_dropout_prob": 0.3, "initializer_range": 0.5}
        values = [hparams(model_hparam_overrides=overrides).settings(body, 8) for body in ("electra", "generator")]
        for field, value in overrides.items():
            assert [its[field] for its in values] == [(value, f"model_hparam_overrides.{field}")] * 2

    @pytest.mark.parametrize("setup", ["tied", "masked LM"])
    def test_overrides_do_reach_a_generator_that_is_the_tower_itself(self, setup: str) -> None:
        config = settled(
            setup,
            "generator",
            **({"untied_generator": False} if setup == "tied" else {"electra_objective": False}),
            model_hparam_overrides={"num_attention_heads": 4, "intermediate_size": I},
        )
        assert config.num_attention_heads == 4

    def test_an_untied_generator_is_not_asked_for_the_embedding_size(self) -> None:
        assert self.sizes("generator", "untied embeddings", embedding_size=E) == {}


class TestContradictions:
    RIGHT: dict[str, Any] = {  # noqa: RUF012 - read only
        "vocab_size": V,
        "embedding_size": E,
        "generator_hidden_size": 0.75,
        "generator_layers": 1.0,
        "model_hparam_overrides": {
            "hidden_size": H,
            "num_hidden_layers": L,
            "intermediate_size": I,
            "max_position_embeddings": P,
            "type_vocab_size": T,
        },
    }

    @pytest.mark.parametrize("half", HALVES)
    def test_hparams_that_fit_are_taken(self, half: str) -> None:
        config = settled("separate", half, **self.RIGHT)
        assert (config.hidden_size, config.intermediate_size) == {"discriminator": (H, I), "generator": (HG, IG)}[half]

    @pytest.mark.parametrize("half", HALVES)
    @pytest.mark.parametrize(
        ("change", "key"),
        [
            ({"vocab_size": 30522}, "vocab_size"),
            ({"embedding_size": 128}, "embedding_size"),
            ({"model_size": "base", "model_hparam_overrides": {"hidden_size": H}}, "model_size base"),
            ({"model_hparam_overrides": {"hidden_size": 9}}, "model_hparam_overrides.hidden_size"),
            ({"model_hparam_overrides": {"num_hidden_layers": 1}}, "model_hparam_overrides.num_hidden_layers"),
            ({"model_hparam_overrides": {"intermediate_size": 31}}, "model_hparam_overrides.intermediate_size"),
            ({"model_hparam_overrides": {"type_vocab_size": 3}}, "model_hparam_overrides.type_vocab_size"),
            ({"generator_hidden_size": 0.25}, "generator_hidden_size"),
            ({"generator_layers": 0.5}, "generator_layers"),
            ({"debug": True}, "debug"),
        ],
    )
    def test_a_size_that_no_variable_has_is_refused_whichever_half_is_exported(
        self, change: dict[str, Any], key: str, half: str
    ) -> None:
        """Hparams are of the whole training: those that do not fit one half are of another training."""
        with pytest.raises(SettingError, match="the hparams give the") as refusal:
            settled("separate", half, **{**self.RIGHT, **change})
        assert refusal.value.where == f"--hparams, `{key}`"
        assert ", from " in str(refusal.value.expected)

    def test_the_variable_that_shows_the_size_is_named(self) -> None:
        with pytest.raises(SettingError) as refusal:
            settled("separate", "discriminator", model_size="small", model_hparam_overrides={"hidden_size": 64})
        assert refusal.value.found == "64"
        assert refusal.value.expected == f"{H}, from electra/embeddings_project/kernel"

    @pytest.mark.parametrize("half", HALVES)
    def test_an_incomplete_discriminator_does_not_make_the_generators_size_wrong(self, half: str) -> None:
        shapes = shapes_of("separate")
        del shapes["discriminator_predictions/dense/bias"]
        given = Given(hparams=hparams(**self.RIGHT))
        if half == "discriminator":
            with pytest.raises(LayoutError, match="no complete discriminator"):
                settle(find_layout(shapes), "discriminator", given, None)
        else:
            assert settle(find_layout(shapes), "generator", given, None).config.hidden_size == HG


class TestSetups:
    # What makes Google's code build each set-up; the rest of its flags is left at its defaults.
    MAKES: dict[str, dict[str, bool]] = {  # noqa: RUF012 - read only
        "separate": {},
        "untied embeddings": {"untied_generator_embeddings": True},
        "tied": {"untied_generator": False},
        "masked LM": {"electra_objective": False},
        "uniform": {"uniform_generator": True},
        "two towers": {"electric_objective": True},
        "two towers, untied embeddings": {"two_tower_generator": True, "untied_generator_embeddings": True},
    }
    # run_pretraining.py and configure_pretraining.py.
    DEFAULTS = {  # noqa: RUF012 - read only
        "electra_objective": True,
        "uniform_generator": False,
        "untied_generator": True,
        "untied_generator_embeddings": False,
    }

    @pytest.mark.parametrize("spelled_out", [False, True])
    @pytest.mark.parametrize("made", MAKES)
    @pytest.mark.parametrize("found", [name for name in SETUP_NAMES if name != "fine-tuned"])
    def test_hparams_fit_the_set_up_they_make(self, made: str, found: str, spelled_out: bool) -> None:
        document = {**(self.DEFAULTS if spelled_out else {}), **self.MAKES[made]}
        given = hparams(**document)
        if made == found:
            given.refuse_other_setup(BY_NAME[found])
        elif document and not self.allowed(document, found):
            with pytest.raises(SettingError, match="do not belong to this checkpoint") as refusal:
                given.refuse_other_setup(BY_NAME[found])
            assert BY_NAME[found].told in str(refusal.value.found)
            assert refusal.value.exit_code == 3

    def allowed(self, document: dict[str, bool], found: str) -> bool:
        """Return whether no single flag that was given forbids the set-up (flags left out are not asked)."""
        if document.get("electric_objective"):
            document = {key: value for key, value in document.items() if key != "electra_objective"}
        return all(found in FITTING.get((key, value), {found}) for key, value in document.items())

    @pytest.mark.parametrize(
        ("document", "found"),
        [
            ({"uniform_generator": True}, "separate"),
            ({"two_tower_generator": True}, "separate"),
            ({"two_tower_generator": False}, "two towers"),
            ({"electric_objective": True}, "separate"),
            ({"electra_objective": True}, "masked LM"),
            ({"electra_objective": False}, "separate"),
            ({"electra_objective": False}, "two towers"),
            ({"electra_objective": False, "electric_objective": False}, "two towers"),
            ({"untied_generator": True}, "tied"),
            ({"untied_generator": False}, "separate"),
            ({"untied_generator_embeddings": True}, "separate"),
            ({"untied_generator_embeddings": True}, "two towers"),
            ({"untied_generator_embeddings": False}, "untied embeddings"),
            ({"untied_generator_embeddings": False}, "two towers, untied embeddings"),
        ],
    )
    def test_a_flag_that_cannot_have_led_here_is_refused_by_its_name(
        self, document: dict[str, bool], found: str
    ) -> None:
        with pytest.raises(SettingError) as refusal:
            hparams(**document).refuse_other_setup(BY_NAME[found])
        assert any(f"`{key}`" in str(refusal.value.where) for key in document)

    @pytest.mark.parametrize(
        ("document", "found"),
        [
            ({"electra_objective": False, "electric_objective": True}, "two towers"),
            ({"electra_objective": True, "electric_objective": True}, "two towers"),
            ({"untied_generator_embeddings": True, "untied_generator": False}, "tied"),
            ({"untied_generator_embeddings": True, "electra_objective": False}, "masked LM"),
            ({"uniform_generator": False}, "uniform"),
            ({}, "tied"),
        ],
    )
    def test_flags_that_google_ignores_or_that_fit_are_taken(self, document: dict[str, bool], found: str) -> None:
        hparams(**document).refuse_other_setup(BY_NAME[found])

    def test_every_set_up_flag_is_tried_both_ways_where_both_can_tell(self) -> None:
        assert set(FITTING) == {
            ("uniform_generator", True),
            *((flag, value) for flag in ("two_tower_generator", "electra_objective") for value in (True, False)),
            *((flag, value) for flag in ("untied_generator", "untied_generator_embeddings") for value in (True, False)),
            ("electric_objective", True),
        }

    @pytest.mark.parametrize(
        ("document", "electric"),
        [
            ({"electric_objective": True}, True),
            ({"electric_objective": False, "two_tower_generator": True}, False),
            ({"two_tower_generator": True}, False),
            ({}, None),
        ],
    )
    def test_hparams_settle_electric_against_two_towers(self, document: dict[str, bool], electric: bool | None) -> None:
        assert hparams(**document).electric is electric
