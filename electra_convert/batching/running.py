"""`batch`: many checkpoints converted, several at a time, each as `convert` does it; results as they finish.

sources ──▶ zoo ──▶ tasks ──▶ executor: a pool of processes, or a cluster ──▶ results, events
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from electra_convert.batching.executors import Executor, open_executor
from electra_convert.batching.outcomes import BatchEvent, ItemResult, Kind, Status, Watch, dropped, watch_nothing
from electra_convert.batching.working import Task
from electra_convert.errors import OutputError, UsageError
from electra_convert.options import Export, StrPath
from electra_convert.placing import below
from electra_convert.remote.urls import is_remote, without_file_scheme
from electra_convert.zoo.finding import Zoo, find_zoo

__all__ = ["BatchEvent", "ItemResult", "Status", "batch", "run_zoo"]


def batch(
    sources: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    manifest: StrPath | None = None,
    export: Export = "available",
    jobs: int | None = None,
    all_steps: bool = False,
    resume: bool = True,
    fail_fast: bool = False,
    dry_run: bool = False,
    scheduler: str | None = None,
    watch: Watch = watch_nothing,
    **settings: Any,
) -> Generator[ItemResult, None, None]:
    """Convert every checkpoint of some trees or lists into folders below OUT; yield a result for each as it finishes.

    >>> from electra_convert import batch
    >>> for result in batch("fixtures/google/tied_generator", "out", jobs=1, verify=False):
    ...     print(result.item.name, result.status, [half["half"] for half in result.halves])
    tied_generator converted ['discriminator', 'generator']

    What is up to date since an earlier run is not done again. One checkpoint that fails stops no other. Where the
    iteration is left early (`break`, an exception), what is running is dropped, and nothing half-written stays.

    Args:
        sources: folders that are walked, checkpoints, archives, URLs, manifests.
        out: the folder that is to hold the outputs; its parent must be there. Or a URL.
        manifest: a list of checkpoints, each with its own settings: zoo.toml, .json or .csv.
        export: as in `convert`; `available` exports every half that can be had.
        jobs: how many run at a time; default: as many as there are processors.
        all_steps: every step of a training, not the newest only.
        resume: skip what is up to date; False does everything again.
        fail_fast: after the first failure drop what is running, and start nothing more.
        dry_run: plan only, write nothing.
        scheduler: address of a Dask scheduler (`tcp://HOST:PORT`) on whose workers the items run; they must see the
            same files under the same paths.
        watch: called with every `BatchEvent`.
        settings: further keywords of `convert`, for all items; a manifest can say otherwise for one.

    Raises:
        UsageError: contradictions, or two outputs in one place; before anything starts.
        ManifestError: the manifest has faults; likewise.
        EnvironmentFailure: OUT cannot be had, the scheduler cannot be reached, or no process can be started.
        KeyboardInterrupt: it was interrupted; the results of what was dropped are yielded before.
    """
    listed = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    zoo = find_zoo(listed, out, manifest=manifest, all_steps=all_steps, settings={"export": export, **settings})
    return run_zoo(
        zoo, out, jobs=jobs, resume=resume, fail_fast=fail_fast, dry_run=dry_run, scheduler=scheduler, watch=watch
    )


def run_zoo(
    zoo: Zoo,
    out: StrPath,
    *,
    jobs: int | None = None,
    resume: bool = True,
    fail_fast: bool = False,
    dry_run: bool = False,
    scheduler: str | None = None,
    watch: Watch = watch_nothing,
) -> Generator[ItemResult, None, None]:
    """Yield the result of every item of a zoo, once, in the order they finish; see `batch`.

    Interrupted (KeyboardInterrupt, raised in here or thrown in), it stops within two seconds, yields the results of
    what was dropped, and then lets the interrupt go on. Closed, it stops too, and tells `watch` of what was dropped.
    """
    if jobs is not None and (jobs < 1 or scheduler is not None):
        found = f"{jobs} jobs, on a cluster" if scheduler else f"{jobs} jobs"
        raise UsageError("that many jobs cannot be run", found=found, expected="1 or more, and no scheduler")
    place = os.fspath(without_file_scheme(out))
    tasks = [Task(item, below(place, item.name), resume, dry_run) for item in zoo.items]
    if scheduler is None:
        _check_out(place)
    return _run(tasks, _Account(tasks, watch), jobs, scheduler, fail_fast, place)


def _run(
    tasks: Sequence[Task], account: _Account, jobs: int | None, scheduler: str | None, fail_fast: bool, out: str
) -> Generator[ItemResult, None, None]:
    absent = _absent_folders(tasks, out)
    try:
        with open_executor(jobs, scheduler) as executor:
            account.tell_plan()
            try:
                yield from _results(tasks, account, executor, fail_fast)
            except KeyboardInterrupt:
                _drop_rest(account, executor)
                yield from account.untold()
                raise
            except GeneratorExit:
                _drop_rest(account, executor)
                raise
    finally:
        _remove_empty(absent)


def _results(tasks: Sequence[Task], account: _Account, executor: Executor, fail_fast: bool) -> Iterator[ItemResult]:
    waiting = deque(range(len(tasks)))
    while account.unfinished:
        while waiting and executor.has_room():
            number = waiting.popleft()
            executor.submit(number, tasks[number])
        heard = executor.wait()
        if heard.kind != "done":
            account.tell(heard.kind, heard.number, heard.done, heard.total, heard.what)
        if heard.result is None or heard.number is None:
            continue
        account.finish(heard.number, heard.result)
        if fail_fast and heard.result.status == "failed":
            _drop_rest(account, executor)
        yield from account.untold()


def _drop_rest(account: _Account, executor: Executor) -> None:
    """Stop, and account for every item that has no result yet."""
    for heard in executor.stop():
        if heard.result is not None and heard.number is not None:
            account.finish(heard.number, heard.result)
    account.drop_rest()


class _Account:
    """Who has a result, whose result was not yielded yet, and who is told."""

    def __init__(self, tasks: Sequence[Task], watch: Watch) -> None:
        self.unfinished = set(range(len(tasks)))
        self._tasks, self._watch = tasks, watch
        self._started = time.monotonic()
        self._untold: deque[tuple[int, ItemResult]] = deque()

    def tell(
        self, kind: Kind, number: int | None, done: int, total: int, what: str, result: ItemResult | None = None
    ) -> None:
        item = "" if number is None else self._tasks[number].item.name
        self._watch(BatchEvent(kind, item, done, total, what, result, time.monotonic() - self._started))

    def tell_plan(self) -> None:
        self._watch(BatchEvent("planned", total=len(self._tasks)))

    def finish(self, number: int, result: ItemResult) -> None:
        # An interrupt in between finds the result; `drop_rest` looks for it in both.
        self._untold.append((number, result))
        self.unfinished.discard(number)
        every = len(self._tasks)
        self.tell("finished", number, every - len(self.unfinished), every, "", result)

    def drop_rest(self) -> None:
        for number in sorted(self.unfinished - {number for number, _ in self._untold}):
            task = self._tasks[number]
            self.finish(number, dropped(task.item, task.out))

    def untold(self) -> Iterator[ItemResult]:
        while self._untold:
            yield self._untold.popleft()[1]


def _check_out(out: str) -> None:
    """Raise OutputError if no folder can be made in OUT, as far as can be seen at once."""
    if is_remote(out) or os.path.isdir(out):
        return
    if os.path.lexists(out):
        raise OutputError("the output is no folder", where=out, hint="choose another OUT")
    if not Path(out).absolute().parent.is_dir():
        raise OutputError("the folder that is to hold the output is not there", where=out, hint="create it first")


def _absent_folders(tasks: Sequence[Task], out: str) -> list[Path]:
    """Return the folders above the outputs that are not there yet, the deepest first."""
    if is_remote(out):
        return []
    above = {parent for task in tasks for parent in Path(task.out).parents if parent.is_relative_to(out)}
    return sorted((path for path in above if not path.exists()), key=lambda path: len(path.parts), reverse=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # it holds outputs, or was never made
            folder.rmdir()
