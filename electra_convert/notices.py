"""What a person should know about a run that went on: warnings to act on, notes for the record.

A *warning* is shown, counted and fails the run under `--strict`; its `code` is stable, for programs.
A *note* stands in the record and under `-v` only.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from electra_convert.wording import Fact, describe, renamed


class Notice(NamedTuple):
    """A warning or a note: what, the facts, and a hint where there is something to do."""

    kind: Literal["warning", "note"]
    code: str
    message: str
    facts: tuple[tuple[str, Fact], ...] = ()
    hint: str | None = None

    def __str__(self) -> str:
        return describe(self.message, dict(self.facts), self.hint)

    def renamed(self, old: str, new: str) -> Notice:
        """Return the notice with a file called by another name: what was fetched is known by its URL."""
        facts = tuple((label, renamed(fact, old, new)) for label, fact in self.facts)
        hint = self.hint and self.hint.replace(old, new)
        return Notice(self.kind, self.code, self.message.replace(old, new), facts, hint)

    def to_json(self) -> dict[str, Any]:
        """Return the notice as plain data."""
        facts = {label: fact if isinstance(fact, str) else list(fact) for label, fact in self.facts}
        return {"code": self.code, "message": self.message, "facts": facts, "hint": self.hint}


class Noticed:
    """A result that carries notices."""

    __slots__ = ()

    notices: tuple[Notice, ...]

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """The notices that a person may act on."""
        return tuple(notice for notice in self.notices if notice.kind == "warning")

    @property
    def notes(self) -> tuple[Notice, ...]:
        """The notices for the record."""
        return tuple(notice for notice in self.notices if notice.kind == "note")


def warning(code: str, message: str, hint: str | None = None, **facts: Fact) -> Notice:
    """Return a notice that a user may act on."""
    return Notice("warning", code, message, tuple(facts.items()), hint)


def note(code: str, message: str, **facts: Fact) -> Notice:
    """Return a notice for the record."""
    return Notice("note", code, message, tuple(facts.items()))
