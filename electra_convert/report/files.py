"""Report files: what cannot be written is refused before the work, and a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from electra_convert.atomic import write_failure
from electra_convert.errors import OutputError, UsageError

# What is enough of a file to see whether it is a report: "<?xml".
BEGINNING = 5


def check_reports(
    reports: Iterable[str], folder: str, checkpoint: Iterable[Path] = (), *, called: str = "the folder that is verified"
) -> None:
    """Refuse report files that would harm what is compared, or that have no place to stand.

    Args:
        reports: where reports are to be written.
        folder: the Hugging Face folder; nothing is written into it.
        checkpoint: the checkpoint's files, where they are known; none of them is replaced.
        called: what messages call the folder.

    Raises:
        UsageError: a report would stand inside the folder, replace a file of the checkpoint, or another report.
        OutputError: the folder that is to hold a report is not there, or a folder stands in its place.
    """
    sources, taken = list(checkpoint), set()
    for report in reports:
        path = Path(report)
        real = Path(os.path.realpath(path))
        if Path(os.path.realpath(folder)) in real.parents or any(_is_same(parent, folder) for parent in real.parents):
            raise UsageError(f"a report would stand inside {called}", where=report, found=folder)
        replaced = next((source for source in sources if _is_same(source, path)), None)
        if replaced is not None:
            raise UsageError("a report would replace a file of the checkpoint", where=report, found=replaced.name)
        if real in taken:
            raise UsageError("two reports are to be written to one file", where=report)
        taken.add(real)
        if not path.parent.is_dir():
            raise OutputError("the folder that is to hold a report is not there", where=report, hint="create it first")
        if path.is_dir():
            raise OutputError("a folder stands where a report is to be written", where=report)


def write_report(report: str, document: bytes) -> None:
    """Write a report, in place of an older one.

    Raises:
        OutputError: the system does not take it; an older report stays as it was.
    """
    path = Path(os.path.realpath(report))
    if path.exists() and not path.is_file():
        _write(path, document, report)  # a pipe or a device: nothing to rename
        return
    staged = path.with_name(f".{path.name[:100]}.tmp-{os.urandom(4).hex()}")
    try:
        _write(staged, document, report)
        try:
            staged.replace(path)
        except OSError as error:
            raise write_failure(report, error) from error
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def may_replace(report: str, document: bytes) -> bool:
    """Return whether nothing, or an older report, would be replaced: something that begins as the document does."""
    path = Path(report)
    if not path.is_file():
        return True
    try:
        with path.open("rb") as file:
            return document.startswith(file.read(BEGINNING))
    except OSError:
        return False


def _write(path: Path, document: bytes, shown: str) -> None:
    try:
        path.write_bytes(document)
    except OSError as error:
        raise write_failure(shown, error, len(document)) from error


def _is_same(one: Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
