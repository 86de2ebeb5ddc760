"""The vocabulary that a folder's tokenizer has, as the `vocab.txt` that Google's code reads.

vocab.txt              as it is, in the form that `hf/vocabulary.py` gives it
tokenizer.json         all that transformers 5 saves: word pieces with their ids; an id without one is a blank line
tokenizer_config.json  lower-casing, and what else Google's tokenizer would do otherwise
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_convert.errors import VocabularyError
from electra_convert.hf.casing import find_casing
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import TOKENIZER, TOKENIZER_CONFIG, VOCABULARY
from electra_convert.hf.vocabulary import MOST_ENTRIES, Vocabulary, check_rows, parse_vocabulary, read_vocabulary
from electra_convert.notices import Notice, note, warning
from electra_convert.restoration.sources import StoredHalf

# Of tokenizers that split text as BERT's does; any other name is a tokenizer with steps of its own.
CLASSES = {f"{name}Tokenizer{kind}" for name in ("Electra", "Bert") for kind in ("", "Fast")} | {
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
}


@dataclass(frozen=True, slots=True)
class RestoredVocabulary:
    """The vocabulary to write, None where there is none, and whether its text is lower-cased, None where unknown."""

    vocabulary: Vocabulary | None
    do_lower_case: bool | None
    notices: tuple[Notice, ...]


def find_vocabulary(halves: Sequence[StoredHalf], given: str | os.PathLike[str] | None) -> RestoredVocabulary:
    """Return the vocabulary of the halves, or the one that is given.

    Raises:
        VocabularyError: it is broken, longer than the embedding table, or two halves have different ones.
        FolderError: a tokenizer's file is no JSON.
    """
    configs = [_config(half.folder) for half in halves]
    told = {config["do_lower_case"] for config in configs if isinstance(config.get("do_lower_case"), bool)}
    lower = told.pop() if len(told) == 1 else None
    if given is not None:
        vocabulary = read_vocabulary(given)
    else:
        found = {half.shown: read for half in halves if (read := _read(half.folder)) is not None}
        if not found:
            return RestoredVocabulary(None, lower, (_missing(),))
        if told or len({read.tokens for read in found.values()}) > 1:
            raise VocabularyError(
                "the halves have different tokenizers, and Google's code has one for both",
                found=[f"{len(read.tokens)} entries: {shown}" for shown, read in found.items()],
                hint="pass the vocabulary of the training with --vocab FILE, or --no-tokenizer",
            )
        vocabulary = next(iter(found.values()))
    notices = [*vocabulary.notices, *check_rows(vocabulary, halves[0].config.vocab_size)]
    if lower is None:
        casing = find_casing(vocabulary.tokens)
        lower = casing.do_lower_case
        notices.append(note("casing", "the casing is what the vocabulary shows", found=casing.evidence))
    differences = sorted({difference for config in configs for difference in _differences(config, lower)})
    if differences:
        notices.append(
            warning(
                "tokenizer",
                "Google's tokenizer splits text otherwise than this folder's",
                "tokenize as in Hugging Face's form, or expect other pieces",
                found=differences,
            )
        )
    return RestoredVocabulary(vocabulary, lower, tuple(notices))


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / TOKENIZER_CONFIG
    return read_json(path, "the tokenizer's configuration", VocabularyError) if path.exists() else {}


def _read(folder: Path) -> Vocabulary | None:
    if (folder / VOCABULARY).exists():
        return read_vocabulary(folder / VOCABULARY)
    if (folder / TOKENIZER).exists():
        return _of_tokenizer(folder / TOKENIZER)
    return None


def _of_tokenizer(path: Path) -> Vocabulary:
    model = read_json(path, "the tokenizer", VocabularyError).get("model")
    entries = model.get("vocab") if isinstance(model, dict) and model.get("type") == "WordPiece" else None
    if not isinstance(entries, dict):
        raise _refusal(path, f"a model of type {model.get('type') if isinstance(model, dict) else model!r}")
    lines: dict[int, str] = {}
    for token, number in entries.items():
        if type(number) is not int or not 0 <= number < MOST_ENTRIES or number in lines or "\n" in token:
            raise _refusal(path, f"id {number!r} for {token!r}")
        lines[number] = token
    text = "".join(f"{lines.get(number, '')}\n" for number in range(max(lines, default=-1) + 1))
    return parse_vocabulary(text.encode(), str(path))


def _refusal(path: Path, found: str) -> VocabularyError:
    return VocabularyError(
        "the tokenizer is no list of word pieces that vocab.txt could hold",
        where=str(path),
        found=found,
        expected=f"WordPiece, with an id of its own below {MOST_ENTRIES} for every token",
        hint="--vocab FILE, or --no-tokenizer",
    )


def _differences(config: Mapping[str, Any], lower: bool) -> list[str]:
    """Return the settings in which a tokenizer differs from Google's (`model/tokenization.py`)."""
    found = []
    # None and a missing key mean what Google's code does.
    if config.get("strip_accents") is not None and config["strip_accents"] != lower:
        kept = "keeps accents" if lower else "strips accents"
        found.append(f"strip_accents {str(config['strip_accents']).lower()}: it {kept}, run_finetuning.py does not")
    if config.get("tokenize_chinese_chars") is False:
        found.append("tokenize_chinese_chars false: Google's code splits at every Chinese character")
    name = config.get("tokenizer_class")
    if name is not None and name not in CLASSES:
        found.append(f"tokenizer_class {name}")
    return found


def _missing() -> Notice:
    return warning(
        "no-vocabulary",
        "no vocabulary was found, and Google's code needs one",
        "pass --vocab FILE, or put vocab.txt beside the checkpoint",
        expected=f"{VOCABULARY} or {TOKENIZER} in the folder",
    )
