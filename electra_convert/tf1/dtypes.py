"""TensorFlow's DataType numbers, their names, their bytes an element, and the NumPy types that hold them.

The numbers are those of tensorflow/core/framework/types.proto; 101 to 131 ("_REF") never stand in a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from electra_convert.tf1.wire import Malformed

if TYPE_CHECKING:
    import numpy as np


class DType(NamedTuple):
    """The type of a variable's elements; `size` is bytes an element, 0 where elements differ (strings)."""

    number: int
    name: str
    size: int
    array: str
    """The NumPy name of the type that holds an element; quantised integers are held as plain ones."""
    part: int
    """Bytes that a machine of the other byte order stores reversed; complex numbers have two such parts."""

    def __str__(self) -> str:
        return self.name

    @property
    def numpy(self) -> np.dtype:
        """The NumPy type, in native byte order; bfloat16 and the 8-bit floats are those of `ml_dtypes`."""
        import numpy as np

        if self.array in _FROM_ML_DTYPES:
            import ml_dtypes

            found: np.dtype = np.dtype(getattr(ml_dtypes, self.array))
            return found
        return np.dtype(self.array)


_FROM_ML_DTYPES = {"bfloat16", "float8_e5m2", "float8_e4m3fn"}

DTYPES = {
    number: DType(number, name, size, array, part)
    for number, name, size, array, part in (
        (1, "float32", 4, "float32", 4),
        (2, "float64", 8, "float64", 8),
        (3, "int32", 4, "int32", 4),
        (4, "uint8", 1, "uint8", 1),
        (5, "int16", 2, "int16", 2),
        (6, "int8", 1, "int8", 1),
        (7, "string", 0, "object", 0),
        (8, "complex64", 8, "complex64", 4),
        (9, "int64", 8, "int64", 8),
        (10, "bool", 1, "bool", 1),
        (11, "qint8", 1, "int8", 1),
        (12, "quint8", 1, "uint8", 1),
        (13, "qint32", 4, "int32", 4),
        (14, "bfloat16", 2, "bfloat16", 2),
        (15, "qint16", 2, "int16", 2),
        (16, "quint16", 2, "uint16", 2),
        (17, "uint16", 2, "uint16", 2),
        (18, "complex128", 16, "complex128", 8),
        (19, "float16", 2, "float16", 2),
        (21, "variant", 0, "object", 0),
        (22, "uint32", 4, "uint32", 4),
        (23, "uint64", 8, "uint64", 8),
        (24, "float8_e5m2", 1, "float8_e5m2", 1),
        (25, "float8_e4m3fn", 1, "float8_e4m3fn", 1),
    )
}

# Where a plain and a quantised type are held alike, an array is of the plain one.
_BY_ARRAY = {dtype.array: dtype for dtype in DTYPES.values() if dtype.name == dtype.array}


def find_dtype(number: int) -> DType:
    """Return the type with this number; `Malformed` names a number that no file may hold."""
    dtype = DTYPES.get(number)
    if dtype is None:
        raise Malformed(f"{number} is no type of a stored variable")
    return dtype


def dtype_of(array: np.dtype) -> DType:
    """Return the type that stores arrays of this NumPy type; `KeyError` if TensorFlow has none."""
    return _BY_ARRAY[array.name]
