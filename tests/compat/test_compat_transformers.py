"""Four generations of transformers read our folders: nothing missing, equal outputs, the same token ids."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import google, other
from environments import READERS, python_of
from google_tokenization import google_ids

from electra_convert import convert
from electra_convert.electra.mapping import ARCHITECTURE, TIED, HalfName
from electra_convert.hf.casing import find_casing
from electra_convert.hf.tokenizer import write_tokenizer
from electra_convert.hf.vocabulary import read_vocabulary

pytestmark = pytest.mark.compat

MODELS: list[tuple[str, HalfName]] = [
    ("default_small", "discriminator"),
    ("default_small", "generator"),
    ("untied_embeddings", "generator"),
    ("base_like", "discriminator"),
    ("cased_temperature", "discriminator"),
    ("odd_heads", "discriminator"),
    ("tanh_activation", "discriminator"),
    ("tied_generator", "generator"),
    ("dtype_bfloat16", "discriminator"),
]

# Vocabulary, and how its text was folded: lower_case, strip_accents.
VOCABULARIES = {
    "English, uncased": ("electra_small_released", True, True),
    "Chinese, uncased": ("bert_base_chinese_index", True, True),
    "English, accents kept": ("electra_small_released", True, False),
    "English, as if cased": ("electra_small_released", False, False),
}

SAME = [
    "The quick brown fox, it's jumping over 13 lazy dogs!",
    "Thou art a knave; O Romeo, wherefore art thou? $5.00 + 10%",
    "Ünïcödé çà éàü naïve Straße ẞ İı Việt Nam",
    "漢字とひらがな、中文字符。한국어 단어",
    "Русский текст, עברית العربية हिन्दी ไทย",
    "a" * 100 + " end",
    "tabs\tand\nnewlines\r\nand\u00a0spaces\u3000wide",
    "emoji 😀 and zero\u200bwidth\u200d joiners \ufeff",
    "",
    "   ",
    "[unused1] ##ing [mask] <s> ...",
    "x" * 201,
]

# Known to differ, and where: (text, why, readers that differ for every vocabulary).
LONG_WORD = "supercalifragilistic" * 6
DIFFERENT = {
    LONG_WORD: "a word of 101 to 200 characters: Google splits it, these make it unknown",
    "a [MASK] token": "a special token written in the text: Google splits it into [, mask and ]",
    "ΟΔΟΣ": "Greek final sigma: Google lower-cases whole words, these letter by letter",
}
# tokenizer.json says 200 characters a word; these rebuild the tokenizer from its config, with 100.
SPLIT_NO_LONG_WORDS = {("transformers-4.46", "slow"), ("transformers-4.57", "slow"), ("transformers-5.23", "fast")}

# The slow tokenizer composes characters (NFC) where accents are kept, so decomposed text would differ; SAME has none.


@functools.cache
def answers(reader: str) -> dict[str, Any]:
    """Convert everything once, let one environment read it all, and return its answer."""
    with tempfile.TemporaryDirectory() as temporary:
        models = []
        for name, half in MODELS:
            folder = Path(temporary) / f"{name}-{half}"
            convert(google(name), folder, export=half, verify=False)
            golden = str(google(name) / "golden.npz")
            models.append(
                {"folder": str(folder), "class_name": ARCHITECTURE[half], "golden_file": golden, "half": half}
            )
        tokenizers = [_write_tokenizer(Path(temporary) / str(n), *v) for n, v in enumerate(VOCABULARIES.values())]
        job = Path(temporary) / "job.json"
        texts = [*SAME, *DIFFERENT]
        job.write_text(json.dumps({"models": models, "tokenizers": tokenizers, "texts": texts}), encoding="utf-8")
        script = Path(__file__).with_name("read_folders.py")
        run = subprocess.run([python_of(reader), script, job], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    document: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return document


def _write_tokenizer(folder: Path, source: str, lower_case: bool, strip_accents: bool) -> str:
    folder.mkdir()
    vocabulary = read_vocabulary(other(source) / "vocab.txt")
    casing = find_casing(vocabulary.tokens, lower_case_flag=lower_case, strip_accents_flag=strip_accents)
    write_tokenizer(folder, vocabulary, casing, 512)
    (folder / "config.json").write_text('{"model_type": "electra"}')
    return str(folder)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("number", range(len(MODELS)), ids=["-".join(model) for model in MODELS])
def test_a_folder_loads_and_computes_the_golden_outputs(reader: str, number: int) -> None:
    """Loading reports nothing but the output matrix that is tied; outputs agree to 1e-5 of their scale."""
    answer = answers(reader)["models"][number]
    assert {what for what, names in answer["loading"].items() if set(names) - set(TIED)} == set()
    assert max(answer["shares"]) < 1e-5


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", VOCABULARIES)
def test_token_ids_are_those_of_googles_tokenizer(reader: str, name: str) -> None:
    """Fast tokenizers, and the slow one of transformers 4, split text as it was split for training."""
    source, lower_case, strip_accents = VOCABULARIES[name]
    ids = read_vocabulary(other(source) / "vocab.txt").ids
    for kind, answer in answers(reader)["tokenizers"][list(VOCABULARIES).index(name)].items():
        found = dict(zip([*SAME, *DIFFERENT], answer["ids"], strict=True))
        for text in SAME:
            expected = google_ids(text, ids, lower_case=lower_case, strip_accents=strip_accents)
            assert found[text] == expected, (kind, text)
        assert answer["keys"] == ["attention_mask", "input_ids", "token_type_ids"]
        assert answer["model_max_length"] == 512


@pytest.mark.parametrize("reader", READERS)
def test_where_token_ids_differ_from_googles(reader: str) -> None:
    """The three known differences, so that a version that mends or worsens one is noticed."""
    ids = read_vocabulary(other("electra_small_released") / "vocab.txt").ids
    for kind, answer in answers(reader)["tokenizers"][0].items():
        found = dict(zip([*SAME, *DIFFERENT], answer["ids"], strict=True))
        differing = {
            text for text in DIFFERENT if found[text] != google_ids(text, ids, lower_case=True, strip_accents=True)
        }
        expected = set(DIFFERENT) if (reader, kind) in SPLIT_NO_LONG_WORDS else set(DIFFERENT) - {LONG_WORD}
        assert differing == expected, kind


def test_the_oracle_gives_the_example_of_googles_own_documentation() -> None:
    """WordPiece of "unaffable", and a word with an accent and punctuation."""
    pieces = ["[CLS]", "[SEP]", "[UNK]", "un", "##aff", "##able", "!", "cafe"]
    ids = {piece: number for number, piece in enumerate(pieces)}
    assert google_ids("Unaffable! Café", ids, lower_case=True, strip_accents=True) == [0, 3, 4, 5, 6, 7, 1]
