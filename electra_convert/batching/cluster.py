"""The items of a batch on the workers of a Dask cluster, through `dask.distributed`'s executor.

    batch ── Client.get_executor ──▶ scheduler ──▶ workers: `working.work_on`, which the pool runs too
    batch ◀── futures: results                 ◀── a topic of the batch: started, progress, notes

All workers must see the same files under the same paths, or URLs. What a worker was working on when it died the
scheduler gives to another one, as often as its `allowed-failures` has it. A task cannot be ended from outside: when the
batch stops, tasks that wait are cancelled, and those that run are told, and end where they tell how far they are.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from electra_convert import __version__
from electra_convert.batching.executors import Heard
from electra_convert.batching.outcomes import ItemResult, failed
from electra_convert.batching.working import Dropped, Task, Throttle, work_on
from electra_convert.errors import ElectraConvertError, EnvironmentFailure, MissingExtra, UsageError
from electra_convert.remote.urls import is_remote, without_file_scheme
from electra_convert.wording import some
from electra_convert.zoo.manifest_keys import OPTIONS

if TYPE_CHECKING:
    from distributed import Client

# Seconds for a scheduler to answer; one that is there does so at once.
TIMEOUT = 5.0

# Seconds between two words about an item's progress, which the scheduler passes on.
INTERVAL = 0.5

# Seconds to tell the workers that the batch has stopped.
GRACE = 1.5

# Windows cannot interrupt a wait for ever.
LONGEST_WAIT = 1.0

# In a worker: the topics of batches that have stopped.
_stopped: set[str] = set()


class Cluster:
    """A connection to a scheduler, and the tasks it has."""

    def __init__(self, address: str) -> None:
        """Connect, and look at the versions of the workers.

        Raises:
            MissingExtra: `distributed` is not installed.
            UsageError: this is no address.
            EnvironmentFailure: nobody answers, or the workers have another version of this package.
        """
        self._address = address
        self._client = _connect(address)
        self._topic = f"electra-convert-{secrets.token_hex(8)}"
        self._inbox: SimpleQueue[Heard | tuple[int, Future[ItemResult]]] = SimpleQueue()
        self._tasks: dict[int, Task] = {}
        try:
            workers = _require_same_version(self._client)
            self._client.subscribe_topic(self._topic, self._hear)
            self._executor = self._client.get_executor(pure=False)
        except BaseException:
            self._client.close()
            raise
        if not workers:
            self._inbox.put(Heard(None, "note", what="the scheduler has no workers yet; the items wait"))

    def has_room(self) -> bool:
        """Return True: the scheduler keeps what waits."""
        return True

    def submit(self, number: int, task: Task) -> None:
        """Give a task to the scheduler, with paths that hold anywhere."""
        self._tasks[number] = task
        future = self._executor.submit(_work, _with_whole_paths(task), number, self._topic)
        future.add_done_callback(lambda done: self._inbox.put((number, done)))

    def wait(self) -> Heard:
        """Return what a worker says next, or what became of a task."""
        while True:
            with contextlib.suppress(Empty):
                heard = self._heard(self._inbox.get(timeout=LONGEST_WAIT))
                if heard is not None:
                    return heard

    def stop(self) -> list[Heard]:
        """Cancel what waits, and tell the workers to end what they work on."""
        finished = []
        with contextlib.suppress(Empty):
            while True:
                finished.append(self._heard(self._inbox.get_nowait()))
        if self._tasks:
            self._tasks.clear()
            # Neither has a time-out, and a worker may be out of reach.
            ending = threading.Thread(target=self._drop, daemon=True)
            ending.start()
            ending.join(GRACE)
        return [heard for heard in finished if heard is not None]

    def __enter__(self) -> Cluster:
        """Return the cluster."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and disconnect."""
        self.stop()
        self._client.close(timeout=GRACE)

    def _drop(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.run(_stop, self._topic, on_error="ignore")

    def _hear(self, event: tuple[float, Sequence[Any]]) -> None:
        """Take a worker's words; called in the client's thread."""
        self._inbox.put(Heard(*event[1]))

    def _heard(self, told: Heard | tuple[int, Future[ItemResult]]) -> Heard | None:
        if isinstance(told, Heard):
            # Words take another way than results, and may come after them.
            return told if told.number is None or told.number in self._tasks else None
        number, future = told
        if number not in self._tasks:
            return None
        return Heard(number, "done", result=self._result(self._tasks.pop(number), future))

    def _result(self, task: Task, future: Future[ItemResult]) -> ItemResult:
        if future.cancelled():
            error: BaseException | None = EnvironmentFailure(
                "the scheduler is gone", where=self._address, hint="start it again, then the batch: it resumes"
            )
        else:
            error = future.exception()
        if error is None:
            return replace(future.result(), item=task.item, out=task.out)
        return failed(task.item, task.out, _as_ours(error, task))


def _connect(address: str) -> Client:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "a scheduler needs dask.distributed",
            where=address,
            found=f"{error.name} is not installed",
            hint="pip install 'electra-convert[dask]'",
        ) from error
    try:
        return Client(address, timeout=TIMEOUT, set_as_default=False)
    except ValueError as error:
        raise UsageError(
            "this is no address of a scheduler", where=address, found=str(error), expected="tcp://HOST:PORT"
        ) from error
    except OSError as error:
        raise EnvironmentFailure(
            "the scheduler cannot be reached",
            where=address,
            found=str(error) or type(error).__name__,
            hint="start one with: dask scheduler",
        ) from error


def _require_same_version(client: Client) -> list[str]:
    """Return the addresses of the workers; raise EnvironmentFailure if one cannot run the tasks of this version."""
    versions: Mapping[str, object] = client.run(_version, on_error="return")
    others = [
        f"{worker}: {found}" if isinstance(found, str) else f"{worker}: none, or another one ({found})"
        for worker, found in sorted(versions.items())
        if found != __version__
    ]
    if others:
        raise EnvironmentFailure(
            "the workers have another version of electra-convert",
            found=some(others),
            expected=__version__,
            hint="install the same version in the environments of all workers",
        )
    return list(versions)


def _version() -> str:
    """Return the version of this package in a worker."""
    return __version__


def _stop(topic: str) -> None:
    """Remember in a worker that a batch has stopped."""
    _stopped.add(topic)


def _work(task: Task, number: int, topic: str) -> ItemResult:
    """Work on a task in a worker, and tell the batch how far it is."""
    from distributed import get_worker

    worker = get_worker()
    throttle = Throttle(INTERVAL)

    def tell(kind: str, done: int, total: int, what: str) -> None:
        if topic in _stopped:
            raise Dropped
        if throttle.passes(kind, done, total, what):
            worker.log_event(topic, [number, kind, done, total, what])

    return work_on(task, tell)


def _as_ours(error: BaseException, task: Task) -> ElectraConvertError:
    """Return what kept a task from having a result, in words; what is wrong with an item is in its result."""
    if isinstance(error, ElectraConvertError):
        return error
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return EnvironmentFailure(
            "the workers died over this item",
            where=task.item.source,
            found=f"{error.allowed_failures + 1} workers, the last one {error.last_worker.address}",
            hint="check their memory: a nanny kills a worker that takes too much",
        )
    return EnvironmentFailure(
        "the cluster failed", where=task.item.source, found=f"{type(error).__name__}: {error}", hint="try again"
    )


def _with_whole_paths(task: Task) -> Task:
    """Return the task with absolute paths: a worker has a working directory of its own."""
    settings = {
        key: _whole(value) if isinstance(value, str) and OPTIONS[key].is_file(value) else value
        for key, value in task.item.settings.items()
    }
    item = replace(task.item, source=_whole(task.item.source), settings=settings)
    return replace(task, item=item, out=_whole(task.out))


def _whole(path: str) -> str:
    place = without_file_scheme(path)
    return path if is_remote(place) else os.path.abspath(place)
