"""A row of the table of reliability: a fault, how often it was tried, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: how many cases ended how; `detected` and `identical` are good ends; `memory` is a peak in bytes."""

    fault: str
    cases: int
    detected: int
    identical: int
    wrong: int
    crashed: int
    memory: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
