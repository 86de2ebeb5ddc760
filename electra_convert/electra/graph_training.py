"""What a graph says of the training itself: batch and length, special ids, temperature, and whether it is Electric."""

from __future__ import annotations

from collections.abc import Iterable

from electra_convert.electra.graph_cut import GATHERS, input_shape
from electra_convert.electra.graph_index import Fact, GraphIndex
from electra_convert.electra.graph_parts import HEADS, Part
from electra_convert.electra.graph_patterns import ADD, DIVIDE, shortest

# The order in which Google's code compares ids (`_get_candidates_mask` in pretrain/pretrain_helpers.py).
_COMPARED = ("[SEP]", "[CLS]", "[MASK]")


def find_input_shape(index: GraphIndex, parts: Iterable[Part]) -> tuple[Fact[int] | None, Fact[int] | None]:
    """Return the batch size and the sequence length that the graph was built for; None where it leaves them open."""
    shapes = [Fact(input_shape(index.graph, mask), mask) for mask in dict.fromkeys(part.mask for part in parts)]
    shape = index.agree("the shape of its input", shapes) if shapes else None
    if shape is None or shape.value is None or len(shape.value) != 2:
        return None, None
    batch, length = (Fact(size, shape.node) if size > 0 else None for size in shape.value)
    return batch, length


def find_special_ids(index: GraphIndex) -> dict[str, Fact[int]]:
    """Return the ids that are never masked: And(And(And(…, id != SEP), id != CLS), id != MASK)."""
    chains = []
    for node in index.graph.nodes.values():
        if node.op == "LogicalAnd":
            chain = _chain(index, node.name)
            if len(chain) == len(_COMPARED):
                chains.append(chain)
    return {
        token: index.agree(f"the id of {token}", [chain[place] for chain in chains])
        for place, token in enumerate(_COMPARED)
        if chains
    }


def _chain(index: GraphIndex, tensor: str) -> list[Fact[int]]:
    """Return the numbers that ids are compared with along a chain of `LogicalAnd`, the innermost first."""
    chain: list[Fact[int]] = []
    while len(chain) < len(_COMPARED):
        pair = index.patterns.inputs(tensor, {"LogicalAnd"}, 2)
        compared = index.patterns.inputs(pair[1], {"NotEqual"}, 2) if pair else None
        number = index.patterns.number(compared[1]) if compared else None
        if pair is None or compared is None or number is None:
            break
        chain.insert(0, Fact(int(number), index.patterns.node(compared[1]).name))
        tensor = pair[0]
    return chain


def find_temperature(index: GraphIndex) -> Fact[float] | None:
    """Return what the generator's logits are divided by before tokens are sampled from them."""
    logits = {node.name for head in ("generator", "cloze") for node in index.denses.get(HEADS[head], ())}
    found = []
    for node in index.graph.nodes.values():
        if node.op in DIVIDE and len(node.inputs) == 2:
            scores = index.patterns.node(index.patterns.unmoved(node.inputs[0]))
            if scores.op in GATHERS:  # two towers score every position, and pick the masked ones from the logits
                scores = index.patterns.node(index.patterns.unmoved(scores.inputs[0]))
            number = index.patterns.number(node.inputs[1])
            if scores.name in logits and number is not None:
                found.append(Fact(shortest(number), index.patterns.node(node.inputs[1]).name))
    return index.agree("the temperature", found) if found else None


def find_electric(index: GraphIndex) -> Fact[bool] | None:
    """Tell whether log q is added to the discriminator's logits, behind StopGradient: that makes it Electric.

    None where the graph has no loss that would show it.
    """
    logits = [node.name for node in index.denses.get(HEADS["discriminator"], ())]
    for node in index.graph.nodes.values():
        if node.op in ADD and len(node.inputs) == 2:
            squeezed = index.patterns.inputs(node.inputs[0], {"Squeeze"}, 1)
            added = index.graph.producer(node.inputs[1])
            if squeezed and index.patterns.node(squeezed[0]).name in logits and added.op == "StopGradient":
                return Fact(True, node.name)
    return Fact(False, logits[0]) if index.is_training_graph and logits else None
