"""One store: what is listed there, what an object is at this moment, and transfers.

A transfer runs in a thread of its own: a signal ends the waiting, and the transfer with the next piece, before
anything is cleaned up; otherwise an upload could arrive after its remains were removed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_convert.errors import AccessError, NotACheckpoint, UsageError
from electra_convert.remote.clients import ABSENT, CLIENTS, client_of, failure_of, failures, status_of
from electra_convert.remote.urls import Address, redact

# Seconds between two looks at how far a transfer is.
INTERVAL = 0.05

# Where the first name is a bucket, which somebody has made and which holds more than one output.
BUCKETS = {"s3", "s3a", "gs", "gcs"}

# What tells one state of an object from another, in the words of one store or another.
STAMPS = (
    *("ETag", "etag", "e_tag", "generation", "VersionId", "md5Hash", "Content-MD5", "content_md5", "Digest"),
    *("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created"),
    *("blob_id", "xet_hash", "ino"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is at an address: a folder, or an object of `size` bytes (None where the store does not tell).

    Two stamps are equal while nothing has replaced the object, as far as the store tells.
    """

    is_folder: bool
    size: int | None
    stamp: tuple[tuple[str, str], ...]


class Store:
    """The store that an address is in; it lists, reads, takes and removes objects."""

    def __init__(self, address: Address) -> None:
        """Open the store; raise MissingExtra without its package, UsageError for a scheme that nobody knows."""
        self._secret = redact(address.url) != address.url
        self._files = client_of(address)
        self._is_web = address.scheme in {"http", "https"}

    @property
    def lists(self) -> bool:
        """Whether what a folder holds can be asked for."""
        return not self._is_web

    @property
    def has_ranges(self) -> bool:
        """Whether a part of an object is read as one; web servers may send all of it."""
        return not self._is_web

    def look(self, address: Address) -> Entry | None:
        """Return what is at an address now; None if nothing is.

        Raises AccessError if the store does not let us look, EnvironmentFailure if it cannot be had.
        """
        self._files.invalidate_cache()
        with self._failing(address) as found:
            found.append(_entry(self._files.info(self._path(address))))
        return found[0] if found else None

    def entries(self, address: Address) -> dict[str, Entry] | None:
        """Return what a folder holds, by name; None if there is no such folder. Raises as `look` does."""
        if not self.lists:
            raise UsageError("an https address cannot be listed", where=address.shown, hint="pass a file or a prefix")
        self._files.invalidate_cache()
        path = self._path(address)
        with self._failing(address) as found:
            found.append(self._files.ls(path, detail=True))
        if not found or any(info["name"] == path and info["type"] != "directory" for info in found[0]):
            return None
        return {
            name: _entry(info)
            for info in found[0]
            # S3 consoles mark a folder by an empty object of its name.
            if (name := info["name"].rstrip("/").rpartition("/")[2]) and not _is_marker(info, path)
        }

    def tree(self, address: Address) -> dict[str, Entry]:
        """Return every object below an address, by its path there; "" if an object is at the address itself."""
        self._files.invalidate_cache()
        path = self._path(address)
        with self._failing(address) as found:
            found.append(self._files.find(path, detail=True))
        every = {info["name"]: info for info in found[0].values()} if found else {}
        return {
            name[len(path) :].strip("/"): _entry(info) for name, info in every.items() if not _is_marker(info, path)
        }

    def read(self, address: Address, start: int | None, end: int | None) -> bytes | None:
        """Return some bytes of an object, counted as slices are; None if it is not there. Raises as `look` does."""
        with self._failing(address) as found:
            found.append(self._files.cat_file(self._path(address), start=start, end=end))
        return bytes(found[0]) if found else None

    def fetch(self, address: Address, target: Path, advance: Callable[[int], None]) -> bool:
        """Copy an object into a file; return False if it is not there. Raises as `look` does."""

        def transfer(callback: Any) -> bool:
            with self._failing(address) as found:
                found.append(self._files.get_file(self._path(address), str(target), callback=callback))
            return bool(found)

        return _to_the_end(transfer, advance)

    def put(self, source: Path, address: Address, advance: Callable[[int], None]) -> None:
        """Copy a file to an address, in place of what is there. Raises as `look` does."""

        def transfer(callback: Any) -> bool:
            with self._failing(address, absent=False):
                self._files.put_file(str(source), self._path(address), callback=callback)
            return True

        _to_the_end(transfer, advance)

    def remove(self, address: Address) -> None:
        """Remove an object; one that is not there is no failure. Raises as `look` does."""

        def removal(_: Any) -> bool:
            with self._failing(address):
                self._files.rm_file(self._path(address))
            return True

        _to_the_end(removal, lambda _: None)

    def _path(self, address: Address) -> str:
        return str(self._files._strip_protocol(address.url))

    @contextlib.contextmanager
    def _failing(self, address: Address, *, absent: bool = True) -> Iterator[list[Any]]:
        """Raise what goes wrong in words; that nothing is there is no failure, if `absent` says so."""
        try:
            yield []
        except failures() as error:
            # Of https, fsspec says that nothing is there whatever went wrong.
            reason = error.__cause__ if self._is_web and isinstance(error, FileNotFoundError) else None
            if absent and isinstance(error, FileNotFoundError) and (reason is None or status_of(reason) in ABSENT):
                return
            failure = failure_of(address, reason or error)
            if isinstance(failure, AccessError):
                CLIENTS.clear()  # whoever logs in now is to be seen
            # A traceback would show what the address hides.
            raise failure from (None if self._secret else error)


def nothing_at(address: Address) -> NotACheckpoint:
    """Return the refusal of an address at which there is nothing."""
    return NotACheckpoint(
        "nothing is at this URL",
        where=address.shown,
        expected="a folder, a prefix or a file of a checkpoint, or an archive of one",
        hint="check the URL",
    )


def _entry(info: Mapping[str, Any]) -> Entry:
    size = info.get("size")
    stamp = tuple((name, str(info[name])) for name in STAMPS if info.get(name) not in (None, ""))
    return Entry(info.get("type") == "directory", None if size is None else int(size), stamp)


def _is_marker(info: Mapping[str, Any], path: str) -> bool:
    """Return whether this is the empty object by which some stores mark a folder, as its own entry or as a child."""
    is_empty = not info.get("size") and info.get("type") != "directory"
    return is_empty and (info["name"].endswith("/") or info["name"].rstrip("/") == path.rstrip("/"))


def _to_the_end(transfer: Callable[[Any], bool], advance: Callable[[int], None]) -> bool:
    """Run a transfer in a thread, and come back only when it has ended, whatever interrupts the waiting.

    `advance` is called in the caller's own thread.
    """
    from fsspec import Callback

    stop = threading.Event()
    moved: list[int] = []

    class Watching(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1, **_: object) -> None:
            if stop.is_set():
                raise ConnectionAbortedError("the transfer was stopped")
            moved.append(inc)

    with ThreadPoolExecutor(1) as pool:
        try:
            # The thread is there before it has anything to do: one whose start is interrupted is not waited for.
            pool.submit(int).result()
            ending = pool.submit(transfer, Watching())
            while wait([ending], timeout=INTERVAL).not_done or moved:
                for _ in range(len(moved)):
                    advance(moved.pop())
        except BaseException:
            stop.set()
            raise
        return ending.result()
