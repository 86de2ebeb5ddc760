"""Why a proof failed, as far as it can be told: by trying what commonly goes wrong, one step away from right.

    tensor      it is the variable without its operation, or another variable, or the variable rounded
    settings    the graph says another head count, activation or epsilon than config.json, and with it all fits
    model       every tensor is right, so the network that was run computes something else

Each that can be told is a sentence; where none can, the failed checks speak for themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from electra_convert.electra import reference
from electra_convert.electra.layout import SLOT_ENDINGS
from electra_convert.electra.mapping import TIED, Move, Operation
from electra_convert.rungs import FLOAT64_LIMIT
from electra_convert.streaming import numpy_dtype

if TYPE_CHECKING:
    from electra_convert.proof import Proof

Array = np.ndarray[Any, np.dtype[Any]]

# Explaining a tensor reads every variable of its shape, so only the first few are explained.
MOST = 5

OPPOSITE = "it with the opposite sign"

# What outputs depend on: the field of config.json, the field of reference.py's network, and a word for people.
SETTINGS = {
    "num_attention_heads": ("heads", "{} attention heads"),
    "hidden_act": ("activation", "activation {}"),
    "layer_norm_eps": ("epsilon", "epsilon {:g}"),
}

# A graph holds its epsilon in float32.
SAME_EPSILON = 1e-6


def explain(proof: Proof) -> list[str]:
    """Return what can be told about a failed proof, a sentence each."""
    told = [_explain_tensor(proof, move) for move in _differing(proof)[:MOST]]
    if len(proof.differing) > MOST:
        told.append(f"and {len(proof.differing) - MOST} more tensors")
    told += _explain_untied(proof)
    told += _explain_settings(proof)
    return told or _explain_model(proof)


# --- tensors ----------------------------------------------------------------------------------------------------------


def _differing(proof: Proof) -> list[Move]:
    return [move for move in proof.moves if move.tensor in proof.differing]


def _explain_tensor(proof: Proof, move: Move) -> str:
    beginning = f"{move.tensor} is not {_told(move)}"
    candidates = _candidates(proof, move) if move.operation.inverts_itself else _candidates_of_head(proof, move)
    for what, candidate in candidates:
        if proof.equals(move.tensor, proof.rounded(candidate, proof.stored.dtypes[move.tensor])):
            return f"{beginning}: it equals {what}"
    stored, expected = proof.stored[move.tensor], proof.expected(move)
    order = _order_of_labels(proof, move, stored, expected)
    if order:
        return f"{beginning}: it has the labels in the order {order}"
    if stored.shape != expected.shape:
        return f"{beginning}: its shape is {list(stored.shape)}, not {list(expected.shape)}"
    return f"{beginning}: {_difference(stored, expected)}"


def _difference(stored: Array, expected: Array) -> str:
    """Return how many values differ, by how much and where first."""
    bits = np.dtype(f"u{expected.itemsize}")
    differing = stored.view(bits) != expected.view(bits)
    at = [int(i) for i in np.unravel_index(int(np.argmax(differing)), differing.shape)]
    count = f"{int(differing.sum())} of {differing.size} values differ, first at {at}"
    wild = int((~np.isfinite(stored.astype(np.float64))).sum())
    if wild:
        return f"{count}; {wild} are NaN or infinite"
    with np.errstate(invalid="ignore"):
        by = np.abs(stored.astype(np.float64) - expected.astype(np.float64)).max()
    return f"{count}, by {by:.1e} at most"


def _told(move: Move) -> str:
    """Return what a tensor is to be."""
    variables = " and ".join(move.variables)
    return {
        Operation.COPY: variables,
        Operation.TRANSPOSE: f"{variables}, transposed",
        Operation.STACK: f"{variables}, row by row",
        Operation.MIRROR: f"{variables} as [x; -x; 0]",
        Operation.IDENTITY: "[I, -I, 0]",
        Operation.ZEROS: "zeros",
    }[move.operation]


def _order_of_labels(proof: Proof, move: Move, stored: Array, expected: Array) -> str:
    """Return the order in which a tensor of a task's head has its labels; nothing where that is not what is wrong."""
    task = proof.layout.task
    if task is None or move.row.part not in {"classification", "tagging"} or stored.shape != expected.shape:
        return ""
    found = [int(np.argmax([row.tobytes() == own.tobytes() for own in expected])) for row in stored[: task.labels]]
    fits = sorted(found) == list(range(task.labels)) and np.array_equal(stored[: task.labels], expected[found])
    return ", ".join(map(str, found)) if fits and found != sorted(found) else ""


def _candidates_of_head(proof: Proof, move: Move) -> Iterator[tuple[str, Array]]:
    """Yield (what it would be, the tensor it would be), for mistakes that are made with a head of several tensors."""
    right = proof.expected(move)
    yield "it without its operation, transposed", right.T
    if move.operation is Operation.STACK:
        yield "the same rows in the other order: start and end are swapped", right[::-1].copy()
    yield OPPOSITE, -right
    if move.operation in {Operation.MIRROR, Operation.IDENTITY}:
        # A row, or a column, is there for each label, and one more with the opposite sign.
        block = right.T if move.operation is Operation.IDENTITY else right
        count = proof.layout.task.labels if proof.layout.task else 0
        swapped, one_sign, alone = block.copy(), block.copy(), block.copy()
        swapped[:count], swapped[count : 2 * count] = block[count : 2 * count], block[:count]
        one_sign[count : 2 * count] = block[:count]
        alone[count:] = 0
        wrong = {OPPOSITE: swapped, "it without the minus sign": one_sign, "its first part alone": alone}
        for what, value in wrong.items():
            yield what, value.T if move.operation is Operation.IDENTITY else value
    shapes = {name: variable.shape for name, variable in proof.source.variables.items()}
    slots = [tuple(name + slot for name in move.variables) for slot in SLOT_ENDINGS]
    for names in slots:
        if names and all(shapes.get(name) == move.variable_shape for name in names):
            values = [proof.source.read(name) for name in names]
            yield f"the optimizer's {' and '.join(names)}", move.operation.build(values, move.tensor_shape)
    for narrow in ("float16", "bfloat16"):
        with np.errstate(over="ignore"):
            yield f"it rounded to {narrow}", right.astype(numpy_dtype(narrow)).astype(np.float32)
    yield "zeros", np.zeros(right.shape, np.float32)
    yield "ones", np.ones(right.shape, np.float32)


def _candidates(proof: Proof, move: Move) -> Iterator[tuple[str, Array]]:
    """Yield (what it would be, the tensor it would be), for mistakes that are commonly made."""
    own = proof.source.read(move.variable)
    if move.operation is Operation.TRANSPOSE:
        yield f"{move.variable} without its operation", own
    elif own.ndim == 2:
        yield f"{move.variable} transposed", own.T
    others = {other.variable: other for other in proof.moves}
    shape = proof.stored.shapes[move.tensor]
    for name, variable in proof.source.variables.items():
        other = others.get(name)
        operation = other.operation if other else move.operation
        if name != move.variable and operation.shape(variable.shape) == shape:
            yield _named(move, other, name), operation.apply(proof.source.read(name))
    for narrow in ("float16", "bfloat16"):
        with np.errstate(over="ignore"):
            rounded = move.operation.apply(own).astype(numpy_dtype(narrow)).astype(np.float32)
        yield f"it rounded to {narrow}", rounded
    yield OPPOSITE, -move.operation.apply(own)
    yield "zeros", np.zeros(shape, np.float32)
    yield "ones", np.ones(shape, np.float32)


def _named(move: Move, other: Move | None, name: str) -> str:
    """Return what to call another variable: a layer's, where it is the same of another layer."""
    if name.endswith(SLOT_ENDINGS):
        return f"the optimizer's {name}"
    if other is not None and other.row == move.row:
        return f"layer {other.layer}'s, {name}"
    return name


def _explain_untied(proof: Proof) -> list[str]:
    """Return a sentence on an output matrix that is stored and is not the one it should be tied to."""
    return [
        f"{tensor} is stored and is not {source}, to which it is tied: words would be scored by another matrix"
        for tensor, source in TIED.items()
        if tensor in proof.stored
    ]


# --- settings ---------------------------------------------------------------------------------------------------------


def _explain_settings(proof: Proof) -> list[str]:
    """Return where config.json says other than the graph, and whether the graph's values would fit its outputs."""
    graph, scopes = proof.examination.graph, proof.layout.scopes
    tower = graph.towers.get(scopes.body) if graph and scopes else None
    if tower is None:
        return []
    facts = {field: fact for field, fact in tower.settings().items() if field in SETTINGS}
    others = {field: fact for field, fact in facts.items() if not _same(fact.value, getattr(proof.config, field))}
    if not others:
        return []
    fits = _fits(proof, {SETTINGS[field][0]: fact.value for field, fact in others.items()})
    told = []
    for field, fact in others.items():
        what, said = SETTINGS[field][1].format(fact.value), getattr(proof.config, field)
        begins = f"{what} would fit the graph" if fits else f"the graph has {what}"
        told.append(f"{begins} (node {fact.node}); config.json says {said}")
    return told


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SAME_EPSILON * max(abs(one), abs(other))
    return bool(one == other)


def _fits(proof: Proof, changes: dict[str, Any]) -> bool:
    """Return whether reference.py gives the graph's first layer with some settings changed."""
    if not proof.graph_outputs or {proof.config.hidden_act, changes.get("activation", "gelu")} - set(
        reference.ACTIVATIONS
    ):
        return False
    trial = dataclasses.replace(proof.network, layers=1, head=None, **changes)
    (outputs,) = reference.run(trial, proof.variable, [proof.row])
    pairs = zip(outputs.hidden_states, proof.graph_outputs[0].hidden_states, strict=False)
    return all(np.abs(one - other).max() <= FLOAT64_LIMIT * np.abs(other).max() for one, other in pairs)


# --- the network ------------------------------------------------------------------------------------------------------


def _explain_model(proof: Proof) -> list[str]:
    """Return the first state that differs, where no tensor and no setting explains it."""
    first = next((check for check in proof.checks if not check.passed and check.rung != "structure"), None)
    if first is None or proof.differing or not proof.references:
        return []
    return [
        f"every tensor is right, but {first.name} already differs in {first.rung} against {first.against}"
        f"{f', most at {first.where}' if first.where else ''}"
    ]
