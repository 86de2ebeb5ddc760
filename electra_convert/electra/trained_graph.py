"""What the graph that trained a checkpoint says of ELECTRA, and the graph itself as a reference that can be run.

    graph_patterns    attention, LayerNorm, dense, dropout: what they look like
    graph_variables   does the graph belong to the checkpoint?
    graph_index       all attentions, LayerNorms and dense layers of the graph
    graph_cut         the forward pass of one head, cut out of a training graph
    graph_parts       which heads and encoders can be run
    graph_towers      facts of an encoder: heads, activation, epsilon, dropout
    graph_training    facts of the training: length, special ids, temperature
    graph_run         hidden states and logits of any input

A fact is read off the structure, never guessed, and names the node it was read from. What the graph does not say is
None; layers that disagree, or a graph of another model, raise GraphError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from electra_convert.electra.graph_index import Fact, index_graph
from electra_convert.electra.graph_parts import Part, find_parts
from electra_convert.electra.graph_patterns import Patterns
from electra_convert.electra.graph_towers import TowerFacts, find_tower
from electra_convert.electra.graph_training import find_electric, find_input_shape, find_special_ids, find_temperature
from electra_convert.electra.graph_variables import match_variables
from electra_convert.tf1.graph import Graph

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class TrainedGraph:
    """The facts that a graph holds, and the parts of it that can be run. None: the graph does not say.

    `towers` are keyed by the scope of their variables (`electra`, `generator`, `generator_ltr`, …). `parts` has
    `discriminator`, `generator`, `cloze` (the head of two towers), `task/NAME` and `encoder`, as far as they are
    there; `not_runnable` says why another is not. `electric` tells Electric from two towers with ELECTRA's objective.
    """

    where: str
    tensorflow_version: str
    is_training_graph: bool
    towers: Mapping[str, TowerFacts]
    parts: Mapping[str, Part]
    not_runnable: Mapping[str, str]
    batch_size: Fact[int] | None
    trained_length: Fact[int] | None
    special_ids: Mapping[str, Fact[int]]
    temperature: Fact[float] | None
    electric: bool | None

    def run(
        self,
        part: str,
        input_ids: np.ndarray,
        input_mask: np.ndarray,
        segment_ids: np.ndarray,
        read_variable: Callable[[str], np.ndarray],
        dtype: Any = "float64",
        *,
        exact: bool = True,
    ) -> dict[str, np.ndarray]:
        """Run a part of the graph: see `electra_convert.electra.graph_run.run_part`, which this calls."""
        from electra_convert.electra.graph_run import run_part

        return run_part(self, part, input_ids, input_mask, segment_ids, read_variable, dtype, exact=exact)


def find_facts(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> TrainedGraph:
    """Find ELECTRA in a graph; `shapes` are all variables of the checkpoint.

    Raises GraphError where the graph does not belong to the checkpoint, holds no encoder, or contradicts itself.
    """
    index = index_graph(Patterns(graph, match_variables(graph, shapes)), shapes)
    parts, not_runnable = find_parts(index)
    batch_size, trained_length = find_input_shape(index, parts.values())
    electric = find_electric(index)
    return TrainedGraph(
        where=graph.where,
        tensorflow_version=graph.tensorflow_version,
        is_training_graph=index.is_training_graph,
        towers={scope: find_tower(index, scope, parts.values()) for scope in index.layers},
        parts=parts,
        not_runnable=not_runnable,
        batch_size=batch_size,
        trained_length=trained_length,
        special_ids=find_special_ids(index),
        temperature=find_temperature(index),
        electric=electric.value if electric else None,
    )
