"""The model card `README.md` and the record `conversion.json`.

Both are pure functions of what they are given: no date, no path, no name of a machine, so that the same conversion
gives the same bytes. Text from the checkpoint is escaped for Markdown, and no control character reaches the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from electra_convert.hf.files import json_text, write_file
from electra_convert.wording import printable

# What a source of a value means to somebody who has only the card.
SOURCES: Mapping[str, str] = {
    "flag": "given for the conversion",
    "hparams": "given training hyperparameters",
    "config": "given configuration",
    "graph": "the graph that trained the checkpoint",
    "shape": "shapes of the variables",
    "rule": "the default of Google's code; the checkpoint does not record it",
}


class CardValue(NamedTuple):
    """A value of `config.json` and its source, one of `SOURCES`."""

    name: str
    value: object
    source: str


class CardFacts(NamedTuple):
    """All that the card says."""

    checkpoint: str
    """Base name of the prefix."""
    half: str
    """`discriminator`, `generator`, `encoder` or `task NAME`."""
    model_class: str
    """The class of transformers that loads the folder."""
    setup: str
    """The training set-up in words."""
    step: int | None
    parameters: int
    dtype: str
    values: Sequence[CardValue]
    verification: Sequence[str]
    """Paragraphs on what was compared with what, and the verdict."""
    tool: str
    """Name and version of the converter."""
    cautions: Sequence[str] = ()
    """Paragraphs on what a user must know, such as a logit that is no probability."""
    tokenizer: bool = True
    what: str = ""
    """What the folder holds, where `half` alone does not say it."""
    head: Sequence[str] = ()
    """Paragraphs on how the class holds the head of a task."""


def model_card(facts: CardFacts) -> str:
    """Return the text of `README.md`."""
    step = "unknown" if facts.step is None else str(facts.step)
    sections = [
        "---\nlibrary_name: transformers\ntags:\n- electra\n---",
        f"# {_plain(facts.checkpoint)} (ELECTRA {_plain(facts.half)})",
        f"{_plain(facts.what) or f'The {facts.half} of an ELECTRA model'}, converted from a TensorFlow 1 checkpoint by "
        f"{_plain(facts.tool)}.",
        *(f"> **Note:** {_plain(caution)}" for caution in facts.cautions),
        "## Use",
        _usage(facts),
        "## Source",
        _table(
            ("", ""),
            [
                ("checkpoint", _code(facts.checkpoint)),
                ("training step", step),
                ("set-up", _plain(facts.setup)),
                ("parameters", f"{facts.parameters:,} ({facts.dtype})"),
            ],
        ),
        "## Configuration",
        _table(
            ("field", "value", "source"),
            [(_code(value.name), _code(_shown(value.value)), SOURCES[value.source]) for value in facts.values],
        ),
        *(["## Head", *map(_plain, facts.head)] if facts.head else []),
        "## Verification",
        *map(_plain, facts.verification),
    ]
    return "\n\n".join(sections) + "\n"


def write_card(path: Path, facts: CardFacts) -> None:
    """Write `README.md`; raise OutputError if it cannot be written."""
    write_file(path, model_card(facts).encode())


def write_record(path: Path, document: Mapping[str, object]) -> None:
    """Write `conversion.json`, its keys in the order given.

    Raises ValueError for NaN and infinity, OutputError if the file cannot be written.
    """
    write_file(path, json_text(document, sort_keys=False).encode())


def _usage(facts: CardFacts) -> str:
    classes = ("AutoTokenizer", facts.model_class) if facts.tokenizer else (facts.model_class,)
    lines = [f'model = {facts.model_class}.from_pretrained("path/to/this/folder")']
    if facts.tokenizer:
        lines.insert(0, 'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")')
    return "\n".join(["```python", f"from transformers import {', '.join(classes)}", "", *lines, "```"])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: object) -> str:
    return "null" if value is None else str(value)


def _plain(text: str) -> str:
    """Escape what Markdown would read as more than text."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", printable(text, limit=2000))


def _code(text: str) -> str:
    """Return inline code; a table needs its bars escaped even there."""
    shown = printable(text).replace("|", r"\|")
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"
