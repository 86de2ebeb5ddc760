"""A V2 checkpoint ("tensor bundle"): one `.index`, and data files that hold the bytes of the variables.

    PREFIX.index                   what and where (index.py)
    PREFIX.data-00000-of-00002     raw bytes in C order, no header, no alignment, no gaps
    PREFIX.data-00001-of-00002

A tensor's CRC-32C is over the bytes as stored, before a big-endian file is swapped. Bytes are read in pieces of 1 MiB
straight into the caller's memory (tensorflow/core/util/tensor_bundle/tensor_bundle.cc).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from electra_convert.errors import CheckpointError, ChecksumError, TruncatedFile
from electra_convert.notices import Notice, note, warning
from electra_convert.tf1.buffers import copy_into, join, swap
from electra_convert.tf1.crc import crc32c, mask, unmask
from electra_convert.tf1.files import HOLE, PIECE, SourceHandle, name_stranger
from electra_convert.tf1.index import Extent, read_index
from electra_convert.tf1.messages import OUR_VERSION
from electra_convert.tf1.slices import show
from electra_convert.tf1.strangers import Stranger
from electra_convert.tf1.variable import DataMode, Variable
from electra_convert.wording import some

if TYPE_CHECKING:
    import numpy as np

# A bundle may claim 99,999 data files.
MOST_NAMED = 20

# So many other variables are looked at when one is damaged, the smallest ones, to tell a damaged spot from data that
# belong to another index. A few may be alike in both: a step, a bias that was never trained.
WITNESSES = 5


_NOWHERE: Mapping[str, int] = MappingProxyType({})


class Bundle:
    """An open V2 checkpoint; `missing` has a line for each data file that is not usable, where they are optional."""

    format: Literal["V2"] = "V2"

    def __init__(
        self, prefix: Path, shown: str, data: DataMode = "required", elsewhere: Mapping[str, int] = _NOWHERE
    ) -> None:
        """Read the index and open the data files; of those `elsewhere`, by name, the size is all there is.

        Raises `CheckpointError` for a damaged index and, with `data="required"`, for data files that are absent, too
        short or something else, naming all of them.
        """
        self._shown = shown
        self._shards: list[SourceHandle | None] = []
        self._elsewhere = elsewhere
        self._index_file = SourceHandle(prefix.with_name(f"{prefix.name}.index"), f"{shown}.index")
        try:
            self._index = read_index(self._index_file)
            flaws = self._open_shards(prefix)
            if flaws and data == "required":
                raise _refusal(flaws, f"{shown}.index")
            self._flaws = flaws
        except BaseException:
            self.close()
            raise
        self.variables: dict[str, Variable] = self._index.variables
        self.shards = self._index.shards
        self.missing = tuple(f"{flaw.name}: {flaw.found}, expected at least {flaw.needed} bytes" for flaw in flaws)
        self._swapped = self._index.big_endian != (sys.byteorder == "big")

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a user should know about the files."""
        return tuple(self._find_notices())

    @property
    def tables(self) -> tuple[SourceHandle, ...]:
        """The index: its checksum fixes those of all variables, so the data files need none of their own."""
        return (self._index_file,)

    @property
    def data_files(self) -> tuple[SourceHandle, ...]:
        """The data files that are usable."""
        return tuple(file for file in self._shards if file is not None)

    def require_data(self) -> None:
        """Raise CheckpointError if a data file is missing, and TruncatedFile if one is not all there."""
        if self._flaws:
            raise _refusal(self._flaws, f"{self._shown}.index")

    def read_number(self, name: str) -> int | None:
        """Return the value of an integer scalar, without NumPy; None if its data file is not there."""
        variable, (part, *_) = self.variables[name], self._index.extents[name]
        file = self._shards[part.shard]
        if file is None:
            return None
        stored = file.read(part.offset, part.size, f"the variable {name}")
        self._check_crc(variable, file, part, crc32c(stored))
        return int.from_bytes(stored, "big" if self._index.big_endian else "little", signed=True)

    def fill(self, variable: Variable, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Fill each of `targets`, contiguous uint8, with the next bytes of a variable, and yield it filled.

        Together they have the variable's size, each a multiple of an element's. After the last one the checksum is
        checked, so only what came before a `ChecksumError` was wrong to trust.
        """
        parts = self._index.extents[variable.name]
        if parts[0].box is None:
            yield from self._fill_part(variable, parts[0], targets)
        else:
            slices = ((part.box or (), partial(self._fill_part, variable, part)) for part in parts)
            yield from copy_into(join(variable.shape, variable.dtype, slices), targets)

    def checksum(self, variable: Variable) -> int | None:
        """Return the CRC-32C that `fill` checks, where it is that of the whole variable, little-endian."""
        first, *others = self._index.extents[variable.name]
        return None if others or first.box is not None or self._index.big_endian else unmask(first.crc)

    def _fill_part(self, variable: Variable, part: Extent, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        file = self._need(part.shard)
        offset, crc = part.offset, 0
        for target in targets:
            file.read_into(offset, target, f"the variable {variable.name}")
            crc = crc32c(target, crc)
            offset += target.nbytes
            if self._swapped:
                swap(target, variable.dtype)
            yield target
        self._check_crc(variable, file, part, crc)

    def close(self) -> None:
        """Close all files."""
        for file in (*self.tables, *self.data_files):
            file.close()

    def _need(self, shard: int) -> SourceHandle:
        file = self._shards[shard]
        if file is None:
            raise CheckpointError(
                "a data file is needed and not usable", where=f"{self._shown}.index", found=list(self.missing)
            )
        return file

    def _check_crc(self, variable: Variable, file: SourceHandle, part: Extent, computed: int) -> None:
        if mask(computed) == part.crc:
            return
        head = file.read(part.offset, min(part.size, PIECE), "a variable")
        hole = part.size > 0 and not head.strip(b"\0")
        raise ChecksumError(
            "checksum of a variable differs",
            where=f"{file.shown}, byte {part.offset}",
            variable=f"{variable}" if part.box is None else f"{variable}, slice {show(part.box)}",
            found=f"0x{mask(computed):08x}" + (", of zero bytes" if hole else ""),
            expected=f"0x{part.crc:08x}, from {self._index_file.path.name}",
            hint=HOLE.hint if hole else _STRANGERS if self._is_all_wrong(file, part) else _CHANGED,
        )

    def _is_all_wrong(self, file: SourceHandle, damaged: Extent) -> bool:
        """Return whether most of the other variables in a data file have wrong checksums too."""
        parts = [part for parts in self._index.extents.values() for part in parts]
        others = [part for part in parts if part.size and self._shards[part.shard] is file and part != damaged]
        witnesses = sorted(others, key=lambda part: part.size)[:WITNESSES]
        wrong = [part for part in witnesses if mask(_crc_of(file, part)) != part.crc]
        return 2 * len(wrong) > len(witnesses)

    def _find_notices(self) -> Iterator[Notice]:
        if self._index.big_endian:
            yield warning(
                "big-endian",
                "the index says that the values are big-endian, and they are read so",
                "no ELECTRA is known to be; if the results are nonsense, the index is wrong",
                where=self._index_file.shown,
            )
        if self._index.producer > OUR_VERSION:
            yield note("producer", "the checkpoint's writer is newer than this reader", found=f"{self._index.producer}")
        for file, needed in zip(self._shards, self._index.shard_ends(), strict=True):
            if file is not None and file.size > needed:
                found = f"{file.size - needed} bytes"
                yield note("trailing-bytes", "bytes after the last variable", where=file.path.name, found=found)

    def _open_shards(self, prefix: Path) -> list[_Flaw]:
        """Open every data file that is usable, and return what is wrong with the others."""
        flaws = []
        ends = self._index.shard_ends()
        for shard, needed in enumerate(ends):
            suffix = f".data-{shard:05d}-of-{len(ends):05d}"
            name = prefix.name + suffix
            file: SourceHandle | None = None
            try:
                file = SourceHandle(prefix.with_name(name), self._shown + suffix)
            except FileNotFoundError:
                size = self._elsewhere.get(name)
                if size is None:
                    flaws.append(_Flaw(name, "not there", needed, "copy all files of the checkpoint into one folder"))
                elif size < needed:
                    flaws.append(_Flaw(name, _SHORT.what.format(size=size), needed, _SHORT.hint))
            if file is not None and file.size < needed:
                stranger = name_stranger(file) or _SHORT
                flaws.append(_Flaw(name, stranger.what.format(size=file.size), needed, stranger.hint))
                file.close()
                file = None
            self._shards.append(file)
        return flaws


class _Flaw(NamedTuple):
    """A data file that is not usable: `needed` is how many bytes the index says it has at least."""

    name: str
    found: str
    needed: int
    hint: str


_CHANGED = "the file changed after it was written; copy it again"
_STRANGERS = "the .index and .data files are from different checkpoints; copy both from the same one"
_SHORT = Stranger("{size} bytes", "the file was cut short; copy or download it again")


def _crc_of(file: SourceHandle, part: Extent) -> int:
    crc = 0
    for at in range(0, part.size, PIECE):
        crc = crc32c(file.read(part.offset + at, min(PIECE, part.size - at), "a variable"), crc)
    return crc


def _refusal(flaws: list[_Flaw], index: str) -> CheckpointError:
    absent = any(flaw.found == "not there" for flaw in flaws)
    return (CheckpointError if absent else TruncatedFile)(
        "a data file of the checkpoint is missing" if absent else "a data file of the checkpoint is not all there",
        where=index,
        found=some([f"{flaw.name}: {flaw.found}" for flaw in flaws], MOST_NAMED),
        expected=some([f"{flaw.name}: at least {flaw.needed} bytes" for flaw in flaws], MOST_NAMED),
        hint=flaws[0].hint,
    )
