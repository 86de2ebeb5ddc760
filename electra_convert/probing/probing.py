"""`probe`: do converted weights still play ELECTRA's game on real text?

    text ──▶ mask 15 % ──▶ generator puts tokens in their place ──▶ discriminator points at the replaced ones

A forward pass proves that two networks are the same; this shows that a network is a trained one. Random weights cannot
tell replaced tokens from original ones: their AUC is 0.5, whatever the text.

    halves      folders to networks         game      places and samples
    vocabulary  the tokenizer               rounds    the networks play
    text        text to windows             figures   AUC and shares; google: Google's figures
    settings    how it is played            result    what came of it
"""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from electra_convert.errors import InputError, UsageError
from electra_convert.notices import Notice, note, warning
from electra_convert.options import StrPath
from electra_convert.probing.text import (
    ByteLines,
    Text,
    Window,
    opened_text,
    pack,
    pack_as_google,
    read_lines,
    split_text,
)
from electra_convert.progress import Progress, no_progress

if TYPE_CHECKING:
    from electra_convert.probing.figures import Auc
    from electra_convert.probing.halves import Players
    from electra_convert.probing.result import Guessing, Probe, ProbedText, Setting, Token
    from electra_convert.probing.rounds import Move, Played, Rules

# Tokens that are read unless told otherwise: with 1,500 masked, the AUC is known to 0.02, in seconds.
MAX_TOKENS = 10_000

# Fewer windows do not show how much windows differ; then places are taken as independent.
ENOUGH_WINDOWS = 10

# More than any position table has rows.
LONGEST_WINDOW = 1 << 32

# With a larger share of unknown words, text and vocabulary are hardly of one language.
MUCH_UNKNOWN = 0.1


def probe(
    discriminator: StrPath,
    text: str | None = None,
    *,
    file: StrPath | ByteLines | None = None,
    generator: StrPath | None = None,
    mask: float | None = None,
    temperature: float | None = None,
    top: int = 3,
    rounds: int | None = None,
    seed: int = 0,
    max_length: int | None = None,
    max_tokens: int = MAX_TOKENS,
    as_google: bool = False,
    progress: Progress = no_progress,
) -> Probe:
    """Return a game on a text: masked, filled in by the generator, judged by the discriminator.

    >>> from electra_convert import convert, probe
    >>> _ = convert("fixtures/google/default_small", "out", export="both", verify=False)
    >>> probe("out", "now is the winter of our discontent").finding      # trained for 40 steps only
    'unclear'

    Args:
        discriminator: a Hugging Face folder, or one with the folders `discriminator` and `generator`.
        text: the text, in lines; or else
        file: a file of UTF-8 text, or an open binary one.
        generator: a Hugging Face folder; without a generator, random tokens of the vocabulary take the masked places.
        mask: share of the tokens to mask; default: as in training where the record tells, else 0.15.
        temperature: of the generator when it samples; default: as in training where the record tells, else 1.
        top: how many of the generator's guesses to keep.
        rounds: how often the text is played; default: until 100 tokens were masked, at most 20 times.
        seed: of everything random.
        max_length: tokens of a window; default: as in training where the record tells, else all positions.
        max_tokens: tokens of the text to read.
        as_google: repeat Google's evaluation, with its figures: its windows, places drawn with replacement, and the
            mean of two ids for a place drawn twice.
        progress: called with (windows done, windows in total, what).

    Raises:
        UsageError: not exactly one of text and file, or a value out of its range.
        InputError: the text is not there, not UTF-8, or has no tokens; a FolderError or VocabularyError: the folders
            are not what they must be, or their vocabularies differ.
        MissingExtra: torch or tokenizers is not installed.
    """
    _check(text, file, mask, temperature, top, rounds, max_tokens)
    import numpy as np

    from electra_convert.probing.halves import load_players
    from electra_convert.probing.rounds import Rules, play
    from electra_convert.probing.settings import choose_rounds, settle

    players = load_players(discriminator, generator)
    if temperature is not None and players.generator is None:
        raise UsageError("a temperature was given, but there is no generator", hint="--generator GENERATOR")
    settings = settle(players, mask, temperature, max_length)
    length, share = int(settings["max_length"].value), settings["mask"].value
    shown, opened = _open(text, file)
    with opened as stream:
        read = split_text(read_lines(stream, shown), players.pieces.tokenizer, max_tokens)
    if as_google:
        windows = tuple(pack_as_google(read.lines, length, np.random.default_rng(seed)))
    else:
        windows = tuple(pack(read.lines, length))
    if not windows:
        raise InputError("the text has no tokens", where=shown)
    settings["rounds"] = choose_rounds(rounds, windows, share, length)
    rules = Rules(
        mask=share,
        temperature=settings["temperature"].value if players.generator else 1.0,
        length=length,
        top=top,
        seed=seed,
        rounds=int(settings["rounds"].value),
        as_google=as_google,
    )
    played = list(play(windows, players, rules, progress))
    return _tell(shown, read, windows, players, settings, rules, played)


def _check(
    text: str | None,
    file: StrPath | ByteLines | None,
    mask: float | None,
    temperature: float | None,
    top: int,
    rounds: int | None,
    max_tokens: int,
) -> None:
    if (text is None) == (file is None):
        raise UsageError(
            "no text to play on" if text is None else "a text and a file contradict each other",
            expected="TEXT, or --file FILE, or - for standard input",
        )
    in_range = {
        "mask": (mask, mask is None or 0 < mask <= 1, "above 0, at most 1"),
        "temperature": (temperature, temperature is None or 0 < temperature < math.inf, "above 0"),
        "top": (top, top >= 1, "at least 1"),
        "rounds": (rounds, rounds is None or rounds >= 1, "at least 1"),
        "max_tokens": (max_tokens, max_tokens >= 1, "at least 1"),
    }
    for name, (value, holds, expected) in in_range.items():
        if not holds:
            raise UsageError(f"{name} is out of its range", found=str(value), expected=expected)


def _open(text: str | None, file: StrPath | ByteLines | None) -> tuple[str, AbstractContextManager[ByteLines]]:
    """Return what messages call the text, and the text as bytes."""
    if text is not None:
        try:
            return "TEXT", io.BytesIO(text.encode())
        except UnicodeEncodeError as error:  # bytes of the command line that were not UTF-8
            raise InputError("the text is not UTF-8", where="TEXT", found=ascii(error.object[error.start])) from error
    if isinstance(file, (str, os.PathLike)):
        return os.fspath(file), opened_text(file)
    assert file is not None
    return str(getattr(file, "name", "the text")), nullcontext(file)


def _tell(
    shown: str,
    read: Text,
    windows: Sequence[Window],
    players: Players,
    settings: dict[str, Setting],
    rules: Rules,
    played: Sequence[Played],
) -> Probe:
    """Return the outcome of rounds that were played."""
    from electra_convert.probing.figures import measure_share
    from electra_convert.probing.google import google_figures
    from electra_convert.probing.result import PlayedWindow, Probe, ProbedText

    unknown = sum(piece.id == players.pieces.special["[UNK]"] for line in read.lines for piece in line)
    text = ProbedText(shown, read.pieces, unknown, len(windows), read.ended_at)
    moves = [
        (_cluster(windows, window.window, move.drawn.place), int(window.ids[move.drawn.place]), move)
        for window in played
        for move in window.moves
    ]
    kept = measure_share([move.put_in == original for _, original, move in moves], [name for name, _, _ in moves])
    return Probe(
        discriminator=players.discriminator.folder,
        generator=players.generator.folder if players.generator else None,
        text=text,
        settings=settings,
        seed=rules.seed,
        windows=tuple(
            PlayedWindow(window.round, _tokens(windows[window.window], window, players)) for window in played
        ),
        detection=_detect(windows, played),
        kept=kept,
        guessing=_guess(moves, players) if players.generator and moves else None,
        google=google_figures(played, rules.length) if rules.as_google else None,
        energy=players.training.energy,
        notices=(*players.notices, *_notices(text, players)),
    )


def _tokens(window: Window, played: Played, players: Players) -> tuple[Token, ...]:
    from electra_convert.probing.result import Guess, Token

    name = players.pieces.name
    moves = {move.drawn.place: move for move in played.moves}
    tokens = []
    for piece, place in zip(window.pieces, window.places, strict=True):
        token = Token(piece.piece, piece.written, piece.gap, _sigmoid(float(played.logits[place])))
        if move := moves.get(place):
            token = replace(
                token,
                masked=True,
                hidden=move.drawn.hidden,
                replacement=None if move.put_in == piece.id else name(move.put_in),
                guesses=tuple(Guess(name(number), chance) for number, chance in move.guesses),
                original_probability=None if move.loss is None else math.exp(-move.loss),
            )
        tokens.append(token)
    return tuple(tokens)


def _cluster(windows: Sequence[Window], window: int, place: int) -> int:
    """Return the number of what a token belongs to that varies by itself: its window, or its place in a short text."""
    return window if len(windows) >= ENOUGH_WINDOWS else window * LONGEST_WINDOW + place


def _detect(windows: Sequence[Window], played: Sequence[Played]) -> Auc:
    """Measure how replaced tokens of the text rank among its original ones; [CLS] and [SEP] are no text."""
    from electra_convert.probing.figures import measure_auc

    tokens = [
        (window.logits[place], replaced[place], _cluster(windows, window.window, place))
        for window in played
        for replaced in [window.replaced]
        for place in windows[window.window].places
    ]
    scores, labels, clusters = zip(*tokens, strict=True)
    return measure_auc(scores, labels, clusters)


def _guess(moves: Sequence[tuple[int, int, Move]], players: Players) -> Guessing:
    from electra_convert.probing.figures import measure_share
    from electra_convert.probing.result import Guessing

    commonest, times = Counter(original for _, original, _ in moves).most_common(1)[0]
    right = [original == move.guesses[0][0] for _, original, move in moves]
    return Guessing(
        measure_share(right, [cluster for cluster, _, _ in moves]),
        sum(move.loss for _, _, move in moves if move.loss is not None) / len(moves),
        players.pieces.name(commonest),
        times / len(moves),
    )


def _notices(text: ProbedText, players: Players) -> list[Notice]:
    notices = []
    if text.unknown > MUCH_UNKNOWN * text.tokens:
        notices.append(
            warning(
                "unknown-words",
                "many words of the text are unknown to the vocabulary",
                "take a text in the language of the training",
                where=text.name,
                found=f"{text.unknown} of {text.tokens} tokens are [UNK]",
            )
        )
    if text.ended_at is not None:
        notices.append(
            note("text-cut", "the text was not read to its end", where=f"{text.name}, line {text.ended_at}",
                 found=f"{text.tokens} tokens, as many as were to be read")
        )  # fmt: skip
    if players.training.energy:
        notices.append(
            warning(
                "energy",
                "the probabilities that are shown may be none; their order, and the AUC, hold",
                found=players.training.energy,
            )
        )
    return notices


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))
