"""The attentions, LayerNorms and dense layers of a graph, found in one pass, and the layers that they make up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from electra_convert.electra.graph_cut import Cut
from electra_convert.electra.graph_patterns import ADD, Attention, LayerNorm, Patterns
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import Graph, Node
from electra_convert.wording import some

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Fact(Generic[Value]):
    """Something the graph says, and the node that says it."""

    value: Value
    node: str


@dataclass(frozen=True, slots=True)
class GraphIndex:
    """What was recognised in a graph.

    `norms` are keyed by the node of their result; `denses` list the BiasAdd nodes of a bias variable: two, where a
    tower is used twice. `layers` counts the layers of each encoder, by the scope of its variables.
    """

    patterns: Patterns
    shapes: Mapping[str, tuple[int, ...]]
    attentions: tuple[Attention, ...]
    norms: Mapping[str, LayerNorm]
    denses: Mapping[str, Sequence[Node]]
    layers: Mapping[str, int]
    is_training_graph: bool

    @property
    def graph(self) -> Graph:
        """The graph that was searched."""
        return self.patterns.graph

    def attentions_of(self, scope: str) -> list[Attention]:
        """Return the attentions of an encoder."""
        return [attention for attention in self.attentions if attention.scope == scope]

    def attentions_in(self, cut: Cut) -> list[Attention]:
        """Return the attentions that a cut computes."""
        return [attention for attention in self.attentions if attention.softmax in cut.graph.nodes]

    def norms_in(self, cut: Cut) -> list[LayerNorm]:
        """Return the LayerNorms that a cut computes."""
        return [norm for norm in self.norms.values() if norm.output in cut.graph.nodes]

    def denses_in(self, cut: Cut, bias: str) -> list[Node]:
        """Return the uses of a bias in a cut."""
        return [node for node in self.denses.get(bias, ()) if node.name in cut.graph.nodes]

    def agree(self, what: str, facts: Iterable[Fact[Value]]) -> Fact[Value]:
        """Return the first fact, if all have its value; raise GraphError otherwise."""
        listed = list(facts)
        others = [fact for fact in listed if fact.value != listed[0].value]
        if others:
            told = [f"{fact.value} at {fact.node}" for fact in (listed[0], *others)]
            raise GraphError(f"graph contradicts itself in {what}", where=self.graph.where, found=some(told))
        return listed[0]


def index_graph(patterns: Patterns, shapes: Mapping[str, tuple[int, ...]]) -> GraphIndex:
    """Search a graph for the pieces of ELECTRA; `shapes` are the variables of the checkpoint.

    Raises GraphError where there is no encoder, or one with other layers than the checkpoint has.
    """
    attentions: list[Attention] = []
    norms: dict[str, LayerNorm] = {}
    denses: dict[str, list[Node]] = {}
    has_gradients = False
    for node in patterns.graph.nodes.values():
        if node.op == "Softmax" and (attention := patterns.attention(node)):
            attentions.append(attention)
        elif node.op in ADD and (norm := patterns.layer_norm(node)):
            norms[norm.output] = norm
        elif node.op == "BiasAdd" and (bias := patterns.bias(node)):
            denses.setdefault(bias, []).append(node)
        has_gradients = has_gradients or node.op == "BiasAddGrad"
    layers = _count_layers(patterns.graph, attentions, shapes)
    return GraphIndex(patterns, shapes, tuple(attentions), norms, denses, layers, has_gradients)


def _count_layers(
    graph: Graph, attentions: Iterable[Attention], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    found: dict[str, set[int]] = {}
    for attention in attentions:
        found.setdefault(attention.scope, set()).add(attention.layer)
    if not found:
        raise GraphError("graph holds no encoder: no attention was recognised in it", where=graph.where)
    for scope, layers in found.items():
        name = re.compile(re.escape(scope) + r"/encoder/layer_(\d+)/attention/self/query/bias")
        stored = {int(match[1]) for match in map(name.fullmatch, shapes) if match}
        if layers != stored:
            raise GraphError(
                f"graph computes other layers of {scope} than the checkpoint has",
                where=graph.where,
                found=f"attention in layers {sorted(layers)}",
                expected=f"{sorted(stored)}",
            )
    return {scope: len(layers) for scope, layers in sorted(found.items())}
