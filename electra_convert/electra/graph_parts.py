"""The parts of a training graph that can be run by themselves: the heads, each with its encoder, and the encoder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from electra_convert.electra.graph_cut import GATHERS, Cut, cut_out
from electra_convert.electra.graph_index import Fact, GraphIndex
from electra_convert.electra.graph_patterns import shortest
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import Node

Reach = Literal["first", "each"]
"""Whether a dense layer of a task sees the first token of a text, or scores each."""

# A head for pre-training: the bias that its logits get last.
HEADS = {
    "discriminator": "discriminator_predictions/dense_1/bias",
    "generator": "generator_predictions/output_bias",
    "cloze": "cloze_predictions/output_bias",
}
# The constants of gelu's tanh form: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
GELU_NEW = (math.sqrt(2 / math.pi), 0.044715)

_TASK = re.compile(r"task_specific/(?P<task>[^/]+)/(?P<layer>[^/]+)/bias")


@dataclass(frozen=True, slots=True)
class Part:
    """Something that the graph can compute from token ids, segments and mask.

    `results` are tensors by name: `hidden_0` to `hidden_L` of the encoder (`SCOPE/hidden_i` where there are two), and
    the outputs of the head: `logits`, or one a dense layer of a task. `towers` are the scopes of the encoders.
    `hidden_act` is the activation in a head for pre-training. `exact` are the numbers that float32 constants stand for.
    `reach` has those outputs of a task whose dense layer stands right behind the encoder.
    """

    towers: tuple[str, ...]
    results: Mapping[str, str]
    hidden_act: Fact[str] | None
    cut: Cut
    mask: str
    exact: Mapping[str, float]
    reach: Mapping[str, Fact[Reach]] = field(default_factory=dict)


def find_parts(index: GraphIndex) -> tuple[dict[str, Part], dict[str, str]]:
    """Return the parts by name, and the reasons why others that are in the graph cannot be run."""
    outputs: dict[str, dict[str, str]] = {}
    for name, bias in HEADS.items():
        if bias in index.denses:
            outputs[name] = {"logits": index.denses[bias][0].name}
    for bias, nodes in index.denses.items():
        match = _TASK.fullmatch(bias)
        if match:
            outputs.setdefault(f"task/{match['task']}", {})[match["layer"]] = nodes[0].name
    if "electra" in index.layers:
        count = index.layers["electra"]
        last = f"electra/encoder/layer_{count - 1}/output/LayerNorm/beta"
        for norm in index.norms.values():
            if norm.beta == last:
                outputs["encoder"] = {f"hidden_{count}": norm.output}
    parts: dict[str, Part] = {}
    reasons: dict[str, str] = {}
    for name, tensors in outputs.items():
        try:
            parts[name] = _part(index, name, tensors, reasons)
        except GraphError as error:
            reasons[name] = error.message
    return parts, reasons


def _part(index: GraphIndex, name: str, outputs: Mapping[str, str], reasons: dict[str, str]) -> Part:
    cuts = {result: cut_out(index.patterns, [tensor]) for result, tensor in outputs.items()}
    mask = _mask(index, cuts.values())
    runnable = {}
    for result, cut in cuts.items():
        more = [tensor for tensor in cut.others if tensor != mask]
        if more or not index.attentions_in(cut):
            reasons[f"{name}/{result}"] = f"needs {more[0]}" if more else "is behind no encoder"
        else:
            runnable[result] = outputs[result]
    if not runnable:
        raise GraphError("none of its outputs can be computed from token ids, segments and mask alone")
    cut = cut_out(index.patterns, runnable.values())
    towers = tuple(sorted({attention.scope for attention in index.attentions_in(cut)}))
    hidden = {
        f"{scope}/hidden_{i}" if len(towers) > 1 else f"hidden_{i}": _hidden(index, scope, i, cut)
        for scope in towers
        for i in range(index.layers[scope] + 1)
    }
    return Part(
        towers=towers,
        results=hidden | runnable,
        hidden_act=_head_activation(index, name, cut),
        cut=cut,
        mask=mask,
        exact=_exact_constants(index, cut),
        reach=_reaches(index, runnable) if name.startswith("task/") else {},
    )


def _mask(index: GraphIndex, cuts: Iterable[Cut]) -> str:
    """Return the input that attention needs besides token ids and segments."""
    attention = next((attention for cut in cuts for attention in index.attentions_in(cut)), None)
    if attention is None:
        raise GraphError("it is behind no encoder")
    inner = cut_out(index.patterns, [attention.softmax])
    if len(inner.others) != 1 or {feed.role for feed in inner.feeds} != {"input_ids", "segment_ids"}:
        raise GraphError("its inputs are not token ids, segments and one mask")
    return inner.others[0]


def _hidden(index: GraphIndex, scope: str, i: int, cut: Cut) -> str:
    """Return the tensor of a hidden state: number 0 enters the first layer, number i leaves layer i - 1."""
    tensors: list[str | None]
    if i == 0:
        bias = f"{scope}/encoder/layer_0/attention/self/query/bias"
        tensors = [index.patterns.dense_input(node) for node in index.denses_in(cut, bias)]
    else:
        beta = f"{scope}/encoder/layer_{i - 1}/output/LayerNorm/beta"
        tensors = [norm.output for norm in index.norms_in(cut) if norm.beta == beta]
    if len(tensors) != 1 or tensors[0] is None:
        raise GraphError(f"hidden state {i} of {scope} was not recognised")
    return tensors[0]


def _head_activation(index: GraphIndex, name: str, cut: Cut) -> Fact[str] | None:
    # Not at the top: it needs NumPy, which a look at the variables does not.
    from electra_convert.electra.graph_activation import find_activation

    if name == "discriminator":
        (output,) = index.denses_in(cut, HEADS[name])
        return find_activation(index, "discriminator_predictions/dense/bias", index.patterns.dense_input(output))
    if name in HEADS:
        scope = HEADS[name].removesuffix("/output_bias")
        ends = [norm.x for norm in index.norms_in(cut) if norm.beta == f"{scope}/LayerNorm/beta"]
        return find_activation(index, f"{scope}/dense/bias", ends[0] if ends else None)
    return None


def _reaches(index: GraphIndex, outputs: Mapping[str, str]) -> dict[str, Fact[Reach]]:
    found: dict[str, Fact[Reach]] = {}
    for result, tensor in outputs.items():
        behind = index.patterns.dense_input(index.patterns.node(tensor))
        node = index.patterns.node(index.patterns.unmoved(behind)) if behind else None
        reach = _reach(index, node) if node else None
        if node and reach:
            found[result] = Fact(reach, node.name)
    return found


def _reach(index: GraphIndex, node: Node) -> Reach | None:
    """Return what a node takes of the encoder's output: states[:, 0], picked positions, or all of it."""
    if node.name in index.norms or node.op in GATHERS:
        return "each"
    if node.op == "StridedSlice" and len(node.inputs) == len(("states", "begin", "end", "strides")):
        begin, end = (index.patterns.sizes(tensor) for tensor in node.inputs[1:3])
        if begin[1:2] == [0] and end[1:2] == [1]:
            return "first"
        # The last of all layers, which Google's code stacks.
        return "each" if len(begin) == 1 else None
    return None


def _exact_constants(index: GraphIndex, cut: Cut) -> dict[str, float]:
    """Return what the float32 constants were rounded from: 1/sqrt(D), an epsilon's shortest decimal, gelu_new's two."""
    exact = {norm.epsilon_node: shortest(norm.epsilon) for norm in index.norms_in(cut)}
    for attention in index.attentions_in(cut):
        value = attention.head_size**-0.5
        if shortest(value) == shortest(attention.scale):
            exact[attention.scale_node] = value
    for node in cut.graph.nodes.values():
        stored = index.patterns.number(node.name) if node.op == "Const" else None
        for value in GELU_NEW:
            if stored is not None and shortest(stored) == shortest(value):
                exact[node.name] = value
    return exact
