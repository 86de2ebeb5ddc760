"""Wrong conversions of a fine-tuned head: named faults in a folder that was right, as in `mutants.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mutants import CONFIG, NO_OUTPUT, SAME_FUNCTION, Folder, Mutant

Array = np.ndarray[Any, Any]
Change = Callable[[Array], Array]

DENSE, DENSE_BIAS = "classifier.dense.weight", "classifier.dense.bias"
OUT, OUT_BIAS = "classifier.out_proj.weight", "classifier.out_proj.bias"
WEIGHT, BIAS = "classifier.weight", "classifier.bias"
ENDS, ENDS_BIAS = "qa_outputs.weight", "qa_outputs.bias"


def head_mutants(kind: str, labels: int, config: dict[str, Any]) -> Iterator[Mutant]:
    """Yield what commonly goes wrong with the head of one kind of task."""
    if kind in {"classification", "regression"}:
        yield from _mirrored(labels)
        yield from _in_all((DENSE, DENSE_BIAS, OUT))
        yield _dropped(OUT_BIAS)
        yield from _spread((DENSE, DENSE_BIAS, OUT))
    elif kind == "tagging":
        yield from _in_all((WEIGHT, BIAS))
        yield from _spread((WEIGHT, BIAS))
        yield _mutant("classifier not transposed", {WEIGHT: lambda value: value.T}, WEIGHT, rung="structure")
        yield from _reordered(labels, {WEIGHT: None, BIAS: None})
    else:
        yield from _ends()
        yield from _in_all((ENDS, ENDS_BIAS))
        yield from _spread((ENDS, ENDS_BIAS))
    yield from _configured(kind, labels, config)


def _mirrored(labels: int) -> Iterator[Mutant]:
    """Yield the ways in which two layers may hold one, and do not; and some in which they do, with other tensors."""
    n = labels

    def unsigned(value: Array) -> Array:
        return _rows(value, n, 2 * n, value[:n])

    def alone(value: Array) -> Array:
        return _rows(value, n, 2 * n, 0)

    def columns(change: Change) -> Change:
        return lambda value: change(value.T).T

    def swapped(value: Array) -> Array:
        return _rows(_rows(value, 0, n, value[n : 2 * n]), n, 2 * n, value[:n])

    def scattered(value: Array) -> Array:
        return _rows(value, 2 * n, len(value), 1)

    sign, first = "it equals it without the minus sign", "it equals its first part alone"
    yield _mutant("no minus sign in dense", {DENSE: unsigned}, DENSE, sign)
    yield _mutant("no minus sign in the bias", {DENSE_BIAS: unsigned}, DENSE_BIAS, sign)
    yield _mutant("no minus sign in out_proj", {OUT: columns(unsigned)}, OUT, sign)
    yield _mutant("no minus sign", {DENSE: unsigned, DENSE_BIAS: unsigned, OUT: columns(unsigned)}, DENSE, sign)
    yield _mutant("one gelu alone", {DENSE: alone, DENSE_BIAS: alone, OUT: columns(alone)}, DENSE, first)
    yield _mutant("half of the bias lost", {DENSE_BIAS: alone}, DENSE_BIAS, first)
    opposite = "it equals it with the opposite sign"
    yield _mutant("identities swapped", {OUT: columns(swapped)}, OUT, opposite)
    yield _mutant("mirror images swapped", {DENSE: swapped, DENSE_BIAS: swapped}, DENSE, opposite)
    both = {DENSE: swapped, DENSE_BIAS: swapped, OUT: columns(swapped)}
    yield _mutant("all swapped", both, DENSE, opposite, unseen=SAME_FUNCTION)
    yield _mutant("dense not transposed", {DENSE: lambda value: value.T}, DENSE, "transposed")
    yield _mutant("rows that nobody reads", {DENSE: scattered}, DENSE, unseen=SAME_FUNCTION)
    yield _mutant("columns of nothing", {OUT: columns(scattered)}, OUT, unseen=SAME_FUNCTION)
    yield _mutant("a bias of out_proj", {OUT_BIAS: lambda value: value + 1}, OUT_BIAS, "it equals ones")
    halved = {DENSE: _times(2), DENSE_BIAS: _times(2), OUT: _times(0.5)}
    yield _mutant("dense doubled, out_proj halved", halved, DENSE, unseen=SAME_FUNCTION)
    blocks = {DENSE: n, DENSE_BIAS: n}
    yield from _reordered(n, blocks)
    yield from _reordered(n, {OUT: None}, "logits in another order")
    yield from _reordered(n, {**blocks, OUT: None}, "all in another order")


def _reordered(labels: int, tensors: dict[str, int | None], name: str = "labels rotated") -> Iterator[Mutant]:
    """Yield the rows of labels moved by one, also in their mirror image where it begins at a row."""
    if labels < 2:
        return

    def rotate(mirrored: int | None) -> Change:
        def change(value: Array) -> Array:
            changed = _rows(value, 0, labels, np.roll(value[:labels], 1, axis=0))
            if mirrored is not None:
                end = mirrored + labels
                changed = _rows(changed, mirrored, end, np.roll(value[mirrored:end], 1, axis=0))
            return changed

        return change

    first = next(iter(tensors))
    order = ", ".join(map(str, [labels - 1, *range(labels - 1)]))
    changes = {tensor: rotate(mirrored) for tensor, mirrored in tensors.items()}
    yield _mutant(name, changes, first, f"it has the labels in the order {order}")


def _ends() -> Iterator[Mutant]:
    swapped = "start and end are swapped"

    def reverse(value: Array) -> Array:
        return value[::-1]

    yield _mutant("start and end swapped", {ENDS: reverse, ENDS_BIAS: reverse}, ENDS, swapped)
    yield _mutant("kernels of start and end swapped", {ENDS: reverse}, ENDS, swapped)
    yield _mutant("biases of start and end swapped", {ENDS_BIAS: reverse}, ENDS_BIAS, swapped)
    yield _mutant("the start twice", {ENDS: lambda value: _rows(value, 1, 2, value[0])}, ENDS)
    yield _mutant("qa_outputs not transposed", {ENDS: lambda value: value.T}, ENDS, rung="structure")


def _in_all(tensors: tuple[str, ...]) -> Iterator[Mutant]:
    for tensor in tensors:
        yield _mutant(f"zeros for {tensor}", {tensor: np.zeros_like}, tensor, "it equals zeros")
        yield _mutant(f"negated {tensor}", {tensor: np.negative}, tensor, "it equals it with the opposite sign")
        yield _mutant(f"NaN in {tensor}", {tensor: _with_nan}, tensor, "NaN or infinite")
        yield _dropped(tensor)
        short = {tensor: lambda value: value[:-1]}
        yield _mutant(f"{tensor} a row short", short, tensor, rung="structure")


def _spread(tensors: tuple[str, ...]) -> Iterator[Mutant]:
    """Yield the largest value moved by one unit in the last place."""

    def nudge(value: Array) -> Array:
        changed = value.copy()
        at = np.unravel_index(int(np.abs(changed).argmax()), changed.shape)
        changed[at] = np.nextafter(changed[at], np.inf, dtype=changed.dtype)
        return changed

    for tensor in tensors:
        yield _mutant(f"one unit in the last place of {tensor}", {tensor: nudge}, tensor, "1 of ")


def _configured(kind: str, labels: int, config: dict[str, Any]) -> Iterator[Mutant]:
    others = {"ElectraForSequenceClassification", "ElectraForTokenClassification", "ElectraForQuestionAnswering"}
    for other in sorted(others - set(config["architectures"])):
        yield _set("architectures", [other], "structure", "architectures is ")
    yield _set("architectures", ["ElectraModel"], "structure", "unexpected ")
    yield _set("architectures", ["ElectraForPreTraining"], "refused", "no discriminator can be exported")
    outputs = 2 if kind == "question answering" else labels
    names = {str(number): f"label {number}" for number in range(outputs + 1)}
    yield _set("id2label", names, "structure", f"id2label has {outputs + 1} labels, not {outputs}")
    moved = {str(int(number) + 1): name for number, name in list(names.items())[:-1]}
    yield _set("id2label", moved, "structure", "id2label numbers its labels 1")
    if kind == "question answering":
        return
    yield _set("problem_type", "multi_label_classification", "structure", "problem_type is ")
    if labels > 1:
        rotated = dict(zip(config["id2label"], np.roll(list(config["id2label"].values()), 1).tolist(), strict=True))
        yield _set("id2label", rotated, "structure", "label2id is not id2label turned round")

        def rotate(folder: Folder) -> None:
            folder.config["id2label"] = rotated
            folder.config["label2id"] = {name: int(number) for number, name in rotated.items()}

        yield Mutant("names of the labels rotated", rotate, "files", CONFIG, unseen=NO_OUTPUT)


def _set(name: str, value: Any, rung: str, named: str) -> Mutant:
    def change(folder: Folder) -> None:
        folder.config[name] = value

    return Mutant(f"{name} {value!r}", change, rung, named)


def _mutant(
    name: str, changes: dict[str, Change], named: str, explained: str = "", unseen: str = "", rung: str = "bytes"
) -> Mutant:
    def change(folder: Folder) -> None:
        for tensor, make in changes.items():
            folder.tensors[tensor] = np.asarray(make(folder.tensors[tensor]), folder.tensors[tensor].dtype)

    return Mutant(name, change, rung, named, explained, unseen)


def _dropped(tensor: str) -> Mutant:
    def drop(folder: Folder) -> None:
        del folder.tensors[tensor]

    return Mutant(f"dropped {tensor}", drop, "structure", f"missing {tensor}")


def _rows(value: Array, start: int, end: int, rows: Any) -> Array:
    changed = value.copy()
    changed[start:end] = rows
    return changed


def _times(factor: float) -> Change:
    return lambda value: value * np.float32(factor)


def _with_nan(value: Array) -> Array:
    changed = value.copy()
    changed[(0,) * value.ndim] = np.nan
    return changed
