"""Small zoos, batches in processes of their own that tests disturb, and workers that misbehave as a test says."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from made_up import write_made_up

from electra_convert.batching.outcomes import BatchEvent, ItemResult

# Set-ups in turn, so that some items have one half and some two.
SETUPS = ("separate", "uniform", "tied", "masked LM")

# One thread each: a test machine has few.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT)]), "OMP_NUM_THREADS": "1"}

# Prints a line for every event but progress, and the name of the exception that ended the batch, if one did.
DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from electra_convert.batching.running import batch

def watch(event):
    if event.kind != "progress":
        print(event.kind, event.item, event.result and event.result.status, event.what, flush=True)

if __name__ == "__main__":
    try:
        for result in batch(sys.argv[1], sys.argv[2], watch=watch, verify=False, {keywords}):
            print("yielded", result.item.name, result.status, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def write_zoo(folder: Path, count: int = 4) -> Path:
    """Write so many small checkpoints into a tree, two levels deep; return its folder."""
    for number in range(count):
        write_made_up(folder / f"group{number % 3}" / f"model{number:02}", SETUPS[number % len(SETUPS)])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder: hidden files too, and folders as empty values under names with a slash."""
    return {
        f"{path.relative_to(folder)}{'/' if path.is_dir() else ''}": b"" if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def start_batch(zoo: Path, out: Path, keywords: str = "jobs=2") -> subprocess.Popen[str]:
    """Start a batch as the leader of a process group of its own; what it says is in its stdout."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER.replace("{keywords}", keywords), str(zoo), str(out)],
        # What a killed one leaves among the temporary files is to stay with the test.
        env={**ENVIRONMENT, "TMPDIR": str(out.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def misbehaving(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Let workers that are started from now on run `body` before each item; `task` and `tell` are there."""
    program = f"""
import electra_convert.batching.working as working
original = working.work_on
def work_on(task, tell):
{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
    return original(task, tell)
working.work_on = work_on
"""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))


def by_name(results: Sequence[ItemResult]) -> dict[str, ItemResult]:
    """Return results by their item's name; no item may have two."""
    named = {result.item.name: result for result in results}
    assert len(named) == len(results)
    return named


def statuses(results: Sequence[ItemResult]) -> dict[str, str]:
    """Return what became of each item."""
    return {name: result.status for name, result in by_name(results).items()}


class Log:
    """Keeps every event."""

    def __init__(self, then: Callable[[BatchEvent], Any] = lambda event: None) -> None:
        self.events: list[BatchEvent] = []
        self._then = then

    def __call__(self, event: BatchEvent) -> None:
        self.events.append(event)
        self._then(event)

    def of(self, kind: str) -> list[BatchEvent]:
        """Return the events of a kind."""
        return [event for event in self.events if event.kind == kind]
