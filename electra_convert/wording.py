"""How a message reads: what happened, then aligned facts, then a hint; text from input is escaped.

    checksum of a variable differs
      where     ckpt/model.ckpt-40.data-00000-of-00001, byte 41943040
      found     0x5d3c91aa
      expected  0x8b02f6e1, from ckpt/model.ckpt-40.index

    hint: the file changed after it was written; copy it again

Errors and notices share this form, so it stands below both.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

Fact = str | Sequence[str]
"""One line, or several lines shown below each other."""

# Longer names are cut: a hostile index may hold names of 64 KB.
LONGEST = 200


def printable(text: str, limit: int = LONGEST) -> str:
    r"""Escape what could steer a terminal or hide in a line, and cut at `limit` characters.

    Control characters and surrogates (bytes that were not UTF-8) become `\xNN`, format characters such as
    bidi overrides and line separators become `\uNNNN`.

    >>> printable("layer\x1b[31m\u202e")
    'layer\\x1b[31m\\u202e'
    """
    escaped = "".join(map(_escape, text[: limit + 1]))
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # what `surrogateescape` makes of a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return character if 0x20 <= code < 0x7F else f"\\x{code:02x}"
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return character


def describe(message: str, facts: Mapping[str, Fact], hint: str | None = None) -> str:
    """Return the whole message as lines of text, escaped, without colour and without a final newline."""
    lines = [printable(message, 2 * LONGEST)]
    width = max(map(len, facts), default=0)
    for label, fact in facts.items():
        values = [fact] if isinstance(fact, str) else list(fact)
        for number, value in enumerate(values):
            lines.append(f"  {label if number == 0 else '':<{width}}  {printable(value, 2 * LONGEST)}")
    if hint:
        lines += ["", f"hint: {printable(hint, 2 * LONGEST)}"]
    return "\n".join(lines)


def renamed(fact: Fact, old: str, new: str) -> Fact:
    """Return a fact that calls a file by another name.

    >>> renamed(["/tmp/x/run.index", "8 bytes"], "/tmp/x", "s3://bucket")
    ['s3://bucket/run.index', '8 bytes']
    """
    return fact.replace(old, new) if isinstance(fact, str) else [line.replace(old, new) for line in fact]


def some(names: Sequence[str], most: int = 5) -> list[str]:
    """Return the first `most` names, and one line that counts the rest.

    >>> some(["a", "b", "c"], most=2)
    ['a', 'b', 'and 1 more']
    """
    rest = len(names) - most
    return list(names) if rest <= 0 else [*names[:most], f"and {rest} more"]
