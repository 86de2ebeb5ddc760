"""The fine-tuned task that a conversion exports: its kind, the names of its labels, and what a reader must know of it.

A checkpoint stores neither the names of the labels nor the scale of a score. Names come from `--labels`, from a given
config, or from Google's code, which knows its own tasks; else they are LABEL_0, LABEL_1, …, as in transformers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from electra_convert.electra.config import Origin
from electra_convert.electra.settings import Given
from electra_convert.electra.task_kinds import KNOWN_TASKS, Task
from electra_convert.errors import SettingError, UsageError
from electra_convert.notices import Notice, note

# Measured with torch 2.13 on outputs of both signs from 1e-4 to 60,000: at most 1.0 epsilon of the output, in each of
# float64, float32, float16 and bfloat16; one layer is off by half of it.
MIRRORED = (
    "Google's head is one dense layer on the first token, h · K + b. ElectraForSequenceClassification computes "
    "out_proj(gelu(dense(h))). Since gelu(z) - gelu(-z) = z, dense = [K^T; -K^T; 0] with bias [b; -b; 0], and "
    "out_proj = [I, -I, 0] with bias 0, give the same outputs, to one rounding more of the type that the model is run "
    "in. An output that overflows that type makes the others NaN."
)
UNKNOWN_SCALE = "The output is (score - lowest) / highest on the scale of the training data, which is not stored."
SEGMENTS_OF_TAGGING = (
    "Google's code trains tagging with segment 1 on every real token, and scores the first piece of each word: pass "
    "token_type_ids of 1, since tokenizers give 0."
)
NO_ANSWER_MASK = (
    "Google's code lets an answer lie in the passage (segment 1) or at the first token only, by 1000 * (mask - 1) on "
    "the logits: leave other tokens out before the softmax."
)


class TaskPlan(NamedTuple):
    """A task to export; `labels` are empty for question answering, whose class has two outputs and no names."""

    task: Task
    labels: tuple[str, ...]
    labels_origin: Origin

    @property
    def scale(self) -> tuple[float, float] | None:
        """The lowest and the highest score of a regression, where Google's code knows the task."""
        known = KNOWN_TASKS.get(self.task.name)
        return known.scale if known and self.task.kind == "regression" else None

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says of the task."""
        names: dict[str, Any] = {}
        if self.labels:
            names["id2label"] = {str(number): name for number, name in enumerate(self.labels)}
            names["label2id"] = {name: number for number, name in enumerate(self.labels)}
        if self.task.problem_type:
            names["problem_type"] = self.task.problem_type
        return names

    def head_told(self) -> list[str]:
        """Return how the head is held by its class."""
        return [MIRRORED] if self.task.kind in {"classification", "regression"} else []

    def cautions(self) -> list[str]:
        """Return what a user must know to read the outputs as Google's code does."""
        if self.task.kind == "tagging":
            return [SEGMENTS_OF_TAGGING]
        if self.task.kind == "question answering":
            return [NO_ANSWER_MASK]
        if self.task.kind == "regression":
            if self.scale is None:
                return [UNKNOWN_SCALE]
            lowest, highest = self.scale
            added = f" + {lowest:g}" if lowest else ""
            return [f"The output is scaled: score = {highest:g} * output{added} ({lowest:g} to {highest:g})."]
        return []

    def to_json(self) -> dict[str, Any]:
        """Return the task as plain data."""
        return {
            "name": self.task.name,
            "kind": {
                "value": self.task.kind,
                "source": self.task.origin.source,
                "detail": self.task.origin.detail,
            },
            "labels": {
                "value": list(self.labels),
                "source": self.labels_origin.source,
                "detail": self.labels_origin.detail,
            }
            if self.labels
            else None,
            "problem_type": self.task.problem_type,
            "scale": list(self.scale) if self.scale else None,
            "head": self.head_told(),
            "cautions": self.cautions(),
        }


def plan_task(task: Task, given: Given) -> tuple[TaskPlan, list[Notice]]:
    """Return a task with the names of its labels, and what a person should know.

    Args:
        task: the task to export.
        given: names, or a config that has some.

    Raises:
        SettingError: the names are not as many as the head has outputs, or not usable.
        UsageError: names are given for question answering.
    """
    if task.kind == "question answering":
        if given.labels is not None:
            raise UsageError("question answering has no labels", hint="leave --labels out")
        return TaskPlan(task, (), Origin("shape", "")), []
    if given.labels is not None:
        return TaskPlan(task, _checked(given.labels, task, given.labels_where), Origin("flag", "--labels")), []
    if given.config and "id2label" in given.config:
        names = _names_of(given.config["id2label"], given.config_where)
        origin = Origin("config", os.path.basename(given.config_where))
        return TaskPlan(task, _checked(names, task, given.config_where), origin), []
    known = KNOWN_TASKS.get(task.name)
    if known and len(known.labels) == task.labels:
        return TaskPlan(task, known.labels, Origin("rule", f"google-research/electra's task {task.name}")), []
    names = tuple(f"LABEL_{number}" for number in range(task.labels))
    plan = TaskPlan(task, names, Origin("rule", "names of labels are not stored"))
    if task.kind == "regression":
        return plan, []
    return plan, [note("labels", "the names of the labels are not stored", found=f"{task.labels} outputs",
                       taken=f"LABEL_0 to LABEL_{task.labels - 1}", settle="--labels")]  # fmt: skip


def _names_of(id2label: object, where: str) -> tuple[str, ...]:
    numbers = [str(number) for number in range(len(id2label))] if isinstance(id2label, Mapping) else []
    if not isinstance(id2label, Mapping) or set(id2label) != set(numbers):
        raise SettingError("id2label of the config does not number its labels", where=where, found=repr(id2label))
    return tuple(str(id2label[number]) for number in numbers)


def _checked(names: tuple[str, ...], task: Task, where: str) -> tuple[str, ...]:
    if len(names) != task.labels:
        raise SettingError(
            "there are not as many labels as the task has outputs",
            where=where,
            found=f"{len(names)}: {', '.join(names)}",
            expected=f"{task.labels}, from the shape of {task.scope}/dense/bias",
        )
    faults = {
        "a label is empty": "" in names,
        "two labels have the same name": len(set(names)) < len(names),
        "a label has a character that cannot be shown": not all(map(str.isprintable, names)),
    }
    for fault, is_there in faults.items():
        if is_there:
            raise SettingError(fault, where=where, found=", ".join(names), expected="names that differ, of letters")
    return names
