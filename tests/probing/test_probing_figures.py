"""The AUC is the share of pairs in order; its interval holds as often as it says, also where tokens are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.probing.figures import measure_auc, measure_share

SCORED = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30)


@given(SCORED)
def test_the_auc_is_the_share_of_pairs_in_order(tokens):
    """Mann-Whitney: counted pair by pair, ties half."""
    scores, labels, clusters = zip(*tokens, strict=True)
    positive = [score for score, label in zip(scores, labels, strict=True) if label]
    negative = [score for score, label in zip(scores, labels, strict=True) if not label]
    auc = measure_auc(scores, labels, clusters)
    assert (auc.replaced, auc.original, auc.clusters) == (len(positive), len(negative), len(set(clusters)))
    if not positive or not negative:
        assert (auc.value, auc.low, auc.high) == (None, None, None)
        return
    pairs = [(a > b) + (a == b) / 2 for a in positive for b in negative]
    assert auc.value == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= auc.low <= auc.value + 1e-12
    assert auc.value - 1e-12 <= auc.high <= 1


def test_independent_tokens_give_delongs_variance():
    """S10 / m + S01 / n from the components about their mean, each with its own n - 1."""
    random = np.random.default_rng(0)
    positive, negative = random.normal(1, 1, 30), random.normal(0, 1, 50)
    scores = np.concatenate([positive, negative])
    labels = np.arange(80) < 30
    auc = measure_auc(scores, labels, np.arange(80))
    beaten = positive[:, None] > negative[None, :]
    error = math.sqrt(beaten.mean(axis=1).var(ddof=1) / 30 + beaten.mean(axis=0).var(ddof=1) / 50)
    centre = math.log(auc.value / (1 - auc.value))
    half = 1.959964 * error / (auc.value * (1 - auc.value))
    bounds = [1 / (1 + math.exp(-bound)) for bound in (centre - half, centre + half)]
    assert [auc.low, auc.high] == pytest.approx(bounds)


def test_saying_everything_twice_makes_nothing_surer():
    random = np.random.default_rng(1)
    scores, labels = random.normal(size=200), random.random(200) < 0.3
    once = measure_auc(scores, labels, np.arange(200))
    twice = measure_auc(np.tile(scores, 2), np.tile(labels, 2), np.tile(np.arange(200), 2))
    assert twice.value == pytest.approx(once.value)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=0.002)
    share, double = measure_share(labels, np.arange(200)), measure_share(np.tile(labels, 2), np.tile(np.arange(200), 2))
    assert (double.low, double.high) == pytest.approx((share.low, share.high), abs=0.002)


def test_the_interval_holds_where_tokens_of_a_window_are_alike():
    """500 made-up texts of 40 windows, each with a mood of its own, which both kinds of its tokens share."""
    random = np.random.default_rng(2)
    true = 0.5 * math.erfc(-1 / math.sqrt(2 * (1 + 1)) / math.sqrt(2))  # a shift of 1 at a variance of 2 a token
    held = {"windows": 0, "tokens": 0}
    for _ in range(500):
        window = np.repeat(np.arange(40), 12)
        labels = random.random(480) < 0.5 * random.random(40)[window]
        scores = labels * 1.0 + random.normal(size=40)[window] + random.normal(size=480)
        for name, clusters in (("windows", window), ("tokens", np.arange(480))):
            auc = measure_auc(scores, labels, clusters)
            held[name] += auc.low <= true <= auc.high
    assert 460 <= held["windows"] <= 490
    assert not 460 <= held["tokens"] <= 490


def test_all_in_order_is_as_sure_as_that_many_right_guesses():
    auc = measure_auc([3, 4, 1, 2, 0], [True, True, False, False, False], range(5))
    assert (auc.value, auc.high) == (1, 1)
    assert auc.low == pytest.approx(0.025**0.5)
    turned = measure_auc([3, 4, 1, 2, 0], [False, False, True, True, True], range(5))
    assert (turned.value, turned.low, turned.high) == (0, 0, pytest.approx(1 - 0.025**0.5))


def test_one_window_alone_says_nothing_about_its_spread():
    for clusters in ([0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 2, 0]):
        auc = measure_auc([1, 2, 3, 1], [True, False, True, False], clusters)
        if len({cluster for cluster, label in zip(clusters, [1, 0, 1, 0], strict=True) if label}) == 1:
            assert (auc.low, auc.high) == (0, 1)
        else:
            assert 0 < auc.low < auc.high < 1


def test_a_share_has_wilsons_interval():
    share = measure_share([True] * 50 + [False] * 50, range(100))
    assert share.value == 0.5
    assert (share.low, share.high) == pytest.approx((0.4038, 0.5962), abs=0.001)
    assert measure_share([False] * 10, range(10)).high == pytest.approx(0.2775, abs=0.0001)
    assert measure_share([], []).to_json() == {"value": None, "low": None, "high": None, "hits": 0, "total": 0}


def test_an_auc_near_one_from_few_windows_has_an_interval():
    scores = [*range(2000), 1999.5, 5]
    auc = measure_auc(scores, [*([False] * 2000), True, True], [0] * 1000 + [1] * 1000 + [0, 1])
    assert 0 <= auc.low < auc.value < auc.high <= 1
