"""What kind of task a head was trained for, and who says so: classification and tagging have the same variables.

The first that knows decides:

    flag     given on the command line (or by keyword)
    graph    the original graph applies the head to the first token, or to each
    shape    two heads of one output answer questions; one output is a score
    rule     the name of a task that Google's code knows; else classification, with a warning
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from electra_convert.electra.config import Origin
from electra_convert.electra.heads import CLASSES, ENCODER_HINT, REFUSED, ROWS, SCOPE, Head, TaskKind
from electra_convert.electra.mapping import ARCHITECTURE, ENCODER_ARCHITECTURE, HalfName, Row
from electra_convert.errors import LayoutError, SettingError
from electra_convert.notices import Notice, warning


class KnownTask(NamedTuple):
    """A task that Google's code knows by its name: its kind, its labels in order, the scale of its score."""

    kind: TaskKind
    labels: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None


_YES_NO, _ENTAILS = ("0", "1"), ("entailment", "not_entailment")

# finetune/task_builder.py, finetune/classification/classification_tasks.py. A tagging task's labels come from its data.
KNOWN_TASKS: dict[str, KnownTask] = {
    "cola": KnownTask("classification", _YES_NO),
    "mnli": KnownTask("classification", ("contradiction", "entailment", "neutral")),
    "mrpc": KnownTask("classification", _YES_NO),
    "qnli": KnownTask("classification", _ENTAILS),
    "qqp": KnownTask("classification", _YES_NO),
    "rte": KnownTask("classification", _ENTAILS),
    "sst": KnownTask("classification", _YES_NO),
    "sts": KnownTask("regression", scale=(0.0, 5.0)),
    "chunk": KnownTask("tagging"),
    **dict.fromkeys(
        ("squad", "squadv1", "newsqa", "naturalqs", "triviaqa", "searchqa"), KnownTask("question answering")
    ),
}


class Task(NamedTuple):
    """A head that can be exported: what kind of task it was trained for, and who says so."""

    name: str
    kind: TaskKind
    origin: Origin
    labels: int
    notices: tuple[Notice, ...] = ()

    @property
    def architecture(self) -> str:
        """The class of transformers that computes it."""
        return CLASSES[self.kind].architecture

    @property
    def problem_type(self) -> str | None:
        """What `config.json` calls the problem."""
        return CLASSES[self.kind].problem_type

    @property
    def scope(self) -> str:
        """The scope of its variables."""
        return f"{SCOPE}/{self.name}"

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of its tensors."""
        return tuple(row for row in ROWS if row.part == CLASSES[self.kind].part)


def architecture_of(half: HalfName, task: Task | None) -> str:
    """Return the class of transformers that loads a folder."""
    if task is not None:
        return task.architecture
    return ENCODER_ARCHITECTURE if half == "encoder" else ARCHITECTURE[half]


def settle_task(
    head: Head,
    hidden_size: int,
    flag: TaskKind | None = None,
    reach: tuple[Literal["first", "each"], str] | None = None,
) -> Task:
    """Return what kind of task a head was trained for: from the flag, the graph, its shape, or the task's name.

    Args:
        head: a head that is not refused.
        hidden_size: H.
        flag: what the user says.
        reach: whether the graph applies the head to the first token or to each, and the node that says so.

    Raises:
        SettingError: the flag names a kind that this head cannot be, or that the graph contradicts.
        LayoutError: the class has no room for that many labels.
    """
    told = _told_by_graph(head, reach)
    if flag is not None and flag not in head.kinds:
        raise SettingError(
            f"the head of the task {head.task} is not one of {flag}",
            found=f"dense layers {', '.join(sorted(head.layers))} with {head.labels} outputs",
            expected=" or ".join(head.kinds),
        )
    if flag is not None and told is not None and told[0] != flag:
        raise SettingError(
            "the given kind of task contradicts the graph that trained the checkpoint",
            found=[f"{flag}, flag: --task-kind", f"{told[0]}, graph: {told[1]}"],
            expected="one kind",
            hint="leave --task-kind out: the graph knows",
        )
    notices: tuple[Notice, ...] = ()
    known = KNOWN_TASKS.get(head.task)
    if flag is not None:
        kind, origin = flag, Origin("flag", "--task-kind")
    elif told is not None:
        kind, origin = told[0], Origin("graph", told[1])
    elif len(head.kinds) == 1 or head.labels == 1:
        kind, origin = head.kinds[0], Origin("shape", f"{head.scope}/{', '.join(sorted(head.layers))}")
    elif known is not None and known.kind in head.kinds:
        kind, origin = known.kind, Origin("rule", f"google-research/electra's task {head.task}")
    else:
        kind, origin = head.kinds[0], Origin("rule", "most tasks of google-research/electra")
        notices = (_kind_warning(head, kind),)
    if kind == "classification" or kind == "regression":
        _refuse_many_labels(head, hidden_size)
    return Task(head.task, kind, origin, head.labels, notices)


def _told_by_graph(head: Head, reach: tuple[Literal["first", "each"], str] | None) -> tuple[TaskKind, str] | None:
    if reach is None or len(head.kinds) == 1:
        return None
    return ("tagging" if reach[0] == "each" else head.kinds[0]), reach[1]


def _kind_warning(head: Head, kind: TaskKind) -> Notice:
    return warning(
        "task-kind",
        f"whether the task {head.task} classifies the text or tags each token is not stored in the variables",
        hint="pass --task-kind classification or --task-kind tagging, or keep the .meta file beside the checkpoint",
        taken=f"{kind}, since most tasks of google-research/electra are",
    )


def _refuse_many_labels(head: Head, hidden_size: int) -> None:
    if 2 * head.labels > hidden_size:
        raise LayoutError(
            f"{REFUSED.format(task=head.task)}ElectraForSequenceClassification has no room for its labels",
            found=f"{head.labels} labels, hidden size {hidden_size}",
            expected=f"at most {hidden_size // 2} labels, each of which takes two rows of the class's first layer",
            hint=ENCODER_HINT,
        )
