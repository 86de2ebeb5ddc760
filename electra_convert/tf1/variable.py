"""What a checkpoint says of a variable before any of its values are read."""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

from electra_convert.errors import CheckpointError
from electra_convert.tf1.dtypes import DType
from electra_convert.tf1.messages import Shape

DataMode = Literal["required", "optional"]
"""Whether a checkpoint opens without its data files: `optional` lists what is missing instead of refusing."""

# The longest name in a released checkpoint has 106 bytes; a hostile index may hold names of 64 KB.
LONGEST_NAME = 1024

NO_VARIABLES = "nothing was saved in it; pass another checkpoint of the training"


class Variable(NamedTuple):
    """A named tensor: `nbytes` of values (0 for strings), in as many `slices` (1 unless it is partitioned)."""

    name: str
    dtype: DType
    shape: Shape
    nbytes: int
    slices: int = 1

    def __str__(self) -> str:
        """Return the variable as messages name it.

        >>> from electra_convert.tf1.dtypes import DTYPES
        >>> str(Variable("electra/embeddings/word_embeddings", DTYPES[1], (300, 16), 19200))
        'electra/embeddings/word_embeddings float32 [300, 16]'
        """
        return f"{self.name} {self.dtype} {list(self.shape)}"


def bytes_of(dtype: DType, shape: Shape) -> int:
    """Return how many bytes the values of a variable have; 0 for strings."""
    return prod(shape) * dtype.size


def decode_name(key: bytes, where: str) -> str:
    """Return the name that a checkpoint stores as these bytes; refuse one that cannot be a variable's."""
    shown = key[: LONGEST_NAME + 1].decode("utf-8", "surrogateescape")
    if not 0 < len(key) <= LONGEST_NAME:
        found = f"{len(key)} bytes"
        raise CheckpointError(
            "the name of a variable is too long or empty",
            where=where,
            variable=shown,
            found=found,
            expected=f"1 to {LONGEST_NAME} bytes",
        )
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(
            "the name of a variable is not UTF-8", where=where, variable=shown, found=f"byte 0x{key[error.start]:02x}"
        ) from error
