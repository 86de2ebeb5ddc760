"""Counts the calls by which a run touches the folders under test, and makes the N-th one fail, or end the process.

    open mkdir rename renameat2 fsync close write read preadv posix_fallocate flock stat scandir unlink …

The functions of `os`, and `open`, are replaced by ones that count; files elsewhere are left alone. A call that fails
has had no effect, but for `close`, which closes and fails, as the system does.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from electra_convert import atomic, holding

PLAIN = (
    *("open", "mkdir", "rename", "stat", "lstat", "scandir", "listdir", "unlink", "rmdir", "statvfs"),
    *("fsync", "fstat", "pread", "preadv", "posix_fallocate", "close"),
)

Action = Callable[[str], None]


class Calls:
    """Calls on files below `folders`: their names in order, and what the `wanted`-th one is to do before it is made."""

    def __init__(self, folders: list[Path], wanted: int, action: Action, *, ever_after: bool = False) -> None:
        self.names: list[str] = []
        self._folders = [os.fsencode(os.path.realpath(folder)) for folder in folders]
        self._wanted, self._action, self._ever_after = wanted, action, ever_after
        self._descriptors: set[int] = set()

    @property
    def reached(self) -> str | None:
        """The name of the wanted call; None if the run ended before it."""
        return self.names[self._wanted] if len(self.names) > self._wanted else None

    def count(self, name: str, call: Callable[[], Any]) -> Any:
        """Note a call, and make it unless it is the wanted one and that fails."""
        number = len(self.names)
        self.names.append(name)
        if number == self._wanted or (self._ever_after and number > self._wanted):
            try:
                self._action(name)
            except OSError:
                if name == "close":
                    call()
                raise
        return call()

    def watches(self, file: Any, dir_fd: int | None = None) -> bool:
        """Return whether a path or a descriptor is one of a file below the folders."""
        if isinstance(file, int):
            return file in self._descriptors
        if dir_fd is not None:
            return dir_fd in self._descriptors
        try:
            path = os.path.abspath(os.fsencode(file))
        except TypeError:
            return False
        return any(path == folder or path.startswith(folder + b"/") for folder in self._folders)

    def opened(self, descriptor: int) -> None:
        """Watch what a descriptor does from now on."""
        self._descriptors.add(descriptor)

    def closed(self, descriptor: int) -> None:
        """Watch it no more."""
        self._descriptors.discard(descriptor)


@contextmanager
def counted(calls: Calls) -> Iterator[Calls]:
    """Count while the block runs."""
    before = {name: getattr(os, name) for name in PLAIN}
    opened, exchange, flock = builtins.open, atomic._exchange, holding.fcntl.flock

    def counting(name: str) -> Callable[..., Any]:
        original = before[name]

        def function(*arguments: Any, **options: Any) -> Any:
            if not arguments or not calls.watches(arguments[0], options.get("dir_fd")):
                return original(*arguments, **options)
            result = calls.count(name, lambda: original(*arguments, **options))
            if name == "open":
                calls.opened(result)
            elif name == "close":
                calls.closed(arguments[0])
            return result

        return function

    class CountedFile(io.FileIO):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            calls.count("open", lambda: super(CountedFile, self).__init__(*arguments, **options))
            calls.opened(self.fileno())

        def write(self, data: Any) -> int:
            return int(calls.count("write", lambda: super(CountedFile, self).write(data)))

        def readinto(self, buffer: Any) -> int:
            return int(calls.count("read", lambda: super(CountedFile, self).readinto(buffer)))

        def read(self, size: int = -1) -> Any:
            return calls.count("read", lambda: super(CountedFile, self).read(size))

        def readall(self) -> Any:
            return calls.count("read", lambda: super(CountedFile, self).readall())

        def close(self) -> None:
            if not self.closed:
                calls.closed(self.fileno())
                calls.count("close", lambda: super(CountedFile, self).close())

    def open_counted(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
        if not calls.watches(file) or "b" not in mode:
            return opened(file, mode, buffering, *arguments, **options)
        raw = CountedFile(file, mode.replace("b", ""), opener=options.get("opener"))
        if buffering == 0:
            return raw
        return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)

    try:
        for name in PLAIN:
            setattr(os, name, counting(name))
        builtins.open = open_counted  # type: ignore[assignment]
        atomic._exchange = lambda *paths: calls.count("renameat2", lambda: exchange(*paths))
        holding.fcntl.flock = lambda *arguments: calls.count("flock", lambda: flock(*arguments))
        yield calls
    finally:
        for name, original in before.items():
            setattr(os, name, original)
        builtins.open, atomic._exchange, holding.fcntl.flock = opened, exchange, flock  # type: ignore[assignment]


def failing(code: int) -> Action:
    """Return what makes a call fail with an error number."""

    def fail(name: str) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def signalling(number: int) -> Action:
    """Return what sends this process a signal before a call."""

    def send(name: str) -> None:
        os.kill(os.getpid(), number)

    return send


def install(folders: list[str], wanted: int, number: int, ever_after: bool = False) -> None:
    """In a process that ends anyway: send it signal `number` before the `wanted`-th call, or each from there on."""
    calls = Calls([Path(folder) for folder in folders], wanted, signalling(number), ever_after=ever_after)
    counting = counted(calls)
    counting.__enter__()
    installed.append(counting)


# Kept, since a generator that nobody holds is closed, and would put everything back.
installed: list[Any] = []
