"""Our writer against TensorFlow: byte-identical to SaveV2, and everything it can write is read back by TensorFlow."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from builders import small_variables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from electra_convert.tf1.checkpoint import open_checkpoint
from electra_convert.tf1.crc import crc32c
from electra_convert.tf1.dtypes import DTYPES
from electra_convert.tf1.files import SourceHandle
from electra_convert.tf1.messages import WHOLE
from electra_convert.tf1.table import Table
from electra_convert.tf1.write import BundleWriter

NAMES = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=12)
TYPES = [dtype.numpy for dtype in DTYPES.values() if dtype.size and dtype.name == dtype.array and dtype.number < 24]


@st.composite
def any_array(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    content = draw(st.binary(min_size=size, max_size=size))
    if dtype == np.bool_:
        content = bytes(byte & 1 for byte in content)
    return np.frombuffer(content, dtype).reshape(shape)


@pytest.fixture(scope="module")
def tensorflow():
    return pytest.importorskip("tensorflow")


def save(tensorflow, prefix: Path, variables: dict[str, np.ndarray]) -> None:
    tensorflow.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tensorflow.constant(array) for array in variables.values()],
    )


def restore(tensorflow, prefix: Path, name: str, dtype: np.dtype) -> np.ndarray:
    return tensorflow.raw_ops.RestoreV2(
        prefix=str(prefix), tensor_names=[name], shape_and_slices=[""], dtypes=[tensorflow.dtypes.as_dtype(dtype)]
    )[0].numpy()


def equal(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


@given(variables=st.dictionaries(NAMES, any_array(), min_size=1, max_size=6))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_files_are_those_of_tensorflow_byte_for_byte(tensorflow, tmp_path_factory, variables) -> None:
    folder = tmp_path_factory.mktemp("bundle")
    save(tensorflow, folder / "theirs", variables)
    with BundleWriter(folder / "ours") as bundle:
        for name, array in variables.items():
            bundle.add(name, array)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (folder / f"ours{suffix}").read_bytes() == (folder / f"theirs{suffix}").read_bytes()
    with open_checkpoint(folder / "theirs") as checkpoint:
        assert all(equal(checkpoint.read(name), array) for name, array in variables.items())


def test_an_index_of_two_blocks_is_that_of_tensorflow(tensorflow, tmp_path: Path) -> None:
    variables = {f"electra/encoder/layer_{i:05d}/attention/kernel": np.float32([i]) for i in range(8000)}
    save(tensorflow, tmp_path / "theirs", variables)
    with BundleWriter(tmp_path / "ours") as bundle:
        for name, array in variables.items():
            bundle.add(name, array)
    assert (tmp_path / "ours.index").read_bytes() == (tmp_path / "theirs.index").read_bytes()
    assert (tmp_path / "ours.index").stat().st_size > 262144


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("block_size", [64, 512])
@pytest.mark.parametrize(("shards", "byteorder"), [(1, "little"), (3, "little"), (2, "big")])
def test_tensorflow_reads_what_its_own_writer_never_makes(
    tensorflow, tmp_path: Path, block_size: int, shards: int, byteorder, compress: bool
) -> None:
    cramjam = pytest.importorskip("cramjam")
    pack = (lambda data: bytes(cramjam.snappy.compress_raw(data))) if compress else None
    prefix, variables = tmp_path / "x", small_variables()
    with BundleWriter(prefix, shards=shards, byteorder=byteorder, block_size=block_size, compress=pack) as bundle:
        for number, (name, array) in enumerate(variables.items()):
            bundle.add(name, array, shard=number % shards)
    for name, array in variables.items():
        assert equal(restore(tensorflow, prefix, name, array.dtype), array)


def test_tensorflow_reads_our_slices(tensorflow, tmp_path: Path) -> None:
    table = np.arange(60, dtype=np.float32).reshape(10, 6)
    with BundleWriter(tmp_path / "x", shards=2) as bundle:
        bundle.add_slice("emb", (10, 6), ((0, 4), (0, WHOLE)), table[:4])
        bundle.add_slice("emb", (10, 6), ((4, 6), (0, 2)), table[4:, :2], shard=1)
        bundle.add_slice("emb", (10, 6), ((4, 6), (2, 4)), table[4:, 2:])
    assert equal(restore(tensorflow, tmp_path / "x", "emb", table.dtype), table)
    with open_checkpoint(tmp_path / "x") as checkpoint:
        assert equal(checkpoint.read("emb"), table)


def test_pieces_make_the_same_files(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    with BundleWriter(tmp_path / "whole") as bundle:
        bundle.add("a", array)
    with BundleWriter(tmp_path / "pieces") as bundle:
        bundle.add_chunks("a", DTYPES[1], array.shape, (array.ravel()[at : at + 7] for at in range(0, 1000, 7)))
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"whole{suffix}").read_bytes() == (tmp_path / f"pieces{suffix}").read_bytes()


def test_a_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3996 bytes"), BundleWriter(tmp_path / "x") as bundle:
        bundle.add_chunks("a", DTYPES[1], (1000,), [np.zeros(999, np.float32)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("nth", [1, 2])
def test_a_disk_that_fills_up_at_the_end_leaves_nothing(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is written last; half of one would look like a checkpoint."""
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")

    bundle = BundleWriter(tmp_path / "x")
    bundle.add("a", np.zeros(1000, np.float32))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        bundle.finish()
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_there_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "x.index").write_bytes(b"mine")
    with pytest.raises(FileExistsError), BundleWriter(tmp_path / "x") as bundle:
        bundle.add("a", np.zeros(1))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"x.index": b"mine"}


def test_the_checksum_of_the_bytes_is_given_back(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.float32)
    with BundleWriter(tmp_path / "x") as bundle:
        assert bundle.add("a", array) == crc32c(array)
        assert bundle.add_chunks("b", DTYPES[1], (0,), []) == 0


def test_many_variables_make_many_blocks_that_tensorflow_reads(tensorflow, tmp_path: Path) -> None:
    """Names of 60 bytes and 20,000 entries: an index of several blocks, as no ELECTRA has."""
    variables = {f"electra/encoder/layer_{i:05d}/attention/output/dense/kernel": np.float32([i]) for i in range(20000)}
    with BundleWriter(tmp_path / "x") as bundle:
        for name, array in variables.items():
            bundle.add(name, array)
    reader = tensorflow.train.load_checkpoint(str(tmp_path / "x"))
    assert reader.get_variable_to_shape_map() == {name: [1] for name in variables}
    for name in list(variables)[::997]:
        assert equal(reader.get_tensor(name), variables[name])
    table = Table(SourceHandle(tmp_path / "x.index"))
    assert len(table.handles) > 2


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x.data-00001-of-00002").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        BundleWriter(tmp_path / "x", shards=2)
    assert [file.name for file in tmp_path.iterdir()] == ["x.data-00001-of-00002"]


def test_a_name_is_written_once(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "x") as bundle:
        bundle.add("a", np.zeros(1))
        with pytest.raises(ValueError, match="name of its own"):
            bundle.add("a", np.zeros(1))
