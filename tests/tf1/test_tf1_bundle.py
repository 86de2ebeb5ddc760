"""V2 data files: every changed byte, every cut and every missing file is refused, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import change_table, small_variables, write_v2
from conftest import google, other

from electra_convert.errors import CheckpointError, ChecksumError, TruncatedFile
from electra_convert.tf1.bundle import Bundle
from electra_convert.tf1.checkpoint import Checkpoint, open_checkpoint
from electra_convert.tf1.messages import BundleHeader, Version, decode_entry, encode_entry, encode_header


def read_all(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return {name: checkpoint.read(name) for name, variable in checkpoint.variables.items() if variable.dtype.size}


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        (found[name].dtype, found[name].shape, found[name].tobytes()) == (array.dtype, array.shape, array.tobytes())
        for name, array in expected.items()
    )


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_values_come_back(tmp_path: Path, shards: int, byteorder: str) -> None:
    variables = {**small_variables(), "complex": np.array([1 + 2j, 3 - 4j], np.complex64)}
    with open_checkpoint(write_v2(tmp_path / "x-40", variables, shards=shards, byteorder=byteorder)) as checkpoint:
        assert same(read_all(checkpoint), variables)
        assert checkpoint.shards == shards
        assert (checkpoint.step, checkpoint.step_source) == (40, "global_step")
        warned = [notice.code for notice in checkpoint.notices if notice.kind == "warning"]
        assert warned == (["big-endian"] if byteorder == "big" else [])


def test_each_changed_byte_of_the_data_is_found_in_its_variable(tmp_path: Path) -> None:
    variables = small_variables()
    write_v2(tmp_path / "x", variables)
    data = tmp_path / "x.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    index = Bundle(tmp_path / "x", "x")._index
    for name, (part,) in index.extents.items():
        for at in range(part.offset, part.offset + part.size):
            content[at] ^= 1
            data.write_bytes(content)
            with pytest.raises(ChecksumError) as caught, open_checkpoint(tmp_path / "x") as checkpoint:
                checkpoint.read(name)
            error = caught.value
            assert error.where == f"{data}, byte {part.offset}"
            assert str(error.facts["variable"]).startswith(f"{name} {variables[name].dtype} [")
            assert str(error.expected).endswith("from x.index")
            content[at] ^= 1


def test_the_data_cut_anywhere_is_refused_from_its_size_alone(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", small_variables())
    data = tmp_path / "x.data-00000-of-00001"
    content = data.read_bytes()
    for size in range(1, len(content)):
        data.write_bytes(content[:size])
        with pytest.raises(TruncatedFile) as caught:
            open_checkpoint(tmp_path / "x")
        assert f"{size} bytes" in str(caught.value.found)
        assert f"at least {len(content)} bytes" in str(caught.value.expected)


def test_bytes_after_the_last_variable_are_a_note(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", small_variables())
    with (tmp_path / "x.data-00000-of-00001").open("ab") as file:
        file.write(b"ab")
    with open_checkpoint(tmp_path / "x") as checkpoint:
        assert [(notice.kind, notice.code) for notice in checkpoint.notices] == [("note", "trailing-bytes")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<html>", "web page"),
        (bytes(100), "zero"),
        (b"abc", "3 bytes"),
    ],
)
def test_a_data_file_that_is_none_is_called_by_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    write_v2(tmp_path / "x", small_variables())
    (tmp_path / "x.data-00000-of-00001").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "x")
    assert what in str(caught.value.found)
    assert caught.value.hint


def test_a_hole_of_the_right_size_is_told_from_a_change(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", small_variables())
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(ChecksumError) as caught:
        open_checkpoint(tmp_path / "x")
    assert "global_step" in str(caught.value.facts["variable"])
    assert "zero bytes" in str(caught.value.found)
    assert "hole" in str(caught.value.hint)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", small_variables(), shards=3)
    (tmp_path / "x.data-00000-of-00003").unlink()
    (tmp_path / "x.data-00002-of-00003").unlink()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "x")
    assert caught.value.found == [f"x.data-0000{shard}-of-00003: not there" for shard in (0, 2)]


def test_a_bundle_that_claims_99999_files_names_some(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", {"a": np.ones(1, np.float32)})
    header = encode_header(BundleHeader(99_999, 0, Version(1)))
    change_table(tmp_path / "x.index", lambda entries: {**entries, b"": header})
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "x")
    assert len(caught.value.found or "") < 100


def test_a_checkpoint_without_data_opens_if_data_is_optional() -> None:
    with open_checkpoint(other("electra_small_released"), data="optional") as checkpoint:
        assert len(checkpoint.variables) == 404
        assert len(checkpoint.missing) == 1
        assert "at least 92491512 bytes" in checkpoint.missing[0]
        assert (checkpoint.step, checkpoint.step_source) == (None, "")
        with pytest.raises(CheckpointError) as caught:
            checkpoint.read("electra/embeddings/word_embeddings")
        assert caught.value.found == list(checkpoint.missing)


def test_the_absent_crc_of_an_entry_is_a_wrong_one(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", {"a": np.ones(3, np.float32)})

    def without_crc(entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return {**entries, b"a": encode_entry(decode_entry(entries[b"a"])._replace(crc=0))}

    change_table(tmp_path / "x.index", without_crc)
    with open_checkpoint(tmp_path / "x") as checkpoint, pytest.raises(ChecksumError):
        checkpoint.read("a")


def test_the_data_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    for name, value in (("x", 1), ("y", 2)):
        write_v2(tmp_path / name, {"a": np.full(3, value, np.float32)})
    (tmp_path / "y.data-00000-of-00001").replace(tmp_path / "x.data-00000-of-00001")
    with open_checkpoint(tmp_path / "x") as checkpoint, pytest.raises(ChecksumError):
        checkpoint.read("a")


@pytest.mark.parametrize("name", ["sharded", "partitioned", "dtype_float64"])
def test_copies_of_one_checkpoint_have_its_values(name: str) -> None:
    with open_checkpoint(google("no_meta") / "published.zip") as plain, open_checkpoint(google(name)) as copy:
        assert plain.variables.keys() == copy.variables.keys()
        for variable in plain.variables:
            assert np.array_equal(plain.read(variable), copy.read(variable))
