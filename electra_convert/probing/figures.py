"""Figures with how sure they are: the area under the ROC curve, and shares, each with a 95 % interval.

The AUC is the chance that a replaced token has a higher score than an original one; ties count half. Its variance is
DeLong's (1988), summed by cluster (Obuchowski 1997): the tokens of a window depend on each other, and so do rounds over
the same token; windows do not. The interval is that of its logit, so that it stays between 0 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The two-sided 95 % quantile of the normal distribution.
Z = 1.959964

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Auc:
    """The AUC with its interval, and what it was computed from; None where there is nothing replaced, or nothing else.

    `clusters` are the parts of the text that were taken as independent of each other.
    """

    value: float | None
    low: float | None
    high: float | None
    replaced: int
    original: int
    clusters: int

    def to_json(self) -> dict[str, Any]:
        """Return the figure as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `total`, with its interval; None where the total is 0."""

    value: float | None
    low: float | None
    high: float | None
    hits: int
    total: int

    def to_json(self) -> dict[str, Any]:
        """Return the share as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def measure_share(hits: ArrayLike, clusters: ArrayLike) -> Share:
    """Return the share of true values [N], each in the cluster [N] of its number.

    The interval is Wilson's (1927) for as many independent values as would vary like the clusters do.

    >>> measure_share([True, False, True, True], [0, 1, 2, 3]).value
    0.75
    """
    hit = np.asarray(hits, dtype=np.float64)
    if not hit.size:
        return Share(None, None, None, 0, 0)
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    share = float(hit.mean())
    sums = np.bincount(cluster, hit - share)
    variance = _unbiased(len(names)) * float(sums @ sums) / len(hit) ** 2 if len(names) > 1 else 0.0
    independent = min(len(hit), share * (1 - share) / variance) if variance > 0 else len(names)
    weight = Z * Z / independent
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / independent + weight / independent / 4) / (1 + weight)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half), int(hit.sum()), len(hit))


def measure_auc(scores: ArrayLike, replaced: ArrayLike, clusters: ArrayLike) -> Auc:
    """Return the AUC of scores [N] for labels [N] (true: replaced), each in the cluster [N] of its number.

    >>> measure_auc([0.9, 0.4, 0.5, 0.1], [True, True, False, False], [0, 1, 2, 3]).value
    0.75
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(replaced, dtype=bool)
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    positive, negative = score[label], score[~label]
    counts = (len(positive), len(negative), len(names))
    if not len(positive) or not len(negative):
        return Auc(None, None, None, *counts)
    # How each token fares against all of the other kind: DeLong's structural components.
    above, below = _beaten(positive, negative), 1 - _beaten(negative, positive)
    auc = float(above.mean())
    low, high = _interval(auc, _variance(above - auc, below - auc, cluster[label], cluster[~label]), counts)
    return Auc(auc, low, high, *counts)


def _beaten(scores: Array, others: Array) -> Array:
    """Return the share of `others` below each score, equal ones counted half."""
    ordered = np.sort(others)
    lower, upper = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    return np.asarray((lower + upper) / 2 / len(others))


def _variance(above: Array, below: Array, cluster_above: NDArray[Any], cluster_below: NDArray[Any]) -> float:
    """Return Obuchowski's variance from the components about their mean; one cluster alone shows none."""
    size = int(max(cluster_above.max(), cluster_below.max())) + 1
    sums = [np.bincount(cluster_above, above, size), np.bincount(cluster_below, below, size)]
    held = [len(np.unique(cluster_above)), len(np.unique(cluster_below))]
    counts = [len(above), len(below)]
    if min(held) == 1:
        return math.inf
    own = [_unbiased(n) * float(sum_ @ sum_) / count**2 for sum_, n, count in zip(sums, held, counts, strict=True)]
    both = _unbiased(size) * float(sums[0] @ sums[1]) / (counts[0] * counts[1])
    return max(0.0, own[0] + own[1] + 2 * both)


def _unbiased(number: int) -> float:
    return number / (number - 1)


def _interval(auc: float, variance: float, counts: tuple[int, int, int]) -> tuple[float, float]:
    if 0 < auc < 1 and math.isfinite(variance):
        logit, half = math.log(auc / (1 - auc)), Z * math.sqrt(variance) / (auc * (1 - auc))
        return _logistic(logit - half), _logistic(logit + half)
    if not math.isfinite(variance):
        return 0.0, 1.0
    # No token of one kind is above one of the other: as sure as that many right guesses in a row.
    bound = 0.025 ** (1 / min(counts))
    return (bound, 1.0) if auc == 1 else (0.0, 1 - bound)


def _logistic(value: float) -> float:
    return (1 + math.tanh(value / 2)) / 2  # exp would overflow
