"""The interpreter against TensorFlow, op by op; and the bounds it keeps on graphs made to do harm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import material

from electra_convert.errors import GraphError
from electra_convert.tensorflow_run import run_nodes
from electra_convert.tf1 import interpreter, operations
from electra_convert.tf1.erf import erf
from electra_convert.tf1.graph import Graph, Node, read_graph
from electra_convert.tf1.interpreter import run
from electra_convert.tf1.operations import OPERATIONS

_numbers = np.random.default_rng(7)


def real(*shape: int) -> np.ndarray:
    return _numbers.normal(size=shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


X, Y, POSITIVE = real(2, 3, 4), real(3, 1), np.abs(real(2, 3)) + 0.1
ONE, ZERO = np.float32(1), np.float32(0)

# (op, its inputs by name in tf.raw_ops, its attributes)
CASES = [
    *[(op, {"x": X, "y": Y}, {}) for op in ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "SquaredDifference")],
    *[(op, {"x": X, "y": Y}, {}) for op in ("Maximum", "Minimum")],
    ("Pow", {"x": POSITIVE, "y": np.float32(3)}, {}),
    *[(op, {"x": X}, {}) for op in ("Neg", "Exp", "Square", "Erf", "Tanh", "Sigmoid")],
    *[(op, {"x": POSITIVE}, {}) for op in ("Log", "Sqrt", "Rsqrt")],
    ("Relu", {"features": X}, {}),
    ("Identity", {"input": X}, {}),
    ("StopGradient", {"input": X}, {}),
    ("PreventGradient", {"input": X}, {}),
    ("Snapshot", {"input": X}, {}),
    ("CheckNumerics", {"tensor": X}, {"message": ""}),
    ("MatMul", {"a": real(3, 4), "b": real(4, 5)}, {}),
    ("MatMul", {"a": real(4, 3), "b": real(5, 4)}, {"transpose_a": True, "transpose_b": True}),
    ("BatchMatMul", {"x": real(2, 3, 4), "y": real(2, 4, 5)}, {}),
    ("BatchMatMul", {"x": real(2, 4, 3), "y": real(2, 5, 4)}, {"adj_x": True, "adj_y": True}),
    ("BatchMatMulV2", {"x": real(2, 3, 4), "y": real(5, 4)}, {"adj_y": True}),
    ("BatchMatMulV2", {"x": real(2, 1, 3, 4), "y": real(6, 4, 5)}, {}),
    ("BatchMatMulV3", {"x": real(2, 3, 4), "y": real(4, 5)}, {"Tout": 1}),
    ("BiasAdd", {"value": X, "bias": real(4)}, {}),
    ("Softmax", {"logits": real(3, 5) * 50}, {}),
    ("Cast", {"x": whole(0, 1, 5)}, {"DstT": 1}),
    ("Cast", {"x": np.float32([-1.7, 1.7])}, {"DstT": 3}),
    ("Cast", {"x": whole(0, 2)}, {"DstT": 10}),
    *[(op, {"input": X, "axis": whole(1)}, {}) for op in ("Mean", "Sum", "Prod")],
    *[(op, {"input": X, "axis": whole(0, -1)}, {"keep_dims": True}) for op in ("Mean", "Sum", "Prod")],
    ("Sum", {"input": X, "axis": np.int32(2)}, {}),
    ("Prod", {"input": whole(2, 3, 4), "axis": whole(0)}, {}),
    ("Concat", {"concat_dim": np.int32(1), "values": [real(2, 3), real(2, 1)]}, {}),
    ("ConcatV2", {"values": [real(2, 3), real(2, 1)], "axis": np.int32(-1)}, {}),
    ("Pack", {"values": [X, X + 1]}, {}),
    ("Pack", {"values": [X, X + 1]}, {"axis": 2}),
    ("Tile", {"input": real(2, 3), "multiples": whole(1, 4)}, {}),
    ("Reshape", {"tensor": X, "shape": whole(-1, 2)}, {}),
    ("Transpose", {"x": X, "perm": whole(2, 0, 1)}, {}),
    ("ExpandDims", {"input": X, "axis": np.int32(-1)}, {}),
    ("ExpandDims", {"input": X, "axis": whole(1)}, {}),
    ("Squeeze", {"input": real(1, 3, 1)}, {}),
    ("Squeeze", {"input": real(1, 3, 1)}, {"axis": [-1]}),
    ("Shape", {"input": X}, {}),
    ("Shape", {"input": X}, {"out_type": 9}),
    ("Fill", {"dims": whole(2, 3), "value": np.float32(1.5)}, {}),
    ("Range", {"start": np.int32(1), "limit": np.int32(10), "delta": np.int32(3)}, {}),
    ("Range", {"start": np.int32(9), "limit": np.int32(0), "delta": np.int32(-2)}, {}),
    ("Gather", {"params": real(5, 3), "indices": whole(4, 0)}, {}),
    ("GatherV2", {"params": real(5, 3), "indices": np.int32([[4], [0]]), "axis": np.int32(0)}, {}),
    ("GatherV2", {"params": real(5, 3), "indices": whole(2, 0), "axis": np.int32(-1)}, {}),
    ("OneHot", {"indices": whole(2, 0, 9, -1), "depth": np.int32(3), "on_value": ONE, "off_value": ZERO}, {}),
    ("Slice", {"input": X, "begin": whole(0, 1, 2), "size": whole(-1, 2, 1)}, {}),
    ("MatrixBandPart", {"input": real(2, 4, 5), "num_lower": np.int32(-1), "num_upper": np.int32(0)}, {}),
    ("MatrixBandPart", {"input": real(2, 4, 5), "num_lower": np.int32(1), "num_upper": np.int32(-1)}, {}),
    *[
        ("StridedSlice", {"input": real(5, 6, 7), "begin": begin, "end": end, "strides": strides}, masks)
        for begin, end, strides, masks in [
            (whole(-1), whole(0), whole(1), {"shrink_axis_mask": 1}),
            (whole(0, 0, 0), whole(0, -1, 0), whole(1, 1, 1), {"begin_mask": 7, "end_mask": 5}),
            (whole(0, -1, 0), whole(0, 0, 0), whole(1, 1, 1), {"begin_mask": 5, "end_mask": 7}),
            (whole(1, 0), whole(4, 0), whole(2, 1), {"ellipsis_mask": 2}),
            (whole(0, 3), whole(0, 1), whole(1, -1), {"new_axis_mask": 1}),
            (whole(0, 2), whole(0, 3), whole(1, 1), {"ellipsis_mask": 1, "shrink_axis_mask": 2}),
        ]
    ],
]  # fmt: skip

# Not raw ops of a plain graph: one reads variables, two belong to loops and resources.
BY_HAND = {"ReadVariableOp", "ResourceGather", "Enter"}


def named(number: int, op: str) -> str:
    return f"case_{number}_{op}"


@pytest.fixture(scope="module")
def tensorflow_says(tmp_path_factory):
    """Every case in one graph, run by TensorFlow, and the same graph read by us."""
    tf = pytest.importorskip("tensorflow")
    path = tmp_path_factory.mktemp("ops") / "ops.meta"
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as runner:
        outputs = {}
        for number, (op, inputs, attributes) in enumerate(CASES):
            tensors = {
                key: [tf.constant(part) for part in value] if isinstance(value, list) else tf.constant(value)
                for key, value in inputs.items()
            }
            types = {
                key: tf.as_dtype(value) if key in {"DstT", "Tout", "out_type"} else value
                for key, value in attributes.items()
            }
            outputs[number] = getattr(tf.raw_ops, op)(**tensors, **types, name=named(number, op))
        values = runner.run(outputs)
        tf.compat.v1.train.export_meta_graph(str(path), graph=graph)
    return read_graph(path), values


def no_variable(name: str) -> np.ndarray:
    raise AssertionError(name)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: named(number, CASES[number][0]))
def test_an_op_gives_what_tensorflow_gives(tensorflow_says, number, dtype):
    graph, values = tensorflow_says
    name = named(number, CASES[number][0])
    (ours,) = run(graph, [name], {}, no_variable, dtype).values()
    assert graph.nodes[name].op == CASES[number][0]
    assert ours.shape == values[number].shape
    if values[number].dtype.kind == "f":
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, values[number], rtol=2e-5, atol=1e-6)
    else:
        assert ours.dtype == values[number].dtype
        np.testing.assert_array_equal(ours, values[number])


def test_in_float64_every_op_gives_what_tensorflow_gives_in_float64(tensorflow_says):
    graph, _ = tensorflow_says
    names = [named(number, op) for number, (op, _, _) in enumerate(CASES)]
    ours, theirs = (runner(graph, names, {}, no_variable, np.float64) for runner in (run, run_nodes))
    for name in names:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-14, atol=1e-15, err_msg=name)


def test_every_op_of_the_table_has_a_case():
    assert {op for op, _, _ in CASES} | BY_HAND == OPERATIONS.keys()


# --- graphs by hand ---------------------------------------------------------------------------------------------------


def graph_of(*nodes: Node) -> Graph:
    return Graph("by hand", {node.name: node for node in nodes}, {})


def compute(op: str, *values: np.ndarray) -> np.ndarray:
    names = tuple(f"x{i}" for i in range(len(values)))
    graph = graph_of(*(Node(name, "Placeholder", ()) for name in names), Node("y", op, names))
    return run(graph, ["y"], dict(zip(names, values, strict=True)), no_variable)["y"]


def test_variables_are_read_through_handles_and_loops():
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    graph = graph_of(
        Node("v", "VarHandleOp", ()),
        Node("enter", "Enter", ("v",)),
        Node("read", "ReadVariableOp", ("enter",)),
        Node("rows", "ResourceGather", ("v", "ids")),
        Node("ids", "Placeholder", ()),
    )
    out = run(graph, ["read", "rows"], {"ids": whole(3, 1)}, {"v": table}.__getitem__)
    np.testing.assert_array_equal(out["read"], table)
    np.testing.assert_array_equal(out["rows"], table[[3, 1]])
    assert out["rows"].dtype == np.float64


def test_a_table_of_embeddings_is_not_widened_to_pick_rows(monkeypatch):
    held = []
    monkeypatch.setitem(OPERATIONS, "Neg", lambda node, inputs: held.append(inputs[0].dtype) or -inputs[0])
    monkeypatch.setitem(
        OPERATIONS, "ResourceGather", lambda node, inputs: held.append(inputs[0].dtype) or inputs[0][inputs[1]]
    )
    graph = graph_of(
        Node("v", "VarHandleOp", ()), Node("ids", "Placeholder", ()), Node("rows", "ResourceGather", ("v", "ids")),
        Node("y", "Neg", ("rows",)),
    )  # fmt: skip
    run(graph, ["y"], {"ids": whole(0)}, lambda name: np.ones((2, 2), np.float32))
    assert held == [np.float32, np.float64]


def test_any_tensor_can_be_fed_also_one_of_several_outputs():
    graph = graph_of(Node("next", "IteratorGetNext", ()), Node("y", "Sub", ("next:1", "next")))
    out = run(graph, ["y"], {"next:1": np.float64(5), "next:0": np.float64(3)}, no_variable)
    assert out == {"y": 2.0}


def test_an_output_may_also_be_an_input_of_another():
    graph = graph_of(Node("x", "Placeholder", ()), Node("a", "Neg", ("x",)), Node("b", "Mul", ("a", "a")))
    out = run(graph, ["a", "b", "x"], {"x": np.float64(3)}, no_variable)
    assert out == {"a": -3.0, "b": 9.0, "x": 3.0}


def test_values_are_dropped_behind_their_last_use(monkeypatch):
    peak = []
    hold = interpreter._Budget.hold

    def watched(budget, value, node):
        hold(budget, value, node)
        peak.append(budget.held)

    monkeypatch.setattr(interpreter._Budget, "hold", watched)
    nodes = [Node("n0", "Placeholder", ()), *(Node(f"n{i + 1}", "Neg", (f"n{i}",)) for i in range(50))]
    run(graph_of(*nodes), ["n50"], {"n0": np.zeros(1000)}, no_variable)
    assert max(peak) <= 2 * 8000


def test_an_op_outside_the_table_is_named():
    with pytest.raises(GraphError, match="not runnable: op PyFunc at node f"):
        run(graph_of(Node("f", "PyFunc", ())), ["f"], {}, no_variable)


def test_another_output_than_the_first_cannot_be_computed():
    with pytest.raises(GraphError, match="not runnable: op Neg at node a"):
        run(graph_of(Node("x", "Const", ()), Node("a", "Neg", ("x",))), ["a:1"], {}, no_variable)


@pytest.mark.parametrize("loop", [[("a", "a")], [("a", "b"), ("b", "c"), ("c", "a")]])
def test_a_cycle_is_refused(loop):
    with pytest.raises(GraphError, match="cycle through node"):
        run(graph_of(*(Node(name, "Neg", (other,)) for name, other in loop)), ["a"], {}, no_variable)


def test_a_node_that_two_others_use_is_no_cycle():
    nodes = [Node("n0", "Placeholder", ())]
    nodes += [Node(f"n{i + 1}", "Add", (f"n{i}", f"n{i}")) for i in range(200)]
    out = run(graph_of(*nodes), ["n200"], {"n0": np.float64(1)}, no_variable)
    assert out == {"n200": 2.0**200}


@pytest.mark.parametrize(
    ("op", "values"),
    [
        ("Add", (real(1 << 15, 1), real(1, 1 << 15))),
        ("MatMul", (real(1 << 15, 1), real(1, 1 << 15))),
        ("Fill", (whole(131072, 131072), np.float32(1))),
        ("Fill", (whole(-1), np.float32(1))),
        ("Tile", (real(1 << 10), whole(1 << 20))),
        ("OneHot", (np.zeros(1 << 10, np.int32), np.int32(1 << 20), np.float32(1), np.float32(0))),
        ("Range", (np.int32(0), np.int32(2**31 - 1), np.int32(1))),
        ("Range", (np.int32(0), np.int32(5), np.int32(0))),
        ("GatherV2", (real(1, 1 << 15), np.zeros(1 << 15, np.int32), np.int32(0))),
        ("GatherV2", (real(3, 2), whole(3), np.int32(0))),
        ("GatherV2", (real(3, 2), whole(-1), np.int32(0))),
        ("Slice", (real(3), whole(1), whole(3))),
        ("Slice", (real(3), whole(-1), whole(1))),
        ("Add", (real(2), real(3))),
        ("MatMul", (real(2), real(2))),
        ("Reshape", (real(6), whole(4, -1))),
        ("Squeeze", ()),
        ("Cast", (real(2),)),
    ],
)  # fmt: skip
def test_results_too_large_or_impossible_are_refused_before_they_are_allocated(op, values):
    with pytest.raises(GraphError, match=f"not runnable: op {op} at node y"):
        compute(op, *values)


def test_bytes_alive_and_multiplications_are_bounded(monkeypatch):
    monkeypatch.setattr(interpreter, "MOST_BYTES", 10_000)
    with pytest.raises(GraphError, match="10000 bytes alive"):
        compute("Neg", np.zeros(1000))
    monkeypatch.setattr(interpreter, "MOST_BYTES", 1 << 30)
    monkeypatch.setattr(interpreter, "MOST_WORK", 1000)
    with pytest.raises(GraphError, match="1000 multiplications"):
        compute("MatMul", np.zeros((11, 10)), np.zeros((10, 11)))


def test_the_graph_with_a_cycle_is_refused():
    graph = read_graph(material("graphs", "traps/cyclic.meta"))
    with pytest.raises(GraphError, match="cycle"):
        run(graph, ["logits"], {"input_ids": np.zeros((1, 8), np.int32)}, weights(graph))


def test_the_graph_with_a_huge_fill_is_refused():
    graph = read_graph(material("graphs", "traps/huge_fill.meta"))
    with pytest.raises(GraphError, match="op Fill"):
        run(graph, ["logits"], {"input_ids": np.zeros((1, 8), np.int32)}, weights(graph))


def test_the_graph_of_a_hundred_thousand_nodes_in_a_row_is_run():
    graph = read_graph(material("graphs", "traps/deep.meta"))
    logits = run(graph, ["logits"], {"input_ids": np.arange(8, dtype=np.int32)[None]}, weights(graph))["logits"]
    read = weights(graph)
    head = "discriminator_predictions"
    x = read("electra/embeddings/word_embeddings")[:8] @ read("electra/embeddings_project/kernel")
    x = (x + read("electra/embeddings_project/bias")) @ read(f"{head}/dense/kernel") + read(f"{head}/dense/bias")
    x = x @ read(f"{head}/dense_1/kernel") + read(f"{head}/dense_1/bias")
    np.testing.assert_allclose(logits.reshape(-1), x.reshape(-1), rtol=1e-12)


def weights(graph: Graph):
    def read(name: str) -> np.ndarray:
        return np.random.default_rng(len(name)).normal(size=graph.variables[name])

    return read


# --- erf --------------------------------------------------------------------------------------------------------------


def test_erf_is_exact_to_an_ulp_of_one():
    x = np.concatenate([np.linspace(-8, 8, 200_001), _numbers.normal(size=100_000), 10.0 ** -np.arange(0, 300, 7)])
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(erf(x) - exact).max() <= 4.4e-16


def test_erf_of_special_values():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 6.0, -6.0, 1e300])
    np.testing.assert_array_equal(erf(x), [0, -0.0, 1, -1, np.nan, 1, -1, 1])
    assert np.signbit(erf(x)[1])


def test_erf_keeps_type_and_shape():
    assert erf(real(3, 4)).dtype == np.float32
    assert erf(np.zeros((0, 3))).shape == (0, 3)
    assert erf(real(4, 5).T).shape == (5, 4)
    assert operations.OPERATIONS["Erf"](Node("e", "Erf", ()), [real(2)]).shape == (2,)
