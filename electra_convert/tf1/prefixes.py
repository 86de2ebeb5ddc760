"""Which checkpoints the files of one folder make up, told by their names.

    PREFIX.index  PREFIX.data-00000-of-00001      V2
    PREFIX                                        V1, told by the table magic in its last 8 bytes
    PREFIX-00000-of-00003 … PREFIX-00002-of-00003 V1 in shards; TensorFlow calls it PREFIX-?????-of-00003
    PREFIX.meta                                   the graph of any of them
    PREFIX….tempstate1583942400, PREFIX_temp_0a1b/part-…    a save that was not finished

A prefix may be any name: `model.ckpt-40`, `model.ckpt`, `electra_small`. A number at its end is the step.
V2 wins where V1 and V2 share a prefix, as in tensorflow/core/util/tensor_slice_reader.cc.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from electra_convert.tf1 import state

INDEX, META = ".index", ".meta"

_DATA = re.compile(r"(.+)\.data-[0-9]{5}-of-[0-9]{5}", re.DOTALL)
_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})", re.DOTALL)
_PATTERN = re.compile(r"(.+)-\?{5}-of-([0-9]{5})", re.DOTALL)
_UNFINISHED = re.compile(r".+\.tempstate[0-9]+", re.DOTALL)
_UNFINISHED_FOLDER = re.compile(r".+_temp(_[0-9a-f]+)?", re.DOTALL)
_STEP = re.compile(r"(?:.*-)?([0-9]{1,18})", re.DOTALL)


class Prefix(NamedTuple):
    """One checkpoint of a folder, by the names of its files.

    `files` is the `.index` of V2, or the one V1 file, or all V1 shards in order, whether they exist or not;
    `missing` are the shards that do not. `full_name` is what TensorFlow calls it, a pattern for V1 shards.
    """

    name: str
    full_name: str
    format: Literal["V1", "V2"]
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def step(self) -> int | None:
        """The number at the end of the name."""
        match = _STEP.fullmatch(self.name)
        return int(match[1]) if match else None

    def owns(self, file: str) -> bool:
        """Return whether a file of this name belongs to the checkpoint: an index, data, V1 shards or the graph."""
        data = _DATA.fullmatch(file) if self.format == "V2" else None
        return file in self.files or file == self.name + META or (data is not None and data[1] == self.name)


def find_prefixes(names: Iterable[str], is_table: Callable[[str], bool]) -> list[Prefix]:
    """Return the checkpoints that files of these names make up, the newest first.

    `is_table` tells of a name whether that file ends with the table magic; it is asked only where no suffix tells.
    """
    names = [name for name in names if not name.startswith("._")]  # macOS keeps attributes of x in ._x
    indexed = {name[: -len(INDEX)] for name in names if name.endswith(INDEX) and name != INDEX}
    found = [Prefix(name, name, "V2", (name + INDEX,)) for name in indexed]
    shards: dict[tuple[str, int], set[str]] = {}
    for name in names:
        if name in indexed or not _may_be_v1(name) or not is_table(name):
            continue
        shard = split_shard(name)
        if shard is None:
            found.append(Prefix(name, name, "V1", (name,)))
        elif shard[0] not in indexed:
            shards.setdefault(shard, set()).add(name)
    for (name, total), present in shards.items():
        every = tuple(f"{name}-{number:05d}-of-{total:05d}" for number in range(total))
        missing = tuple(shard for shard in every if shard not in present)
        found.append(Prefix(name, f"{name}-?????-of-{total:05d}", "V1", every, missing))
    return sorted(found, key=_newest_first)


def find_named(wanted: str, names: Iterable[str], is_table: Callable[[str], bool]) -> list[Prefix]:
    """Return what a prefix, a V1 shard or a pattern `PREFIX-?????-of-NNNNN` means; no other character is a wildcard.

    Several only where V1 shards of two totals lie side by side.
    """
    pattern = _PATTERN.fullmatch(wanted)
    shard = (pattern[1], int(pattern[2])) if pattern else split_shard(wanted)

    def is_meant(name: str) -> bool:
        one = split_shard(name)
        return name in {wanted, wanted + INDEX} or (one is not None and (one == shard or one[0] == wanted))

    return find_prefixes(filter(is_meant, names), is_table)


def split_shard(name: str) -> tuple[str, int] | None:
    """Return prefix and number of shards if `name` is that of a V1 shard.

    >>> split_shard("model.ckpt-40-00000-of-00003")
    ('model.ckpt-40', 3)
    """
    match = _SHARD.fullmatch(name)
    return (match[1], int(match[3])) if match and int(match[2]) < int(match[3]) else None


def without_suffix(name: str) -> str | None:
    """Return the prefix if `name` is that of a V2 file or of a graph, else None.

    >>> without_suffix("model.ckpt-40.data-00000-of-00001")
    'model.ckpt-40'
    """
    data = _DATA.fullmatch(name)
    if data is not None:
        return data[1]
    for suffix in (INDEX, META):
        if name.endswith(suffix) and name != suffix:
            return name[: -len(suffix)]
    return None


def is_unfinished(name: str) -> bool:
    """Return whether a file is what a save leaves that was broken off."""
    return _UNFINISHED.fullmatch(name) is not None


def is_unfinished_folder(name: str) -> bool:
    """Return whether a folder is one that a sharded save gathers its parts in, and removes when it is complete."""
    return _UNFINISHED_FOLDER.fullmatch(name) is not None


def list_steps(prefixes: Sequence[Prefix], most: int = 10) -> list[str]:
    """Return a line for each checkpoint, with its step: those that a user may choose from."""
    width = max((len(prefix.full_name) for prefix in prefixes[:most]), default=0)
    lines = [
        prefix.full_name if prefix.step is None else f"{prefix.full_name:<{width}}  step {prefix.step}"
        for prefix in prefixes[:most]
    ]
    return lines if len(prefixes) <= most else [*lines, f"and {len(prefixes) - most} more"]


def _may_be_v1(name: str) -> bool:
    return without_suffix(name) is None and name != state.NAME and not is_unfinished(name)


def _newest_first(prefix: Prefix) -> tuple[int, str]:
    return (-1 if prefix.step is None else prefix.step) * -1, prefix.full_name
