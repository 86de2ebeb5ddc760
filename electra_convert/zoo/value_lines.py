"""In which line each value of a TOML or JSON text stands; the standard library's readers do not tell.

    [defaults]             1   ("defaults",)
    cased = false          2   ("defaults", "cased")
                           3
    [[checkpoint]]         4   ("checkpoint", 0)
    source = "small"       5   ("checkpoint", 0, "source")

Both scanners are given text that its reader has taken already, so they look for values and not for faults.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from json import JSONDecoder
from typing import Any

ValuePath = tuple[str | int, ...]
"""Keys and positions that lead to a value."""

_DECODER = JSONDecoder()
_JSON_BLANK = re.compile(r"[ \t\r\n]*")
_JSON_SCALAR = re.compile(r"[^\s,\]}]+")

_TOML_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_TOML_BARE = re.compile(r"[^\s.=\]\"']+")
# Three quotes end a string of several lines, but up to two more before them belong to it.
_TOML_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'", re.DOTALL
)
# A date and its time may have a blank between them.
_TOML_SCALAR = re.compile(r"[^,\]}#\n]*")


class _Scanner:
    """A text, a position in it, and the lines found so far; `repeated` are paths met a second time."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[ValuePath, int] = {}
        self.repeated: list[tuple[ValuePath, int]] = []
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def note(self, path: ValuePath, at: int) -> None:
        """Note the line of a value."""
        line = bisect_left(self._ends, at) + 1
        if path in self.lines:
            self.repeated.append((path, line))
        else:
            self.lines[path] = line

    def take(self, pattern: re.Pattern[str]) -> str:
        """Step over what matches here, and return it."""
        match = pattern.match(self.text, self.at)
        found = match[0] if match else ""
        self.at += len(found)
        return found

    def begins(self, mark: str) -> bool:
        """Return whether a mark is here, and step over it."""
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found else 0
        return found


def find_json_lines(text: str) -> tuple[dict[ValuePath, int], list[tuple[ValuePath, int]]]:
    """Return the line of each value of a JSON text, and each key that its object has already, with its line."""
    scanner = _Json(text)
    scanner.take(_JSON_BLANK)
    scanner.value(())
    return scanner.lines, scanner.repeated


class _Json(_Scanner):
    def value(self, path: ValuePath) -> None:
        """Step over a value, noting what it holds."""
        if self.begins("{"):
            self._members("}", lambda _: self._member(path))
        elif self.begins("["):
            self._members("]", lambda number: self._element((*path, number)))
        elif self.text.startswith('"', self.at):
            self._string()
        else:
            self.take(_JSON_SCALAR)

    def _members(self, end: str, read: Callable[[int], None]) -> None:
        number = 0
        self.take(_JSON_BLANK)
        while not self.begins(end):
            read(number)
            number += 1
            self.take(_JSON_BLANK)
            self.begins(",")
            self.take(_JSON_BLANK)

    def _member(self, path: ValuePath) -> None:
        at = self.at
        key = self._string()
        self.note((*path, key), at)
        self.take(_JSON_BLANK)
        self.begins(":")
        self.take(_JSON_BLANK)
        self.value((*path, key))

    def _string(self) -> str:
        text, self.at = _DECODER.raw_decode(self.text, self.at)
        return str(text)

    def _element(self, path: ValuePath) -> None:
        self.note(path, self.at)
        self.value(path)


def find_toml_lines(text: str, read: Callable[[str], dict[str, Any]]) -> dict[ValuePath, int]:
    """Return the line of each value, table and entry of a TOML text; `read` is TOML's reader."""
    return _Toml(text, read).scan()


class _Toml(_Scanner):
    def __init__(self, text: str, read: Callable[[str], dict[str, Any]]) -> None:
        super().__init__(text)
        self._read = read
        self._entries: dict[ValuePath, int] = {}

    def scan(self) -> dict[ValuePath, int]:
        """Return the line of every path."""
        table: ValuePath = ()
        self.take(_TOML_BLANK)
        while self.at < len(self.text):
            at = self.at
            if self.begins("[["):
                table = self._entry(self._key(), at)
                self.begins("]]")
            elif self.begins("["):
                table = self._inside(self._key())
                self._note_all(table, at)
                self.begins("]")
            else:
                self._pair(table)
            self.take(_TOML_BLANK)
        return self.lines

    def _entry(self, key: ValuePath, at: int) -> ValuePath:
        """Return the path of one more entry of `[[key]]`."""
        table = (*self._inside(key[:-1]), key[-1])
        self._note_all(table, at)
        number = self._entries.get(table, 0)
        self._entries[table] = number + 1
        self.note((*table, number), at)
        return (*table, number)

    def _inside(self, key: ValuePath) -> ValuePath:
        """Return the path that a header means: below `[[name]]`, `name` is its last entry."""
        path: ValuePath = ()
        for part in key:
            path = (*path, part)
            if path in self._entries:
                path = (*path, self._entries[path] - 1)
        return path

    def _note_all(self, path: ValuePath, at: int) -> None:
        """Note a path and the tables above it, which a dotted key makes too."""
        for length in range(1, len(path) + 1):
            if path[:length] not in self.lines:
                self.note(path[:length], at)

    def _pair(self, table: ValuePath) -> None:
        at = self.at
        path = (*table, *self._key())
        self._note_all(path, at)
        self.begins("=")
        self.take(_TOML_BLANK)
        self._value(path)

    def _key(self) -> ValuePath:
        parts: list[str] = []
        while True:
            self.take(_TOML_BLANK)
            quoted = self.take(_TOML_STRING)
            parts.append(self._read(f"key = {quoted}")["key"] if quoted else self.take(_TOML_BARE))
            self.take(_TOML_BLANK)
            if not self.begins("."):
                return tuple(parts)

    def _value(self, path: ValuePath) -> None:
        if self.begins("["):
            number = 0
            self.take(_TOML_BLANK)
            while not self.begins("]"):
                self.note((*path, number), self.at)
                self._value((*path, number))
                number += 1
                self._next()
        elif self.begins("{"):
            self.take(_TOML_BLANK)
            while not self.begins("}"):
                self._pair(path)
                self._next()
        elif not self.take(_TOML_STRING):
            self.take(_TOML_SCALAR)

    def _next(self) -> None:
        self.take(_TOML_BLANK)
        self.begins(",")
        self.take(_TOML_BLANK)
