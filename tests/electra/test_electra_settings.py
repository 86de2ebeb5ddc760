"""Every field has the first source that knows it, said with it; given values that contradict anything are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from made_up import HG, E, H, I, L, P, T, V, discriminator_head, embeddings, encoder, shapes_of

from electra_convert.electra.config import ElectraConfig, heads_by_rule
from electra_convert.electra.hparams import parse_hparams
from electra_convert.electra.layout import find_layout
from electra_convert.electra.settings import (
    RULES,
    SETTINGS,
    Given,
    GraphValues,
    Settled,
    config_misfits,
    settle,
    sizes_of,
)
from electra_convert.errors import LayoutError, SettingError, UsageError

SIZES = {
    "vocab_size": V,
    "embedding_size": E,
    "hidden_size": H,
    "num_hidden_layers": L,
    "intermediate_size": I,
    "max_position_embeddings": P,
    "type_vocab_size": T,
}

# For each field a value that is no default, and whether a flag and hparams can give it.
OTHER: dict[str, Any] = {
    "num_attention_heads": 4,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.3,
    "attention_probs_dropout_prob": 0.4,
    "initializer_range": 0.05,
    "layer_norm_eps": 1e-6,
}
FLAGS = ("num_attention_heads", "hidden_act")
NOT_GELU = ("relu", "tanh", "linear")
GRAPH = {key: (value, f"node_of_{key}") for key, value in OTHER.items()}


def run(
    *,
    setup: str = "separate",
    half: str = "discriminator",
    flags: Mapping[str, Any] | None = None,
    hparams: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    graph: Mapping[str, tuple[Any, str]] | None = None,
) -> Settled:
    given = Given(
        flags or {},
        None if hparams is None else parse_hparams(hparams, "--hparams"),
        config,
        "some/where/config.json",
    )
    layout = find_layout(shapes_of(setup))
    return settle(layout, half, given, None if graph is None else GraphValues(graph))  # type: ignore[arg-type]


def overrides(**values: Any) -> dict[str, Any]:
    return {"model_hparam_overrides": values}


class TestSources:
    def test_every_field_of_the_config_has_one_source(self) -> None:
        settled = run()
        assert list(settled.origins) == list(settled.config.to_json())
        assert {key: origin.source for key, origin in settled.origins.items()} == {
            **dict.fromkeys(SIZES, "shape"),
            **dict.fromkeys(SETTINGS, "rule"),
        }

    @pytest.mark.parametrize(
        ("field", "variable"),
        [
            ("vocab_size", "electra/embeddings/word_embeddings"),
            ("max_position_embeddings", "electra/embeddings/position_embeddings"),
            ("type_vocab_size", "electra/embeddings/token_type_embeddings"),
            ("intermediate_size", "electra/encoder/layer_0/intermediate/dense/kernel"),
            ("num_hidden_layers", "electra/encoder/layer_0 to layer_1"),
        ],
    )
    def test_a_size_names_the_variable_that_shows_it(self, field: str, variable: str) -> None:
        assert run().origins[field].detail == variable

    @pytest.mark.parametrize("field", SETTINGS)
    def test_the_rule_is_googles_default(self, field: str) -> None:
        settled = run()
        expected = heads_by_rule(H) if field == "num_attention_heads" else getattr(settled.config, field)
        assert getattr(settled.config, field) == expected == RULES.get(field, (1,))[0]
        assert str(settled.origins[field]).startswith("rule: ")

    @pytest.mark.parametrize("field", SETTINGS)
    def test_the_graph_stands_above_the_rule(self, field: str) -> None:
        settled = run(graph={field: GRAPH[field]})
        assert getattr(settled.config, field) == OTHER[field]
        assert str(settled.origins[field]) == f"graph: node_of_{field}"

    @pytest.mark.parametrize("field", SETTINGS)
    def test_a_config_stands_above_the_rule(self, field: str) -> None:
        """It is named without its folder: where it lay is nobody's business who reads the result."""
        settled = run(config={field: OTHER[field]})
        assert getattr(settled.config, field) == OTHER[field]
        assert str(settled.origins[field]) == "config: config.json"

    @pytest.mark.parametrize("field", [field for field in SETTINGS if field != "layer_norm_eps"])
    def test_hparams_stand_above_the_rule(self, field: str) -> None:
        settled = run(hparams=overrides(**{field: OTHER[field]}))
        assert getattr(settled.config, field) == OTHER[field]
        assert str(settled.origins[field]) == f"hparams: model_hparam_overrides.{field}"

    def test_hparams_that_leave_a_field_out_stand_for_googles_default(self) -> None:
        settled = run(hparams={})
        assert {key for key in SETTINGS if settled.origins[key].source == "hparams"} == set(SETTINGS) - {
            "layer_norm_eps"
        }
        assert "left out" in settled.origins["hidden_act"].detail

    @pytest.mark.parametrize("field", FLAGS)
    def test_a_flag_stands_above_the_rule(self, field: str) -> None:
        settled = run(flags={field: OTHER[field]})
        assert getattr(settled.config, field) == OTHER[field]
        assert str(settled.origins[field]) == f"flag: --{field.replace('_', '-')}"

    @pytest.mark.parametrize("field", SETTINGS)
    def test_sources_that_agree_give_the_first_of_them(self, field: str) -> None:
        sources: dict[str, Any] = {"graph": GRAPH}
        expected = ["graph"]
        sources["config"] = {field: OTHER[field]}
        expected.insert(0, "config")
        if field != "layer_norm_eps":
            sources["hparams"] = overrides(**{key: value for key, value in OTHER.items() if key != "layer_norm_eps"})
            expected.insert(0, "hparams")
        if field in FLAGS:
            sources["flags"] = {field: OTHER[field]}
            expected.insert(0, "flag")
        for source, key in zip(expected, ("flags", "hparams", "config", "graph")[4 - len(expected) :], strict=True):
            settled = run(**sources)
            assert (settled.origins[field].source, getattr(settled.config, field)) == (source, OTHER[field])
            del sources[key]

    def test_fields_come_from_different_sources_at_once(self) -> None:
        settled = run(
            flags={"num_attention_heads": 2}, config={"hidden_act": "tanh"}, graph={"initializer_range": (0.5, "n")}
        )
        sources = [settled.origins[key].source for key in SETTINGS]
        assert sources == ["flag", "config", "rule", "rule", "graph", "rule"]

    def test_float32s_nearest_decimal_is_the_same_number(self) -> None:
        settled = run(
            config={"layer_norm_eps": 9.999999960041972e-13, "initializer_range": 0.019999999552965164},
            graph={"layer_norm_eps": (1e-12, "n"), "initializer_range": (0.02, "n")},
        )
        assert settled.origins["layer_norm_eps"].source == "config"


class TestContradictions:
    @pytest.mark.parametrize(
        ("sources", "field"),
        [
            ({"flags": {"num_attention_heads": 4}, "hparams": {}}, "num_attention_heads"),
            ({"flags": {"num_attention_heads": 4}, "config": {"num_attention_heads": 2}}, "num_attention_heads"),
            (
                {"hparams": overrides(num_attention_heads=2), "config": {"num_attention_heads": 4}},
                "num_attention_heads",
            ),
            ({"flags": {"hidden_act": "tanh"}, "hparams": overrides(hidden_act="relu")}, "hidden_act"),
            ({"flags": {"hidden_act": "gelu_new"}, "config": {"hidden_act": "gelu"}}, "hidden_act"),
            ({"hparams": {}, "config": {"hidden_dropout_prob": 0.0}}, "hidden_dropout_prob"),
            ({"hparams": {}, "config": {"initializer_range": 0.021}}, "initializer_range"),
        ],
    )
    def test_given_values_that_contradict_each_other_are_a_usage_error(
        self, sources: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(UsageError, match=f"two given values of {field} contradict each other") as refusal:
            run(**sources)
        assert refusal.value.exit_code == 2
        assert len(refusal.value.facts["found"]) == 2

    @pytest.mark.parametrize(
        "sources",
        [
            {"flags": {"num_attention_heads": 2}},
            {"hparams": {}},
            {"hparams": overrides(num_attention_heads=2)},
            {"config": {"num_attention_heads": 8}},
        ],
    )
    def test_a_given_head_count_that_the_graph_contradicts_is_refused_naming_both(
        self, sources: dict[str, Any]
    ) -> None:
        with pytest.raises(SettingError, match="num_attention_heads contradicts the graph") as refusal:
            run(**sources, graph={"num_attention_heads": (4, "the_node")})
        assert refusal.value.exit_code == 3
        given, graph = refusal.value.facts["found"]
        assert graph == "4, graph: the_node"
        assert given.split(",")[0] != "4"

    @pytest.mark.parametrize("field", SETTINGS)
    def test_a_config_that_the_graph_contradicts_is_refused_in_every_field(self, field: str) -> None:
        other = RULES.get(field, (2,))[0]
        with pytest.raises(SettingError, match=f"{field} contradicts the graph"):
            run(config={field: other}, graph={field: GRAPH[field]})

    def test_a_contradiction_among_given_values_is_told_before_one_with_the_graph(self) -> None:
        with pytest.raises(UsageError):
            run(flags={"num_attention_heads": 2}, config={"num_attention_heads": 8}, graph=GRAPH)

    @pytest.mark.parametrize("field", SIZES)
    def test_a_config_of_another_size_is_refused_naming_both(self, field: str) -> None:
        with pytest.raises(SettingError, match=f"gives the discriminator another {field}") as refusal:
            run(config={**SIZES, field: 999})
        assert refusal.value.exit_code == 3
        assert refusal.value.found == f"{field} 999"
        assert str(refusal.value.expected).startswith(f"{SIZES[field]}, from electra/")

    def test_a_config_of_the_other_half_is_refused(self) -> None:
        with pytest.raises(SettingError, match="gives the generator another hidden_size"):
            run(half="generator", config=SIZES)

    def test_a_config_that_fits_has_no_misfits(self) -> None:
        half = find_layout(shapes_of("separate")).halves["discriminator"]
        assert config_misfits(half, {**SIZES, "num_attention_heads": 3}) == []
        assert config_misfits(half, {"hidden_size": HG}) == [("hidden_size", HG, H)]
        assert sizes_of(half) == SIZES


class TestHeads:
    @pytest.mark.parametrize("heads", [3, 5, 6, 7, 9, 16])
    def test_heads_that_do_not_divide_the_hidden_size_are_refused(self, heads: int) -> None:
        with pytest.raises(SettingError, match=f"cannot have {heads} attention heads") as refusal:
            run(flags={"num_attention_heads": heads})
        assert refusal.value.exit_code == 3
        assert refusal.value.expected == "a divisor of the hidden size 8"

    @pytest.mark.parametrize("heads", [1, 2, 4, 8])
    def test_heads_that_divide_it_are_taken(self, heads: int) -> None:
        assert run(flags={"num_attention_heads": heads}).config.num_attention_heads == heads

    @pytest.mark.parametrize(
        ("hidden", "heads"), [(4, 1), (64, 1), (127, 1), (128, 2), (256, 4), (768, 12), (1024, 16)]
    )
    def test_the_rule_is_heads_of_64(self, hidden: int, heads: int) -> None:
        assert heads_by_rule(hidden) == heads

    def test_a_rule_that_does_not_divide_shows_an_override_and_asks_for_it(self) -> None:
        """Google's code refuses to train such a network, so somebody gave another head count."""
        shapes = embeddings("electra") | encoder("electra", 200, 800) | discriminator_head(200)
        with pytest.raises(SettingError, match="cannot have 3 attention heads") as refusal:
            settle(find_layout(shapes), "discriminator", Given(), None)
        assert "--num-attention-heads" in str(refusal.value.hint)
        settled = settle(find_layout(shapes), "discriminator", Given({"num_attention_heads": 5}), None)
        assert settled.config.num_attention_heads == 5


class TestNotices:
    def rule(self, settled: Settled) -> Any:
        (notice,) = [notice for notice in settled.notices if notice.code == "rule"]
        return notice

    def test_heads_and_activation_by_rule_are_one_warning_that_names_the_flags(self) -> None:
        notice = self.rule(run())
        assert notice.kind == "warning"
        assert "attention heads and the activation of the discriminator" in notice.message
        for word in ("--num-attention-heads", "--hidden-act", "--hparams", ".meta"):
            assert word in str(notice.hint)
        assert len(dict(notice.facts)["taken"]) == 2

    @pytest.mark.parametrize(
        ("known", "asked"), [("num_attention_heads", "--hidden-act"), ("hidden_act", "--num-attention-heads")]
    )
    def test_what_is_known_is_not_asked_for(self, known: str, asked: str) -> None:
        hint = str(self.rule(run(flags={known: OTHER[known]})).hint)
        assert asked in hint
        assert known.replace("_", "-") not in hint

    @pytest.mark.parametrize(
        "sources",
        [{"hparams": {}}, {"graph": GRAPH}, {"config": OTHER}, {"flags": {key: OTHER[key] for key in FLAGS}}],
        ids=lambda sources: next(iter(sources)),
    )
    def test_known_heads_and_activation_give_no_warning(self, sources: dict[str, Any]) -> None:
        assert [notice.code for notice in run(**sources).notices if notice.kind == "warning"] == []

    def test_rules_without_effect_on_outputs_are_a_note(self) -> None:
        (notice,) = run(flags={key: OTHER[key] for key in FLAGS}).notices
        assert (notice.kind, notice.code) == ("note", "rule-without-effect")
        assert [line.split()[0] for line in dict(notice.facts)["values"]] == list(SETTINGS[2:])


class TestGenerators:
    @pytest.mark.parametrize(
        ("source", "act"),
        [
            *(
                (source, act)
                for source in ("flags", "config", "graph")
                for act in ("relu", "tanh", "linear", "gelu_new")
            ),
            *(("hparams", act) for act in NOT_GELU),
        ],
    )
    def test_a_generator_whose_activation_is_not_gelu_is_refused(self, source: str, act: str) -> None:
        """transformers applies gelu in this head whatever the config says (measured: logits off by 0.4 to 2.4)."""
        value: dict[str, Any] = {"hidden_act": act}
        if source == "hparams":
            value = overrides(**value)
        if source == "graph":
            value = {"hidden_act": (act, "a_node")}
        with pytest.raises(LayoutError, match=f"no generator can be exported: its activation is {act}") as refusal:
            run(half="generator", **{source: value})
        assert refusal.value.exit_code == 3
        assert "ElectraForMaskedLM" in str(refusal.value.expected)
        assert run(half="discriminator", **{source: value}).config.hidden_act == act

    def test_gelu_and_an_activation_that_nobody_knows_are_taken(self) -> None:
        assert run(half="generator", flags={"hidden_act": "gelu"}).config.hidden_act == "gelu"
        assert run(half="generator").origins["hidden_act"].source == "rule"

    def test_a_half_that_is_not_there_is_refused_before_anything_is_compared(self) -> None:
        with pytest.raises(LayoutError, match="no generator can be exported"):
            run(setup="uniform", half="generator", config={"hidden_size": 999})


def test_the_defaults_of_a_config_are_the_rules() -> None:
    config = ElectraConfig(**SIZES, num_attention_heads=1)
    assert {key: getattr(config, key) for key in RULES} == {key: value for key, (value, _) in RULES.items()}
