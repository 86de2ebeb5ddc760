"""Every option of `convert` does what it says, and what cannot be done is refused and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from builders import write_v2
from conftest import google, other
from made_up import HG, TOKENS, E, H, I, L, P, T, V, write_made_up

from electra_convert import convert, open_checkpoint, state_dict
from electra_convert.conversion import Conversion
from electra_convert.electra.mapping import ARCHITECTURE
from electra_convert.errors import (
    CheckpointError,
    ChecksumError,
    ElectraConvertError,
    InputError,
    LayoutError,
    MappingError,
    OutputError,
    SettingError,
    StrictError,
    UsageError,
    ValueRefused,
    VocabularyError,
)

Variables = dict[str, np.ndarray]

BIAS = "electra/encoder/layer_0/output/dense/bias"
POSITION_SLOT = "electra/embeddings/position_embeddings{}/adam_v"

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
    "hidden_act": "tanh",
}

posix = pytest.mark.skipif(os.name != "posix", reason="links of POSIX")


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Write a made-up checkpoint below `tmp_path`, in a folder of its own."""

    def make(setup: str = "separate", change: Callable[[Variables], Any] = lambda there: None, **options: Any) -> Path:
        return write_made_up(tmp_path / f"ckpt-{setup.replace(' ', '-')}", setup, change, **options)

    return make


def run(checkpoint: Any, out: Path, **options: Any) -> Conversion:
    return convert(checkpoint, out, **{"verify": False, **options})


def refused(error: type[ElectraConvertError], checkpoint: Any, out: Path, **options: Any) -> ElectraConvertError:
    """Return the refusal of a conversion that leaves everything around OUT as it was."""
    around = sorted(path for path in out.parent.rglob("*"))
    with pytest.raises(error) as raised:
        run(checkpoint, out, **options)
    assert sorted(path for path in out.parent.rglob("*")) == around
    return raised.value


def tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def document(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())  # type: ignore[no-any-return]


def codes(conversion: Conversion) -> list[str]:
    return [notice.code for notice in conversion.warnings]


def differing(folder: Path, other_folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if (other_folder / path.name).read_bytes() != path.read_bytes()]


def same(folder: Path, other_folder: Path) -> bool:
    return not differing(folder, other_folder) and len(list(folder.iterdir())) == len(list(other_folder.iterdir()))


class TestExport:
    @pytest.mark.parametrize("export", ["both", "available"])
    def test_two_halves_are_two_folders_and_nothing_else(self, made, tmp_path: Path, export: str) -> None:
        conversion = run(made(), tmp_path / "out", export=export)
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"discriminator", "generator"}
        assert [half.folder for half in conversion.halves] == [str(tmp_path / "out" / name) for name in ARCHITECTURE]
        for half in conversion.halves:
            single = run(tmp_path / "ckpt-separate", tmp_path / half.half, export=half.half).halves[0]
            assert (single.config, single.sources) == (half.config, half.sources)
            for name in ("model.safetensors", "config.json", "tokenizer.json"):
                written = Path(half.folder) / name
                assert written.read_bytes() == (tmp_path / half.half / name).read_bytes()

    @pytest.mark.parametrize(
        ("setup", "missing"),
        [("uniform", "generator"), ("masked LM", "discriminator"), ("two towers", "generator")],
    )
    def test_both_refuses_where_available_takes_what_there_is(
        self, made, tmp_path: Path, setup: str, missing: str
    ) -> None:
        path = made(setup)
        assert f"no {missing} can be exported" in refused(LayoutError, path, tmp_path / "out", export="both").message
        conversion = run(path, tmp_path / "out", export="available")
        (half,) = conversion.halves
        assert {entry.name for entry in (tmp_path / "out").iterdir()} == {half.half} != {missing}
        ((name, reason),) = conversion.refused
        assert name == missing
        assert reason.startswith(f"no {missing} can be exported")

    def test_available_without_any_half_is_refused(self, made, tmp_path: Path) -> None:
        error = refused(LayoutError, made("fine-tuned"), tmp_path / "out", export="available")
        assert error.message == "no half can be exported"
        assert [fact.split(":")[0] for fact in error.facts["found"]] == ["discriminator", "generator"]

    def test_available_leaves_out_a_generator_that_hugging_face_cannot_hold(self, made, tmp_path: Path) -> None:
        path = made()
        error = refused(LayoutError, path, tmp_path / "out", export="both", hidden_act="relu")
        assert error.hint == "--export discriminator"
        conversion = run(path, tmp_path / "out", export="available", hidden_act="relu")
        assert [half.half for half in conversion.halves] == ["discriminator"]
        assert document(tmp_path / "out/discriminator", "config.json")["hidden_act"] == "relu"

    def test_a_tied_checkpoint_gives_two_full_folders_of_one_tower(self, made, tmp_path: Path) -> None:
        run(made("tied"), tmp_path / "out", export="both")
        halves = [tensors(tmp_path / "out" / name) for name in ARCHITECTURE]
        shared = [name for name in halves[0] if name.startswith("electra.")]
        assert shared == [name for name in halves[1] if name.startswith("electra.")]
        assert all(np.array_equal(halves[0][name], halves[1][name]) for name in shared)
        configs = [document(tmp_path / "out" / name, "config.json") for name in ARCHITECTURE]
        assert [config.pop("architectures") for config in configs] == [[name] for name in ARCHITECTURE.values()]
        assert configs[0] == configs[1]

    def test_a_masked_lm_gives_its_tower_electra_as_the_generator(self, made, tmp_path: Path) -> None:
        path = made("masked LM")
        run(path, tmp_path / "out", export="generator", num_attention_heads=2)
        assert document(tmp_path / "out", "config.json")["num_attention_heads"] == 2
        with open_checkpoint(path) as checkpoint:
            kernel = checkpoint.read("electra/encoder/layer_1/intermediate/dense/kernel")
        written = tensors(tmp_path / "out")["electra.encoder.layer.1.intermediate.dense.weight"]
        assert np.array_equal(written, kernel.T)

    @pytest.mark.parametrize("setup", ["two towers", "two towers, untied embeddings"])
    def test_towers_give_the_discriminator_and_say_that_its_logit_may_be_an_energy(
        self, made, tmp_path: Path, setup: str
    ) -> None:
        conversion = run(made(setup), tmp_path / "out")
        assert "energy" in codes(conversion)
        assert "may have been trained by Electric" in (tmp_path / "out/README.md").read_text()
        assert document(tmp_path / "out", "config.json")["architectures"] == [ARCHITECTURE["discriminator"]]

    def test_heads_are_the_exported_halfs_or_with_two_halves_the_discriminators(self, made, tmp_path: Path) -> None:
        path = made()
        run(path, tmp_path / "one", export="generator", num_attention_heads=3)
        assert document(tmp_path / "one", "config.json")["num_attention_heads"] == 3
        run(path, tmp_path / "two", export="both", num_attention_heads=4)
        heads = [document(tmp_path / "two" / name, "config.json")["num_attention_heads"] for name in ARCHITECTURE]
        assert heads == [4, 1]

    def test_other_exports_are_a_usage_error(self, made, tmp_path: Path) -> None:
        assert refused(UsageError, made(), tmp_path / "out", export="head").exit_code == 2


class TestTypes:
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_the_asked_for_type_is_written_and_told(self, made, tmp_path: Path, dtype: str) -> None:
        path = made()
        conversion = run(path, tmp_path / "out", dtype=dtype, export="generator")
        config = document(tmp_path / "out", "config.json")
        assert (config["dtype"], config["torch_dtype"], conversion.halves[0].dtype) == (dtype, dtype, dtype)
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
        assert {tensor.dtype for tensor in tensors(tmp_path / "out").values()} == {np.dtype(kind)}
        with open_checkpoint(path) as checkpoint:
            bias = checkpoint.read("generator_predictions/output_bias")
        assert np.array_equal(tensors(tmp_path / "out")["generator_lm_head.bias"], bias.astype(kind))

    @pytest.mark.parametrize(
        ("name", "dtype"), [("dtype_float16", "float16"), ("dtype_bfloat16", "bfloat16"), ("dtype_float64", "float32")]
    )
    def test_the_stored_type_is_kept_but_for_float64(self, tmp_path: Path, name: str, dtype: str) -> None:
        conversion = run(google(name), tmp_path / "out")
        assert document(tmp_path / "out", "config.json")["dtype"] == dtype
        assert ("dtype" in [note.code for note in conversion.notes]) == (name == "dtype_float64")

    def test_mixed_types_are_refused_unless_one_is_said(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there.update({BIAS: there[BIAS].astype(np.float16)}))
        error = refused(MappingError, path, tmp_path / "out")
        assert (error.hint, error.facts["variable"]) == ("say which to export with --dtype", [BIAS])
        run(path, tmp_path / "out", dtype="float32")
        assert {tensor.dtype.name for tensor in tensors(tmp_path / "out").values()} == {"float32"}

    def test_an_integer_where_a_weight_should_be_is_refused(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there.update({BIAS: there[BIAS].astype(np.int32)}))
        error = refused(MappingError, path, tmp_path / "out", dtype="float32")
        assert (error.facts["variable"], error.facts["found"], error.exit_code) == ([BIAS], ["int32"], 3)

    def test_a_value_too_large_for_the_type_is_refused(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there[BIAS].__setitem__(2, 1e6))
        error = refused(ValueRefused, path, tmp_path / "out", dtype="float16")
        assert (error.where, error.exit_code) == ("index [2]", 3)
        run(path, tmp_path / "out", dtype="bfloat16")


class TestValues:
    def test_nan_is_refused_unless_allowed(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there[BIAS].__setitem__(slice(2, 5), np.nan))
        error = refused(ValueRefused, path, tmp_path / "out")
        assert error.facts["variable"] == f"{BIAS} float32 [8]"
        assert (error.where, error.found) == ("index [2]", "nan, and 2 more in this variable")
        conversion = run(path, tmp_path / "out", allow_nonfinite=True)
        assert "nonfinite" in codes(conversion)
        written = tensors(tmp_path / "out")["electra.encoder.layer.0.output.dense.bias"]
        assert np.isnan(written).tolist() == [False, False, True, True, True, False, False, False]

    def test_allowed_nan_are_not_held_against_the_proof(self, made, tmp_path: Path) -> None:
        """A network with NaN in it computes NaN: nothing can be compared, and the warning says so."""
        path = made(change=lambda there: there[BIAS].__setitem__(2, np.nan))
        conversion = run(path, tmp_path / "out", allow_nonfinite=True, verify=None)
        assert conversion.halves[0].verification.state == "bytes"
        assert codes(conversion) == ["rule", "nonfinite"]

    def test_nan_in_a_slot_or_in_the_other_half_does_not_matter(self, made, tmp_path: Path) -> None:
        def change(there: Variables) -> None:
            there["generator_predictions/output_bias"][0] = np.nan
            there[f"{BIAS}/adam_m"] = np.full(H, np.inf, np.float32)

        path = made(change=change)
        run(path, tmp_path / "out")
        refused(ValueRefused, path, tmp_path / "both", export="both")

    def test_a_checkpoint_that_changes_during_the_run_is_refused(self, made, tmp_path: Path) -> None:
        """A training that goes on may replace it: half of each would look like one model."""
        path = made()
        index = path / "model.ckpt-7.index"

        def touch(*_: object) -> None:
            os.utime(index, ns=(1, 1))

        with pytest.raises(CheckpointError, match="changed"):
            run(path, tmp_path / "out", progress=touch)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_a_changed_byte_is_refused_and_leaves_nothing(self, made, tmp_path: Path) -> None:
        path = made()
        data = path / "model.ckpt-7.data-00000-of-00001"
        content = bytearray(data.read_bytes())
        content[len(content) // 4] ^= 1
        data.write_bytes(content)
        assert refused(ChecksumError, path, tmp_path / "out", export="both").exit_code == 3


class TestStateDict:
    @pytest.mark.parametrize("name", ["default_small", "v1_sharded", "cased_temperature", "dtype_bfloat16"])
    @pytest.mark.parametrize("half", list(ARCHITECTURE))
    def test_it_is_what_the_file_holds(self, tmp_path: Path, name: str, half: str) -> None:
        run(google(name), tmp_path / "out", export=half)
        ours, written = state_dict(google(name), export=half), tensors(tmp_path / "out")
        assert ours.keys() == written.keys()
        for key, tensor in ours.items():
            assert tensor.dtype == written[key].dtype
            assert tensor.tobytes() == written[key].tobytes()
            assert tensor.shape == written[key].shape

    def test_no_array_is_a_view_of_another(self, made) -> None:
        arrays = list(state_dict(made()).values())
        for array in arrays:
            array[...] = 0
        assert all(not array.any() for array in arrays)
        assert len({array.__array_interface__["data"][0] for array in arrays}) == len(arrays)

    def test_the_tied_output_matrix_is_not_in_it(self, made) -> None:
        assert "generator_lm_head.weight" not in state_dict(made(), export="generator")

    def test_settings_of_convert_are_taken_and_no_vocabulary_is_needed(self, made) -> None:
        path = made(change=lambda there: there.update({"crf/x": np.zeros(2), BIAS: there[BIAS] * np.float32(1e6)}))
        (path / "vocab.txt").unlink()
        with pytest.raises(MappingError, match="a variable is unknown"):
            state_dict(path)
        with pytest.raises(ValueRefused):
            state_dict(path, ignore=["crf/*"], dtype="float16")
        halves = state_dict(path, ignore=["crf/*"], dtype="float16", allow_nonfinite=True, num_attention_heads=4)
        assert {array.dtype.name for array in halves.values()} == {"float16"}

    @pytest.mark.parametrize("export", ["both", "available", "head"])
    def test_it_is_of_one_half(self, made, export: Any) -> None:
        with pytest.raises(UsageError, match="one half"):
            state_dict(made(), export=export)


class TestInputs:
    def test_an_open_checkpoint_gives_the_same_and_stays_open(self, made, tmp_path: Path) -> None:
        path = made()
        run(path, tmp_path / "a")
        with open_checkpoint(path) as checkpoint:
            conversion = run(checkpoint, tmp_path / "b")
            assert checkpoint.read("global_step") == 7
            assert state_dict(checkpoint).keys() == tensors(tmp_path / "a").keys()
        assert same(tmp_path / "a", tmp_path / "b")
        assert conversion.checkpoint.name == "model.ckpt-7"

    def test_archives_prefixes_and_files_give_the_same(self, tmp_path: Path) -> None:
        folder = google("no_meta")
        run(folder, tmp_path / "folder")
        for name in ("electra_tiny", "published.zip", "published.tar.gz"):
            run(folder / name, tmp_path / name)
            assert same(tmp_path / "folder", tmp_path / name)
        run(folder / "electra_tiny.index", tmp_path / "index")
        assert same(tmp_path / "folder", tmp_path / "index")

    def test_a_half_that_is_missing_in_part_is_refused_with_the_list(self, made, tmp_path: Path) -> None:
        error = refused(MappingError, made(change=lambda there: there.pop(BIAS)), tmp_path / "out")
        assert error.facts["missing"] == ["1 of 43 variables", f"{BIAS}  [8]"]

    def test_unknown_variables_can_be_ignored_and_are_told(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there.update({"generator_1/x": np.zeros(3), "generator_1/y": np.zeros(3)}))
        error = refused(MappingError, path, tmp_path / "out")
        assert error.hint == "leave them out with --ignore 'generator_1/*'"
        conversion = run(path, tmp_path / "out", ignore=["generator_1/*"])
        assert "ignored" in codes(conversion)
        assert [group.count for group in conversion.left_out if group.what == "ignored"] == [2]

    def test_a_layer_cannot_be_ignored_away(self, made, tmp_path: Path) -> None:
        """A model of one layer less would look whole."""
        error = refused(SettingError, made(), tmp_path / "out", ignore=["electra/encoder/layer_1/*"])
        assert error.exit_code == 3
        assert "16 variables" in error.facts["found"][0]
        assert list(tmp_path.glob("out*")) == []

    def test_what_is_needed_cannot_be_ignored(self, made, tmp_path: Path) -> None:
        error = refused(MappingError, made(), tmp_path / "out", ignore=["*/query/kernel"])
        assert error.facts["missing"][0] == "2 of 43 variables"


class TestSettings:
    def test_a_config_gives_what_no_shape_tells(self, made, tmp_path: Path) -> None:
        (tmp_path / "given.json").write_text(json.dumps(CONFIG))
        conversion = run(made(), tmp_path / "out", config=tmp_path / "given.json")
        config = document(tmp_path / "out", "config.json")
        assert (config["num_attention_heads"], config["hidden_act"]) == (4, "tanh")
        assert conversion.halves[0].sources["hidden_act"].source == "config"
        assert codes(conversion) == []

    def test_a_config_that_fits_one_half_is_for_that_half_alone(self, made, tmp_path: Path) -> None:
        sizes = {"hidden_size": HG, "intermediate_size": 4 * HG, "num_attention_heads": 3, "hidden_act": "gelu"}
        (tmp_path / "given.json").write_text(json.dumps({**CONFIG, **sizes}))
        run(made(), tmp_path / "out", config=tmp_path / "given.json", export="both")
        heads = [document(tmp_path / "out" / name, "config.json")["num_attention_heads"] for name in ARCHITECTURE]
        assert heads == [1, 3]

    def test_a_config_of_another_model_is_refused(self, made, tmp_path: Path) -> None:
        (tmp_path / "given.json").write_text(json.dumps({**CONFIG, "hidden_size": 256}))
        error = refused(SettingError, made(), tmp_path / "out", config=tmp_path / "given.json")
        assert (error.found, error.exit_code) == ("hidden_size 256", 3)

    @pytest.mark.parametrize("name", ["relu_activation", "tanh_activation", "odd_heads"])
    def test_hparams_do_what_the_graph_does(self, tmp_path: Path, name: str) -> None:
        folder = google(name)
        plain = tmp_path / "plain"
        shutil.copytree(folder, plain, ignore=shutil.ignore_patterns("*.meta"))
        expected = json.loads((folder / "expected_config.json").read_text())["discriminator"]
        run(plain, tmp_path / "out", hparams=folder / "hparams.json")
        config = document(tmp_path / "out", "config.json")
        assert {key: config[key] for key in expected} == expected

    def test_a_flag_against_the_graph_is_refused_naming_both(self, tmp_path: Path) -> None:
        error = refused(SettingError, google("odd_heads"), tmp_path / "out", num_attention_heads=8)
        assert error.exit_code == 3
        assert [fact.split(":")[0] for fact in error.facts["found"]] == ["8, flag", "6, graph"]

    def test_flag_and_hparams_that_disagree_are_a_usage_error(self, made, tmp_path: Path) -> None:
        hparams = {"model_hparam_overrides": {"num_attention_heads": 2}}
        error = refused(UsageError, made(), tmp_path / "out", num_attention_heads=4, hparams=hparams)
        assert error.exit_code == 2

    def test_heads_that_do_not_divide_are_refused(self, made, tmp_path: Path) -> None:
        assert refused(SettingError, made(), tmp_path / "out", num_attention_heads=3).exit_code == 3


class TestTokenizers:
    def test_a_vocabulary_from_elsewhere_is_written_as_vocab_txt(self, made, tmp_path: Path) -> None:
        path = made()
        (path / "vocab.txt").rename(tmp_path / "words.txt")
        refused(VocabularyError, path, tmp_path / "out")
        run(path, tmp_path / "out", vocab=tmp_path / "words.txt")
        assert (tmp_path / "out/vocab.txt").read_bytes() == (tmp_path / "words.txt").read_bytes()

    def test_without_a_tokenizer_none_of_its_files_is_written(self, made, tmp_path: Path) -> None:
        path = made()
        (path / "vocab.txt").unlink()
        run(path, tmp_path / "out", tokenizer=False)
        files = {entry.name for entry in (tmp_path / "out").iterdir()}
        assert files == {"config.json", "model.safetensors", "README.md", "conversion.json"}
        assert document(tmp_path / "out", "config.json")["pad_token_id"] == 0
        assert "AutoTokenizer" not in (tmp_path / "out/README.md").read_text()

    def test_the_padding_id_is_the_vocabularys(self, made, tmp_path: Path) -> None:
        run(made(tokens=["a", "[PAD]", *TOKENS[1:5], *TOKENS[6:]]), tmp_path / "out")
        assert document(tmp_path / "out", "config.json")["pad_token_id"] == 1

    @pytest.mark.parametrize(("length", "expected"), [(None, P), (1, 1), (P, P)])
    def test_the_longest_input_follows_the_option_or_the_position_table(
        self, made, tmp_path: Path, length: int | None, expected: int
    ) -> None:
        run(made(), tmp_path / "out", max_length=length)
        assert document(tmp_path / "out", "tokenizer_config.json")["model_max_length"] == expected
        assert document(tmp_path / "out", "config.json")["max_position_embeddings"] == P

    @pytest.mark.parametrize("length", [0, P + 1])
    def test_a_length_outside_of_the_position_table_is_refused(self, made, tmp_path: Path, length: int) -> None:
        assert refused(SettingError, made(), tmp_path / "out", max_length=length).exit_code == 3

    def test_a_longer_vocabulary_is_refused_and_a_shorter_one_warned_of(self, made, tmp_path: Path) -> None:
        refused(VocabularyError, made(tokens=[*TOKENS, "z"]), tmp_path / "out")
        conversion = run(made("tied", tokens=TOKENS[:-2]), tmp_path / "out")
        assert "vocab-short" in codes(conversion)
        assert len((tmp_path / "out/vocab.txt").read_text().splitlines()) == V - 2

    def test_googles_tree_has_the_vocabulary_two_folders_up(self, tmp_path: Path) -> None:
        folder = write_made_up(tmp_path / "data/models/small")
        (folder / "vocab.txt").rename(tmp_path / "data/vocab.txt")
        assert "vocab-elsewhere" in codes(run(folder, tmp_path / "out"))

    def test_special_ids_that_the_graph_does_not_have_are_refused(self, tmp_path: Path) -> None:
        words = (google("default_small") / "vocab.txt").read_text().split("\n")
        words.remove("[MASK]")
        words.insert(60, "[MASK]")
        (tmp_path / "words.txt").write_text("\n".join(words))
        error = refused(VocabularyError, google("default_small"), tmp_path / "out", vocab=tmp_path / "words.txt")
        assert error.found == "[MASK] has id 60"

    @pytest.mark.parametrize(
        ("options", "lower", "strip"),
        [
            ({}, True, True),
            ({"cased": True}, False, False),
            ({"cased": False, "strip_accents": False}, True, False),
            ({"strip_accents": True}, True, True),
        ],
    )
    def test_casing_follows_the_options(
        self, made, tmp_path: Path, options: dict[str, bool], lower: bool, strip: bool
    ) -> None:
        run(made(), tmp_path / "out", **options)
        config = document(tmp_path / "out", "tokenizer_config.json")
        assert (config["do_lower_case"], config["strip_accents"]) == (lower, strip)

    def test_options_of_a_tokenizer_that_is_not_written_are_a_usage_error(self, made, tmp_path: Path) -> None:
        assert refused(UsageError, made(), tmp_path / "out", tokenizer=False, cased=True).exit_code == 2


class TestOut:
    def test_an_empty_folder_is_taken(self, made, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        run(made(), tmp_path / "out")
        assert (tmp_path / "out/config.json").exists()

    @pytest.mark.parametrize("export", ["discriminator", "both"])
    def test_a_folder_that_is_not_empty_is_refused_unless_it_is_to_be_replaced(
        self, made, tmp_path: Path, export: str
    ) -> None:
        path = made()
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("x")
        assert refused(OutputError, path, tmp_path / "out", export=export).exit_code == 4
        run(path, tmp_path / "out", export=export, overwrite=True)
        assert not (tmp_path / "out/mine.txt").exists()
        assert {entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")} == {path.name, "out"}

    def test_a_failing_conversion_leaves_the_folder_it_was_to_replace(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there[BIAS].__setitem__(2, np.nan))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("x")
        with pytest.raises(ValueRefused):
            run(path, tmp_path / "out", overwrite=True)
        assert (tmp_path / "out/mine.txt").read_text() == "x"
        assert [entry.name for entry in tmp_path.iterdir() if ".tmp-" in entry.name or ".old-" in entry.name] == []

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_file_is_refused(self, made, tmp_path: Path, overwrite: bool) -> None:
        path = made()
        (tmp_path / "out").write_text("x")
        with pytest.raises(OutputError) as refusal:
            run(path, tmp_path / "out", overwrite=overwrite)
        assert refusal.value.exit_code == 4
        assert (tmp_path / "out").read_text() == "x"

    @posix
    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("target", ["folder", "nowhere"])
    def test_a_link_is_refused(self, made, tmp_path: Path, target: str, overwrite: bool) -> None:
        path = made()
        (tmp_path / "folder").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / target)
        with pytest.raises(OutputError) as refusal:
            run(path, tmp_path / "out", overwrite=overwrite)
        assert refusal.value.exit_code == 4
        assert (tmp_path / "out").is_symlink()
        assert list((tmp_path / "folder").iterdir()) == []

    def test_a_folder_that_is_missing_above_is_refused(self, made, tmp_path: Path) -> None:
        assert refused(OutputError, made(), tmp_path / "no" / "out").exit_code == 4
        assert not (tmp_path / "no").exists()

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("where", ["itself", "inside", "around"])
    def test_the_checkpoints_own_folder_is_refused(self, made, tmp_path: Path, where: str, overwrite: bool) -> None:
        path = made()
        out = {"itself": path, "inside": path / "out", "around": tmp_path}[where]
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UsageError) as refusal:
            run(path, out, overwrite=overwrite)
        assert refusal.value.exit_code == 2
        assert sorted(tmp_path.rglob("*")) == before

    @posix
    def test_a_link_hides_nothing(self, made, tmp_path: Path) -> None:
        path = made()
        (tmp_path / "link").symlink_to(path)
        with pytest.raises(UsageError):
            run(path, tmp_path / "link" / "out")
        with pytest.raises(UsageError):
            run(tmp_path / "link", path / "out")

    def test_an_out_that_holds_the_checkpoints_files_is_refused(self, made) -> None:
        path = made()
        with pytest.raises(UsageError):
            run(path / "model.ckpt-7.index", path, overwrite=True)
        with pytest.raises(UsageError):
            run(path / "model.ckpt-7", path, overwrite=True)
        assert (path / "model.ckpt-7.index").exists()


class TestRuns:
    @pytest.mark.parametrize("export", ["discriminator", "both"])
    def test_a_dry_run_tells_everything_and_writes_nothing(self, made, tmp_path: Path, export: str) -> None:
        path = made()
        dry = run(path, tmp_path / "out", export=export, dry_run=True)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        wet = run(path, tmp_path / "out", export=export)
        assert (dry.dry_run, wet.dry_run) == (True, False)
        for planned, written in zip(dry.halves, wet.halves, strict=True):
            for field in ("config", "sources", "tensors", "folder", "nbytes"):
                assert getattr(planned, field) == getattr(written, field)
            assert planned.verification.state == "none"
        assert (dry.left_out, codes(dry)) == (wet.left_out, codes(wet))

    def test_a_dry_run_refuses_what_a_run_refuses(self, made, tmp_path: Path) -> None:
        path = made()
        refused(SettingError, path, tmp_path / "out", dry_run=True, num_attention_heads=3)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/x").write_text("x")
        refused(OutputError, path, tmp_path / "out", dry_run=True)

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_strict_refuses_warnings_and_publishes_nothing(self, made, tmp_path: Path, dry_run: bool) -> None:
        path = made()
        error = refused(StrictError, path, tmp_path / "out", strict=True, dry_run=dry_run)
        assert error.exit_code == 1
        assert [fact.split(":")[0] for fact in error.facts["found"]] == ["rule"]
        run(path, tmp_path / "out", strict=True, num_attention_heads=1, hidden_act="gelu")

    def test_strict_refuses_warnings_that_only_the_values_give(self, made, tmp_path: Path) -> None:
        path = made(change=lambda there: there[BIAS].__setitem__(2, np.nan))
        options = {"strict": True, "allow_nonfinite": True, "num_attention_heads": 1, "hidden_act": "gelu"}
        error = refused(StrictError, path, tmp_path / "out", **options)
        assert [fact.split(":")[0] for fact in error.facts["found"]] == ["nonfinite"]

    def test_its_account_is_plain_data(self, made, tmp_path: Path) -> None:
        conversion = run(made("uniform"), tmp_path / "out", export="available")
        account = json.loads(json.dumps(conversion.to_json(), allow_nan=False))
        assert [half["half"] for half in account["halves"]] == ["discriminator"]
        assert [half["half"] for half in account["refused"]] == ["generator"]
        sizes = {file["name"]: file["bytes"] for file in account["halves"][0]["files"]}
        assert sizes == {path.name: path.stat().st_size for path in (tmp_path / "out/discriminator").iterdir()}

    def test_progress_is_told_until_all_bytes_are_done(self, made, tmp_path: Path) -> None:
        steps: list[tuple[int, int, str]] = []
        run(made(), tmp_path / "out", progress=lambda *step: steps.append(step))
        for what in dict.fromkeys(what for _, _, what in steps):
            done = [step for step in steps if step[2] == what]
            assert done[-1][0] == done[-1][1]
            assert [step[0] for step in done] == sorted(step[0] for step in done)


class TestTrainedLength:
    def length(self, path: Path, out: Path, **options: Any) -> tuple[int | None, dict[str, int]]:
        conversion = run(path, out, **options)
        record = document(out, "conversion.json")
        assert conversion.checkpoint.trained_length == record["trained_length"]
        return record["trained_length"], record["trained_length_sources"]

    def test_it_is_in_the_graph_and_in_the_slots(self, tmp_path: Path) -> None:
        assert self.length(google("odd_heads"), tmp_path / "out") == (32, {"graph": 32, "slots": 32})

    def test_it_is_in_the_slots_alone(self, tmp_path: Path) -> None:
        prefix = google("several_steps") / "model.ckpt-40"
        assert self.length(prefix, tmp_path / "out") == (32, {"slots": 32})

    def test_it_is_in_the_parts_of_the_slots(self, tmp_path: Path) -> None:
        folder = tmp_path / "plain"
        shutil.copytree(google("partitioned_trained"), folder, ignore=shutil.ignore_patterns("*.meta"))
        assert self.length(folder, tmp_path / "out") == (32, {"slots": 32})

    def test_the_longest_phase_counts(self, made, tmp_path: Path) -> None:
        slot = np.zeros((P, E), np.float32)
        slot[:5] = 1
        path = made(change=lambda there: there.update({POSITION_SLOT.format(""): slot}))
        assert self.length(path, tmp_path / "out", hparams={"max_seq_length": 9}) == (9, {"slots": 5, "hparams": 9})

    def test_it_may_be_in_nothing(self, tmp_path: Path) -> None:
        assert self.length(google("sharded"), tmp_path / "out") == (None, {})


def test_a_temperature_is_left_out_with_its_value(tmp_path: Path) -> None:
    conversion = run(google("published_temperature"), tmp_path / "out", export="both")
    for half in ARCHITECTURE:
        assert document(tmp_path / "out" / half, "conversion.json")["scalars"] == {
            "generator_predictions/temperature": 1.0
        }
    assert "generator_predictions/temperature" in [group.what for group in conversion.left_out]


def test_what_is_no_electra_is_refused(tmp_path: Path) -> None:
    error = refused(LayoutError, other("bert_tiny_keras_bert"), tmp_path / "out", export="available")
    assert error.message.startswith("this is BERT")


def test_an_index_without_its_data_is_refused(tmp_path: Path) -> None:
    error = refused(InputError, other("electra_small_released"), tmp_path / "out")
    assert "electra_small.data-00000-of-00001" in str(error)


def test_data_made_up_to_the_released_smalls_layout_converts(tmp_path: Path) -> None:
    """The names, shapes and vocabulary of the real release: 404 variables of 92 MB."""
    real = other("electra_small_released")
    folder = tmp_path / "electra_small"
    folder.mkdir()
    shutil.copy(real / "vocab.txt", folder)
    generator = np.random.default_rng(8)
    variables: Variables = {}
    with open_checkpoint(real, data="optional") as released:
        assert len(released.variables) == 404
        for name, variable in released.variables.items():
            values = generator.standard_normal(variable.shape, dtype=np.float32) * np.float32(0.02)
            variables[name] = np.array(4_000_000, np.int64) if name == "global_step" else np.float32(values)
        nbytes = released.nbytes
    variables["generator_predictions/temperature"] = np.array(0, np.float32)
    write_v2(folder / "electra_small", variables)
    assert (folder / "electra_small.data-00000-of-00001").stat().st_size == nbytes == 92_491_512

    conversion = run(folder, tmp_path / "out", export="both")
    assert conversion.checkpoint.step == 4_000_000
    for half in conversion.halves:
        config = half.config
        assert (config["hidden_size"], config["embedding_size"], config["num_hidden_layers"]) == (256, 128, 12)
        assert (config["num_attention_heads"], config["vocab_size"]) == (4, 30522)
        written = tensors(Path(half.folder))
        name = "electra.encoder.layer.11.intermediate.dense.weight"
        body = {"discriminator": "electra", "generator": "generator"}[half.half]
        assert np.array_equal(written[name], variables[f"{body}/encoder/layer_11/intermediate/dense/kernel"].T)
        words = written["electra.embeddings.word_embeddings.weight"]
        assert np.array_equal(words, variables["electra/embeddings/word_embeddings"])
    assert [half.tensors for half in conversion.halves] == [203, 204]
    assert codes(conversion) == ["rule", "rule"]
