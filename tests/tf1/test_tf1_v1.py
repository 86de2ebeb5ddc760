"""V1 files: values from blocks held and streamed, slices from several files, and each kind of damage refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import (
    change_table,
    encode_metadata,
    encode_value,
    small_variables,
    v1_entries,
    whole,
    write_table,
    write_v1,
    write_v1_shard,
)
from conftest import google
from test_tf1_bundle import read_all, same

from electra_convert.errors import CheckpointError, ChecksumError, SliceError
from electra_convert.tf1.checkpoint import open_checkpoint
from electra_convert.tf1.dtypes import DTYPES
from electra_convert.tf1.messages import WHOLE
from electra_convert.tf1.slices import encode_key
from electra_convert.tf1.wire import write_bytes, write_number


@pytest.mark.parametrize("block_size", [1, 256, 1 << 18])
def test_values_come_back(tmp_path: Path, block_size: int) -> None:
    variables = {**small_variables(), "complex": np.array([1 + 2j, 3 - 4j])}
    with open_checkpoint(write_v1(tmp_path / "model.ckpt-40", variables, block_size)) as checkpoint:
        assert checkpoint.format == "V1"
        assert (checkpoint.step, checkpoint.step_source) == (40, "global_step")
        assert same(read_all(checkpoint), variables)


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A file with a float32 and a float16 block beyond 1 MiB, small variables around them."""
    values = np.random.default_rng(0).standard_normal(400_000)
    variables = {
        **small_variables(),
        "m/float": values.astype(np.float32).reshape(800, 500),
        "m/half": values.astype("f2"),
    }
    return write_v1(tmp_path / "model.ckpt-40", variables), variables


def test_a_large_block_is_streamed(large: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, variables = large
    with open_checkpoint(path) as checkpoint:
        assert same(read_all(checkpoint), variables)
        for size in (999, 4096, 1 << 20, 1 << 24):
            pieces = [piece.copy() for piece in checkpoint.chunks("m/float", size)]
            assert np.array_equal(np.concatenate(pieces), variables["m/float"].ravel())


def test_a_change_anywhere_in_a_streamed_block_is_found(large: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, variables = large
    content = bytearray(path.read_bytes())
    begin = content.index(variables["m/float"].tobytes())
    end = begin + variables["m/float"].nbytes
    for at in (begin - 1, begin, begin + 5000, end - 1, end, end + 8, end + 12):
        content[at] ^= 1
        path.write_bytes(content)
        with open_checkpoint(path) as checkpoint, pytest.raises(CheckpointError):
            for _ in checkpoint.chunks("m/float"):
                pass
        content[at] ^= 1
    content[begin] ^= 1
    path.write_bytes(content)
    with open_checkpoint(path) as checkpoint, pytest.raises(ChecksumError):
        checkpoint.read("m/float")


def test_a_large_value_beside_others_in_one_block_is_streamed(tmp_path: Path) -> None:
    variables = {name: np.full(300_000, number, np.float32) for number, name in enumerate("abc")}
    path = write_v1(tmp_path / "model.ckpt-40", variables, block_size=1 << 23)
    with open_checkpoint(path) as checkpoint:
        assert same(read_all(checkpoint), variables)
    content = bytearray(path.read_bytes())
    content[-200] ^= 1  # within the value of c: all stand in one block
    with open_checkpoint(path) as checkpoint:
        path.write_bytes(content)
        with pytest.raises(ChecksumError) as caught:
            checkpoint.read("b")
    assert caught.value.facts["variable"] == "b float32 [300000]"


KEY = encode_key(b"a", whole((4,)))
ARRAY = np.arange(4, dtype=np.float32)


def changed(**changes: object):
    """Return a change of the value `a`, and of what the metadata says of it."""

    def change(entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
        about = {"name": "a", "dtype": DTYPES[1], "shape": (4,), "slices": [whole((4,))], **changes}
        value = about.pop("value", entries[KEY])
        metadata = encode_metadata([tuple(about.values())])  # type: ignore[list-item]
        return {b"": metadata, **({} if value is None else {KEY: value})}  # type: ignore[dict-item]

    return change


def saved(values: bytes, name: bytes = b"a") -> bytes:
    return write_bytes(2, write_bytes(1, name) + write_bytes(2, write_bytes(1, b"")) + write_bytes(3, values))


BROKEN = {
    "no value": changed(value=None),
    "too few values": changed(value=encode_value("a", whole((4,)), ARRAY[:3])),
    "too many values": changed(value=encode_value("a", whole((4,)), np.zeros(5, np.float32))),
    "none": changed(value=saved(b"")),
    "another type's field": changed(value=encode_value("a", whole((4,)), ARRAY.astype(np.float64))),
    "tensor_content": changed(value=saved(write_bytes(4, ARRAY.tobytes()))),
    "another name inside": changed(value=saved(write_bytes(5, ARRAY.tobytes()), b"b")),
    "another slice inside": changed(value=encode_value("a", ((1, 3),), ARRAY)),
    "dimension of 2^62": changed(shape=(2**62, 4)),
    "dimension -1": changed(shape=(-1,)),
    "300 dimensions": changed(shape=(1,) * 300),
    "type 99": changed(dtype=type("Other", (), {"number": 99})),
    "type 0": changed(dtype=type("Other", (), {"number": 0})),
    "larger shape": changed(shape=(8,)),
    "640 MB of shape": changed(shape=(160_000_000,)),
    "another type": changed(dtype=DTYPES[2]),
    "a type that V1 cannot hold": changed(dtype=DTYPES[14]),
    "no slices": changed(slices=[]),
    "a slice twice": changed(slices=[whole((4,)), whole((4,))]),
    "a part of the whole": changed(slices=[((0, 3),)]),
    "a slice outside": changed(slices=[((1, 4),)]),
    "a name that is not UTF-8": lambda entries: {b"": entries[b""].replace(b"\n\1a", b"\n\1\xff"), KEY: entries[KEY]},
    "no metadata": lambda entries: {KEY: entries[KEY]},
    "metadata of another kind": lambda entries: {b"": entries[KEY], KEY: entries[KEY]},
    "no variables": lambda entries: {b"": encode_metadata([])},
    "an unknown field": lambda entries: {**entries, b"": entries[b""] + write_number(9, 1)},
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_metadata_and_values_are_refused(tmp_path: Path, case: str) -> None:
    path = write_v1(tmp_path / "model.ckpt-40", {"a": ARRAY})
    change_table(path, BROKEN[case])
    with pytest.raises(CheckpointError) as caught, open_checkpoint(path) as checkpoint:
        checkpoint.read("a")
    assert str(path) in str(caught.value)


def test_unpacked_floats_are_read(tmp_path: Path) -> None:
    path = write_v1(tmp_path / "model.ckpt-40", {"a": ARRAY})
    unpacked = b"".join(b"\x2d" + number.tobytes() for number in ARRAY)
    change_table(path, changed(value=saved(unpacked)))
    with open_checkpoint(path) as checkpoint:
        assert np.array_equal(checkpoint.read("a"), ARRAY)


WHOLE_EMB = np.arange(40, dtype=np.float32).reshape(10, 4)
PARTS = [("emb", ((0, 3), (0, WHOLE)), WHOLE_EMB[:3]), ("emb", ((3, 7), (0, 2)), WHOLE_EMB[3:, :2])]
LAST = ("emb", ((3, 7), (2, 2)), WHOLE_EMB[3:, 2:])


def shards(folder: Path, *contents: list) -> Path:
    for number, slices in enumerate(contents):
        path = folder / f"model.ckpt-40-{number:05d}-of-{len(contents):05d}"
        write_v1_shard(path, {"emb": (10, 4), "x": (2,)}, slices)
    return folder / "model.ckpt-40"


X = ("x", whole((2,)), np.ones(2, np.float32))


def test_slices_are_joined_over_all_files(tmp_path: Path) -> None:
    with open_checkpoint(shards(tmp_path, [PARTS[0]], [X, PARTS[1]], [LAST])) as checkpoint:
        assert checkpoint.shards == 3
        assert checkpoint.variables["emb"].slices == 3
        assert np.array_equal(checkpoint.read("emb"), WHOLE_EMB)
        assert np.array_equal(np.concatenate([p.copy() for p in checkpoint.chunks("emb", 24)]), WHOLE_EMB.ravel())


@pytest.mark.parametrize("contents", [([PARTS[0]], [X, PARTS[1]]), ([PARTS[0], LAST], [*PARTS, X])])
def test_a_slice_that_is_absent_or_there_twice_is_refused_at_once(tmp_path: Path, contents: tuple) -> None:
    with pytest.raises(SliceError, match="emb"):
        open_checkpoint(shards(tmp_path, *contents))


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    prefix = shards(tmp_path, [*PARTS, LAST], [X])
    (tmp_path / "model.ckpt-40-00001-of-00002").unlink()
    with pytest.raises(CheckpointError, match="00001-of-00002"):
        open_checkpoint(prefix)


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    prefix = shards(tmp_path, [*PARTS, LAST], [X])
    write_v1_shard(tmp_path / "model.ckpt-40-00001-of-00002", {"emb": (10, 5)}, [PARTS[0]])
    with pytest.raises(CheckpointError, match="contradict"):
        open_checkpoint(prefix)


def test_snappy_blocks_are_read(tmp_path: Path) -> None:
    cramjam = pytest.importorskip("cramjam")
    variables = {**small_variables(), "large": np.zeros(400_000, np.float32)}
    entries = sorted(v1_entries(variables).items())
    path = write_table(tmp_path / "x", entries, compress=lambda data: bytes(cramjam.snappy.compress_raw(data)))
    with open_checkpoint(path) as checkpoint:
        assert same(read_all(checkpoint), variables)


@pytest.mark.parametrize("name", ["v1_format", "v1_sharded"])
def test_v1_copies_have_the_values_of_the_v2_checkpoint(name: str) -> None:
    with open_checkpoint(google("no_meta") / "published.zip") as plain, open_checkpoint(google(name)) as copy:
        assert same(read_all(copy), read_all(plain))


@pytest.mark.parametrize("dtype", [1, 3, 7])
def test_a_shape_that_the_file_cannot_bear_out_is_refused_before_memory_is_asked_for(
    tmp_path: Path, dtype: int
) -> None:
    path = write_v1(tmp_path / "model.ckpt-40", {"a": ARRAY})
    change_table(path, changed(shape=(160_000_000,), dtype=DTYPES[dtype]))
    if DTYPES[dtype].size:
        with pytest.raises(CheckpointError, match="larger than the files"):
            open_checkpoint(path)
    else:
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.variables["a"].nbytes == 0
