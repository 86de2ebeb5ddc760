"""What becomes of the items of a batch: a result for each, and events for whoever watches. All is plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from electra_convert.errors import ElectraConvertError, StrictError
from electra_convert.notices import Notice, Noticed
from electra_convert.zoo.finding import Item

Status = Literal["converted", "up to date", "planned", "failed", "dropped"]
"""`planned`: in a dry run it would be converted; `dropped`: the batch was asked to stop before it was done."""

Kind = Literal["planned", "started", "progress", "finished", "note"]


@dataclass(frozen=True, slots=True)
class ItemResult(Noticed):
    """What became of an item.

    `out` is its folder; `halves` are the halves in the form of `HalfExport.to_json`, read from their records where they
    are up to date; `refused` those that `available` could not have. `error` is `ElectraConvertError.to_json` with
    `exit_code`, `message` the same as people read it. `nbytes` counts the weights; `peak_memory` is what the process
    that worked on it has taken so far, in bytes.
    """

    item: Item
    status: Status
    out: str
    halves: tuple[Mapping[str, Any], ...] = ()
    checkpoint: Mapping[str, Any] | None = None
    setup: str = ""
    refused: tuple[Mapping[str, str], ...] = ()
    notices: tuple[Notice, ...] = ()
    error: Mapping[str, Any] | None = None
    message: str = ""
    seconds: float = 0.0
    nbytes: int = 0
    peak_memory: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "item": self.item.to_json(),
            "status": self.status,
            "out": self.out,
            "halves": [dict(half) for half in self.halves],
            "checkpoint": self.checkpoint,
            "setup": self.setup,
            "refused": [dict(half) for half in self.refused],
            "warnings": [notice.to_json() for notice in self.warnings],
            "notes": [notice.to_json() for notice in self.notes],
            "error": self.error,
            "message": self.message,
            "seconds": round(self.seconds, 3),
            "bytes": self.nbytes,
            "peak_memory": self.peak_memory,
        }


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """Something that happened, `at` so many seconds after the start.

    planned     once, before anything else: `total` items
    started     an item is worked on; `what` says why it is done again, if it is
    progress    of an item: `done` of `total` bytes or steps, as `progress.py` has it, at most ten times a second
    finished    an item has its `result`; `done` of `total` items are finished
    note        `what` is for people to know
    """

    kind: Kind
    item: str = ""
    done: int = 0
    total: int = 0
    what: str = ""
    result: ItemResult | None = None
    at: float = 0.0


Watch = Callable[[BatchEvent], None]
"""Called in the thread that runs the batch."""


def watch_nothing(event: BatchEvent) -> None:
    """Let it pass."""


def failed(item: Item, out: str, error: ElectraConvertError, seconds: float = 0.0) -> ItemResult:
    """Return the result of an item that an error ended."""
    return ItemResult(
        item=item,
        status="failed",
        out=out,
        notices=error.notices if isinstance(error, StrictError) else (),
        error={**error.to_json(), "exit_code": error.exit_code},
        message=str(error),
        seconds=seconds,
    )


def dropped(item: Item, out: str) -> ItemResult:
    """Return the result of an item that was not done when the batch stopped."""
    return ItemResult(item, "dropped", out)
