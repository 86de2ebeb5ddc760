"""`inspect`: what a checkpoint holds and what can be exported, read from its index and graph alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from electra_convert.electra.config import Origin
from electra_convert.electra.layout import HALVES, Kind
from electra_convert.electra.mapping import HalfName, variables_of
from electra_convert.electra.settings import Given, sizes_of
from electra_convert.errors import InputError, VocabularyError
from electra_convert.examination import CheckpointSummary, Examination, examine, find_vocabulary, summarise
from electra_convert.hf.casing import find_casing
from electra_convert.hf.vocabulary import read_vocabulary
from electra_convert.notices import Notice, Noticed
from electra_convert.opening import opened
from electra_convert.options import Reader, StrPath
from electra_convert.planning import export_dtype, setup_told
from electra_convert.remote.urls import shown_path

if TYPE_CHECKING:
    from electra_convert.tf1.checkpoint import Checkpoint

KINDS: tuple[Kind, ...] = ("discriminator", "generator", "shared", "task", "optimizer", "known scalar", "unknown")


@dataclass(frozen=True, slots=True)
class HalfView:
    """One half: its sizes and settings, how much it is, and whether it can be exported.

    Of a fine-tuned checkpoint also the encoder, and each task with its name, its kind, who tells that, and its labels.
    """

    half: HalfName
    config: Mapping[str, Any]
    sources: Mapping[str, Origin]
    parameters: int
    tensors: int
    nbytes: int
    exportable: bool
    reason: str
    task: str = ""
    task_kind: str = ""
    task_source: str = ""
    labels: int = 0

    @property
    def told(self) -> str:
        """What people call it."""
        return f"task {self.task}" if self.task else self.half

    def to_json(self) -> dict[str, Any]:
        """Return the half as plain data."""
        return {
            "half": self.half,
            "exportable": self.exportable,
            "reason": self.reason or None,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "bytes": self.nbytes,
            "config": {
                key: {"value": value, "source": self.sources[key].source, "detail": self.sources[key].detail}
                for key, value in self.config.items()
            },
            **({"task": self._task_json()} if self.task else {}),
        }

    def _task_json(self) -> dict[str, Any]:
        kind = {"value": self.task_kind, "source": self.task_source} if self.task_kind else None
        return {"name": self.task, "kind": kind, "labels": self.labels}


@dataclass(frozen=True, slots=True)
class VariableView:
    """One variable and what it is to ELECTRA."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    slices: int
    kind: Kind

    def to_json(self) -> dict[str, Any]:
        """Return the variable as plain data."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "bytes": self.nbytes,
            "slices": self.slices,
            "kind": self.kind,
        }


@dataclass(frozen=True, slots=True)
class VocabularyView:
    """The vocabulary beside the checkpoint: its entries and the casing it shows, or why it cannot be used."""

    entries: int
    casing: str | None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the vocabulary as plain data."""
        return {"entries": self.entries, "casing": self.casing, "problem": self.problem}


@dataclass(frozen=True, slots=True)
class Inspection(Noticed):
    """What a checkpoint holds."""

    checkpoint: CheckpointSummary
    setup: str
    halves: tuple[HalfView, ...]
    variables: tuple[VariableView, ...]
    vocabulary: VocabularyView | None
    missing: tuple[str, ...]
    notices: tuple[Notice, ...]

    @property
    def counts(self) -> dict[Kind, int]:
        """How many variables there are of each kind."""
        return {kind: sum(variable.kind == kind for variable in self.variables) for kind in KINDS}

    @property
    def optimizer_share(self) -> float:
        """The optimizer's share of the bytes, from 0 to 1."""
        total = sum(variable.nbytes for variable in self.variables)
        slots = sum(variable.nbytes for variable in self.variables if variable.kind == "optimizer")
        return slots / total if total else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the inspection as plain data."""
        return {
            "checkpoint": self.checkpoint.to_json(),
            "setup": self.setup,
            "halves": [half.to_json() for half in self.halves],
            "counts": self.counts,
            "optimizer_share": round(self.optimizer_share, 6),
            "vocabulary": None if self.vocabulary is None else self.vocabulary.to_json(),
            "missing": list(self.missing),
            "variables": [variable.to_json() for variable in self.variables],
            "notes": [notice.to_json() for notice in self.notes],
        }


def inspect(checkpoint: StrPath | Checkpoint, *, reader: Reader = "auto") -> Inspection:
    """Return what a checkpoint holds; reads its index and `.meta`, and no tensor but `global_step`.

    Works on an index alone, without its data files.

    >>> from electra_convert import inspect
    >>> inspection = inspect("fixtures/google/default_small")
    >>> [(half.half, half.config["hidden_size"]) for half in inspection.halves]
    [('discriminator', 32), ('generator', 8)]

    Raises:
        CheckpointError: the files are damaged, or no TensorFlow 1 checkpoint.
        LayoutError: the checkpoint is another model's.
    """
    with opened(checkpoint, reader, data="optional", fetch=False) as source:
        examination = examine(source)
        layout = examination.layout
        halves = [_view(source, examination, name) for name in HALVES]
        if layout.heads:
            halves += [_view_task(source, examination, name) for name in layout.heads]
            halves.append(_view(source, examination, "encoder"))
        variables = tuple(
            VariableView(name, its.dtype.name, its.shape, its.nbytes, its.slices, layout.kinds[name])
            for name, its in source.variables.items()
        )
        graph = examination.graph
        length = graph.trained_length.value if graph and graph.trained_length else None
        vocabulary, found = _vocabulary(source)
        shown = shown_path(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else source.shown
        return Inspection(
            checkpoint=summarise(shown, source, length),
            setup=setup_told(examination),
            halves=tuple(halves),
            variables=variables,
            vocabulary=vocabulary,
            missing=source.missing,
            notices=(*examination.notices, *found),
        )


def _view(source: Checkpoint, examination: Examination, name: HalfName) -> HalfView:
    """Return a half as `convert` would export it with nothing else given, or why it would not."""
    half = examination.layout.any(name)
    config: Mapping[str, Any] = sizes_of(half) if half.whole else {}
    origins: Mapping[str, Origin] = {key: Origin("shape", "") for key in config}
    reason = ""
    try:
        settled = examination.settle(name, Given())
        config, origins = settled.config.to_json(), settled.origins
        export_dtype(source, name, half.moves, None)
        examination.layout.refuse_unknown()
    except InputError as error:
        reason = error.message
    return HalfView(
        half=name,
        config=config,
        sources=origins,
        parameters=sum(prod(move.tensor_shape) for move in half.moves),
        tensors=len(half.moves),
        nbytes=sum(source.variables[name].nbytes for name in variables_of(half.moves)),
        exportable=not reason,
        reason=reason,
    )


def _view_task(source: Checkpoint, examination: Examination, name: str) -> HalfView:
    """Return a task as `convert` would export it with nothing else given, or why it would not."""
    labels = examination.layout.heads[name].labels
    try:
        task = examination.task(name)
    except InputError as error:
        return HalfView("task", {}, {}, 0, 0, 0, False, error.message, name, labels=labels)
    view = _view(source, examination.with_task(task), "task")
    return replace(view, task=name, task_kind=task.kind, task_source=task.origin.source, labels=labels)


def _vocabulary(source: Checkpoint) -> tuple[VocabularyView | None, list[Notice]]:
    path, notices = find_vocabulary(source)
    if path is None:
        return None, []
    try:
        vocabulary = read_vocabulary(path)
    except VocabularyError as error:
        return VocabularyView(0, None, error.message), notices
    casing = find_casing(vocabulary.tokens)
    told = "cased"
    if casing.do_lower_case:
        told = "lower case, accents stripped" if casing.strip_accents else "lower case, accents kept"
    return VocabularyView(len(vocabulary.tokens), told), notices
