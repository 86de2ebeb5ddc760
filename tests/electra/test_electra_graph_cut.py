"""The three rules that free a cut from the batch size it was made for, on graphs of a few nodes."""

from __future__ import annotations

import numpy as np
import pytest

from electra_convert.electra.graph_cut import Cut, cut_out, resize
from electra_convert.electra.graph_patterns import Patterns
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import Graph, Node
from electra_convert.tf1.wire import write_bytes, write_number


def constant(name: str, value: np.ndarray) -> Node:
    sizes = b"".join(write_bytes(2, write_number(1, size)) for size in value.shape)
    tensor = (
        write_number(1, {"f": 1, "i": 3}[value.dtype.kind]) + write_bytes(2, sizes) + write_bytes(4, value.tobytes())
    )
    return Node(name, "Const", (), write_bytes(5, write_bytes(1, b"value") + write_bytes(2, write_bytes(8, tensor))))


def resized(*nodes: Node, batch: int | None = 16, rows: int = 3) -> dict[str, list]:
    graph = Graph("by hand", {node.name: node for node in nodes}, {})
    cut = Cut(graph, {}, (), (), (), (), (), {})
    return {name: value.tolist() for name, value in resize(cut, batch, rows).items()}


def reshape(*sizes: int) -> tuple[Node, Node]:
    return constant("shape", np.array(sizes, np.int32)), Node("y", "Reshape", ("x", "shape"))


def test_a_shape_with_an_unknown_size_gets_the_number_of_rows():
    assert resized(*reshape(16, -1, 8)) == {"shape": [3, -1, 8]}


def test_an_unknown_size_that_comes_first_stays():
    assert resized(*reshape(-1, 16)) == {"shape": [-1, 16]}


def test_a_shape_of_another_batch_size_stays():
    assert resized(*reshape(512, -1)) == {"shape": [512, -1]}


def test_a_shape_without_an_unknown_size_gets_one_in_front():
    assert resized(*reshape(16, 16, 4)) == {"shape": [-1, 16, 4]}
    assert resized(*reshape(512, 8)) == {"shape": [-1, 8]}


def test_a_shape_that_is_used_for_something_else_too_stays():
    assert resized(*reshape(16, 4), Node("z", "Mul", ("shape", "x"))) == {}


def test_equal_rows_that_are_only_multiplied_become_one_row():
    ones = constant("ones", np.ones((16, 2, 1), np.float32))
    assert resized(ones, Node("y", "Mul", ("ones", "x"))) == {"ones": [[[1.0], [1.0]]]}


def test_rows_that_differ_stay():
    table = constant("table", np.arange(32, dtype=np.float32).reshape(16, 2))
    assert resized(table, Node("y", "Mul", ("table", "x"))) == {}


def test_a_square_that_is_not_a_batch_stays():
    """The band of a left-to-right tower is [length, length], and the length may equal the batch size."""
    ones = constant("ones", np.ones((16, 16), np.float32))
    assert resized(ones, Node("y", "MatrixBandPart", ("ones", "low", "high"))) == {}


def test_a_fill_of_equal_rows_becomes_one_row():
    sizes = constant("sizes", np.array([16, 64, 1], np.int32))
    fill = Node("ones", "Fill", ("sizes", "one"))
    assert resized(sizes, fill, Node("y", "Mul", ("ones", "x"))) == {"sizes": [1, 64, 1]}
    assert resized(sizes, fill, Node("y", "MatrixBandPart", ("ones", "low", "high"))) == {}


def test_a_graph_of_no_fixed_batch_needs_no_change():
    sizes = constant("sizes", np.array([16, 64], np.int32))
    assert resized(sizes, Node("y", "Fill", ("sizes", "one")), batch=None) == {}


def test_dropouts_in_a_circle_are_refused():
    names = {"a": "b", "b": "a"}
    nodes = [
        constant("rate", np.array(0.1, np.float32)),
        Node("size", "Placeholder", ()),
        Node("noise", "RandomUniform", ("size",)),
        Node("kept", "GreaterEqual", ("noise", "rate")),
        *(Node(f"scaled_{name}", "Mul", (other, "rate")) for name, other in names.items()),
        *(Node(name, "SelectV2", ("kept", f"scaled_{name}", "rate")) for name in names),
    ]
    graph = Graph("by hand", {node.name: node for node in nodes} | {"y": Node("y", "Neg", ("a",))}, {})
    with pytest.raises(GraphError, match="cycle of dropouts"):
        cut_out(Patterns(graph, {}), ["y"])
