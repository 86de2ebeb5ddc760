"""What people trained on top of ELECTRA arrives: heads of tasks with Google's outputs, and the bare encoder of any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_v2
from conftest import all_of, google
from made_up import TOKENS, H, dense, shapes_of, values_of

from electra_convert import convert, inspect, open_checkpoint, state_dict, verify
from electra_convert.electra import reference
from electra_convert.electra.battery import Batch
from electra_convert.errors import (
    InputError,
    LayoutError,
    MappingError,
    ParityError,
    SettingError,
    UsageError,
    ValueRefused,
)
from electra_convert.examination import examine
from electra_convert.recognition import find_halves

TASKS = {
    "finetuned_classification": ("mnli", "ElectraForSequenceClassification"),
    "finetuned_regression": ("sts", "ElectraForSequenceClassification"),
    "finetuned_tagging": ("chunk", "ElectraForTokenClassification"),
    "finetuned_qa_independent": ("squadv1", "ElectraForQuestionAnswering"),
}

TENSORS = {
    "ElectraForSequenceClassification": {"classifier.dense", "classifier.out_proj"},
    "ElectraForTokenClassification": {"classifier"},
    "ElectraForQuestionAnswering": {"qa_outputs"},
}


def document(folder: Path, name: str = "config.json") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return loaded


def expected(name: str) -> dict[str, Any]:
    return document(google(name), "expected_config.json")


def settings(name: str) -> dict[str, Any]:
    """Return the hparams where no graph is beside the set."""
    folder = google(name)
    return {} if list(folder.glob("*.meta")) else {"hparams": folder / "hparams.json"}


def golden_logits(name: str, task: str, golden: Any) -> np.ndarray:
    if task == "sts":
        return np.asarray(golden["task/sts/predictions"])[:, None]
    if "qa" in name:
        return np.stack([golden[f"task/{task}/{end}_logits_raw"] for end in ("start", "end")], axis=-1)
    return np.asarray(golden[f"task/{task}/logits"])


def golden_batch(golden: Any) -> Batch:
    return Batch("golden", *(golden[key].astype(np.int64) for key in ("input_ids", "input_mask", "segment_ids")))


def without_graph(name: str, tmp_path: Path) -> Path:
    """Return a copy of a set without its graph."""
    copy = tmp_path / "copy"
    shutil.copytree(google(name), copy, ignore=shutil.ignore_patterns("*.meta"))
    return copy


def made(tmp_path: Path, *, values: dict[str, np.ndarray] | None = None, **heads: Any) -> Path:
    """Write a made-up checkpoint with these heads: outputs of one dense layer, or sizes of several by layer."""
    shapes = {name: shape for name, shape in shapes_of("fine-tuned").items() if not name.startswith("task_")}
    for task, layers in heads.items():
        for layer, size in (layers if isinstance(layers, dict) else {"dense": (H, layers)}).items():
            shapes |= dense(f"task_specific/{task}/{layer}", *size)
    folder = tmp_path / "ckpt"
    folder.mkdir()
    write_v2(folder / "model.ckpt-7", {**values_of(shapes), **(values or {})})
    (folder / "vocab.txt").write_text("\n".join(TOKENS))
    return folder


GIVEN = {"num_attention_heads": 2, "hidden_act": "gelu"}


# --- Google's own -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
class TestGooglesTasks:
    def test_a_task_converts_with_the_config_of_its_training(self, name: str, tmp_path: Path) -> None:
        task, architecture = TASKS[name]
        (half,) = convert(google(name), tmp_path / "out", export="task", verify=False, **settings(name)).halves
        config, right = document(tmp_path / "out"), expected(name)
        assert config["architectures"] == [architecture]
        assert {key: config[key] for key in right["encoder"]} == right["encoder"]
        assert half.told == f"task {task}"
        facts = right["tasks"][task]
        if "qa" not in name:
            assert len(config["id2label"]) == facts["num_labels"]
            assert config["label2id"] == {name: int(number) for number, name in config["id2label"].items()}
        if task == "mnli":
            assert list(config["id2label"].values()) == facts["labels"]
        assert config.get("problem_type") == facts.get(
            "problem_type", "single_label_classification" if task == "mnli" else None
        )

    def test_transformers_loads_it_and_gives_googles_outputs(self, name: str, tmp_path: Path) -> None:
        """Nothing missing, nothing unexpected; hidden states and logits within 1e-5."""
        torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
        task, architecture = TASKS[name]
        convert(google(name), tmp_path / "out", export="task", verify=False, **settings(name))
        model, info = getattr(transformers, architecture).from_pretrained(tmp_path / "out", output_loading_info=True)
        assert {key: list(value) for key, value in info.items() if value} == {}
        golden = np.load(google(name) / "golden.npz")
        names = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}
        inputs = {theirs: torch.tensor(golden[ours]).long() for theirs, ours in names.items()}
        with torch.no_grad():
            out = model.eval()(**inputs, output_hidden_states=True)
        logits = torch.stack((out.start_logits, out.end_logits), -1) if "qa" in name else out.logits
        for number, states in enumerate(out.hidden_states):
            np.testing.assert_allclose(states, golden[f"encoder/hidden_{number}"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(logits, golden_logits(name, task, golden), rtol=0, atol=1e-5)

    def test_the_included_model_and_reference_py_give_googles_outputs(self, name: str, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        from electra_convert.electra import model
        from electra_convert.proof import Proof

        task, _ = TASKS[name]
        convert(google(name), tmp_path / "out", export="task", verify=False, **settings(name))
        golden = np.load(google(name) / "golden.npz")
        right = golden_logits(name, task, golden)
        (ours,) = model.run(model.from_folder(tmp_path / "out", "float64"), [golden_batch(golden)])
        assert ours.logits is not None
        np.testing.assert_allclose(ours.logits, right, rtol=0, atol=1e-5)
        with open_checkpoint(google(name)) as source:
            examination = examine(source)
            proof = Proof(source, examination.with_task(examination.task(None)), "task", tmp_path / "out")
            (theirs,) = reference.run(proof.network, proof.variable, [golden_batch(golden)])
            proof.close()
        assert theirs.logits is not None
        np.testing.assert_allclose(theirs.logits, right, rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours.logits, theirs.logits, rtol=0, atol=1e-12)

    def test_the_proof_holds_with_every_rung(self, name: str, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
        (half,) = convert(google(name), tmp_path / "out", export="task", **settings(name)).halves
        assert half.verification.state == "proven"
        (parity,) = verify(google(name), tmp_path / "out", with_transformers=True).halves
        assert parity.failed == ()
        assert (parity.half, parity.task) == ("task", TASKS[name][0])
        assert {"logits"} <= {check.name for check in parity.checks if check.rung in {"float64", "transformers"}}
        if list(google(name).glob("*.meta")):
            assert parity.references == ("the original graph", "reference.py")
            assert parity.unproven == ()

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_weights_of_16_bits_are_proven_too(self, name: str, dtype: str, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        convert(google(name), tmp_path / "out", export="task", dtype=dtype, **settings(name))
        (parity,) = verify(google(name), tmp_path / "out").halves
        assert parity.passed
        assert parity.rounding is not None
        assert 0 < parity.rounding < 0.1

    def test_the_record_has_every_tensors_variables_and_operation(self, name: str, tmp_path: Path) -> None:
        convert(google(name), tmp_path / "out", export="task", verify=False, **settings(name))
        record = document(tmp_path / "out", "conversion.json")
        task, architecture = TASKS[name]
        assert (record["half"], record["architecture"], record["task"]["name"]) == ("task", architecture, task)
        heads = {row["tensor"]: row for row in record["tensors"] if not row["tensor"].startswith("electra.")}
        assert {tensor.rpartition(".")[0] for tensor in heads} == TENSORS[architecture]
        scope = f"task_specific/{task}"
        if architecture == "ElectraForSequenceClassification":
            told = {tensor: (row["operation"], row["variable"]) for tensor, row in heads.items()}
            assert told == {
                "classifier.dense.weight": ("mirror", [f"{scope}/dense/kernel"]),
                "classifier.dense.bias": ("mirror", [f"{scope}/dense/bias"]),
                "classifier.out_proj.weight": ("identity", []),
                "classifier.out_proj.bias": ("zeros", []),
            }
            assert "gelu(z) - gelu(-z) = z" in record["task"]["head"][0]
            assert "gelu(z) - gelu(-z) = z" in (tmp_path / "out" / "README.md").read_text()
        if "qa" in name:
            assert heads["qa_outputs.bias"]["variable"] == [f"{scope}/dense/bias", f"{scope}/dense_1/bias"]
            assert len(heads["qa_outputs.bias"]["variable_crc32c"]) == 2
        exported = {name for group in record["not_exported"] for name in group["variables"]}
        assert not any(name.startswith(scope) and not name.endswith(("adam_m", "adam_v")) for name in exported)

    def test_state_dict_gives_what_the_file_holds(self, name: str, tmp_path: Path) -> None:
        from safetensors.numpy import load_file

        convert(google(name), tmp_path / "out", export="task", verify=False, **settings(name))
        stored = load_file(tmp_path / "out" / "model.safetensors")
        given = state_dict(google(name), export="task", **settings(name))
        assert given.keys() == stored.keys()
        assert all(np.array_equal(given[tensor], stored[tensor]) for tensor in stored)

    def test_transformers_saves_the_same_weights_again(self, name: str, tmp_path: Path) -> None:
        transformers = pytest.importorskip("transformers")
        convert(google(name), tmp_path / "out", export="task", verify=False, **settings(name))
        getattr(transformers, TASKS[name][1]).from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "again")
        one, other = ((tmp_path / place / "model.safetensors").read_bytes() for place in ("out", "again"))
        assert one == other
        assert verify(google(name), tmp_path / "again").passed

    def test_inspect_names_the_task_and_the_encoder(self, name: str) -> None:
        views = {view.told: view for view in inspect(google(name)).halves}
        task, _ = TASKS[name]
        assert list(views) == ["discriminator", "generator", f"task {task}", "encoder"]
        assert [view.exportable for view in views.values()] == [False, False, True, True]
        kinds = expected(name)["tasks"][task]["kind"]
        assert kinds.startswith(views[f"task {task}"].task_kind)
        assert views["encoder"].config["hidden_size"] == expected(name)["encoder"]["hidden_size"]

    def test_a_half_is_refused_with_what_can_be_had(self, name: str, tmp_path: Path) -> None:
        for export in ("discriminator", "both", "available"):
            with pytest.raises(LayoutError) as refusal:
                convert(google(name), tmp_path / "out", export=export)  # type: ignore[arg-type]
            assert f"--export task gives the task {TASKS[name][0]}" in str(refusal.value.hint)
            assert "--export encoder" in str(refusal.value.hint)


@pytest.mark.parametrize(("name", "reason"), [("qa_joint", "joint_prediction"), ("qa_answerable", "answerability")])
def test_what_no_class_computes_is_refused_by_name_with_what_can_be_had(name: str, reason: str, tmp_path: Path) -> None:
    folder = google(f"finetuned_{name}")
    with pytest.raises(LayoutError) as refusal:
        convert(folder, tmp_path / "out", export="task")
    assert refusal.value.message.startswith("the task squad cannot be exported: ")
    assert reason in refusal.value.message
    assert "--export encoder" in str(refusal.value.hint)
    assert not (tmp_path / "out").exists()
    (half,) = convert(folder, tmp_path / "out", export="encoder", **settings(f"finetuned_{name}")).halves
    assert half.verification.state in {"proven", "bytes"}
    task = next(view for view in inspect(folder).halves if view.task)
    assert (task.exportable, task.told) == (False, "task squad")
    assert reason in task.reason


def test_answerability_can_be_left_out_and_the_verdict_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = google("finetuned_qa_answerable")
    ignore = ["task_specific/squad/dense_2/*"]
    conversion = convert(folder, tmp_path / "out", export="task", ignore=ignore)
    assert {notice.code for notice in conversion.warnings} == {"ignored"}
    golden = np.load(folder / "golden.npz")
    from electra_convert.electra import model

    (ours,) = model.run(model.from_folder(tmp_path / "out"), [golden_batch(golden)])
    assert ours.logits is not None
    np.testing.assert_allclose(ours.logits, golden_logits("qa", "squad", golden), rtol=0, atol=1e-5)
    (parity,) = verify(folder, tmp_path / "out").halves
    assert parity.passed
    assert any("answerability classifier (dense_2)" in gap for gap in parity.unproven)


@pytest.mark.parametrize("pattern", ["task_specific/squad/dense_1/*", "*/qa_hidden/*", "task_specific/*/bias"])
def test_ignoring_a_part_of_a_head_is_refused(pattern: str, tmp_path: Path) -> None:
    path = made(tmp_path, squad={"dense": (H, 1), "dense_1": (H, 1), "qa_hidden": (H, 1)})
    with pytest.raises(InputError):
        convert(path, tmp_path / "out", export="task", ignore=[pattern], **GIVEN)
    assert not (tmp_path / "out").exists()


# --- the bare encoder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TASKS, "finetuned_qa_joint", "default_small", "masked_lm", "two_tower", "no_meta"])
def test_the_encoder_of_any_checkpoint_is_an_electra_model(name: str, tmp_path: Path) -> None:
    """With the names that ElectraModel saves, and Google's hidden states."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = google(name)
    (half,) = convert(folder, tmp_path / "out", export="encoder", **settings(name)).halves
    assert half.verification.state == "proven"
    assert document(tmp_path / "out")["architectures"] == ["ElectraModel"]
    model, info = transformers.ElectraModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    golden = np.load(folder / "golden.npz")
    prefix = next(half for half in ("encoder", "discriminator", "generator") if f"{half}/hidden_0" in golden)
    names = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}
    inputs = {theirs: torch.tensor(golden[ours]).long() for theirs, ours in names.items()}
    with torch.no_grad():
        out = model.eval()(**inputs, output_hidden_states=True)
    for number, states in enumerate(out.hidden_states):
        np.testing.assert_allclose(states, golden[f"{prefix}/hidden_{number}"], rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path / "again")
    one, other = ((tmp_path / place / "model.safetensors").read_bytes() for place in ("out", "again"))
    assert one == other


def test_an_encoder_whose_names_have_the_prefix_is_verified_too(tmp_path: Path) -> None:
    """As transformers takes it."""
    pytest.importorskip("torch")
    from safetensors.numpy import load_file, save_file

    convert(google("no_meta"), tmp_path / "out", export="encoder", verify=False)
    weights = tmp_path / "out" / "model.safetensors"
    tensors = {f"electra.{name}": value for name, value in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    (tmp_path / "out" / "conversion.json").unlink()
    assert verify(google("no_meta"), tmp_path / "out").passed


def test_another_towers_encoder_is_no_encoder_of_this_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    convert(google("masked_lm"), tmp_path / "out", export="encoder", verify=False)
    parity = verify(google("default_small"), tmp_path / "out")
    assert {check.name for check in parity.checks if not check.passed} >= {"tensors", "sizes"}


def test_folders_of_tasks_and_encoders_are_recognised_without_architectures(tmp_path: Path) -> None:
    for export in ("task", "encoder"):
        out = tmp_path / export
        convert(google("finetuned_tagging"), out, export=export, verify=False, **settings("finetuned_tagging"))
        config = document(out)
        del config["architectures"]
        (out / "config.json").write_text(json.dumps(config))
        assert list(find_halves(out)) == [export]


# --- several tasks ----------------------------------------------------------------------------------------------------


class TestSeveralTasks:
    def test_one_is_exported_by_its_name_and_the_others_are_left_out(self, tmp_path: Path) -> None:
        path = made(tmp_path, mnli=3, sts=1, chunk=5)
        with pytest.raises(LayoutError, match="several tasks") as refusal:
            convert(path, tmp_path / "out", export="task", **GIVEN)
        assert refusal.value.found == ["chunk", "mnli", "sts"]
        conversion = convert(path, tmp_path / "out", export="task", task="sts", verify=False, **GIVEN)
        (group,) = [group for group in conversion.left_out if group.what == "task heads"]
        assert group.count == 4
        assert document(tmp_path / "out")["problem_type"] == "regression"
        assert [view.told for view in inspect(path).halves if view.exportable] == [
            "task chunk",
            "task mnli",
            "task sts",
            "encoder",
        ]

    def test_the_hint_names_them(self, tmp_path: Path) -> None:
        with pytest.raises(LayoutError) as refusal:
            convert(made(tmp_path, mnli=3, sts=1), tmp_path / "out")
        assert "--export task --task NAME (mnli, sts)" in str(refusal.value.hint)

    def test_a_task_that_no_class_holds_does_not_stop_the_others(self, tmp_path: Path) -> None:
        path = made(tmp_path, mnli=3, squad={"dense": (H, 1), "dense_1": (H, 1), "dense_2": (H, 1)})
        convert(path, tmp_path / "out", export="task", task="mnli", verify=False, **GIVEN)
        assert [view.told for view in inspect(path).halves if not view.exportable][2:] == ["task squad"]

    def test_verify_takes_the_recorded_one_then_the_one_that_fits(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        path = made(tmp_path, mnli=3, rte=2, qnli=2)
        for task in ("mnli", "rte"):
            out = tmp_path / task
            convert(path, out, export="task", task=task, verify=False, **GIVEN)
            assert verify(path, out).halves[0].task == task
            (out / "conversion.json").unlink()
        assert verify(path, tmp_path / "mnli").halves[0].task == "mnli"
        with pytest.raises(LayoutError, match="several tasks"):
            verify(path, tmp_path / "rte")
        assert verify(path, tmp_path / "rte", task="rte").passed
        assert not verify(path, tmp_path / "rte", task="qnli").passed
        assert not verify(path, tmp_path / "rte", task="mnli").passed

    def test_a_folder_of_a_task_is_not_verified_against_a_checkpoint_without_any(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        convert(made(tmp_path, mnli=3), tmp_path / "out", export="task", verify=False, **GIVEN)
        with pytest.raises(LayoutError, match="no fine-tuned checkpoint"):
            verify(google("no_meta"), tmp_path / "out")


# --- what no variable tells -------------------------------------------------------------------------------------------


class TestKind:
    def test_without_graph_and_a_known_name_it_is_a_warning_and_a_flag_settles_it(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        path = made(tmp_path, mine=3)
        conversion = convert(path, tmp_path / "out", export="task", **GIVEN)
        assert [notice.code for notice in conversion.warnings] == ["task-kind"]
        assert document(tmp_path / "out")["architectures"] == ["ElectraForSequenceClassification"]
        gaps = conversion.halves[0].verification.unproven
        assert any("whether the task mine is classification: so says rule" in gap for gap in gaps)
        settled = convert(path, tmp_path / "other", export="task", task_kind="tagging", **GIVEN)
        assert settled.warnings == ()
        assert document(tmp_path / "other")["architectures"] == ["ElectraForTokenClassification"]
        kind = document(tmp_path / "other", "conversion.json")["task"]["kind"]
        assert kind == {"value": "tagging", "source": "flag", "detail": "--task-kind"}
        for out in ("out", "other"):
            parity = verify(path, tmp_path / out)
            assert parity.passed
            assert any("so says config: architectures" in gap for gap in parity.halves[0].unproven)

    def test_the_name_of_a_task_of_googles_tells_it(self, tmp_path: Path) -> None:
        conversion = convert(made(tmp_path, chunk=3), tmp_path / "out", export="task", verify=False, **GIVEN)
        assert conversion.warnings == ()
        assert document(tmp_path / "out")["architectures"] == ["ElectraForTokenClassification"]

    def test_the_graph_tells_it_whatever_the_name(self) -> None:
        with open_checkpoint(google("finetuned_tagging")) as source:
            if source.meta is None:
                pytest.skip("no graph here")
            task = examine(source).task(None)
        assert (task.kind, task.origin.source) == ("tagging", "graph")

    @pytest.mark.parametrize(
        ("name", "task", "reach"),
        [
            ("classification", "mnli", {"dense": "first"}),
            ("regression", "sts", {"dense": "first"}),
            ("tagging", "chunk", {"dense": "each"}),
            ("qa_independent", "squadv1", {"dense": "each", "dense_1": "each"}),
            ("qa_answerable", "squad", {"dense": "each", "dense_1": "each", "dense_2": "first"}),
        ],
    )
    def test_the_graph_tells_what_a_head_sees(self, name: str, task: str, reach: dict[str, str]) -> None:
        """Also where nothing picks positions from the sequence."""
        with open_checkpoint(google(f"finetuned_{name}")) as source:
            graph = examine(source).graph
        if graph is None:
            pytest.skip("no graph here")
        assert {layer: fact.value for layer, fact in graph.parts[f"task/{task}"].reach.items()} == reach

    def test_a_kind_that_the_graph_contradicts_is_refused(self, tmp_path: Path) -> None:
        if not list(google("finetuned_classification").glob("*.meta")):
            pytest.skip("no graph here")
        with pytest.raises(SettingError, match="contradicts the graph"):
            convert(google("finetuned_classification"), tmp_path / "out", export="task", task_kind="tagging")

    def test_a_folder_of_the_wrong_class_is_not_equal(self, tmp_path: Path) -> None:
        """The task's name says that it tags; a folder that classifies the text holds the same numbers."""
        pytest.importorskip("torch")
        path = made(tmp_path, chunk=3)
        convert(path, tmp_path / "out", export="task", task_kind="classification", verify=False, **GIVEN)
        parity = verify(path, tmp_path / "out")
        (settings_check,) = [check for check in parity.checks if check.name == "settings"]
        assert "not ['ElectraForTokenClassification']" in settings_check.reason
        with pytest.raises(ParityError, match="the task chunk does not compute"):
            verify(path, tmp_path / "out", check=True)

    def test_more_labels_than_fit_are_refused_with_what_can_be_had(self, tmp_path: Path) -> None:
        path = made(tmp_path, mine=H // 2 + 1)
        with pytest.raises(LayoutError, match="no room for its labels") as refusal:
            convert(path, tmp_path / "out", export="task", **GIVEN)
        assert "--export encoder" in str(refusal.value.hint)
        convert(path, tmp_path / "out", export="task", task_kind="tagging", verify=False, **GIVEN)
        (view,) = [view for view in inspect(path).halves if view.task]
        assert (view.exportable, view.labels) == (False, H // 2 + 1)


class TestLabels:
    @pytest.mark.parametrize("form", ["text", "sequence", "file", "path"])
    def test_names_of_labels_are_taken_in_every_form(self, form: str, tmp_path: Path) -> None:
        path = made(tmp_path, mine=3)
        file = tmp_path / "labels.txt"
        file.write_text("no\nyes\nnot sure\n", encoding="utf-8")
        labels = {"text": "no, yes,not sure", "sequence": ["no", "yes", "not sure"], "file": str(file), "path": file}
        out = tmp_path / "out"
        convert(path, out, export="task", task_kind="tagging", labels=labels[form], verify=False, **GIVEN)  # type: ignore[arg-type]
        config = document(out)
        assert config["id2label"] == {"0": "no", "1": "yes", "2": "not sure"}
        assert config["label2id"] == {"no": 0, "yes": 1, "not sure": 2}
        record = document(out, "conversion.json")
        assert record["task"]["labels"] == {"value": ["no", "yes", "not sure"], "source": "flag", "detail": "--labels"}
        assert str(tmp_path) not in json.dumps(record)
        assert "0: no, 1: yes, 2: not sure" in (out / "README.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            ("a,b", "not as many labels"),
            ("a,b,c,d", "not as many labels"),
            ("a,,c", "a label is empty"),
            ("a,b,a", "two labels have the same name"),
            (["a", "b", "c\x1b"], "a character that cannot be shown"),
            ("absent.txt", "the file of labels is not there"),
        ],
    )
    def test_other_names_are_refused(self, labels: Any, told: str, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match=told):
            convert(made(tmp_path, mnli=3), tmp_path / "out", export="task", labels=labels, verify=False, **GIVEN)

    def test_question_answering_has_none(self, tmp_path: Path) -> None:
        path = made(tmp_path, mine={"dense": (H, 1), "dense_1": (H, 1)})
        with pytest.raises(UsageError, match="no labels"):
            convert(path, tmp_path / "out", export="task", labels="a,b", **GIVEN)
        convert(path, tmp_path / "out", export="task", verify=False, **GIVEN)
        assert "id2label" not in document(tmp_path / "out")

    def test_a_given_config_may_have_them(self, tmp_path: Path) -> None:
        path = made(tmp_path, mine=2)
        config = tmp_path / "theirs.json"
        names = {"0": "spam", "1": "ham"}
        given = {"model_type": "electra", "num_attention_heads": 2, "hidden_act": "gelu", "id2label": names}
        config.write_text(json.dumps(given))
        convert(path, tmp_path / "out", export="task", config=config, verify=False)
        assert document(tmp_path / "out")["id2label"] == names
        assert document(tmp_path / "out", "conversion.json")["task"]["labels"]["source"] == "config"
        config.write_text(json.dumps({**given, "id2label": {"1": "spam", "2": "ham"}}))
        with pytest.raises(SettingError, match="does not number its labels"):
            convert(path, tmp_path / "other", export="task", config=config)

    def test_without_any_they_are_numbered_and_the_record_says_so(self, tmp_path: Path) -> None:
        conversion = convert(made(tmp_path, chunk=3), tmp_path / "out", export="task", verify=False, **GIVEN)
        assert list(document(tmp_path / "out")["label2id"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]
        assert "labels" in {notice.code for notice in conversion.notes}

    def test_a_task_of_googles_of_another_size_has_no_names_of_its(self, tmp_path: Path) -> None:
        convert(made(tmp_path, mnli=2), tmp_path / "out", export="task", verify=False, **GIVEN)
        assert document(tmp_path / "out")["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}


class TestRegression:
    def test_the_card_and_the_record_say_how_the_output_is_scaled(self, tmp_path: Path) -> None:
        convert(made(tmp_path, sts=1), tmp_path / "out", export="task", verify=False, **GIVEN)
        assert document(tmp_path / "out", "conversion.json")["task"]["scale"] == [0.0, 5.0]
        assert "score = 5 " in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")

    def test_of_another_task_the_scale_is_not_known(self, tmp_path: Path) -> None:
        convert(made(tmp_path, mine=1), tmp_path / "out", export="task", verify=False, **GIVEN)
        assert document(tmp_path / "out", "conversion.json")["task"]["scale"] is None
        assert "not stored" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["kernel", "bias"])
def test_a_weight_of_a_head_that_is_not_finite_is_refused_by_its_variable(variable: str, tmp_path: Path) -> None:
    shape = {"kernel": (H, 3), "bias": (3,)}[variable]
    value = np.ones(shape, np.float32)
    value[(-1,) * value.ndim] = np.inf
    path = made(tmp_path, values={f"task_specific/mnli/dense/{variable}": value}, mnli=3)
    with pytest.raises(ValueRefused) as refusal:
        convert(path, tmp_path / "out", export="task", verify=False, **GIVEN)
    assert f"task_specific/mnli/dense/{variable}" in str(refusal.value.facts["variable"])
    assert refusal.value.where == f"index {[number - 1 for number in shape]}"
    conversion = convert(path, tmp_path / "out", export="task", allow_nonfinite=True, verify=False, **GIVEN)
    assert "nonfinite" in {notice.code for notice in conversion.warnings}


def test_a_weight_that_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    value = np.full((3,), 1e5, np.float32)
    path = made(tmp_path, values={"task_specific/mnli/dense/bias": value}, mnli=3)
    with pytest.raises(ValueRefused, match="too large for float16"):
        convert(path, tmp_path / "out", export="task", dtype="float16", verify=False, **GIVEN)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 3e4])
def test_outputs_of_both_signs_and_any_size_are_googles(sign: int, size: float, tmp_path: Path) -> None:
    """Proven in float64 and float32, against reference.py, which has one layer where the class has two."""
    pytest.importorskip("torch")
    bias = sign * size * np.array([1, -0.5, 0.25], np.float32)
    path = made(tmp_path, values={"task_specific/mnli/dense/bias": bias}, mnli=3)
    (half,) = convert(path, tmp_path / "out", export="task", **GIVEN).halves
    assert half.verification.state == "proven"


@pytest.mark.parametrize("export", ["task", "encoder"])
def test_a_checkpoint_that_lacks_a_variable_of_the_tower_is_refused(export: Any, tmp_path: Path) -> None:
    shapes = shapes_of("fine-tuned")
    del shapes["electra/encoder/layer_1/output/dense/kernel"]
    write_v2(tmp_path / "model.ckpt-7", values_of(shapes))
    with pytest.raises(MappingError, match="no complete encoder"):
        convert(tmp_path / "model.ckpt-7", tmp_path / "out", export=export, tokenizer=False)


@pytest.mark.sweep
@pytest.mark.parametrize("name", all_of("google"))
def test_the_encoder_of_every_set_is_proven(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (half,) = convert(google(name), tmp_path / "out", export="encoder").halves
    assert half.verification.state == "proven"
