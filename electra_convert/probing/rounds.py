"""Rounds of the game, played by the networks in batches of bounded size.

the text            the chef cooked the meal
for the generator   the chef [MASK] the meal      it samples a token for each masked place
for the other half  the chef ate the meal         it gives each token a logit; positive says replaced
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from electra_convert.errors import ValueRefused
from electra_convert.probing.game import Drawn, best_ids, count_draws, draw_places, log_softmax, put_in, sample
from electra_convert.probing.text import Window
from electra_convert.progress import PROBING, Progress

if TYPE_CHECKING:
    from electra_convert.probing.halves import Half, Players

# Tokens that a network sees at once: 1024 × 30,522 logits are 125 MB, twice that for a softmax.
BATCH_TOKENS = 1024

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rules:
    """How the game is played; `length` is that of the longest window."""

    mask: float
    temperature: float
    length: int
    top: int
    seed: int
    rounds: int
    as_google: bool


@dataclass(frozen=True, slots=True)
class Move:
    """What happened at a masked place.

    `samples` are the ids that were drawn for it, `put_in` the one that took it. `guesses` are the generator's best
    ids with their probabilities, and `loss` is -log of its probability of the original, all at temperature 1; without a
    generator there are none, and `loss` is None.
    """

    drawn: Drawn
    samples: tuple[int, ...]
    put_in: int
    guesses: tuple[tuple[int, float], ...]
    loss: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """One window after one round: ids [S] of the text with [CLS] and [SEP], logits [S], a move a masked place."""

    round: int
    window: int
    ids: Ids
    logits: NDArray[np.float64]
    moves: tuple[Move, ...]

    @property
    def replaced(self) -> NDArray[np.bool_]:
        """True [S] at tokens that are not the original ones."""
        found = np.zeros(len(self.ids), dtype=bool)
        for move in self.moves:
            found[move.drawn.place] = move.put_in != self.ids[move.drawn.place]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Windows as the networks take them: three arrays [B, S], padded at the end."""

    ids: Ids
    mask: Ids
    segments: Ids


def play(windows: Sequence[Window], players: Players, rules: Rules, progress: Progress) -> Iterator[Played]:
    """Yield every window of every round as it was played, in order."""
    random = np.random.default_rng(rules.seed)
    rows = [_row(window, players) for window in windows]
    total = len(rows) * rules.rounds
    done = 0
    for number in range(rules.rounds):
        for numbers in _batches([len(ids) for ids, _ in rows]):
            progress(done, total, PROBING)
            batch = _pad([rows[window] for window in numbers], players.pieces.special["[PAD]"])
            moves = _propose(batch, players, rules, random)
            logits = _judge(batch, moves, players)
            for row, window in enumerate(numbers):
                ids = rows[window][0]
                yield Played(number, window, np.asarray(ids), logits[row, : len(ids)], tuple(moves[row]))
            done += len(numbers)
    progress(total, total, PROBING)


def _row(window: Window, players: Players) -> tuple[list[int], list[int]]:
    """Return ids and segments of a window."""
    special = players.pieces.special
    types = min(half.types for half in players.halves)
    ids, segments = [special["[CLS]"]], [0]
    for number, pieces in enumerate(window.segments):
        ids += [*(piece.id for piece in pieces), special["[SEP]"]]
        segments += [min(number, types - 1)] * (len(pieces) + 1)
    return ids, segments


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of windows that go together, in order, at least one."""
    together: list[int] = []
    longest = 0
    for number, length in enumerate(lengths):
        if together and max(longest, length) * (len(together) + 1) > BATCH_TOKENS:
            yield together
            together, longest = [], 0
        together.append(number)
        longest = max(longest, length)
    yield together


def _pad(rows: Sequence[tuple[list[int], list[int]]], padding: int) -> _Batch:
    shape = (len(rows), max(len(ids) for ids, _ in rows))
    batch = _Batch(np.full(shape, padding), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))
    for row, (ids, segments) in enumerate(rows):
        batch.ids[row, : len(ids)] = ids
        batch.segments[row, : len(ids)] = segments
        batch.mask[row, : len(ids)] = 1
    return batch


def _propose(batch: _Batch, players: Players, rules: Rules, random: np.random.Generator) -> list[list[Move]]:
    """Mask places of every row, and choose what takes them."""
    special = players.pieces.special
    drawn = []
    for ids, mask in zip(batch.ids, batch.mask, strict=True):
        tokens = int(mask.sum())
        unmarked = np.isin(ids[:tokens], [special["[CLS]"], special["[SEP]"], special["[MASK]"]], invert=True)
        number = count_draws(tokens, rules.mask, rules.length)
        drawn.append(draw_places(np.flatnonzero(unmarked).tolist(), number, random, repeat=rules.as_google))
    if players.generator is None:
        ordinary = np.asarray(players.pieces.ordinary)
        return [[_at_random(place, ordinary, random) for place in places] for places in drawn]
    hidden = batch.ids.copy()
    for row, places in enumerate(drawn):
        hidden[row, [place.place for place in places if place.hidden]] = special["[MASK]"]
    logits = _run(players.generator, _Batch(hidden, batch.mask, batch.segments))
    return [
        [_move(place, logits[row, place.place], int(batch.ids[row, place.place]), rules, random) for place in places]
        for row, places in enumerate(drawn)
    ]


def _at_random(place: Drawn, ordinary: Ids, random: np.random.Generator) -> Move:
    samples = tuple(int(token) for token in random.choice(ordinary, place.times))
    return Move(place, samples, put_in(samples), (), None)


def _move(place: Drawn, logits: NDArray[np.float32], original: int, rules: Rules, random: np.random.Generator) -> Move:
    logarithms = log_softmax(logits)
    samples = tuple(sample(logits, rules.temperature, random) for _ in range(place.times))
    guesses = tuple((token, float(np.exp(logarithms[token]))) for token in best_ids(logits, rules.top))
    return Move(place, samples, put_in(samples), guesses, -float(logarithms[original]))


def _judge(batch: _Batch, moves: Sequence[Sequence[Move]], players: Players) -> NDArray[np.float64]:
    """Return the discriminator's logits [B, S] for the text with what was put in."""
    ids = batch.ids.copy()
    for row, made in enumerate(moves):
        for move in made:
            ids[row, move.drawn.place] = move.put_in
    return _run(players.discriminator, _Batch(ids, batch.mask, batch.segments)).astype(np.float64)


def _run(half: Half, batch: _Batch) -> NDArray[np.float32]:
    with torch.inference_mode():
        inputs = (torch.from_numpy(array) for array in (batch.ids, batch.mask, batch.segments))
        logits: NDArray[np.float32] = half.model(*inputs).logits.numpy()
    if not np.isfinite(logits).all():
        raise ValueRefused(
            "a network answers with values that are not finite",
            where=half.folder,
            hint="electra-convert verify CHECKPOINT OUT names the weights that are not finite",
        )
    return logits
