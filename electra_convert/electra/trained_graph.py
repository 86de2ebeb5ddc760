"""What the graph that trained a checkpoint says of ELECTRA: heads, activation, epsilon, dropout, length, special ids.

A fact is read off the structure (electra/graph_patterns.py), never guessed: what the graph does not say is None, and
layers that disagree, or a graph of another model, raise GraphError. Every fact names the node it was read from.
electra/graph_run.py runs the same graph as a reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from electra_convert.electra.graph_cut import Cut, cut_out, input_shape
from electra_convert.electra.graph_patterns import ADD, DIVIDE, Attention, LayerNorm, Patterns, shortest
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import IDENTITIES, Graph, Node, Shape
from electra_convert.wording import some

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value")

# Variables that no forward pass needs: the optimizer's slots, the step, and what released checkpoints carry along.
_BOOKKEEPING = re.compile(r"(.+/adam_[mv]|global_step|.*generator_predictions/temperature)")
_PART = re.compile(r"(.+)/part_\d+")

_HEADS = {
    "discriminator": "discriminator_predictions/dense_1/bias",
    "generator": "generator_predictions/output_bias",
    "cloze": "cloze_predictions/output_bias",
}
_TASK = re.compile(r"task_specific/(?P<task>[^/]+)/(?P<layer>[^/]+)/bias")


@dataclass(frozen=True, slots=True)
class TowerFacts:
    """One encoder, named by the scope of its variables. None: the graph does not say.

    `nodes` maps each field to the node it was read from.
    """

    scope: str
    layers: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float | None
    hidden_dropout_prob: float | None
    attention_probs_dropout_prob: float | None
    initializer_range: float | None
    nodes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that the graph can compute: the tensors of its results, by name, and the cut that computes them.

    `towers` are the scopes of the encoders in it; `results` are `hidden_0` to `hidden_L` (`SCOPE/hidden_i` where there
    are two towers) and the outputs of the head; `hidden_act` is the head's activation, None without one.
    """

    name: str
    towers: tuple[str, ...]
    results: Mapping[str, str]
    hidden_act: str | None
    cut: Cut
    mask: str
    exact: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TrainedGraph:
    """The facts that a graph holds, and the parts of it that can be run. None: the graph does not say.

    `parts` has `discriminator`, `generator`, `cloze` (the two-tower head), `task/NAME` and `encoder`, as far as they
    are in the graph. `special_ids` has `sep`, `cls` and `mask`. `adds_log_q` tells Electric (True) from two towers
    with ELECTRA's objective.
    """

    where: str
    tensorflow_version: str
    is_training_graph: bool
    towers: Mapping[str, TowerFacts]
    parts: Mapping[str, Part]
    batch_size: int | None
    max_seq_length: int | None
    special_ids: Mapping[str, int]
    temperature: float | None
    adds_log_q: bool | None
    nodes: Mapping[str, str]

    def run(
        self,
        part: str,
        input_ids: np.ndarray,
        input_mask: np.ndarray,
        segment_ids: np.ndarray,
        read_variable: Any,
        dtype: Any = "float64",
        *,
        exact: bool = True,
    ) -> dict[str, np.ndarray]:
        """Run a part: see `electra_convert.electra.graph_run.run_part`."""
        from electra_convert.electra.graph_run import run_part

        return run_part(self, part, input_ids, input_mask, segment_ids, read_variable, dtype, exact=exact)


def find_facts(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> TrainedGraph:
    """Find ELECTRA in a graph; `shapes` are the checkpoint's variables.

    Raises GraphError where the graph does not belong to the checkpoint, holds no encoder, or contradicts itself.
    """
    patterns = Patterns(graph, _match_variables(graph, shapes))
    return _Finder(patterns, shapes).facts()


def _match_variables(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the checkpoint's name of each variable node; raise GraphError unless graph and checkpoint fit.

    A variable trained in parts is `NAME/part_0`, … in the graph and NAME in the checkpoint. Variables that only the
    graph has (of metrics, of an optimizer whose slots were not kept) do not count.
    """
    names: dict[str, str] = {}
    parts: dict[str, list[Shape]] = {}
    for node, shape in graph.variables.items():
        part = _PART.fullmatch(node)
        name = part[1] if part and node not in shapes else node
        names[node] = name
        parts.setdefault(name, []).append(shape)
    wrong = {
        name: f"{name} {_sizes(parts[name])} in the graph, {list(shape)} in the checkpoint"
        for name, shape in shapes.items()
        if name in parts and not _covers(parts[name], shape)
    }
    if wrong:
        raise GraphError(
            "graph does not belong to the checkpoint: shapes differ", where=graph.where, found=some(list(wrong.values()))
        )
    absent = [name for name in shapes if name not in parts and not _BOOKKEEPING.fullmatch(name)]
    if absent:
        raise GraphError(
            "graph does not belong to the checkpoint: it lacks variables", where=graph.where, missing=some(absent)
        )
    return {node: name for node, name in names.items() if name in shapes}


def _covers(parts: list[Shape], whole: tuple[int, ...]) -> bool:
    """Tell whether parts, put together along one axis, have the shape of the whole."""
    if len(parts) == 1:
        return parts[0] == whole
    known = [part for part in parts if part is not None and len(part) == len(whole)]
    if len(known) < len(parts):
        return False
    sums = [tuple(sum(part[axis] for part in known) if axis == i else size for i, size in enumerate(known[0])) for axis in range(len(whole))]
    return any(
        sums[axis] == whole and all(part[i] == whole[i] for part in known for i in range(len(whole)) if i != axis)
        for axis in range(len(whole))
    )


def _sizes(parts: list[Shape]) -> str:
    return " + ".join("of unknown shape" if part is None else str(list(part)) for part in parts)


class _Finder:
    """Reads one graph: an index of its pieces first, then its parts, then the facts of each tower."""

    def __init__(self, patterns: Patterns, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.patterns = patterns
        self.graph = patterns.graph
        self.shapes = shapes
        self.attentions: list[Attention] = []
        self.norms: dict[str, LayerNorm] = {}
        self.denses: dict[str, list[Node]] = {}
        self.is_training_graph = False
        for node in self.graph.nodes.values():
            if node.op == "Softmax":
                attention = patterns.attention(node)
                if attention is not None:
                    self.attentions.append(attention)
            elif node.op == "BiasAdd":
                bias = patterns.bias(node)
                if bias is not None:
                    self.denses.setdefault(bias, []).append(node)
            elif node.op in ADD:
                norm = patterns.layer_norm(node)
                if norm is not None:
                    self.norms[node.name] = norm
            elif node.op == "BiasAddGrad":
                self.is_training_graph = True

    def facts(self) -> TrainedGraph:
        layers = self._count_layers()
        parts = self._find_parts(layers)
        towers = {scope: self._tower(scope, layers[scope], parts.values()) for scope in sorted(layers)}
        nodes: dict[str, str] = {}
        shape = self._input_shape(parts.values(), nodes)
        return TrainedGraph(
            where=self.graph.where,
            tensorflow_version=self.graph.tensorflow_version,
            is_training_graph=self.is_training_graph,
            towers=towers,
            parts=parts,
            batch_size=shape[0],
            max_seq_length=shape[1],
            special_ids=self._special_ids(nodes),
            temperature=self._temperature(nodes),
            adds_log_q=self._adds_log_q(nodes),
            nodes=nodes,
        )

    def refuse(self, message: str, found: Iterable[str] = ()) -> GraphError:
        return GraphError(message, where=self.graph.where, found=some(list(found)) or None)

    def agree(self, what: str, values: Iterable[tuple[Value, str]]) -> tuple[Value, str]:
        """Return the one value that all have, and a node that has it."""
        listed = list(values)
        if any(value != listed[0][0] for value, _ in listed):
            first = {value: node for value, node in reversed(listed)}
            raise self.refuse(f"graph contradicts itself in {what}", [f"{v} at {node}" for v, node in first.items()])
        return listed[0]

    # --- parts --------------------------------------------------------------------------------------------------------

    def _count_layers(self) -> dict[str, int]:
        """Return the number of layers of each encoder that the graph computes."""
        found: dict[str, set[int]] = {}
        for attention in self.attentions:
            found.setdefault(attention.scope, set()).add(attention.layer)
        if not found:
            raise self.refuse("graph holds no encoder: no attention was recognised in it")
        for scope, layers in found.items():
            stored = {
                int(match[1])
                for name in self.shapes
                if (match := re.fullmatch(re.escape(scope) + r"/encoder/layer_(\d+)/attention/self/query/bias", name))
            }
            if layers != stored:
                raise self.refuse(
                    "graph computes other layers than the checkpoint has",
                    [f"{scope}: layers {sorted(layers)} of {sorted(stored)}"],
                )
        return {scope: len(layers) for scope, layers in found.items()}

    def _find_parts(self, layers: Mapping[str, int]) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        for name, bias in _HEADS.items():
            for node in self.denses.get(bias, ())[:1]:
                self._add_part(parts, name, {"logits": node.name}, layers)
        tasks: dict[str, dict[str, str]] = {}
        for bias, nodes in self.denses.items():
            match = _TASK.fullmatch(bias)
            if match:
                tasks.setdefault(f"task/{match['task']}", {})[match["layer"]] = nodes[0].name
        for name, outputs in tasks.items():
            self._add_part(parts, name, outputs, layers)
        for scope, count in layers.items():
            last = f"{scope}/encoder/layer_{count - 1}/output/LayerNorm/beta"
            ends = [norm.output for norm in self.norms.values() if norm.beta == last]
            if scope == "electra" and ends:
                self._add_part(parts, "encoder", {f"hidden_{count}": ends[0]}, layers)
        if not parts:
            raise self.refuse("graph holds attention, but no part of it can be run by itself")
        return parts

    def _add_part(self, parts: dict[str, Part], name: str, outputs: dict[str, str], layers: Mapping[str, int]) -> None:
        """Cut a part out; outputs that need more input than ids, segments and mask are left out."""
        mask, runnable = None, {}
        for result, tensor in outputs.items():
            cut = cut_out(self.patterns, [tensor])
            scopes = self._scopes(cut)
            if not scopes:
                continue
            # The attention's own cut tells which of several inputs is the mask.
            inner = cut_out(self.patterns, [next(a.softmax for a in self.attentions if a.softmax in cut.graph.nodes)])
            roles = {feed.role for feed in inner.feeds}
            if len(inner.others) != 1 or roles != {"input_ids", "segment_ids"}:
                continue
            mask = inner.others[0]
            if set(cut.others) == {mask}:
                runnable[result] = tensor
        if mask is None or not runnable:
            return
        cut = cut_out(self.patterns, runnable.values())
        scopes = self._scopes(cut)
        results = {}
        for scope in scopes:
            prefix = f"{scope}/" if len(scopes) > 1 else ""
            for i in range(layers[scope] + 1):
                results[f"{prefix}hidden_{i}"] = self._hidden(scope, i, cut)
        parts[name] = Part(
            name=name,
            towers=scopes,
            results=results | runnable,
            hidden_act=self._head_activation(name, cut),
            cut=cut,
            mask=mask,
            exact=self._exact_constants(cut),
        )

    def _scopes(self, cut: Cut) -> tuple[str, ...]:
        return tuple(sorted({a.scope for a in self.attentions if a.softmax in cut.graph.nodes}))

    def _hidden(self, scope: str, i: int, cut: Cut) -> str:
        """Return the tensor of a hidden state: 0 enters the first layer, i leaves layer i - 1."""
        if i == 0:
            bias = f"{scope}/encoder/layer_0/attention/self/query/bias"
            tensors = [self.patterns.dense_input(node) for node in self._denses_in(cut, bias)]
        else:
            beta = f"{scope}/encoder/layer_{i - 1}/output/LayerNorm/beta"
            tensors = [norm.output for norm in self._norms_in(cut) if norm.beta == beta]
        if len(tensors) != 1 or tensors[0] is None:
            raise self.refuse(f"graph's hidden state {i} of {scope} was not recognised")
        return tensors[0]

    def _denses_in(self, cut: Cut, bias: str) -> list[Node]:
        return [node for node in self.denses.get(bias, []) if node.name in cut.graph.nodes]

    def _norms_in(self, cut: Cut) -> list[LayerNorm]:
        return [norm for name, norm in self.norms.items() if name in cut.graph.nodes]

    def _exact_constants(self, cut: Cut) -> dict[str, float]:
        """Return the real numbers that the graph's float32 constants stand for: 1/sqrt(D), 1e-12."""
        import numpy as np

        exact = {}
        for attention in self.attentions:
            if attention.softmax in cut.graph.nodes:
                value = attention.head_size**-0.5
                if np.float32(value) == np.float32(attention.scale):
                    exact[attention.scale_node] = value
        for norm in self._norms_in(cut):
            exact[norm.epsilon_node] = shortest(norm.epsilon)
        return exact

    # --- facts of a tower ---------------------------------------------------------------------------------------------

    def _tower(self, scope: str, layers: int, parts: Iterable[Part]) -> TowerFacts:
        parts = [part for part in parts if scope in part.towers]
        attentions = [attention for attention in self.attentions if attention.scope == scope]
        nodes: dict[str, str] = {}
        heads, nodes["num_attention_heads"] = self.agree(
            f"the attention heads of {scope}", ((a.heads, a.heads_node) for a in attentions)
        )
        for attention in attentions:
            self._check_attention(attention)
        hidden_act, nodes["hidden_act"] = self.agree(
            f"the activation of {scope}",
            (self._intermediate_activation(scope, i, node) for i in range(layers) for node in self._intermediates(scope, i)),
        )
        epsilons = {norm.epsilon_node: norm for part in parts for norm in self._norms_in(part.cut)}
        epsilon = None
        if epsilons:
            epsilon, nodes["layer_norm_eps"] = self.agree(
                f"the epsilon of {scope}", ((shortest(norm.epsilon), node) for node, norm in epsilons.items())
            )
        return TowerFacts(
            scope=scope,
            layers=layers,
            num_attention_heads=heads,
            hidden_act=hidden_act,
            layer_norm_eps=epsilon,
            hidden_dropout_prob=self._dropout(scope, parts, 2 * layers + 1, False, nodes),
            attention_probs_dropout_prob=self._dropout(scope, parts, layers, True, nodes),
            initializer_range=self._initializer_range(scope, nodes),
            nodes=nodes,
        )

    def _check_attention(self, attention: Attention) -> None:
        name = f"{attention.scope}/encoder/layer_{attention.layer}/attention/self/query/bias"
        hidden_size = self.shapes[name][0]
        if attention.heads * attention.head_size != hidden_size:
            raise self.refuse(
                "graph's attention heads do not fill the hidden size",
                [f"{attention.heads} heads of {attention.head_size} at {attention.heads_node}, hidden size {hidden_size}"],
            )
        if abs(attention.scale * attention.head_size**0.5 - 1) > 1e-6:
            raise self.refuse(
                "graph scales attention with another number than 1/sqrt(head size)",
                [f"{attention.scale} at {attention.scale_node}, heads of {attention.head_size}"],
            )

    def _intermediates(self, scope: str, layer: int) -> list[Node]:
        return self.denses.get(f"{scope}/encoder/layer_{layer}/output/dense/bias", [])

    def _intermediate_activation(self, scope: str, layer: int, output: Node) -> tuple[str, str]:
        bias = f"{scope}/encoder/layer_{layer}/intermediate/dense/bias"
        act = self._activation(self.patterns.dense_input(output), bias)
        if act is None:
            raise self.refuse(f"graph's activation in layer {layer} of {scope} was not recognised")
        return act

    def _head_activation(self, name: str, cut: Cut) -> str | None:
        """Return the activation of a head for pre-training; None for another head, or where it was not recognised."""
        if name == "discriminator":
            (output,) = self._denses_in(cut, _HEADS[name])
            found = self._activation(self.patterns.dense_input(output), "discriminator_predictions/dense/bias")
        elif name in _HEADS:
            scope = _HEADS[name].removesuffix("/output_bias")
            norms = [norm for norm in self._norms_in(cut) if norm.beta == f"{scope}/LayerNorm/beta"]
            found = self._activation(norms[0].x, f"{scope}/dense/bias") if norms else None
        else:
            return None
        return found and found[0]

    def _activation(self, end: str | None, bias: str) -> tuple[str, str] | None:
        """Return the function between a dense layer and a tensor, and the node it ends in."""
        from electra_convert.electra.graph_run import name_activation

        if end is None:
            return None
        end = self.patterns.unmoved(end)
        starts = {node.name for node in self.denses.get(bias, [])}
        name = name_activation(self.graph, end, starts)
        return None if name is None else (name, self.patterns.node(end).name)

    def _dropout(
        self, scope: str, parts: Iterable[Part], count: int, of_attention: bool, nodes: dict[str, str]
    ) -> float | None:
        """Return the rate of an encoder's dropouts: after its softmaxes, or after its dense layers and embeddings."""
        softmaxes = {attention.softmax for attention in self.attentions if attention.scope == scope}
        what = f"the {'attention' if of_attention else 'hidden'} dropout of {scope}"
        key = "attention_probs_dropout_prob" if of_attention else "hidden_dropout_prob"
        rates: list[tuple[float | None, str]] = []
        for part in parts:
            found = []
            for dropout in part.cut.dropouts:
                node = self.patterns.node(dropout.x)
                if of_attention == (node.name in softmaxes) and (of_attention or self._is_hidden(scope, node, part)):
                    rate = None if dropout.rate is None else shortest(dropout.rate)
                    found.append((rate, dropout.rate_node))
            if found and len(found) != count:
                raise self.refuse(f"graph contradicts itself in {what}", [f"{len(found)} of {count} places have one"])
            rates += found
        if rates:
            rate, nodes[key] = self.agree(what, rates)
            return rate
        return 0.0 if self.is_training_graph else None

    def _is_hidden(self, scope: str, node: Node, part: Part) -> bool:
        if node.op == "BiasAdd":
            return (self.patterns.bias(node) or "").startswith(f"{scope}/encoder/")
        norm = self.norms.get(node.name)
        if norm is None or not norm.beta.endswith("/embeddings/LayerNorm/beta"):
            return False
        # Two towers in one part have two embeddings, of their own or shared.
        return norm.output in self._behind_tower(scope, part)

    def _behind_tower(self, scope: str, part: Part) -> Mapping[str, Node]:
        prefix = f"{scope}/" if len(part.towers) > 1 else ""
        return cut_out(self.patterns, [part.results[f"{prefix}hidden_0"]]).graph.nodes

    def _initializer_range(self, scope: str, nodes: dict[str, str]) -> float | None:
        """Return the spread of the encoder's first weights; only a training graph tells how it really began."""
        if not self.is_training_graph:
            return None
        found = []
        for node in self.graph.nodes.values():
            if node.op not in {"Assign", "AssignVariableOp"} or len(node.inputs) != 2:
                continue
            name = self.patterns.variable(node.inputs[0]) or ""
            if name.startswith(f"{scope}/encoder/") and name.endswith("/kernel"):
                shifted = self.patterns.inputs(node.inputs[1], ADD, 2)
                scaled = self.patterns.inputs(shifted[0], {"Mul"}, 2) if shifted else None
                if scaled and self.patterns.node(scaled[0]).op == "TruncatedNormal":
                    spread = self.patterns.number(scaled[1])
                    if spread is not None:
                        found.append((shortest(spread), self.patterns.node(scaled[1]).name))
        if not found:
            return None
        value, nodes["initializer_range"] = self.agree(f"the initializer of {scope}", found)
        return value

    # --- facts of the training ----------------------------------------------------------------------------------------

    def _input_shape(self, parts: Iterable[Part], nodes: dict[str, str]) -> tuple[int | None, int | None]:
        """Return batch size and sequence length, None where the graph leaves them open."""
        masks = dict.fromkeys(part.mask for part in parts)
        shapes = [(input_shape(self.graph, mask), mask) for mask in masks]
        shape, node = self.agree("the shape of its input", shapes)
        if shape is None or len(shape) != 2:
            return None, None
        nodes["max_seq_length"] = node
        batch, length = (size if size > 0 else None for size in shape)
        return batch, length

    def _special_ids(self, nodes: dict[str, str]) -> dict[str, int]:
        """Return the ids that masking leaves out: And(And(And(…, id != SEP), id != CLS), id != MASK).

        Google's `pretrain/pretrain_helpers.py` (`_get_candidates_mask`) compares in this order.
        """
        chains = []
        for node in self.graph.nodes.values():
            chain: list[tuple[int, str]] = []
            tensor = node.name
            while len(chain) < 3:
                pair = self.patterns.inputs(tensor, {"LogicalAnd"}, 2)
                compared = self.patterns.inputs(pair[1], {"NotEqual"}, 2) if pair else None
                number = self.patterns.number(compared[1]) if compared else None
                if pair is None or compared is None or number is None:
                    break
                chain.append((int(number), self.patterns.node(compared[1]).name))
                tensor = pair[0]
            if len(chain) == 3:
                chains.append(tuple(chain))
        if not chains:
            return {}
        ids = [(tuple(number for number, _ in chain), chain[0][1]) for chain in chains]
        (mask, cls, sep), _ = self.agree("the special ids", ids)
        for key, (_, node_name) in zip(("mask", "cls", "sep"), chains[0], strict=True):
            nodes[key] = node_name
        return {"sep": sep, "cls": cls, "mask": mask}

    def _temperature(self, nodes: dict[str, str]) -> float | None:
        """Return what the generator's logits are divided by before tokens are sampled."""
        logits = {node.name for bias in ("generator", "cloze") for node in self.denses.get(_HEADS[bias], [])}
        found = []
        for node in self.graph.nodes.values():
            if node.op in DIVIDE and len(node.inputs) == 2 and self.patterns.node(node.inputs[0]).name in logits:
                number = self.patterns.number(node.inputs[1])
                if number is not None:
                    found.append((shortest(number), self.patterns.node(node.inputs[1]).name))
        if not found:
            return None
        value, nodes["temperature"] = self.agree("the temperature", found)
        return value

    def _adds_log_q(self, nodes: dict[str, str]) -> bool | None:
        """Tell whether the discriminator's logits get a constant share (log q) added, which makes it Electric."""
        logits = {node.name for node in self.denses.get(_HEADS["discriminator"], [])}
        for node in self.graph.nodes.values():
            if node.op not in ADD or len(node.inputs) != 2:
                continue
            squeezed = self.patterns.inputs(node.inputs[0], {"Squeeze"}, 1)
            if squeezed and self.patterns.node(squeezed[0]).name in logits:
                other = self.graph.producer(node.inputs[1])
                if other.op in IDENTITIES and other.op == "StopGradient":
                    nodes["adds_log_q"] = node.name
                    return True
        return False if self.is_training_graph and logits else None
