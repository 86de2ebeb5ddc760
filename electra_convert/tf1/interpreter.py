"""Runs a piece of a graph in NumPy, in one floating-point type; knows some forty ops and refuses every other.

The graph comes from a file, so running it is bounded: no cycles, no recursion, no op outside the table, and a limit
on the size of every result (checked before it is allocated), on the bytes alive and on the multiplications.

Floating-point values keep the type they are stored in until an op computes with them: a table of embeddings stays
float32 while rows are picked from it, and a kernel is widened for its one product and then dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from electra_convert.errors import GraphError
from electra_convert.tf1.erf import erf
from electra_convert.tf1.graph import IDENTITIES, VARIABLE_OPS, Graph, Node, split_tensor

Arrays = list[np.ndarray]
Operation = Callable[[Node, Arrays], np.ndarray]

MOST_ELEMENTS = 1 << 28  # of one result; logits of 512 tokens over 30,522 words are 2^24
MOST_BYTES = 4 << 30  # alive at one time; ELECTRA-Base on 512 tokens needs about a tenth
MOST_WORK = 1 << 44  # multiplications of a run; ELECTRA-Large on 512 tokens needs 2^38

# TensorFlow's DataType: what `Cast` makes of a number. Floating-point types all become the type of the run.
_FLOATS = frozenset({1, 2, 14, 19})
_INTEGERS = {3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_}


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
    wanted = [_plain(tensor) for tensor in outputs]
    values = {_plain(tensor): np.asarray(value) for tensor, value in feeds.items()}
    order = _order(graph, wanted, values)
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
    return {name: _widened(values[_plain(name)], np.dtype(dtype)) for name in outputs}


def _plain(tensor: str) -> str:
    return tensor.removesuffix(":0")


def _order(graph: Graph, wanted: Iterable[str], fed: Mapping[str, Any]) -> list[str]:
    """Return the nodes behind `wanted`, each after its inputs."""
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
        if output or node.op not in _OPERATIONS and node.op not in _SOURCES:
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
        if node.op not in _MOVERS:
            inputs = [_widened(value, dtype) for value in inputs]
        try:
            with np.errstate(all="ignore"):
                budget.compute(_multiplications(node, inputs), node)
                value = _OPERATIONS[node.op](node, inputs)
        except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, MemoryError) as error:
            shapes = [f"{value.dtype} {list(value.shape)}" for value in inputs]
            raise GraphError(
                f"not runnable: op {node.op} at node {node.name} fails", where=str(error), found=shapes or "no inputs"
            ) from error
    budget.hold(value, node)
    return value


def _is_float(value: np.ndarray) -> bool:
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def _widened(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return value.astype(dtype) if _is_float(value) and value.dtype != dtype else value


def _bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """Return the shape of a result that is about to be allocated."""
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes) or math.prod(sizes) > MOST_ELEMENTS:
        raise ValueError(f"result of shape {list(sizes)} is impossible or has more than {MOST_ELEMENTS} elements")
    return sizes


# --- products ---------------------------------------------------------------------------------------------------------

_PRODUCTS = {"MatMul": ("transpose_a", "transpose_b")} | {
    op: ("adj_x", "adj_y") for op in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
}


def _operands(node: Node, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    left, right = inputs
    if min(left.ndim, right.ndim) < 2:
        raise ValueError("a product needs matrices")
    flip_left, flip_right = map(node.flag, _PRODUCTS[node.op])
    return left.swapaxes(-1, -2) if flip_left else left, right.swapaxes(-1, -2) if flip_right else right


def _multiplications(node: Node, inputs: Arrays) -> int:
    if node.op not in _PRODUCTS:
        return sum(value.size for value in inputs)
    left, right = _operands(node, inputs)
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    rows, columns = left.shape[-2], right.shape[-1]
    _bounded((*batch, rows, columns))
    return math.prod(batch) * rows * left.shape[-1] * columns


def _product(node: Node, inputs: Arrays) -> np.ndarray:
    return np.matmul(*_operands(node, inputs))


# --- element by element -----------------------------------------------------------------------------------------------


def _unary(function: Callable[[np.ndarray], np.ndarray]) -> Operation:
    def operation(node: Node, inputs: Arrays) -> np.ndarray:
        (x,) = inputs
        return function(x)

    return operation


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Operation:
    def operation(node: Node, inputs: Arrays) -> np.ndarray:
        x, y = inputs
        _bounded(np.broadcast_shapes(x.shape, y.shape))
        return function(x, y)

    return operation


def _bias_add(node: Node, inputs: Arrays) -> np.ndarray:
    x, bias = inputs
    if node.text("data_format", "NHWC") != "NHWC" or bias.shape != x.shape[-1:]:
        raise ValueError("only a bias on the last axis is known")
    return x + bias


def _softmax(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def _cast(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    target = node.dtype("DstT")
    if target in _FLOATS:
        return x if _is_float(x) else x.astype(np.float64)
    if target not in _INTEGERS:
        raise ValueError(f"cast to DataType {target}")
    return x.astype(_INTEGERS[target])


# --- along axes -------------------------------------------------------------------------------------------------------


def _reduction(function: Callable[..., np.ndarray]) -> Operation:
    def operation(node: Node, inputs: Arrays) -> np.ndarray:
        x, axes = inputs
        keep = node.flag("keep_dims") or node.flag("keepdims")
        return np.asarray(function(x, axis=tuple(int(axis) for axis in axes.reshape(-1)), keepdims=keep), x.dtype)

    return operation


def _concatenate(axis: int, parts: Arrays) -> np.ndarray:
    _bounded((sum(part.size for part in parts),))
    return np.concatenate(parts, axis)


def _concat(node: Node, inputs: Arrays) -> np.ndarray:
    return _concatenate(int(inputs[0]), inputs[1:])


def _concat_v2(node: Node, inputs: Arrays) -> np.ndarray:
    return _concatenate(int(inputs[-1]), inputs[:-1])


def _pack(node: Node, inputs: Arrays) -> np.ndarray:
    _bounded((sum(part.size for part in inputs),))
    return np.stack(inputs, node.integer("axis"))


def _tile(node: Node, inputs: Arrays) -> np.ndarray:
    x, multiples = inputs
    _bounded(size * int(times) for size, times in zip(x.shape, multiples, strict=True))
    return np.tile(x, multiples.tolist())


# --- shapes -----------------------------------------------------------------------------------------------------------


def _reshape(node: Node, inputs: Arrays) -> np.ndarray:
    x, shape = inputs
    return x.reshape([int(size) for size in shape])


def _transpose(node: Node, inputs: Arrays) -> np.ndarray:
    x, order = inputs
    return x.transpose([int(axis) for axis in order])


def _expand_dims(node: Node, inputs: Arrays) -> np.ndarray:
    x, axis = inputs
    return np.expand_dims(x, int(axis.reshape(-1)[0]))


def _squeeze(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    return np.squeeze(x, node.integers("squeeze_dims") or None)


def _shape(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    return np.array(x.shape, np.int64 if node.dtype("out_type") == 9 else np.int32)


def _fill(node: Node, inputs: Arrays) -> np.ndarray:
    sizes, value = inputs
    return np.full(_bounded(sizes), value[()])


def _range(node: Node, inputs: Arrays) -> np.ndarray:
    start, limit, step = (value.item() for value in inputs)
    _bounded((max(0, math.ceil((limit - start) / step)),))
    return np.arange(start, limit, step, inputs[0].dtype)


# --- picking ----------------------------------------------------------------------------------------------------------


def _pick(table: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    # NumPy would take a negative place from the end; TensorFlow refuses it.
    if places.size and not 0 <= places.min() <= places.max() < table.shape[axis]:
        raise IndexError(f"index outside 0 to {table.shape[axis] - 1}")
    _bounded((places.size, max(1, table.size // max(1, table.shape[axis]))))
    return np.take(table, places, axis)


def _gather(node: Node, inputs: Arrays) -> np.ndarray:
    table, places = inputs
    return _pick(table, places, 0)


def _gather_v2(node: Node, inputs: Arrays) -> np.ndarray:
    table, places, axis = inputs
    if node.integer("batch_dims"):
        raise ValueError("batch_dims other than 0")
    return _pick(table, places, int(axis))


def _one_hot(node: Node, inputs: Arrays) -> np.ndarray:
    places, depth, on, off = inputs
    if node.integer("axis", -1) != -1:
        raise ValueError("an axis other than the last")
    _bounded((*places.shape, int(depth)))
    return np.where(places[..., np.newaxis] == np.arange(int(depth)), on, off)


def _slice(node: Node, inputs: Arrays) -> np.ndarray:
    x, begin, size = inputs
    ends = [None if length == -1 else int(start + length) for start, length in zip(begin, size, strict=True)]
    if begin.min(initial=0) < 0 or any(end is not None and end > limit for end, limit in zip(ends, x.shape, strict=True)):
        raise IndexError("slice leaves the tensor")
    return x[tuple(slice(int(start), end) for start, end in zip(begin, ends, strict=True))].copy()


def _strided_slice(node: Node, inputs: Arrays) -> np.ndarray:
    x, begin, end, strides = inputs
    begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = (
        node.integer(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    )
    places: list[Any] = []
    for i, (start, stop, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        bit = 1 << i
        if ellipsis_mask & bit:
            places.append(Ellipsis)
        elif new_axis_mask & bit:
            places.append(np.newaxis)
        elif shrink_mask & bit:
            places.append(start)
        else:
            places.append(slice(None if begin_mask & bit else start, None if end_mask & bit else stop, step))
    return np.array(x[tuple(places)])


def _band_part(node: Node, inputs: Arrays) -> np.ndarray:
    x, below, above = inputs
    rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
    inside = ((int(below) < 0) | (rows - columns <= below)) & ((int(above) < 0) | (columns - rows <= above))
    return np.where(inside, x, np.zeros((), x.dtype))


# --- the table --------------------------------------------------------------------------------------------------------

_OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(IDENTITIES, _unary(lambda x: x)),
    **dict.fromkeys(_PRODUCTS, _product),
    "Add": _binary(np.add),
    "AddV2": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "RealDiv": _binary(np.true_divide),
    "Maximum": _binary(np.maximum),
    "Minimum": _binary(np.minimum),
    "Pow": _binary(np.power),
    "SquaredDifference": _binary(lambda x, y: np.square(x - y)),
    "Neg": _unary(np.negative),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Square": _unary(np.square),
    "Sqrt": _unary(np.sqrt),
    "Rsqrt": _unary(lambda x: 1 / np.sqrt(x)),
    "Erf": _unary(erf),
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Tanh": _unary(np.tanh),
    "Sigmoid": _unary(lambda x: 1 / (1 + np.exp(-x))),
    "BiasAdd": _bias_add,
    "Softmax": _softmax,
    "Cast": _cast,
    "Mean": _reduction(np.mean),
    "Sum": _reduction(np.sum),
    "Prod": _reduction(np.prod),
    "Concat": _concat,
    "ConcatV2": _concat_v2,
    "Pack": _pack,
    "Tile": _tile,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Shape": _shape,
    "Fill": _fill,
    "Range": _range,
    "Gather": _gather,
    "ResourceGather": _gather,
    "GatherV2": _gather_v2,
    "OneHot": _one_hot,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "MatrixBandPart": _band_part,
}

_SOURCES = VARIABLE_OPS | {"Const"}

# Ops that pass values on without computing: they leave a float32 weight as it is.
_MOVERS = IDENTITIES | {
    "Reshape", "Transpose", "ExpandDims", "Squeeze", "Shape",
    "Gather", "ResourceGather", "GatherV2", "Slice", "StridedSlice",
}  # fmt: skip
