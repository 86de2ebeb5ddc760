"""What is said where no checkpoint is found: what is there instead, what was expected, and what lies nearby."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from electra_convert.errors import NotACheckpoint
from electra_convert.tf1.archive_kinds import has_archive_name
from electra_convert.tf1.folders import DiskFolder
from electra_convert.tf1.prefixes import INDEX, META, find_prefixes, is_unfinished, is_unfinished_folder, without_suffix
from electra_convert.tf1.strangers import Stranger, know_folder, know_members
from electra_convert.wording import some

if TYPE_CHECKING:
    from electra_convert.tf1.archives import Archive

EXPECTED = "a file `checkpoint`, or PREFIX.index with PREFIX.data-…"

# Files that a person knows a folder of TensorFlow by.
_TELLING = ("tfevents", "graph.pbtxt", META, ".data-", "vocab.txt")

# A look for a checkpoint nearby stops after so many folders: a home folder may have been typed by mistake.
MOST_FOLDERS = 200
# Names are compared one by one with what was typed.
MOST_NAMES = 1000


def not_a_checkpoint(path: Path, stranger: Stranger) -> NotACheckpoint:
    """Return the error for what is something else, and known by name."""
    return NotACheckpoint(
        "not a TensorFlow 1 checkpoint",
        where=str(path),
        found=stranger.what,
        expected=f"{EXPECTED}, or an archive of them",
        hint=stranger.hint,
    )


def unfinished(where: str) -> NotACheckpoint:
    """Return the error for what a save leaves that was broken off."""
    return NotACheckpoint(
        "an unfinished save, not a checkpoint",
        where=where,
        found="files that TensorFlow renames when a save is complete",
        expected=EXPECTED,
        hint="pass a checkpoint of another step, or save again",
    )


def no_checkpoint_here(folder: DiskFolder) -> NotACheckpoint:
    """Return the error for a folder without any checkpoint."""
    stranger = know_folder(folder.files)
    if stranger is not None:
        return not_a_checkpoint(folder.path, stranger)
    parts = [*filter(is_unfinished, folder.files), *filter(is_unfinished_folder, folder.others)]
    if parts:
        return unfinished(folder.show(parts[0]))
    nearby = _find_nearby(folder)
    return NotACheckpoint(
        f"no TensorFlow checkpoint in `{folder.path}`",
        found=_count_files(folder),
        expected=_missing_index(folder.files) or EXPECTED,
        nearby=some(nearby) or None,
        hint=f"pass {nearby[0]}" if nearby else "pass the folder that holds PREFIX.index, or its prefix",
    )


def _missing_index(files: Sequence[str]) -> str | None:
    """Return the name of the index that must be there, if files of a V2 checkpoint are."""
    prefixes = [prefix for name in files if (prefix := without_suffix(name)) is not None]
    return f"{prefixes[0]}{INDEX}, which belongs to the files there" if prefixes else None


def _count_files(folder: DiskFolder) -> str:
    files = folder.files
    if not files:
        return f"no files, {len(folder.others)} folders" if folder.others else "an empty folder"
    telling = next((name for part in _TELLING for name in files if part in name), files[0])
    return f"1 file, `{telling}`" if len(files) == 1 else f"{len(files):,} files, among them `{telling}`"


def _find_nearby(folder: DiskFolder) -> list[str]:
    """Return checkpoints (V2) and archives in the folder, one and two levels below, and the prefix of its own name."""
    found = [folder.show(name) for name in folder.files if has_archive_name(name)]
    if folder.path.name and os.path.isfile(f"{folder.path}{INDEX}"):
        found.append(str(folder.path) + INDEX)
    left = MOST_FOLDERS
    level = [folder]
    for _ in range(2):
        below = [upper.path / name for upper in level for name in upper.others]
        level = [
            DiskFolder(path) for path in below[:left] if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)
        ]
        left -= len(level)
        for lower in level:
            found += [lower.show(prefix.name) for prefix in find_prefixes(lower.files, lambda _: False)]
    return found


def no_checkpoint_in(archive: Archive) -> NotACheckpoint:
    """Return the error for an archive without a checkpoint at its top or one folder down."""
    stranger = know_members(archive.members)
    if stranger is not None:
        return not_a_checkpoint(archive.path, stranger)
    members = list(archive.members)
    deeper = [member for member in members if member.endswith(INDEX)]
    nested = [member for member in members if has_archive_name(member)]
    found = f"{len(members):,} files" + (f", among them {(deeper or nested or members)[0]}" if members else "")
    return NotACheckpoint(
        "no TensorFlow checkpoint in the archive",
        where=str(archive.path),
        found=found,
        expected=f"{EXPECTED}, at the top or one folder down",
        hint="unpack it, and the archive in it" if nested and not deeper else "unpack it and pass the checkpoint",
    )


def no_such_prefix(folder: DiskFolder, path: Path, name: str) -> NotACheckpoint:
    """Return the error for a prefix with no index and no V1 file, and of which there may be other files."""
    temporary = [file for file in folder.files if file.startswith(name) and is_unfinished(file)]
    if temporary:
        return unfinished(folder.show(temporary[0]))
    parts = [file for file in folder.files if without_suffix(file) == name]
    if parts:
        is_graph = parts == [name + META]
        return NotACheckpoint(
            "a graph without weights" if is_graph else "the checkpoint has no index",
            where=str(path),
            found=some(parts),
            expected=folder.show(name + INDEX),
            hint="copy the other files of the checkpoint beside it",
        )
    return nothing_there(path, folder)


def _find_near_names(path: Path, folder: DiskFolder | None) -> list[str]:
    """Return paths like `path`, as far as its folders exist."""
    while folder is None:
        if os.path.isdir(path.parent):
            folder = DiskFolder(path.parent)
        elif path == path.parent:
            return []
        else:
            path = path.parent
    prefixes = [prefix.full_name for prefix in find_prefixes(folder.files, lambda _: False)]
    names = sorted({*prefixes, *folder.files[:MOST_NAMES], *folder.others[:MOST_NAMES]})
    import difflib

    return [folder.show(name) for name in difflib.get_close_matches(path.name, names, n=5)]


def nothing_there(path: Path, folder: DiskFolder | None = None) -> NotACheckpoint:
    """Return the error for a path at which there is nothing, with names like it that are there."""
    near = _find_near_names(path, folder)
    return NotACheckpoint(
        "no TensorFlow checkpoint at this path",
        where=str(path),
        found="nothing",
        expected="a folder, a prefix or a file of a checkpoint, or an archive of one",
        nearby=near or None,
        hint=f"did you mean {near[0]}?" if near else "check the path",
    )
