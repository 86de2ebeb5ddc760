"""Tokenizers of every reader, fast and slow, give the ids that Google's tokenizer gives."""

from __future__ import annotations

from typing import Any

import pytest
from asking import answer_of
from conftest import other
from google_tokenization import google_ids
from readers import TORCH
from tokenizer_texts import DIFFERENT, LONG_WORD, SAME, VOCABULARIES

from electra_convert.hf.vocabulary import read_vocabulary

# tokenizer.json says 200 characters a word; these make the tokenizer from its config or vocab.txt, with 100.
SPLIT_NO_LONG_WORDS = {
    ("transformers-4.46", "AutoTokenizer, slow"),
    ("transformers-4.46", "ElectraTokenizer"),
    ("transformers-4.57", "AutoTokenizer, slow"),
    ("transformers-4.57", "ElectraTokenizer"),
    ("transformers-5.0", "ElectraTokenizer"),
    ("transformers-5.0", "ElectraTokenizerFast"),
    ("transformers-5.23", "AutoTokenizer"),
    ("transformers-5.23", "ElectraTokenizer"),
    ("transformers-5.23", "ElectraTokenizerFast"),
}

TOKENIZERS = [
    (reader, kind)
    for reader in TORCH
    for kind in ("AutoTokenizer", "AutoTokenizer, slow", "ElectraTokenizer", "ElectraTokenizerFast")
    if reader.startswith("transformers-4") or kind != "AutoTokenizer, slow"
]

each_tokenizer = pytest.mark.parametrize(("reader", "kind"), TOKENIZERS)


def found(reader: str, kind: str, name: str) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Return the ids of each text, and what else the tokenizer said."""
    answer = answer_of(reader)["tokenizers"][list(VOCABULARIES).index(name)][kind]
    return dict(zip([*SAME, *DIFFERENT], answer["ids"], strict=True)), answer


@pytest.mark.compat
@each_tokenizer
@pytest.mark.parametrize("name", VOCABULARIES)
def test_token_ids_are_those_of_googles_tokenizer(reader: str, kind: str, name: str) -> None:
    """Text is split as it was for training, with the inputs and the length that the model wants."""
    source, lower_case, strip_accents = VOCABULARIES[name]
    ids = read_vocabulary(other(source) / "vocab.txt").ids
    given, answer = found(reader, kind, name)
    for text in SAME:
        assert given[text] == google_ids(text, ids, lower_case=lower_case, strip_accents=strip_accents), text
    assert answer["keys"] == ["attention_mask", "input_ids", "token_type_ids"]
    assert answer["model_max_length"] == 512


@pytest.mark.compat
@each_tokenizer
def test_where_token_ids_differ_from_googles(reader: str, kind: str) -> None:
    """The three known differences, so that a version that mends or worsens one is noticed."""
    ids = read_vocabulary(other("electra_small_released") / "vocab.txt").ids
    given, _ = found(reader, kind, "English, uncased")
    differing = {
        text for text in DIFFERENT if given[text] != google_ids(text, ids, lower_case=True, strip_accents=True)
    }
    assert differing == (set(DIFFERENT) if (reader, kind) in SPLIT_NO_LONG_WORDS else set(DIFFERENT) - {LONG_WORD})


def test_the_oracle_gives_the_example_of_googles_own_documentation() -> None:
    """WordPiece of "unaffable", and a word with an accent and punctuation."""
    pieces = ["[CLS]", "[SEP]", "[UNK]", "un", "##aff", "##able", "!", "cafe"]
    ids = {piece: number for number, piece in enumerate(pieces)}
    assert google_ids("Unaffable! Café", ids, lower_case=True, strip_accents=True) == [0, 3, 4, 5, 6, 7, 1]
