"""The text of a manifest to its values, each with its line: TOML, JSON or CSV, told by the name's ending."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from electra_convert.errors import ManifestError
from electra_convert.hf.files import read_file
from electra_convert.zoo.value_lines import ValuePath, find_json_lines, find_toml_lines

CHECKPOINT: Final = "checkpoint"
"""The key under which a manifest has its entries."""

LARGEST = 16 << 20
"""Bytes: some 100,000 entries."""

_UTF_8_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")

# How tomllib says where: "Unclosed array (at line 3, column 9)", "(at end of document)".
_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """What a manifest says.

    `lines` has the line of each value by its path, such as `("checkpoint", 3, "dtype")`. `is_text` tells that every
    value is text still, as in CSV. `faults` are what a reader takes, but nobody can have meant: (line, what).
    """

    values: Any
    lines: Mapping[ValuePath, int]
    is_text: bool = False
    faults: tuple[tuple[int, str], ...] = ()

    def line(self, *path: str | int) -> int:
        """Return the line of a value, or of what it would be in."""
        return next((self.lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in self.lines), 1)


def is_manifest_name(path: str) -> bool:
    """Return whether a path ends as that of a manifest."""
    return os.path.splitext(path)[1].lower() in _READERS


def read_document(path: str) -> Document:
    """Return what the manifest at `path` says.

    Raises ManifestError if it is missing, too large, not UTF-8 or cannot be parsed; EnvironmentFailure if the system
    does not give it.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in _READERS:
        raise ManifestError(
            "a manifest of a kind that is not read here",
            where=path,
            expected="a name that ends in .toml, .json or .csv",
        )
    data = read_file(path, "the manifest", ManifestError)
    if len(data) > LARGEST:
        raise ManifestError(
            "the manifest is too large", where=path, found=f"{len(data):,} bytes", expected=f"at most {LARGEST:,}"
        )
    text = _decode(data, path)
    try:
        return _READERS[ending](text, path)
    except RecursionError as error:
        raise ManifestError("the manifest is nested too deeply", where=path) from error


def _decode(data: bytes, path: str) -> str:
    try:
        return data.removeprefix(_UTF_8_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start + (len(_UTF_8_BOM) if data.startswith(_UTF_8_BOM) else 0)
        raise ManifestError(
            "the manifest is not UTF-8",
            where=f"{path}, line {data.count(bytes([10]), 0, at) + 1}",
            found="UTF-16" if data.startswith(_UTF_16_BOMS) else f"the byte 0x{data[at]:02x}",
            hint="save it as UTF-8",
        ) from error


def _read_toml(text: str, path: str) -> Document:
    read = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads
    try:
        values = read(text)
    except ValueError as error:  # tomllib's own error is one; so is that of a number of thousands of digits
        match = _TOML_PLACE.fullmatch(str(error))
        what, line, column = match.groups() if match else (str(error), None, None)
        if match and line is None:
            line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
        raise _unreadable("TOML", path, what, line, column) from error
    return Document(values, find_toml_lines(text, read))


def _read_json(text: str, path: str) -> Document:
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _unreadable("JSON", path, error.msg, error.lineno, error.colno) from error
    except ValueError as error:  # NaN and infinity, a number of thousands of digits
        raise _unreadable("JSON", path, str(error)) from error
    lines, repeated = find_json_lines(text)
    if isinstance(values, list):
        values, lines = {CHECKPOINT: values}, {(CHECKPOINT, *key): line for key, line in lines.items()}
    return Document(values, lines, faults=tuple((line, f"`{key[-1]}`: found a second time") for key, line in repeated))


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _read_csv(text: str, path: str) -> Document:
    """Read rows below a row of keys; empty cells say nothing, nor do rows without a cell."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_find_delimiter(text), strict=True)
    entries: list[dict[str, str]] = []
    lines: dict[ValuePath, int] = {}
    faults: list[tuple[int, str]] = []
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            cells, begin, line = [cell.strip() for cell in row], line, reader.line_num + 1
            if not any(cells):
                continue
            if header is None:
                header = cells
                lines[(CHECKPOINT,)] = begin
                again = {key for key in cells if key and cells.count(key) > 1}
                faults += [(begin, f"`{key}`: found a second time") for key in sorted(again)]
                continue
            nameless = [
                cell for key, cell in zip([*header, *[""] * len(cells)], cells, strict=False) if cell and not key
            ]
            faults += [(begin, f"found `{cell}`, expected nothing in a column without a key") for cell in nameless]
            number = len(entries)
            entries.append({key: cell for key, cell in zip(header, cells, strict=False) if key and cell})
            lines[(CHECKPOINT, number)] = begin
    except csv.Error as error:
        raise _unreadable("CSV", path, str(error), line) from error
    return Document({CHECKPOINT: entries}, lines, is_text=True, faults=tuple(faults))


def _find_delimiter(text: str) -> str:
    """Return what divides the keys of the first row: spreadsheets write a semicolon where the comma is decimal."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in ",;\t" if mark in first), ",")


def _unreadable(
    kind: str, path: str, what: str, line: int | str | None = None, column: int | str | None = None
) -> ManifestError:
    place = "" if line is None else f", line {line}" + ("" if column is None else f", column {column}")
    return ManifestError(f"the manifest is no {kind}", where=path + place, found=what)


_READERS: Mapping[str, Callable[[str, str], Document]] = {".toml": _read_toml, ".json": _read_json, ".csv": _read_csv}
