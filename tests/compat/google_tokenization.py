"""How Google's code splits text, written from its rules: the oracle for the tokenizers that read our folders.

Text is cleaned, Chinese characters are set apart, words are lower-cased and stripped of accents (as trained), split at
punctuation, and cut into the longest pieces that the vocabulary has; a word of over 200 characters is unknown.
Source of the rules: google-research/electra, `model/tokenization.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

LONGEST_WORD = 200

CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def google_ids(text: str, vocabulary: Mapping[str, int], *, lower_case: bool, strip_accents: bool) -> list[int]:
    """Return the ids of a text between [CLS] and [SEP]."""
    pieces = [
        piece
        for word in "".join(map(_cleaned, text)).split()
        for part in _parts(_folded(word, lower_case, strip_accents))
        for piece in _pieces(part, vocabulary)
    ]
    return [vocabulary[piece] for piece in ("[CLS]", *pieces, "[SEP]")]


def _cleaned(character: str) -> str:
    if character in "\t\n\r" or unicodedata.category(character) == "Zs":
        return " "
    if character in "\0\ufffd" or unicodedata.category(character).startswith("C"):
        return ""
    chinese = any(first <= ord(character) <= last for first, last in CHINESE)
    return f" {character} " if chinese else character


def _folded(word: str, lower_case: bool, strip_accents: bool) -> str:
    if not lower_case:
        return word
    word = word.lower()
    if not strip_accents:
        return word
    return "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")


def _parts(word: str) -> Iterator[str]:
    part = ""
    for character in word:
        if _is_punctuation(character):
            yield from filter(None, (part, character))
            part = ""
        else:
            part += character
    yield from part.split()


def _is_punctuation(character: str) -> bool:
    ascii_sign = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return ascii_sign or unicodedata.category(character).startswith("P")


def _pieces(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    if len(word) > LONGEST_WORD:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
