"""`.meta` files: what protobuf itself reads from them, the forms of constants, and files made to do harm."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import google, material

from electra_convert.errors import GraphError
from electra_convert.tf1 import graph as graph_module
from electra_convert.tf1.graph import Node, read_graph, split_tensor
from electra_convert.tf1.wire import write_bytes, write_number, write_varint

FLOAT, INT32, STRING, INT64, BOOL, BFLOAT16, HALF = 1, 3, 7, 9, 10, 14, 19

REAL = [
    ("graphs", "placeholder.meta"),
    ("graphs", "dropout_1_12.meta"),
    ("graphs", "stripped.meta"),
    ("graphs", "tpu_loop.meta"),
    ("graphs", "traps/two_heads.meta"),
    ("others", "serving_v1_half_plus_two/export.meta"),
]


def node(name: str, op: str, *inputs: str, **attributes: bytes) -> bytes:
    entries = [
        write_bytes(5, write_bytes(1, key.encode()) + write_bytes(2, value)) for key, value in attributes.items()
    ]
    named = b"".join(write_bytes(3, tensor.encode()) for tensor in inputs)
    return write_bytes(1, write_bytes(1, name.encode()) + write_bytes(2, op.encode()) + named + b"".join(entries))


def shape(*sizes: int) -> bytes:
    return b"".join(write_bytes(2, write_number(1, size)) for size in sizes)


def tensor(dtype: int, sizes: tuple[int, ...], values: bytes) -> bytes:
    return write_bytes(8, write_number(1, dtype) + write_bytes(2, shape(*sizes)) + values)


def constant(dtype: int, sizes: tuple[int, ...], values: bytes = b"") -> np.ndarray:
    raw = node("c", "Const", value=tensor(dtype, sizes, values))
    return Node("c", "Const", (), raw[len(raw) - raw[1] :] if raw[1] < 128 else raw[3:]).constant().array()


@pytest.fixture
def written(tmp_path):
    def write(*nodes: bytes, raw: bytes | None = None):
        path = tmp_path / "model.ckpt-1.meta"
        path.write_bytes(write_bytes(2, b"".join(nodes)) if raw is None else raw)
        return path

    return write


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), REAL, ids=[name for _, name in REAL])
def test_protobuf_reads_the_same(kind, name):
    pytest.importorskip("tensorflow")
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.framework import tensor_util

    path = material(kind, name)
    truth = meta_graph_pb2.MetaGraphDef.FromString(path.read_bytes())
    graph = read_graph(path)
    assert graph.tensorflow_version == truth.meta_info_def.tensorflow_version
    assert graph.defaults_stripped == truth.meta_info_def.stripped_default_attrs
    assert list(graph.nodes) == [node.name for node in truth.graph_def.node]
    for expected in truth.graph_def.node:
        ours = graph.nodes[expected.name]
        assert ours.op == expected.op
        assert list(ours.inputs) == [tensor for tensor in expected.input if not tensor.startswith("^")]
        for key, value in expected.attr.items():
            kind = value.WhichOneof("value")
            if kind == "i":
                assert ours.integer(key) == value.i
            elif kind == "b":
                assert ours.flag(key) == value.b
            elif kind == "type":
                assert ours.dtype(key) == value.type
            elif kind == "s" and key == "data_format":
                assert ours.text(key) == value.s.decode()
            elif kind == "shape":
                dims = None if value.shape.unknown_rank else tuple(dim.size for dim in value.shape.dim)
                assert ours.shape(key) == dims
            elif kind == "list" and value.list.i:
                assert ours.integers(key) == tuple(value.list.i)
            elif kind == "list" and value.list.shape:
                assert len(ours.shapes(key)) == len(value.list.shape)
        if expected.op == "Const" and expected.attr["dtype"].type != STRING:
            array = ours.constant().array()
            truth_array = tensor_util.MakeNdarray(expected.attr["value"].tensor)
            assert array.dtype == truth_array.dtype
            np.testing.assert_array_equal(array, truth_array)


def test_variables_are_listed_with_their_shapes():
    graph = read_graph(google("default_small") / "model.ckpt-40.meta")
    assert graph.variables["electra/embeddings/word_embeddings"] == (300, 16)
    assert graph.variables["global_step"] == ()
    assert len(graph.variables) == 247


# --- constants --------------------------------------------------------------------------------------------------------


def test_no_values_mean_zeros():
    np.testing.assert_array_equal(constant(FLOAT, (2, 3)), np.zeros((2, 3), np.float32))
    assert constant(INT32, (0,)).shape == (0,)


def test_the_last_value_is_repeated():
    floats = write_bytes(5, struct.pack("<2f", 1.5, 2.5))
    np.testing.assert_array_equal(constant(FLOAT, (4,), floats), np.float32([1.5, 2.5, 2.5, 2.5]))


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_may_be_packed_or_not(packed):
    if packed:
        ints = write_bytes(7, write_varint(7) + write_varint(-2))
        floats = write_bytes(5, struct.pack("<2f", 0.5, -1))
    else:
        ints = b"".join(write_varint(7 << 3) + write_varint(value) for value in (7, -2))
        floats = b"".join(write_varint(5 << 3 | 5) + struct.pack("<f", value) for value in (0.5, -1))
    np.testing.assert_array_equal(constant(INT32, (2,), ints), np.int32([7, -2]))
    np.testing.assert_array_equal(constant(FLOAT, (2,), floats), np.float32([0.5, -1]))


def test_content_is_little_endian_bytes():
    content = write_bytes(4, struct.pack("<3q", 1, -1, 1 << 40))
    np.testing.assert_array_equal(constant(INT64, (3,), content), np.int64([1, -1, 1 << 40]))


def test_sixteen_bit_floats_are_stored_as_their_bits():
    assert constant(HALF, (), write_bytes(13, write_varint(0x3C00))) == np.float16(1)
    assert constant(BFLOAT16, (), write_bytes(13, write_varint(0x3F80))) == np.float32(1)
    assert constant(BFLOAT16, (), write_bytes(4, b"\x80\xbf")) == np.float32(-1)


@pytest.mark.parametrize(
    ("case", "dtype", "sizes", "values"),
    [
        ("2^40 elements of one value", FLOAT, (1 << 20, 1 << 20), write_bytes(5, struct.pack("<f", 1))),
        ("2^30 strings", STRING, (1 << 30,), write_bytes(8, b"x")),
        ("a negative size", FLOAT, (-1,), b""),
        ("content of another length", FLOAT, (2,), write_bytes(4, b"1234567")),
        ("more values than elements", FLOAT, (1,), write_bytes(5, struct.pack("<2f", 1, 2))),
        ("half a float", FLOAT, (2,), write_bytes(5, b"123456")),
        ("an unfinished varint", INT32, (2,), write_bytes(7, b"\x01\xff")),
        ("a value too large for its type", INT32, (1,), write_bytes(7, write_varint(1 << 40))),
        ("a size of 2^62", FLOAT, (1 << 62,), b""),
        ("300 dimensions", FLOAT, (1,) * 300, b""),
        ("an unknown type", 99, (1,), b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_constants_are_refused_before_they_are_allocated(case, dtype, sizes, values):
    with pytest.raises(GraphError):
        constant(dtype, sizes, values)


# --- nodes ------------------------------------------------------------------------------------------------------------


def test_control_inputs_are_dropped_and_outputs_kept(written):
    path = written(node("a", "IteratorGetNext"), node("b", "Add", "a:1", "a", "^a"))
    assert read_graph(path).nodes["b"].inputs == ("a:1", "a")
    assert split_tensor("a:1") == ("a", 1)


def test_absent_attributes_have_tensorflows_defaults():
    bare = Node("n", "MatMul", ())
    assert bare.flag("transpose_a") is False
    assert bare.integer("axis", -1) == -1
    assert bare.text("data_format", "NHWC") == "NHWC"
    assert bare.integers("squeeze_dims") == ()
    assert bare.shapes("output_shapes") == ()
    assert bare.shape("shape") is None
    assert bare.dtype("T") == 0


def test_a_shape_may_have_unknown_sizes_or_an_unknown_rank(written):
    known = write_bytes(7, shape(-1, 7))
    unknown = write_bytes(7, write_varint(3 << 3) + b"\x01")
    graph = read_graph(written(node("a", "Placeholder", shape=known), node("b", "Placeholder", shape=unknown)))
    assert graph.nodes["a"].shape("shape") == (-1, 7)
    assert graph.nodes["b"].shape("shape") is None


# --- files made to do harm --------------------------------------------------------------------------------------------

SMALL = (
    node("c", "Const", value=tensor(FLOAT, (2,), write_bytes(5, struct.pack("<f", 1))), dtype=write_number(6, FLOAT)),
    node("v", "VariableV2", shape=write_bytes(7, shape(3, 4))),
    node("a", "Mul", "c", "v"),
)


@pytest.mark.parametrize(
    ("case", "nodes"),
    [
        ("a duplicate name", (node("a", "Const"), node("a", "Const"))),
        ("an input that is not there", (node("a", "Neg", "b"),)),
        ("an input of no name", (node("a", "Neg", ""),)),
        ("an output that is no number", (node("a", "Neg", "a:b"),)),
        ("an output of a hundred digits", (node("a", "Neg", "a:" + "9" * 100),)),
        ("no name", (node("", "Const"),)),
        ("no op", (node("a", ""),)),
        ("a name of 5,000 bytes", (node("a" * 5000, "Const"),)),
        ("a name that is not UTF-8", (write_bytes(1, write_bytes(1, b"\xff") + write_bytes(2, b"Neg")),)),
        ("the begin of a group", (node("a", "Const"), b"\x0b")),
        ("a varint of eleven bytes", (b"\x08" + b"\xff" * 10 + b"\x01",)),
        ("field number 0", (b"\x02\x00",)),
        ("a variable of 2^62 rows", (node("v", "VariableV2", shape=write_bytes(7, shape(1 << 62))),)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_graphs_are_refused(written, case, nodes):
    with pytest.raises(GraphError) as caught:
        read_graph(written(*nodes))
    assert "model.ckpt-1.meta" in caught.value.where or "node v" in caught.value.where


@pytest.mark.parametrize("raw", [b"", b"not a graph", b"node {\n  name: 'a'\n}", bytes(1000), b"\xff" * 1000])
def test_files_of_another_kind_are_refused(written, raw):
    with pytest.raises(GraphError):
        read_graph(written(raw=raw))


def test_two_graphs_in_one_file_are_refused(written):
    one = write_bytes(2, SMALL[0])
    with pytest.raises(GraphError, match="two graphs"):
        read_graph(written(raw=one + one))


def test_a_graph_cut_at_any_byte_is_refused(written):
    whole = write_bytes(1, write_bytes(5, b"2.15.1")) + write_bytes(2, b"".join(SMALL))
    assert read_graph(written(raw=whole)).variables == {"v": (3, 4)}
    for size in range(len(whole)):
        with pytest.raises(GraphError):
            read_graph(written(raw=whole[:size]))


def test_a_changed_byte_gives_a_graph_or_a_graph_error(written):
    whole = write_bytes(2, b"".join(SMALL))
    for place in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            try:
                graph = read_graph(written(raw=bytes(damaged)))
                for name in graph.nodes:
                    if graph.nodes[name].op == "Const":
                        graph.nodes[name].constant().array()
            except GraphError:
                pass


def test_nested_functions_are_not_entered(written):
    nested = b""
    for _ in range(20_000):
        nested = write_bytes(10, write_bytes(1, b"f") + write_bytes(2, nested))
        if len(nested) > 1 << 16:
            break
    graph = read_graph(written(node("a", "While", body=nested, axis=write_number(3, 4))))
    assert graph.nodes["a"].integer("axis") == 4


def test_a_hundred_thousand_nodes_are_read():
    assert len(read_graph(material("graphs", "traps/deep.meta")).nodes) == 100_177


def test_the_number_of_nodes_and_inputs_is_bounded(written, monkeypatch):
    monkeypatch.setattr(graph_module, "MOST_NODES", 2)
    with pytest.raises(GraphError, match="too large"):
        read_graph(written(*SMALL))
    monkeypatch.setattr(graph_module, "MOST_NODES", 3)
    monkeypatch.setattr(graph_module, "MOST_INPUTS", 1)
    with pytest.raises(GraphError, match="too many inputs"):
        read_graph(written(*SMALL))


def test_a_truncated_real_graph_is_refused():
    with pytest.raises(GraphError, match="cut short"):
        read_graph(material("graphs", "traps/truncated.meta"))


def test_a_large_file_is_refused_unread(written, monkeypatch):
    path = written(*SMALL)
    monkeypatch.setattr(graph_module, "LARGEST_FILE", 10)
    with pytest.raises(GraphError, match="too large"):
        read_graph(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    with pytest.raises(GraphError, match="not a regular file"):
        read_graph(tmp_path)
    with pytest.raises(GraphError, match="cannot be read"):
        read_graph(tmp_path / "absent.meta")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.meta")
        started = time.monotonic()
        with pytest.raises(GraphError, match="not a regular file"):
            read_graph(tmp_path / "pipe.meta")
        assert time.monotonic() - started < 60  # it would wait for a writer for ever


def test_reading_a_graph_does_not_import_numpy(written):
    code = (
        "import sys; from electra_convert.tf1.graph import read_graph; import electra_convert.electra.trained_graph;"
        f"read_graph({str(written(*SMALL))!r}); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
