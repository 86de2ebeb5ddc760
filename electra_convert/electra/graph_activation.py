"""Names the activation behind a dense layer by running it, which sees through every way to write it."""

from __future__ import annotations

import math

import numpy as np

from electra_convert.electra.graph_index import Fact, GraphIndex
from electra_convert.errors import GraphError
from electra_convert.tf1.erf import erf
from electra_convert.tf1.interpreter import run

_X = np.linspace(-6, 6, 241)

# ELECTRA's code has gelu (the erf form), relu, tanh and linear; later code of the family writes gelu with tanh.
_KNOWN = {
    "gelu": 0.5 * _X * (1 + erf(_X / math.sqrt(2))),
    "gelu_new": 0.5 * _X * (1 + np.tanh(math.sqrt(2 / math.pi) * (_X + 0.044715 * _X**3))),
    "relu": np.maximum(_X, 0),
    "tanh": np.tanh(_X),
    "linear": _X,
}

# gelu and gelu_new differ by up to 4.7e-4; the float32 constants of a graph move either by less than 1e-7.
_SAME = 1e-6


def find_activation(index: GraphIndex, bias: str, end: str | None) -> Fact[str] | None:
    """Return the function between the dense layer of a bias and the tensor `end`; None if it is not known."""
    if end is None:
        return None
    end = index.patterns.unmoved(end)
    feeds = {node.name: _X for node in index.denses.get(bias, ())}
    try:
        y = run(index.graph, [end], feeds, _refuse_variable)[end]
    except GraphError:
        return None
    if y.shape != _X.shape:
        return None
    name = next((name for name, known in _KNOWN.items() if np.abs(y - known).max() < _SAME), None)
    return None if name is None else Fact(name, index.patterns.node(end).name)


def _refuse_variable(name: str) -> np.ndarray:
    raise GraphError("an activation does not read a variable", found=name)
