"""`checkpoint` files: what TensorFlow takes is read alike, what it ignores is refused with line and column."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from conftest import all_of, google, other
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.errors import CheckpointError
from electra_convert.tf1.state import LARGEST, State, read_state

# Python warns of the escapes that protobuf leaves to it.
pytestmark = pytest.mark.filterwarnings("ignore:invalid:DeprecationWarning")

REAL = [
    pytest.param(place, name, id=name)
    for kind, place in (("google", google), ("others", other))
    for name in all_of(kind)
]

ACCEPTED = [
    b'model_checkpoint_path: "a"',
    b"model_checkpoint_path:'a' 'b' # joined\n \"c\"",
    b'model_checkpoint_path:"a";model_checkpoint_path:"b",',
    b'model_checkpoint_path: "a" all_model_checkpoint_paths:["a", "b" "c", \'d\']',
    b'model_checkpoint_path: "a" all_model_checkpoint_paths:[]',
    b'model_checkpoint_path: "a"all_model_checkpoint_paths:"b"',
    b'# a comment\r\nmodel_checkpoint_path\n:\n"a"\r\n',
    b'model_checkpoint_path:"\\x41\\x4z\\101\\1\\18\\0 \\a\\b\\f\\v\\?\\n\\r\\t\\\'\\"\\\\"',
    b'model_checkpoint_path:"C:\\models\\q"',
    b'model_checkpoint_path:"\\303\\244 \xc3\xa4 \\303\\xa4"',
    'model_checkpoint_path:\u00a0"ä\u2028x"'.encode(),
    b'model_checkpoint_path:"a\tb\rc\x00d#e"',
    b'model_checkpoint_path:"*"',
    b'model_checkpoint_path:"a" all_model_checkpoint_timestamps: [1, 2.5, .5, 5., +1, 1_0]',
    b'model_checkpoint_path:"a" last_preserved_timestamp: -1.5e-3f all_model_checkpoint_timestamps: 1e400',
    b'model_checkpoint_path:"a" last_preserved_timestamp: inf last_preserved_timestamp: -Infinity',
    b'model_checkpoint_path:"a" last_preserved_timestamp: nan last_preserved_timestamp: inff',
]

# (bytes, line, column): TensorFlow logs a warning for each and goes on as if there were no file.
REFUSED = [
    (b'model_checkpoint_path "a"', 1, 23),
    (b'\n model_path: "a"', 2, 2),
    (b'model_checkpoint_path: "a"\nmodel_checkpoint_path: a', 2, 24),
    (b"model_checkpoint_path: 1", 1, 24),
    (b"model_checkpoint_path:", 1, 23),
    (b'model_checkpoint_path: "a', 1, 24),
    (b'model_checkpoint_path: "a\nb"', 1, 24),
    (b'model_checkpoint_path: "a" "b', 1, 28),
    (b'model_checkpoint_path: "a\\', 1, 24),
    (b'model_checkpoint_path: "a\\xg"', 1, 26),
    (b'model_checkpoint_path: "a\\400"', 1, 26),
    (b'model_checkpoint_path: "\\303"', 1, 24),
    (b'model_checkpoint_path: ["a"]', 1, 24),
    (b'model_checkpoint_path: {"a"}', 1, 24),
    (b'model_checkpoint_path: "a";;', 1, 28),
    (b';model_checkpoint_path: "a"', 1, 1),
    (b'\xef\xbb\xbfmodel_checkpoint_path: "a"', 1, 1),
    (b"m\x00o\x00d\x00", 1, 1),
    (b'all_model_checkpoint_paths: ["a",]', 1, 34),
    (b'all_model_checkpoint_paths: ["a";"b"]', 1, 33),
    (b'all_model_checkpoint_paths: ["a"', 1, 33),
    (b"all_model_checkpoint_timestamps: 0x10", 1, 34),
    (b"all_model_checkpoint_timestamps: 017", 1, 34),
    (b'all_model_checkpoint_timestamps: "5"', 1, 34),
    (b"all_model_checkpoint_timestamps: - 1", 1, 34),
    (b"all_model_checkpoint_timestamps: 1e", 1, 34),
    (b"last_preserved_timestamp: [1]", 1, 27),
    (b'model_checkpoint_path: "a" /* no */', 1, 28),
]


@pytest.fixture(scope="module")
def text_format() -> ModuleType:
    return pytest.importorskip("google.protobuf.text_format")


@pytest.fixture(scope="module")
def checkpoint_state() -> type:
    pytest.importorskip("tensorflow")
    from tensorflow.python.training.checkpoint_state_pb2 import CheckpointState

    return CheckpointState


@pytest.mark.parametrize(("place", "name"), REAL)
def test_a_real_file_reads_as_tensorflow_reads_it(place, name, text_format, checkpoint_state) -> None:
    file: Path = place(name) / "checkpoint"
    if not file.exists():
        pytest.skip("was saved without one")
    expected = text_format.Parse(file.read_bytes(), checkpoint_state())
    state = read_state(file.read_bytes(), "checkpoint")
    assert (state.latest, state.every) == (
        expected.model_checkpoint_path,
        tuple(expected.all_model_checkpoint_paths),
    )


@pytest.mark.parametrize("data", ACCEPTED)
def test_every_form_that_tensorflow_takes_reads_alike(data, tmp_path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    (tmp_path / "checkpoint").write_bytes(data)
    expected = tensorflow.train.get_checkpoint_state(str(tmp_path))
    state = read_state(data, "checkpoint")
    inside = f"{tmp_path}/"
    assert state.latest == expected.model_checkpoint_path.removeprefix(inside)
    assert list(state.every) == [path.removeprefix(inside) for path in expected.all_model_checkpoint_paths]


@pytest.mark.parametrize(("data", "line", "column"), REFUSED)
def test_what_tensorflow_ignores_is_refused_with_line_and_column(data, line, column, tmp_path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    (tmp_path / "checkpoint").write_bytes(data)
    assert tensorflow.train.get_checkpoint_state(str(tmp_path)) is None
    with pytest.raises(CheckpointError) as caught:
        read_state(data, "checkpoint")
    assert caught.value.where == f"checkpoint, line {line}, column {column}"


def test_a_unicode_escape_is_refused_as_tensorflow_1_does() -> None:
    with pytest.raises(CheckpointError) as caught:
        read_state(b'model_checkpoint_path: "\\u00e4"', "checkpoint")
    assert caught.value.where == "checkpoint, line 1, column 25"


@pytest.mark.parametrize(
    ("data", "byte"), [(b'model_checkpoint_path: "\xe4"', 24), ('model_checkpoint_path: "a"'.encode("utf-16"), 0)]
)
def test_a_file_that_is_not_utf8_is_refused_with_the_byte(data, byte) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_state(data, "checkpoint")
    assert caught.value.where == f"checkpoint, byte {byte}"


def test_a_file_of_more_than_one_megabyte_is_refused() -> None:
    line = b'model_checkpoint_path: "a"\n'
    assert read_state(line.ljust(LARGEST, b" "), "checkpoint").latest == "a"
    with pytest.raises(CheckpointError, match="too large"):
        read_state(line.ljust(LARGEST + 1, b" "), "checkpoint")


def test_no_path_at_all_reads_as_an_empty_one() -> None:
    assert read_state(b"# nothing\n", "checkpoint") == State("", 1, ())


def test_the_line_is_that_of_the_value_that_counts() -> None:
    assert read_state(b'\nmodel_checkpoint_path: "a"\nmodel_checkpoint_path: "b"\n', "checkpoint") == State("b", 3, ())


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    st.lists(st.floats()),
    st.booleans(),
)
def test_what_protobuf_prints_reads_back(text_format, checkpoint_state, latest, every, times, as_utf8) -> None:
    message = checkpoint_state(
        model_checkpoint_path=latest, all_model_checkpoint_paths=every, all_model_checkpoint_timestamps=times
    )
    state = read_state(text_format.MessageToString(message, as_utf8=as_utf8).encode("utf-8"), "checkpoint")
    assert (state.latest, state.every) == (latest, tuple(every))


@given(st.binary(max_size=60))
def test_any_bytes_read_or_are_refused(data) -> None:
    with suppress(CheckpointError):
        assert isinstance(read_state(b'model_checkpoint_path: "' + data, "checkpoint"), State)


@given(st.text(alphabet="model_checkpoint_path:\"'\\x4u0[],;# \n\u00e4", max_size=40))
def test_text_reads_exactly_as_protobuf_reads_it(text_format, checkpoint_state, text) -> None:
    data = f'model_checkpoint_path: "a{text}'.encode()
    try:
        expected = text_format.Parse(data, checkpoint_state()).model_checkpoint_path
    except text_format.ParseError:
        with pytest.raises(CheckpointError):
            read_state(data, "checkpoint")
    else:
        if "\\u" not in text:
            assert read_state(data, "checkpoint").latest == expected
