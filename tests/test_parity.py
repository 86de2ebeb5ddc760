"""`verify` says yes to every right conversion, also of other tools, and no or a clean refusal to everything else."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED, all_of, google, material

from electra_convert import convert, open_checkpoint, verify
from electra_convert.electra import reference
from electra_convert.electra.battery import Batch
from electra_convert.electra.mapping import ARCHITECTURE, HalfName
from electra_convert.errors import FolderError, GraphError, InputError, LayoutError, MissingExtra, ParityError
from electra_convert.examination import examine
from electra_convert.parity import Parity
from electra_convert.proof import HEADS, Proof

torch = pytest.importorskip("torch")

HALVES: tuple[HalfName, HalfName] = ("discriminator", "generator")
FILES = "files"

# Small, and quick to verify. Its generator has an embedding table of its own.
PLAIN = "untied_embeddings"

# Without a `.meta` nothing but hparams tells what these do.
TOLD = {"odd_heads", "relu_activation", "tanh_activation", "cased_temperature"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def _place() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="electra-converted-")


@functools.cache
def conversion(name: str, half: str, dtype: str | None) -> Path:
    folder = google(name)
    out = Path(_place().name) / f"{name}-{half}-{dtype}"
    hparams = folder / "hparams.json" if name in TOLD and not list(folder.glob("*.meta")) else None
    convert(folder, out, export=half, verify=False, dtype=dtype, hparams=hparams)  # type: ignore[arg-type]
    return out


def converted(name: str, out: Path, half: str = "discriminator", dtype: str | None = None) -> None:
    """Put a conversion at `out`."""
    shutil.copytree(conversion(name, half, dtype), out)


def failed(parity: Parity) -> list[str]:
    return [f"{check.rung} {check.name}: {check.found} {check.reason}" for check in parity.checks if not check.passed]


# --- right conversions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", all_of("google"))
@pytest.mark.parametrize("half", HALVES)
def test_a_right_conversion_is_proven(name: str, half: HalfName, tmp_path: Path) -> None:
    """Every half that converts: in float64 to 1e-13 of scale, and against the graph wherever there is one."""
    try:
        converted(name, tmp_path / "out", half)
    except InputError:
        pytest.skip(f"{name} has no {half} to export")
    parity = verify(google(name), tmp_path / "out")
    assert failed(parity) == []
    (proven,) = parity.halves
    share = proven.worst_share("float64")
    assert share is not None
    assert share < 1e-13
    with open_checkpoint(google(name)) as checkpoint:
        graph = checkpoint.meta is not None
    assert proven.references == (("the original graph", "reference.py") if graph else ("reference.py",))
    assert bool(proven.unproven) != graph


ROUNDED = ("default_small", "odd_heads", "dtype_float16", "dtype_bfloat16", "dtype_float64")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ROUNDED)
def test_an_export_in_any_type_is_proven(name: str, dtype: str, tmp_path: Path) -> None:
    """References take the rounded weights, whatever type the checkpoint's have."""
    converted(name, tmp_path / "out", "both", dtype=dtype)
    parity = verify(google(name), tmp_path / "out")
    assert failed(parity) == []
    assert [half.dtype for half in parity.halves] == [dtype, dtype]


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [("float32", None, None), ("float16", 1e-5, 1e-2), ("bfloat16", 1e-4, 1e-1)]
)
def test_how_far_rounding_moves_the_outputs_is_told(dtype: str, least: float, most: float, tmp_path: Path) -> None:
    """A folder in 16 bits is equal to the rounded checkpoint, and says how far that is from the checkpoint itself."""
    (made,) = convert(google("odd_heads"), tmp_path / "out", dtype=dtype).halves
    (half,) = verify(google("odd_heads"), tmp_path / "out").halves
    assert half.to_json()["rounding"] == half.rounding
    if least is None:
        assert half.rounding is None
        assert "Rounding" not in made.verification.text
    else:
        assert half.rounding is not None
        assert least < half.rounding < most
        told = f"Rounding the weights to {dtype} moved them by up to {made.verification.figures['rounding']:g}"
        assert told in made.verification.text
        assert half.rounding <= made.verification.figures["rounding"] < 10 * half.rounding


@pytest.mark.parametrize("seed", [1, 2, 12345])
def test_other_inputs_change_nothing(seed: int, tmp_path: Path) -> None:
    converted("odd_heads", tmp_path / "out", "both")
    parity = verify(google("odd_heads"), tmp_path / "out", seed=seed)
    assert failed(parity) == []
    assert parity.seed == seed


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", all_of("google"))
def test_no_false_alarm(name: str, dtype: str, tmp_path: Path, record_property: Any) -> None:
    """Both halves, 20 seeds; prints how close to its limit each rung came."""
    if name.startswith("finetuned_"):
        pytest.skip("has neither half")
    converted(name, tmp_path / "out", "available", dtype)
    ratios: dict[str, float] = {}
    share = 0.0
    with open_checkpoint(google(name)) as source:
        for seed in range(20):
            parity = verify(source, tmp_path / "out", seed=seed)
            assert failed(parity) == []
            for check in parity.checks:
                if isinstance(check.found, float) and isinstance(check.limit, float):
                    key = f"{check.rung} against {check.against}"
                    ratios[key] = max(ratios.get(key, 0.0), check.found / check.limit)
            share = max(share, *(half.worst_share("float64") or 0.0 for half in parity.halves))
    record_property("worst", {**ratios, "share of scale in float64": share})
    print(f"\n{name} {dtype}: {', '.join(f'{key} {ratio:.3g}' for key, ratio in ratios.items())}, share {share:.1e}")


def test_two_halves_are_proven_one_by_one(tmp_path: Path) -> None:
    converted("default_small", tmp_path / "out", "both")
    parity = verify(google("default_small"), tmp_path / "out")
    assert failed(parity) == []
    assert [half.half for half in parity.halves] == list(HALVES)
    shutil.rmtree(tmp_path / "out" / "generator")
    assert [half.half for half in verify(google("default_small"), tmp_path / "out").halves] == ["discriminator"]


def test_the_verdict_is_plain_data(tmp_path: Path) -> None:
    converted("odd_heads", tmp_path / "out")
    parity = verify(google("odd_heads"), tmp_path / "out")
    assert json.loads(json.dumps(parity.to_json()))["passed"] is True
    assert parity.summary() == f"{len(parity.checks)} of {len(parity.checks)} checks hold"


def test_a_conversion_proves_itself_and_says_how(tmp_path: Path) -> None:
    verification = convert(google("odd_heads"), tmp_path / "out").halves[0].verification
    assert (verification.state, verification.references) == ("proven", ("the original graph", "reference.py"))
    assert verification.figures["float64"] <= 1e-13
    assert verify(google("odd_heads"), tmp_path / "out").passed


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "references", "against"),
    [
        ("auto", ("the original graph", "reference.py"), {"graph", "reference.py"}),
        ("graph", ("the original graph",), {"graph"}),
        ("numpy", ("reference.py",), {"reference.py"}),
    ],
)
def test_a_reference_asked_for_is_the_only_one(
    wanted: Any, references: tuple[str, ...], against: set[str], tmp_path: Path
) -> None:
    converted("default_small", tmp_path / "out")
    parity = verify(google("default_small"), tmp_path / "out", reference=wanted)
    assert failed(parity) == []
    assert parity.halves[0].references == references
    assert {check.against for check in parity.checks if check.rung in {"float64", "float32"}} == against


def test_the_graph_alone_does_not_run_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("reference.py was run")

    converted("default_small", tmp_path / "out")
    monkeypatch.setattr(reference, "run", refuse)
    parity = verify(google("default_small"), tmp_path / "out", reference="graph")
    assert failed(parity) == []
    assert "longer than the graph's row" in parity.halves[0].unproven[0]


def test_a_graph_asked_for_must_be_there(tmp_path: Path) -> None:
    converted("v1_format", tmp_path / "out")
    with pytest.raises(GraphError, match="there is no graph to compare with"):
        verify(google("v1_format"), tmp_path / "out", reference="graph")


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["default_small", "odd_heads"])
def test_graph_reference_model_and_golden_outputs_agree(name: str, half: HalfName, tmp_path: Path) -> None:
    """On Google's own inputs: golden outputs within float32's noise, the three others to 1e-13 of scale."""
    from electra_convert.electra import model

    converted(name, tmp_path / "out", half)
    with np.load(google(name) / "golden.npz") as golden, open_checkpoint(google(name)) as source:
        batch = Batch("golden", *(golden[key].astype(np.int64) for key in ("input_ids", "input_mask", "segment_ids")))
        proof = Proof(source, examine(source), half, tmp_path / "out")
        graph = proof.examination.graph
        assert graph is not None
        graphs = graph.run(half, batch.input_ids, batch.input_mask, batch.segment_ids, proof.variable)
        (ours,), (reference64,) = model.run(proof.model, [batch]), reference.run(proof.network, proof.variable, [batch])
        proof.close()
        states = {f"hidden_{i}": (ours.hidden_states[i], state) for i, state in enumerate(reference64.hidden_states)}
        for key, (mine, numpy) in {**states, "logits": (ours.logits, reference64.logits)}.items():
            scale = np.abs(numpy).max()
            assert np.abs(mine - numpy).max() <= 1e-13 * scale
            assert np.abs(graphs[key] - numpy).max() <= 1e-13 * scale
            assert np.abs(golden[f"{half}/{key}"] - numpy).max() <= 5e-6 * scale
    assert HEADS[half] == proof.network.head


# --- graphs of other eras, and traps ----------------------------------------------------------------------------------

GOOD = (
    "dropout_1_12",
    "dropout_1_15",
    "dynamic",
    "eval",
    "onehot",
    "placeholder",
    "ref_variables",
    "resource_variables",
    "stripped",
    "tpu_loop",
)


def with_graph(graph: str, place: Path, name: str = "default_small") -> Path:
    """Return a copy of a checkpoint beside which another graph stands."""
    graph_file = material("graphs", f"{graph}.meta")
    folder = place / "checkpoint"
    shutil.copytree(google(name), folder, ignore=shutil.ignore_patterns("*.meta", "*.meta.xz"))
    prefix = next(folder.glob("*.index")).stem
    shutil.copyfile(graph_file, folder / f"{prefix}.meta")
    return folder


@pytest.mark.parametrize("graph", GOOD)
def test_a_graph_of_any_form_proves_both_halves(graph: str, tmp_path: Path) -> None:
    checkpoint = with_graph(graph, tmp_path)
    made = convert(checkpoint, tmp_path / "out", export="both", verify=False)
    assert [notice.code for notice in made.warnings] == []
    parity = verify(checkpoint, tmp_path / "out")
    assert failed(parity) == []
    for half in parity.halves:
        assert half.references == ("the original graph", "reference.py")
        assert half.unproven == ()
        share = half.worst_share("float64")
        assert share is not None
        assert share < 1e-13


def test_a_graph_with_resource_variables_proves_electric(tmp_path: Path) -> None:
    checkpoint = with_graph("resource_electric", tmp_path, "electric")
    convert(checkpoint, tmp_path / "out", verify=False)
    parity = verify(checkpoint, tmp_path / "out", reference="graph")
    assert failed(parity) == []


def test_the_graph_of_a_fine_tuned_checkpoint_gives_facts_only(tmp_path: Path) -> None:
    checkpoint = with_graph("resource_finetuned_classification", tmp_path, "finetuned_classification")
    with open_checkpoint(checkpoint) as source:
        graph = examine(source).graph
    assert graph is not None
    assert graph.towers["electra"].num_attention_heads.value == 1
    with pytest.raises(LayoutError):
        convert(checkpoint, tmp_path / "out")


@pytest.mark.parametrize(
    ("graph", "half", "expected"),
    [
        ("two_heads", "discriminator", {"num_attention_heads": 2}),
        ("two_heads", "generator", {"num_attention_heads": 1}),
        ("eps_1e-5", "discriminator", {"layer_norm_eps": 1e-5}),
        ("eps_1e-5", "generator", {"layer_norm_eps": 1e-5}),
        ("tanh_gelu", "discriminator", {"hidden_act": "gelu_new"}),
    ],
)
def test_a_graph_that_says_something_else_is_obeyed(
    graph: str, half: HalfName, expected: dict[str, Any], tmp_path: Path
) -> None:
    """And proves what it says: the outputs are those that TensorFlow gave for it, and the plain graph contradicts."""
    checkpoint = with_graph(f"traps/{graph}", tmp_path)
    (made,) = convert(checkpoint, tmp_path / "out", export=half).halves
    assert {key: made.config[key] for key in expected} == expected
    assert made.verification.state == "proven"
    assert "the original graph" in made.verification.references

    from electra_convert.electra import model

    with np.load(material("graphs", f"traps/{graph}.golden.npz")) as golden:
        batch = Batch("golden", *(golden[key].astype(np.int64) for key in ("input_ids", "input_mask", "segment_ids")))
        (ours,) = model.run(model.from_folder(tmp_path / "out", "float64"), [batch])
        assert ours.logits is not None
        assert np.abs(ours.logits - golden[f"{half}/logits"]).max() <= 1e-5
    if (graph, half) != ("two_heads", "generator"):
        (told,) = verify(google("default_small"), tmp_path / "out").halves
        assert {check.against for check in told.failed if check.rung == "float64"} == {"graph"}


def test_the_generator_of_another_activation_is_refused(tmp_path: Path) -> None:
    """Its head in transformers is always gelu."""
    with pytest.raises(LayoutError, match="its activation is gelu_new"):
        convert(with_graph("traps/tanh_gelu", tmp_path), tmp_path / "out", export="generator")


@pytest.mark.parametrize("graph", ["fewer_layers", "other_size", "cyclic", "huge_fill", "truncated", "deep"])
def test_a_graph_that_cannot_be_used_stops_nothing(graph: str, tmp_path: Path) -> None:
    checkpoint = with_graph(f"traps/{graph}", tmp_path)
    made = convert(checkpoint, tmp_path / "out", export="both")
    assert [notice.code for notice in made.warnings] == ["graph-unusable", "rule", "rule"]
    assert [half.verification.references for half in made.halves] == [("reference.py",)] * 2
    assert "they are taken from config.json" in made.halves[0].verification.unproven[0]
    assert verify(checkpoint, tmp_path / "out").passed


# --- folders of other tools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", HALVES)
def test_what_transformers_saves_is_proven(half: HalfName, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    converted(PLAIN, tmp_path / "ours", half)
    getattr(transformers, ARCHITECTURE[half]).from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    parity = verify(google(PLAIN), tmp_path / "theirs")
    assert failed(parity) == []
    assert not any(check.name == FILES for check in parity.checks)


def rewritten(half: HalfName, place: Path, change: Any, save: Any, name: str = "model.safetensors") -> Path:
    """Return a folder with a config and weights only, changed and saved in another way."""
    from safetensors.torch import load_file

    converted(PLAIN, place / "ours", half)
    other = place / "other"
    other.mkdir()
    shutil.copyfile(place / "ours" / "config.json", other / "config.json")
    save(change(load_file(place / "ours" / "model.safetensors")), other / name)
    return other


def save_safetensors(tensors: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def with_old_names(tensors: dict[str, Any]) -> dict[str, Any]:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in tensors.items():
        for current, before in old.items():
            name = name.replace(current, before)
        renamed[name] = tensor
    return renamed


def with_extras(tensors: dict[str, Any]) -> dict[str, Any]:
    extras = {"electra.embeddings.position_ids": torch.arange(128)[None]}
    if "generator_lm_head.bias" in tensors:
        extras["generator_lm_head.weight"] = tensors["electra.embeddings.word_embeddings.weight"]
    return {**tensors, **extras}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("change", [dict, with_old_names, with_extras], ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    ("save", "name"), [(save_safetensors, "model.safetensors"), (torch.save, "pytorch_model.bin")], ids=["st", "bin"]
)
def test_other_spellings_and_files_are_proven(
    half: HalfName, change: Any, save: Any, name: str, tmp_path: Path
) -> None:
    other = rewritten(half, tmp_path, change, save, name)
    parity = verify(google(PLAIN), other)
    assert failed(parity) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_a_pickle_of_another_type_is_proven(dtype: Any, tmp_path: Path) -> None:
    def cast(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: torch.nn.Parameter(tensor.to(dtype)) for name, tensor in tensors.items()}

    other = rewritten("discriminator", tmp_path, cast, torch.save, "pytorch_model.bin")
    config = json.loads((other / "config.json").read_text())
    told = {"dtype": str(dtype).split(".")[1], "torch_dtype": None}
    (other / "config.json").write_text(json.dumps({**config, **told}))
    assert failed(verify(google(PLAIN), other)) == []


def test_the_half_is_told_by_the_tensors_where_the_config_does_not(tmp_path: Path) -> None:
    for half in HALVES:
        (tmp_path / half).mkdir()
        other = rewritten(half, tmp_path / half, dict, save_safetensors)
        config = json.loads((other / "config.json").read_text())
        for silent in (None, [], "ElectraForMaskedLM", 5):
            (other / "config.json").write_text(json.dumps({**config, "architectures": silent}))
            parity = verify(google(PLAIN), other)
            assert failed(parity) == []
            assert parity.halves[0].half == half


def test_the_model_card_may_be_written_on(tmp_path: Path) -> None:
    """People add a licence and a text; no output depends on it."""
    converted("odd_heads", tmp_path / "out")
    with (tmp_path / "out" / "README.md").open("a") as card:
        card.write("More.\n")
    assert failed(verify(google("odd_heads"), tmp_path / "out")) == []


@pytest.mark.parametrize("half", HALVES)
def test_the_installed_transformers_is_one_rung_more(half: HalfName, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    converted("odd_heads", tmp_path / "out", half)
    parity = verify(google("odd_heads"), tmp_path / "out", with_transformers=True)
    assert failed(parity) == []
    assert {"loading report", "logits"} <= {check.name for check in parity.checks if check.rung == "transformers"}


# --- the answer is no -------------------------------------------------------------------------------------------------


def test_another_checkpoint_of_the_same_sizes_is_a_no(tmp_path: Path) -> None:
    """Every tensor is checked (one has a single value), the first are explained; `check` raises the first fault."""
    converted("default_small", tmp_path / "out")
    with open_checkpoint(google("default_small")) as source:
        other = {name: source.read(name) for name in source.variables}
    from builders import write_v2

    write_v2(tmp_path / "model.ckpt-9", {name: value[::-1] if value.ndim else value for name, value in other.items()})
    parity = verify(tmp_path / "model.ckpt-9", tmp_path / "out")
    assert {check.rung for check in parity.checks if not check.passed} == {"bytes", "float64", "float32"}
    assert len([text for text in parity.halves[0].explanations if "first at [0" in text]) == 5
    assert "and 37 more tensors" in parity.halves[0].explanations
    with pytest.raises(ParityError, match="does not compute what the checkpoint computes") as error:
        verify(tmp_path / "model.ckpt-9", tmp_path / "out", check=True)
    assert error.value.exit_code == 1


@pytest.mark.parametrize(("name", "other"), [("default_small", "odd_heads"), ("odd_heads", "base_like")])
@pytest.mark.parametrize("half", HALVES)
def test_a_checkpoint_of_other_sizes_is_a_no(name: str, other: str, half: HalfName, tmp_path: Path) -> None:
    converted(name, tmp_path / "out", half)
    parity = verify(google(other), tmp_path / "out")
    assert not parity.passed
    assert {(check.rung, check.name) for check in parity.checks if not check.passed} == {
        ("structure", "tensors"),
        ("structure", "sizes"),
        ("bytes", "bytes"),
    }
    assert any("hidden_size is" in check.reason for check in parity.checks)


def test_a_folder_that_claims_to_be_the_other_half_is_a_no(tmp_path: Path) -> None:
    for half, other in zip(HALVES, HALVES[::-1], strict=True):
        converted("default_small", tmp_path / half, half)
        config = json.loads((tmp_path / half / "config.json").read_text())
        (tmp_path / half / "config.json").write_text(json.dumps({**config, "architectures": [ARCHITECTURE[other]]}))
        parity = verify(google("default_small"), tmp_path / half)
        assert any(check.reason.startswith("missing ") for check in parity.checks if check.name == "tensors")


def test_one_wrong_half_is_a_no_for_both(tmp_path: Path) -> None:
    converted("odd_heads", tmp_path / "out", "both")
    (tmp_path / "out" / "generator" / "vocab.txt").write_text("[PAD]\n")
    parity = verify(google("odd_heads"), tmp_path / "out")
    assert [half.passed for half in parity.halves] == [True, False]
    assert not parity.passed
    assert parity.summary().endswith("checks fail, the first at files (structure)")


def test_a_generator_of_a_checkpoint_without_one_is_refused(tmp_path: Path) -> None:
    converted("default_small", tmp_path / "out", "generator")
    with pytest.raises(LayoutError, match="no generator can be exported"):
        verify(google("uniform_generator"), tmp_path / "out")


# --- what is no such folder -------------------------------------------------------------------------------------------


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def another_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')


def another_class(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["ElectraForMultipleChoice"]}))


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])


def bad_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02N.")


def sparse_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"electra.embeddings.word_embeddings.weight": torch.eye(3).to_sparse()}, folder / "pytorch_model.bin")


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def bad_record(folder: Path) -> None:
    (folder / "conversion.json").write_text('{"files": 5}')


@pytest.mark.parametrize(
    "damage",
    [empty, another_model, another_class, no_weights, cut_weights, bad_pickle, sparse_pickle, no_json, bad_record],
    ids=lambda damage: damage.__name__,
)
def test_what_is_no_electra_folder_is_refused(damage: Any, tmp_path: Path) -> None:
    converted("odd_heads", tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(FolderError) as refusal:
        verify(google("odd_heads"), tmp_path / "out")
    assert refusal.value.exit_code == 3


def test_odd_entries_of_a_record_are_a_no(tmp_path: Path) -> None:
    """Not a traceback: a record may have been edited by hand."""
    converted("odd_heads", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    for entry in (5, {}, {"name": "../../secret"}, {"name": "config.json"}):
        (tmp_path / "out" / "conversion.json").write_text(json.dumps({**record, "files": [*record["files"], entry]}))
        parity = verify(google("odd_heads"), tmp_path / "out")
        assert [check.name for check in parity.checks if not check.passed] == [FILES]


def test_without_torch_nothing_can_be_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra_convert import parity

    converted("odd_heads", tmp_path / "out")
    monkeypatch.setattr(parity, "has_torch", lambda: False)
    with pytest.raises(MissingExtra, match="verification needs torch") as error:
        verify(google("odd_heads"), tmp_path / "out")
    assert error.value.exit_code == 4


def test_no_file_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was verified can be renamed, also on Windows."""
    from electra_convert.hf.weights import Weights

    converted("odd_heads", tmp_path / "out")
    opened: list[Weights] = []
    begin, end = Weights.__init__, Weights.close

    def count(self: Weights, *arguments: Any) -> None:
        begin(self, *arguments)
        opened.append(self)

    def uncount(self: Weights) -> None:
        end(self)
        opened.remove(self)

    monkeypatch.setattr(Weights, "__init__", count)
    monkeypatch.setattr(Weights, "close", uncount)
    verify(google("odd_heads"), tmp_path / "out")
    assert opened == []


def test_all_shared_sets_are_at_hand() -> None:
    """Where the shared material is, its sets are among those of the first test."""
    if not SHARED.is_dir():
        pytest.skip("shared/ is not beside the checkout")
    assert {path.name for path in (SHARED / "google").iterdir() if path.is_dir()} <= set(all_of("google"))
