"""Why a proof failed, as far as it can be told: by trying what commonly goes wrong, one step away from right.

bytes      the tensor is the variable without its operation, or another variable of the same shape
settings   another head count, activation or epsilon would fit the original graph
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from electra_convert.electra import reference
from electra_convert.electra.mapping import Move
from electra_convert.rungs import FLOAT64_LIMIT

if TYPE_CHECKING:
    from electra_convert.proof import Proof

# Explaining reads every variable of a tensor's shape, so only the first few are explained.
MOST = 5

EPSILONS = (1e-12, 1e-7, 1e-6, 1e-5)
LARGEST_HEAD_COUNT = 128


def explain(proof: Proof) -> list[str]:
    """Return what can be told about a failed proof, a sentence each."""
    told = [_explain_tensor(proof, tensor) for tensor in proof.differing[:MOST]]
    if len(proof.differing) > MOST:
        told.append(f"and {len(proof.differing) - MOST} more tensors")
    if proof.graph_outputs and any(not check.passed and check.against == "graph" for check in proof.checks):
        told += _explain_settings(proof)
    return told


def _explain_tensor(proof: Proof, tensor: str) -> str:
    move = next(move for move in proof.moves if move.tensor == tensor)
    stored, expected = proof.stored[tensor], proof.expected(move)
    beginning = f"{tensor} is not {move.variable}{', transposed' if move.operation.value == 'transpose' else ''}"
    for what, candidate in _candidates(proof, move):
        if proof.equals(tensor, candidate):
            return f"{beginning}: it equals {what}"
    if stored.shape != expected.shape:
        return f"{beginning}: its shape is {list(stored.shape)}, not {list(expected.shape)}"
    bits = np.dtype(f"u{expected.dtype.itemsize}")
    differing = stored.reshape(-1).view(bits) != expected.reshape(-1).view(bits)
    at = [int(i) for i in np.unravel_index(int(np.argmax(differing)), expected.shape)]
    largest = np.nanmax(np.abs(stored.astype(np.float64) - expected.astype(np.float64)))
    count = f"{int(differing.sum())} of {differing.size} values differ"
    return f"{beginning}: {count}, by {largest:.1e} at most, first at {at}"


def _candidates(proof: Proof, move: Move) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield (what it would be, the tensor it would be), for every mistake that keeps the shape."""
    own = proof.source.read(move.variable)
    kept = numpy_like(proof, move.tensor, own)
    yield f"{move.variable} without its operation", kept
    yield f"{move.variable} with its operation undone", numpy_like(proof, move.tensor, own.T)
    for other in proof.moves:
        if other.variable != move.variable and other.tensor_shape == move.tensor_shape:
            yield (
                other.variable,
                numpy_like(proof, move.tensor, other.operation.apply(proof.source.read(other.variable))),
            )
    zeros = np.zeros(move.tensor_shape, kept.dtype)
    yield "zeros", zeros
    yield "ones", zeros + 1


def numpy_like(proof: Proof, tensor: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a value in the type that a tensor is stored in."""
    from electra_convert.streaming import numpy_dtype

    with np.errstate(over="ignore"):
        return np.ascontiguousarray(value).astype(numpy_dtype(proof.stored.dtypes[tensor]), copy=False)


def _explain_settings(proof: Proof) -> list[str]:
    """Return which other settings would fit the original graph, tried one at a time on its row."""
    network, row = proof.network, proof.batches[-1:]
    truth = proof.graph_outputs[0]
    hidden_size = truth.hidden_states[0].shape[-1]
    trials: list[tuple[str, reference.Network]] = []
    for heads in range(1, min(hidden_size, LARGEST_HEAD_COUNT) + 1):
        if hidden_size % heads == 0 and heads != network.heads:
            trials.append((f"{heads} attention heads", dataclasses.replace(network, heads=heads)))
    for name in reference.ACTIVATIONS:
        if name != network.activation:
            trials.append((f"activation {name}", dataclasses.replace(network, activation=name)))
    for epsilon in EPSILONS:
        if epsilon != network.epsilon:
            trials.append((f"epsilon {epsilon:g}", dataclasses.replace(network, epsilon=epsilon)))
    for what, trial in trials:
        shallow = dataclasses.replace(trial, layers=min(1, network.layers), head=None)
        states = reference.run(shallow, proof.variable, row)[0].hidden_states
        if all(_fits(state, wanted) for state, wanted in zip(states, truth.hidden_states, strict=False)):
            return [f"{what} would fit the graph; config.json says {_said(proof, what)}"]
    return []


def _fits(state: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> bool:
    return bool(np.abs(state - wanted).max(initial=0) <= FLOAT64_LIMIT * np.abs(wanted).max(initial=0))


def _said(proof: Proof, what: str) -> str:
    if what.endswith("heads"):
        return str(proof.config.num_attention_heads)
    return proof.config.hidden_act if what.startswith("activation") else f"{proof.config.layer_norm_eps:g}"
