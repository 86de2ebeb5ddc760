"""A pool of processes that each work on one item of a batch after another.

A worker that dies (out of memory, a crash in compiled code, kill -9) takes no other with it: its item is tried once
more, alone, when nothing else is left to do, since too little memory for two is the likeliest reason. Processes of our
own rather than `concurrent.futures`: there one death fails everything that runs, and nobody knows whose it was.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from electra_convert.atomic import clear_leftovers
from electra_convert.batching.executors import Heard
from electra_convert.batching.outcomes import failed
from electra_convert.batching.worker_process import WorkerProcess
from electra_convert.batching.working import Task
from electra_convert.errors import EnvironmentFailure
from electra_convert.remote.urls import is_remote

# Allocators keep part of what was freed: after a base model 1.0 GB that the next one of its size takes again, after a
# large one three times that, for nothing where small ones follow. Over 1,000 small checkpoints nothing grows, but that
# is up to the libraries. So a worker is replaced after so many items, or when it has kept so much; a new one has to
# import torch, which takes 2 s.
MOST_ITEMS = 200
MOST_MEMORY = 1 << 30

# Seconds until a worker that was asked to stop is killed; with the rest, two seconds from Ctrl-C to the end.
GRACE = 1.5

# How often a worker may die over one item.
TRIES = 2

# So many workers that end before their first word, one after another, are no accident.
MOST_STILLBORN = 3

# Windows cannot interrupt a wait for ever.
LONGEST_WAIT = 1.0


def count_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessPool:
    """At most `jobs` processes, which share the processors: each gets its part of the threads."""

    def __init__(self, jobs: int) -> None:
        """Start nothing yet; raise EnvironmentFailure without a place for temporary files."""
        self._jobs = jobs
        self._inbox: SimpleQueue[tuple[WorkerProcess, Any]] = SimpleQueue()
        self._workers: list[WorkerProcess] = []
        self._lost: deque[tuple[int, Task]] = deque()
        self._deaths: dict[int, int] = {}
        self._stillborn = 0
        try:
            # Workers unpack archives below it: what a killed one leaves goes with it.
            self._temporary = tempfile.TemporaryDirectory(prefix="electra-convert-", ignore_cleanup_errors=True)
        except OSError as error:
            raise EnvironmentFailure(
                "no temporary folder for the workers",
                found=error.strerror or str(error),
                hint="set TMPDIR to a folder that can be written",
            ) from error

    def has_room(self) -> bool:
        """Return whether a worker is free, or another may be started."""
        return len(self._busy()) < self._jobs

    def submit(self, number: int, task: Task) -> None:
        """Give a task to a worker that is free, or to a new one."""
        free = next((worker for worker in self._workers if worker.is_free()), None)
        if free is None:
            free = WorkerProcess(max(1, count_cores() // self._jobs), self._temporary.name, self._inbox)
            self._workers.append(free)
        free.take(number, task)

    def wait(self) -> Heard:
        """Return what a worker says next."""
        while True:
            if self._lost and not self._busy():
                self.submit(*self._lost.popleft())
            with suppress(Empty):
                heard = self._hear(*self._inbox.get(timeout=LONGEST_WAIT))
                if heard is not None:
                    return heard

    def stop(self) -> list[Heard]:
        """End all workers, by asking first; what those that had to be killed left behind is removed."""
        abandoned = [worker.task for worker in self._busy() if worker.task is not None]
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.dismiss()
        deadline = time.monotonic() + GRACE
        for worker in workers:
            worker.end(deadline)
        for task in abandoned:
            _clear(task)
        return self._last_words()

    def __enter__(self) -> ProcessPool:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers, and remove their temporary files."""
        self.stop()
        self._temporary.cleanup()

    def _busy(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if worker.task is not None]

    def _hear(self, worker: WorkerProcess, words: tuple[Any, ...] | None) -> Heard | None:
        """Return what a worker's words mean; None for what only the pool needs to know."""
        if words is None:
            return self._bury(worker)
        kind, *rest = words
        if kind == "ready":
            worker.ready, self._stillborn = True, 0
            return None
        number = worker.number
        if kind != "done":
            return Heard(number, kind, *rest)
        result, memory = rest
        worker.task = None
        worker.items += 1
        if worker.items >= MOST_ITEMS or (memory or 0) > MOST_MEMORY:
            worker.dismiss()
        return Heard(number, "done", result=result)

    def _bury(self, worker: WorkerProcess) -> Heard | None:
        """Take note of a worker's end; return the result of an item that was its death too often."""
        if worker not in self._workers:
            return None
        self._workers.remove(worker)
        worker.end(time.monotonic() + GRACE)
        self._stillborn += not worker.ready
        if self._stillborn >= MOST_STILLBORN:
            raise EnvironmentFailure(
                "no worker process comes to work", found=worker.how_it_ended(), said=worker.said or None
            )
        if worker.task is None:
            return None
        number, task = worker.number, worker.task
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] < TRIES:
            self._lost.append((number, task))
            return Heard(number, "note", what=f"the worker was lost ({worker.how_it_ended()}); the item is tried again")
        _clear(task)
        error = EnvironmentFailure(
            "the worker process died over this item",
            where=task.item.source,
            found=f"{worker.how_it_ended()}, after {TRIES} tries, the last one with no other at work",
            said=worker.said or None,
            hint="check the memory: the system kills a process when there is none left",
        )
        return Heard(number, "done", result=failed(task.item, task.out, error))

    def _last_words(self) -> list[Heard]:
        heard = []
        with suppress(Empty):
            while True:
                worker, words = self._inbox.get_nowait()
                if words is not None and words[0] == "done":
                    heard.append(Heard(worker.number, "done", result=words[1]))
        return heard


def _clear(task: Task) -> None:
    if not is_remote(task.out):
        clear_leftovers(task.out)
