"""Which half, or which task, a Hugging Face folder is; whoever wrote it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from electra_convert.electra.config import Origin
from electra_convert.electra.heads import CLASSES
from electra_convert.electra.mapping import ARCHITECTURE, ENCODER_ARCHITECTURE, HalfName
from electra_convert.electra.task_kinds import Task
from electra_convert.errors import FolderError

if TYPE_CHECKING:
    from electra_convert.examination import Examination

HALF_OF: dict[str, HalfName] = {
    **{architecture: half for half, architecture in ARCHITECTURE.items()},
    **{head.architecture: "task" for head in CLASSES.values()},
    ENCODER_ARCHITECTURE: "encoder",
}

# The first part of a tensor's name that tells the class, where config.json does not; all others are a tower's.
HALF_OF_TENSORS: dict[str, HalfName] = {
    "discriminator_predictions": "discriminator",
    "generator_predictions": "generator",
    "classifier": "task",
    "qa_outputs": "task",
}
# Has as many values as the head has labels.
LABELLED = {"classifier.out_proj.bias", "classifier.bias"}
TOWER_TENSORS = {"electra", "embeddings", "embeddings_project", "encoder"}


def find_halves(folder: Path) -> Mapping[HalfName, Path]:
    """Return the halves that a folder holds: itself, or its subfolders `discriminator` and `generator`.

    Raises:
        FolderError: neither is a Hugging Face ELECTRA folder.
    """
    from electra_convert.hf.config import read_config
    from electra_convert.stored import stored_names

    if (folder / "config.json").exists():
        told_by_config = read_config(folder / "config.json").get("architectures")
        architectures = [str(name) for name in told_by_config] if isinstance(told_by_config, list) else []
        named = [HALF_OF[name] for name in architectures if name in HALF_OF]
        heads = {name.split(".")[0] for name in stored_names(folder)} if not architectures else set()
        told = [half for head, half in HALF_OF_TENSORS.items() if head in heads]
        if heads and heads <= TOWER_TENSORS:
            told = ["encoder"]
        if named or told:
            return {(named or told)[0]: folder}
        raise FolderError(
            "the folder holds no model that can be compared",
            where=os.fspath(folder),
            found=architectures or "no architectures in config.json",
            expected=" or ".join(HALF_OF),
        )
    halves: dict[HalfName, Path] = {
        half: folder / half for half in ARCHITECTURE if (folder / half / "config.json").exists()
    }
    if not halves:
        raise FolderError(
            "not a Hugging Face folder",
            where=os.fspath(folder),
            found="no config.json",
            expected="config.json with model.safetensors, or folders `discriminator` and `generator`",
        )
    return halves


def find_task(examination: Examination, folder: Path, name: str | None = None) -> Task:
    """Return the task that a folder is to be compared with: as named, as recorded, or the only one it can be.

    Whether a head classifies or tags comes from the graph or the task's name, and from the folder only without both.

    Raises:
        LayoutError: the checkpoint has no task, or several that the folder could be.
        SettingError: it has none of this name.
    """
    from electra_convert.hf.config import read_config
    from electra_convert.hf.files import read_json
    from electra_convert.hf.folder import RECORD
    from electra_convert.stored import StoredTensors

    heads = {task: head.without_answerability() for task, head in examination.layout.heads.items()}
    named = read_config(folder / "config.json").get("architectures") or []
    kinds = {kind for kind, head in CLASSES.items() if head.architecture in named} or set(CLASSES)
    if name is None and (folder / RECORD).exists():
        recorded = read_json(folder / RECORD, "the record of the conversion", FolderError).get("task")
        told = recorded.get("name") if isinstance(recorded, dict) else None
        name = told if told in heads else None
    if name is None and len(heads) > 1:
        tensors = StoredTensors(folder)
        counts = {shape[0] for tensor, shape in tensors.shapes.items() if tensor in LABELLED and len(shape) == 1}
        tensors.close()
        fitting = [
            head.task
            for head in heads.values()
            if kinds & set(head.kinds) and (len(head.layers) > 1 or head.labels in counts)
        ]
        name = fitting[0] if len(fitting) == 1 else None
    task = examination.task(name, answerability=False)
    own = [kind for kind in heads[task.name].kinds if kind in kinds]
    if not task.notices or not own:
        return task
    return task._replace(kind=own[0], origin=Origin("config", "architectures in config.json"), notices=())
