"""The file is the library's own, byte for byte; what is not as written is noticed; memory stays small."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_convert.errors import EnvironmentFailure, FolderError, OutputError
from electra_convert.following import BUFFERS, Follower
from electra_convert.hf import weights as weights_module
from electra_convert.hf.header import DTYPES, TensorSpec, encode_header, file_order, read_header
from electra_convert.hf.weights import (
    PIECE,
    Pieces,
    WrittenWeights,
    open_weights,
    read_again,
    synced,
    weights_nbytes,
    write_weights,
)
from electra_convert.progress import Progress, no_progress

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")

Arrays = Mapping[str, np.ndarray[Any, Any]]


def specs(arrays: Arrays) -> list[TensorSpec]:
    return [TensorSpec(name, array.dtype.name, array.shape) for name, array in arrays.items()]


def whole(arrays: Arrays) -> Any:
    return lambda tensor: iter([arrays[tensor.name]])


def write(path: Path, tensors: list[TensorSpec], pieces: Pieces, progress: Progress = no_progress) -> WrittenWeights:
    with Follower() as follower:
        return write_weights(path, tensors, pieces, follower, progress)


def library_bytes(arrays: Arrays) -> bytes:
    # Contiguous: `safetensors.numpy` 0.8.0 writes other arrays wrongly.
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save(contiguous, metadata={"format": "pt"}))


def some_arrays() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return {
        "electra.encoder.layer.10.x": random.normal(size=(3, 5)).astype(np.float32),
        "electra.encoder.layer.2.x": random.normal(size=(4,)).astype(np.float32),
        "electra.A": random.normal(size=(2, 3)).astype(ml_dtypes.bfloat16),
        "electra.a": random.normal(size=(2, 3)).astype(np.float16),
        "_": np.ones(1, np.float32),
        "B": np.ones(2, np.float32),
        "a": np.ones(3, np.float32),
        "double": random.normal(size=(1, 2, 2)),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        'große\n"\\\x01\x7f': np.ones(1, np.float32),
    }


class TestWriting:
    def test_the_bytes_are_those_of_the_numpy_writer(self, tmp_path: Path) -> None:
        arrays = some_arrays()
        written = write(tmp_path / "w", specs(arrays), whole(arrays))
        data = (tmp_path / "w").read_bytes()
        assert data == library_bytes(arrays)
        assert written.nbytes == len(data) == weights_nbytes(specs(arrays))
        assert written.crc32c == google_crc32c.value(data)
        assert written.tensors == {name: google_crc32c.value(array.tobytes()) for name, array in arrays.items()}

    def test_the_bytes_are_those_of_the_torch_writer(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from safetensors.torch import save_file

        tensors = {
            "b": torch.randn(5, 3),
            "a.half": torch.randn(7).half(),
            "a.brain": torch.randn(2, 2).bfloat16(),
            "c": torch.tensor(1.0),
        }
        save_file(tensors, tmp_path / "library", metadata={"format": "pt"})
        arrays = {
            name: (t.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if t.dtype == torch.bfloat16 else t.numpy())
            for name, t in tensors.items()
        }
        write(tmp_path / "ours", specs(arrays), whole(arrays))
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()

    def test_a_small_file_looks_like_this(self, tmp_path: Path) -> None:
        write(tmp_path / "w", [TensorSpec("x", "float32", (1,))], lambda tensor: [np.ones(1, np.float32)])
        assert (tmp_path / "w").read_bytes() == (
            b"\x58\0\0\0\0\0\0\0"
            b'{"__metadata__":{"format":"pt"},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   '
            b"\x00\x00\x80\x3f"
        )

    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__"),
            st.tuples(st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 5), max_size=4)),
            max_size=6,
        )
    )
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_names_shapes_and_types_give_the_librarys_bytes(
        self, tmp_path: Path, wanted: dict[str, tuple[str, list[int]]]
    ) -> None:
        random = np.random.default_rng(1)
        arrays = {}
        for name, (dtype, shape) in wanted.items():
            kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
            size = math.prod(shape) * kind.itemsize
            data = random.integers(0, 2 if dtype == "bool" else 256, size, np.uint8)
            arrays[name] = data.view(kind).reshape(shape)
        path = tmp_path / "w"
        path.unlink(missing_ok=True)
        written = write(path, specs(arrays), whole(arrays))
        assert path.read_bytes() == library_bytes(arrays)
        read_again(path, specs(arrays), written)
        with open_weights(path) as stored:
            assert dict(stored.tensors) == {tensor.name: tensor for tensor in specs(arrays)}
            for name, array in arrays.items():
                assert stored.read(name).tobytes() == array.tobytes()

    def test_pieces_of_any_size_layout_and_byte_order_give_the_same_bytes(self, tmp_path: Path) -> None:
        kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
        expected = {"x": np.ascontiguousarray(kernel.T)}
        ways = {
            "transposed": [kernel.T],
            "rows": list(kernel.T),
            "one by one": [np.array(value) for value in kernel.T.flat],
            "big-endian": [kernel.T.astype(">f4")],
            "bytes": [expected["x"].reshape(-1).view(np.uint8)],
            "with empty ones": [kernel.T[:0], kernel.T[:1], kernel.T[:0], kernel.T[1:]],
        }
        for name, pieces in ways.items():
            write(tmp_path / name, specs(expected), lambda tensor, pieces=pieces: pieces)
            assert (tmp_path / name).read_bytes() == library_bytes(expected), name

    def test_buffers_in_turn_are_written_and_compared_before_one_is_needed_again(self, tmp_path: Path) -> None:
        turns = itertools.cycle([np.empty(PIECE // 4, np.float32) for _ in range(BUFFERS)])
        values = np.repeat(np.arange(40, dtype=np.float32), PIECE // 4)

        def pieces(tensor: TensorSpec) -> Iterator[np.ndarray[Any, Any]]:
            for start in range(0, values.size, PIECE // 4):
                buffer = next(turns)
                buffer[:] = values[start]
                yield buffer

        write(tmp_path / "w", [TensorSpec("x", "float32", values.shape)], pieces)
        with open_weights(tmp_path / "w") as stored:
            assert np.array_equal(stored.read("x"), values)

    def test_tensors_are_asked_for_in_file_order(self, tmp_path: Path) -> None:
        arrays, asked = some_arrays(), []

        def pieces(tensor: TensorSpec) -> Iterator[np.ndarray[Any, Any]]:
            asked.append(tensor.name)
            yield arrays[tensor.name]

        write(tmp_path / "w", specs(arrays), pieces)
        assert asked == [tensor.name for tensor in file_order(specs(arrays))]

    @pytest.mark.parametrize("count", [0, 3, 5, 400])
    def test_too_few_or_too_many_values_are_a_bug(self, tmp_path: Path, count: int) -> None:
        with pytest.raises(ValueError, match="x has 16 bytes, but its pieces have"):
            write(tmp_path / "w", [TensorSpec("x", "float32", (4,))], lambda tensor: [np.zeros(count, np.float32)])

    def test_values_of_another_type_are_a_bug(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="x is float16, but a piece of it is bfloat16"):
            write(tmp_path / "w", [TensorSpec("x", "float16", (1,))], lambda tensor: [np.zeros(1, ml_dtypes.bfloat16)])

    def test_equal_names_are_a_bug(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="same name"):
            write(tmp_path / "w", [TensorSpec("x", "float32", (1,))] * 2, lambda tensor: [])

    def test_an_existing_file_is_not_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "w").write_text("mine")
        with pytest.raises(OutputError):
            write(tmp_path / "w", [], lambda tensor: [])
        assert (tmp_path / "w").read_text() == "mine"

    def test_progress_reaches_the_total(self, tmp_path: Path) -> None:
        arrays, seen = some_arrays(), []
        total = weights_nbytes(specs(arrays))
        written = write(tmp_path / "w", specs(arrays), whole(arrays), lambda *state: seen.append(state))
        assert seen[-1] == (total, total, "writing")
        read_again(tmp_path / "w", specs(arrays), written, lambda *state: seen.append(state))
        assert seen[-1] == (total, total, "reading back")

    def test_memory_does_not_grow_with_the_tensor(self, tmp_path: Path) -> None:
        program = textwrap.dedent(
            """
            import resource, sys
            from pathlib import Path
            import numpy as np, safetensors
            from electra_convert.following import Follower
            from electra_convert.hf.weights import TensorSpec, open_weights, read_again, write_weights
            tensors = [TensorSpec("x", "float32", (40 << 18,))]
            piece = np.ones(1 << 18, np.float32)
            pieces = lambda tensor: (piece for _ in range(40))
            small = [TensorSpec("x", "float32", (1 << 18,))]
            folder = Path(sys.argv[1])
            with Follower() as follower:
                written = write_weights(folder / "small", small, lambda tensor: [piece], follower)
                read_again(folder / "small", small, written)
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                written = write_weights(folder / "w", tensors, pieces, follower)
                read_again(folder / "w", tensors, written)
            with open_weights(Path(sys.argv[1]) / "w") as stored:
                for chunk in stored.chunks("x"): pass
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            """
        )
        if not sys.platform.startswith("linux"):
            pytest.skip("ru_maxrss is in kilobytes on Linux only")
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) < 8 << 10


class TestFullDisk:
    PROGRAM = textwrap.dedent(
        """
        import os, resource, sys
        from pathlib import Path
        import numpy as np
        from electra_convert.atomic import staged_folder
        from electra_convert.errors import OutputError
        from electra_convert.following import Follower
        from electra_convert.hf.weights import TensorSpec, write_weights
        if sys.argv[2] == "write":
            del os.posix_fallocate
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        tensors = [TensorSpec("x", "float32", (50_000,))]
        try:
            with staged_folder(Path(sys.argv[1]) / "out") as staging, Follower() as follower:
                write_weights(staging / "w", tensors, lambda tensor: np.ones((50, 1000), "f4"), follower)
        except OutputError as error:
            print(error.exit_code, error.expected, error.found)
        print(os.listdir(sys.argv[1]))
        """
    )

    @posix
    @pytest.mark.parametrize("when", ["reserve", "write"])
    def test_a_file_that_may_not_grow_is_refused_with_its_size_and_leaves_nothing(
        self, tmp_path: Path, when: str
    ) -> None:
        if not hasattr(os, "posix_fallocate") and when == "reserve":
            pytest.skip("no posix_fallocate")
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM, str(tmp_path), when], capture_output=True, text=True, check=True
        )
        first, second = done.stdout.splitlines()
        expected = weights_nbytes([TensorSpec("x", "float32", (50_000,))])
        assert first.startswith(f"4 {expected} bytes for this file ")
        assert "bytes free" in first
        assert second == "[]"

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    def test_a_failing_sync_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        def fail(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fail)
        write(tmp_path / "w", [], lambda tensor: [])
        with pytest.raises(OutputError), synced(tmp_path / "w"):
            pass

    def test_a_disk_that_fails_while_the_file_is_written_is_told_once_and_for_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel tells a failed write-back to one fsync only: the last one would succeed."""
        synced_files = []

        def fail_once(descriptor: int) -> None:
            synced_files.append(os.readlink(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else "")
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(weights_module, "SYNCED_AT_ONCE", PIECE)
        monkeypatch.setattr(os, "fsync", fail_once)
        arrays = {"x": np.zeros(10 * PIECE, np.uint8)}
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write(tmp_path / "w", specs(arrays), whole(arrays))
        assert caught.value.where == str(tmp_path / "w")
        assert len(synced_files) == 1

    def test_a_large_file_is_brought_to_the_disk_while_it_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = []
        original = os.fsync
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.setattr(weights_module, "SYNCED_AT_ONCE", 2 * PIECE)
        monkeypatch.setattr(os, "fsync", lambda file: (sizes.append(os.fstat(file).st_size), original(file)))
        arrays = {"x": np.zeros(10 * PIECE, np.uint8)}
        write(tmp_path / "w", specs(arrays), whole(arrays))
        assert sizes
        assert sizes[0] < 10 * PIECE

    def test_while_the_disk_is_busy_no_more_is_asked_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is left is brought there by `synced`, while other things are done."""
        all_written = threading.Event()
        calls = []

        def slow(descriptor: int) -> None:
            calls.append(descriptor)
            all_written.wait(10)

        def pieces(tensor: TensorSpec) -> Iterator[np.ndarray]:
            yield from [np.zeros(PIECE, np.uint8)] * 10
            all_written.set()

        monkeypatch.setattr(weights_module, "SYNCED_AT_ONCE", PIECE)
        monkeypatch.setattr(os, "fsync", slow)
        write(tmp_path / "w", [TensorSpec("x", "uint8", (10 * PIECE,))], pieces)
        assert len(calls) == 1

    def test_what_goes_wrong_while_the_disk_is_waited_for_is_told_first(self, tmp_path: Path) -> None:
        write(tmp_path / "w", [], lambda tensor: [])
        with pytest.raises(KeyError), synced(tmp_path / "w"):
            raise KeyError

    def test_a_file_system_without_reservations_is_written_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unsupported(*arguments: int) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
        arrays = some_arrays()
        write(tmp_path / "w", specs(arrays), whole(arrays))
        assert (tmp_path / "w").read_bytes() == library_bytes(arrays)

    @pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate")
    def test_the_whole_file_is_reserved_before_the_first_byte(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reserved = []

        def reserve(descriptor: int, offset: int, length: int) -> None:
            reserved.append((os.fstat(descriptor).st_size, offset, length))

        monkeypatch.setattr(os, "posix_fallocate", reserve)
        arrays = some_arrays()
        write(tmp_path / "w", specs(arrays), whole(arrays))
        assert reserved == [(0, 0, weights_nbytes(specs(arrays)))]

    def test_short_writes_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Dribbling:
            def __init__(self, file: Any) -> None:
                self.file = file

            def write(self, data: Any) -> int:
                return int(self.file.write(data[:7]))

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        original = open
        monkeypatch.setattr(
            weights_module,
            "open",
            lambda *arguments, **options: Dribbling(original(*arguments, **options)),
            raising=False,
        )
        arrays = some_arrays()
        write(tmp_path / "w", specs(arrays), whole(arrays))
        monkeypatch.undo()
        assert (tmp_path / "w").read_bytes() == library_bytes(arrays)


class Damaging:
    """A file that stores something else than it is given, and says nothing."""

    def __init__(self, damage: Callable[[bytes, int], bytes]) -> None:
        self.damage = damage

    def __call__(self, path: Path, mode: str, **options: Any) -> Any:
        file = open(path, mode, **options)  # noqa: SIM115 - its caller closes it
        if mode != "xb":
            return file
        written = file.write

        class Damaged:
            def write(_, data: Any) -> int:
                start = file.tell()
                written(self.damage(bytes(data), start))
                file.seek(start + len(data))
                return len(data)

            def __getattr__(_, name: str) -> Any:
                return getattr(file, name)

        return Damaged()


def flipping(*places: int) -> Callable[[bytes, int], bytes]:
    def damage(data: bytes, start: int) -> bytes:
        changed = bytearray(data)
        for at in places:
            if start <= at < start + len(data):
                changed[at - start] ^= 1
        return bytes(changed)

    return damage


class TestReadingBack:
    """Each piece is compared bit for bit behind its writing."""

    def test_any_byte_that_is_stored_otherwise_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrays = some_arrays()
        for at in range(weights_nbytes(specs(arrays))):
            monkeypatch.setattr(weights_module, "open", Damaging(flipping(at)), raising=False)
            with pytest.raises(OutputError, match="what was read back") as caught:
                write(tmp_path / f"{at}", specs(arrays), whole(arrays))
            assert caught.value.exit_code == 4
            assert caught.value.where == f"{tmp_path / str(at)}, byte {at}"

    def test_the_tensor_and_the_first_byte_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        big = {"a": np.zeros(3, np.float32), "b": np.zeros((3 * PIECE) // 4, np.float32)}
        start = len(encode_header(file_order(specs(big)))) + 12
        damage = flipping(start + 2 * PIECE + 100, start + PIECE + 77)
        monkeypatch.setattr(weights_module, "open", Damaging(damage), raising=False)
        with pytest.raises(OutputError) as caught:
            write(tmp_path / "w", specs(big), whole(big))
        assert caught.value.facts["tensor"] == "b"
        assert caught.value.where == f"{tmp_path / 'w'}, byte {start + PIECE + 77}"
        assert (caught.value.found, caught.value.expected) == ("0x01", "0x00")

    def test_bytes_that_never_arrive_are_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.setattr(weights_module, "open", Damaging(lambda data, start: data[:-1]), raising=False)
        one = {"x": np.ones(1, np.uint8)}
        with pytest.raises(OutputError, match="what was read back"):
            write(tmp_path / "w", specs(one), whole(one))

    def test_minus_zero_is_not_zero_and_nan_is_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        nan = {"x": np.array([np.nan, np.inf], np.float32)}
        write(tmp_path / "nan", specs(nan), whole(nan))
        zero = {"x": np.zeros(2, np.float32)}
        size = weights_nbytes(specs(zero))
        sign = lambda data, start: data[:-1] + b"\x80" if start + len(data) == size else data  # noqa: E731
        monkeypatch.setattr(weights_module, "open", Damaging(sign), raising=False)
        with pytest.raises(OutputError, match="what was read back"):
            write(tmp_path / "w", specs(zero), whole(zero))

    def test_a_file_that_cannot_be_read_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(weights_module, "_fill", fail)
        with pytest.raises(EnvironmentFailure, match="cannot be read") as caught:
            write(tmp_path / "w", specs(some_arrays()), whole(some_arrays()))
        assert caught.value.where == f"{tmp_path / 'w'}, byte 0"


class TestReadingAgain:
    """The whole file is looked at once more when it is on its way to the disk."""

    def test_what_was_written_is_found(self, tmp_path: Path) -> None:
        arrays = some_arrays()
        written = write(tmp_path / "w", specs(arrays), whole(arrays))
        read_again(tmp_path / "w", specs(arrays), written)

    def test_any_changed_byte_is_noticed(self, tmp_path: Path) -> None:
        arrays = some_arrays()
        written = write(tmp_path / "w", specs(arrays), whole(arrays))
        data = (tmp_path / "w").read_bytes()
        for at in range(len(data)):
            (tmp_path / "w").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises(OutputError) as caught:
                read_again(tmp_path / "w", specs(arrays), written)
            assert caught.value.exit_code == 4

    def test_the_tensor_and_its_place_are_named(self, tmp_path: Path) -> None:
        arrays = {"a": np.zeros(3, np.float32), "b": np.zeros((3 * PIECE) // 4, np.float32)}
        written = write(tmp_path / "w", specs(arrays), whole(arrays))
        start = len(encode_header(file_order(specs(arrays)))) + 12
        with open(tmp_path / "w", "r+b") as file:
            file.seek(start + PIECE + 77)
            file.write(b"\x01")
        with pytest.raises(OutputError) as caught:
            read_again(tmp_path / "w", specs(arrays), written)
        assert caught.value.facts["tensor"] == "b"
        assert caught.value.where == f"{tmp_path / 'w'}, bytes {start} to {start + 3 * PIECE - 1}"
        crc = google_crc32c.value(bytes(3 * PIECE))
        assert caught.value.expected == f"0x{crc:08x}"

    def test_a_file_cut_or_lengthened_is_noticed(self, tmp_path: Path) -> None:
        arrays = some_arrays()
        written = write(tmp_path / "w", specs(arrays), whole(arrays))
        data = (tmp_path / "w").read_bytes()
        for changed in [data[:length] for length in range(len(data))] + [data + b"\0"]:
            (tmp_path / "w").write_bytes(changed)
            with pytest.raises(OutputError):
                read_again(tmp_path / "w", specs(arrays), written)

    def test_a_header_that_the_library_understands_otherwise_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrays = {"x": np.ones((2, 3), np.float32)}

        def wrong(ordered: list[TensorSpec]) -> bytes:
            return encode_header([TensorSpec(tensor.name, tensor.dtype, tensor.shape[::-1]) for tensor in ordered])

        monkeypatch.setattr(weights_module, "encode_header", wrong)
        written = write(tmp_path / "w", specs(arrays), whole(arrays))
        with pytest.raises(OutputError) as caught:
            read_again(tmp_path / "w", specs(arrays), written)
        assert caught.value.facts["tensor"] == "header"

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError):
            read_again(tmp_path / "w", [], WrittenWeights(0, 0, {}))


class TestReading:
    def test_files_of_the_library_are_read_with_their_types(self, tmp_path: Path) -> None:
        arrays = some_arrays()
        (tmp_path / "w").write_bytes(library_bytes(arrays))
        with open_weights(tmp_path / "w") as stored:
            assert dict(stored.metadata) == {"format": "pt"}
            for name, array in arrays.items():
                read = stored.read(name)
                assert read.dtype == array.dtype
                assert read.shape == array.shape
                assert read.tobytes() == array.tobytes()
                assert b"".join(chunk.tobytes() for chunk in stored.chunks(name)) == array.tobytes()

    def test_chunks_are_bounded_and_cover_the_tensor(self, tmp_path: Path) -> None:
        arrays = {"x": np.arange(PIECE // 2, dtype=np.float32)}
        write(tmp_path / "w", specs(arrays), whole(arrays))
        with open_weights(tmp_path / "w") as stored:
            sizes, data = [], b""
            for chunk in stored.chunks("x"):
                sizes.append(chunk.nbytes)
                data += chunk.tobytes()
        assert sizes == [PIECE, PIECE]
        assert data == arrays["x"].tobytes()

    def test_a_file_without_metadata_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "w").write_bytes(safetensors.numpy.save({"x": np.ones(2, np.float32)}))
        with open_weights(tmp_path / "w") as stored:
            assert stored.metadata == {}
            assert stored.read("x").tolist() == [1, 1]

    @pytest.mark.parametrize("data", [b"", b"\0" * 7, b"version https://git-lfs", b"<html>", b"\xff" * 64])
    def test_what_the_library_refuses_is_refused(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "w").write_bytes(data)
        with pytest.raises(FolderError) as caught:
            open_weights(tmp_path / "w")
        assert caught.value.exit_code == 3

    def test_cut_at_every_length_is_refused(self, tmp_path: Path) -> None:
        data = library_bytes(some_arrays())
        for length in range(len(data)):
            (tmp_path / "w").write_bytes(data[:length])
            with pytest.raises(FolderError):
                read_header(tmp_path / "w")

    def test_a_missing_file_and_a_folder_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FolderError, match="not there"):
            open_weights(tmp_path / "w")
        with pytest.raises(FolderError, match="no regular file"):
            open_weights(tmp_path)

    @posix
    def test_a_fifo_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "w")
        with pytest.raises(FolderError, match="no regular file"):
            open_weights(tmp_path / "w")

    def test_a_type_that_no_electra_has_is_refused(self, tmp_path: Path) -> None:
        header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}).encode()
        (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
        with pytest.raises(FolderError, match="type that no ELECTRA has"):
            open_weights(tmp_path / "w")

    def test_a_file_that_shrank_after_opening_is_refused(self, tmp_path: Path) -> None:
        arrays = {"x": np.ones(100, np.float32)}
        write(tmp_path / "w", specs(arrays), whole(arrays))
        with open_weights(tmp_path / "w") as stored:
            os.truncate(tmp_path / "w", 200)
            with pytest.raises(FolderError, match="end inside a tensor"):
                stored.read("x")
