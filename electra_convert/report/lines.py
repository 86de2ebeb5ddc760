"""Plain text laid out by hand: labels, columns, sections; names are escaped and never cut.

Label       first line        block
            second line
one    two                    columns
three   22

Title                         sections
  line
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from electra_convert.wording import printable

# Width of the column of labels, and where lists and sentences are wrapped (at spaces only).
LABEL = 12
WIDTH = 80

# A listing shows names in full; readers refuse names of more than 1024 bytes.
WHOLE_NAME = 1 << 16


def safe(text: str) -> str:
    """Return text from input as it may be shown, whole."""
    return printable(text, WHOLE_NAME)


def count(number: int, what: str) -> str:
    """Return a number of things.

    >>> count(1, "warning"), count(1200, "tensor")
    ('1 warning', '1,200 tensors')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def wrapped(text: str, width: int = WIDTH - LABEL) -> list[str]:
    """Return text in lines of at most `width`, broken at spaces only: a longer name stays whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def block(label: str, lines: Sequence[str]) -> list[str]:
    """Return lines beside a label."""
    return [f"{label if number == 0 else '':<{LABEL}}{line}" for number, line in enumerate(lines)]


def sections(inside: Mapping[str, Sequence[str]]) -> list[str]:
    """Return titles with their lines indented below, an empty line between; a section without lines is left out."""
    lines: list[str] = []
    for title, rows in inside.items():
        if rows:
            lines += [""] if lines else []
            lines += [title] if title else []
            lines += [f"  {row}" for row in rows]
    return lines


def pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return label and text; a label that repeats the one above is left blank."""
    labels = [label for label, _ in rows]
    shown = [label if label not in labels[:number][-1:] else "" for number, label in enumerate(labels)]
    return [f"{label:<13}  {text}" for label, (_, text) in zip(shown, rows, strict=True)]


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return rows with their columns padded to one width; the columns `right` are set flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [">" if number in right else "<" for number in range(len(widths))]
    padded = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]
