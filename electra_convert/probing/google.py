"""The figures of Google's own evaluation (`run_pretraining.py` with `do_eval`), under its names.

Each is computed from the same things: the AUC takes all positions of a window of full length, where padding counts as
easy originals, so that it grows with the share of padding; the accuracies of the generator count a place as often as
it was drawn; `disc_loss` is the mean of the windows' means. The AUC here is exact, where Google's sums 200 thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from electra_convert.probing.figures import measure_auc

if TYPE_CHECKING:
    from electra_convert.probing.rounds import Played


def google_figures(played: Sequence[Played], length: int) -> dict[str, float | None]:
    """Return the figures of windows that were played; None for a figure that is a mean of nothing.

    `disc_auc_on_real_tokens` is not Google's: the AUC without padding, with [CLS] and [SEP].
    """
    logits = np.concatenate([window.logits for window in played])
    replaced = np.concatenate([window.replaced for window in played])
    found = logits > 0
    on_real_tokens = _auc(logits, replaced)
    # Padding has the probability 0, below every token.
    padding = np.full(len(played) * length - len(logits), -np.inf)
    on_all = _auc(np.concatenate([logits, padding]), np.concatenate([replaced, np.zeros(len(padding), dtype=bool)]))
    draws = [(window.ids[move.drawn.place], move) for window in played for move in window.moves]
    losses = [(move.loss, move.drawn.times) for _, move in draws if move.loss is not None]
    best = [(move.guesses[0][0] == original, move.drawn.times) for original, move in draws if move.guesses]
    sampled = [sample == original for original, move in draws for sample in move.samples]
    return {
        "masked_lm_accuracy": _mean(_repeated(best)),
        "masked_lm_loss": _mean(_repeated(losses)),
        "sampled_masked_lm_accuracy": _mean(sampled),
        "disc_loss": _mean([np.mean(_cross_entropy(window.logits, window.replaced)) for window in played]),
        "disc_auc": on_all,
        "disc_accuracy": _mean(found == replaced),
        "disc_precision": _mean(replaced[found]),
        "disc_recall": _mean(found[replaced]),
        "disc_auc_on_real_tokens": on_real_tokens,
    }


def _auc(scores: NDArray[np.float64], replaced: NDArray[np.bool_]) -> float | None:
    return measure_auc(scores, replaced, np.arange(len(scores))).value


def _cross_entropy(logits: NDArray[np.float64], replaced: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp(0, np.where(replaced, -logits, logits)))


def _repeated(values: Sequence[tuple[float, int]]) -> list[float]:
    return [value for value, times in values for _ in range(times)]


def _mean(values: ArrayLike) -> float | None:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else None
