"""Google's fine-tuned heads: how each is recognised, and the tensors of transformers that compute the same.

`run_finetuning.py` puts a head below `task_specific/NAME/`, beside the one encoder `electra` (google-research/electra,
`finetune/classification`, `finetune/tagging`, `finetune/qa`). h is the last hidden state [S, H], N counts labels.

    classification      dense [H, N]                     h[0] · K + b
    regression          dense [H, 1]                     h[0] · K + b, for (score - lowest) / highest
    tagging             dense [H, N]                     h · K + b
    question answering  dense [H, 1], dense_1 [H, 1]     h · K + b for the start, and for the end
      with answerability  and dense_2 (and dense_3)      no class of transformers has a place for it
      joint               qa_hidden, dense, dense_1, …   the end depends on the start: no class computes it

ElectraForSequenceClassification has two layers, out_proj(gelu(dense(h[0]))), and yet holds Google's one: since
gelu(z) - gelu(-z) = z·Φ(z) + z·Φ(-z) = z,

    dense     [K^T; -K^T; 0] [H, H], bias [b; -b; 0]
    out_proj  [I, -I, 0] [N, H], bias 0

gives h[0] · K + b, to rounding, for 2 N <= H. The two terms have the same sign, so nothing cancels; only a value that
overflows makes the others NaN too, where one layer leaves them alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from electra_convert.electra.mapping import COPY, TRANSPOSE, Operation, Row, Shape
from electra_convert.errors import LayoutError, SettingError
from electra_convert.wording import Fact, some

TaskKind = Literal["classification", "regression", "tagging", "question answering"]

TASK_KINDS: tuple[TaskKind, ...] = ("classification", "regression", "tagging", "question answering")

SCOPE = "task_specific"

ENCODER_HINT = "--export encoder gives the bare ElectraModel"

# How a refusal begins; what follows is the reason.
REFUSED = "the task {task} cannot be exported: "

# fmt: off
ROWS = (
    #   part                  TensorFlow variables                         Hugging Face tensor           operation            shape  the tensor's shape
    Row("classification",     "{head}/dense/kernel",                       "classifier.dense.weight",    Operation.MIRROR,    "H N", "H H"),
    Row("classification",     "{head}/dense/bias",                         "classifier.dense.bias",      Operation.MIRROR,    "N",   "H"),
    Row("classification",     "",                                          "classifier.out_proj.weight", Operation.IDENTITY,  "",    "N H"),
    Row("classification",     "",                                          "classifier.out_proj.bias",   Operation.ZEROS,     "",    "N"),
    Row("tagging",            "{head}/dense/kernel",                       "classifier.weight",          TRANSPOSE,           "H N"),
    Row("tagging",            "{head}/dense/bias",                         "classifier.bias",            COPY,                "N"),
    Row("question answering", "{head}/dense/kernel {head}/dense_1/kernel", "qa_outputs.weight",          Operation.STACK,     "H 1", "2 H"),
    Row("question answering", "{head}/dense/bias {head}/dense_1/bias",     "qa_outputs.bias",            Operation.STACK,     "1",   "2"),
)
# fmt: on


class HeadClass(NamedTuple):
    """How one kind of task is exported: the class, the part of `ROWS`, and what config.json calls the problem."""

    architecture: str
    part: str
    problem_type: str | None = None


CLASSES: dict[TaskKind, HeadClass] = {
    "classification": HeadClass("ElectraForSequenceClassification", "classification", "single_label_classification"),
    "regression": HeadClass("ElectraForSequenceClassification", "classification", "regression"),
    "tagging": HeadClass("ElectraForTokenClassification", "tagging"),
    "question answering": HeadClass("ElectraForQuestionAnswering", "question answering"),
}


class Form(NamedTuple):
    """One way in which Google's code builds a head: its dense layers, and what it may be, or why it cannot be had."""

    layers: frozenset[str]
    kinds: tuple[TaskKind, ...]
    refusal: str = ""
    can_ignore: frozenset[str] = frozenset()


_JOINT = "the end of an answer depends on its start (joint_prediction): no Hugging Face ELECTRA class computes it"
_ANSWERABLE = "it has an answerability classifier, for which ElectraForQuestionAnswering has no place"


def _form(layers: str, *kinds: TaskKind, refusal: str = "", can_ignore: str = "") -> Form:
    return Form(frozenset(layers.split()), kinds, refusal, frozenset(can_ignore.split()))


FORMS = (
    _form("dense", "classification", "regression", "tagging"),
    _form("dense dense_1", "question answering"),
    _form("dense dense_1 dense_2", refusal=_ANSWERABLE, can_ignore="dense_2"),
    _form("dense dense_1 dense_2 dense_3", refusal=_ANSWERABLE, can_ignore="dense_2 dense_3"),
    _form("qa_hidden dense dense_1", refusal=_JOINT),
    _form("qa_hidden dense dense_1 dense_2", refusal=_JOINT),
    _form("qa_hidden dense dense_1 dense_2 dense_3", refusal=_JOINT),
)


_VARIABLE = re.compile(rf"{SCOPE}/(?P<task>[A-Za-z0-9_.>-]+)/(?P<layer>[^/]+)/(?:kernel|bias)")
_TASK = re.compile(rf"{SCOPE}/(?P<task>[^/]+)/")


class Head(NamedTuple):
    """The head of one task as names and shapes give it; `kinds` are what it may be, none where it is refused."""

    task: str
    variables: tuple[str, ...]
    layers: frozenset[str]
    labels: int
    kinds: tuple[TaskKind, ...]
    refusal: LayoutError | None = None

    @property
    def scope(self) -> str:
        """The scope of its variables."""
        return f"{SCOPE}/{self.task}"

    def without_answerability(self) -> Head:
        """Return the start and the end of an answer alone, where these can be had; else the head as it is."""
        form = next((form for form in FORMS if form.layers == self.layers), None)
        if form is None or not form.can_ignore:
            return self
        return self._replace(layers=form.layers - form.can_ignore, kinds=("question answering",), refusal=None)


def find_heads(weights: Mapping[str, Shape], hidden_size: int) -> dict[str, Head]:
    """Return every head of a checkpoint by the name of its task; those that no class holds with the reason."""
    names: dict[str, list[str]] = {}
    for name in sorted(weights):
        if match := _TASK.match(name):
            names.setdefault(match["task"], []).append(name)
    return {task: _head(task, found, weights, hidden_size) for task, found in names.items()}


def _head(task: str, names: Sequence[str], weights: Mapping[str, Shape], hidden_size: int) -> Head:
    matches = [_VARIABLE.fullmatch(name) for name in names]
    layers = frozenset(match["layer"] for match in matches if match)
    form = next((form for form in FORMS if form.layers == layers), None)
    bias = weights.get(f"{SCOPE}/{task}/dense/bias", ())
    labels = bias[0] if len(bias) == 1 else 0
    refusal: LayoutError | None = None
    if form is None or not all(matches):
        refusal = _refused(task, "no head that Google's code builds", found=some(names))
    elif form.refusal:
        parts = " ".join(f"--ignore '{SCOPE}/{task}/{layer}/*'" for layer in sorted(form.can_ignore))
        hint = f"{ENCODER_HINT}; {parts} leaves it out" if parts else ENCODER_HINT
        found = some(sorted(f"{SCOPE}/{task}/{layer}" for layer in layers))
        refusal = _refused(task, form.refusal, hint, found=found)
    else:
        refusal = _wrong_shapes(task, layers, labels, weights, hidden_size)
    kinds = form.kinds if form and refusal is None else ()
    if "tagging" in kinds:
        kinds = ("regression", "tagging") if labels == 1 else ("classification", "tagging")
    return Head(task, tuple(names), layers, labels, kinds, refusal)


def _refused(task: str, reason: str, hint: str = ENCODER_HINT, **facts: Fact) -> LayoutError:
    return LayoutError(f"{REFUSED.format(task=task)}{reason}", hint=hint, **facts)


def _wrong_shapes(
    task: str, layers: frozenset[str], labels: int, weights: Mapping[str, Shape], hidden_size: int
) -> LayoutError | None:
    """Return the refusal of a head whose variables are not all there, in the shapes of dense layers on the encoder."""
    outputs = labels if len(layers) == 1 else 1
    shapes: dict[str, Shape] = {}
    for layer in sorted(layers):
        shapes |= {f"{SCOPE}/{task}/{layer}/kernel": (hidden_size, outputs), f"{SCOPE}/{task}/{layer}/bias": (outputs,)}
    missing = [name for name in shapes if name not in weights]
    if missing:
        return _refused(task, "a variable is missing", missing=missing)
    for name, expected in shapes.items():
        if weights[name] != expected or not outputs:
            found, wanted = (f"[{', '.join(map(str, shape))}]" for shape in (weights[name], expected))
            return _refused(task, "a variable has a wrong shape", variable=name, found=found, expected=wanted)
    return None


def choose_head(heads: Mapping[str, Head], name: str | None) -> Head:
    """Return the head of a task, or of the only one.

    Raises:
        LayoutError: there is none, or there are several and none was named, or no class holds it.
        SettingError: there is none of this name.
    """
    if not heads:
        raise LayoutError(
            "no task can be exported: this is no fine-tuned checkpoint",
            expected=f"variables below the scope `{SCOPE}`",
            hint=f"export the discriminator or the generator; {ENCODER_HINT}",
        )
    if name is None and len(heads) > 1:
        raise LayoutError(
            "the checkpoint has several tasks", found=sorted(heads), expected="one", hint="say which with --task NAME"
        )
    if name is not None and name not in heads:
        raise SettingError("the checkpoint has no such task", found=name, expected=sorted(heads))
    head = heads[next(iter(heads)) if name is None else name]
    if head.refusal is not None:
        raise head.refusal
    return head


def ignorable(names: Collection[str], head: Head) -> bool:
    """Return whether `--ignore` may leave these variables out of a head: an answerability classifier, as a whole."""
    form = next((form for form in FORMS if form.layers == head.layers), None)
    left = {name for name in head.variables if name.split("/")[2] in (form.can_ignore if form else ())}
    return bool(left) and set(names) == left
