"""Places and samples are drawn as Google's code draws them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from electra_convert.probing.game import best_ids, count_draws, draw_places, log_softmax, put_in, sample


@pytest.mark.parametrize(
    ("tokens", "mask", "length", "expected"),
    [(128, 0.15, 128, 19), (64, 0.25, 64, 16), (10, 0.25, 64, 2), (14, 0.25, 64, 4), (3, 0.15, 128, 1), (8, 1.0, 8, 8)],
)
def test_the_number_of_draws_is_that_of_googles_code(tokens, mask, length, expected):
    """max(1, min(int((mask + 0.005) * length), round(tokens * mask))), halves to even."""
    assert count_draws(tokens, mask, length) == expected


def test_places_are_drawn_once_each_and_evenly():
    random = np.random.default_rng(0)
    counts = np.zeros(20)
    hidden = 0
    for _ in range(4000):
        drawn = draw_places(range(5, 15), 3, random)
        assert [place.times for place in drawn] == [1, 1, 1]
        assert [place.place for place in drawn] == sorted({place.place for place in drawn})
        counts[[place.place for place in drawn]] += 1
        hidden += sum(place.hidden for place in drawn)
    assert counts[:5].sum() == counts[15:].sum() == 0
    assert counts[5:15] / 4000 == pytest.approx(0.3, abs=0.04)
    assert hidden / 12000 == pytest.approx(0.85, abs=0.015)


def test_repeated_draws_count_how_often_and_hide_if_any_does():
    random = np.random.default_rng(0)
    drawn = [place for _ in range(2000) for place in draw_places(range(4), 4, random, repeat=True)]
    assert sum(place.times for place in drawn) == 8000
    for times in (1, 2):
        hidden = [place.hidden for place in drawn if place.times == times]
        assert np.mean(hidden) == pytest.approx(1 - 0.15**times, abs=0.02)


def test_more_draws_than_places_take_all_and_no_place_is_no_draw():
    random = np.random.default_rng(0)
    assert [place.place for place in draw_places([2, 7], 5, random)] == [2, 7]
    assert draw_places([], 5, random) == []


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_probabilities_at_the_temperature(temperature):
    random = np.random.default_rng(0)
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))
    counts = np.bincount([sample(logits, temperature, random) for _ in range(20_000)], minlength=4)
    weights = np.array([0.1, 0.2, 0.3, 0.4]) ** (1 / temperature)
    assert counts / 20_000 == pytest.approx(weights / weights.sum(), abs=0.012)


def test_a_token_without_probability_is_never_drawn():
    random = np.random.default_rng(0)
    logits = np.array([-1e4, 0, -1e4, 0, -1e4], dtype=np.float32)
    assert {sample(logits, 1.0, random) for _ in range(200)} == {1, 3}


def test_logarithms_stay_finite_where_probabilities_do_not():
    assert log_softmax(np.array([0, -2000], dtype=np.float32)).tolist() == [0, -2000]


def test_a_place_drawn_twice_gets_the_mean_of_the_ids_as_in_googles_code():
    assert put_in([7]) == 7
    assert put_in([7, 10]) == 8
    assert put_in([1, 1, 5]) == 2


@given(
    arrays(np.float32, st.integers(1, 40), elements=st.integers(-3, 3).map(float)),
    st.integers(1, 50),
)
def test_the_best_are_those_of_a_full_sort_the_lower_id_first(logits, number):
    assert best_ids(logits, number) == np.argsort(-logits, kind="stable")[:number].tolist()
