"""Recognises the pieces of an ELECTRA network in a graph by structure: attention, LayerNorm, dense, dropout.

Names of operations mislead (the tied discriminator's encoder stands under `electra_1`), and forms differ between
releases of TensorFlow. What holds is the arithmetic, and the names of variables, which are the checkpoint's keys:

    dense        BiasAdd(MatMul(x, kernel), bias), with reshapes around the product for three dimensions
    attention    Softmax(Add(Mul(BatchMatMul(split(query), split(key)), 1/sqrt(D)), mask)),
                 split = Transpose(Reshape(dense, [batch, length, N heads, D]))
    LayerNorm    Add(Mul(x, m), Sub(beta, Mul(mean, m))), m = Mul(Rsqrt(Add(variance, epsilon)), gamma)
    dropout      SelectV2(GreaterEqual(random, rate), Mul(x, scale), 0)                  TensorFlow 2
                 Mul(Mul(x, scale), Cast(GreaterEqual(random, rate)))                    1.13 to 1.15
                 Mul(RealDiv(x, keep), Floor(Add(keep, random)))                         to 1.12

Matching walks from a tensor towards its inputs, a few steps and never in a circle, so a hostile graph costs little.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from electra_convert.tf1.graph import IDENTITIES, VARIABLE_OPS, Graph, Node

if TYPE_CHECKING:
    import numpy as np

ADD = frozenset({"Add", "AddV2"})
DIVIDE = frozenset({"RealDiv", "Div"})
SELECT = frozenset({"SelectV2", "Select"})
PRODUCT_OF_BATCHES = frozenset({"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})
RANDOM = frozenset({"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"})
MOVES = frozenset({"Reshape", "Transpose"})

# A variable is read through at most Identity, Enter, ReadVariableOp; noise is scaled in at most three steps.
_LONGEST_CHAIN = 16
_NOISE_DEPTH = 5

_QUERY = re.compile(r"(?P<scope>.+)/encoder/layer_(?P<layer>\d{1,4})/attention/self/query/bias")


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention of one layer: where it is, how its heads are split, and the constant it scales with."""

    scope: str
    layer: int
    heads: int
    head_size: int
    heads_node: str
    scale: float
    scale_node: str
    softmax: str


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """One LayerNorm: its output node, its input tensor, its beta and its epsilon."""

    output: str
    x: str
    beta: str
    epsilon: float
    epsilon_node: str


@dataclass(frozen=True, slots=True)
class Dropout:
    """A dropout to be bypassed: the tensor it acts on, and its rate (None where it is fed at run time)."""

    x: str
    rate: float | None
    rate_node: str


@dataclass(frozen=True, slots=True)
class Patterns:
    """A graph seen through the names of a checkpoint: `names` maps variable nodes to variables.

    A variable that was trained in parts has one node a part (`NAME/part_0`), which stand for NAME.
    """

    graph: Graph
    names: Mapping[str, str]

    def node(self, tensor: str) -> Node:
        """Return the node that computes a tensor, looking through identities."""
        node = self.graph.producer(tensor)
        for _ in range(_LONGEST_CHAIN):
            if node.op not in IDENTITIES or not node.inputs:
                break
            node = self.graph.producer(node.inputs[0])
        return node

    def inputs(self, tensor: str, ops: Collection[str], count: int) -> tuple[str, ...] | None:
        """Return the inputs of the node behind a tensor if it is one of `ops` with `count` inputs."""
        node = self.node(tensor)
        return node.inputs if node.op in ops and len(node.inputs) == count else None

    def variable(self, tensor: str) -> str | None:
        """Return the checkpoint's name of the variable that a tensor is, whole or put together from its parts."""
        node = self.node(tensor)
        if node.op in VARIABLE_OPS:
            return self.names.get(node.name)
        if node.op == "ConcatV2" and node.inputs:
            parts = {self.names.get(part.name) for part in map(self.node, node.inputs[:-1]) if part.op in VARIABLE_OPS}
            whole = all(self.node(part).op in VARIABLE_OPS for part in node.inputs[:-1])
            return parts.pop() if whole and len(parts) == 1 else None
        return None

    def constant(self, tensor: str) -> np.ndarray | None:
        """Return the value of a constant tensor; None for anything else."""
        node = self.node(tensor)
        return node.constant().array() if node.op == "Const" else None

    def number(self, tensor: str) -> float | None:
        """Return the value of a constant of one element; None for anything else."""
        value = self.constant(tensor)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def sizes(self, tensor: str) -> list[int | None]:
        """Return the sizes that a tensor of sizes holds, None for those that are computed when the graph runs."""
        packed = self.node(tensor)
        if packed.op == "Pack":
            numbers = map(self.number, packed.inputs)
            return [None if number is None else int(number) for number in numbers]
        value = self.constant(tensor)
        return [] if value is None or value.ndim != 1 else [int(size) for size in value]

    def bias(self, node: Node) -> str | None:
        """Return the variable that a BiasAdd adds."""
        return self.variable(node.inputs[1]) if node.op == "BiasAdd" and len(node.inputs) == 2 else None

    def dense_input(self, node: Node) -> str | None:
        """Return the tensor that a dense layer multiplies with its kernel; `node` is its BiasAdd."""
        product = self.inputs(self.unmoved(node.inputs[0]), {"MatMul"}, 2)
        return None if product is None else self.unmoved(product[0])

    def unmoved(self, tensor: str) -> str:
        """Look through reshapes and transposes, which keep the values, and through dropout."""
        for _ in range(_LONGEST_CHAIN):
            node = self.node(tensor)
            dropout = self.dropout(tensor)
            if dropout is not None:
                tensor = dropout.x
            elif node.op in MOVES and node.inputs:
                tensor = node.inputs[0]
            else:
                break
        return tensor

    def attention(self, softmax: Node) -> Attention | None:
        """Return the attention whose probabilities a Softmax computes; None if it is another softmax."""
        for scores, _ in self._either(softmax.inputs[0], ADD) if softmax.inputs else ():
            for product, scale in self._either(scores, {"Mul"}):
                operands = self.inputs(product, PRODUCT_OF_BATCHES, 2)
                value = self.number(scale)
                if operands is None or value is None:
                    continue
                query, key = map(self._split, operands)
                match = _QUERY.fullmatch(query[0]) if query else None
                if match and query and key and query[1:3] == key[1:3]:
                    return Attention(
                        scope=match["scope"],
                        layer=int(match["layer"]),
                        heads=query[1],
                        head_size=query[2],
                        heads_node=query[3],
                        scale=value,
                        scale_node=self.node(scale).name,
                        softmax=softmax.name,
                    )
        return None

    def _split(self, tensor: str) -> tuple[str, int, int, str] | None:
        """Return bias, number of heads, size of a head, and the node that says so, of a dense layer split in heads."""
        turned = self.inputs(tensor, {"Transpose"}, 2)
        shaped = self.inputs(turned[0], {"Reshape"}, 2) if turned else None
        if shaped is None:
            return None
        bias, sizes = self.bias(self.node(shaped[0])), self.sizes(shaped[1])
        if bias is None or len(sizes) != 4 or not sizes[2] or not sizes[3]:
            return None
        return bias, sizes[2], sizes[3], self.node(shaped[1]).name

    def layer_norm(self, node: Node) -> LayerNorm | None:
        """Return the LayerNorm whose result a node is."""
        if node.op not in ADD or len(node.inputs) != 2:
            return None
        scaled = self.inputs(node.inputs[0], {"Mul"}, 2)
        shift = self.inputs(node.inputs[1], {"Sub"}, 2)
        beta = self.variable(shift[0]) if shift else None
        factors = self.inputs(scaled[1], {"Mul"}, 2) if scaled else None
        if scaled is None or beta is None or factors is None or not beta.endswith("/beta"):
            return None
        root = self.inputs(factors[0], {"Rsqrt"}, 1)
        terms = self.inputs(root[0], ADD, 2) if root else None
        epsilon = self.number(terms[1]) if terms else None
        if terms is None or epsilon is None or self.variable(factors[1]) is None:
            return None
        return LayerNorm(node.name, scaled[0], beta, epsilon, self.node(terms[1]).name)

    def dropout(self, tensor: str) -> Dropout | None:
        """Return the dropout whose result a tensor is, in any of the forms above."""
        node = self.graph.producer(tensor)
        if node.op in SELECT and len(node.inputs) == 3:
            return self._dropped(node.inputs[1], node.inputs[0])
        if node.op == "Mul" and len(node.inputs) == 2:
            for scaled, kept in (node.inputs, node.inputs[::-1]):
                mask = self.inputs(kept, {"Cast"}, 1)
                dropout = self._dropped(scaled, mask[0] if mask else kept)
                if dropout is not None:
                    return dropout
        return None

    def _dropped(self, scaled: str, kept: str) -> Dropout | None:
        compared = self.inputs(kept, {"GreaterEqual"}, 2)
        if compared is not None and self._is_noise(compared[0]):
            x, rate = self._unscaled(scaled), self.number(compared[1])
            return None if x is None else Dropout(x, rate, self.node(compared[1]).name)
        floored = self.inputs(kept, {"Floor"}, 1)
        for keep, noise in self._either(floored[0], ADD) if floored else ():
            if self._is_noise(noise) and not self._is_noise(keep):
                x, share = self._unscaled(scaled), self.number(keep)
                rate = None if share is None else 1 - shortest(share)
                return None if x is None else Dropout(x, rate, self.node(keep).name)
        return None

    def _unscaled(self, tensor: str) -> str | None:
        """Return x of x / keep, or of x times a scale, which is a number or made of one."""
        divided = self.inputs(tensor, DIVIDE, 2)
        if divided is not None:
            return divided[0]
        for x, scale in self._either(tensor, {"Mul"}):
            if self.number(scale) is not None or self.node(scale).op in DIVIDE | {"Inv", "Reciprocal"}:
                return x
        return None

    def _is_noise(self, tensor: str) -> bool:
        tensors = [tensor]
        for _ in range(_NOISE_DEPTH):
            nodes = [self.node(tensor) for tensor in tensors]
            if any(node.op in RANDOM for node in nodes):
                return True
            arithmetic = [node for node in nodes if node.op in ADD | {"Mul", "Sub"} and len(node.inputs) == 2]
            tensors = list(dict.fromkeys(tensor for node in arithmetic for tensor in node.inputs))
        return False

    def _either(self, tensor: str, ops: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield the two inputs of a commutative node in both orders."""
        pair = self.inputs(tensor, ops, 2)
        if pair is not None:
            yield pair[0], pair[1]
            yield pair[1], pair[0]


def shortest(value: float) -> float:
    """Return the shortest decimal that has this value in float32: 0.1, not 0.10000000149011612."""
    import numpy as np

    return float(str(np.float32(value)))
