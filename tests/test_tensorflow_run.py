"""TensorFlow and the NumPy interpreter compute the same from every graph; and what is kept away from TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, google, material

import electra_convert
from electra_convert.electra.trained_graph import TrainedGraph, find_facts
from electra_convert.errors import GraphError, MissingExtra
from electra_convert.tensorflow_run import run_in_tensorflow, run_nodes
from electra_convert.tf1 import tensorflow as tensorflow_reader
from electra_convert.tf1.checkpoint import open_checkpoint
from electra_convert.tf1.graph import Graph, Node, read_graph

# Both run in float64, in different orders of addition; the largest difference met is 2e-14 of scale.
TOLERANCE = 1e-12

# Golden outputs are float32, and of size 2 to 4.
GOLDEN_TOLERANCE = 1e-5

# Graphs of one network, written in the ways of several years; `dynamic` has no sizes, the traps other settings.
FORMS = [
    "ref_variables", "resource_variables", "onehot", "tpu_loop", "dropout_1_15", "dropout_1_12", "stripped", "eval",
    "placeholder", "dynamic", "traps/two_heads", "traps/tanh_gelu", "traps/eps_1e-5",
]  # fmt: skip

OTHER_FORMS = {"resource_electric": "electric", "resource_finetuned_classification": "finetuned_classification"}

INPUTS = ("input_ids", "input_mask", "segment_ids")

Arrays = Mapping[str, np.ndarray]


def sets_with_graph() -> list[str]:
    """Every set of Google's code that has a graph here, or beside the checkout; none where the latter is absent."""
    folders = sorted((SHARED / "google").glob("*/"))
    return [folder.name for folder in folders if list(folder.glob("*.meta"))] or ["default_small", "odd_heads"]


@cache
def weights(folder: Path) -> Arrays:
    with open_checkpoint(folder) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.variables}


def golden(folder: Path) -> Arrays:
    with np.load(next(folder.glob("golden*.npz"))) as file:
        return dict(file)


def trained(meta: Path, checkpoint: str) -> tuple[TrainedGraph, Arrays, Arrays]:
    """The graph of a file, with the weights and the golden outputs of a set."""
    folder = google(checkpoint)
    variables = weights(folder)
    return find_facts(read_graph(meta), {n: v.shape for n, v in variables.items()}), variables, golden(folder)


def own_graph(name: str) -> tuple[TrainedGraph, Arrays, Arrays]:
    folder = google(name)
    metas = sorted(folder.glob("*.meta")) or sorted((SHARED / "google" / name).glob("*.meta"))
    if not metas:
        pytest.skip(f"no graph of {name} in fixtures/, and shared/ is not beside the checkout")
    return trained(metas[-1], name)


def in_tensorflow(facts: TrainedGraph, part: str, inputs: Arrays, variables: Arrays, *arguments, **options):
    three = [inputs[key] for key in INPUTS]
    return run_in_tensorflow(facts, part, *three, variables.__getitem__, *arguments, **options)


def in_numpy(facts: TrainedGraph, part: str, inputs: Arrays, variables: Arrays, *arguments, **options):
    three = [inputs[key] for key in INPUTS]
    return facts.run(part, *three, variables.__getitem__, *arguments, **options)


def check_every_part(facts: TrainedGraph, variables: Arrays, inputs: Arrays) -> None:
    for part in facts.parts:
        ours, theirs = (function(facts, part, inputs, variables) for function in (in_numpy, in_tensorflow))
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert value.dtype == np.float64
            assert value.shape == ours[key].shape
            assert np.abs(value - ours[key]).max() <= TOLERANCE * np.abs(ours[key]).max()


# --- the same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sets_with_graph())
def test_every_part_gives_in_tensorflow_what_it_gives_in_numpy(name):
    pytest.importorskip("tensorflow")
    check_every_part(*own_graph(name))


@pytest.mark.parametrize("name", [*FORMS, *OTHER_FORMS])
def test_every_form_of_a_graph_gives_in_tensorflow_what_it_gives_in_numpy(name):
    pytest.importorskip("tensorflow")
    check_every_part(*trained(material("graphs", f"{name}.meta"), OTHER_FORMS.get(name, "default_small")))


@pytest.mark.parametrize("name", ["default_small", "odd_heads"])
@pytest.mark.parametrize("half", ["discriminator", "generator"])
def test_tensorflow_gives_the_golden_outputs(name, half):
    pytest.importorskip("tensorflow")
    facts, variables, expected = own_graph(name)
    results = in_tensorflow(facts, half, expected, variables)
    assert {f"{half}/{key}" for key in results} <= expected.keys()
    for key, value in results.items():
        np.testing.assert_allclose(value, expected[f"{half}/{key}"], rtol=0, atol=GOLDEN_TOLERANCE)


def test_float32_is_float32_throughout():
    pytest.importorskip("tensorflow")
    facts, variables, inputs = own_graph("default_small")
    narrow = in_tensorflow(facts, "generator", inputs, variables, np.float32)
    wide = in_tensorflow(facts, "generator", inputs, variables)
    for key, value in narrow.items():
        assert value.dtype == np.float32
        assert 1e-9 < np.abs(value - wide[key]).max() < GOLDEN_TOLERANCE


def test_the_constants_may_stay_as_they_are_stored():
    pytest.importorskip("tensorflow")
    facts, variables, inputs = own_graph("odd_heads")
    exact = in_tensorflow(facts, "generator", inputs, variables)["logits"]
    stored = in_tensorflow(facts, "generator", inputs, variables, exact=False)["logits"]
    assert 1e-11 < np.abs(exact - stored).max() < 1e-6
    ours = in_numpy(facts, "generator", inputs, variables, exact=False)["logits"]
    assert np.abs(ours - stored).max() <= TOLERANCE * np.abs(ours).max()


def test_a_weight_changed_in_its_last_place_is_seen():
    pytest.importorskip("tensorflow")
    facts, variables, inputs = own_graph("default_small")
    name = "electra/encoder/layer_1/output/dense/kernel"
    changed = variables[name].copy()
    changed[3, 5] = np.nextafter(changed[3, 5], np.float32(9))
    ours = in_numpy(facts, "discriminator", inputs, variables)
    theirs = in_tensorflow(facts, "discriminator", inputs, {**variables, name: changed})
    equal = {key: np.abs(theirs[key] - ours[key]).max() <= TOLERANCE * np.abs(ours[key]).max() for key in ours}
    assert (equal["hidden_0"], equal["hidden_1"], equal["hidden_2"]) == (True, True, False)


# --- nodes by hand ----------------------------------------------------------------------------------------------------


def no_variable(name: str) -> np.ndarray:
    raise AssertionError(name)


def graph_of(build, path: Path) -> Graph:
    """The graph that TensorFlow writes of what `build` makes with it."""
    tf = pytest.importorskip("tensorflow")
    with tf.Graph().as_default() as graph:
        build(tf)
        tf.compat.v1.train.export_meta_graph(str(path / "by_hand.meta"), graph=graph)
    return read_graph(path / "by_hand.meta")


def test_variables_are_read_through_handles_and_loops(tmp_path):
    def build(tf):
        handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[4, 3], name="v")
        inside = tf.raw_ops.Enter(data=handle, frame_name="loop", name="enter")
        tf.raw_ops.ReadVariableOp(resource=inside, dtype=tf.float32, name="read")
        ids = tf.compat.v1.placeholder(tf.int64, [None], name="ids")
        tf.raw_ops.ResourceGather(resource=handle, indices=ids, dtype=tf.float32, name="rows")
        tf.raw_ops.ResourceGather(resource=handle, indices=[[0]] * 4, dtype=tf.float32, batch_dims=1, name="each")

    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    graph = graph_of(build, tmp_path)
    feeds = {"ids": np.array([3, 1], np.int32)}
    out = run_nodes(graph, ["read", "rows:0"], feeds, {"v": table}.__getitem__)
    np.testing.assert_array_equal(out["read"], table)
    np.testing.assert_array_equal(out["rows:0"], table[[3, 1]])
    assert {value.dtype for value in out.values()} == {np.dtype(np.float64)}
    with pytest.raises(GraphError, match="ResourceGather at node each has batch_dims"):
        run_nodes(graph, ["each"], feeds, {"v": table}.__getitem__)


def test_any_tensor_can_be_fed_also_one_of_several_outputs(tmp_path):
    def build(tf):
        rows = tf.compat.v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors((1.0, 2.0))).get_next()
        tf.subtract(rows[1], rows[0], name="y")

    graph = graph_of(build, tmp_path)
    first, second = graph.nodes["y"].inputs[::-1]
    feeds = {first: np.float32(3), second: np.array(5)}
    assert second.endswith(":1")
    assert run_nodes(graph, ["y", second], feeds, no_variable) == {"y": 2.0, second: 5.0}


def test_a_constant_that_is_given_is_one_still(tmp_path):
    graph = graph_of(lambda tf: tf.reshape(tf.zeros([2, 3], name="x"), [3, 2], name="y"), tmp_path)
    (shape,) = graph.nodes["y"].inputs[1:]
    out = run_nodes(
        graph, ["y"], {"x": np.arange(4, dtype=np.float16).reshape(2, 2), shape: np.array([-1])}, no_variable
    )
    np.testing.assert_array_equal(out["y"], [0, 1, 2, 3])


def test_a_shape_that_is_given_is_known_before_the_run(tmp_path):
    graph = graph_of(lambda tf: tf.fill([1, 2], 1.0, name="y"), tmp_path)
    (dims, _) = graph.nodes["y"].inputs
    assert run_nodes(graph, ["y"], {dims: np.array([3, 2])}, no_variable)["y"].shape == (3, 2)
    with pytest.raises(GraphError, match="result of node y is too large") as caught:
        run_nodes(graph, ["y"], {dims: np.array([131072, 131072])}, no_variable)
    assert caught.value.where == graph.where


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float64"])
def test_every_floating_point_type_becomes_that_of_the_run(tmp_path, stored):
    def build(tf):
        x = tf.constant([1.5, -2.0], stored)
        tf.cast(tf.cast(x * x, tf.int32, name="whole"), stored, name="y")

    out = run_nodes(graph_of(build, tmp_path), ["y", "mul", "whole"], {}, no_variable)
    assert [value.dtype.name for value in out.values()] == ["float64", "float64", "int32"]
    np.testing.assert_array_equal(out["y"], [2, 4])


# --- what is refused --------------------------------------------------------------------------------------------------


def test_an_op_that_the_interpreter_does_not_know_is_not_given_to_tensorflow(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    graph = graph_of(lambda tf: tf.io.read_file(str(secret), name="y"), tmp_path)
    with pytest.raises(GraphError, match="not runnable: op ReadFile at node y"):
        run_nodes(graph, ["y"], {}, no_variable)


@pytest.mark.parametrize("value", [1, 1.0])
def test_a_result_that_is_too_large_is_refused_before_it_is_computed(tmp_path, value):
    def build(tf):
        tf.fill([131072, 131072], value, name="big")
        tf.constant(value, shape=[1 << 30], name="long")

    graph = graph_of(build, tmp_path)
    for name in ("big", "long"):
        with pytest.raises(GraphError, match=f"result of node {name}(/stored)? is too large"):
            run_nodes(graph, [name], {}, no_variable)


def test_a_graph_with_a_cycle_is_refused():
    pytest.importorskip("tensorflow")
    graph = read_graph(material("graphs", "traps/cyclic.meta"))
    with pytest.raises(GraphError, match="cycle"):
        run_nodes(graph, ["logits"], {"input_ids": np.zeros((1, 8), np.int32)}, no_variable)


@pytest.mark.parametrize("fault", ["inputs", "bytes", "type", "number", "shape", "constant"])
def test_what_tensorflow_refuses_is_said_in_its_words(tmp_path, fault):
    def build(tf):
        tf.add(tf.compat.v1.placeholder(tf.float32, name="x"), tf.constant([1.0, 2.0], name="c"), name="y")

    graph = graph_of(build, tmp_path)
    y, c = graph.nodes["y"], graph.nodes["c"]
    changed = {
        "inputs": replace(y, inputs=("x",)),
        "bytes": replace(y, raw=y.raw[:-1]),
        "type": replace(y, raw=y.raw.replace(b"\x0a\x01T", b"\x0a\x01U")),
        "number": replace(y, raw=y.raw.replace(b"\x0a\x01T\x12\x020\x01", b"\x0a\x01T\x12\x020\x4d")),
        "constant": Node("c", "Const", ()),
        "shape": c,
    }[fault]
    graph = replace(graph, nodes={**graph.nodes, changed.name: changed})
    with pytest.raises(GraphError, match="TensorFlow cannot run the graph") as caught:
        run_nodes(graph, ["y"], {"x": np.ones(3 if fault == "shape" else 2)}, no_variable)
    assert caught.value.where == graph.where
    assert caught.value.found
    assert "\n" not in caught.value.found


def test_an_id_outside_the_vocabulary_is_refused_not_taken_from_the_end(tmp_path):
    def build(tf):
        tf.raw_ops.GatherV2(
            params=tf.ones([5, 3]), indices=tf.compat.v1.placeholder(tf.int32, name="ids"), axis=0, name="y"
        )

    graph = graph_of(build, tmp_path)
    for outside in (-1, 5):
        with pytest.raises(GraphError, match="TensorFlow cannot run the graph") as caught:
            run_nodes(graph, ["y"], {"ids": np.array([outside])}, no_variable)
        assert caught.value.found == f"indices[0] = {outside} is not in [0, 5)"
        assert caught.value.facts["node"] == "y"


def test_the_part_the_length_and_the_reasons_are_those_of_the_plan():
    facts, variables, inputs = own_graph("default_small")
    with pytest.raises(GraphError, match="graph cannot compute the cloze"):
        in_tensorflow(facts, "cloze", inputs, variables)
    longer = dict.fromkeys(INPUTS, np.ones((1, 33), np.int32))
    with pytest.raises(GraphError, match="made for shorter input"):
        in_tensorflow(facts, "generator", longer, variables)


# --- TensorFlow itself ------------------------------------------------------------------------------------------------


def test_without_tensorflow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    facts, variables, inputs = own_graph("default_small")
    with pytest.raises(MissingExtra) as caught:
        in_tensorflow(facts, "discriminator", inputs, variables)
    assert caught.value.hint == "pip install 'electra-convert[tensorflow]'"
    assert caught.value.exit_code == 4


def test_tensorflow_is_imported_only_when_it_runs_and_says_nothing():
    pytest.importorskip("tensorflow")
    script = """
import os, sys
from electra_convert import tensorflow_run
from electra_convert.tf1.graph import Graph, Node
assert "tensorflow" not in sys.modules
before = dict(os.environ)
graph = Graph("by hand", {"x": Node("x", "Placeholder", ())}, {})
print(tensorflow_run.run_nodes(graph, ["x"], {"x": 2.5}, None)["x"])
assert os.environ == before
"""
    inherited = {name: value for name, value in os.environ.items() if name not in tensorflow_reader._QUIET}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=inherited, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "2.5\n", "")


def test_a_log_level_of_the_user_stays(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    with tensorflow_reader._quiet():
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
        assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ


# --- verify -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "out"
    electra_convert.convert(google("default_small"), out, export="both", verify=False)
    return out


def test_verify_compares_with_the_graph_in_tensorflow(converted):
    pytest.importorskip("tensorflow")
    pytest.importorskip("torch")
    parity = electra_convert.verify(google("default_small"), converted, reference="tensorflow")
    assert parity.passed
    assert [half.half for half in parity.halves] == ["discriminator", "generator"]
    for half in parity.halves:
        assert half.references[0] == "the original graph in TensorFlow"
        compared = [check for check in half.checks if check.rung == "float64" and check.against == "graph"]
        assert compared
        assert all(check.found <= TOLERANCE * check.scale for check in compared)


def test_verify_says_which_extra_the_reference_needs(converted, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtra, match="TensorFlow is not installed"):
        electra_convert.verify(google("default_small"), converted, reference="tensorflow")
