"""From what the user typed to one checkpoint.

    ckpt/                                      a folder: its `checkpoint` file decides, else the only one in it
    ckpt/checkpoint                            means its folder
    ckpt/model.ckpt-40                         a prefix, or a V1 file
    ckpt/model.ckpt-40.index, .data-…, .meta   any file of a checkpoint; so are the shards of V1
    ckpt/model.ckpt-40-?????-of-00003          V1 shards as TensorFlow writes them; no other character is a wildcard
    electra_small.zip, .tar, .tar.gz, …        an archive with one checkpoint, at its top or one folder down

Everything else is refused by name: what it is, and what to pass instead.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from electra_convert.errors import CheckpointError, EnvironmentFailure, NotACheckpoint
from electra_convert.notices import Notice, note
from electra_convert.tf1 import state
from electra_convert.tf1.absence import (
    no_checkpoint_here,
    no_checkpoint_in,
    no_such_prefix,
    not_a_checkpoint,
    nothing_there,
    unfinished,
)
from electra_convert.tf1.archive_kinds import Kind, find_kind, has_archive_name
from electra_convert.tf1.files import name_stranger
from electra_convert.tf1.folders import ArchiveFolder, DiskFolder, check_regular, choose, opened, several
from electra_convert.tf1.prefixes import (
    INDEX,
    META,
    Prefix,
    find_named,
    find_prefixes,
    is_unfinished,
    is_unfinished_folder,
    list_steps,
    split_shard,
    without_suffix,
)
from electra_convert.tf1.strangers import SAVED_MODEL, SAVED_MODEL_FILES, Stranger, know_name
from electra_convert.wording import some

if TYPE_CHECKING:
    from electra_convert.tf1.archives import Archive


@dataclass(frozen=True, slots=True)
class Source:
    """One checkpoint on disk.

    `prefix` is what TensorFlow's readers take: for V1 shards a pattern that ends with `-?????-of-NNNNN`, which `name`
    lacks. `files` are the `.index` of V2, the file of V1, or all V1 shards in order. `folder` is where a vocabulary
    would be. `shown` is what messages call the checkpoint, after what was typed:
    `published.zip:electra_tiny/electra_tiny`. `elsewhere` are data files that were left in a store: name and bytes.
    """

    format: Literal["V1", "V2"]
    prefix: Path
    name: str
    files: tuple[Path, ...]
    meta: Path | None
    folder: Path
    notices: tuple[Notice, ...]
    shown: str
    elsewhere: Mapping[str, int] = field(default_factory=dict)


class FoundSource:
    """A source, and the temporary folder it is in if it came out of an archive; a context manager, or close it."""

    def __init__(self, source: Source, temporary: Path | None = None) -> None:
        self.source = source
        self._temporary = temporary

    def __enter__(self) -> FoundSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary folder; a second call does nothing."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


def find_source(path: str | os.PathLike[str]) -> FoundSource:
    """Return the one checkpoint that `path` means, without reading more than names, and V1's last 8 bytes.

    Raises NotACheckpoint for what is none, CheckpointError for a checkpoint that is not whole, for several of which
    none is chosen, and for an archive that is damaged or dangerous; EnvironmentFailure for what cannot be read.

    >>> with find_source("fixtures/google/no_meta/published.zip") as found:
    ...     found.source.shown
    'fixtures/google/no_meta/published.zip:electra_tiny/electra_tiny'
    """
    typed = os.fspath(path)
    if not typed or "\0" in typed:
        raise NotACheckpoint(
            "no path of a checkpoint", found="nothing" if not typed else f"`{typed}`, with a NUL in it"
        )
    target = Path(typed)
    if os.path.isdir(target):
        return FoundSource(_from_folder(target))
    if not os.path.lexists(target):
        return FoundSource(_from_name(target, target.name))
    if target.name == state.NAME and os.path.isfile(target):
        return FoundSource(_from_folder(target.parent))
    return _from_file(target)


def _from_folder(path: Path) -> Source:
    folder = DiskFolder(path)
    refuse_by_folder_name(folder)
    choice = choose(folder)
    if choice is None:
        raise no_checkpoint_here(folder)
    inside, prefix, notices = choice
    assert isinstance(inside, DiskFolder)  # `choose` goes down, never elsewhere
    return _source(inside, prefix, notices)


def _from_name(path: Path, name: str) -> Source:
    """Return the checkpoint with this prefix, shards' name or pattern, in the folder of `path`."""
    if not os.path.isdir(path.parent):
        raise nothing_there(path)
    folder = DiskFolder(path.parent)
    refuse_by_folder_name(folder)
    found = find_named(name, folder.files, folder.is_table)
    if len(found) > 1:
        raise several([str(path)], list_steps(found), folder, found[0])
    if not found:
        check_regular(folder, name)
        raise no_such_prefix(folder, path, name)
    return _source(folder, found[0], ())


def _from_file(path: Path) -> FoundSource:
    """Return what a path means at which there is something, but no folder."""
    name = path.name
    prefix = without_suffix(name)
    if os.path.isfile(path.parent / (name + INDEX)):
        return FoundSource(_from_name(path, name))  # V2 wins over a V1 file of the same prefix
    if prefix is not None:
        return FoundSource(_with_suffix_note(_from_name(path, prefix), path))
    if is_unfinished(name):
        raise unfinished(str(path))
    if (stranger := know_name(name)) is not None:
        raise not_a_checkpoint(path, stranger)
    with opened(path) as handle:
        head = handle.read(0, min(512, handle.size), "the file")
        stranger = name_stranger(handle)
    kind = find_kind(name, head)
    if kind is not None:
        return _from_archive(path, kind)
    if find_named(name, [name], DiskFolder(path.parent).is_table):
        source = _from_name(path, name)
        return FoundSource(source if split_shard(name) is None else _with_suffix_note(source, path))
    if stranger is None and has_archive_name(name):
        stranger = Stranger("no archive, though its name says so", "download it again")
    if stranger is None:
        begins = f"a file of another kind, which begins with {head[:16].hex(' ')}"
        stranger = Stranger(begins, "pass the folder of the checkpoint, or PREFIX.index")
    raise not_a_checkpoint(path, stranger)


def _from_archive(path: Path, kind: Kind) -> FoundSource:
    from electra_convert.tf1.archives import open_archive

    with ExitStack() as on_failure, open_archive(path, kind) as archive:
        folder, prefix, notices = _choose_in_archive(archive, str(path))
        shown = folder.show(prefix.full_name)
        _check_whole(prefix, shown)
        wanted = [
            member for name, member in folder.paths.items() if prefix.owns(name) or name in {state.NAME, "vocab.txt"}
        ]
        temporary = _make_temporary_folder()
        on_failure.callback(shutil.rmtree, temporary, ignore_errors=True)
        archive.unpack(wanted, temporary)
        source = _source(DiskFolder(temporary), prefix, notices, shown)
        on_failure.pop_all()
    return FoundSource(source, temporary)


def _make_temporary_folder() -> Path:
    import tempfile

    try:
        return Path(tempfile.mkdtemp(prefix="electra-convert-"))
    except OSError as error:
        raise EnvironmentFailure(
            "no temporary folder to unpack the archive into",
            found=error.strerror or str(error),
            hint="set TMPDIR to a folder that can be written",
        ) from error


def _choose_in_archive(archive: Archive, shown: str) -> tuple[ArchiveFolder, Prefix, tuple[Notice, ...]]:
    names = sorted({member.rpartition("/")[0] for member in archive.members if member.count("/") <= 1})
    folders = [ArchiveFolder(archive, shown, name) for name in names]
    deciding = [folder for folder in folders if state.NAME in folder.files]
    if len(deciding) != 1:
        every = [(folder, prefix) for folder in folders for prefix in find_prefixes(folder.files, folder.is_table)]
        if len(every) > 1:
            raise several(
                [shown], [posixpath.join(folder.name, prefix.full_name) for folder, prefix in every], *every[0]
            )
        deciding = [folder for folder, _ in every]
    choice = choose(deciding[0]) if deciding else None
    if choice is None:
        raise no_checkpoint_in(archive)
    inside, prefix, notices = choice
    assert isinstance(inside, ArchiveFolder)  # `choose` goes down, never elsewhere
    return inside, prefix, notices


def _source(folder: DiskFolder, prefix: Prefix, notices: tuple[Notice, ...], shown: str | None = None) -> Source:
    path = folder.path / prefix.full_name
    shown = shown or str(path)
    _check_whole(prefix, shown)
    return Source(
        format=prefix.format,
        prefix=path,
        name=prefix.name,
        files=tuple(folder.path / file for file in prefix.files),
        meta=folder.path / (prefix.name + META) if prefix.name + META in folder.files else None,
        folder=folder.path,
        notices=notices,
        shown=shown,
    )


def _with_suffix_note(source: Source, given: Path) -> Source:
    notice = note("suffix-removed", "one file of the checkpoint was given", given=str(given), taken=source.shown)
    return replace(source, notices=(*source.notices, notice))


def _check_whole(prefix: Prefix, shown: str) -> None:
    if prefix.missing:
        raise CheckpointError(
            "shards of the checkpoint are missing",
            where=shown,
            missing=some(prefix.missing, 10),
            found=f"{len(prefix.files) - len(prefix.missing)} shards",
            expected=f"{len(prefix.files)}, as their names say",
            hint="copy the missing files beside the others",
        )


def refuse_by_folder_name(folder: DiskFolder) -> None:
    """Raise NotACheckpoint for folders whose files look like a checkpoint's: parts of a save, SavedModel variables."""
    real = Path(os.path.realpath(folder.path))
    if is_unfinished_folder(real.name) and any(name.startswith("part-") for name in folder.files):
        raise unfinished(str(folder.path))
    if real.name == "variables" and any(os.path.isfile(real.parent / name) for name in SAVED_MODEL_FILES):
        raise not_a_checkpoint(folder.path, SAVED_MODEL)
