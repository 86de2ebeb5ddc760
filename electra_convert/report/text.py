"""Results as lines of plain text for people: pure functions, no colour, no width, no name ever cut.

    Read        ckpt/model.ckpt-1000000  V2, step 1000000
    Converted   discriminator: 203 tensors, 13,549,057 parameters, float32
    Wrote       out/
                  config.json  0.7 KiB

Columns are padded by hand, the free text stands last, and whatever came from input is escaped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from electra_convert.wording import printable, some

if TYPE_CHECKING:
    from electra_convert.conversion import Conversion, HalfExport
    from electra_convert.electra.config import Origin
    from electra_convert.examination import CheckpointSummary
    from electra_convert.inspection import HalfView, Inspection, VariableView, VocabularyView

# Width of the column of labels, and where lists and sentences are wrapped (at spaces only).
LABEL = 12
WIDTH = 80

# In the order of precedence.
SOURCES = ("flag", "hparams", "config", "graph", "shape", "rule")

# The class of transformers that a half is loaded with.
CLASSES = {"discriminator": "ElectraForPreTraining", "generator": "ElectraForMaskedLM"}

# What one, and several variables of a kind are called.
KIND_WORDS = {
    "optimizer": ("optimizer slot", "optimizer slots"),
    "known scalar": ("known scalar", "known scalars"),
    "task": ("of a task", "of a task"),
}

# A listing shows names in full; readers refuse names of more than 1024 bytes.
WHOLE_NAME = 1 << 16


def conversion_lines(conversion: Conversion) -> list[str]:
    """Return the summary of a conversion."""
    lines = _block("Read", [_checkpoint(conversion.checkpoint), conversion.setup])
    for half in conversion.halves:
        lines += _block("Converted", [f"{half.half}: {_amount(half)}, {half.dtype}", *_by_source(half)])
    for name, reason in conversion.refused:
        lines += _block("Refused", _wrapped(f"{name}: {_safe(reason)}"))
    lines += _block("Left out", _wrapped(", ".join(_group(group.what, group.count) for group in conversion.left_out)))
    for half in conversion.halves:
        lines += _checks(half, half.half if len(conversion.halves) > 1 else "")
    for half in conversion.halves:
        folder = f"{_safe(half.folder).rstrip('/')}/"
        lines += _block("Would write" if conversion.dry_run else "Wrote", [folder, *_files(half.files)])
    if conversion.warnings:
        lines += ["", _count(len(conversion.warnings), "warning")]
    if not conversion.dry_run:
        loading = [f"{CLASSES[half.half]}.from_pretrained({_safe(half.folder)!r})" for half in conversion.halves]
        lines += ["", *_block("Next", loading)]
    return lines


def inspection_lines(inspection: Inspection) -> list[str]:
    """Return what a checkpoint contains: set-up, halves, variables by kind, and what can be exported."""
    checkpoint = inspection.checkpoint
    able = [half for half in inspection.halves if half.exportable]
    unable = [half for half in inspection.halves if not half.exportable]
    unknown = [variable.name for variable in inspection.variables if variable.kind == "unknown"]
    known = [half for half in inspection.halves if half.config]
    shards = _count(checkpoint.shards, "shard")
    sections = {
        _safe(checkpoint.prefix): [
            f"{checkpoint.format}, {shards}, {size(checkpoint.nbytes)}, {_step(checkpoint)}",
            inspection.setup,
        ],
        "": [*_towers(known), *_embeddings(known)],
        "Contents": _contents(inspection),
        "Can export": _pairs([(half.half, f"{_count(half.tensors, 'tensor')}, {size(half.nbytes)}") for half in able]),
        "Cannot export": _pairs([(half.half, _safe(half.reason)) for half in unable]),
        "Unknown variables": [_safe(name) for name in some(unknown)],
        "Missing": [_safe(line) for line in inspection.missing],
    }
    return _sections(sections)


def variable_lines(variables: Sequence[VariableView], *, tabs: bool) -> list[str]:
    """Return a line a variable: name, dtype, shape, bytes, kind; with `tabs` between them, else in columns."""
    rows = [(_safe(v.name), v.dtype, shape(v.shape), str(v.nbytes), v.kind) for v in variables]
    return ["\t".join(row) for row in rows] if tabs else _columns(rows, right=3)


def source_lines(config: Mapping[str, Any], sources: Mapping[str, Origin], title: str) -> list[str]:
    """Return every value of a configuration with where it came from."""
    rows = [(key, _value(config[key]), origin.source, _safe(origin.detail)) for key, origin in sources.items()]
    return _sections({title: _columns(rows)})


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
    return _columns(rows)


def _embeddings(halves: Sequence[HalfView]) -> list[str]:
    words = "size {embedding_size}, vocabulary {vocab_size}, positions {max_position_embeddings}"
    texts = [words.format(**half.config) for half in halves]
    if len(set(texts)) == 1:
        return _pairs([("embeddings", texts[0])])
    return _pairs([("embeddings", f"{text}, {half.half}") for text, half in zip(texts, halves, strict=True)])


def _contents(inspection: Inspection) -> list[str]:
    kinds = {kind: number for kind, number in inspection.counts.items() if number}
    parts = " + ".join(f"{number:,} {KIND_WORDS.get(kind, (kind, kind))[number > 1]}" for kind, number in kinds.items())
    rows = [("variables", f"{len(inspection.variables):,} = {parts}")]
    rows += [("parameters", f"{half.parameters:,} {half.half}") for half in inspection.halves if half.parameters]
    if inspection.optimizer_share:
        rows.append(("optimizer", f"{inspection.optimizer_share:.1%} of the bytes"))
    if inspection.checkpoint.trained_length is not None:
        rows.append(("trained on", f"{inspection.checkpoint.trained_length} tokens a sequence"))
    rows.append(("vocabulary", _vocabulary(inspection.vocabulary)))
    return _pairs(rows)


def _vocabulary(vocabulary: VocabularyView | None) -> str:
    if vocabulary is None:
        return "none found"
    if vocabulary.problem:
        return f"not usable: {_safe(vocabulary.problem)}"
    return f"{vocabulary.entries:,} entries, {vocabulary.casing}"


def _checkpoint(checkpoint: CheckpointSummary) -> str:
    return f"{_safe(checkpoint.prefix)}  {checkpoint.format}, {_step(checkpoint)}"


def _step(checkpoint: CheckpointSummary) -> str:
    return "step unknown" if checkpoint.step is None else f"step {checkpoint.step}"


def _amount(half: HalfExport) -> str:
    return f"{_count(half.tensors, 'tensor')}, {_count(half.parameters, 'parameter')}"


def _by_source(half: HalfExport) -> list[str]:
    """Return which values of a config came from which source, a source a block."""
    lines = []
    for source in SOURCES:
        values = [f"{key} {_value(half.config[key])}" for key, its in half.sources.items() if its.source == source]
        # A no-break space keeps a key and its value together while the list is wrapped.
        text = ", ".join(value.replace(" ", "\N{NO-BREAK SPACE}") for value in values)
        for number, line in enumerate(_wrapped(text, WIDTH - LABEL - 11)):
            lines.append(f"  {source if number == 0 else '':<9}{line}".replace("\N{NO-BREAK SPACE}", " "))
    return lines


def _group(what: str, number: int) -> str:
    return _safe(what) if number == 1 else f"{_safe(what)} ({number:,})"


def _checks(half: HalfExport, name: str) -> list[str]:
    head = f"{name}: " if name else ""
    lines = _block("Checked", _wrapped(head + half.checked)) if half.checked else []
    if half.verification.state == "proven":
        lines += _block("Proven", _wrapped(head + half.verification.text))
    elif half.verification.state == "bytes":
        lines += _block("Not proven", [f"{head}no forward pass was run"])
    return lines


def _files(files: Iterable[tuple[str, int]]) -> list[str]:
    return [f"  {line}" for line in _columns([(_safe(name), size(nbytes)) for name, nbytes in files], right=1)]


def _value(value: object) -> str:
    return _safe(value) if isinstance(value, str) else str(value)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _safe(text: str) -> str:
    return printable(text, WHOLE_NAME)


def _wrapped(text: str, width: int = WIDTH - LABEL) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _block(label: str, lines: Sequence[str]) -> list[str]:
    return [f"{label if number == 0 else '':<{LABEL}}{line}" for number, line in enumerate(lines)]


def _sections(sections: Mapping[str, Sequence[str]]) -> list[str]:
    """Return titles with their lines indented below, an empty line between; a section without lines is left out."""
    lines: list[str] = []
    for title, inside in sections.items():
        if inside:
            lines += [""] if lines else []
            lines += [title] if title else []
            lines += [f"  {line}" for line in inside]
    return lines


def _pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return label and text; a label that repeats the one above is left blank."""
    labels = [label for label, _ in rows]
    shown = [label if label not in labels[:number][-1:] else "" for number, label in enumerate(labels)]
    return [f"{label:<13}  {text}" for label, (_, text) in zip(shown, rows, strict=True)]


def _columns(rows: Sequence[Sequence[str]], right: int | None = None) -> list[str]:
    """Return rows with their columns padded to one width; the column `right` is set flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [">" if number == right else "<" for number in range(len(widths))]
    padded = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]
