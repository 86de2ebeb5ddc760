"""The word pieces that the halves share: a folder's own tokenizer, run by the `tokenizers` library.

    tokenizer.json    taken as it is
    vocab.txt         else; lower-casing as tokenizer_config.json says, or as the vocabulary shows

`[MASK]` and the like in a text are split as any other word, as Google's code does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_convert.errors import VocabularyError
from electra_convert.hf.casing import find_casing
from electra_convert.hf.files import json_text, read_json
from electra_convert.hf.folder import TOKENIZER, TOKENIZER_CONFIG, VOCABULARY
from electra_convert.hf.tokenizer import tokenizer_document
from electra_convert.hf.vocabulary import SPECIAL_TOKENS, read_vocabulary
from electra_convert.notices import Notice, warning
from electra_convert.wording import some

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_NOTICES: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class WordPieces:
    """A tokenizer, its tokens by id, and the ids of the special tokens by name."""

    where: str
    tokenizer: Tokenizer
    tokens: Mapping[int, str]
    special: Mapping[str, int]
    notices: tuple[Notice, ...]

    @property
    def ordinary(self) -> list[int]:
        """The ids of what text is made of: all but `[PAD]`, `[unused7]` and the like, and blank entries."""
        return sorted(number for number, token in self.tokens.items() if token and not _is_marker(token))

    def name(self, number: int) -> str:
        """Return the token of an id; an embedding table can have more rows than the vocabulary has tokens."""
        return self.tokens.get(number, f"id {number}")


def load_pieces(folder: Path) -> WordPieces:
    """Return the tokenizer of a folder.

    Raises VocabularyError if there is none, it cannot be read, or it lacks a special token.
    """
    if (folder / TOKENIZER).exists():
        where = folder / TOKENIZER
        document, notices = read_json(where, "the tokenizer", VocabularyError), NO_NOTICES
    elif (folder / VOCABULARY).exists():
        where = folder / VOCABULARY
        document, notices = _document_of(folder)
    else:
        raise VocabularyError(
            "the folder has no tokenizer",
            where=str(folder),
            expected=f"{TOKENIZER} or {VOCABULARY}",
            hint="convert without --no-tokenizer, or put the vocab.txt of the checkpoint into the folder",
        )
    tokenizer = _make(document, str(where))
    ids = tokenizer.get_vocab()
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        raise VocabularyError("the tokenizer lacks special tokens", where=str(where), missing=", ".join(missing))
    tokens = {number: token for token, number in ids.items()}
    return WordPieces(str(where), tokenizer, tokens, {token: ids[token] for token in SPECIAL_TOKENS}, notices)


def require_same(ours: WordPieces, folder: Path) -> tuple[Notice, ...]:
    """Raise VocabularyError unless the generator's folder has the same tokens under the same ids.

    A folder without a tokenizer cannot be compared, which is a warning.
    """
    if not any((folder / name).exists() for name in (TOKENIZER, VOCABULARY)):
        facts = {"where": str(folder), "taken": ours.where}
        hint = "make sure that both halves are of one checkpoint"
        return (warning("vocab-assumed", "the generator has no tokenizer; the discriminator's is used", hint, **facts),)
    theirs = load_pieces(folder)
    differing = sorted(set(ours.tokens.items()) ^ set(theirs.tokens.items()))
    if differing:
        numbers = sorted({number for number, _ in differing})
        raise VocabularyError(
            "the halves have different vocabularies",
            where=theirs.where,
            found=some([f"id {number}: {theirs.tokens.get(number, 'no token')}" for number in numbers], 3),
            expected=some([f"id {number}: {ours.tokens.get(number, 'no token')}" for number in numbers], 3),
            hint="take both halves from one checkpoint",
        )
    return ()


def _document_of(folder: Path) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Return what `tokenizer.json` would hold for the vocabulary of a folder that has none."""
    vocabulary = read_vocabulary(folder / VOCABULARY)
    told: Mapping[str, Any] = {}
    if (folder / TOKENIZER_CONFIG).exists():
        told = read_json(folder / TOKENIZER_CONFIG, "the tokenizer's configuration", VocabularyError)
    lower_case, strip_accents = (_flag(told.get(name)) for name in ("do_lower_case", "strip_accents"))
    casing = find_casing(
        vocabulary.tokens,
        lower_case_flag=lower_case,
        # Left open, it follows lower-casing (transformers).
        strip_accents_flag=lower_case if strip_accents is None else strip_accents,
    )
    return tokenizer_document(vocabulary, casing), (*vocabulary.notices, *casing.notices)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _make(document: Mapping[str, Any], where: str) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(json_text(document, sort_keys=False))
    except Exception as error:
        if type(error) is not Exception:  # the library raises this class itself, and no other
            raise
        raise VocabularyError("the tokenizer cannot be loaded", where=where, found=str(error)) from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _is_marker(token: str) -> bool:
    return len(token) > 1 and (token[0], token[-1]) == ("[", "]")
