"""What each op of a forward pass does, in NumPy: one small function an op, and the table that names them.

An operation gets its node (for attributes) and its inputs, and returns its one output. It raises ValueError,
IndexError or another of NumPy's errors where the inputs do not fit; the interpreter says at which node. A result
that may be larger than the inputs is checked before it is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from electra_convert.tf1.erf import erf
from electra_convert.tf1.graph import IDENTITIES, Node

Arrays = list[np.ndarray]
Operation = Callable[[Node, Arrays], np.ndarray]

MOST_ELEMENTS = 1 << 28  # of one result; logits of 512 tokens over 30,522 words are 2^24

# TensorFlow's DataType: what `Cast` makes of a number. Floating-point types all become the type of the run.
_FLOATS = frozenset({1, 2, 14, 19})
_INTEGERS = {3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_}


def is_float(value: np.ndarray) -> bool:
    """Tell whether an array is of a floating-point type; bfloat16 is one that NumPy does not know as such."""
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def _bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """Return the shape of a result that is about to be allocated."""
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes) or math.prod(sizes) > MOST_ELEMENTS:
        raise ValueError(f"result of shape {list(sizes)} is impossible or has more than {MOST_ELEMENTS} elements")
    return sizes


# --- products ---------------------------------------------------------------------------------------------------------

# A product, and the attributes that transpose its left and its right side.
_PRODUCTS = {
    "MatMul": ("transpose_a", "transpose_b"),
    "BatchMatMul": ("adj_x", "adj_y"),
    "BatchMatMulV2": ("adj_x", "adj_y"),
    "BatchMatMulV3": ("adj_x", "adj_y"),
}


def _operands(node: Node, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    left, right = inputs
    if min(left.ndim, right.ndim) < 2:
        raise ValueError("a product needs matrices")
    flip_left, flip_right = map(node.flag, _PRODUCTS[node.op])
    return left.swapaxes(-1, -2) if flip_left else left, right.swapaxes(-1, -2) if flip_right else right


def multiplications(node: Node, inputs: Arrays) -> int:
    """Return how many numbers an op multiplies, or touches if it is no product; checks the size of a product."""
    if node.op not in _PRODUCTS:
        return sum(value.size for value in inputs)
    left, right = _operands(node, inputs)
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    rows, columns = left.shape[-2], right.shape[-1]
    _bounded((*batch, rows, columns))
    return int(math.prod(batch) * rows * left.shape[-1] * columns)


def _product(node: Node, inputs: Arrays) -> np.ndarray:
    left, right = _operands(node, inputs)
    return np.asarray(left @ right)


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


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # `Div` of integers rounds, in a way of its own; no network divides integers.
    if x.dtype.kind != "f" or y.dtype.kind != "f":
        raise ValueError("only floating-point numbers are divided")
    return np.asarray(x / y)


def _bias_add(node: Node, inputs: Arrays) -> np.ndarray:
    x, bias = inputs
    if node.text("data_format", "NHWC") != "NHWC" or bias.shape != x.shape[-1:]:
        raise ValueError("only a bias on the last axis is known")
    return np.asarray(x + bias)


def _softmax(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return np.asarray(powers)


def _cast(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    target = node.dtype("DstT")
    if target in _FLOATS:
        return x if is_float(x) else x.astype(np.float64)
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
    return np.asarray(x.reshape([int(size) for size in shape]))


def _transpose(node: Node, inputs: Arrays) -> np.ndarray:
    x, order = inputs
    return np.asarray(x.transpose([int(axis) for axis in order]))


def _expand_dims(node: Node, inputs: Arrays) -> np.ndarray:
    x, axis = inputs
    return np.asarray(np.expand_dims(x, int(axis.reshape(-1)[0])))


def _squeeze(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    return np.asarray(np.squeeze(x, node.integers("squeeze_dims") or None))


def _shape(node: Node, inputs: Arrays) -> np.ndarray:
    (x,) = inputs
    return np.array(x.shape, np.int64 if node.dtype("out_type") == 9 else np.int32)


def _fill(node: Node, inputs: Arrays) -> np.ndarray:
    sizes, value = inputs
    return np.full(_bounded(sizes), value[()])


def _range(node: Node, inputs: Arrays) -> np.ndarray:
    start, limit, step = (float(value) for value in inputs)
    _bounded((max(0, math.ceil((limit - start) / step)),))
    return np.arange(start, limit, step).astype(inputs[0].dtype)


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
    return np.asarray(np.where(places[..., np.newaxis] == np.arange(int(depth)), on, off))


def _slice(node: Node, inputs: Arrays) -> np.ndarray:
    x, begin, size = inputs
    places = []
    for start, length, limit in zip(begin.tolist(), size.tolist(), x.shape, strict=True):
        end = limit if length == -1 else start + length
        if not 0 <= start <= end <= limit:
            raise IndexError(f"slice from {start} to {end} of {limit}")
        places.append(slice(start, end))
    return np.array(x[tuple(places)])


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
    return np.asarray(np.where(inside, x, np.zeros((), x.dtype)))


# --- the table --------------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(IDENTITIES, _unary(lambda x: x)),
    **dict.fromkeys(_PRODUCTS, _product),
    "Add": _binary(np.add),
    "AddV2": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "RealDiv": _binary(_divide),
    "Div": _binary(_divide),
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

# Ops that pass values on without computing: the interpreter leaves their floating-point inputs as they are stored.
MOVERS = IDENTITIES | {
    "Reshape", "Transpose", "ExpandDims", "Squeeze", "Shape",
    "Gather", "ResourceGather", "GatherV2", "Slice", "StridedSlice",
}  # fmt: skip
