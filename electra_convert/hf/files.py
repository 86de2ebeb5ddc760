"""The small files of a folder: read whole within bounds, written with the disk's refusals told.

JSON is written as transformers writes its own: indent 2, characters not escaped, a final newline.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra_convert.atomic import write_failure
from electra_convert.errors import EnvironmentFailure, InputError

# The largest small file of a real folder is a tokenizer.json of a few megabytes.
LARGEST = 256 << 20


def read_file(path: str | os.PathLike[str], what: str, refusal: type[InputError]) -> bytes:
    """Return all bytes of the regular file at `path`; `what` names them in a refusal of the given kind.

    Raises EnvironmentFailure if the file is there and the system does not give it.
    """
    shown = os.fspath(path)
    try:
        with open(shown, "rb", opener=_open_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise refusal(f"{what} is no regular file", where=shown)
            if found.st_size > LARGEST:
                raise refusal(
                    f"{what} is too large", where=shown, found=f"{found.st_size} bytes", expected=f"at most {LARGEST}"
                )
            return file.read(found.st_size)
    except FileNotFoundError as error:
        raise refusal(f"{what} is not there", where=shown) from error
    except IsADirectoryError as error:
        raise refusal(f"{what} is no regular file", where=shown, found="a folder") from error
    except OSError as error:
        raise EnvironmentFailure(f"{what} cannot be read", where=shown, found=error.strerror or str(error)) from error


def _open_without_waiting(path: str, flags: int) -> int:
    # A FIFO would block until somebody writes into it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_file(path: Path, data: bytes) -> None:
    """Write a new file; raise OutputError if the system does not take it."""
    try:
        with open(path, "xb") as file:
            file.write(data)
    except OSError as error:
        raise write_failure(path, error, len(data)) from error


def json_text(document: Mapping[str, object], *, sort_keys: bool = True) -> str:
    """Return the document as JSON text that every reader parses alike; raise ValueError for NaN and infinity."""
    return json.dumps(document, indent=2, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: str | os.PathLike[str], what: str, refusal: type[InputError]) -> dict[str, Any]:
    """Return the JSON object in the file at `path`; refuse anything else with line and column."""
    shown = os.fspath(path)
    data = read_file(path, what, refusal)
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise refusal(f"{what} is not UTF-8", where=f"{shown}, byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise refusal(
            f"{what} is no JSON", where=f"{shown}, line {error.lineno}, column {error.colno}", found=error.msg
        ) from error
    except (ValueError, RecursionError) as error:
        # NaN and infinity, integers of thousands of digits, nesting of thousands of levels.
        raise refusal(f"{what} is no JSON that can be used", where=shown, found=str(error)) from error
    if not isinstance(document, dict):
        raise refusal(f"{what} holds no JSON object", where=shown, found=type(document).__name__, expected="an object")
    return document


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
