"""The events of a batch as JSON Lines, appended while it runs: for programs that follow it.

    {"schema": "electra-convert/batch-event/1", "kind": "started", "item": "korean/small", …, "at": 0.41}
    {"schema": …, "kind": "progress", "item": "korean/small", "done": 1048576, "total": 54211072, "what": "writing", …}
    {"schema": …, "kind": "finished", "item": "korean/small", "result": {"status": "converted", …}, "at": 4.52}

A line is whole or not there, but for one that a kill cut short: what is appended later begins on a line of its own.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from electra_convert.atomic import write_failure
from electra_convert.errors import OutputError

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import BatchEvent

SCHEMA = "electra-convert/batch-event/1"
EVENTS_BEGIN = b'{"schema": '

# Seconds between two lines about one item's progress: programs follow, people do not watch.
INTERVAL = 1.0


class EventLog:
    """Appends events to a file. A batch does not end because its log cannot be written: `failure` is for the end."""

    def __init__(self, path: str) -> None:
        """Open the file, or make it.

        Raises:
            OutputError: the system does not let us.
        """
        self._path = path
        self._told: dict[str, float] = {}
        self.failure: OutputError | None = None
        try:
            self._file: BinaryIO = open(path, "ab+", buffering=0)  # noqa: SIM115 - open as long as the batch runs
            self._end_line()
        except OSError as error:
            raise write_failure(path, error) from error

    def write(self, event: BatchEvent) -> None:
        """Append an event; progress of an item at most once a second."""
        if self.failure or not self._is_due(event):
            return
        try:
            self._append(event_line(event))
        except OSError as error:
            self.failure = write_failure(self._path, error)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_due(self, event: BatchEvent) -> bool:
        if event.kind != "progress":
            return True
        if event.at - self._told.get(event.item, float("-inf")) < INTERVAL:
            return False
        self._told[event.item] = event.at
        return True

    def _end_line(self) -> None:
        if self._file.seekable() and self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._append(b"\n")

    def _append(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]


def event_line(event: BatchEvent) -> bytes:
    """Return an event as a line of JSON, in ASCII."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": event.kind,
        "item": event.item,
        "done": event.done,
        "total": event.total,
        "what": event.what,
        "result": event.result and event.result.to_json(),
        "at": round(event.at, 3),
    }
    return json.dumps(document, allow_nan=False).encode() + b"\n"
