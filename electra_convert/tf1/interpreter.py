"""Runs a piece of a graph in NumPy, in one floating-point type; what an op does stands in tf1/operations.py.

The graph comes from a file, so running it is bounded: no cycles, no recursion, no op outside the table, and a limit
on the size of every result (checked before it is allocated), on the bytes alive and on the multiplications.

Floating-point values keep the type they are stored in until an op computes with them: a table of embeddings stays
float32 while rows are picked from it, and a kernel is widened for its one product and then dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import numpy as np

from electra_convert.errors import GraphError
from electra_convert.tf1.graph import VARIABLE_OPS, Graph, Node, split_tensor
from electra_convert.tf1.operations import MOVERS, OPERATIONS, Arrays, is_float, multiplications

MOST_BYTES = 4 << 30  # alive at one time; ELECTRA-Base on 512 tokens needs about a tenth
MOST_WORK = 1 << 44  # multiplications of a run; ELECTRA-Large on 512 tokens needs 2^38

_KNOWN = VARIABLE_OPS | {"Const"} | OPERATIONS.keys()


def run(
    graph: Graph,
    outputs: Iterable[str],
    feeds: Mapping[str, np.ndarray],
    variables: Callable[[str], np.ndarray],
    dtype: Any = np.float64,
) -> dict[str, np.ndarray]:
    """Return the value of each tensor named in `outputs`.

    `feeds` gives values for any tensors, by name; what lies behind them is not run. `variables` is called with the
    name of each variable node that is reached. `dtype` is the floating-point type of the whole run: float64 or
    float32.

    Raises GraphError where a node cannot be run: an op that is not known (`Placeholder` and the input pipeline
    included), a cycle, shapes that do not fit, a bound exceeded.
    """
    names = list(outputs)
    wanted = [_plain(name) for name in names]
    values = {_plain(tensor): np.asarray(value) for tensor, value in feeds.items()}
    order = order_nodes(graph, wanted, values)
    uses = _count_uses(graph, order, wanted)
    budget = _Budget(sum(value.nbytes for value in values.values()))
    for name in order:
        node = graph.nodes[name]
        inputs = [values[_plain(tensor)] for tensor in node.inputs]
        values[name] = _evaluate(node, inputs, variables, np.dtype(dtype), budget)
        for tensor in map(_plain, node.inputs):
            uses[tensor] -= 1
            if not uses[tensor]:
                budget.drop(values.pop(tensor))
    return {name: _widened(values[_plain(name)], np.dtype(dtype)) for name in names}


def _plain(tensor: str) -> str:
    return tensor.removesuffix(":0")


def order_nodes(graph: Graph, wanted: Iterable[str], fed: Container[str]) -> list[str]:
    """Return the nodes that compute `wanted` from `fed`, each after its inputs; tensors without the number 0.

    Raises GraphError for a cycle, a node that is not there, and an op that is not known.
    """
    order: list[str] = []
    open_nodes: set[str] = set()
    done: set[str] = set()
    stack = [(tensor, False) for tensor in wanted]
    while stack:
        tensor, finished = stack.pop()
        if finished:
            open_nodes.discard(tensor)
            done.add(tensor)
            order.append(tensor)
            continue
        if tensor in fed or tensor in done:
            continue
        name, output = split_tensor(tensor)
        if name not in graph.nodes:
            raise GraphError("not runnable: no such node", where=graph.where, found=name)
        node = graph.nodes[name]
        if output or node.op not in _KNOWN:
            raise GraphError(f"not runnable: op {node.op} at node {name}", where=graph.where)
        if name in open_nodes:
            raise GraphError(f"not runnable: cycle through node {name}", where=graph.where)
        open_nodes.add(name)
        stack.append((name, True))
        stack.extend((_plain(tensor), False) for tensor in node.inputs)
    return order


def _count_uses(graph: Graph, order: Iterable[str], wanted: Iterable[str]) -> dict[str, int]:
    uses: dict[str, int] = {}
    for tensor in wanted:
        uses[tensor] = uses.get(tensor, 0) + 1
    for name in order:
        for tensor in map(_plain, graph.nodes[name].inputs):
            uses[tensor] = uses.get(tensor, 0) + 1
    return uses


class _Budget:
    """What a run holds and has computed, against what it may."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.work = 0

    def hold(self, value: np.ndarray, node: Node) -> None:
        self.held += value.nbytes
        if self.held > MOST_BYTES:
            raise GraphError(f"not runnable: more than {MOST_BYTES} bytes alive at node {node.name}")

    def drop(self, value: np.ndarray) -> None:
        self.held -= value.nbytes

    def compute(self, multiplications: int, node: Node) -> None:
        self.work += multiplications
        if self.work > MOST_WORK:
            raise GraphError(f"not runnable: more than {MOST_WORK} multiplications at node {node.name}")


def _evaluate(
    node: Node, inputs: Arrays, variables: Callable[[str], np.ndarray], dtype: np.dtype[Any], budget: _Budget
) -> np.ndarray:
    if node.op in VARIABLE_OPS:
        value = variables(node.name)
    elif node.op == "Const":
        value = node.constant().array()
    else:
        if node.op not in MOVERS:
            inputs = [_widened(value, dtype) for value in inputs]
        try:
            with np.errstate(all="ignore"):
                budget.compute(multiplications(node, inputs), node)
                value = OPERATIONS[node.op](node, inputs)
        except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, MemoryError) as error:
            shapes = [f"{value.dtype} {list(value.shape)}" for value in inputs]
            raise GraphError(
                f"not runnable: op {node.op} at node {node.name} fails", reason=str(error), found=shapes or "no inputs"
            ) from error
    budget.hold(value, node)
    return value


def _widened(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return value.astype(dtype) if is_float(value) and value.dtype != dtype else value
