"""Fetches the one checkpoint that a URL means, and no more of it than is wanted.

    temporary folder                        stands for s3://bucket
    └── run/
        ├── model.ckpt-40.index, .meta      fetched, and looked at in the store before and after
        ├── model.ckpt-40.data-…            fetched, unless only names and shapes are wanted
        └── vocab.txt                       fetched
        (model.ckpt-30.index, events…       empty files while `tf1` chooses, then removed)

So whatever `tf1` does with a folder it does with a URL, and says in the same words; in what it says the temporary
folder is called by its URL. A store that cannot be listed (https, or no right to) is asked for names that may be there.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from electra_convert.errors import AccessError, CheckpointError, NotACheckpoint
from electra_convert.examination import vocabulary_folders
from electra_convert.progress import Progress, no_progress
from electra_convert.remote.staging import Stage, root_of, temporary_folder
from electra_convert.remote.stores import Entry, Store, nothing_at
from electra_convert.remote.urls import Address, parse_url
from electra_convert.tf1 import state
from electra_convert.tf1.archive_kinds import find_kind, has_archive_name
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.index import Index, read_index
from electra_convert.tf1.prefixes import INDEX, META, find_named, find_prefixes, split_shard, without_suffix
from electra_convert.tf1.sources import FoundSource, Source, find_source
from electra_convert.tf1.strangers import know_name
from electra_convert.tf1.table import FOOTER_SIZE, MAGIC

Wanted = Literal["data", "names"]
"""Whether a checkpoint's data files are fetched; names, shapes, the graph and the vocabulary always are."""

VOCABULARY = "vocab.txt"

# What tells an archive, or a stranger, by its first bytes.
HEAD = 512

# A folder of more is a listing of something else.
MOST_NAMES = 100_000

# The ends of so many files are read at a time, to find V1 checkpoints among files of any name.
READERS = 8

# File systems take no longer names; no checkpoint has one.
LONGEST_NAME = 255


@contextlib.contextmanager
def fetched(url: str, *, wanted: Wanted = "data", progress: Progress = no_progress) -> Iterator[FoundSource]:
    """Give the checkpoint at a URL, on the local disk while the block runs.

    Errors that leave the block call its files by their URLs.

    Raises:
        NotACheckpoint: nothing is there, or something else.
        CheckpointError: what arrived is not what the store has, or it changed meanwhile.
        AccessError: the store wants (other) credentials.
        EnvironmentFailure: the store cannot be had, or the disk is too small.
        MissingExtra: the package for this kind of store is not installed.
    """
    address = parse_url(url)
    with temporary_folder(address) as folder:
        yield _Fetching(Stage(Store(address), folder, progress)).checkpoint(address, wanted)


class _Fetching:
    """A checkpoint on its way: what a store has of it, and what stands on the local disk."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._store = stage, stage.store

    def checkpoint(self, address: Address, wanted: Wanted) -> FoundSource:
        """Fetch what is wanted of the checkpoint at an address; the files stay until the folder is removed."""
        refusal: AccessError | None = None
        target: Entry | None = None
        try:
            target = None if address.is_folder else self._store.look(address)
        except AccessError as error:
            # Who may not list is told nothing of names that are not there; those beside it may be.
            refusal = error
        if target is not None and not target.is_folder:
            if address.name == state.NAME:
                address = address.parent
            elif self._bring_file(address, target):
                return self._named(find_source(self._stage.place(address)), address, {})
        is_folder = address.is_folder or (target is not None and target.is_folder)
        folder = address if is_folder else address.parent
        beside, is_listed = self._names_in(folder, "" if is_folder else address.name)
        if not beside:
            raise refusal or nothing_at(address)
        if not is_listed and is_folder and state.NAME not in beside:
            raise NotACheckpoint(
                "a folder that cannot be listed, without a file `checkpoint`",
                where=address.shown,
                hint="pass the prefix of the checkpoint, or an archive",
            )
        self._lay_out(folder, beside, None if is_folder else address.name)
        source = find_source(self._stage.place(address)).source
        return self._named(FoundSource(source), address, self._bring_source(source, address, wanted))

    def _bring_file(self, address: Address, target: Entry) -> bool:
        """Fetch what `tf1` needs of a file that is not one of a V2 checkpoint; return False if it may be V1's."""
        name, path = address.name, self._stage.place(address)
        if without_suffix(name) is not None or self._look_beside(address.parent.child(name + INDEX)) is not None:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        if know_name(name) is not None:
            path.touch()
            return True
        if has_archive_name(name) or not target.size:
            self._stage.bring([address])
            return True
        if not self._store.has_ranges:
            # Every look into the file could fetch all of it, so one does.
            self._stage.bring([address])
            return not _is_table(path)
        head = self._store.read(address, 0, min(HEAD, target.size)) or b""
        # Only the whole file tells whether it is nothing but zeros.
        if find_kind(name, head) or not head.strip(b"\0"):
            self._stage.bring([address])
            return True
        path.write_bytes(head)
        return not self._ends_as_table(address, target)

    def _names_in(self, folder: Address, name: str) -> tuple[dict[str, Entry], bool]:
        """Return what is in a folder, and whether that is all; `name` is what was typed of it, "" for the folder.

        Where the store does not list, these are the files that a prefix may have, so far as they are there.
        """
        if self._store.lists:
            with contextlib.suppress(AccessError):
                return self._store.entries(folder) or {}, True
        if not name:
            name = posixpath.basename(self._latest(folder.child(state.NAME)))
        entries = {each: self._look_beside(folder.child(each)) for each in _names_about(name)}
        return {each: entry for each, entry in entries.items() if entry is not None and not entry.is_folder}, False

    def _look_beside(self, address: Address) -> Entry | None:
        """Return what is at an address that nobody typed; what we may not see is not there."""
        try:
            return self._store.look(address)
        except AccessError:
            return None

    def _latest(self, address: Address) -> str:
        """Fetch a `checkpoint` file, if it is there, and return the checkpoint that it names, or ""."""
        content = self._store.read(address, 0, state.LARGEST + 1)
        if content is None:
            return ""
        self._stage.place(address).parent.mkdir(parents=True, exist_ok=True)
        self._stage.place(address).write_bytes(content)
        return state.read_state(content, address.shown).latest

    def _lay_out(self, folder: Address, entries: Mapping[str, Entry], name: str | None) -> None:
        """Make files of all names of a folder: empty, but for the `checkpoint` file and the ends of V1 checkpoints.

        `name` is the prefix, or the shard, that is meant; None where the `checkpoint` file is to tell.
        """
        here = self._stage.place(folder)
        here.mkdir(parents=True, exist_ok=True)
        if len(entries) > MOST_NAMES:
            raise CheckpointError(
                "too many files beside the checkpoint",
                where=folder.shown,
                found=f"{len(entries):,}",
                expected=f"at most {MOST_NAMES:,}",
                hint="copy the checkpoint into a folder of its own",
            )
        for each in filter(_fits_a_disk, entries):
            if entries[each].is_folder:
                (here / each).mkdir(exist_ok=True)
            else:
                (here / each).touch()
        has_state = name is None and state.NAME in entries and entries[state.NAME].size != 0
        latest = self._latest(folder.child(state.NAME)) if has_state else ""
        below, _, wanted = posixpath.normpath(latest or name or "/").rpartition("/")
        for each in self._tables(folder, entries, wanted):
            (here / each).write_bytes(bytes(FOOTER_SIZE - len(MAGIC)) + MAGIC)
        if latest and below and not below.startswith(("/", "..")) and "://" not in latest:
            inside = folder.child(below)
            self._lay_out(inside, self._names_in(inside, wanted)[0], wanted)

    def _tables(self, folder: Address, entries: Mapping[str, Entry], wanted: str) -> list[str]:
        """Return the files that end as V1 checkpoints do, among those of a prefix, or of all where none is wanted."""
        asked: list[str] = []

        def ask(name: str) -> bool:
            asked.append(name)
            return False

        names = [name for name, entry in entries.items() if not entry.is_folder and know_name(name) is None]
        if wanted:
            find_named(wanted, names, ask)
        else:
            find_prefixes(names, ask)
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(lambda name: self._ends_as_table(folder.child(name), entries[name]), asked)
            return [name for name, is_table in zip(asked, found, strict=True) if is_table]

    def _ends_as_table(self, address: Address, entry: Entry) -> bool:
        if not self._store.has_ranges:
            return True  # it is named as one; the reader will see
        if entry.size is None or entry.size < FOOTER_SIZE:
            return False
        end = self._store.read(address, entry.size - len(MAGIC), entry.size)
        return end is not None and end[-len(MAGIC) :] == MAGIC

    def _bring_source(self, source: Source, address: Address, wanted: Wanted) -> dict[str, int]:
        """Fetch the files of a checkpoint; return name and size of the data files that were left where they are."""
        folder = address._replace(parts=source.folder.relative_to(self._stage.root).parts)
        files = [folder.child(path.name) for path in (*source.files, *([source.meta] if source.meta else []))]
        self._remove_names()
        before = self._stage.bring([*files, *self._vocabulary(folder)])
        if source.format == "V1":
            return {}
        index = _index_of(source)
        every = [folder.child(f"{source.name}.data-{shard:05d}-of-{index.shards:05d}") for shard in range(index.shards)]
        data = self._look_for(every, folder)
        needed = dict(zip(every, index.shard_ends(), strict=True))
        # A store that tells no size is believed.
        sizes = {each: needed[each] if entry.size is None else entry.size for each, entry in data.items()}
        is_whole = all(sizes.get(each, -1) >= least for each, least in needed.items())
        if wanted == "names" or not is_whole:
            return {each.name: size for each, size in sizes.items()}
        self._stage.bring(list(data))
        # Another step may have been written between the index and the data.
        self._stage.refuse_changed(before)
        return {}

    def _vocabulary(self, folder: Address) -> list[Address]:
        """Return where the vocabulary is: beside the checkpoint, or above it as Google's code keeps it."""
        above = vocabulary_folders(PurePosixPath("/", *folder.parts))
        for each in (folder, *(folder._replace(parts=path.parts[1:]) for path in above)):
            address = each.child(VOCABULARY)
            if self._look_beside(address) is not None:
                return [address]
        return []

    def _look_for(self, files: list[Address], folder: Address) -> dict[Address, Entry]:
        """Return those of some files of a folder that are there."""
        if self._store.lists:
            with contextlib.suppress(AccessError):
                names = self._store.entries(folder) or {}
                return {each: names[each.name] for each in files if each.name in names}
        found = {}
        for each in files:
            entry = self._look_beside(each)
            if entry is None:  # the rest is of no use without it
                break
            found[each] = entry
        return found

    def _remove_names(self) -> None:
        """Remove the files that only stood for names."""
        for parent, _, names in os.walk(self._stage.root):
            for name in names:
                Path(parent, name).unlink()

    def _named(self, found: FoundSource, address: Address, elsewhere: Mapping[str, int]) -> FoundSource:
        """Call a source by its URL, in its notices too."""
        here, there = f"{self._stage.root}{os.sep}", root_of(address)
        notices = [notice.renamed(here, there) for notice in found.source.notices]
        # A `checkpoint` file that names the very URL is no other machine's.
        told = [each for each in notices if dict(each.facts).get("found") != dict(each.facts).get("taken", "")]
        shown = found.source.shown.replace(here, there)
        found.source = replace(found.source, shown=shown, notices=tuple(told), elsewhere=elsewhere)
        return found


def _names_about(name: str) -> list[str]:
    """Return the names that may be there if one was typed and none can be listed; shards follow from the index."""
    prefix = without_suffix(name)
    shard = split_shard(name)
    names = [state.NAME, VOCABULARY]
    if shard and not prefix:
        return [*names, *(f"{shard[0]}-{number:05d}-of-{shard[1]:05d}" for number in range(shard[1]))]
    prefix = prefix or name
    return [*names, *({name: None, prefix: None, prefix + INDEX: None, prefix + META: None} if name else {})]


def _index_of(source: Source) -> Index:
    handle = SourceHandle(source.files[0])
    try:
        return read_index(handle)
    finally:
        handle.close()


def _is_table(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.read() == MAGIC


def _fits_a_disk(name: str) -> bool:
    return (
        name not in {"", ".", ".."}
        and len(os.fsencode(name)) <= LONGEST_NAME
        and not any(character in name for character in ("/", "\0", os.sep, *(os.altsep or "")))
    )
