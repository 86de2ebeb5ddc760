"""Runs the graph that trained a checkpoint as a reference: hidden states and logits of any rows.

What is fed and fetched, and in which pieces, is decided here; a runner, NumPy's unless another is given, computes it.

Rows are run a few at a time, padded to the length of the graph (mask 0, which is exact). A head that scores picked
positions only is run a second time behind the encoder, on all positions: as many rows of N picks as that takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from electra_convert.electra.graph_cut import Feed, picked_at_once, plain, resize
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import Graph
from electra_convert.tf1.interpreter import run

if TYPE_CHECKING:
    from electra_convert.electra.graph_parts import Part
    from electra_convert.electra.trained_graph import TrainedGraph

Reader = Callable[[str], np.ndarray]

Runner = Callable[[Graph, Iterable[str], Mapping[str, np.ndarray], Reader, Any], dict[str, np.ndarray]]
"""Computes outputs of a graph from feeds and variables in one floating-point type, as `interpreter.run` does."""

_Evaluation = Callable[[Iterable[str], Mapping[str, np.ndarray]], dict[str, np.ndarray]]

# Tokens of one run: enough to keep the products busy, few enough to keep the activations of a base model below 100 MB.
TOKENS_AT_ONCE = 512


def run_part(
    trained: TrainedGraph,
    name: str,
    input_ids: np.ndarray,
    input_mask: np.ndarray,
    segment_ids: np.ndarray,
    read_variable: Reader,
    dtype: Any = np.float64,
    *,
    exact: bool = True,
    runner: Runner = run,
) -> dict[str, np.ndarray]:
    """Return the results of a part: `hidden_0` … `hidden_L` [rows, length, H], and the outputs of its head.

    Arguments are integers [rows, length]; `read_variable` reads a variable of the checkpoint by name. `logits` are
    [rows, length] for the discriminator, [rows, length, V] for the generator. A task's outputs bear the names of its
    dense layers: [rows, n], or [rows, length, n] for one that scores every token.

    `exact` replaces the attention scale and the epsilons, which the graph holds in float32, by the numbers they stand
    for, so that a float64 run can be compared with a model that computes them.

    Raises GraphError for a part that is not there, input longer than the graph, or a node that cannot be run.
    """
    part = trained.parts.get(name)
    if part is None:
        reason = trained.not_runnable.get(name, "it is not there")
        raise GraphError(f"graph cannot compute the {name}", where=trained.where, found=reason)
    rows, length = input_ids.shape
    full = trained.trained_length.value if trained.trained_length else length
    if length > full:
        raise GraphError(
            "graph is made for shorter input", where=trained.where, found=f"{length} tokens", expected=f"at most {full}"
        )
    inputs = {"input_ids": input_ids, "input_mask": input_mask, "segment_ids": segment_ids}
    padded = {role: np.pad(values, ((0, 0), (0, full - length))) for role, values in inputs.items()}

    def evaluate(outputs: Iterable[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return runner(part.cut.graph, outputs, feeds, lambda node: read_variable(part.cut.variables[node]), dtype)

    step = max(1, TOKENS_AT_ONCE // full)
    pieces = [
        _run_rows(trained, part, {role: v[start : start + step] for role, v in padded.items()}, evaluate, exact)
        for start in range(0, rows, step)
    ]
    joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    return {key: value[:, :length] if _is_per_token(key, value, full) else value for key, value in joined.items()}


def _is_per_token(key: str, value: np.ndarray, full: int) -> bool:
    return key == "logits" or (value.ndim == 3 and value.shape[1] == full)


def _run_rows(
    trained: TrainedGraph, part: Part, inputs: Mapping[str, np.ndarray], evaluate: _Evaluation, exact: bool
) -> dict[str, np.ndarray]:
    cut = part.cut
    batch = trained.batch_size.value if trained.batch_size else None
    rows, length = inputs["input_ids"].shape
    feeds = {feed.tensor: _formed(feed, inputs) for feed in cut.feeds}
    feeds[part.mask] = inputs["input_mask"]
    feeds.update({tensor: np.zeros((rows, length), np.int32) for tensor in cut.sizes_only})
    constants = {node: np.array(value) for node, value in part.exact.items()} if exact else {}
    wanted = {key: cut.resolve(plain(tensor)) for key, tensor in part.results.items()}

    if not cut.picks:
        values = evaluate(set(wanted.values()), resize(cut, batch, rows) | constants | feeds)
        return {key: _shaped(key, values[tensor], rows, length) for key, tensor in wanted.items()}

    if len(cut.picks) > 1:
        raise GraphError("graph picks positions more than once", where=trained.where, found=[n.name for n in cut.picks])
    (pick,) = cut.picks
    sequence = pick.inputs[0]
    before = {key: tensor for key, tensor in wanted.items() if "hidden_" in key}
    after = {key: tensor for key, tensor in wanted.items() if key not in before}
    values = evaluate({*before.values(), sequence}, resize(cut, batch, rows) | constants | feeds)
    results = {key: _shaped(key, values[tensor], rows, length) for key, tensor in before.items()}
    places = np.arange(rows * length)
    picked = picked_at_once(cut, pick, batch) or length
    times = math.ceil(places.size / picked)
    places = np.pad(places, (0, times * picked - places.size), mode="edge")
    behind = resize(cut, batch, times) | constants | {sequence: values[sequence], pick.inputs[1]: places}
    values = evaluate(set(after.values()), behind)
    for key, tensor in after.items():
        scores = values[tensor]
        results[key] = scores.reshape(-1, scores.shape[-1])[: rows * length].reshape(rows, length, -1)
    return results


def _formed(feed: Feed, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    values = inputs[feed.role]
    if feed.form == "column":
        return values[..., np.newaxis]
    return values.reshape(-1) if feed.form == "flat" else values


def _shaped(key: str, value: np.ndarray, rows: int, length: int) -> np.ndarray:
    if "hidden_" in key or value.size == 0:
        return value.reshape(rows, length, -1)
    return value.reshape(rows, length) if key == "logits" and value.shape[-1] == 1 else value
