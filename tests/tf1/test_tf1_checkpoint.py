"""The interface over both formats: sets of other people to the last bit, views, pieces, steps, and what changes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import small_variables, write_v1, write_v2
from conftest import all_of, google, other

from electra_convert.errors import CheckpointError, ElectraConvertError, UnsupportedFeature
from electra_convert.tf1.checkpoint import Checkpoint, open_checkpoint
from electra_convert.tf1.crc import crc32c
from electra_convert.tf1.sources import find_source

# What is in `values.npz` for a string is not its value.
STRINGS = {"_CHECKPOINTABLE_OBJECT_GRAPH"}


@pytest.fixture(params=["V1", "V2", "V2 sharded", "V2 big-endian"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path):
    prefix = tmp_path / "model.ckpt-40"
    options = {"V2 sharded": {"shards": 3}, "V2 big-endian": {"byteorder": "big"}}.get(request.param, {})
    write = write_v1 if request.param == "V1" else write_v2
    with open_checkpoint(write(prefix, small_variables(), **options)) as opened:
        yield opened


def path_of(folder: Path) -> Path:
    """Return the newest prefix, whatever a `checkpoint` file says; without one, the archive of the checkpoint."""
    indexes = sorted(folder.glob("*.index"))
    archive = folder / "published.zip"
    return indexes[-1].with_suffix("") if indexes else archive if archive.exists() else folder


@pytest.mark.parametrize("name", all_of("others"))
def test_a_checkpoint_of_other_people_reads_to_the_last_bit(name: str) -> None:
    folder = other(name)
    if not (folder / "values.npz").exists():
        pytest.skip("has no data file")
    values = np.load(folder / "values.npz")
    with open_checkpoint(path_of(folder)) as checkpoint:
        for key in values.files:
            if (variable := key.replace("|", "/")) not in STRINGS:
                found = checkpoint.read(variable)
                assert (found.dtype, found.shape) == (values[key].dtype, values[key].shape)
                assert found.tobytes() == values[key].tobytes()


def test_an_array_is_native_read_only_and_its_own(checkpoint: Checkpoint) -> None:
    for name, expected in small_variables().items():
        array = checkpoint.read(name)
        assert array.dtype.isnative
        assert array.shape == checkpoint.variables[name].shape == expected.shape
        assert array.tobytes() == expected.tobytes()
        assert not array.flags.writeable


def test_a_buffer_is_filled_in_place(checkpoint: Checkpoint) -> None:
    buffer = np.full(200, 7, np.uint8)
    for name, expected in small_variables().items():
        array = checkpoint.read_into(name, buffer[3:])
        assert np.array_equal(array, expected)
        assert array.size == 0 or np.shares_memory(array, buffer)
    assert buffer[:3].tolist() == [7] * 3


@pytest.mark.parametrize("buffer", [np.zeros(95, np.uint8), np.zeros(200, np.int8), np.zeros((2, 100), np.uint8)])
def test_a_buffer_that_does_not_fit_is_an_error_of_the_caller(checkpoint: Checkpoint, buffer: np.ndarray) -> None:
    with pytest.raises(ValueError, match="96 bytes"):
        checkpoint.read_into("electra/layer_0/kernel", buffer)


@pytest.mark.parametrize("size", [1, 16, 17, 96, 1 << 20])
def test_pieces_are_views_of_one_buffer_in_c_order(checkpoint: Checkpoint, size: int) -> None:
    for name, expected in small_variables().items():
        pieces = []
        for piece in checkpoint.chunks(name, size):
            assert piece.ndim == 1
            assert piece.dtype == expected.dtype
            assert piece.nbytes <= max(size, piece.itemsize)
            pieces.append(piece.copy())
        assert b"".join(piece.tobytes() for piece in pieces) == expected.tobytes()


def test_names_are_sorted_and_nothing_is_loaded(checkpoint: Checkpoint) -> None:
    assert list(checkpoint.variables) == sorted(small_variables())
    assert checkpoint.nbytes == sum(array.nbytes for array in small_variables().values())
    with pytest.raises(KeyError):
        checkpoint.read("absent")


def test_a_file_that_changes_during_the_run_is_noticed(checkpoint: Checkpoint) -> None:
    checkpoint.check_unchanged()
    for path in checkpoint.paths():
        os.utime(path, ns=(1, 1))
        with pytest.raises(CheckpointError, match="changed during the run"):
            checkpoint.check_unchanged()


def test_a_file_that_is_replaced_during_the_run_is_noticed(checkpoint: Checkpoint) -> None:
    path = checkpoint.paths()[-1]
    state = path.stat()
    (path.parent / "copy").write_bytes(path.read_bytes())
    os.utime(path.parent / "copy", ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(path.parent / "copy", path)
    with pytest.raises(CheckpointError, match="changed during the run"):
        checkpoint.check_unchanged()


def test_files_are_listed_with_their_checksums() -> None:
    with open_checkpoint(google("default_small")) as checkpoint:
        files = {file.name: file for file in checkpoint.source_files()}
        for path in checkpoint.paths():
            assert files[path.name].nbytes == path.stat().st_size
            expected = None if ".data-" in path.name else crc32c(path.read_bytes())
            assert files[path.name].crc32c == expected
        assert len(files) == 3


@pytest.mark.parametrize(
    ("name", "variables", "step", "codes"),
    [
        ("model.ckpt-40", {"global_step": np.array(40)}, (40, "global_step"), []),
        ("model.ckpt-41", {"global_step": np.array(40)}, (40, "global_step"), ["step"]),
        ("model.ckpt", {"global_step": np.array(40)}, (40, "global_step"), []),
        ("model.ckpt-40", {"x": np.array(1)}, (40, "prefix"), ["global-step"]),
        ("model.ckpt-best", {"x": np.array(1)}, (None, ""), ["global-step"]),
        ("model.ckpt-40", {"global_step": np.array(40.0)}, (40, "prefix"), ["global-step"]),
        ("model.ckpt-40", {"global_step": np.array([40])}, (40, "prefix"), ["global-step"]),
        ("model.ckpt-0", {"global_step": np.array(-1)}, (-1, "global_step"), ["step"]),
    ],
)
@pytest.mark.parametrize("write", [write_v1, write_v2])
def test_the_step_and_where_it_is_from(tmp_path: Path, write, name: str, variables, step, codes: list[str]) -> None:
    with open_checkpoint(write(tmp_path / name, variables)) as checkpoint:
        assert (checkpoint.step, checkpoint.step_source) == step
        assert [notice.code for notice in checkpoint.notices] == codes
        assert all(notice.kind == "note" for notice in checkpoint.notices)


def test_a_string_is_listed_and_not_read() -> None:
    with open_checkpoint(other("savedmodel_tf2_object_graph") / "variables") as checkpoint:
        variable = checkpoint.variables["_CHECKPOINTABLE_OBJECT_GRAPH"]
        assert (variable.dtype.name, variable.nbytes) == ("string", 0)
        with pytest.raises(UnsupportedFeature, match="_CHECKPOINTABLE_OBJECT_GRAPH"):
            checkpoint.read("_CHECKPOINTABLE_OBJECT_GRAPH")


def test_an_archive_is_read_and_its_folder_removed() -> None:
    with open_checkpoint(google("no_meta") / "published.zip") as checkpoint:
        folder = checkpoint.folder
        assert checkpoint.read("electra/embeddings/word_embeddings").shape == (300, 16)
        assert folder.is_dir()
    assert not folder.exists()


def test_opening_loads_no_numpy() -> None:
    code = (
        "import sys; from electra_convert.tf1.checkpoint import open_checkpoint\n"
        "for path in sys.argv[1:]:\n"
        "    with open_checkpoint(path) as checkpoint: assert checkpoint.step == 40\n"
        "assert not {'numpy', 'rich', 'ml_dtypes', 'tensorflow'} & set(sys.modules)"
    )
    paths = [str(google(name)) for name in ("default_small", "v1_format", "partitioned")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_fifo_does_not_hang_the_reader(tmp_path: Path, suffix: str) -> None:
    prefix = write_v2(tmp_path / "x", small_variables())
    target = prefix.with_name("x" + suffix)
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(CheckpointError):
        open_checkpoint(prefix)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_device_or_a_folder_is_no_file(tmp_path: Path, suffix: str) -> None:
    prefix = write_v2(tmp_path / "x", small_variables())
    target = prefix.with_name("x" + suffix)
    target.unlink()
    target.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError):
        open_checkpoint(prefix)
    target.unlink()
    target.mkdir()
    with pytest.raises(CheckpointError):
        open_checkpoint(prefix)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_the_environments_fault(tmp_path: Path) -> None:
    prefix = write_v2(tmp_path / "x", small_variables())
    (tmp_path / "x.index").chmod(stat.S_IWUSR)
    with pytest.raises(ElectraConvertError) as caught:
        open_checkpoint(prefix)
    assert caught.value.exit_code == 4


def test_the_prefix_of_a_set_is_found() -> None:
    with find_source(google("v1_sharded")) as found:
        assert found.source.prefix.name == "model.ckpt-40-?????-of-00003"
