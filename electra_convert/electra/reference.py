"""ELECTRA's forward pass in NumPy, straight from TensorFlow 1 variables by their own names.

It is written from google-research/electra (`model/modeling.py`, `pretrain/pretrain_helpers.py`, `run_pretraining.py`,
`finetune/`) and shares no code with the mapping or with the included PyTorch model: a mistake in one of
them shows as a difference here.

    B rows, S tokens, V vocabulary, E embedding size, H hidden size, N heads, D = H / N, I intermediate size

    embeddings   LayerNorm(word + segment + position) [B, S, E], then embeddings_project to H where E differs from H
    layer        x = LayerNorm(x + attention(x)),  x = LayerNorm(x + dense(act(dense(x))))         kernels are [in, out]
    discriminator_predictions   dense_1(act(dense(x)))                                                        [B, S]
    generator_predictions       LayerNorm(act(dense(x))) · word_embeddings^T + output_bias                 [B, S, V]
    task_specific/NAME          dense(x[:, 0]) of a text [B, n]; dense(x) of each token [B, S, n];
                                dense(x) and dense_1(x) for an answer's start and end                      [B, S, 2]

Weights are read once for all batches and widened as they are used, one at a time, so that float64 costs little
memory. Not here: the two-tower cloze generators, joint prediction of answers and answerability.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.errors import SettingError

Array = NDArray[Any]
ReadVariable = Callable[[str], Array]
"""Gives a variable by its TensorFlow name; raises its own error for a name it does not know."""

# modeling.py adds (1 - mask) * -10000 to the scores: exp of it is zero in any float type.
MASKED = -10000.0

# Rows of the output matrix widened at a time: 25 MB in float64 at H = 768.
OUTPUT_ROWS = 4096

# Values a pass of erf works on at a time: its temporaries stay in a CPU's second-level cache.
ERF_BLOCK = 16384

# erf's table: steps of 2^-12 between -6 and 6, beyond which erf is 1 to the last bit of float64.
ERF_STEPS = 4096
ERF_END = 6


@dataclass(frozen=True, slots=True)
class Network:
    """Which variables make the network, and what their shapes do not tell.

    `body` is the scope of the tower, `embeddings` of the tower whose embedding tables it reads: both "electra" for a
    discriminator, "generator" and "electra" for Google's default generator. `head` is the head's scope, which also
    says its kind; of a task's head, `scores` does. A SettingError names an activation that Google's code does not have.
    """

    body: str
    embeddings: str
    head: str | None
    layers: int
    heads: int
    activation: str = "gelu"
    epsilon: float = 1e-12  # modeling.py leaves it to tf.contrib.layers.layer_norm, which has this one
    scores: Literal["text", "tokens", "answer"] | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise SettingError("unknown activation", found=self.activation, expected=", ".join(ACTIVATIONS))


def run(
    network: Network, variable: ReadVariable, batches: Sequence[Batch], dtype: DTypeLike = np.float64
) -> list[Outputs]:
    """Return what the network answers to each batch, computed in `dtype` (float64 or float32).

    The float32 run measures what rounding alone costs; erf is computed in float64 in both.
    """
    weights = _Weights(variable, np.dtype(dtype))
    hidden_states = [[x] for x in _embed(network, weights, batches)]
    masks = [(1 - batch.input_mask[:, None, None, :]).astype(dtype) * weights.dtype.type(MASKED) for batch in batches]
    for i in range(network.layers):
        going = [n for n, batch in enumerate(batches) if batch.depth is None or batch.depth > i]
        inputs = [hidden_states[n][-1] for n in going]
        outputs = _layer(network, weights, f"{network.body}/encoder/layer_{i}", inputs, [masks[n] for n in going])
        for n, x in zip(going, outputs, strict=True):
            hidden_states[n].append(x)
    whole = [n for n, batch in enumerate(batches) if batch.depth is None]
    logits = dict(zip(whole, _head(network, weights, [hidden_states[n][-1] for n in whole]), strict=True))
    return [Outputs(tuple(states), logits.get(n)) for n, states in enumerate(hidden_states)]


class _Weights:
    """Variables in the type that is computed in."""

    def __init__(self, variable: ReadVariable, dtype: np.dtype[Any]) -> None:
        self.stored = variable
        self.dtype = dtype

    def __call__(self, name: str) -> Array:
        return self.stored(name).astype(self.dtype)

    def dense(self, scope: str, inputs: Sequence[Array]) -> list[Array]:
        kernel, bias = self(f"{scope}/kernel"), self(f"{scope}/bias")
        # One product over the rows of all batches: a few tokens at a time would leave the processor waiting for memory.
        rows = np.concatenate([x.reshape(-1, x.shape[-1]) for x in inputs]) @ kernel + bias
        ends = np.cumsum([math.prod(x.shape[:-1]) for x in inputs])[:-1]
        return [y.reshape(*x.shape[:-1], -1) for x, y in zip(inputs, np.split(rows, ends), strict=True)]

    def layer_norm(self, scope: str, inputs: Sequence[Array], epsilon: float) -> list[Array]:
        gamma, beta = self(f"{scope}/gamma"), self(f"{scope}/beta")
        return [_normalize(x, epsilon) * gamma + beta for x in inputs]


def _embed(network: Network, weights: _Weights, batches: Sequence[Batch]) -> list[Array]:
    scope = f"{network.embeddings}/embeddings"
    words = weights.stored(f"{scope}/word_embeddings")
    segments, positions = weights(f"{scope}/token_type_embeddings"), weights(f"{scope}/position_embeddings")
    sums = [
        words[batch.input_ids].astype(weights.dtype)
        + segments[batch.segment_ids]
        + positions[: batch.input_ids.shape[1]]
        for batch in batches
    ]
    embedded = weights.layer_norm(f"{scope}/LayerNorm", sums, network.epsilon)
    if words.shape[1] == _hidden_size(network, weights):
        return embedded
    return weights.dense(f"{network.body}/embeddings_project", embedded)


def _hidden_size(network: Network, weights: _Weights) -> int:
    return weights.stored(f"{network.body}/encoder/layer_0/attention/output/dense/bias").size


def _layer(
    network: Network, weights: _Weights, scope: str, inputs: Sequence[Array], masks: Sequence[Array]
) -> list[Array]:
    activation = ACTIVATIONS[network.activation]
    attended = _attention(network, weights, f"{scope}/attention/self", inputs, masks)
    attended = weights.dense(f"{scope}/attention/output/dense", attended)
    attended = weights.layer_norm(f"{scope}/attention/output/LayerNorm", _add(attended, inputs), network.epsilon)
    inner = [activation(x) for x in weights.dense(f"{scope}/intermediate/dense", attended)]
    outer = weights.dense(f"{scope}/output/dense", inner)
    return weights.layer_norm(f"{scope}/output/LayerNorm", _add(outer, attended), network.epsilon)


def _attention(
    network: Network, weights: _Weights, scope: str, inputs: Sequence[Array], masks: Sequence[Array]
) -> list[Array]:
    queries, keys, values = (weights.dense(f"{scope}/{name}", inputs) for name in ("query", "key", "value"))
    contexts = []
    for query, key, value, mask in zip(queries, keys, values, masks, strict=True):
        query, key, value = (_split_heads(x, network.heads) for x in (query, key, value))  # [B, N, S, D]
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1]) + mask  # [B, N, S, S]
        context = _softmax(scores) @ value  # [B, N, S, D]
        contexts.append(context.transpose(0, 2, 1, 3).reshape(*context.shape[::2], -1))
    return contexts


def _head(network: Network, weights: _Weights, inputs: Sequence[Array]) -> list[Array] | list[None]:
    if network.head is None:
        return [None] * len(inputs)
    if network.scores is not None:
        return _task_logits(network, weights, inputs)
    activation = ACTIVATIONS[network.activation]
    transformed = [activation(x) for x in weights.dense(f"{network.head}/dense", inputs)]
    if network.head == "discriminator_predictions":
        return [x[..., 0] for x in weights.dense(f"{network.head}/dense_1", transformed)]
    transformed = weights.layer_norm(f"{network.head}/LayerNorm", transformed, network.epsilon)
    return _word_logits(network, weights, transformed)


def _task_logits(network: Network, weights: _Weights, inputs: Sequence[Array]) -> list[Array]:
    if network.scores == "text":
        return weights.dense(f"{network.head}/dense", [x[:, 0] for x in inputs])  # get_pooled_output
    if network.scores == "tokens":
        return weights.dense(f"{network.head}/dense", inputs)
    starts, ends = (weights.dense(f"{network.head}/{name}", inputs) for name in ("dense", "dense_1"))
    return [np.concatenate(pair, axis=-1) for pair in zip(starts, ends, strict=True)]


def _word_logits(network: Network, weights: _Weights, inputs: Sequence[Array]) -> list[Array]:
    words = weights.stored(f"{network.embeddings}/embeddings/word_embeddings")  # [V, E]
    logits = [np.empty((*x.shape[:-1], len(words)), weights.dtype) for x in inputs]
    for start in range(0, len(words), OUTPUT_ROWS):
        strip = words[start : start + OUTPUT_ROWS].astype(weights.dtype).T
        for x, y in zip(inputs, logits, strict=True):
            y[..., start : start + OUTPUT_ROWS] = x @ strip
    bias = weights(f"{network.head}/output_bias")
    return [np.add(y, bias, out=y) for y in logits]


def _add(these: Sequence[Array], those: Sequence[Array]) -> list[Array]:
    return [this + that for this, that in zip(these, those, strict=True)]


def _split_heads(x: Array, heads: int) -> Array:
    split: Array = x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
    return split  # [B, N, S, D]


def _normalize(x: Array, epsilon: float) -> Array:
    centred: Array = x - x.mean(axis=-1, keepdims=True)
    variance: Array = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon)


def _softmax(scores: Array) -> Array:
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _gelu(x: Array) -> Array:
    """Return x · Φ(x), with the normal distribution's Φ by erf (modeling.py, `get_activation` and `gelu`)."""
    return x * (0.5 * (1 + _erf(x / math.sqrt(2))))


def _gelu_new(x: Array) -> Array:
    """Return gelu's tanh form, which Google's code lacks and later code of the family has."""
    bent: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return bent


def _erf(x: Array) -> Array:
    """Return erf(x) in the type of x, computed in float64 to 3e-16; NaN stays NaN."""
    result = np.empty_like(x)
    flat, out = x.reshape(-1), result.reshape(-1)
    for start in range(0, flat.size, ERF_BLOCK):
        out[start : start + ERF_BLOCK] = _erf_block(flat[start : start + ERF_BLOCK].astype(np.float64))
    return result


def _erf_block(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Taylor's series about the nearest point p of a fine table, with d = x - p and erf'(p) = 2/√π · exp(-p²):
    #     erf(p + d) = erf(p) + erf'(p) · (d - p d² + (2p² - 1) d³ / 3) + at most 4.4 d⁴ / 24, and |d| <= 2^-13
    values, slopes = _erf_table()
    np.clip(x, -ERF_END, ERF_END, out=x)
    nearest = np.rint(x * ERF_STEPS)
    point = nearest / ERF_STEPS
    d = x - point
    with np.errstate(invalid="ignore"):  # NaN as an index: whatever entry is taken, d makes the result NaN
        index = nearest.astype(np.intp) + ERF_END * ERF_STEPS
    series = d * (1 - d * (point - d * (2 * point * point - 1) / 3))
    return values.take(index, mode="clip") + slopes.take(index, mode="clip") * series


@functools.cache
def _erf_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = [step / ERF_STEPS for step in range(-ERF_END * ERF_STEPS, ERF_END * ERF_STEPS + 1)]
    slopes = (2 / math.sqrt(math.pi) * math.exp(-p * p) for p in points)
    return np.array([math.erf(p) for p in points]), np.fromiter(slopes, np.float64)


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _linear(x: Array) -> Array:
    return x


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_new,
    "linear": _linear,
    "relu": _relu,
    "tanh": np.tanh,
}
"""modeling.py's `get_activation` and gelu_new; there "" is also linear, and an unknown name raises."""
