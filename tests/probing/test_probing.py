"""A probe repeats the figures of Google's own evaluation, and tells trained weights from random and misplaced ones."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import google
from probes import LINES, TRAINED, changed, heldout, trained, with_random_weights, with_turned_kernels

from electra_convert import convert, probe
from electra_convert.errors import (
    FolderError,
    InputError,
    MissingExtra,
    SettingError,
    UsageError,
    ValueRefused,
    VocabularyError,
)
from electra_convert.probing.result import ENOUGH_FOR_NO, ENOUGH_FOR_YES

WHOLE = 10**6
ROUNDS = 3

# By figure: how much it varies from one round over heldout.txt to the next (standard deviation of 16 rounds).
SPREAD = {
    "masked_lm_accuracy": 0.0066,
    "masked_lm_loss": 0.045,
    "sampled_masked_lm_accuracy": 0.0042,
    "disc_loss": 0.0050,
    "disc_auc": 0.0017,
    "disc_accuracy": 0.0015,
    "disc_precision": 0.016,
    "disc_recall": 0.0035,
    "disc_auc_on_real_tokens": 0.0037,
}
# Google's figures are from 1,280 windows, drawn from 391 in turn.
GOOGLES_ROUNDS = 1280 / 391


@pytest.fixture(scope="module")
def as_google():
    return probe(trained(), file=heldout(), max_tokens=WHOLE, rounds=ROUNDS, as_google=True, **TRAINED)


@pytest.fixture(scope="module")
def good():
    return probe(trained(), file=heldout(), **TRAINED)


@pytest.fixture(scope="module")
def short():
    return probe(trained(), LINES, **TRAINED)


def golden() -> dict[str, float]:
    """Return the figures of trained_tiny's evaluation by Google's code."""
    recorded = json.loads((google("trained_tiny") / "golden.json").read_text())
    return {**recorded["eval"], "disc_auc_on_real_tokens": recorded["discriminator_auc_on_real_tokens"]["value"]}


class TestGooglesEvaluation:
    @pytest.mark.parametrize("figure", SPREAD)
    def test_a_figure_is_googles_within_three_times_its_sampling_error(self, as_google, figure):
        error = SPREAD[figure] * (1 / GOOGLES_ROUNDS + 1 / ROUNDS) ** 0.5
        assert as_google.google[figure] == pytest.approx(golden()[figure], abs=3 * error)

    def test_as_many_windows_as_google_made(self, as_google):
        recorded = json.loads((google("trained_tiny") / "golden.json").read_text())
        assert as_google.text.windows == pytest.approx(recorded["examples_in_heldout"], abs=6)

    def test_the_mean_of_two_ids_makes_it_easier(self, as_google, good):
        """Why the figures of the ordinary game are lower than Google's, on the same text."""
        assert as_google.detection.low > good.detection.value

    def test_only_when_asked_for(self, good):
        assert good.google is None


class TestWhatItTells:
    def test_a_trained_model_is_told(self, good):
        assert good.detection.value == pytest.approx(0.677, abs=0.02)
        assert good.detection.low > 0.65
        assert (good.finding, good.generator_finding) == ("trained", "trained")
        assert good.guessing.right.value == pytest.approx(golden()["masked_lm_accuracy"], abs=0.025)
        assert good.guessing.loss == pytest.approx(golden()["masked_lm_loss"], abs=0.15)

    def test_random_tokens_are_easier_than_a_generators(self):
        alone = probe(trained() / "discriminator", file=heldout(), max_tokens=4000)
        assert alone.generator is None
        assert alone.guessing is None
        assert alone.generator_finding is None
        assert alone.detection.value == pytest.approx(0.85, abs=0.03)
        assert alone.finding == "trained"

    @pytest.mark.parametrize("spread", [0.02, 0.2])
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("alone", [False, True])
    def test_random_weights_have_an_auc_near_one_half(self, seed, spread, alone):
        folder = with_random_weights(seed, spread)
        played = probe(folder / "discriminator" if alone else folder, file=heldout(), mask=0.25)
        assert played.detection.value == pytest.approx(0.5, abs=0.045)
        assert played.finding in {"like random weights", "unclear"}

    @pytest.mark.parametrize("seed", range(6))
    def test_random_weights_are_never_called_trained_on_a_short_text(self, seed):
        for folder in (with_random_weights(seed, 0.2), with_random_weights(seed, 0.2) / "discriminator"):
            assert probe(folder, LINES).finding == "unclear"

    def test_a_random_generator_is_told(self):
        def draw(tensors):
            random = np.random.default_rng(0)
            for name, value in tensors.items():
                if not name.endswith("LayerNorm.weight"):
                    tensors[name] = random.normal(0, 0.02, value.shape).astype(np.float32)

        played = probe(changed("random-generator", draw, "generator"), file=heldout(), max_tokens=3000)
        assert played.generator_finding == "like random weights"
        assert played.guessing.right.value < 0.02

    def test_query_kernels_that_were_not_transposed_are_seen(self, good):
        turned = probe(with_turned_kernels("query.weight"), file=heldout(), **TRAINED)
        assert [token.replacement for window in turned.windows for token in window.tokens] == [
            token.replacement for window in good.windows for token in window.tokens
        ]
        assert turned.detection.value < good.detection.value - 0.01

    def test_all_square_kernels_untransposed_are_worse_than_random_weights(self):
        turned = probe(with_turned_kernels("all"), file=heldout(), **TRAINED)
        assert turned.detection.high < 0.45
        assert turned.finding == "worse than random weights"

    def test_a_few_words_prove_nothing(self, good):
        for known, finding in ((ENOUGH_FOR_YES - 1, "unclear"), (ENOUGH_FOR_YES, "trained")):
            assert replace(good, text=replace(good.text, tokens=known, unknown=0)).finding == finding
        for known, finding in ((ENOUGH_FOR_NO - 1, "unclear"), (ENOUGH_FOR_NO, "like random weights")):
            text = replace(good.text, tokens=known + 50, unknown=50)
            detection = replace(good.detection, value=0.5, low=0.49, high=0.51)
            assert replace(good, text=text, detection=detection).finding == finding


class TestTheGame:
    def test_the_same_seed_gives_the_same_game(self, short):
        assert probe(trained(), LINES, **TRAINED).to_json() == short.to_json()
        assert probe(trained(), LINES, seed=1, **TRAINED).to_json() != short.to_json()

    def test_a_short_text_is_played_until_100_tokens_were_masked(self, short):
        masked = [token for window in short.windows for token in window.tokens if token.masked]
        assert 100 <= len(masked) < 110
        assert short.settings["rounds"].value == len(short.windows)
        assert [window.round for window in short.windows] == list(range(len(short.windows)))

    def test_tokens_keep_what_they_were_on_the_page(self, short):
        tokens = short.windows[0].tokens
        assert "".join(token.gap + token.written for token in tokens) == "\n" + LINES.strip()
        assert [token.piece for token in tokens[:3]] == ["now", "is", "the"]

    def test_only_masked_tokens_are_replaced_and_a_replacement_is_another_token(self, good):
        tokens = [token for window in good.windows for token in window.tokens]
        replaced = [token for token in tokens if token.replacement is not None]
        assert all(token.masked for token in replaced)
        assert all(token.replacement != token.piece for token in replaced)
        assert (good.detection.replaced, good.detection.original) == (len(replaced), len(tokens) - len(replaced))
        assert good.kept.hits == sum(token.masked and token.replacement is None for token in tokens)

    def test_of_the_masked_tokens_85_percent_are_hidden(self, good):
        masked = [token for window in good.windows for token in window.tokens if token.masked]
        assert sum(token.hidden for token in masked) / len(masked) == pytest.approx(0.85, abs=0.02)
        seen = [token for token in masked if not token.hidden]
        # A generator that sees the token mostly says it again.
        assert sum(token.guesses[0].piece == token.piece for token in seen) / len(seen) > 0.5

    def test_guesses_are_the_best_in_order_with_the_originals_own_probability(self):
        played = probe(trained(), LINES, top=5, rounds=1)
        for token in (token for token in played.windows[0].tokens if token.masked):
            chances = [guess.probability for guess in token.guesses]
            assert chances == sorted(chances, reverse=True)
            assert len(chances) == 5
            named = {guess.piece: guess.probability for guess in token.guesses}
            assert token.original_probability == pytest.approx(named.get(token.piece, token.original_probability))
            assert token.original_probability <= chances[0]

    def test_everything_can_be_masked(self):
        played = probe(trained() / "discriminator", LINES, mask=1.0, rounds=1)
        assert all(token.masked for token in played.windows[0].tokens)
        assert played.detection.value is None or played.detection.original > 0
        assert json.loads(json.dumps(played.to_json(), allow_nan=False))["auc"]["replaced"] > 0

    def test_json_has_every_token(self, short):
        document = json.loads(json.dumps(short.to_json(), allow_nan=False))
        assert len(document["windows"]) == len(short.windows)
        token = next(token for token in document["windows"][0]["tokens"] if token["replacement"])
        assert set(token) == {
            *("piece", "masked", "hidden", "original", "replacement", "probability", "guesses"),
            "original_probability",
        }
        assert token["piece"] == token["replacement"] != token["original"]
        assert len(token["guesses"]) == 3
        assert document["findings"] == {"discriminator": "unclear", "generator": "trained"}

    def test_progress_counts_windows(self):
        calls = []
        probe(trained(), LINES, rounds=4, progress=lambda *call: calls.append(call))
        assert calls[0] == (0, 4, "probing: window")
        assert calls[-1] == (4, 4, "probing: window")


class TestSettings:
    def test_windows_are_as_long_as_in_training_not_as_the_position_table(self, good):
        """Positions above were never trained: 64 of 128."""
        assert (good.settings["max_length"].value, good.settings["max_length"].source) == (64, "as in training")
        assert max(len(window.tokens) for window in good.windows) <= 61

    def test_without_a_record_the_position_table_bounds_windows(self, tmp_path):
        shutil.copytree(trained() / "discriminator", tmp_path / "out")
        (tmp_path / "out" / "conversion.json").unlink()
        settings = probe(tmp_path / "out", LINES).settings
        assert (settings["max_length"].value, settings["max_length"].source) == (128, "the position table")
        assert probe(tmp_path / "out", LINES, max_length=8).settings["max_length"].source == "given"

    def test_mask_and_temperature_are_those_of_the_training_where_the_record_tells(self, tmp_path):
        folder = google("trained_tiny")
        convert(folder, tmp_path / "out", export="both", verify=False, hparams=folder / "hparams.json")
        settings = probe(tmp_path / "out", LINES).settings
        assert {name: (settings[name].value, settings[name].source) for name in TRAINED} == {
            "mask": (0.25, "as in training"),
            "temperature": (1.5, "as in training"),
        }
        assert probe(tmp_path / "out", LINES, mask=0.1).settings["mask"].source == "given"

    def test_else_they_are_googles_defaults(self):
        settings = probe(trained(), LINES).settings
        assert [settings[name].value for name in TRAINED] == [0.15, 1.0]

    @pytest.mark.parametrize("length", [7, 129])
    def test_a_window_must_fit_the_position_table(self, length):
        with pytest.raises(SettingError, match="position table"):
            probe(trained(), LINES, max_length=length)

    @pytest.mark.parametrize(
        "wrong",
        [
            *({"mask": 0}, {"mask": 1.1}, {"mask": float("nan")}, {"temperature": 0}, {"temperature": float("inf")}),
            *({"top": 0}, {"rounds": 0}, {"max_tokens": 0}),
        ],
    )
    def test_values_out_of_range_are_refused(self, wrong):
        with pytest.raises(UsageError, match="out of its range"):
            probe(trained(), LINES, **wrong)

    def test_exactly_one_text(self):
        with pytest.raises(UsageError, match="no text"):
            probe(trained())
        with pytest.raises(UsageError, match="contradict"):
            probe(trained(), LINES, file=heldout())

    def test_a_temperature_needs_a_generator(self):
        with pytest.raises(UsageError, match="no generator"):
            probe(trained() / "discriminator", LINES, temperature=1.5)


class TestText:
    def test_reading_stops_at_the_bound_and_says_where(self):
        stream = io.BytesIO(b"my lord and my king\n" * 100_000)
        played = probe(trained(), file=stream, max_tokens=23)
        assert (played.text.tokens, played.text.ended_at) == (23, 5)
        assert stream.tell() < 10_000
        assert [notice.code for notice in played.notes] == ["text-cut"]

    def test_a_text_of_just_as_many_tokens_is_whole(self):
        assert probe(trained(), "my lord and my king\n\n", max_tokens=5).text.ended_at is None

    @pytest.mark.parametrize("text", ["", " \n\t\n", "\x00\x01"])
    def test_a_text_without_tokens_is_refused(self, text):
        with pytest.raises(InputError, match="no tokens"):
            probe(trained(), text)

    def test_what_is_not_utf8_is_refused_with_its_line(self, tmp_path):
        (tmp_path / "latin").write_bytes(b"my lord\nmy k\xffing\n")
        with pytest.raises(InputError, match="not UTF-8") as refusal:
            probe(trained(), file=tmp_path / "latin")
        assert (refusal.value.where, refusal.value.found) == (f"{tmp_path / 'latin'}, line 2", "0xff")
        with pytest.raises(InputError, match="not UTF-8"):
            probe(trained(), "my \udcff king")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(InputError, match="not there"):
            probe(trained(), file=tmp_path / "none")
        with pytest.raises(InputError, match="no file"):
            probe(trained(), file=tmp_path)

    def test_text_in_another_language_is_a_warning(self):
        played = probe(trained(), "Слово за слово")
        assert [notice.code for notice in played.warnings] == ["unknown-words"]
        assert played.finding == "unclear"


class TestFolders:
    def test_each_half_from_its_own_folder_is_the_same_game(self, short):
        folder = trained()
        apart = probe(folder / "discriminator", LINES, generator=folder / "generator", **TRAINED)
        assert apart.to_json() == short.to_json()
        assert probe(folder / "discriminator", LINES, generator=folder, **TRAINED).to_json() == short.to_json()

    def test_a_folder_that_is_the_other_half_is_refused(self):
        with pytest.raises(FolderError, match="holds no discriminator") as refusal:
            probe(trained() / "generator", LINES)
        assert refusal.value.found == "generator"
        with pytest.raises(FolderError, match="holds no generator"):
            probe(trained(), LINES, generator=trained() / "discriminator")

    def test_halves_that_stand_in_each_others_folder_are_refused(self, tmp_path):
        shutil.copytree(trained() / "generator", tmp_path / "discriminator")
        shutil.copytree(trained() / "discriminator", tmp_path / "generator")
        with pytest.raises(FolderError, match="holds no discriminator"):
            probe(tmp_path, LINES)

    def test_a_folder_that_is_none_is_refused(self, tmp_path):
        with pytest.raises(FolderError):
            probe(tmp_path, LINES)

    def test_halves_of_different_vocabularies_are_refused(self, tmp_path):
        both = shutil.copytree(trained(), tmp_path / "both")
        file = both / "generator" / "tokenizer.json"
        file.write_text(file.read_text().replace('"the": ', '"thy2": '))
        with pytest.raises(VocabularyError, match="different vocabularies") as refusal:
            probe(both, LINES)
        assert refusal.value.found == ["id 71: thy2"]
        assert refusal.value.expected == ["id 71: the"]

    def test_halves_of_different_tables_are_refused(self):
        def widen(tensors):
            for name in ("electra.embeddings.word_embeddings.weight", "generator_lm_head.bias"):
                tensors[name] = np.concatenate([tensors[name], tensors[name][:1]])

        both = changed("wider", widen, "generator")
        config = json.loads((both / "generator" / "config.json").read_text())
        (both / "generator" / "config.json").write_text(json.dumps({**config, "vocab_size": 2001}))
        with pytest.raises(VocabularyError, match="different vocabularies") as refusal:
            probe(both, LINES)
        assert refusal.value.found == "2001 rows of word embeddings"

    def test_a_table_that_is_shorter_than_the_vocabulary_is_refused(self, tmp_path):
        convert(google("default_small"), tmp_path / "other", export="generator", verify=False, tokenizer=False)
        with pytest.raises(VocabularyError, match="longer than the embedding table"):
            probe(trained() / "discriminator", LINES, generator=tmp_path / "other")

    def test_a_generator_without_a_tokenizer_is_a_warning(self, tmp_path, short):
        both = shutil.copytree(trained(), tmp_path / "both")
        for name in ("tokenizer.json", "vocab.txt"):
            (both / "generator" / name).unlink()
        played = probe(both, LINES, **TRAINED)
        assert [notice.code for notice in played.warnings] == ["vocab-assumed"]
        assert played.windows == short.windows

    def test_no_tokenizer_is_refused_with_a_hint(self, tmp_path):
        convert(google("trained_tiny"), tmp_path / "out", verify=False, tokenizer=False)
        with pytest.raises(VocabularyError, match="no tokenizer") as refusal:
            probe(tmp_path / "out", LINES)
        assert "--no-tokenizer" in refusal.value.hint

    @pytest.mark.parametrize("casing", [True, False])
    def test_vocab_txt_alone_will_do(self, tmp_path, short, casing):
        both = shutil.copytree(trained(), tmp_path / "both")
        for half in ("discriminator", "generator"):
            (both / half / "tokenizer.json").unlink()
            if not casing:
                (both / half / "tokenizer_config.json").unlink()
        assert probe(both, LINES, **TRAINED).windows == short.windows

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b"{}", b'{"model": {"type": "WordPiece"}}', b"\xff"],
    )
    def test_a_broken_tokenizer_is_refused(self, tmp_path, content):
        folder = shutil.copytree(trained() / "discriminator", tmp_path / "out")
        (folder / "tokenizer.json").write_bytes(content)
        with pytest.raises(VocabularyError):
            probe(folder, LINES)

    def test_weights_that_are_not_finite_are_refused(self):
        def spoil(tensors):
            name = "discriminator_predictions.dense_prediction.bias"
            tensors[name] = np.full_like(tensors[name], np.nan)

        with pytest.raises(ValueRefused, match="not finite"):
            probe(changed("not-finite", spoil), LINES)

    def test_an_energy_is_no_probability_and_that_is_said(self, tmp_path):
        shutil.copytree(google("two_tower"), tmp_path / "ckpt", ignore=shutil.ignore_patterns("*.meta"))
        convert(tmp_path / "ckpt", tmp_path / "out", verify=False)
        played = probe(tmp_path / "out", "the king is here", rounds=1)
        assert [notice.code for notice in played.warnings] == ["energy"]
        assert "Electric" in played.energy
        assert "Electric" in played.to_json()["probability_is_energy"]

    def test_more_rows_than_tokens_can_be_proposed(self, tmp_path):
        """cased_temperature has 288 rows for 280 tokens."""
        convert(google("cased_temperature"), tmp_path / "out", export="both", verify=False)
        played = probe(tmp_path / "out", LINES * 20, mask=0.5, rounds=3)
        replacements = {token.replacement for window in played.windows for token in window.tokens}
        assert any(name and name.startswith("id 28") for name in replacements)

    @pytest.mark.parametrize("missing", ["torch", "tokenizers"])
    def test_a_missing_package_is_named_with_the_extra(self, monkeypatch, missing):
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
        with pytest.raises(MissingExtra) as refusal:
            probe(trained(), LINES)
        assert missing in refusal.value.found
        assert refusal.value.hint == "pip install 'electra-convert[probe]'"
