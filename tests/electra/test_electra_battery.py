"""The input battery reaches every part of the tables, and is the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_convert.electra.battery import MIXED_LENGTH, Batch, build_battery, splitmix64


def batches(*sizes: int, **options: int) -> dict[str, Batch]:
    return {batch.name: batch for batch in build_battery(*sizes, **options)}


def test_numbers_are_those_of_splitmix64():
    """The first five for seed 1234567, as its reference implementation gives them (Rosetta Code, Splitmix64)."""
    numbers = splitmix64(1234567)
    assert [next(numbers) for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_battery_never_changes():
    """A verdict that names its seed can be repeated with any later version: this digest must not change."""
    digest = hashlib.sha256()
    for batch in build_battery(30522, 512, 2, seed=7):
        for array in (batch.input_ids, batch.input_mask, batch.segment_ids):
            digest.update(array.astype("<i8").tobytes())
    assert digest.hexdigest() == "fd5aec4c30bf2d33c69c41a810a83e93b0675e98f01c921b5a5c65425a47ba8f"


@given(
    vocab_size=st.integers(5, 40000),
    positions=st.integers(1, 600),
    segments=st.integers(1, 5),
    seed=st.integers(0, 2**64),
    max_length=st.none() | st.integers(1, 700),
)
@settings(max_examples=50, deadline=None)
def test_every_input_is_one_that_the_network_takes(vocab_size, positions, segments, seed, max_length):
    """Ids and segments are in their tables, no row is without a real token, nothing is longer than allowed."""
    pad = vocab_size // 2
    limit = positions if max_length is None else min(positions, max_length)
    for batch in build_battery(vocab_size, positions, segments, seed=seed, pad_token_id=pad, max_length=max_length):
        assert batch.input_ids.shape == batch.input_mask.shape == batch.segment_ids.shape
        assert batch.input_ids.shape[1] <= limit
        assert batch.input_ids.dtype == batch.input_mask.dtype == batch.segment_ids.dtype == np.int64
        assert 0 <= batch.input_ids.min() <= batch.input_ids.max() < vocab_size
        assert 0 <= batch.segment_ids.min() <= batch.segment_ids.max() < segments
        assert set(np.unique(batch.input_mask)) <= {0, 1}
        assert batch.input_mask.any(axis=1).all()
        assert not any(array.flags.writeable for array in (batch.input_ids, batch.input_mask, batch.segment_ids))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_battery_has_what_a_forward_pass_can_see(seed):
    """Padding, holes, all segments, the first, last and padding id at real tokens, length 1, all positions."""
    battery = batches(1000, 512, 3, seed=seed, pad_token_id=17)
    mixed, one, every = battery["mixed"], battery["one token"], battery["every position"]
    real_ids = mixed.input_ids[mixed.input_mask == 1]
    assert {0, 17, 999} <= set(real_ids)
    assert set(mixed.segment_ids[0]) == set(every.segment_ids[0]) == {0, 1, 2}
    assert mixed.input_ids.shape == (4, MIXED_LENGTH)
    assert mixed.input_mask.sum(axis=1).tolist()[:2] == [MIXED_LENGTH, 2 * MIXED_LENGTH // 3]
    assert set(mixed.input_ids[1][mixed.input_mask[1] == 0]) == {17}
    assert mixed.input_mask[3].sum() == 1
    assert np.diff(mixed.input_mask[2]).min() < 0 < np.diff(mixed.input_mask[2]).max()
    assert one.input_ids.shape == (1, 1)
    assert every.input_ids.shape == (1, 512)
    assert every.input_mask.all()


def test_ids_are_spread_over_the_whole_vocabulary():
    """One from each of 512 equal strips, out of order."""
    ids = batches(30522, 512, 2)["every position"].input_ids[0]
    assert np.diff(np.sort(ids)).max() < 2 * 30522 / 512
    assert (np.diff(ids) < 0).sum() > 150


def test_seeds_differ_and_repeat():
    first, again, other = (batches(30522, 512, 2, seed=seed)["mixed"].input_ids for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_battery_is_small():
    """A base-size network computes 0.2 GFLOP a token."""
    assert sum(batch.input_ids.size for batch in build_battery(30522, 512, 2)) == 561


@pytest.mark.parametrize("length", [1, 8, 512, 1000])
def test_max_length_shortens_the_longest_input(length):
    """For a reference, such as a graph of a fixed length, that cannot run longer ones."""
    battery = build_battery(30522, 512, 2, max_length=length)
    assert max(batch.input_ids.shape[1] for batch in battery) == min(length, 512)
