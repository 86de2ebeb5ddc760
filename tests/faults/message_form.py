"""The form that every message has (design.md 2), as a list of what is wrong with one."""

from __future__ import annotations

import re

from electra_convert.errors import ElectraConvertError

# What Python shows of objects and exceptions, and what no sentence of ours holds.
_PYTHON = re.compile(r"Traceback|[A-Za-z]Error\(|<class |<[a-z_.]+ object at|\bb'|\bb\"|NoneType|Errno")
_LABEL = re.compile(r"  [a-z]+(?: [a-z]+)*  +\S|  {2,}\S")


def faults_of(error: ElectraConvertError) -> list[str]:
    """Return every way in which an error does not read as it must."""
    text = str(error)
    first, *rest = text.split("\n")
    found = []
    if not error.message or "\n" in error.message:
        found.append("the message is not one line")
    if first[:1] != first[:1].lower():
        found.append("the message begins with a capital letter")
    for line in (first, *([error.hint] if error.hint else [])):
        if line.endswith((".", "!", " ")):
            found.append(f"a full stop ends {line!r}")
    if error.hint and error.hint[:1] != error.hint[:1].lower():
        found.append("the hint begins with a capital letter")
    if not all(line.isprintable() for line in text.split("\n")):
        found.append("something in it could steer a terminal")
    if _PYTHON.search(text):
        found.append("it shows what Python thinks of it")
    if any(len(line) > 450 for line in text.split("\n")):
        found.append("a line is too long to be read")
    body = rest[: rest.index("")] if "" in rest else rest
    if not all(_LABEL.match(line) for line in body):
        found.append("its facts are not aligned")
    if not error.facts and not error.hint:
        found.append("it has no facts")
    if not (error.found or error.expected or error.hint or set(error.facts) - {"where"}):
        found.append("it says neither what was found nor what to do")
    return found
