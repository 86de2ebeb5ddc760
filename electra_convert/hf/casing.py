"""Whether text was lower-cased and stripped of accents before training: given, or told by the vocabulary.

No checkpoint records it. Google's code strips accents only while it lower-cases, so there are three cases:

    cased                       do_lower_case false, strip_accents false
    uncased, accents kept       do_lower_case true,  strip_accents false
    uncased, accents stripped   do_lower_case true,  strip_accents true     (the default of Google's code)

A token that lower-casing would change can only come from cased text, and one that stripping would change only from
text with its accents. "Has an upper-case letter" is no such sign: uncased vocabularies hold `[UNK]`, `<S>` and ℝ.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from electra_convert.errors import UsageError
from electra_convert.notices import Notice, note, warning

Source = Literal["flag", "hparams", "vocabulary", "rule"]

# Below this share of the ordinary tokens, signs may be stray entries of another vocabulary.
CLEAR_SHARE = 0.01

_EXAMPLES = 3

_OPENING = {"[": "]", "<": ">"}


class Casing(NamedTuple):
    """What is done to text before it is split, where each value is from, and what the vocabulary says about it."""

    do_lower_case: bool
    strip_accents: bool
    source: Source
    strip_accents_source: Source
    evidence: str
    notices: tuple[Notice, ...] = ()


def find_casing(
    tokens: Sequence[str],
    *,
    lower_case_flag: bool | None = None,
    strip_accents_flag: bool | None = None,
    lower_case_hparam: bool | None = None,
) -> Casing:
    """Return the casing: from the flags, else from hparams, else from the tokens of the vocabulary.

    A value given against what the vocabulary shows is taken, with a warning. Raises UsageError if flag and hparams
    contradict each other, or accents are to be stripped from cased text, which Google's code never does.
    """
    if lower_case_flag is not None and lower_case_hparam not in {None, lower_case_flag}:
        raise UsageError(
            "flag and hparams contradict each other",
            found="--uncased" if lower_case_flag else "--cased",
            hparams=f"do_lower_case {str(lower_case_hparam).lower()}",
            hint="leave out the flag",
        )
    signs = _Signs.of(tokens)
    lower_case, source = _first(
        (lower_case_flag, "flag"), (lower_case_hparam, "hparams"), (not signs.cased, "vocabulary")
    )
    if not lower_case and strip_accents_flag:
        raise UsageError(
            "accents are to be stripped from cased text, which Google's code never does",
            found=f"--strip-accents, and cased (source: {source})",
            hint="--uncased with --strip-accents, or --cased alone",
        )
    by_vocabulary: tuple[bool, Source] = (not signs.accented, "vocabulary") if lower_case else (False, "rule")
    strip_accents, strip_accents_source = _first((strip_accents_flag, "flag"), by_vocabulary)
    notices = _notices(signs, lower_case, source, strip_accents, strip_accents_source)
    return Casing(lower_case, strip_accents, source, strip_accents_source, signs.summary(), notices)


class _Signs(NamedTuple):
    """The ordinary tokens that lower-casing would change, and those that stripping accents would change."""

    ordinary: int
    cased: tuple[str, ...]
    accented: tuple[str, ...]

    @classmethod
    def of(cls, tokens: Sequence[str]) -> _Signs:
        ordinary = [token for token in tokens if token[:1] not in _OPENING or not _is_marker(token)]
        return cls(
            len(ordinary),
            tuple(token for token in ordinary if token.lower() != token),
            tuple(token for token in ordinary if not token.isascii() and _without_accents(token) != token),
        )

    def are_few(self, tokens: Sequence[str]) -> bool:
        return 0 < len(tokens) < CLEAR_SHARE * self.ordinary

    def summary(self) -> str:
        """Return the signs in words: counts, and some examples."""
        return (
            f"of {self.ordinary} ordinary tokens, lower-casing would change {_some(self.cased)}, "
            f"stripping accents {_some(self.accented)}"
        )


def _is_marker(token: str) -> bool:
    """Return whether the token is of the form `[…]` or `<…>`, which no text produces."""
    return len(token) > 1 and token[-1] == _OPENING.get(token[0])


def _without_accents(token: str) -> str:
    decomposed = unicodedata.normalize("NFD", token)
    return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")


def _some(tokens: Sequence[str]) -> str:
    examples = ", ".join(tokens[:_EXAMPLES])
    return f"{len(tokens)} ({examples}{', …' if len(tokens) > _EXAMPLES else ''})" if tokens else "none"


def _first(*choices: tuple[bool | None, Source]) -> tuple[bool, Source]:
    """Return the first value that is not None, with its source."""
    return next((value, source) for value, source in choices if value is not None)


def _notices(
    signs: _Signs, lower_case: bool, source: Source, strip_accents: bool, strip_accents_source: Source
) -> tuple[Notice, ...]:
    choice = f"do_lower_case {str(lower_case).lower()}, strip_accents {str(strip_accents).lower()}"
    against = lower_case == bool(signs.cased) or (lower_case and strip_accents == bool(signs.accented))
    if against:
        return (
            warning(
                "casing",
                "the casing that was given is not what the vocabulary shows",
                "check --cased, --uncased, --strip-accents and --keep-accents, or leave them out",
                taken=choice,
                found=signs.summary(),
            ),
        )
    if source != "vocabulary" and strip_accents_source != "vocabulary":
        return ()
    relevant = signs.cased if source == "vocabulary" and signs.cased else signs.accented if lower_case else ()
    if signs.are_few(relevant):
        return (
            warning(
                "casing",
                "few tokens of the vocabulary show how text was lower-cased",
                "--cased, or --uncased with --strip-accents or --keep-accents, as in training",
                taken=choice,
                found=signs.summary(),
            ),
        )
    return (note("casing", "the casing is what the vocabulary shows", taken=choice, found=signs.summary()),)
