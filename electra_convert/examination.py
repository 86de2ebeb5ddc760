"""A checkpoint looked at as ELECTRA: its layout, its graph, its trained length, the vocabulary beside it.

What `inspect`, `convert` and `verify` need to know before each does its own work.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from electra_convert.electra.heads import TaskKind, choose_head
from electra_convert.electra.layout import Layout, find_layout
from electra_convert.electra.mapping import HalfName
from electra_convert.electra.settings import Given, GraphValues, Settled, settle
from electra_convert.electra.task_kinds import Task, settle_task
from electra_convert.errors import GraphError
from electra_convert.notices import Notice, note, warning
from electra_convert.wording import some

if TYPE_CHECKING:
    from electra_convert.electra.trained_graph import TrainedGraph
    from electra_convert.tf1.checkpoint import Checkpoint
    from electra_convert.tf1.sources import Source

AnyPath = TypeVar("AnyPath", bound=PurePath)

POSITIONS = "electra/embeddings/position_embeddings"

# A partitioner splits slots too, also those of a variable of one part.
_POSITION_SLOT = re.compile(re.escape(POSITIONS) + r"/(?:part_([0-9]{1,9})/)?adam_v")


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """Which checkpoint it was: as typed, as found, and the little that stands outside of its tensors."""

    path: str
    prefix: str
    name: str
    format: str
    shards: int
    step: int | None
    step_source: str
    nbytes: int
    trained_length: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain data."""
        return {field: getattr(self, field) for field in self.__slots__}


class Examination(NamedTuple):
    """A checkpoint as ELECTRA."""

    layout: Layout
    graph: TrainedGraph | None
    ignored: tuple[str, ...]
    notices: tuple[Notice, ...]

    def settle(self, half: HalfName, given: Given) -> Settled:
        """Return the config of a half with the source of every field; see `electra.settings.settle`."""
        scopes = self.layout.half(half).scopes
        values = graph_values(self.graph, scopes.body) if self.graph and scopes else None
        return settle(self.layout, half, given, values)

    def task(self, name: str | None, kind: TaskKind | None = None, *, answerability: bool = True) -> Task:
        """Return a task that can be exported, or the only one, of a kind that is given or found out.

        Args:
            name: which; None is the only one.
            kind: what the user says.
            answerability: False leaves the answerability classifier of question answering out of account.

        Raises:
            LayoutError: there is none, there are several, or no class holds it.
            SettingError: there is none of this name or kind.
        """
        if self.layout.heads:
            self.layout.half("encoder")
        heads = self.layout.heads
        if not answerability:
            heads = {task: head.without_answerability() for task, head in heads.items()}
        head = choose_head(heads, name)
        part = self.graph.parts.get(f"task/{head.task}") if self.graph else None
        reach = part.reach.get("dense") if part else None
        told = (reach.value, reach.node) if reach else None
        return settle_task(head, self.layout.letters["H"], kind, told)

    def with_task(self, task: Task) -> Examination:
        """Return the examination with a task chosen: `layout.half("task")` is it."""
        return self._replace(layout=self.layout.with_task(task))


def examine(checkpoint: Checkpoint, ignore: Sequence[str] = ()) -> Examination:
    """Return what an open checkpoint holds.

    Args:
        checkpoint: the open checkpoint; no tensor data is read.
        ignore: patterns (`*`, `?`, `[…]`) of variables to leave out of account.

    Raises:
        LayoutError: it is no ELECTRA that we know.
    """
    shapes = {name: variable.shape for name, variable in checkpoint.variables.items()}
    ignored = tuple(name for name in shapes if any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore))
    kept = {name: shape for name, shape in shapes.items() if name not in set(ignored)}
    layout = find_layout(kept)
    graph, notices = _read_graph(checkpoint, shapes)
    notices = [*checkpoint.notices, *notices, *_slot_notices(layout, checkpoint)]
    if ignored:
        notices.append(warning("ignored", "variables were left out as asked", found=some(ignored)))
    return Examination(layout, graph, ignored, tuple(notices))


def summarise(path: str, checkpoint: Checkpoint, trained_length: int | None) -> CheckpointSummary:
    """Return the summary of an open checkpoint; reads `global_step` and nothing else."""
    return CheckpointSummary(
        path=path,
        prefix=checkpoint.shown,
        name=checkpoint.name,
        format=checkpoint.format,
        shards=checkpoint.shards,
        step=checkpoint.step,
        step_source=checkpoint.step_source,
        nbytes=checkpoint.nbytes,
        trained_length=trained_length,
    )


def graph_values(graph: TrainedGraph, body: str) -> GraphValues | None:
    """Return what the graph knows of the tower at `body`; None where the tower is not in it."""
    tower = graph.towers.get(body)
    if tower is None:
        return None
    return GraphValues({field: (fact.value, fact.node) for field, fact in tower.settings().items()})


def trained_length_of_slots(checkpoint: Checkpoint) -> int | None:
    """Return one more than the last position that was ever trained, as the optimizer's second moments show it.

    Adam's `adam_v` of a row that no example reached is exactly zero. None without such a slot, or where its parts are
    not as large as the position table.
    """
    import numpy as np

    table = checkpoint.variables.get(POSITIONS)
    matches = [match for match in map(_POSITION_SLOT.fullmatch, checkpoint.variables) if match]
    slots = [checkpoint.variables[match[0]] for match in sorted(matches, key=lambda match: int(match[1] or 0))]
    if table is None or not slots or any(len(slot.shape) != 2 or not slot.dtype.size for slot in slots):
        return None
    heights, widths = zip(*(slot.shape for slot in slots), strict=True)
    along_rows = (sum(heights), *set(widths)) == table.shape
    along_columns = (*set(heights), sum(widths)) == table.shape
    if not along_rows and not along_columns:
        return None
    trained = [np.any(checkpoint.read(slot.name) != 0, axis=1) for slot in slots]
    reached = np.flatnonzero(np.concatenate(trained) if along_rows else np.any(trained, axis=0))
    return int(reached[-1]) + 1 if len(reached) else None


def find_vocabulary(checkpoint: Checkpoint | Source) -> tuple[Path | None, list[Notice]]:
    """Return the vocabulary that belongs to a checkpoint: beside it, or where Google's code keeps it.

    `configure_pretraining.py` puts checkpoints into DATA/models/NAME and vocab.txt into DATA; fine-tuned ones go to
    DATA/models/NAME/finetuning_models/TASK_model_N, their vocabulary to DATA/models/NAME or DATA.
    """
    folder = checkpoint.folder
    if (folder / "vocab.txt").exists():
        return folder / "vocab.txt", []
    resolved = folder.resolve()
    for above in vocabulary_folders(resolved):
        if (above / "vocab.txt").exists():
            number = "two" if above == resolved.parents[1] else "four"
            found = f"vocab.txt {number} folders up, as Google's code keeps it"
            return above / "vocab.txt", [
                warning("vocab-elsewhere", "the vocabulary does not stand beside the checkpoint", found=found,
                        hint="make sure it is this checkpoint's, or pass --vocab FILE")
            ]  # fmt: skip
    return None, []


def vocabulary_folders(folder: AnyPath) -> list[AnyPath]:
    """Return the folders above a checkpoint's in which Google's code keeps the vocabulary, the likelier one first."""
    parents = folder.parents
    above = []
    if len(parents) > 1 and parents[0].name in {"models", "finetuning_models"}:
        above.append(parents[1])
    if len(parents) > 3 and parents[0].name == "finetuning_models":
        above.append(parents[3])
    return above


def _read_graph(
    checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[TrainedGraph | None, list[Notice]]:
    if checkpoint.meta is None:
        return None, []
    from electra_convert.electra.trained_graph import find_facts
    from electra_convert.tf1.graph import read_graph

    try:
        return find_facts(read_graph(checkpoint.meta), shapes), []
    except GraphError as error:
        # Not `where`: a graph's names can hold paths of the machine that trained it.
        facts = [
            ("file", checkpoint.meta.name),
            *((label, fact) for label, fact in error.facts.items() if label != "where"),
        ]
        return None, [Notice("warning", "graph-unusable", f"graph not usable: {error.message}", tuple(facts))]


def _slot_notices(layout: Layout, checkpoint: Checkpoint) -> list[Notice]:
    """Return a note for slots of another shape or type than their variable: harmless, but no trainer writes them."""
    odd = []
    for name in layout.names_of("optimizer"):
        slot, owner = checkpoint.variables[name], checkpoint.variables.get(name.rsplit("/", 1)[0])
        if owner is not None and (owner.shape, owner.dtype) != (slot.shape, slot.dtype):
            odd.append(str(slot))
    if not odd:
        return []
    return [note("slots", "optimizer slots have another shape or type than their variable", found=some(odd))]
