"""A zoo: every checkpoint that a batch is to convert, each with its place below OUT and its own settings.

    SOURCE…, manifest ──▶ walked, read ──▶ named ──▶ no two in one place, none over a source ──▶ Zoo

Whatever can be known to be wrong with the whole is refused here, before anything starts; what is wrong with one
checkpoint only fails in its turn and stops no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from electra_convert.atomic import refuse_overlap
from electra_convert.errors import EnvironmentFailure, NotACheckpoint, UsageError
from electra_convert.notices import Notice, Noticed, note, warning
from electra_convert.options import StrPath
from electra_convert.remote.urls import is_remote, parse_url, shown_path, without_file_scheme
from electra_convert.tf1.archive_kinds import archive_stem
from electra_convert.tf1.prefixes import INDEX
from electra_convert.wording import some
from electra_convert.zoo.manifest import Entry, check_options, is_manifest, read_manifests
from electra_convert.zoo.output_names import Parts, count_below, find_collisions, fold, is_safe, safe_part, tell_apart
from electra_convert.zoo.remote_tree import is_single, walk_store
from electra_convert.zoo.source_names import source_parts
from electra_convert.zoo.walking import Found, WalkedFolder, checkpoints_in, refuse_absent, walk_tree

# A refusal lists so many pairs, and counts the rest.
MOST_COLLISIONS = 50


@dataclass(frozen=True, slots=True)
class Item:
    """One conversion of a batch.

    `name` is the output's place below OUT, with `/`; `source` what `convert` takes; `settings` its keywords, as plain
    data, but for `out`, `overwrite`, `dry_run` and `progress`; `where` the line of a manifest, "" if it was walked to.
    """

    name: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    where: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the item as plain data, a URL without its credentials."""
        source = shown_path(self.source)
        return {"name": self.name, "source": source, "settings": dict(self.settings), "where": self.where}


@dataclass(frozen=True, slots=True)
class Zoo(Noticed):
    """The items of a batch, in the order of the sources and of their trees, and what was passed over."""

    items: tuple[Item, ...]
    notices: tuple[Notice, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {"items": [item.to_json() for item in self.items], "notes": [notice.to_json() for notice in self.notes]}


def find_zoo(
    sources: Sequence[StrPath],
    out: StrPath,
    *,
    manifest: StrPath | None = None,
    all_steps: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Zoo:
    """Return what a batch is to convert; nothing is loaded but names, manifests and the files that options name.

    Args:
        sources: folders, which are walked; prefixes, files and archives of checkpoints; URLs; manifests, by ending.
        out: the folder of all outputs, or a URL; it may lie in a tree that is walked.
        manifest: one more manifest, whose entries come first.
        all_steps: every step of a folder, each named after its prefix, not the newest only.
        settings: keywords of `convert` for every item; the entries of a manifest override them.

    Raises:
        ManifestError: with every fault of every manifest.
        NotACheckpoint: a source is not there, or there is no checkpoint at all.
        UsageError: two items would have one place below OUT, or one inside the other; OUT and a source overlap; options
            that contradict each other.
        EnvironmentFailure: a source cannot be listed.
    """
    settings = {key: _plain(value) for key, value in (settings or {}).items()}
    check_options(settings)
    target = os.fspath(without_file_scheme(out))
    given = [os.fspath(without_file_scheme(source)) for source in sources]
    manifests = [*([] if manifest is None else [os.fspath(manifest)]), *filter(is_manifest, given)]
    planning = _Planning(target, all_steps, settings)
    for entry in read_manifests(manifests, settings):
        planning.add_entry(entry)
    planning.add_sources([source for source in given if not is_manifest(source)])
    _refuse_collisions(planning.items)
    _refuse_overlaps(target, planning.items)
    if not planning.items:
        raise NotACheckpoint(
            "no checkpoint to convert",
            where=some([shown_path(source) for source in given]) or None,
            found="no TensorFlow 1 checkpoint and no archive of one",
            expected="folders with PREFIX.index, or archives of them",
        )
    return Zoo(tuple(planning.items), planning.told())


class _Planning:
    """The items and notices so far."""

    def __init__(self, out: str, all_steps: bool, settings: Mapping[str, Any]) -> None:
        self.out, self.all_steps, self.settings = out, all_steps, settings
        self.items: list[Item] = []
        self.notices: list[Notice] = []
        self.renamed: list[str] = []

    def add_entry(self, entry: Entry) -> None:
        """Add what an entry of a manifest means: one item, or with `all_steps` one for each step of its folder."""
        found = self._steps_of(entry.source)
        if self.all_steps and found and not found[0].is_alone:
            names = [f"{entry.name}/{safe_part(one.leaf)}" for one in found]
        else:
            # Several that are no steps of one run are left to the conversion, which refuses to choose.
            names = [entry.name]
            found = found if len(found) == 1 else [Found((), "", entry.source)]
        for name, one in zip(names, found, strict=True):
            self.items.append(Item(name, one.source, entry.settings, entry.where))

    def _steps_of(self, source: str) -> list[Found]:
        if is_remote(source) or not os.path.isdir(source):
            return []
        try:
            folder = WalkedFolder(Path(source))
        except EnvironmentFailure:
            return []  # one bad item stops nothing; the conversion tells
        found, told = checkpoints_in(folder, (), all_steps=self.all_steps)
        self.notices += told
        return found

    def add_sources(self, sources: Sequence[str]) -> None:
        """Add the checkpoints of every source; of several, each has a folder of its own."""
        labels = tell_apart([source_parts(source) for source in sources])
        for source, label in zip(sources, labels, strict=True):
            found = self._walk(source)
            if found is None:
                self._add(label, source)
                continue
            root = label if len(sources) > 1 else ()
            for one, parts in zip(found, name_found(found), strict=True):
                self._add((*root, *parts) or label or (one.leaf,), one.source)

    def _walk(self, source: str) -> list[Found] | None:
        """Return what is at and below a source; None if it stands for itself."""
        if is_remote(source):
            if is_single(source):
                return None
            walked = walk_store(source, self.out, all_steps=self.all_steps)
            if walked is None:
                return None
        elif os.path.isdir(source):
            walked = walk_tree(source, self.out, all_steps=self.all_steps)
        else:
            refuse_absent(source)
            return None
        found, told = walked
        self.notices += told
        if not found:
            self.notices.append(warning("nothing-found", "a source has no checkpoint", where=shown_path(source)))
        return found

    def _add(self, parts: Parts, source: str) -> None:
        name = "/".join(map(safe_part, parts))
        if not is_safe("/".join(parts)):
            self.renamed.append(f"{'/'.join(parts)} to {name}")
        self.items.append(Item(name, source, self.settings))

    def told(self) -> tuple[Notice, ...]:
        """Return all notices."""
        if not self.renamed:
            return tuple(self.notices)
        renamed = note("renamed", "names that not every system takes are changed", changed=some(self.renamed, 10))
        return (*self.notices, renamed)


def name_found(found: Sequence[Found]) -> list[Parts]:
    """Return the place of each checkpoint of a tree below its root: unique and apart, wherever the tree allows it.

    A folder's only checkpoint takes the folder's name, unless others lie below; then it has its own name in there, as
    each of several has. An archive takes its name without the suffix, unless that is the name of something else.
    """
    below = count_below([one.place for one in found])
    names = [
        one.place
        if one.is_alone and below[fold(one.place)] == 1
        else (*one.place, archive_stem(one.leaf) if one.is_archive else one.leaf)
        for one in found
    ]
    taken = count_below(names)
    return [
        (*one.place, one.leaf) if one.is_archive and taken[fold(name)] > 1 else name
        for one, name in zip(found, names, strict=True)
    ]


def _refuse_collisions(items: Sequence[Item]) -> None:
    lines = []
    for first, second, relation in find_collisions([item.name for item in items]):
        one, other = items[first], items[second]
        told = one.name if relation == "same" else f"{other.name}, which is in {one.name}"
        lines.append(f"{told}: {_who(one)} and {_who(other)}")
    if lines:
        raise UsageError(
            "outputs would be written over each other",
            found=some(lines, MOST_COLLISIONS),
            expected="a folder of its own for each, on systems that do not tell case too",
            hint="rename a source, or give names in a manifest",
        )


def _who(item: Item) -> str:
    source = shown_path(item.source)
    return f"{source} ({item.where})" if item.where else source


def _refuse_overlaps(out: str, items: Sequence[Item]) -> None:
    """Raise UsageError if OUT is in a checkpoint's folder, or a checkpoint in OUT."""
    if not is_remote(out):
        local = [item.source for item in items if not is_remote(item.source)]
        # A prefix is no file; its index is.
        refuse_overlap(out, [path if os.path.lexists(path) else path + INDEX for path in local])
        return
    for item in items:
        if is_remote(item.source) and parse_url(item.source).lies_in(parse_url(out)):
            raise UsageError(
                "the output and the checkpoint overlap",
                where=shown_path(out),
                checkpoint=shown_path(item.source),
                found="the checkpoint lies inside it",
                hint="choose a folder elsewhere",
            )


def _plain(value: Any) -> Any:
    """Return a value of the settings as plain data, which can be sent to another process and written as JSON."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
