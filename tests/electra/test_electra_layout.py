"""The set-up is known by names, the sizes by shapes; every variable has one kind, and nothing is guessed or dropped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import all_of, google, other
from made_up import (
    HG,
    IG,
    SETUP_NAMES,
    E,
    H,
    I,
    L,
    P,
    Shapes,
    T,
    V,
    discriminator_head,
    embeddings,
    encoder,
    generator_head,
    shapes_of,
    with_slots,
)

from electra_convert.electra.config import LETTERS
from electra_convert.electra.foreign import unknown_hint
from electra_convert.electra.layout import HALVES, Layout, find_layout, layer_count
from electra_convert.electra.setups import SETUPS, setup_of
from electra_convert.errors import LayoutError, MappingError
from electra_convert.tf1.checkpoint import open_checkpoint

QUERY = "electra/encoder/layer_{}/attention/self/query/kernel"

# The names our set-ups have, by the folder of checkpoints/google; every other one is the default.
SETUP_OF = {
    "untied_embeddings": "untied embeddings",
    "finetuned_classification": "fine-tuned",
    "tied_generator": "tied",
    "finetuned_regression": "fine-tuned",
    "masked_lm": "masked LM",
    "uniform_generator": "uniform",
    "electric": "two towers",
    "two_tower": "two towers",
    "finetuned_tagging": "fine-tuned",
    "finetuned_qa_joint": "fine-tuned",
    "finetuned_qa_independent": "fine-tuned",
    "finetuned_qa_answerable": "fine-tuned",
}


def shapes_in(folder: Path) -> Shapes:
    """Return the shapes of a checkpoint, read from its index alone."""
    with open_checkpoint(folder, data="optional") as checkpoint:
        return {name: variable.shape for name, variable in checkpoint.variables.items()}


def refusal(shapes: Shapes, half: str) -> MappingError:
    with pytest.raises(MappingError) as raised:
        find_layout(shapes).half(half)  # type: ignore[arg-type]
    return raised.value


class TestSetups:
    @pytest.mark.parametrize("name", all_of("google"))
    def test_every_checkpoint_of_googles_code_has_its_set_up(self, name: str) -> None:
        folder = google(name)
        layout = find_layout(shapes_in(folder))
        assert layout.setup.name == SETUP_OF.get(name, "separate")
        expected = json.loads((folder / "expected_config.json").read_text())
        for half in HALVES:
            refused = expected[half].get("refused", "") if half in expected else "fine-tuned"
            # An activation is no matter of names: such a half is whole here, and refused later.
            assert layout.halves[half].whole == (not refused or "gelu" in refused)

    @pytest.mark.parametrize("name", all_of("google"))
    def test_sizes_are_those_that_trained(self, name: str) -> None:
        folder = google(name)
        layout = find_layout(shapes_in(folder))
        expected = json.loads((folder / "expected_config.json").read_text())
        for half in HALVES:
            config = expected.get(half, {})
            config = config.get("config_if_it_could", config)
            if "refused" in config or not config:
                continue
            sizes = {field: layout.halves[half].letters[letter] for letter, field in LETTERS.items()}
            assert sizes == {field: config[field] for field in sizes}
            assert layout.halves[half].layers == config["num_hidden_layers"]

    @pytest.mark.parametrize("width", [E, H], ids=["E < H", "E = H"])
    @pytest.mark.parametrize("setup", SETUP_NAMES)
    def test_names_alone_tell_every_set_up(self, setup: str, width: int) -> None:
        shapes = shapes_of(setup, width)
        assert setup_of(list(shapes)).name == setup
        layout = find_layout(with_slots(shapes))
        assert layout.setup.name == setup
        assert layout.names_of("unknown") == []
        layout.refuse_unknown()

    @pytest.mark.parametrize("width", [E, HG, H], ids=["E < Hg", "E = Hg", "E = H"])
    @pytest.mark.parametrize(
        ("setup", "halves"),
        [
            ("separate", {"discriminator", "generator"}),
            ("untied embeddings", {"discriminator", "generator"}),
            ("tied", {"discriminator", "generator"}),
            ("masked LM", {"generator"}),
            ("uniform", {"discriminator"}),
            ("two towers", {"discriminator"}),
            ("two towers, untied embeddings", {"discriminator"}),
            ("fine-tuned", set()),
        ],
    )
    def test_a_set_up_gives_the_halves_that_hugging_face_can_hold(
        self, setup: str, halves: set[str], width: int
    ) -> None:
        layout = find_layout(shapes_of(setup, width))
        assert {half.name for half in layout.halves.values() if half.whole} == halves

    def test_sets_of_names_were_tried_in_an_order_that_reaches_all(self) -> None:
        assert {setup.name for setup in SETUPS} == set(SETUP_NAMES)

    @pytest.mark.parametrize(
        ("setup", "half", "reason"),
        [
            ("masked LM", "discriminator", "plain masked language model"),
            ("uniform", "generator", "discriminator only"),
            ("two towers", "generator", "two towers"),
            ("two towers, untied embeddings", "generator", "two towers"),
            ("fine-tuned", "discriminator", "fine-tuned"),
            ("fine-tuned", "generator", "fine-tuned"),
        ],
    )
    def test_a_half_that_is_not_there_is_refused_with_the_reason(self, setup: str, half: str, reason: str) -> None:
        with pytest.raises(LayoutError, match=f"no {half} can be exported: .*{reason}"):
            find_layout(shapes_of(setup)).half(half)  # type: ignore[arg-type]

    def test_each_half_has_its_own_sizes(self) -> None:
        layout = find_layout(shapes_of("separate"))
        sizes = {half: layout.halves[half].letters for half in HALVES}
        assert sizes["discriminator"] == {"V": V, "E": E, "H": H, "I": I, "P": P, "T": T}
        assert sizes["generator"] == {"V": V, "E": E, "H": HG, "I": IG, "P": P, "T": T}

    def test_untied_embeddings_give_the_generator_its_own_width_and_no_projection(self) -> None:
        half = find_layout(shapes_of("untied embeddings")).half("generator")
        assert (half.letters["E"], half.letters["H"]) == (HG, HG)
        assert "generator/embeddings/LayerNorm/gamma" in {move.variable for move in half.moves}
        assert not any("embeddings_project" in move.variable for move in half.moves)

    def test_own_embeddings_as_wide_as_the_discriminators_are_still_the_generators(self) -> None:
        """Taking `electra/embeddings` would fit every shape and be wrong."""
        shapes = shapes_of("separate", HG) | embeddings("generator", HG)
        half = find_layout(shapes).half("generator")
        assert "generator/embeddings/word_embeddings" in {move.variable for move in half.moves}

    def test_the_released_small_has_a_full_size_generator(self) -> None:
        layout = find_layout(shapes_in(other("electra_small_released")))
        for half in HALVES:
            assert layout.half(half).letters == {"V": 30522, "E": 128, "H": 256, "I": 1024, "P": 512, "T": 2}
            assert layout.half(half).layers == 12
        assert len(layout.half("discriminator").moves) == 203
        assert len(layout.half("generator").moves) == 204
        assert layout.names_of("known scalar") == ["generator_predictions/temperature", "global_step"]


class TestKinds:
    @pytest.mark.parametrize("name", [*all_of("google"), "released"])
    def test_every_variable_is_exactly_one_thing(self, name: str) -> None:
        shapes = shapes_in(other("electra_small_released") if name == "released" else google(name))
        layout = find_layout(shapes)
        assert layout.kinds.keys() == shapes.keys()
        kinds = {kind: layout.names_of(kind) for kind in set(layout.kinds.values())}
        assert sum(map(len, kinds.values())) == len(shapes)
        assert "unknown" not in kinds

    def test_embeddings_of_the_default_are_shared_and_projections_are_not(self) -> None:
        layout = find_layout(with_slots(shapes_of("separate")))
        assert layout.names_of("shared") == sorted(embeddings("electra"))
        assert layout.kinds["electra/embeddings_project/kernel"] == "discriminator"
        assert layout.kinds["generator/embeddings_project/kernel"] == "generator"

    @pytest.mark.parametrize("setup", ["two towers", "two towers, untied embeddings"])
    def test_two_towers_are_the_generators_although_it_cannot_be_exported(self, setup: str) -> None:
        kinds = find_layout(shapes_of(setup)).kinds
        scopes = ("generator_ltr/", "generator_rtl/", "cloze_predictions/")
        assert {kinds[name] for name in kinds if name.startswith(scopes)} == {"generator"}

    def test_a_tied_tower_is_shared_and_its_heads_are_not(self) -> None:
        layout = find_layout(shapes_of("tied"))
        assert {layout.kinds[name] for name in layout.kinds if name.startswith("electra/")} == {"shared"}
        assert layout.names_of("discriminator") == sorted(discriminator_head())
        assert layout.names_of("generator") == sorted(generator_head(hidden=H))

    def test_a_fine_tuned_encoder_is_shared_and_its_heads_are_tasks(self) -> None:
        layout = find_layout(shapes_of("fine-tuned"))
        assert set(layout.names_of("task")) == {"task_specific/mnli/dense/kernel", "task_specific/mnli/dense/bias"}
        assert set(layout.names_of("shared")) == shapes_of("fine-tuned").keys() - set(layout.names_of("task"))

    def test_slots_of_parts_are_slots(self) -> None:
        slot = "electra/embeddings/LayerNorm/beta/part_0/adam_v"
        assert find_layout({**shapes_of("separate"), slot: (E,)}).kinds[slot] == "optimizer"

    def test_slots_of_another_shape_and_without_a_variable_are_slots(self) -> None:
        layout = find_layout({**shapes_of("separate"), "electra/encoder/adam_m": (9, 9), "gone/adam_v": ()})
        assert layout.names_of("optimizer") == ["electra/encoder/adam_m", "gone/adam_v"]
        layout.refuse_unknown()

    def test_a_matrix_under_the_name_of_the_temperature_is_no_temperature(self) -> None:
        """A weight would be dropped without a word."""
        layout = find_layout({**shapes_of("separate"), "generator_predictions/temperature": (H, H)})
        assert layout.names_of("unknown") == ["generator_predictions/temperature"]

    def test_a_step_of_any_shape_is_a_step(self) -> None:
        layout = find_layout({**shapes_of("separate"), "global_step": (1,)})
        assert layout.names_of("known scalar") == ["global_step"]


class TestMissing:
    @pytest.mark.parametrize(
        "name",
        [
            QUERY.format(1),
            "electra/encoder/layer_0/attention/self/key/bias",
            "electra/embeddings/word_embeddings",
            "electra/embeddings_project/kernel",
            "discriminator_predictions/dense_1/bias",
        ],
    )
    def test_a_missing_variable_is_named_with_its_shape(self, name: str) -> None:
        shapes = shapes_of("uniform")
        shape = shapes.pop(name)
        error = refusal(shapes, "discriminator")
        assert error.message == "the checkpoint has no complete discriminator"
        known = "[V, 4]" if name.endswith("word_embeddings") else str(list(shape))
        assert error.facts["missing"] == ["1 of 43 variables", f"{name}  {known}"]

    @pytest.mark.parametrize("i", [0, 1, 2])
    def test_a_missing_layer_is_named(self, i: int) -> None:
        """But for the last one: without it the checkpoint is one of fewer layers."""
        shapes = embeddings("electra") | encoder("electra", layers=4) | discriminator_head()
        kept = {name: shape for name, shape in shapes.items() if f"/layer_{i}/" not in name}
        error = refusal(kept, "discriminator")
        assert error.facts["missing"][0] == "16 of 75 variables"
        assert all(f"/layer_{i}/" in line for line in error.facts["missing"][1:-1])

    def test_a_missing_head_is_named(self) -> None:
        shapes = {name: shape for name, shape in shapes_of("separate").items() if not name.startswith("discriminator")}
        error = refusal(shapes, "discriminator")
        assert error.facts["missing"][0] == "4 of 43 variables"
        assert find_layout(shapes).half("generator").whole

    def test_a_tower_without_any_layer_misses_the_first(self) -> None:
        error = refusal(embeddings("electra") | discriminator_head(), "discriminator")
        assert error.facts["missing"][0] == "18 of 27 variables"  # 16 of the layer, and the projection

    def test_the_generator_of_the_default_needs_the_discriminators_embeddings(self) -> None:
        shapes = shapes_of("separate")
        del shapes["electra/embeddings/LayerNorm/gamma"]
        for half in HALVES:
            assert "electra/embeddings/LayerNorm/gamma  [4]" in refusal(shapes, half).facts["missing"]

    def test_unexpected_names_stand_beside_the_missing_ones(self) -> None:
        """A renamed variable is both: seeing the two names side by side explains it."""
        shapes = shapes_of("uniform")
        shapes["electra/embeddings/word_embedding"] = shapes.pop("electra/embeddings/word_embeddings")
        error = refusal(shapes, "discriminator")
        assert error.facts["missing"][1].startswith("electra/embeddings/word_embeddings")
        assert error.facts["unexpected"] == ["1 variables", "electra/embeddings/word_embedding"]

    def test_bookkeeping_alone_is_no_electra(self) -> None:
        with pytest.raises(LayoutError, match="holds no ELECTRA"):
            find_layout({"electra/embeddings/word_embeddings/adam_m": (V, E), "global_step": ()})

    def test_no_variables_are_no_electra(self) -> None:
        with pytest.raises(LayoutError, match="holds no variables"):
            find_layout({})


class TestShapes:
    def wrong(self, name: str, shape: tuple[int, ...], half: str = "discriminator", layers: int = 3) -> MappingError:
        shapes = embeddings("electra") | encoder("electra", layers=layers) | discriminator_head()
        shapes |= encoder("generator", HG, IG) | generator_head()
        assert name in shapes
        shapes[name] = shape
        return refusal(shapes, half)

    @pytest.mark.parametrize(
        ("name", "shape", "expected"),
        [
            (QUERY.format(2), (8, 9), "[8, 8]"),
            (QUERY.format(0), (8,), "[8, 8]"),
            ("electra/encoder/layer_1/intermediate/dense/kernel", (32, 8), "[8, 32]"),
            ("electra/encoder/layer_1/output/LayerNorm/gamma", (1, 8), "[8]"),
            ("electra/embeddings/position_embeddings", (12, 5), "[12, 4]"),
            ("discriminator_predictions/dense_1/kernel", (8, 2), "[8, 1]"),
            ("electra/embeddings/LayerNorm/beta", (), "[4]"),
        ],
    )
    def test_a_wrong_shape_is_named_with_what_the_others_say(
        self, name: str, shape: tuple[int, ...], expected: str
    ) -> None:
        error = self.wrong(name, shape)
        assert error.message == "a variable of the discriminator has a wrong shape"
        assert error.facts["variable"] == [name]
        assert error.facts["found"] == [str(list(shape))]
        assert error.facts["expected"] == [f"{expected}, from the shapes of the other variables"]

    def test_a_layer_of_another_size_is_named_and_not_its_siblings(self) -> None:
        shapes = embeddings("electra") | encoder("electra", layers=5) | discriminator_head()
        shapes |= {name: shape for name, shape in encoder("electra", inner=40, layers=5).items() if "/layer_3/" in name}
        error = refusal(shapes, "discriminator")
        assert error.message == "3 variables of the discriminator have a wrong shape"
        assert all("/layer_3/" in name for name in error.facts["variable"])
        assert error.facts["found"] == ["[8, 40]", "[40]", "[40, 8]"]
        assert error.facts["expected"][0].startswith("[8, 32]")

    def test_a_bias_of_another_vocabulary_is_named(self) -> None:
        error = self.wrong("generator_predictions/output_bias", (V - 1,), "generator")
        assert error.facts["variable"] == ["generator_predictions/output_bias"]
        assert error.facts["expected"][0].startswith(f"[{V}]")

    def test_a_size_of_zero_is_no_size(self) -> None:
        error = self.wrong("electra/embeddings/word_embeddings", (0, E))
        assert (error.facts["found"], error.facts["expected"][0].split(",")[0]) == (["[0, 4]"], "[V")

    def test_what_is_missing_and_what_is_wrong_are_told_together(self) -> None:
        shapes = shapes_of("uniform")
        del shapes[QUERY.format(0)]
        shapes[QUERY.format(1)] = (8, 9)
        error = refusal(shapes, "discriminator")
        assert error.facts["missing"][1].startswith(QUERY.format(0))
        assert error.facts["variable"] == [QUERY.format(1)]

    def test_a_projection_between_equal_widths_is_not_dropped(self) -> None:
        shapes = shapes_of("uniform", H) | {
            "electra/embeddings_project/kernel": (H, H),
            "electra/embeddings_project/bias": (H,),
        }
        with pytest.raises(MappingError, match="2 variables are unknown"):
            find_layout(shapes).refuse_unknown()

    def test_halves_do_not_share_a_fault(self) -> None:
        shapes = {**shapes_of("separate"), QUERY.format(0): (8, 9)}
        assert find_layout(shapes).half("generator").whole
        refusal(shapes, "discriminator")


class TestUnknown:
    def unknown(self, *names: str) -> Layout:
        return find_layout({**shapes_of("separate"), **dict.fromkeys(names, (3,))})

    @pytest.mark.parametrize(
        "name",
        [
            "electra/encoder/layer_01/attention/self/query/kernel",
            "electra/encoder/layer_+1/attention/self/query/kernel",
            "electra/encoder/layer_٣/attention/self/query/kernel",
            "electra/encoder/layer_1٣/attention/self/query/kernel",
            "electra/encoder/layer_9999999999/attention/self/query/kernel",
            "electra//embeddings/word_embeddings",
            "electra/pooler/dense/kernel",
            "generator_1/encoder/layer_0/attention/self/query/kernel",
            "generator/embeddings_project_1/kernel",
            "beta1_power",
            "../../etc/passwd",
            "x" * 1000,
            "\x1b[31m\n\x00\u202e",
            " electra",
            "ELECTRA/embeddings/word_embeddings",
        ],
    )
    def test_a_name_outside_of_the_table_is_unknown_and_refused(self, name: str) -> None:
        layout = self.unknown(name)
        assert layout.names_of("unknown") == [name]
        assert layout.halves["discriminator"].whole
        with pytest.raises(MappingError) as raised:
            layout.refuse_unknown()
        assert raised.value.facts["found"] == [name]
        assert "--ignore" in str(raised.value.hint)
        assert "\x1b" not in str(raised.value)

    def test_a_layer_number_without_end_is_refused_at_once(self) -> None:
        shapes = {**shapes_of("uniform"), QUERY.format(999_999_999): (H, H)}
        error = refusal(shapes, "discriminator")
        assert error.facts["unexpected"] == ["1 variables", QUERY.format(999_999_999)]
        assert layer_count("electra", shapes) <= len(shapes)

    def test_the_layers_of_one_tower_are_not_those_of_another(self) -> None:
        names = ["electra/encoder/layer_3/x", "generator/encoder/layer_5/x", "xelectra/encoder/layer_8/x", *"abcdef"]
        assert [layer_count(body, names) for body in ("electra", "generator", "gen.rator")] == [4, 6, 0]

    def test_a_second_generator_beside_the_first_can_be_ignored_by_its_scope(self) -> None:
        again = {f"generator_1/{name}": shape for name, shape in encoder("generator", HG, IG).items()}
        with pytest.raises(MappingError, match="34 variables are unknown") as raised:
            find_layout({**shapes_of("separate"), **again}).refuse_unknown()
        assert raised.value.hint == "leave them out with --ignore 'generator_1/*'"
        assert raised.value.facts["found"][-1] == "and 29 more"

    def test_the_pattern_leaves_out_nothing_but_what_is_unknown(self) -> None:
        assert unknown_hint(["electra/pooler/kernel", "crf/a", "crf/b", "x[1]"]).split("--ignore ")[1:] == [
            "'electra/pooler/kernel' ",
            "'crf/*' ",
            "'x[[]1]'",
        ]
        for scope in ("generator_ltr", "generator_rtl", "cloze_predictions", "task_specific"):
            assert f"'{scope}/x'" in unknown_hint([f"{scope}/x"])

    def test_layers_above_the_others_make_a_bigger_model_of_which_some_is_missing(self) -> None:
        shapes = shapes_of("uniform") | {QUERY.format(L): (H, H)}
        assert refusal(shapes, "discriminator").facts["missing"][0] == "15 of 59 variables"
