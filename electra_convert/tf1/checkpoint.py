"""An open TensorFlow 1 checkpoint, whatever its format: what it holds, and one variable at a time.

    with open_checkpoint("ckpt/") as checkpoint:
        checkpoint.variables["electra/embeddings/word_embeddings"]     # Variable(name, dtype, shape, nbytes, slices)
        checkpoint.read("electra/embeddings/word_embeddings")          # numpy array, checksum checked

Opening reads names, shapes and the step, and no NumPy. A value is read when it is asked for, and its checksum is always
checked. Beneath are three readers with the same few methods: bundle.py (V2), v1.py and tensorflow.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from electra_convert.errors import UnsupportedFeature
from electra_convert.notices import Notice, note
from electra_convert.tf1.buffers import cut
from electra_convert.tf1.bundle import Bundle
from electra_convert.tf1.files import PIECE, SourceHandle
from electra_convert.tf1.sources import FoundSource, Source, find_source
from electra_convert.tf1.variable import DataMode, Variable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Checkpoint", "SourceFile", "Variable", "open_checkpoint"]

STEP = "global_step"

# The end of a prefix that a Saver wrote with `global_step`; more digits than an int64 has are no step.
_STEP_IN_NAME = re.compile(r"-([0-9]{1,18})$")


class SourceFile(NamedTuple):
    """A file of the checkpoint: base name, bytes, and CRC-32C of all of it.

    `crc32c` is None for V2 data files: the index holds a checksum of each variable, and fixes theirs.
    """

    name: str
    nbytes: int
    crc32c: int | None


class Reader(Protocol):
    """What the formats have in common; `tables` and `data_files` are the files that are open."""

    shards: int
    missing: tuple[str, ...]

    @property
    def format(self) -> Literal["V1", "V2"]:
        """The name of the format."""

    @property
    def variables(self) -> dict[str, Variable]:
        """Every variable by name."""

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a user should know about the files."""

    @property
    def tables(self) -> tuple[SourceHandle, ...]:
        """The files that hold checksums of all that is read: the index of V2, all files of V1."""

    @property
    def data_files(self) -> tuple[SourceHandle, ...]:
        """The data files of V2."""

    def fill(self, variable: Variable, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Fill each of `targets` with the next bytes of a variable, yield it, and check the checksum at the end."""

    def require_data(self) -> None:
        """Raise where a file that holds values is not usable."""

    def read_number(self, name: str) -> int | None:
        """Return the value of an integer scalar; None if its data file is not there."""

    def checksum(self, variable: Variable) -> int | None:
        """Return the CRC-32C that `fill` checks, where it is that of the whole variable, little-endian."""

    def close(self) -> None:
        """Close all files."""


class Checkpoint:
    """A checkpoint that is open for reading; `open_checkpoint` makes it.

    `variables` has every variable by name, sorted, and loads nothing. `missing` names, a line each, the data files that
    are not usable; it is empty unless the checkpoint was opened with `data="optional"`.
    """

    def __init__(self, source: Source, reader: Reader, found: FoundSource | None = None) -> None:
        """Take over an open reader; `found` owns the files, where they were unpacked from an archive."""
        self._reader = reader
        self._found = found
        self._elsewhere = source.elsewhere
        self.prefix: Path = source.prefix
        self.name: str = source.name
        self.shown: str = source.shown
        self.folder: Path = source.folder
        self.meta: Path | None = source.meta
        self.format: Literal["V1", "V2"] = reader.format
        self.shards: int = reader.shards
        self.missing: tuple[str, ...] = reader.missing
        self.variables: Mapping[str, Variable] = MappingProxyType(dict(sorted(reader.variables.items())))
        self.nbytes: int = sum(variable.nbytes for variable in self.variables.values())
        (self.step, self.step_source), notices = self._find_step()
        self.notices: tuple[Notice, ...] = (*source.notices, *reader.notices, *notices)

    def read(self, name: str) -> np.ndarray:
        """Return a variable as an array of its shape, in native byte order, read-only.

        Raises `KeyError` for a name that is not there, `ChecksumError` for bytes that are not as they were written,
        `UnsupportedFeature` for strings, and `CheckpointError` for whatever else is wrong with them.
        """
        import numpy as np

        variable = self._get(name)
        array = self.read_into(name, np.empty(variable.nbytes, np.uint8))
        array.flags.writeable = False
        return array

    def read_into(self, name: str, buffer: np.ndarray) -> np.ndarray:
        """Read a variable into the beginning of `buffer`, contiguous uint8 of at least its size; return it as array.

        The array is a view of `buffer` with the variable's type and shape. Raises as `read` does.
        """
        variable = self._get(name)
        if buffer.dtype != "uint8" or buffer.ndim != 1 or buffer.nbytes < variable.nbytes:
            raise ValueError(f"{variable} needs a buffer of {variable.nbytes} bytes, uint8 and flat")
        content = buffer[: variable.nbytes]
        for _ in self._reader.fill(variable, cut(content)):
            pass
        return content.view(variable.dtype.numpy).reshape(variable.shape)

    def chunks(self, name: str, size: int = PIECE, buffers: Iterator[np.ndarray] | None = None) -> Iterator[np.ndarray]:
        """Yield a variable in flat pieces of at most `size` bytes, in C order and native byte order.

        Each piece is a view of the next of `buffers`, flat uint8 of `size` bytes or more; of one that the next piece
        overwrites where none are given. The checksum is known after the last piece: a `ChecksumError` then says that
        those before were not to be trusted. Raises otherwise as `read` does.
        """
        import numpy as np

        variable = self._get(name)
        itemsize, dtype = variable.dtype.size, variable.dtype.numpy
        step = max(size // itemsize, 1) * itemsize
        if buffers is None:
            buffers = repeat(np.empty(min(step, variable.nbytes), np.uint8))
        starts = range(0, variable.nbytes, step)
        targets = (buffer[: min(step, variable.nbytes - at)] for at, buffer in zip(starts, buffers, strict=False))
        for piece in self._reader.fill(variable, targets):
            yield piece.view(dtype)

    def checksum(self, name: str) -> int | None:
        """Return the CRC-32C of a variable's little-endian bytes in C order that reading it checks; None where none is.

        A V2 checkpoint has it of every variable that is not cut into slices.
        """
        return self._reader.checksum(self._get(name))

    def source_files(self) -> tuple[SourceFile, ...]:
        """Return the files of the checkpoint, its `.meta` among them; this reads those that have a checksum."""
        files = [SourceFile(file.path.name, file.size, file.crc32c()) for file in self._reader.tables]
        files += [SourceFile(file.path.name, file.size, None) for file in self._reader.data_files]
        files += [SourceFile(name, size, None) for name, size in self._elsewhere.items()]
        if self.meta is not None:
            meta = SourceHandle(self.meta)
            try:
                files.append(SourceFile(self.meta.name, meta.size, meta.crc32c()))
            finally:
                meta.close()
        return tuple(files)

    def paths(self) -> list[Path]:
        """Return where its files are, the `.meta` among them; in a temporary folder if they were unpacked."""
        paths = [file.path for file in (*self._reader.tables, *self._reader.data_files)]
        return paths if self.meta is None else [*paths, self.meta]

    def require_data(self) -> None:
        """Raise `CheckpointError` if a data file is missing or short, as opening with `data="required"` does."""
        self._reader.require_data()

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` if a file with names or values is no longer the one that was opened."""
        for file in (*self._reader.tables, *self._reader.data_files):
            file.check_unchanged()

    def close(self) -> None:
        """Close all files; a second call does nothing."""
        self._reader.close()
        if self._found is not None:
            self._found.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, name: str) -> Variable:
        variable = self.variables[name]
        if not variable.dtype.size:
            raise UnsupportedFeature(
                f"a variable holds {variable.dtype} values, which are not weights",
                where=self.shown,
                variable=str(variable),
                expected="numbers",
            )
        return variable

    def _find_step(self) -> tuple[tuple[int | None, str], tuple[Notice, ...]]:
        """Return the step and where it is from: `global_step`, else the number at the end of the prefix."""
        match = _STEP_IN_NAME.search(self.name)
        named = int(match[1]) if match else None
        variable = self.variables.get(STEP)
        if variable is None or variable.dtype.name not in {"int64", "int32"} or variable.shape:
            found = "not there" if variable is None else str(variable)
            notice = note("global-step", "no usable global_step in the checkpoint", found=found)
            return (named, "" if named is None else "prefix"), (notice,)
        value = self._reader.read_number(STEP)
        if value is None:
            return (named, "" if named is None else "prefix"), ()
        if named is not None and named != value:
            facts = {"found": f"global_step {value}", "expected": f"{named}, from the prefix"}
            return (value, STEP), (note("step", "global_step and the number in the prefix differ", **facts),)
        return (value, STEP), ()


def open_checkpoint(
    path: str | os.PathLike[str],
    *,
    reader: Literal["auto", "tensorflow"] = "auto",
    data: DataMode = "required",
) -> Checkpoint:
    """Open the checkpoint that `path` means: a folder, a prefix, any file of a checkpoint, or an archive.

    `reader="tensorflow"` reads with TensorFlow itself (the extra `tensorflow`), as a cross-check and for files that
    this package does not know. With `data="optional"` data files may be missing: `Checkpoint.missing` names them, and
    reading what they hold raises.

    Raises `CheckpointError` (with subclasses for what is cut short, changed or no checkpoint), `EnvironmentFailure` for
    files that may not be read, and `MissingExtra` if TensorFlow is asked for and not installed.

    >>> with open_checkpoint("fixtures/google/default_small") as checkpoint:
    ...     checkpoint.variables["electra/embeddings/word_embeddings"].shape
    (300, 16)
    """
    return open_source(find_source(path), reader=reader, data=data)


def open_source(
    found: FoundSource, *, reader: Literal["auto", "tensorflow"] = "auto", data: DataMode = "required"
) -> Checkpoint:
    """Open a source that was found; closing the checkpoint closes it. Otherwise as `open_checkpoint`."""
    try:
        opened = _open_reader(found.source, reader, data)
    except BaseException:
        found.close()
        raise
    try:
        return Checkpoint(found.source, opened, found)
    except BaseException:
        opened.close()
        found.close()
        raise


def _open_reader(source: Source, reader: Literal["auto", "tensorflow"], data: DataMode) -> Reader:
    if reader == "tensorflow":
        from electra_convert.tf1.tensorflow import TensorFlowReader

        return TensorFlowReader(source.prefix, source.format, source.files, source.shown)
    if source.format == "V2":
        return Bundle(source.prefix, source.shown, data, source.elsewhere)
    from electra_convert.tf1.v1 import SavedSlices

    return SavedSlices(source.files, [_shown_file(source, file) for file in source.files])


def _shown_file(source: Source, file: Path) -> str:
    """Return what messages call a V1 file: the checkpoint's own name with the file's for the prefix's."""
    return source.shown.removesuffix(source.prefix.name) + file.name
