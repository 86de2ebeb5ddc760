"""Cuts the forward pass of one head out of a training graph, and makes it run on any number of rows.

    input_ids ──▶ gather of word embeddings ─┐
    segments ───▶ gather of token types ─────┼──▶ encoder ──▶ [gather of positions] ──▶ head
    input_mask ──────────────────────────────┘

The cut walks from the head towards the inputs. It bypasses dropout, and stops where token ids and segments look up a
variable, where positions are picked from the sequence, and at whatever input is left, which is the mask; so it never
enters the sampling of replaced tokens. A product of a one-hot matrix with a variable is a lookup, and becomes one.

A training graph has its batch size B and length L written into its constants. L stays: shorter input is padded. B is
changed by three rules, each of which leaves a batch of B rows as it is:
  1. a shape with an unknown size in it, [B, -1, …]: B becomes the number of rows
  2. a shape without one: its first size becomes unknown
  3. a constant [B, …] of equal rows that is only combined element by element: one row of it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from electra_convert.electra.graph_patterns import ADD, MOVES, Dropout, Patterns
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import VARIABLE_OPS, Graph, Node, Shape, split_tensor

if TYPE_CHECKING:
    import numpy as np

Role = Literal["input_ids", "segment_ids", "input_mask"]

GATHERS = frozenset({"GatherV2", "Gather", "ResourceGather"})
ELEMENTWISE = ADD | {"Mul", "Sub", "RealDiv", "SquaredDifference"}

# Ops that bring the input in, and the attribute that has its shape (the first two have one output a feature).
INPUTS = {
    "IteratorGetNext": "output_shapes",
    "InfeedDequeueTuple": "shapes",
    "Placeholder": "shape",
    "PlaceholderV2": "shape",
    "PlaceholderWithDefault": "shape",
}

_LOOKUPS: tuple[tuple[str, Role], ...] = (
    ("/word_embeddings", "input_ids"),
    ("/token_type_embeddings", "segment_ids"),
)


# Ids are reshaped a few times on their way; met: twice.
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Feed:
    """A tensor to be given: what it holds, and its form: [rows, length], [rows, length, 1], or flat."""

    tensor: str
    role: Role
    form: Literal["matrix", "column", "flat"]


@dataclass(frozen=True, slots=True)
class Cut:
    """The nodes that compute some tensors from token ids, segments and mask.

    `graph` holds these nodes only, dropouts bypassed. `variables` maps its variable nodes to the checkpoint's names.
    `aliases` tells which tensor took the place of a dropout's. `others` are inputs that are none of the three;
    `sizes_only` those of which only the shape is used.
    """

    graph: Graph
    variables: Mapping[str, str]
    feeds: tuple[Feed, ...]
    others: tuple[str, ...]
    sizes_only: tuple[str, ...]
    picks: tuple[Node, ...]
    dropouts: tuple[Dropout, ...]
    aliases: Mapping[str, str]

    def resolve(self, tensor: str) -> str:
        """Return the tensor that stands for a tensor of the whole graph."""
        for _ in range(len(self.aliases) + 1):
            if tensor not in self.aliases:
                return tensor
            tensor = self.aliases[tensor]
        raise GraphError("graph has a cycle of dropouts", where=self.graph.where, found=tensor)


class _Walk:
    """Collects the nodes behind some tensors."""

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self.graph = patterns.graph
        self.nodes: dict[str, Node] = {}
        self.variables: dict[str, str] = {}
        self.feeds: dict[str, Feed] = {}
        self.sources: dict[str, None] = {}
        self.picks: list[Node] = []
        self.dropouts: dict[str, Dropout] = {}
        self.aliases: dict[str, str] = {}
        self.measured: list[str] = []

    def follow(self, tensors: Iterable[str]) -> None:
        stack = [plain(tensor) for tensor in tensors]
        while stack:
            tensor = stack.pop()
            if tensor in self.feeds or tensor in self.aliases:
                continue
            dropout = self.patterns.dropout(tensor)
            if dropout is not None:
                self.aliases[tensor] = plain(dropout.x)
                self.dropouts[tensor] = dropout
                stack.append(plain(dropout.x))
                continue
            node = self.graph.producer(tensor)
            if node.op in INPUTS:
                self.sources[tensor] = None
            elif node.name not in self.nodes:
                stack.extend(map(plain, self.enter(node)))

    def enter(self, node: Node) -> tuple[str, ...]:
        """Take a node into the cut; return the inputs to go on with."""
        name = self.patterns.variable(node.name) if node.op in VARIABLE_OPS | {"ConcatV2"} else None
        if name is not None:
            # Parts of a variable need not be put together: the whole is read.
            self.nodes[node.name] = Node(node.name, "VariableV2", ())
            self.variables[node.name] = name
            return ()
        lookup = self._lookup(node)
        if lookup is not None:
            self.nodes[node.name] = lookup
            return (*lookup.inputs[:1], *lookup.inputs[2:], *self._feed(lookup))
        self.nodes[node.name] = node
        if node.op == "Shape":
            self.measured.extend(node.inputs)
            return ()
        if self._picks_positions(node):
            self.picks.append(node)
            return (node.inputs[0], *node.inputs[2:])
        return node.inputs

    def _picks_positions(self, node: Node) -> bool:
        """Tell a gather of positions from one of a variable's rows, and from arithmetic on sizes."""
        if node.op not in GATHERS or len(node.inputs) < 2 or self.patterns.variable(node.inputs[0]) is not None:
            return False
        return self.patterns.node(node.inputs[0]).op != "Shape"

    def _lookup(self, node: Node) -> Node | None:
        """Return the node as a gather, if it looks up token ids or segments in a variable."""
        if node.op in GATHERS and len(node.inputs) >= 2 and self._role(node.inputs[0]):
            return node
        if node.op == "MatMul" and len(node.inputs) == 2 and self._role(node.inputs[1]):
            hot = self.patterns.inputs(node.inputs[0], {"OneHot"}, 4)
            if hot and self.patterns.number(hot[2]) == 1 and self.patterns.number(hot[3]) == 0:
                return Node(node.name, "Gather", (node.inputs[1], hot[0]))
        return None

    def _role(self, table: str) -> Role | None:
        name = self.patterns.variable(table) or ""
        return next((role for ending, role in _LOOKUPS if name.endswith(ending)), None)

    def _feed(self, lookup: Node) -> tuple[str, ...]:
        """Note where the ids of a lookup come in; return the tensors between there and the lookup."""
        role = self._role(lookup.inputs[0])
        assert role is not None
        places = plain(lookup.inputs[1])
        origin = places
        for _ in range(_LONGEST_CHAIN):
            node = self.patterns.node(origin)
            if node.op not in {"ExpandDims", "Squeeze", "Cast"} | MOVES or not node.inputs:
                break
            origin = plain(node.inputs[0])
        if self.patterns.node(origin).op in INPUTS:
            source = self._source(origin)
            self.feeds[source] = Feed(source, role, "matrix")
            return (places,)
        self.feeds[places] = Feed(places, role, self._form(places))
        return ()

    def _source(self, tensor: str) -> str:
        while self.graph.producer(tensor).op not in INPUTS:
            tensor = plain(self.graph.producer(tensor).inputs[0])
        return tensor

    def _form(self, places: str) -> Literal["matrix", "column", "flat"]:
        node = self.patterns.node(places)
        if node.op == "ExpandDims":
            return "column"
        return "flat" if node.op == "Reshape" and self.patterns.sizes(node.inputs[1]) == [-1] else "matrix"


def cut_out(patterns: Patterns, outputs: Iterable[str]) -> Cut:
    """Return what computes `outputs`, which may be tensors of any part of the graph."""
    walk = _Walk(patterns)
    walk.follow(outputs)
    needed = [source for source in walk.sources if source not in walk.feeds]
    while walk.measured:
        walk.follow([walk.measured.pop()])
    sizes_only = [source for source in walk.sources if source not in walk.feeds and source not in needed]
    feeds = dict(walk.feeds)
    cut = Cut(
        graph=patterns.graph,
        variables=walk.variables,
        feeds=tuple(feeds.values()),
        others=tuple(needed),
        sizes_only=tuple(sizes_only),
        picks=tuple(walk.picks),
        dropouts=tuple(walk.dropouts.values()),
        aliases=walk.aliases,
    )
    nodes = {
        name: replace(node, inputs=tuple(cut.resolve(plain(tensor)) for tensor in node.inputs))
        for name, node in walk.nodes.items()
    }
    return replace(cut, graph=replace(patterns.graph, nodes=nodes))


def plain(tensor: str) -> str:
    """Return the one name of a tensor: without the number of a first output."""
    return tensor.removesuffix(":0")


def input_shape(graph: Graph, tensor: str) -> Shape:
    """Return the shape that the graph gives an input; None where it gives none."""
    name, output = split_tensor(tensor)
    node = graph.nodes[name]
    attribute = INPUTS[node.op]
    if attribute == "shape":
        return node.shape(attribute)
    shapes = node.shapes(attribute)
    return shapes[output] if output < len(shapes) else None


def resize(cut: Cut, batch: int | None, rows: int) -> dict[str, np.ndarray]:
    """Return new values for the constants that hold the batch size, so that the cut runs on `rows` rows.

    `batch` is the size the graph was made for, None if it is not fixed.
    """
    import numpy as np

    consumers: dict[str, list[tuple[Node, int]]] = {}
    for node in cut.graph.nodes.values():
        for place, tensor in enumerate(node.inputs):
            consumers.setdefault(tensor, []).append((node, place))
    values = {}
    for name, node in cut.graph.nodes.items():
        uses = consumers.get(name, [])
        if node.op != "Const" or not uses:
            continue
        if all(user.op == "Reshape" and place == 1 for user, place in uses):
            shape = np.array(node.constant().array())
            if shape.ndim == 1 and shape.size:
                if -1 not in shape:
                    shape[0] = -1
                elif shape[0] == batch:
                    shape[0] = rows
                values[name] = shape
        elif batch and all(user.op in ELEMENTWISE for user, _ in uses):
            constant = node.constant()
            if len(constant.shape) >= 2 and constant.shape[0] == batch:
                value = constant.array()
                if (value == value[:1]).all():
                    values[name] = value[:1]
        elif batch and all(user.op == "Fill" and place == 0 for user, place in uses):
            users = [user for filled, _ in uses for user, _ in consumers.get(filled.name, [])]
            shape = np.array(node.constant().array())
            if shape.size >= 2 and shape[0] == batch and all(user.op in ELEMENTWISE for user in users):
                shape[0] = 1
                values[name] = shape
    return values


def picked_at_once(cut: Cut, pick: Node, batch: int | None) -> int | None:
    """Return how many positions of a row the graph picks, where its shapes fix that."""
    for node in _behind(cut, pick):
        if node.op == "Reshape" and len(node.inputs) == 2:
            shape = cut.graph.producer(node.inputs[1])
            sizes = shape.constant().array().tolist() if shape.op == "Const" else []
            if len(sizes) == 3 and sizes[0] == batch and -1 not in sizes:
                return int(sizes[1])
    return None


def _behind(cut: Cut, node: Node) -> Iterator[Node]:
    """Yield the nodes of the cut that use the value of a node, directly or not."""
    consumers: dict[str, list[Node]] = {}
    for user in cut.graph.nodes.values():
        for tensor in user.inputs:
            consumers.setdefault(tensor, []).append(user)
    seen, queue = {node.name}, [node]
    while queue:
        for user in consumers.get(queue.pop(0).name, []):
            if user.name not in seen:
                seen.add(user.name)
                queue.append(user)
                yield user
