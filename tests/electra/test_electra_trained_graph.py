"""Facts read from training graphs, and the graphs run as a reference: Google's own checkpoints and golden outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import FIXTURES, SHARED, google, material

from electra_convert.electra.trained_graph import TrainedGraph, find_facts
from electra_convert.errors import GraphError
from electra_convert.tf1.checkpoint import open_checkpoint
from electra_convert.tf1.graph import Graph, read_graph

# Golden outputs are float32, so they differ from a float64 run by their own rounding.
TOLERANCE = 1e-5

SETS = [
    "base_like", "cased_temperature", "default_small", "electric", "finetuned_classification",
    "finetuned_qa_answerable", "finetuned_qa_independent", "finetuned_qa_joint", "finetuned_regression",
    "finetuned_tagging", "masked_lm", "odd_heads", "partitioned_trained", "relu_activation", "several_steps",
    "tanh_activation", "tied_generator", "trained_tiny", "two_tower", "uniform_generator", "untied_embeddings",
]  # fmt: skip

TRAINING = ["ref_variables", "resource_variables", "tpu_loop", "dropout_1_15", "dropout_1_12", "stripped"]
BARE = ["eval", "placeholder", "dynamic"]
FIELDS = (
    "num_attention_heads", "hidden_act", "layer_norm_eps",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range",
)  # fmt: skip


def folder_with_graph(name: str) -> Path:
    """The folder of a checkpoint, its `.meta` included: not every copy in fixtures/ has one."""
    folder = google(name)
    if not list(folder.glob("*.meta")):
        folder = SHARED / "google" / name
    if not folder.is_dir():
        pytest.skip(f"no graph of {name} in {FIXTURES.name}/, and shared/ is not beside the checkout")
    return folder


def golden(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


@cache
def weights(folder: Path, step: str = "") -> dict[str, np.ndarray]:
    (index,) = folder.glob(f"*{step}.index") if step else folder.glob("*.index")
    with open_checkpoint(index) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.variables}


def shapes_of(variables: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in variables.items()}


def trained(name: str, step: str = "") -> tuple[TrainedGraph, dict[str, np.ndarray], Path]:
    folder = folder_with_graph(name)
    if name == "several_steps":
        step = step or "50"
    variables = weights(folder, step)
    (meta,) = folder.glob(f"*{step}.meta") if step else folder.glob("*.meta")
    return find_facts(read_graph(meta), shapes_of(variables)), variables, folder


def form(name: str, checkpoint: str = "default_small") -> tuple[TrainedGraph, dict[str, np.ndarray], Graph]:
    graph = read_graph(material("graphs", f"{name}.meta"))
    variables = weights(google(checkpoint))
    return find_facts(graph, shapes_of(variables)), variables, graph


def run(facts: TrainedGraph, part: str, inputs: dict[str, np.ndarray], variables, *arguments, **options):
    three = [inputs[key] for key in ("input_ids", "input_mask", "segment_ids")]
    return facts.run(part, *three, variables.__getitem__, *arguments, **options)


def check(results: dict[str, np.ndarray], expected: dict[str, np.ndarray], prefix: str) -> None:
    compared = 0
    for key, value in results.items():
        if f"{prefix}/{key}" in expected:
            np.testing.assert_allclose(value, expected[f"{prefix}/{key}"], rtol=0, atol=TOLERANCE)
            compared += 1
    assert compared


# --- facts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_the_facts_are_those_the_training_was_started_with(name):
    facts, _, folder = trained(name)
    expected = json.loads((folder / "expected_config.json").read_text())
    halves = {"discriminator": "electra", "encoder": "electra", "generator": "generator"}
    if name in ("tied_generator", "masked_lm"):
        halves["generator"] = "electra"
    compared = 0
    for half, scope in halves.items():
        config = expected.get(half, {})
        config = config.get("config_if_it_could", config)
        if "refused" in config or not config:
            continue
        tower = facts.towers[scope]
        found = tower.settings()
        assert {field: found[field].value for field in FIELDS} == {field: config[field] for field in FIELDS}
        assert tower.layers == config["num_hidden_layers"]
        compared += 1
    assert compared


@pytest.mark.parametrize("name", SETS)
def test_every_fact_names_a_node_of_the_graph(name):
    facts, _, folder = trained(name)
    graph = read_graph(folder / Path(facts.where).name)
    named = [fact for tower in facts.towers.values() for fact in tower.settings().values()]
    named += [*facts.special_ids.values(), facts.batch_size, facts.trained_length]
    named += [facts.temperature] if facts.temperature else []
    for fact in named:
        assert fact.node.partition(":")[0] in graph.nodes


@pytest.mark.parametrize("name", SETS)
def test_length_and_special_ids_are_those_of_the_training(name):
    facts, _, folder = trained(name)
    hparams = json.loads((folder / "hparams.json").read_text())
    assert facts.is_training_graph
    assert facts.trained_length.value == hparams["max_seq_length"]
    assert facts.batch_size.value == hparams["train_batch_size"]
    words = (folder / "vocab.txt").read_text().split("\n")
    ids = {token: words.index(token) for token in ("[SEP]", "[CLS]", "[MASK]")}
    found = {token: fact.value for token, fact in facts.special_ids.items()}
    assert found == ({} if name.startswith("finetuned") else ids)


@pytest.mark.parametrize("name", [name for name in SETS if not name.startswith(("finetuned", "uniform"))])
def test_the_temperature_is_that_of_the_training(name):
    facts, _, folder = trained(name)
    assert facts.temperature.value == json.loads((folder / "hparams.json").read_text()).get("temperature", 1.0)


def test_electric_is_told_from_two_towers():
    assert trained("electric")[0].electric is True
    assert trained("two_tower")[0].electric is False
    assert trained("masked_lm")[0].electric is None


def test_the_activation_of_a_head_is_found_too():
    for name, act in (("relu_activation", "relu"), ("tanh_activation", "tanh"), ("default_small", "gelu")):
        parts = trained(name)[0].parts
        assert parts["discriminator"].hidden_act.value == act
        assert parts["generator"].hidden_act.value == act
    assert trained("electric")[0].parts["cloze"].hidden_act.value == "gelu"


@pytest.mark.parametrize("name", TRAINING)
def test_every_form_of_a_training_graph_has_the_same_facts(name):
    facts, _, _ = form(name)
    plain, _, _ = trained("default_small")
    for scope, tower in plain.towers.items():
        found = facts.towers[scope].settings()
        assert {key: fact.value for key, fact in found.items()} == {k: f.value for k, f in tower.settings().items()}
    assert facts.trained_length.value == 32
    assert facts.batch_size.value == (2 if name == "tpu_loop" else 16)
    assert {token: fact.value for token, fact in facts.special_ids.items()} == {"[SEP]": 3, "[CLS]": 2, "[MASK]": 4}


@pytest.mark.parametrize("name", BARE)
def test_without_dropout_or_gradients_dropout_and_spread_are_unknown(name):
    facts, _, _ = form(name)
    assert not facts.is_training_graph
    for tower in facts.towers.values():
        known = {key: fact.value for key, fact in tower.settings().items()}
        assert known == {"num_attention_heads": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-12}


def test_dropout_counts_where_there_are_no_gradients():
    facts, _, _ = form("onehot")
    assert facts.towers["electra"].hidden_dropout_prob.value == 0.1
    assert facts.towers["electra"].initializer_range is None
    facts, _, _ = form("resource_electric", "electric")
    assert facts.electric is True
    assert facts.towers["generator_rtl"].attention_probs_dropout_prob.value == 0.1


def test_a_dynamic_graph_has_no_length():
    facts, _, _ = form("dynamic")
    assert facts.trained_length is None
    assert facts.batch_size is None


# --- traps ------------------------------------------------------------------------------------------------------------


def test_the_graph_tells_heads_that_no_rule_would_give():
    facts, variables, _ = form("traps/two_heads")
    assert facts.towers["electra"].num_attention_heads.value == 2
    assert facts.towers["generator"].num_attention_heads.value == 1
    check_trap("two_heads", facts, variables)


def test_the_tanh_form_of_gelu_is_another_activation():
    facts, variables, _ = form("traps/tanh_gelu")
    assert {tower.hidden_act.value for tower in facts.towers.values()} == {"gelu_new"}
    check_trap("tanh_gelu", facts, variables)


def test_another_epsilon_is_read_as_its_shortest_decimal():
    facts, variables, _ = form("traps/eps_1e-5")
    assert {tower.layer_norm_eps.value for tower in facts.towers.values()} == {1e-5}
    check_trap("eps_1e-5", facts, variables)


def check_trap(name: str, facts: TrainedGraph, variables: dict[str, np.ndarray]) -> None:
    expected = golden(material("graphs", f"traps/{name}.golden.npz"))
    for half in ("discriminator", "generator"):
        results = run(facts, half, expected, variables)
        check({"logits": results["logits"]}, expected, half)
        plain = golden(google("default_small") / "golden.npz")
        assert np.abs(results["logits"] - plain[f"{half}/logits"]).max() > 1e-6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other_size", "does not belong to the checkpoint: shapes differ"),
        ("fewer_layers", "does not belong to the checkpoint: it lacks variables"),
        ("cyclic", "no attention was recognised"),
        ("huge_fill", "no attention was recognised"),
        ("deep", "no attention was recognised"),
    ],
)
def test_graphs_of_another_network_are_refused(name, message):
    with pytest.raises(GraphError, match=message):
        form(f"traps/{name}")


def test_a_graph_of_another_checkpoint_is_refused():
    graph = read_graph(google("default_small") / "model.ckpt-40.meta")
    with pytest.raises(GraphError, match="does not belong"):
        find_facts(graph, shapes_of(weights(google("odd_heads"))))


def test_slots_the_step_and_the_temperature_need_not_be_in_the_graph():
    graph = read_graph(material("graphs", "placeholder.meta"))
    shapes = shapes_of(weights(google("default_small"))) | {"generator_predictions/temperature": ()}
    assert find_facts(graph, shapes).towers
    with pytest.raises(GraphError, match="lacks variables"):
        find_facts(graph, shapes | {"electra/pooler/kernel": (32, 32)})


# Constants of placeholder.meta that are replaced by those of another graph: one layer then differs from the others.
CONTRADICTIONS = [
    ("attention heads", "traps/two_heads", "attention/self/Reshape{}/shape", ("", "_1")),
    ("epsilon", "traps/eps_1e-5", "output/LayerNorm/batchnorm/add{}/y", ("",)),
]


@pytest.mark.parametrize(("what", "other", "name", "numbers"), CONTRADICTIONS)
def test_layers_that_disagree_are_refused(what, other, name, numbers):
    graph = read_graph(material("graphs", "placeholder.meta"))
    foreign = read_graph(material("graphs", f"{other}.meta"))
    nodes = dict(graph.nodes)
    for number in numbers:
        node = f"electra/encoder/layer_1/{name.format(number)}"
        nodes[node] = foreign.nodes[node]
    with pytest.raises(GraphError, match=f"contradicts itself in the {what} of electra"):
        find_facts(replace(graph, nodes=nodes), shapes_of(weights(google("default_small"))))


def test_a_dropout_that_only_some_layers_have_is_refused():
    graph = read_graph(material("graphs", "dropout_1_12.meta"))
    product = graph.nodes["electra/encoder/layer_1/attention/self/MatMul_1"]
    softmax = "electra/encoder/layer_1/attention/self/Softmax"
    nodes = {**graph.nodes, product.name: replace(product, inputs=(softmax, product.inputs[1]))}
    with pytest.raises(GraphError, match="contradicts itself in attention_probs_dropout_prob of electra"):
        find_facts(replace(graph, nodes=nodes), shapes_of(weights(google("default_small"))))


def test_heads_that_do_not_fill_the_hidden_size_are_refused():
    graph = read_graph(material("graphs", "placeholder.meta"))
    donor = "generator/encoder/layer_0/attention/self/Reshape/shape"
    names = [f"electra/encoder/layer_{i}/attention/self/Reshape{n}/shape" for i in (0, 1) for n in ("", "_1")]
    nodes = {**graph.nodes, **{name: replace(graph.nodes[name], raw=graph.nodes[donor].raw) for name in names}}
    with pytest.raises(GraphError, match="do not fill the hidden size"):
        find_facts(replace(graph, nodes=nodes), shapes_of(weights(google("default_small"))))


# --- the graph as a reference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SETS if not name.startswith("finetuned")])
def test_the_graph_gives_the_golden_outputs(name):
    facts, variables, folder = trained(name)
    expected = golden(folder / "golden.npz")
    for half in ("discriminator", "generator"):
        if half in facts.parts:
            results = run(facts, half, expected, variables)
            assert results.keys() == {key.partition("/")[2] for key in expected if key.startswith(half)} - {
                "logits_plus_log_q"
            }
            check(results, expected, half)


def test_another_step_has_a_graph_of_its_own():
    facts, variables, folder = trained("several_steps", "30")
    expected = golden(folder / "golden-30.npz")
    check(run(facts, "discriminator", expected, variables), expected, "discriminator")


@pytest.mark.parametrize("name", [*TRAINING, *BARE, "onehot"])
def test_every_form_of_the_graph_gives_the_golden_outputs(name):
    facts, variables, _ = form(name)
    expected = golden(google("default_small") / "golden.npz")
    for half in ("discriminator", "generator"):
        check(run(facts, half, expected, variables), expected, half)
    check(run(facts, "encoder", expected, variables), expected, "discriminator")


@pytest.mark.parametrize("name", ["electric", "two_tower"])
def test_two_towers_agree_where_padding_cannot_reach(name):
    facts, variables, folder = trained(name)
    expected = golden(folder / "golden.npz")
    results = run(facts, "cloze", expected, variables)
    ltr, rtl = facts.parts["cloze"].towers
    check(
        {key: value for key, value in results.items() if key.startswith(ltr)},
        {f"x/{k}": v for k, v in expected.items()},
        "x",
    )
    # The graph is longer than the golden input: see checkpoints/graphs/README.md on the ends of the shift.
    real = expected["input_mask"].astype(bool)
    inner = real[:, 1:-1] & real[:, 2:]
    difference = np.abs(results["logits"] - expected["two_tower/logits"]).max(axis=-1)[:, 1:-1]
    assert difference[inner].max() < TOLERANCE
    assert np.abs(results[f"{rtl}/hidden_2"] - expected[f"{rtl}/hidden_2"])[real].max() < TOLERANCE


@pytest.mark.parametrize(
    ("name", "part", "layer", "output"),
    [
        ("finetuned_classification", "task/mnli", "dense", "logits"),
        ("finetuned_regression", "task/sts", "dense", "predictions"),
        ("finetuned_tagging", "task/chunk", "dense", "logits"),
        ("finetuned_qa_independent", "task/squadv1", "dense", "start_logits_raw"),
        ("finetuned_qa_independent", "task/squadv1", "dense_1", "end_logits_raw"),
        ("finetuned_qa_answerable", "task/squad", "dense", "start_logits_raw"),
        ("finetuned_qa_answerable", "task/squad", "dense_1", "end_logits_raw"),
        ("finetuned_qa_answerable", "task/squad", "dense_2", "answerable_logit"),
        ("finetuned_qa_joint", "task/squad", "dense", "start_logits_raw"),
        ("finetuned_qa_joint", "task/squad", "dense_3", "answerable_logit"),
    ],
)
def test_a_task_gives_the_golden_outputs(name, part, layer, output):
    facts, variables, folder = trained(name)
    expected = golden(folder / "golden.npz")
    results = run(facts, part, expected, variables)
    check(results, expected, "encoder")
    wanted = expected[f"{part}/{output}"]
    np.testing.assert_allclose(results[layer].reshape(wanted.shape), wanted, rtol=0, atol=TOLERANCE)


def test_outputs_that_need_the_true_answer_are_left_out_with_the_reason():
    facts, _, _ = trained("finetuned_qa_joint")
    assert "dense_1" not in facts.parts["task/squad"].results
    assert facts.not_runnable["task/squad/dense_1"].startswith("needs IteratorGetNext:")


def test_the_graph_with_resource_variables_gives_a_tasks_outputs():
    facts, variables, _ = form("resource_finetuned_classification", "finetuned_classification")
    expected = golden(google("finetuned_classification") / "golden.npz")
    results = run(facts, "task/mnli", expected, variables)
    np.testing.assert_allclose(results["dense"], expected["task/mnli/logits"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("part", ["discriminator", "generator", "encoder"])
def test_a_row_does_not_depend_on_the_rows_beside_it(part):
    facts, variables, _ = trained("default_small")
    inputs = golden(google("default_small") / "golden.npz")
    many = {key: np.concatenate([inputs[key]] * 13) for key in ("input_ids", "input_mask", "segment_ids")}
    together = run(facts, part, many, variables)
    for row in (0, 2, 38):
        alone = run(facts, part, {key: value[row : row + 1] for key, value in many.items()}, variables)
        for key, value in alone.items():
            np.testing.assert_allclose(value[0], together[key][row], rtol=0, atol=1e-12)


def test_shorter_input_is_padded_exactly():
    facts, variables, folder = trained("odd_heads")
    inputs = golden(folder / "golden.npz")
    short = {key: inputs[key][:1, :7] for key in ("input_ids", "segment_ids")}
    full = {key: np.pad(value, ((0, 0), (0, 25)), constant_values=1) for key, value in short.items()}
    short["input_mask"] = np.ones((1, 7), np.int64)
    full["input_mask"] = np.pad(short["input_mask"], ((0, 0), (0, 25)))
    for half in ("discriminator", "generator"):
        padded, plain = run(facts, half, full, variables), run(facts, half, short, variables)
        for key, value in plain.items():
            np.testing.assert_allclose(value, padded[key][:, :7], rtol=0, atol=1e-12)


def test_the_full_length_of_the_graph_can_be_run_and_no_more():
    facts, variables, _ = trained("default_small")
    inputs = dict.fromkeys(("input_ids", "input_mask", "segment_ids"), np.ones((2, 32), np.int32))
    assert run(facts, "generator", inputs, variables)["logits"].shape == (2, 32, 300)
    longer = {key: np.ones((1, 33), np.int32) for key in inputs}
    with pytest.raises(GraphError, match="made for shorter input"):
        run(facts, "generator", longer, variables)


def test_a_dynamic_graph_runs_at_any_length():
    facts, variables, _ = form("dynamic")
    inputs = dict.fromkeys(("input_ids", "input_mask", "segment_ids"), np.ones((1, 100), np.int32))
    assert run(facts, "discriminator", inputs, variables)["logits"].shape == (1, 100)


def test_a_part_that_is_not_there_is_named():
    facts, variables, folder = trained("uniform_generator")
    with pytest.raises(GraphError, match="graph cannot compute the generator"):
        run(facts, "generator", golden(folder / "golden.npz"), variables)


def test_exact_constants_differ_from_those_stored_by_their_rounding_only():
    facts, variables, folder = trained("odd_heads")
    inputs = golden(folder / "golden.npz")
    exact = run(facts, "generator", inputs, variables)["logits"]
    stored = run(facts, "generator", inputs, variables, exact=False)["logits"]
    assert 1e-11 < np.abs(exact - stored).max() < 1e-6


def test_float32_is_float32_throughout():
    facts, variables, folder = trained("default_small")
    inputs = golden(folder / "golden.npz")
    narrow, wide = (run(facts, "discriminator", inputs, variables, dtype) for dtype in ("float32", "float64"))
    for key, value in narrow.items():
        assert value.dtype == np.float32
        assert 1e-9 < np.abs(value - wide[key]).max() < TOLERANCE
