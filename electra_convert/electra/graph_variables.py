"""Tells whether a graph belongs to a checkpoint, by its variables: names and shapes, in both directions.

A `.meta` may be of another step, another run or another size. Shapes alone do not settle it: a network of fewer layers
has no wrong shape. So every weight of the checkpoint must be in the graph, with the same shape. What only the graph
has (metrics, slots that were not kept) does not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from electra_convert.errors import GraphError
from electra_convert.tf1.graph import Graph, Shape
from electra_convert.wording import some

# Variables that no forward pass needs: the optimizer's slots, the step, and what released checkpoints carry along.
_BOOKKEEPING = re.compile(r"(.+/adam_[mv]|global_step|.*generator_predictions/temperature)")
_PART = re.compile(r"(.+)/part_\d+")


def match_variables(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the checkpoint's name of each variable node that is in the checkpoint.

    `shapes` are the checkpoint's variables. One that was trained in parts is `NAME/part_0`, … in the graph, and NAME
    in the checkpoint. Raises GraphError unless graph and checkpoint fit.
    """
    names: dict[str, str] = {}
    parts: dict[str, list[Shape]] = {}
    for node, shape in graph.variables.items():
        part = _PART.fullmatch(node)
        names[node] = part[1] if part and node not in shapes else node
        parts.setdefault(names[node], []).append(shape)
    other = [name for name in sorted(shapes) if name in parts and not _covers(parts[name], shapes[name])]
    if other:
        raise GraphError(
            "graph does not belong to the checkpoint: shapes differ",
            where=graph.where,
            found=some([f"{name} {' + '.join(map(_shown, parts[name]))}" for name in other]),
            expected=some([f"{name} {_shown(shapes[name])}" for name in other]),
        )
    absent = [name for name in sorted(shapes) if name not in parts and not _BOOKKEEPING.fullmatch(name)]
    if absent:
        raise GraphError(
            "graph does not belong to the checkpoint: it lacks variables", where=graph.where, missing=some(absent)
        )
    return {node: name for node, name in names.items() if name in shapes}


def _covers(parts: Sequence[Shape], whole: tuple[int, ...]) -> bool:
    """Tell whether parts, put together along one axis, have the shape of the whole."""
    if len(parts) == 1:
        return parts[0] == whole
    known = [part for part in parts if part is not None and len(part) == len(whole)]
    return len(known) == len(parts) and any(
        sum(part[axis] for part in known) == whole[axis]
        and all(part[:axis] + part[axis + 1 :] == whole[:axis] + whole[axis + 1 :] for part in known)
        for axis in range(len(whole))
    )


def _shown(shape: Shape) -> str:
    return "of unknown shape" if shape is None else str(list(shape))
