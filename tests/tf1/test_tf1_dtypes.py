"""The table of types agrees with TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest

from electra_convert.tf1.dtypes import DTYPES, dtype_of, find_dtype
from electra_convert.tf1.wire import Malformed


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_names_sizes_and_arrays_are_those_of_tensorflow(dtype) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    theirs = tensorflow.dtypes.as_dtype(dtype.number)
    assert theirs.name == dtype.name
    if dtype.size:
        assert theirs.size == dtype.size
        assert dtype.numpy.itemsize == dtype.size
        if not theirs.is_quantized:
            assert dtype.numpy == theirs.as_numpy_dtype


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES.values() if dtype.size], ids=str)
def test_parts_that_are_swapped_divide_an_element(dtype) -> None:
    assert dtype.size == dtype.part * (2 if dtype.name.startswith("complex") else 1)


@pytest.mark.parametrize("number", [0, -1, 20, 50, 101, 1000])
def test_a_number_that_no_file_holds_is_refused(number: int) -> None:
    with pytest.raises(Malformed, match=f"^{number} "):
        find_dtype(number)


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32"])
def test_an_array_has_the_plain_type_not_the_quantised_one(name: str) -> None:
    assert dtype_of(np.dtype(name)).name == name


def test_a_bfloat16_array_is_known() -> None:
    assert dtype_of(DTYPES[14].numpy).name == "bfloat16"
