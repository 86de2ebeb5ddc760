"""Walks a tree for checkpoints: every folder, prefix and archive that `convert` could be given.

    runs/small/model.ckpt-40.index   a folder's one checkpoint, or the newest of several steps     small
    runs/small/model.ckpt-30.index   an older step, with `all_steps`                               small/model.ckpt-30
    runs/both/tiny.index, big.index  several checkpoints that are not steps of one run             both/tiny, both/big
    runs/published.zip               an archive                                                    published

Which files make up a checkpoint, and which step the `checkpoint` file names, the modules of `tf1` tell; read are names,
`checkpoint` files, the last 8 bytes of what may be V1, and the listing of archives that have one at hand. Links are
followed, but never into a folder that the walk is in already. Folders are walked in the order of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from electra_convert.errors import CheckpointError, EnvironmentFailure, NotACheckpoint, UsageError
from electra_convert.notices import Notice, note, warning
from electra_convert.tf1 import state
from electra_convert.tf1.archive_kinds import find_kind, has_archive_name
from electra_convert.tf1.archives import open_archive
from electra_convert.tf1.folders import DiskFolder, choose_by_state, opened
from electra_convert.tf1.prefixes import Prefix, find_prefixes, split_shard, without_suffix
from electra_convert.tf1.sources import find_source, refuse_by_folder_name
from electra_convert.tf1.strangers import know_name
from electra_convert.wording import some
from electra_convert.zoo.output_names import Parts

MOST_FOLDERS = 1_000_000
"""Links that lead to each other in many ways make a tree of a few folders endless."""

_NUMBER = re.compile(r"-?[0-9]+$")

SHOWN = 10
"""Paths of one kind that a notice lists; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint of a tree.

    `place` is the folder it is in, below the SOURCE; `leaf` its own name there; `source` what `convert` takes.
    `is_alone` tells that its folder has no other of its own, so that the folder's name can stand for it.
    """

    place: Parts
    leaf: str
    source: str
    is_alone: bool = False
    is_archive: bool = False


def refuse_absent(source: str) -> None:
    """Raise NotACheckpoint if nothing at all is at this path; whatever is there is looked at when it is its turn."""
    if os.path.lexists(source):
        return
    try:
        find_source(source).close()
    except NotACheckpoint:
        raise
    except CheckpointError:
        pass  # it is there, and will be refused by name


def checkpoints_in(folder: DiskFolder, place: Parts, *, all_steps: bool) -> tuple[list[Found], list[Notice]]:
    """Return the checkpoints that a folder holds itself: one, unless there are several that are no steps of one run.

    What the `checkpoint` file names is taken, as by `convert`; where none does, the newest step. With `all_steps`
    every step. A folder whose `checkpoint` file `convert` refuses is returned as a whole, to be refused in its turn.
    """
    whole = str(folder.path)
    prefixes = find_prefixes(folder.files, folder.is_table)
    if all_steps and prefixes:
        return [Found(place, prefix.name, folder.show(prefix.full_name)) for prefix in prefixes], []
    try:
        named = choose_by_state(folder)
    except (CheckpointError, EnvironmentFailure):
        return [Found(place, prefixes[0].name if prefixes else state.NAME, whole, is_alone=True)], []
    if named is not None:
        _, chosen, _ = named
        left = [prefix for prefix in prefixes if prefix.name != chosen.name]
        return [Found(place, chosen.name, whole, is_alone=True)], _left_out(folder, [chosen], left)
    if len(prefixes) == 1:
        return [Found(place, prefixes[0].name, whole, is_alone=True)], []
    newest = newest_of_each_run(prefixes)
    found = [Found(place, one.name, folder.show(one.full_name), is_alone=len(newest) == 1) for one in newest]
    return found, _left_out(folder, newest, [prefix for prefix in prefixes if prefix not in newest])


def newest_of_each_run(prefixes: Sequence[Prefix]) -> list[Prefix]:
    """Return the first, which is the newest, of the prefixes that differ in the number at their end only."""
    newest: dict[tuple[str, bool], Prefix] = {}
    for prefix in prefixes:
        run = prefix.name if prefix.step is None else _NUMBER.sub("", prefix.name)
        newest.setdefault((run, prefix.step is None), prefix)
    return list(newest.values())


def _left_out(folder: DiskFolder, taken: Sequence[Prefix], left: Sequence[Prefix]) -> list[Notice]:
    if not left:
        return []
    facts = {"taken": some([one.name for one in taken], SHOWN), "others": some([one.name for one in left], SHOWN)}
    return [note("other-steps", "one step of several is taken", where=str(folder.path), **facts)]


class WalkedFolder(DiskFolder):
    """A folder of a tree; what it cannot read of its files is noted, and does not stop the walk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.unreadable: list[str] = []
        self._tables: dict[str, bool] = {}

    def is_table(self, name: str) -> bool:
        """Return whether a file ends with the table magic; files that a name tells to be others are not opened."""
        if name not in self._tables:
            self._tables[name] = know_name(name) is None and not has_archive_name(name) and self._ends_as_table(name)
        return self._tables[name]

    def _ends_as_table(self, name: str) -> bool:
        try:
            return super().is_table(name)
        except (CheckpointError, EnvironmentFailure):
            self.unreadable.append(self.show(name))
            return False


def walk_tree(root: str, out: str, *, all_steps: bool) -> tuple[list[Found], list[Notice]]:
    """Return the checkpoints at and below a folder, in the order of their places, and what was left out and why.

    The folder `out` is not walked. Raises EnvironmentFailure if `root` cannot be listed, UsageError for a tree without
    end.
    """
    walk = _Walk(_identity(out), all_steps)
    walk.run(Path(root))
    return walk.found, walk.notices()


@dataclass(slots=True)
class _Walk:
    """One walk: what was found, and what was passed over by kind."""

    out: tuple[int, int] | None
    all_steps: bool
    found: list[Found] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def run(self, root: Path) -> None:
        """Walk: a list of folders to do instead of recursion, so that no depth is too deep."""
        waiting: list[tuple[Path, Parts, tuple[tuple[int, int] | None, ...]]] = [(root, (), ())]
        count = 0
        while waiting:
            path, place, around = waiting.pop()
            identity = _identity(path)
            if place and identity == self.out and identity is not None:
                self.told.append(note("out-skipped", "the output lies in the tree and is left out", where=str(path)))
                continue
            if identity is not None and identity in around:
                self.loops.append(str(path))
                continue
            count += 1
            if count > MOST_FOLDERS:
                raise UsageError(
                    "the tree has too many folders",
                    where=str(root),
                    found=f"more than {MOST_FOLDERS:,}",
                    hint="pass folders further down, or remove links that lead back and forth",
                )
            try:
                folder = WalkedFolder(path)
            except EnvironmentFailure:
                if not place:
                    raise
                self.unreadable.append(str(path))
                continue
            self._look_into(folder, place)
            for name in reversed(folder.others):
                if os.path.isdir(path / name):
                    if name.startswith("."):
                        self.hidden.append(str(path / name))
                    else:
                        waiting.append((path / name, (*place, name), (*around, identity)))

    def _look_into(self, folder: WalkedFolder, place: Parts) -> None:
        found, told = checkpoints_in(folder, place, all_steps=self.all_steps)
        if found and _is_of_something_else(folder):
            self.others.append(str(folder.path))
        else:
            self.found += found
            self.told += told
        self.found += self._archives(folder, place)
        self.unreadable += folder.unreadable

    def _archives(self, folder: WalkedFolder, place: Parts) -> Iterator[Found]:
        for name in folder.files:
            if not has_archive_name(name) or name.startswith("."):
                continue
            if _holds_no_checkpoint(folder.path / name):
                self.without.append(folder.show(name))
            else:
                yield Found(place, name, folder.show(name), is_archive=True)

    def notices(self) -> list[Notice]:
        """Return one notice for each kind of thing that was passed over, and those of single folders."""
        told = list(self.told)
        if self.unreadable:
            told.append(
                warning(
                    "unreadable",
                    "folders or files cannot be read and are left out",
                    hint="make them readable and run again, or pass other folders",
                    where=some(self.unreadable, SHOWN),
                )
            )
        passed = (
            ("loop", "links that lead back are not followed", self.loops),
            ("hidden", "hidden folders are left out", self.hidden),
            ("other-folders", "unfinished saves and SavedModels are left out", self.others),
            ("archives-without", "archives without a checkpoint are left out", self.without),
        )
        return [*told, *(note(code, text, where=some(sorted(paths), SHOWN)) for code, text, paths in passed if paths)]


def _is_of_something_else(folder: DiskFolder) -> bool:
    """Return whether the files of a folder only look like a checkpoint's."""
    try:
        refuse_by_folder_name(folder)
    except NotACheckpoint:
        return True
    return False


def _holds_no_checkpoint(path: Path) -> bool:
    """Return whether the listing of an archive, had without unpacking anything, names no file of a checkpoint.

    To list a compressed tar is to unpack it, so that is left to the conversion; so is refusing what is damaged.
    """
    try:
        with opened(path) as handle:
            kind = find_kind(path.name, handle.read(0, min(512, handle.size), "the file"))
        if kind not in {"zip", "tar"}:
            return False
        with open_archive(path, kind) as archive:
            names = [member.rpartition("/")[2] for member in archive.members]
    except (CheckpointError, EnvironmentFailure):
        return False
    return not any(map(_is_of_a_checkpoint, names))


def _is_of_a_checkpoint(name: str) -> bool:
    return name == state.NAME or without_suffix(name) is not None or split_shard(name) is not None


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
