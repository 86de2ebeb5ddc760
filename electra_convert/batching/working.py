"""One item of a batch from beginning to end: is it up to date, may it be written, convert it, tell how it went.

The same function works for a pool of processes (`serving.py`) and on the workers of a cluster (`cluster.py`). NumPy and
torch are imported by what needs them, so that whoever finds everything up to date never does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from electra_convert import __version__
from electra_convert.atomic import clear_leftovers
from electra_convert.batching.outcomes import ItemResult, failed
from electra_convert.batching.resuming import Output, find_difference, read_output, recorded_result
from electra_convert.errors import ElectraConvertError, EnvironmentFailure, OutputError
from electra_convert.options import Options
from electra_convert.progress import Progress
from electra_convert.remote.urls import is_remote, without_file_scheme
from electra_convert.unexpected import Bug, as_ours, traceback_lines
from electra_convert.zoo.finding import Item

if TYPE_CHECKING:
    from electra_convert.tf1.sources import FoundSource

Tell = Callable[[Literal["started", "progress", "note"], int, int, str], None]
"""Called with (kind, done, in total, what) while an item is worked on; raises `Dropped` to end that."""


class Throttle:
    """Holds back words about progress that come less than so many seconds after the last and say nothing new."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._what, self._last = "", float("-inf")

    def passes(self, kind: str, done: int, total: int, what: str) -> bool:
        """Return whether to say it."""
        now = time.monotonic()
        if kind == "progress" and what == self._what and now - self._last < self._interval and done < total:
            return False
        self._what, self._last = what, now
        return True


class Dropped(Exception):
    """The batch was asked to stop; raised where an item tells how far it is, so that it cleans up after itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """An item, where its folder goes (a path or a URL), and how; `version` is of the package that made the task."""

    item: Item
    out: str
    resume: bool = True
    dry_run: bool = False
    version: str = __version__


def work_on(task: Task, tell: Tell) -> ItemResult:
    """Return what became of an item; whatever is wrong with it is in the result, and stops nobody else.

    Raises Dropped if `tell` does; the item's folder is as it was then, and nothing is left beside it.
    """
    started = time.monotonic()
    tell("started", 0, 0, "")
    try:
        result = _result(task, tell)
    except Dropped:
        raise
    except Exception as error:  # the one place where an item ends, bugs included
        ours = as_ours(error)
        result = failed(task.item, task.out, ours)
        if isinstance(ours, Bug):
            result = replace(result, message="\n".join((*traceback_lines(error), "", result.message)))
    return replace(result, seconds=time.monotonic() - started, peak_memory=memory_used("peak"))


def memory_used(which: Literal["peak", "now"]) -> int | None:
    """Return the resident memory of this process in bytes, its largest or the present; None if nobody tells.

    `getrusage` would do for the largest, but starts with that of the process that started this one.
    """
    label = {"peak": "VmHWM:", "now": "VmRSS:"}[which]
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith(label)), None)
    except OSError:
        return _peak_by_rusage()


def _peak_by_rusage() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    # macOS counts bytes, the other systems kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _result(task: Task, tell: Tell) -> ItemResult:
    if task.version != __version__:
        raise EnvironmentFailure(
            "the worker runs another version of electra-convert",
            found=__version__,
            expected=f"{task.version}, as the batch",
            hint="install the same version everywhere",
        )
    options = Options(**task.item.settings)
    output = read_output(task.out)
    output.require_ours()
    if output.records and task.resume:
        done, difference = _if_up_to_date(task, output, options)
        if done:
            return done
        tell("note", 0, 0, f"done again: {difference}")
    return _convert(task, overwrite=bool(output.records), progress=lambda *how_far: tell("progress", *how_far))


def _if_up_to_date(task: Task, output: Output, options: Options) -> tuple[ItemResult | None, str]:
    """Return the result of an item that is up to date, or None and why it is not."""
    try:
        with _found(task.item.source) as found:
            difference = find_difference(output, options, found.source)
            if difference:
                return None, difference
            if not is_remote(task.out):
                clear_leftovers(task.out)
            return recorded_result(output, task.item, found.source), ""
    except ElectraConvertError as error:
        return None, error.message


def _found(source: str) -> AbstractContextManager[FoundSource]:
    """Return what finds a checkpoint; of one in a store the data files stay there."""
    if is_remote(source):
        from electra_convert.remote.checkpoint import fetched

        return fetched(source, wanted="names")
    from electra_convert.tf1.sources import find_source

    return find_source(without_file_scheme(source))


def _convert(task: Task, *, overwrite: bool, progress: Progress) -> ItemResult:
    from electra_convert.conversion import convert

    item, out = task.item, task.out
    if not is_remote(out):
        out = _place_in_sight(out) if task.dry_run else _with_parents(out)
    conversion = convert(
        item.source, out, overwrite=overwrite, dry_run=task.dry_run, progress=progress, **item.settings
    )
    halves = [half.to_json() for half in conversion.halves]
    return ItemResult(
        item=item,
        status="planned" if task.dry_run else "converted",
        out=task.out,
        halves=tuple({**half, "folder": task.out + half["folder"].removeprefix(out)} for half in halves),
        checkpoint=conversion.checkpoint.to_json(),
        setup=conversion.setup,
        refused=tuple({"half": half, "reason": reason} for half, reason in conversion.refused),
        notices=conversion.notices,
        nbytes=sum(half.nbytes for half in conversion.halves),
    )


def _with_parents(out: str) -> str:
    """Make the folders above an item's own; those that stay empty the batch removes at its end."""
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "the folder that is to hold the output cannot be made",
            where=os.fspath(Path(out).parent),
            found=error.strerror or str(error),
            hint="check the permissions, or choose another OUT",
        ) from error
    return out


def _place_in_sight(out: str) -> str:
    """Return the output's place, or the first name above it whose parent is there: a dry run makes no folder."""
    place = Path(out)
    while not place.parent.exists():
        place = place.parent
    return os.fspath(place)
