"""What a batch needs of a place where its items run: `pool.py` is this machine, `cluster.py` a Dask cluster."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from electra_convert.batching.outcomes import ItemResult
from electra_convert.batching.working import Task


@dataclass(frozen=True, slots=True)
class Heard:
    """What an executor has to say of the task of this number (None: of the whole batch); with `done` its result."""

    number: int | None
    kind: Literal["started", "progress", "note", "done"]
    done: int = 0
    total: int = 0
    what: str = ""
    result: ItemResult | None = None


class Executor(Protocol):
    """A context manager that takes tasks and tells what becomes of them; whatever still runs ends with it."""

    def has_room(self) -> bool:
        """Return whether another task would not have to wait."""

    def submit(self, number: int, task: Task) -> None:
        """Take a task; its number is what it is called by."""

    def wait(self) -> Heard:
        """Return what happens next; it can be interrupted. Raises EnvironmentFailure if nothing can run any more."""

    def stop(self) -> list[Heard]:
        """End what is running, within two seconds; return what was done by then and not heard yet."""

    def __enter__(self) -> Executor:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End whatever still runs."""


def open_executor(jobs: int | None, scheduler: str | None) -> Executor:
    """Return the cluster of a scheduler, or a pool of so many jobs; None is as many as there are processors."""
    if scheduler is not None:
        from electra_convert.batching.cluster import Cluster

        return Cluster(scheduler)
    from electra_convert.batching.pool import ProcessPool, count_cores

    return ProcessPool(jobs or count_cores())
