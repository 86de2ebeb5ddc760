"""Walks a tree on an object store for checkpoints, by names alone: no byte of a file is fetched.

So V1 checkpoints, which only their last bytes tell, are found where they are named, not by walking; and where a
`checkpoint` file lies beside several steps, the folder is taken and the conversion sees which one is named.
"""

from __future__ import annotations

from collections.abc import Sequence

from electra_convert.errors import InputError
from electra_convert.notices import Notice, note
from electra_convert.remote.urls import Address, is_remote, parse_url, walk
from electra_convert.tf1 import state
from electra_convert.tf1.archive_kinds import has_archive_name
from electra_convert.tf1.prefixes import find_named, find_prefixes, is_unfinished_folder, without_suffix
from electra_convert.wording import some
from electra_convert.zoo.output_names import Parts
from electra_convert.zoo.walking import SHOWN, Found, newest_of_each_run

# Servers of these give files and list no folders.
_WITHOUT_FOLDERS = {"http", "https"}


def is_single(url: str) -> bool:
    """Return whether a URL is that of one checkpoint by its name: an archive, a file, or anything on a web server."""
    address = parse_url(url)
    name = address.name
    return address.scheme in _WITHOUT_FOLDERS or has_archive_name(name) or without_suffix(name) is not None


def walk_store(root: str, out: str, *, all_steps: bool) -> tuple[list[Found], list[Notice]] | None:
    """Return the checkpoints at and below a URL, as `walk_tree` does for a folder; None if the URL is a prefix.

    Raises InputError if nothing is there, EnvironmentFailure if the store cannot be had.
    """
    top = parse_url(root)
    output = parse_url(out) if is_remote(out) else None
    found: list[Found] = []
    told: list[Notice] = []
    hidden: list[str] = []
    try:
        for url, folders, files in walk(root):
            here = parse_url(url)
            place = here.parts[len(top.parts) :]
            found += _archives(here, place, files)
            own, left = _checkpoints(here, place, files, all_steps)
            found += own
            if left:
                told.append(
                    note("other-steps", "one step of several is taken", where=here.shown, others=some(left, SHOWN))
                )
            if (
                output is not None
                and output.parent.lies_in(here)
                and here.lies_in(output.parent)
                and output.name in folders
            ):
                told.append(note("out-skipped", "the output lies in the tree and is left out", where=output.shown))
                folders.remove(output.name)
            hidden += [here.child(name).shown for name in folders if name.startswith(".")]
            # The walk goes into what the list still has.
            folders[:] = [name for name in folders if not name.startswith(".") and not is_unfinished_folder(name)]
    except InputError:
        if _is_prefix(top):
            return None
        raise
    if hidden:
        told.append(note("hidden", "hidden folders are left out", where=some(hidden, SHOWN)))
    return found, told


def _archives(folder: Address, place: Parts, files: Sequence[str]) -> list[Found]:
    names = [name for name in files if has_archive_name(name) and not name.startswith(".")]
    return [Found(place, name, folder.child(name).url, is_archive=True) for name in names]


def _checkpoints(folder: Address, place: Parts, files: Sequence[str], all_steps: bool) -> tuple[list[Found], list[str]]:
    """Return the checkpoints that a folder holds, and the names of the steps that are left out."""
    prefixes = find_prefixes(files, lambda _: False)
    if prefixes and not all_steps and (len(prefixes) == 1 or state.NAME in files):
        leaf = prefixes[0].name if len(prefixes) == 1 else state.NAME
        return [Found(place, leaf, folder.url, is_alone=True)], []
    taken = prefixes if all_steps else newest_of_each_run(prefixes)
    is_alone = len(taken) == 1 and not all_steps
    found = [Found(place, one.name, folder.child(one.name).url, is_alone=is_alone) for one in taken]
    return found, [one.name for one in prefixes if one not in taken]


def _is_prefix(address: Address) -> bool:
    """Return whether files of this prefix are beside each other where it says."""
    try:
        _, _, files = next(walk(address.parent.url))
    except InputError:
        return False
    return bool(find_named(address.name, files, lambda _: True))
