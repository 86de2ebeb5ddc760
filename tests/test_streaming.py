"""A tensor's bytes are its variable's: whole, turned, rounded to nearest even, and never infinite in silence."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import ml_dtypes
import numpy as np
import pytest
from builders import write_v2

from electra_convert import streaming as streaming_module
from electra_convert.electra.mapping import Move, Operation, Row
from electra_convert.errors import ChecksumError, EnvironmentFailure, ValueRefused
from electra_convert.following import Action, Follower
from electra_convert.hf.header import TensorSpec
from electra_convert.hf.weights import open_weights, write_weights
from electra_convert.streaming import PIECE, STRIP, TensorStream, numpy_dtype
from electra_convert.tf1.checkpoint import Checkpoint, open_checkpoint

LARGE = 300_000  # float32 values of which one piece does not hold all

# The first value that a type rounds to infinity: half a step above its largest.
TOO_LARGE = {"float16": 65520.0, "bfloat16": 3.3961775292304e38, "float32": 3.4028235677973366e38}


def move(name: str, shape: tuple[int, ...], operation: Operation = Operation.COPY) -> Move:
    return Move(Row("embeddings", name, f"{name}.weight", operation, ""), None, name, f"{name}.weight", shape)


Run = Callable[..., np.ndarray]


@pytest.fixture
def stream_of(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Give a stream over checkpoints of one variable `x`, written here."""
    opened: list[Checkpoint] = []
    stack = contextlib.ExitStack()

    def make(
        array: np.ndarray,
        dtype: str,
        operation: Operation = Operation.COPY,
        allow_nonfinite: bool = False,
        follower: Follower | None = None,
    ) -> TensorStream:
        prefix = tmp_path / f"model-{len(opened)}"
        write_v2(prefix, {"x": array})
        opened.append(open_checkpoint(prefix))
        follower = follower or stack.enter_context(Follower())
        return TensorStream(opened[-1], (move("x", array.shape, operation),), dtype, allow_nonfinite, follower)

    with stack:
        yield make
    for checkpoint in opened:
        checkpoint.close()


def joined(stream: TensorStream) -> np.ndarray:
    return np.concatenate([piece.copy() for piece in stream.pieces("x.weight")])


def refused(stream: TensorStream) -> ValueRefused:
    with pytest.raises(ValueRefused) as raised:
        joined(stream)
    assert raised.value.exit_code == 3
    return raised.value


def random(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(numpy_dtype(dtype))


class Slow(Follower):
    def __init__(self, delay: float) -> None:
        super().__init__()
        self.delay = delay

    def do(self, action: Action) -> None:
        def late() -> None:
            time.sleep(self.delay)
            action()

        super().do(late)


class TestBytes:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    @pytest.mark.parametrize("shape", [(LARGE,), (700, 500), (), (1,)])
    def test_a_copied_variable_comes_as_it_is_stored(self, stream_of, shape: tuple[int, ...], dtype: str) -> None:
        array = random(*shape, dtype=dtype)
        stream = stream_of(array, dtype)
        assert joined(stream).tobytes() == array.tobytes()
        assert stream.variable_crcs == {"x": google_crc32c.value(array.tobytes())}

    @pytest.mark.parametrize(
        "shape", [(1, 1), (3, 1), (1, 3), (STRIP, STRIP), (STRIP - 1, STRIP + 1), (200, 333), (300, 2000)]
    )
    def test_a_kernel_comes_turned(self, stream_of, shape: tuple[int, int]) -> None:
        kernel = random(*shape)
        stream = stream_of(kernel, "float32", Operation.TRANSPOSE)
        assert np.array_equal(joined(stream).reshape(shape[::-1]), kernel.T)
        assert stream.variable_crcs == {"x": google_crc32c.value(kernel.tobytes())}

    def test_a_kernel_is_held_once_in_the_export_type_until_the_stream_is_freed(self, stream_of) -> None:
        stream = stream_of(random(1000, 2000, dtype="float64"), "float32", Operation.TRANSPOSE)
        tracemalloc.start()
        try:
            (piece,) = stream.pieces("x.weight")
            more = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert piece.nbytes == 1000 * 2000 * 4
        assert more < 4 * PIECE
        freed = weakref.ref(piece.base)
        stream._follower.wait()
        stream.free()
        del piece
        assert freed() is None

    def test_a_second_run_gives_the_same(self, stream_of) -> None:
        stream = stream_of(random(500, 700), "float16", Operation.TRANSPOSE)
        assert np.array_equal(joined(stream), joined(stream))

    @pytest.mark.parametrize("delay", [0, 0.001, 0.02])
    def test_a_slow_follower_still_turns_and_compares_what_was_read(self, tmp_path: Path, delay: float) -> None:
        """Nothing is read, or turned, into a buffer that it has not done its work with yet."""
        # Another's values would be seen.
        names = [f"{kind}{number}" for number in range(3) for kind in ("copied", "turned")]
        arrays = {name: (factor + 2) * random(1700, 900) for factor, name in enumerate(names)}
        write_v2(tmp_path / "m", arrays)
        moves = tuple(
            move(name, array.shape, Operation.TRANSPOSE if name.startswith("turned") else Operation.COPY)
            for name, array in arrays.items()
        )
        specs = [TensorSpec(move.tensor, "float32", move.tensor_shape) for move in moves]
        with open_checkpoint(tmp_path / "m") as checkpoint, Slow(delay) as follower:
            stream = TensorStream(checkpoint, moves, "float32", False, follower)
            write_weights(tmp_path / "w", specs, lambda spec: stream.pieces(spec.name), follower)
        with open_weights(tmp_path / "w") as stored:
            for name, array in arrays.items():
                expected = array.T if name.startswith("turned") else array
                assert np.array_equal(stored.read(f"{name}.weight").reshape(expected.shape), expected)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_a_kernel_that_is_turned_wrongly_is_refused(
        self, stream_of, dtype: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One bit, or rows in another order: what is written next would be read back as it was written."""
        faults = {
            "a bit": lambda columns: columns.view(f"u{columns.itemsize}")[3:4, 5:6].__ixor__(1),
            "two rows": lambda columns: columns.__setitem__(slice(None), columns[:, ::-1].copy()),
            "not at all": lambda columns: columns.fill(0),
        }
        original = streaming_module.turn
        for name, fault in faults.items():

            def wrong(rows: np.ndarray, columns: np.ndarray, fault: Callable[..., object] = fault) -> None:
                original(rows, columns)
                fault(columns)

            monkeypatch.setattr(streaming_module, "turn", wrong)
            with pytest.raises(EnvironmentFailure, match="not transposed as it was read") as raised, Follower() as own:
                joined(stream_of(random(900, 700), dtype, Operation.TRANSPOSE, follower=own))
            assert raised.value.facts["tensor"] == "x.weight", name

    def test_damage_is_a_wrong_checksum_even_where_it_looks_like_a_nan(self, stream_of, tmp_path: Path) -> None:
        stream = stream_of(random(LARGE), "float32")
        with (tmp_path / "model-0.data-00000-of-00001").open("r+b") as file:
            file.write(np.array([np.nan], np.float32).tobytes())
        with pytest.raises(ChecksumError):
            joined(stream)


class TestRounding:
    @pytest.mark.parametrize("target", ["float16", "bfloat16"])
    @pytest.mark.parametrize("operation", [Operation.COPY, Operation.TRANSPOSE])
    def test_float32_is_rounded_to_nearest_even_as_torch_does(
        self, stream_of, target: str, operation: Operation
    ) -> None:
        torch = pytest.importorskip("torch")
        bits = np.random.default_rng(2).integers(0, 2**32, (512, 128), dtype=np.uint32)
        values = bits.view(np.float32)
        largest = float(ml_dtypes.finfo(numpy_dtype(target)).max)
        values = np.where(np.abs(values) <= largest, values, 1).astype(np.float32)
        rounded = joined(stream_of(values, target, operation)).view(np.uint16)
        theirs = torch.from_numpy(operation.apply(values).copy()).to(getattr(torch, target))
        assert np.array_equal(rounded, theirs.view(torch.uint16).numpy().reshape(-1))

    @pytest.mark.parametrize(
        ("target", "value", "expected"),
        [
            ("float16", 1 + 2**-11, 1.0),  # half way: to the even one below
            ("float16", 1 + 3 * 2**-11, 1 + 2**-9),  # half way: to the even one above
            ("float16", np.nextafter(np.float32(1 + 2**-11), np.float32(2)), 1 + 2**-10),
            ("float16", 2**-25, 0.0),
            ("float16", 3 * 2**-25, 2**-23),
            ("bfloat16", 1 + 2**-8, 1.0),
            ("bfloat16", 1 + 3 * 2**-8, 1 + 2**-6),
        ],
    )
    def test_half_way_goes_to_the_even_neighbour(self, stream_of, target: str, value: float, expected: float) -> None:
        assert float(joined(stream_of(np.array([value], np.float32), target))[0]) == expected

    @pytest.mark.parametrize("target", ["float32", "float16", "bfloat16"])
    def test_float64_is_rounded_as_torch_does(self, stream_of, target: str) -> None:
        torch = pytest.importorskip("torch")
        values = random(4096, dtype="float64")
        rounded = joined(stream_of(values, target)).astype(np.float64)
        assert np.array_equal(rounded, torch.from_numpy(values).to(getattr(torch, target)).double().numpy())

    @pytest.mark.parametrize(("stored", "target"), [("float16", "float32"), ("bfloat16", "float32")])
    def test_a_wider_type_changes_no_value(self, stream_of, stored: str, target: str) -> None:
        values = random(300, dtype=stored)
        assert np.array_equal(joined(stream_of(values, target)), values.astype(np.float32))


class TestRefusals:
    @pytest.mark.parametrize("operation", [Operation.COPY, Operation.TRANSPOSE])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_named_with_its_first_place_and_count(
        self, stream_of, bad: float, operation: Operation
    ) -> None:
        """The index is the variable's, in C order, whatever the tensor's order."""
        array = random(600, 700)
        array[599, 3] = array[420, 650] = array[421, 1] = bad
        error = refused(stream_of(array, "float32", operation))
        assert error.message == "a weight is not finite"
        assert error.facts["variable"] == "x float32 [600, 700]"
        assert error.where == "index [420, 650]"
        assert error.found == f"{bad}, and 2 more in this variable"
        assert "--allow-nonfinite" in str(error.hint)

    def test_a_single_one_is_not_counted(self, stream_of) -> None:
        assert refused(stream_of(np.array([1, np.nan], np.float32), "float32")).found == "nan"

    @pytest.mark.parametrize("stored", ["float16", "bfloat16", "float64"])
    def test_other_types_are_looked_at_too(self, stream_of, stored: str) -> None:
        array = random(3, 4, dtype=stored)
        array[2, 1] = np.nan
        target = "float32" if stored == "float64" else stored
        assert refused(stream_of(array, target)).where == "index [2, 1]"

    @pytest.mark.parametrize("operation", [Operation.COPY, Operation.TRANSPOSE])
    @pytest.mark.parametrize(
        ("stored", "target"), [("float32", "float16"), ("float64", "bfloat16"), ("float64", "float32")]
    )
    def test_a_value_that_becomes_infinite_is_refused_like_an_infinity(
        self, stream_of, stored: str, target: str, operation: Operation
    ) -> None:
        array = random(70, 90, dtype=stored)
        array[3, 65] = array[69, 0] = -TOO_LARGE[target]
        error = refused(stream_of(array, target, operation))
        assert error.message == f"a value is too large for {target}"
        assert error.where == "index [3, 65]"
        assert str(error.found).endswith(", and 1 more in this variable")
        assert str(error.expected).startswith("at most ")

    @pytest.mark.parametrize("target", ["float16", "bfloat16"])
    def test_the_largest_value_that_rounds_down_is_taken(self, stream_of, target: str) -> None:
        below = np.nextafter(np.float32(TOO_LARGE[target]), np.float32(0))
        largest = float(ml_dtypes.finfo(numpy_dtype(target)).max)
        assert float(joined(stream_of(np.array([below]), target))[0]) == largest


class TestAllowed:
    @pytest.mark.parametrize("operation", [Operation.COPY, Operation.TRANSPOSE])
    def test_allowed_values_pass_as_they_are_with_a_warning_that_counts(self, stream_of, operation: Operation) -> None:
        array = random(600, 700)
        array[0, 0] = array[599, 699] = np.nan
        stream = stream_of(array, "float32", operation, allow_nonfinite=True)
        tensor = joined(stream).reshape(operation.shape(array.shape))
        assert np.array_equal(operation.apply(tensor), array, equal_nan=True)
        (notice,) = stream.notices()
        assert (notice.kind, notice.code) == ("warning", "nonfinite")
        assert dict(notice.facts) == {"variable": "x", "found": "2 values"}

    @pytest.mark.parametrize("at", [0, LARGE - 1], ids=["first piece", "last piece"])
    def test_writing_and_comparing_does_not_count_twice(self, stream_of, at: int) -> None:
        array = random(LARGE)
        array[at] = np.inf
        stream = stream_of(array, "float32", allow_nonfinite=True)
        joined(stream)
        joined(stream)
        assert stream.nonfinite == {"x": 1}

    def test_values_that_become_infinite_are_counted_too(self, stream_of) -> None:
        stream = stream_of(np.array([1e6, 1], np.float32), "float16", allow_nonfinite=True)
        assert joined(stream).tolist() == [np.inf, 1]
        assert stream.nonfinite == {"x": 1}

    def test_finite_values_give_no_warning(self, stream_of) -> None:
        stream = stream_of(random(10), "float32", allow_nonfinite=True)
        joined(stream)
        assert stream.notices() == []
