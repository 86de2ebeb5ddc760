"""Results as lines of plain text for people: pure functions, no colour, no width, no name ever cut.

    Read        ckpt/model.ckpt-1000000  V2, step 1000000
    Converted   discriminator: 203 tensors, 13,549,057 parameters, float32
    Wrote       out/
                  config.json  0.7 KiB

Columns are padded by hand, the free text stands last, and whatever came from input is escaped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from electra_convert.remote.urls import is_remote
from electra_convert.report.lines import LABEL, WIDTH, block, columns, count, pairs, safe, sections, wrapped
from electra_convert.wording import some

if TYPE_CHECKING:
    from electra_convert.conversion import Conversion
    from electra_convert.electra.config import Origin
    from electra_convert.examination import CheckpointSummary
    from electra_convert.inspection import HalfView, Inspection, VariableView, VocabularyView
    from electra_convert.verification import Verification
    from electra_convert.writing import HalfExport

# In the order of precedence.
SOURCES = ("flag", "hparams", "config", "graph", "shape", "rule")

# What one, and several variables of a kind are called.
KIND_WORDS = {
    "optimizer": ("optimizer slot", "optimizer slots"),
    "known scalar": ("known scalar", "known scalars"),
    "task": ("of a task", "of a task"),
}


def conversion_lines(conversion: Conversion) -> list[str]:
    """Return the summary of a conversion."""
    lines = block("Read", [_checkpoint(conversion.checkpoint), conversion.setup])
    for half in conversion.halves:
        lines += block(
            "Would convert" if conversion.dry_run else "Converted",
            [f"{safe(half.told)}: {_amount(half)}, {half.dtype}", *_by_source(half), *_task(half)],
        )
    for name, reason in conversion.refused:
        lines += block("Refused", wrapped(f"{name}: {_reason(name, reason)}"))
    lines += block("Left out", wrapped(", ".join(_group(group.what, group.count) for group in conversion.left_out)))
    for half in conversion.halves:
        lines += _checks(half, half.told if len(conversion.halves) > 1 else "")
    for half in conversion.halves:
        folder = f"{safe(half.folder).rstrip('/')}/"
        lines += block("Would write" if conversion.dry_run else "Wrote", [folder, *_files(half.files)])
    if conversion.warnings:
        lines += ["", count(len(conversion.warnings), "warning")]
    following = [] if conversion.dry_run else _next(conversion)
    if following:
        lines += ["", *block("Next", following)]
    return lines


def inspection_lines(inspection: Inspection) -> list[str]:
    """Return what a checkpoint contains: set-up, halves, variables by kind, and what can be exported."""
    checkpoint = inspection.checkpoint
    able = [half for half in inspection.halves if half.exportable]
    unable = [half for half in inspection.halves if not half.exportable]
    unknown = [variable.name for variable in inspection.variables if variable.kind == "unknown"]
    # A task's tower is the encoder.
    known = [half for half in inspection.halves if half.config and not half.task]
    shards = count(checkpoint.shards, "shard")
    shown = {
        safe(checkpoint.prefix): [
            f"{checkpoint.format}, {shards}, {size(checkpoint.nbytes)}, {_step(checkpoint)}",
            inspection.setup,
        ],
        "": [*_towers(known), *_embeddings(known)],
        "Contents": _contents(inspection),
        "Can export": pairs([(safe(half.told), _able(half)) for half in able]),
        "Cannot export": pairs([(safe(half.told), _reason(half.told, half.reason)) for half in unable]),
        "Unknown variables": [safe(name) for name in some(unknown)],
        "Missing": [safe(line) for line in inspection.missing],
    }
    return sections(shown)


def variable_lines(variables: Sequence[VariableView], *, tabs: bool) -> list[str]:
    """Return a line a variable: name, dtype, shape, bytes, kind; with `tabs` between them, else in columns."""
    rows = [(safe(v.name), v.dtype, shape(v.shape), str(v.nbytes), v.kind) for v in variables]
    return ["\t".join(row) for row in rows] if tabs else columns(rows, right=[3])


def source_lines(config: Mapping[str, Any], sources: Mapping[str, Origin], title: str) -> list[str]:
    """Return every value of a configuration with where it came from."""
    rows = [(key, _value(config[key]), origin.source, safe(origin.detail)) for key, origin in sources.items()]
    return sections({title: columns(rows)})


def size(nbytes: int) -> str:
    """Return a size for people.

    >>> size(700), size(54_211_072)
    ('0.7 KiB', '51.7 MiB')
    """
    kilobytes = nbytes / 1024
    if kilobytes < 1024:
        return f"{kilobytes:.1f} KiB"
    return f"{kilobytes / 1024:,.1f} MiB" if kilobytes < 1024**2 else f"{kilobytes / 1024**2:,.1f} GiB"


def shape(dimensions: Iterable[int]) -> str:
    """Return a shape as it can be pasted: `[30522, 128]`, `[]` for a scalar."""
    return f"[{', '.join(map(str, dimensions))}]"


def _towers(halves: Sequence[HalfView]) -> list[str]:
    words = {
        "num_hidden_layers": "{} layers",
        "hidden_size": "hidden {}",
        "intermediate_size": "intermediate {}",
        "num_attention_heads": "heads {} ({})",
        "hidden_act": "{} ({})",
    }
    rows = [
        [half.half]
        + [
            text.format(_value(half.config[key]), half.sources[key].source) if key in half.config else ""
            for key, text in words.items()
        ]
        for half in halves
    ]
    return columns(rows)


def _embeddings(halves: Sequence[HalfView]) -> list[str]:
    words = "size {embedding_size}, vocabulary {vocab_size}, positions {max_position_embeddings}"
    texts = [words.format(**half.config) for half in halves]
    if len(set(texts)) == 1:
        return pairs([("embeddings", texts[0])])
    return pairs([("embeddings", f"{text}, {half.half}") for text, half in zip(texts, halves, strict=True)])


def _contents(inspection: Inspection) -> list[str]:
    kinds = {kind: number for kind, number in inspection.counts.items() if number}
    parts = " + ".join(f"{number:,} {KIND_WORDS.get(kind, (kind, kind))[number > 1]}" for kind, number in kinds.items())
    rows = [("variables", f"{len(inspection.variables):,} = {parts}")]
    rows += [("parameters", f"{half.parameters:,} {safe(half.told)}") for half in inspection.halves if half.parameters]
    if inspection.optimizer_share:
        rows.append(("optimizer", f"{inspection.optimizer_share:.1%} of the bytes"))
    if inspection.checkpoint.trained_length is not None:
        rows.append(("trained on", f"{inspection.checkpoint.trained_length} tokens a sequence"))
    rows.append(("vocabulary", _vocabulary(inspection.vocabulary)))
    return pairs(rows)


def _vocabulary(vocabulary: VocabularyView | None) -> str:
    if vocabulary is None:
        return "none found"
    if vocabulary.problem:
        return f"not usable: {safe(vocabulary.problem)}"
    return f"{vocabulary.entries:,} entries, {vocabulary.casing}"


def _checkpoint(checkpoint: CheckpointSummary) -> str:
    return f"{safe(checkpoint.prefix)}  {checkpoint.format}, {_step(checkpoint)}"


def _step(checkpoint: CheckpointSummary) -> str:
    return "step unknown" if checkpoint.step is None else f"step {checkpoint.step}"


def _amount(half: HalfExport) -> str:
    return f"{count(half.tensors, 'tensor')}, {count(half.parameters, 'parameter')}"


def _by_source(half: HalfExport) -> list[str]:
    """Return which values of a config came from which source, a source a block."""
    lines = []
    for source in SOURCES:
        values = [f"{key} {_value(half.config[key])}" for key, its in half.sources.items() if its.source == source]
        # A no-break space keeps a key and its value together while the list is wrapped.
        text = ", ".join(value.replace(" ", "\N{NO-BREAK SPACE}") for value in values)
        for number, line in enumerate(wrapped(text, WIDTH - LABEL - 11)):
            lines.append(f"  {source if number == 0 else '':<9}{line}".replace("\N{NO-BREAK SPACE}", " "))
    return lines


def _task(half: HalfExport) -> list[str]:
    """Return what kind of task it is, the names of its labels, and what must be known to read its outputs."""
    if half.task is None:
        return []
    task, origin = half.task.task, half.task.task.origin
    lines = [f"  {origin.source:<9}{task.kind} ({safe(origin.detail)})"]
    if half.task.labels:
        names = wrapped(", ".join(map(safe, half.task.labels)), WIDTH - LABEL - 11)
        lines += [f"  {'labels' if number == 0 else '':<9}{line}" for number, line in enumerate(names)]
    for caution in half.task.cautions():
        lines += [f"  {line}" for line in wrapped(caution, WIDTH - LABEL - 4)]
    return lines


def _group(what: str, number: int) -> str:
    return safe(what) if number == 1 else f"{safe(what)} ({number:,})"


def _checks(half: HalfExport, name: str) -> list[str]:
    head = f"{name}: " if name else ""
    lines = block("Checked", wrapped(head + half.checked)) if half.checked else []
    verification = half.verification
    if verification.state == "proven":
        lines += block("Proven", wrapped(head + _proven(verification)))
        for gap in verification.unproven:
            lines += block("Not proven", wrapped(head + safe(gap)))
    elif verification.state == "bytes":
        lines += block("Not proven", [f"{head}no forward pass was run"])
    return lines


def _proven(verification: Verification) -> str:
    figures = [f"{figure:g} in {rung}" for rung, figure in verification.figures.items()]
    return f"equal to {' and '.join(verification.references)} within {', '.join(figures)} (of scale)"


def _next(conversion: Conversion) -> list[str]:
    """Return what to do with the folders: prove what was not proven, and load them, unless they are in a store."""
    loading = [
        f"{half.architecture}.from_pretrained({safe(half.folder)!r})"
        for half in conversion.halves
        if not is_remote(half.folder)
    ]
    if all(half.verification.state == "proven" for half in conversion.halves):
        return loading
    places = " ".join(safe(shlex.quote(path)) for path in (conversion.checkpoint.path, conversion.out))
    return [f"electra-convert verify {places}", *loading]


def _able(half: HalfView) -> str:
    """Return how much it is; of a task also its kind with who says so, and its labels."""
    parts = [f"{half.task_kind} ({half.task_source})"] if half.task else []
    parts += [count(half.labels, "label")] if half.task_kind in {"classification", "tagging"} else []
    return ", ".join([*parts, count(half.tensors, "tensor"), size(half.nbytes)])


def _reason(half: str, reason: str) -> str:
    """Return why a half cannot be had, where its name stands before it already."""
    return safe(reason.removeprefix(f"no {half} can be exported: ").removeprefix(f"the {half} cannot be exported: "))


def _files(files: Iterable[tuple[str, int | None]]) -> list[str]:
    rows = [(safe(name), "" if nbytes is None else size(nbytes)) for name, nbytes in files]
    return [f"  {line}" for line in columns(rows, right=[1])]


def _value(value: object) -> str:
    return safe(value) if isinstance(value, str) else str(value)
