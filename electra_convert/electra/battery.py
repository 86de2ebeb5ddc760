"""The inputs that networks are compared on, and the form of what a network answers.

    name             rows × tokens   why
    mixed            4 × 12          row 0  all tokens real, one block a segment type
                                     row 1  padded at the end, as Google's code pads
                                     row 2  every other token masked or not by chance: arbitrary ids under the mask
                                     row 3  one real token
    one token        1 × 1           the shortest input
    every position   1 × P           the full position table, ids spread over the whole vocabulary
    single row       1 × length      for a reference of fixed length: holes and padding in one row

A base-size network needs 0.2 GFLOP a token, so what a battery costs is its number of tokens. A position enters a
network at its embeddings and nowhere else, so a long row of every position is followed through its first layer only:
49 tokens through all layers and 512 through one, for P = 512.

Every row has a real token at position 0: Google's network and Hugging Face's differ on a row without any
(Google adds -10000 to all its scores, which changes nothing; Hugging Face attends to all tokens evenly).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Enough for several segment blocks, padding and holes; short, since the time goes with the number of tokens. The
# mutants of the tests are caught with 8 tokens as well, in no less time than with 12: weights then take most of it.
MIXED_LENGTH = 12

# A longer row of every position is compared this many layers deep: the first attends over the whole length.
LONG_ROW, LONG_ROW_DEPTH = 128, 1

_64_BITS = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Inputs of one shape: three int64 arrays [B, S]; a mask of 1 is a real token, 0 is padding.

    `depth` is how many layers deep networks are compared on it; None is all of them, and the head.
    """

    name: str
    input_ids: NDArray[np.int64]
    input_mask: NDArray[np.int64]
    segment_ids: NDArray[np.int64]
    depth: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a network answers to one batch.

    `hidden_states` are L + 1 arrays [B, S, H]: the embeddings (after the projection, where there is one), then each
    layer's output. `logits` are [B, S] from a discriminator, [B, S, V] from a generator, None from a bare encoder; from
    a fine-tuned head [B, K] for K labels of a text, [B, S, K] for those of each token (start and end of an answer: 2).
    Of a batch with a depth they are that many and one, without logits.
    """

    hidden_states: tuple[NDArray[Any], ...]
    logits: NDArray[Any] | None


def build_battery(
    vocab_size: int,
    positions: int,
    segments: int,
    *,
    seed: int = 0,
    pad_token_id: int = 0,
    max_length: int | None = None,
) -> tuple[Batch, ...]:
    """Return the battery for a network with these table sizes (V, P and T of its shapes).

    The first id, the last id and the padding id each stand at a real token. `max_length` shortens "every position",
    for a reference that cannot run longer inputs. The same arguments give the same battery everywhere, for good: ids
    come from SplitMix64 in plain integers, not from a library's generator, whose methods may change.
    """
    length = positions if max_length is None else min(positions, max_length)
    numbers = splitmix64(seed)
    one = _draw_ids(numbers, vocab_size, 1)
    return (
        _mixed(numbers, vocab_size, min(MIXED_LENGTH, length), segments, pad_token_id),
        _freeze("one token", one, np.ones_like(one), np.full_like(one, segments - 1)),
        _every_position(numbers, vocab_size, length, segments),
    )


def build_single_row(
    vocab_size: int, positions: int, segments: int, *, length: int, seed: int = 0, pad_token_id: int = 0
) -> Batch:
    """Return one row of `length` tokens (at most P) that has what a battery has in several: holes, padding, segments.

    For a reference whose length is fixed and whose rows are dear.
    """
    numbers = splitmix64(~seed)
    length = min(length, positions)
    ids = _draw_ids(numbers, vocab_size, length)
    real = max(1, 5 * length // 6)
    mask = np.array([[int(at < real and next(numbers) % 4 > 0) for at in range(length)]], np.int64)
    _dig(mask[0, :real])
    ids[0, real:] = pad_token_id
    ids[0, :3] = [0, vocab_size - 1, pad_token_id][:length]
    types = np.array([[next(numbers) % segments for _ in range(length)]], np.int64)
    return _freeze("single row", ids, mask, types)


def splitmix64(seed: int) -> Iterator[int]:
    """Yield 64-bit numbers (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

    >>> next(splitmix64(1234567))
    6457827717110365317
    """
    state = seed & _64_BITS
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _64_BITS
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
        yield mixed ^ (mixed >> 31)


def _mixed(numbers: Iterator[int], vocab_size: int, length: int, segments: int, pad_token_id: int) -> Batch:
    ids = _draw_ids(numbers, vocab_size, 4 * length).reshape(4, length)
    mask = np.ones((4, length), np.int64)
    types = np.tile(_blocks(length, segments), (4, 1))

    real = max(1, 2 * length // 3)
    mask[1, real:] = 0
    ids[1, real:] = pad_token_id
    types[1] = np.concatenate([_blocks(real, segments), np.zeros(length - real, np.int64)])

    mask[2] = [next(numbers) % 2 for _ in range(length)]
    _dig(mask[2])
    types[2] = [next(numbers) % segments for _ in range(length)]
    mask[3] = 0

    mask[:, 0] = 1
    ids[:3, 0] = 0, vocab_size - 1, pad_token_id
    return _freeze("mixed", ids, mask, types)


def _every_position(numbers: Iterator[int], vocab_size: int, length: int, segments: int) -> Batch:
    # One id from each of `length` equal strips of the vocabulary, then shuffled (Fisher and Yates).
    ids = [(strip * vocab_size + next(numbers) % vocab_size) // length for strip in range(length)]
    for last in range(length - 1, 0, -1):
        other = next(numbers) % (last + 1)
        ids[last], ids[other] = ids[other], ids[last]
    row = np.array([ids], np.int64)
    depth = LONG_ROW_DEPTH if length > LONG_ROW else None
    return _freeze("every position", row, np.ones_like(row), np.arange(length, dtype=np.int64)[None] % segments, depth)


def _dig(row: NDArray[np.int64]) -> None:
    """Give a row of a mask a hole, whatever was drawn: real, masked, …, real, where it is as long as that."""
    row[1:2] = 0
    row[2:][-1:] = 1
    row[0] = 1


def _draw_ids(numbers: Iterator[int], vocab_size: int, count: int) -> NDArray[np.int64]:
    return np.array([[next(numbers) % vocab_size for _ in range(count)]], np.int64)


def _blocks(length: int, segments: int) -> NDArray[np.int64]:
    """Return segment types in blocks of about the same length: [0, 0, 0, 1, 1, 1] for 6 tokens and 2 types."""
    return np.arange(length, dtype=np.int64) * segments // length


def _freeze(
    name: str,
    ids: NDArray[np.int64],
    mask: NDArray[np.int64],
    types: NDArray[np.int64],
    depth: int | None = None,
) -> Batch:
    for array in (ids, mask, types):
        array.flags.writeable = False
    return Batch(name, ids, mask, types, depth)
