r"""Reads `vocab.txt` as Google's code reads it, and refuses what readers would number differently.

    one token a line, its id the line's number from 0; the last line may lack its newline

Lines end at `\n` only (U+2028 or a vertical tab does not end one), white space around a token is stripped, and of
equal tokens the last line gives the id. Source: google-research/electra `model/tokenization.py`, `load_vocab`.
All lines are kept, also blank and duplicate ones, so that every id stays.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import google_crc32c

from electra_convert.errors import VocabularyError
from electra_convert.hf.files import read_file
from electra_convert.notices import Notice, note, warning
from electra_convert.wording import some

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# The largest vocabularies of any model have a million entries; in memory one takes a hundred bytes more than its line.
MOST_ENTRIES = 1 << 20

# First bytes of what is often found under a vocabulary's name.
_IMPOSTORS = (
    (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"\xef\xbb\xbf", "a byte order mark before the first token", "save the file as UTF-8 without a byte order mark"),
    (b"\xff\xfe", "UTF-16", "save the file as UTF-8"),
    (b"\xfe\xff", "UTF-16", "save the file as UTF-8"),
)


class Vocabulary(NamedTuple):
    """The tokens of a vocabulary: `tokens[i]` is line i, stripped; `ids` has each token once, by its last line.

    `ids` is in the order of the ids.
    """

    name: str
    tokens: tuple[str, ...]
    ids: Mapping[str, int]
    nbytes: int
    crc32c: int
    notices: tuple[Notice, ...]

    @property
    def special_ids(self) -> dict[str, int]:
        """Ids of the five special tokens."""
        return {token: self.ids[token] for token in SPECIAL_TOKENS}

    def text(self) -> str:
        r"""Return the file as it is written: one stripped token a line, `\n` after each."""
        return "\n".join((*self.tokens, ""))


def read_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Read a vocabulary file.

    Raises VocabularyError if it is missing, empty, not UTF-8, begins with a byte order mark, has a carriage return
    inside a line, or lacks a special token.
    """
    shown = os.fspath(path)
    return parse_vocabulary(read_file(shown, "the vocabulary", VocabularyError), shown)


def parse_vocabulary(data: bytes, shown: str) -> Vocabulary:
    """Return the vocabulary that these bytes of a `vocab.txt` are; raise as `read_vocabulary` does."""
    _refuse_impostors(data, shown)
    _refuse_endless(data, shown)
    lines = _decode(data, shown).split("\n")
    if not lines[-1]:
        del lines[-1]
    tokens = tuple(map(str.strip, lines))
    if b"\r" in data:
        _refuse_carriage_returns(tokens, shown)
    ids = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(ids) < len(tokens):
        ids = dict(sorted(ids.items(), key=lambda entry: entry[1]))
    _require_special_tokens(ids, shown)
    # Notices go into the record, which names no folder.
    name = os.path.basename(shown)
    return Vocabulary(name, tokens, ids, len(data), google_crc32c.value(data), _notices(lines, tokens, ids, name))


def check_rows(vocabulary: Vocabulary, rows: int) -> tuple[Notice, ...]:
    """Compare the number of tokens with the rows of the embedding table.

    Fewer tokens are a warning: the rows after them were never trained on text. More raise VocabularyError.
    """
    count = len(vocabulary.tokens)
    expected = f"{rows} entries, the rows of the word embeddings"
    if count > rows:
        raise VocabularyError(
            "the vocabulary is longer than the embedding table",
            where=vocabulary.name,
            found=f"{count} entries",
            expected=f"at most {expected}",
            hint="--vocab FILE with the vocabulary that the checkpoint was trained with",
        )
    if count == rows:
        return ()
    return (
        warning(
            "vocab-short",
            "the vocabulary is shorter than the embedding table",
            "make sure that it is the one the checkpoint was trained with",
            where=vocabulary.name,
            found=f"{count} entries",
            expected=expected,
        ),
    )


def _refuse_impostors(data: bytes, shown: str) -> None:
    if not data:
        raise VocabularyError("the vocabulary is empty", where=shown, hint="--vocab FILE, or --no-tokenizer")
    start = data[:64].lstrip().lower()
    for signature, found, hint in _IMPOSTORS:
        if start.startswith(signature):
            raise VocabularyError(
                "the vocabulary is not a plain list of tokens",
                where=shown,
                found=found,
                expected="one token a line",
                hint=hint,
            )


def _refuse_endless(data: bytes, shown: str) -> None:
    count = data.count(b"\n")
    if count > MOST_ENTRIES:
        raise VocabularyError(
            "the vocabulary has too many lines", where=shown, found=f"{count} lines", expected=f"at most {MOST_ENTRIES}"
        )


def _refuse_carriage_returns(tokens: Sequence[str], shown: str) -> None:
    for number, token in enumerate(tokens, start=1):
        if "\r" in token:
            raise VocabularyError(
                "a carriage return stands inside a line of the vocabulary",
                where=f"{shown}, line {number}",
                found=token,
                hint="some readers break the line there, so that all ids after it differ; rewrite the file with LF",
            )


def _decode(data: bytes, shown: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise VocabularyError(
            "the vocabulary is not UTF-8",
            where=f"{shown}, line {line}, byte {error.start}",
            found=f"0x{data[error.start]:02x}",
            hint="save the file as UTF-8",
        ) from error


def _require_special_tokens(ids: Mapping[str, int], shown: str) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        raise VocabularyError(
            "the vocabulary lacks special tokens",
            where=shown,
            missing=", ".join(missing),
            hint="--vocab FILE with the vocabulary of the checkpoint, or --no-tokenizer",
        )


def _notices(lines: Sequence[str], tokens: Sequence[str], ids: Mapping[str, int], name: str) -> tuple[Notice, ...]:
    # Lines are counted from 1 for people, ids from 0. Almost always there is nothing to tell, which is quickly seen.
    changed = (
        [(number, line) for number, (line, token) in enumerate(zip(lines, tokens, strict=True), 1) if line != token]
        if tuple(lines) != tokens
        else []
    )
    crlf = sum(line.endswith("\r") for _, line in changed)
    stripped = [number for number, line in changed if line.strip() not in {"", line.rstrip("\r")}]
    blank = [number for number, token in enumerate(tokens, 1) if not token] if "" in tokens else []
    double = [f"{token}: lines {', '.join(map(str, at))}" for token, at in _places_of_doubles(tokens, ids).items()]
    found: list[Notice] = []
    if double:
        found.append(
            warning(
                "vocab-duplicate",
                "the vocabulary holds tokens twice; the last line gives the id, as in Google's code",
                "make sure that it is the vocabulary the checkpoint was trained with",
                where=name,
                found=some(double),
            )
        )
    if crlf:
        found.append(
            note(
                "vocab-crlf",
                "lines of the vocabulary end with CR LF; they are written with LF",
                where=name,
                found=f"{crlf} lines",
            )
        )
    if stripped:
        found.append(
            note(
                "vocab-stripped",
                "white space around tokens of the vocabulary was stripped, as Google's code does",
                where=name,
                found=_numbers(stripped),
            )
        )
    if blank:
        found.append(
            note(
                "vocab-blank",
                "lines of the vocabulary are blank; they keep their ids, which no text can produce",
                where=name,
                found=_numbers(blank),
            )
        )
    return tuple(found)


def _places_of_doubles(tokens: Sequence[str], ids: Mapping[str, int]) -> dict[str, list[int]]:
    """Return the lines of each token that stands in several, in the order of the first."""
    if len(ids) == len(tokens):
        return {}
    places: dict[str, list[int]] = defaultdict(list)
    for number, token in enumerate(tokens, 1):
        if token:
            places[token].append(number)
    return {token: at for token, at in places.items() if len(at) > 1}


def _numbers(lines: Sequence[int]) -> str:
    return f"{'line' if len(lines) == 1 else 'lines'} {', '.join(some([str(line) for line in lines]))}"
