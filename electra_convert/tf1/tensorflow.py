"""The same reader over TensorFlow's own: the cross-check of ours, and the way in for a file that ours does not know.

`RestoreV2` reads both formats, partitioned variables and 16-bit types included; `CheckpointReader` fails on some of
them. TensorFlow checks less than ours (a hostile file may end the process), so it is used only when asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from electra_convert.errors import CheckpointError, MissingExtra, UnsupportedFeature
from electra_convert.notices import Notice
from electra_convert.tf1.buffers import copy_into
from electra_convert.tf1.dtypes import find_dtype
from electra_convert.tf1.files import SourceHandle, refusing
from electra_convert.tf1.variable import Variable, bytes_of

if TYPE_CHECKING:
    import numpy as np

# What TensorFlow takes for a pattern, in a path that is meant literally.
_WILDCARDS = frozenset("*?[\\")


class TensorFlowReader:
    """An open checkpoint, read through TensorFlow; `slices` of its variables is always 1."""

    missing: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()

    def __init__(self, prefix: Path, format: Literal["V1", "V2"], files: Sequence[Path], shown: str) -> None:
        """Open the checkpoint; raise `MissingExtra` without TensorFlow, `CheckpointError` with TensorFlow's words."""
        self._tensorflow = import_tensorflow()
        self._prefix, self._shown = str(prefix), shown
        self.format = format
        if not all(_WILDCARDS.isdisjoint(file.as_posix()) for file in files):
            raise UnsupportedFeature(
                "TensorFlow takes this path for a pattern", where=shown, hint="rename it, or read it without TensorFlow"
            )
        self.tables: tuple[SourceHandle, ...] = ()
        self.data_files: tuple[SourceHandle, ...] = ()
        try:
            self.tables = tuple(SourceHandle(file) for file in files)
            self.data_files = tuple(SourceHandle(file) for file in _find_data(prefix) if format == "V2")
            self.variables = self._list()
        except BaseException:
            self.close()
            raise
        self.shards = len(self.data_files or self.tables)

    def require_data(self) -> None:
        """Do nothing: what was opened is all there."""

    def read_number(self, name: str) -> int | None:
        """Return the value of an integer scalar."""
        return int(self._restore(self.variables[name]))

    def fill(self, variable: Variable, targets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Fill each of `targets`, contiguous uint8, with the next bytes of a variable, and yield it filled."""
        import numpy as np

        values = self._restore(variable)
        if values.shape != variable.shape or values.nbytes != variable.nbytes:
            raise CheckpointError("TensorFlow returned another shape", where=self._shown, variable=str(variable))
        yield from copy_into(np.ascontiguousarray(values).reshape(-1).view(np.uint8), targets)

    def checksum(self, variable: Variable) -> int | None:
        """Return None: no checksum here is that of one whole variable."""
        return None

    def close(self) -> None:
        """Close all files."""
        for file in (*self.tables, *self.data_files):
            file.close()

    def _list(self) -> dict[str, Variable]:
        with self._in_its_words():
            reader = self._tensorflow.compat.v1.train.NewCheckpointReader(self._prefix)
            shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        variables = {}
        for name in sorted(shapes):
            with refusing("a variable is of a type that no file holds", self._shown, variable=name):
                dtype = find_dtype(types[name].as_datatype_enum)
            shape = tuple(shapes[name])
            variables[name] = Variable(name, dtype, shape, bytes_of(dtype, shape))
        return variables

    def _restore(self, variable: Variable) -> Any:
        with self._in_its_words(variable):
            return self._tensorflow.raw_ops.RestoreV2(
                prefix=self._prefix,
                tensor_names=[variable.name],
                shape_and_slices=[""],
                dtypes=[self._tensorflow.dtypes.as_dtype(variable.dtype.number)],
            )[0].numpy()

    @contextmanager
    def _in_its_words(self, variable: Variable | None = None) -> Iterator[None]:
        # IndexError for a short file and ValueError for a name that is not UTF-8 are TensorFlow's own choice.
        try:
            yield
        except (self._tensorflow.errors.OpError, IndexError, ValueError, RuntimeError) as error:
            facts = {} if variable is None else {"variable": str(variable)}
            raise CheckpointError(
                "TensorFlow cannot read the checkpoint", where=self._shown, found=str(error), **facts
            ) from error


def _find_data(prefix: Path) -> list[Path]:
    pattern = re.compile(re.escape(prefix.name) + r"\.data-[0-9]{5}-of-[0-9]{5}")
    return sorted(file for file in prefix.parent.iterdir() if pattern.fullmatch(file.name))


def import_tensorflow() -> Any:
    """Return TensorFlow, imported without its log lines; raise `MissingExtra` where it is not installed."""
    try:
        with _quiet():
            import tensorflow
    except ImportError as error:
        raise MissingExtra(
            "TensorFlow is not installed",
            found=str(error),
            hint="pip install 'electra-convert[tensorflow]'",
        ) from error
    return tensorflow


# TensorFlow reads these once, while it is imported: errors come as exceptions too, and the note that oneDNN rounds
# differently, which no log level stops, goes away with oneDNN.
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Set the variables that are not set, and remove them again."""
    added = {name: value for name, value in _QUIET.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
