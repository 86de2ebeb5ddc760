"""Which checkpoint of a folder is meant, on disk or in an archive: the `checkpoint` file decides, else the only one.

    model_checkpoint_path             what is taken
    "model.ckpt-40", "sub/model"      that file of the folder
    "/data/run/model.ckpt-40"         the same, if that is this folder
                                      else `model.ckpt-40` beside the file, with a warning: another machine wrote it
                                      else, if it exists on this machine, nothing: it points outside the folder
    "gs://bucket/run/model.ckpt-40"   `model.ckpt-40` beside the file, with a warning
    "../model.ckpt-40"                nothing: it points outside the folder
    ""                                the only checkpoint of the folder

A checkpoint that is named but not there is never replaced by another one.
"""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from electra_convert.errors import CheckpointError, EnvironmentFailure
from electra_convert.notices import Notice, warning
from electra_convert.tf1 import state
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.prefixes import INDEX, Prefix, find_named, find_prefixes, is_unfinished, list_steps
from electra_convert.tf1.strangers import know_name
from electra_convert.tf1.table import FOOTER_SIZE, MAGIC

if TYPE_CHECKING:
    from electra_convert.tf1.archives import Archive

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class Folder(Protocol):
    """A folder on disk or in an archive: the names of its regular files and of all else, and a look into the files."""

    files: Sequence[str]
    others: Sequence[str]

    def show(self, name: str) -> str:
        """Return what messages call a file of the folder."""

    def advise(self, name: str) -> str:
        """Return how a user says that the checkpoint of this name is meant."""

    def read(self, name: str, most: int) -> bytes:
        """Return the first `most` bytes of a file."""

    def is_table(self, name: str) -> bool:
        """Return whether a file ends with the table magic, as V1 checkpoints do."""

    def below(self, path: str) -> Folder | None:
        """Return a folder in this one, if it is there and no link leads out."""


class DiskFolder:
    """A folder on disk, listed once. Links to regular files count as files; pipes and devices are never opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with os.scandir(path) as entries:
                listed = sorted((entry.name, _is_file(entry)) for entry in entries)
        except OSError as error:
            raise EnvironmentFailure(
                "a folder cannot be listed", where=str(path), found=error.strerror or str(error)
            ) from error
        self.files: Sequence[str] = [name for name, is_file in listed if is_file]
        self.others: Sequence[str] = [name for name, is_file in listed if not is_file]

    def show(self, name: str) -> str:
        """Return the path as it was typed, with this name."""
        return str(self.path / name)

    def advise(self, name: str) -> str:
        """Return the advice to pass the path."""
        return f"pass {self.show(name)}"

    def read(self, name: str, most: int) -> bytes:
        """Return the first `most` bytes of a file."""
        with opened(self.path / name) as handle:
            return handle.read(0, min(most, handle.size), "the file")

    def is_table(self, name: str) -> bool:
        """Return whether a file ends with the table magic; reads 8 bytes."""
        with opened(self.path / name) as handle:
            size = len(MAGIC)
            return handle.size >= FOOTER_SIZE and handle.read(handle.size - size, size, "the magic") == MAGIC

    def below(self, path: str) -> DiskFolder | None:
        """Return a folder in this one, if it is there and no link leads out."""
        here, there = os.path.realpath(self.path), os.path.realpath(self.path / path)
        if not os.path.isdir(there) or not Path(there).is_relative_to(here):
            return None
        return DiskFolder(self.path / path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    # Of a link that leads to itself the system tells an error, where it tells of other dead links that they are none.
    try:
        return entry.is_file()
    except OSError:
        return False


class ArchiveFolder:
    """A folder of an archive; `name` is "" for its top, `shown` what messages call the archive."""

    def __init__(self, archive: Archive, shown: str, name: str) -> None:
        self.archive, self.shown, self.name = archive, shown, name
        inside = f"{name}/" if name else ""
        self.paths = {path[len(inside) :]: path for path in archive.members if path.rpartition("/")[0] == name}
        self.files: Sequence[str] = list(self.paths)  # in the order of the archive, so that it is read forwards
        self.others: Sequence[str] = []

    def show(self, name: str) -> str:
        """Return `ARCHIVE:FOLDER/NAME`."""
        return f"{self.shown}:{posixpath.join(self.name, name)}"

    def advise(self, name: str) -> str:
        """Return the advice to unpack the archive: no path can be passed that leads into it."""
        return f"unpack the archive and pass {posixpath.join(self.name, name)}"

    def read(self, name: str, most: int) -> bytes:
        """Return the first `most` bytes of a file."""
        return self.archive.read(self.paths[name], most)

    def is_table(self, name: str) -> bool:
        """Return whether a file ends with the table magic; reads all of it."""
        path = self.paths[name]
        if self.archive.members[path] < FOOTER_SIZE or know_name(name) is not None:
            return False
        return self.archive.tail(path, len(MAGIC)) == MAGIC

    def below(self, path: str) -> ArchiveFolder | None:
        """Return a folder in this one, if it has files."""
        folder = ArchiveFolder(self.archive, self.shown, posixpath.join(self.name, path))
        return folder if folder.files else None


@contextmanager
def opened(path: Path) -> Iterator[SourceHandle]:
    """Open a file that was just seen."""
    try:
        handle = SourceHandle(path)
    except FileNotFoundError as error:
        raise CheckpointError("a file is gone, or a link that leads nowhere", where=str(path)) from error
    try:
        yield handle
    finally:
        handle.close()


def choose(folder: Folder) -> tuple[Folder, Prefix, tuple[Notice, ...]] | None:
    """Return the checkpoint that is meant, the folder it is in (one below, seldom), and a warning about a foreign path.

    None if there is no checkpoint at all. Raises CheckpointError if several are there and nothing decides, if the
    `checkpoint` file is damaged, points outside the folder, or names what is not there.
    """
    named = choose_by_state(folder)
    if named is not None:
        return named
    prefixes = find_prefixes(folder.files, folder.is_table)
    if len(prefixes) > 1:
        raise several([folder.show("")], list_steps(prefixes), folder, prefixes[0])
    return (folder, prefixes[0], ()) if prefixes else None


def choose_by_state(folder: Folder) -> tuple[Folder, Prefix, tuple[Notice, ...]] | None:
    """Return what the `checkpoint` file names, as `choose` does; None where there is no such file, or it names none."""
    if state.NAME not in folder.files:
        return None
    where = folder.show(state.NAME)
    parsed = state.read_state(folder.read(state.NAME, state.LARGEST + 1), where)
    return _follow(folder, parsed.latest, f"{where}, line {parsed.line}") if parsed.latest else None


def several(where: Sequence[str], found: Sequence[str], folder: Folder, first: Prefix) -> CheckpointError:
    """Return the error for several checkpoints of which none is chosen; the hint offers `first` of `folder`."""
    return CheckpointError(
        "several checkpoints, and nothing says which one",
        where=where,
        found=found,
        expected="one, or a `checkpoint` file that names one",
        hint=f"{folder.advise(first.full_name)}, or another of them",
    )


def check_regular(folder: Folder, name: str) -> None:
    """Raise CheckpointError if the files of a prefix that was not found are there, but as a folder, pipe or device."""
    for file in (name + INDEX, name):
        if file in folder.others:
            raise CheckpointError(
                "a file of the checkpoint is no regular file",
                where=folder.show(file),
                found="a folder, a pipe, a device or a link that leads nowhere",
                expected="a file, or a link to one",
            )


def _follow(folder: Folder, latest: str, where: str) -> tuple[Folder, Prefix, tuple[Notice, ...]]:
    inside, name, is_foreign = _locate(folder, latest, where)
    found = find_named(name, inside.files, inside.is_table)
    if len(found) > 1:
        raise several([where], list_steps(found), inside, found[0])
    if not found:
        check_regular(inside, name)
        raise _gone(inside, latest, name, where)
    if not is_foreign:
        return inside, found[0], ()
    notice = warning(
        "checkpoint-path",
        "the `checkpoint` file names a folder of another machine",
        hint=f"{inside.advise(found[0].full_name)} to say that this is the one",
        where=where,
        found=latest,
        taken=inside.show(found[0].full_name),
    )
    return inside, found[0], (notice,)


def _locate(folder: Folder, latest: str, where: str) -> tuple[Folder, str, bool]:
    """Return the folder and the name that `latest` means, and whether that leaves out a path of another machine."""
    if _SCHEME.match(latest):
        return folder, posixpath.basename(latest), True
    is_windows = _WINDOWS.match(latest) is not None
    parent, name = ntpath.split(latest) if is_windows else posixpath.split(latest)
    if is_windows or latest.startswith("/"):
        if isinstance(folder, DiskFolder) and os.path.isabs(latest) and "\0" not in latest:
            if os.path.isdir(parent) and os.path.samefile(parent, folder.path):
                return folder, name, False
            if os.path.lexists(latest) or os.path.lexists(latest + INDEX):
                raise _outside(folder, latest, name, where)
        return folder, name, True
    parent = posixpath.normpath(parent or ".")
    if parent.split("/")[0] == ".." or name == "..":
        raise _outside(folder, latest, name, where)
    if parent == ".":
        return folder, name, False
    below = None if "\0" in parent else folder.below(parent)
    if below is None:
        raise _gone(folder, latest, name, where)
    return below, name, False


def _outside(folder: Folder, latest: str, name: str, where: str) -> CheckpointError:
    here = find_named(name, folder.files, folder.is_table)
    return CheckpointError(
        "the `checkpoint` file points outside the folder",
        where=where,
        found=latest,
        expected="a checkpoint in the folder of that file",
        hint=f"{folder.advise(here[0].full_name)} if you mean that one" if here else "pass the checkpoint itself",
    )


def _gone(folder: Folder, latest: str, name: str, where: str) -> CheckpointError:
    present = find_prefixes(folder.files, folder.is_table)
    is_broken_off = any(is_unfinished(file) and file.startswith(name) for file in folder.files)
    if present:
        hint = f"{folder.advise(present[0].full_name)} if you mean that one, or copy the missing files"
    elif is_broken_off:
        hint = "the save was not finished; pass a checkpoint of another step"
    else:
        hint = f"copy {name}.index and {name}.data-… into the folder"
    return CheckpointError(
        "the `checkpoint` file names a checkpoint that is not there",
        where=where,
        named=latest,
        found=list_steps(present) or ("an unfinished save" if is_broken_off else "no checkpoint"),
        expected=folder.show(name + INDEX),
        hint=hint,
    )
