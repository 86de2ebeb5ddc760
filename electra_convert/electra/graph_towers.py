"""What a graph says of one encoder that no shape of a variable tells: heads, activation, epsilon, dropout, spread."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from electra_convert.electra.graph_cut import cut_out
from electra_convert.electra.graph_index import Fact, GraphIndex
from electra_convert.electra.graph_parts import Part
from electra_convert.electra.graph_patterns import ADD, Attention, shortest
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import Node

ASSIGN = frozenset({"Assign", "AssignVariableOp"})

# 1/sqrt(D) as float32 is off by 6e-8 at most.
_SCALE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class TowerFacts:
    """One encoder, named by the scope of its variables. None: the graph does not say."""

    scope: str
    layers: int
    num_attention_heads: Fact[int]
    hidden_act: Fact[str]
    layer_norm_eps: Fact[float] | None
    hidden_dropout_prob: Fact[float] | None
    attention_probs_dropout_prob: Fact[float] | None
    initializer_range: Fact[float] | None

    def settings(self) -> dict[str, Fact[Any]]:
        """Return the facts that the graph says, by the name of the field in a Hugging Face config."""
        facts: dict[str, Fact[Any] | None] = {
            "num_attention_heads": self.num_attention_heads,
            "hidden_act": self.hidden_act,
            "layer_norm_eps": self.layer_norm_eps,
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attention_probs_dropout_prob": self.attention_probs_dropout_prob,
            "initializer_range": self.initializer_range,
        }
        return {name: fact for name, fact in facts.items() if fact is not None}


def find_tower(index: GraphIndex, scope: str, parts: Iterable[Part]) -> TowerFacts:
    """Return the facts of one encoder; `parts` are those of the whole graph.

    Raises GraphError where layers disagree, or one has an attention or activation that is not understood.
    """
    mine = [part for part in parts if scope in part.towers]
    attentions = index.attentions_of(scope)
    heads = index.agree(f"the attention heads of {scope}", [Fact(a.heads, a.heads_node) for a in attentions])
    for attention in attentions:
        _check_attention(index, attention)
    epsilons = {norm.epsilon_node: shortest(norm.epsilon) for part in mine for norm in index.norms_in(part.cut)}
    return TowerFacts(
        scope=scope,
        layers=index.layers[scope],
        num_attention_heads=heads,
        hidden_act=_activation(index, scope),
        layer_norm_eps=index.agree(f"the epsilon of {scope}", [Fact(value, node) for node, value in epsilons.items()])
        if epsilons
        else None,
        hidden_dropout_prob=_hidden_dropout(index, scope, mine),
        attention_probs_dropout_prob=_attention_dropout(index, scope, mine),
        initializer_range=_initializer_range(index, scope),
    )


def _check_attention(index: GraphIndex, attention: Attention) -> None:
    query = f"{attention.scope}/encoder/layer_{attention.layer}/attention/self/query/bias"
    (hidden_size,) = index.shapes[query]
    if attention.heads * attention.head_size != hidden_size:
        raise GraphError(
            "graph's attention heads do not fill the hidden size",
            where=f"{index.graph.where}, node {attention.heads_node}",
            found=f"{attention.heads} heads of {attention.head_size}",
            expected=f"{hidden_size} in all",
        )
    if abs(attention.scale * attention.head_size**0.5 - 1) > _SCALE_TOLERANCE:
        raise GraphError(
            "graph scales attention in another way",
            where=f"{index.graph.where}, node {attention.scale_node}",
            found=f"{attention.scale}",
            expected=f"1/sqrt({attention.head_size})",
        )


def _activation(index: GraphIndex, scope: str) -> Fact[str]:
    from electra_convert.electra.graph_activation import find_activation

    found = []
    for i in range(index.layers[scope]):
        layer = f"{scope}/encoder/layer_{i}"
        for output in index.denses.get(f"{layer}/output/dense/bias", ()):
            end = index.patterns.dense_input(output)
            activation = find_activation(index, f"{layer}/intermediate/dense/bias", end)
            if activation is None:
                raise GraphError(f"graph's activation in {layer} was not recognised", where=index.graph.where)
            found.append(activation)
    if not found:
        raise GraphError(f"graph's feed-forward layers of {scope} were not recognised", where=index.graph.where)
    return index.agree(f"the activation of {scope}", found)


def _attention_dropout(index: GraphIndex, scope: str, parts: Iterable[Part]) -> Fact[float] | None:
    softmaxes = {attention.softmax for attention in index.attentions_of(scope)}
    places = [(part, softmaxes & part.cut.graph.nodes.keys()) for part in parts]
    return _dropout(index, scope, "attention_probs_dropout_prob", places)


def _hidden_dropout(index: GraphIndex, scope: str, parts: Iterable[Part]) -> Fact[float] | None:
    return _dropout(index, scope, "hidden_dropout_prob", [(part, _hidden_places(index, scope, part)) for part in parts])


def _hidden_places(index: GraphIndex, scope: str, part: Part) -> set[str]:
    """Return the nodes that hidden dropout acts on: the embeddings, and two dense layers a layer."""
    start = part.results[f"{scope}/hidden_0" if len(part.towers) > 1 else "hidden_0"]
    embeddings = cut_out(index.patterns, [start])
    places = {norm.output for norm in index.norms_in(embeddings)}
    for i in range(index.layers[scope]):
        for dense in ("attention/output/dense", "output/dense"):
            places |= {node.name for node in index.denses_in(part.cut, f"{scope}/encoder/layer_{i}/{dense}/bias")}
    return places


def _dropout(
    index: GraphIndex, scope: str, what: str, places: Iterable[tuple[Part, Collection[str]]]
) -> Fact[float] | None:
    """Return the rate of all dropouts at the given places, of which all have one or none.

    Rate 0 leaves no node behind, as evaluation does: without any, only a training graph tells, and it says 0.
    """
    rates: list[Fact[float | None]] = []
    bare: list[str] = []
    for part, nodes in places:
        dropped = {index.patterns.node(dropout.x).name: dropout for dropout in part.cut.dropouts}
        for node in sorted(nodes):
            if node in dropped:
                rate = dropped[node].rate
                rates.append(Fact(None if rate is None else shortest(rate), dropped[node].rate_node))
            else:
                bare.append(node)
    if rates and bare:
        raise GraphError(
            f"graph contradicts itself in {what} of {scope}",
            where=index.graph.where,
            found=[f"{rates[0].value} at {rates[0].node}", f"none behind {bare[0]}"],
        )
    if not rates:
        return Fact(0.0, bare[0]) if bare and index.is_training_graph else None
    fact = index.agree(f"{what} of {scope}", rates)
    return None if fact.value is None else Fact(fact.value, fact.node)


def _initializer_range(index: GraphIndex, scope: str) -> Fact[float] | None:
    """Return the spread of the first weights; only a training graph tells how training really began."""
    if not index.is_training_graph:
        return None
    assigned = [node for node in index.graph.nodes.values() if node.op in ASSIGN and len(node.inputs) == 2]
    found = [fact for node in assigned if (fact := _spread(index, scope, node))]
    return index.agree(f"the initializer of {scope}", found) if found else None


def _spread(index: GraphIndex, scope: str, assign: Node) -> Fact[float] | None:
    """Return the spread that a kernel of an encoder starts with: Add(Mul(TruncatedNormal, spread), mean)."""
    patterns = index.patterns
    name = patterns.variable(assign.inputs[0]) or ""
    if not (name.startswith(f"{scope}/encoder/") and name.endswith("/kernel")):
        return None
    shifted = patterns.inputs(assign.inputs[1], ADD, 2)
    scaled = patterns.inputs(shifted[0], {"Mul"}, 2) if shifted else None
    if scaled is None or patterns.node(scaled[0]).op != "TruncatedNormal":
        return None
    spread = patterns.number(scaled[1])
    return None if spread is None else Fact(shortest(spread), patterns.node(scaled[1]).name)
