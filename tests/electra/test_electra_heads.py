"""Google's heads are told by names, shapes and the graph, and their tensors compute what Google's one layer does."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from conftest import google
from made_up import H, dense, shapes_of

from electra_convert.electra.config import Origin
from electra_convert.electra.heads import CLASSES, Head, choose_head, find_heads, ignorable
from electra_convert.electra.layout import find_layout
from electra_convert.electra.mapping import Operation
from electra_convert.electra.task_kinds import KNOWN_TASKS, Task, architecture_of, settle_task
from electra_convert.errors import LayoutError, SettingError

SCOPE = "task_specific/mine"


def head_of(task: str = "mine", hidden: int = H, **layers: tuple[int, int]) -> Head:
    """Return the head of a task with these dense layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, size in layers.items():
        shapes |= dense(f"task_specific/{task}/{layer}", *size)
    return find_heads(shapes, hidden)[task]


class TestForms:
    @pytest.mark.parametrize(
        ("layers", "kinds"),
        [
            ({"dense": (H, 3)}, ("classification", "tagging")),
            ({"dense": (H, 2)}, ("classification", "tagging")),
            ({"dense": (H, 1)}, ("regression", "tagging")),
            ({"dense": (H, 1), "dense_1": (H, 1)}, ("question answering",)),
        ],
    )
    def test_what_a_head_may_be(self, layers: dict[str, tuple[int, int]], kinds: tuple[str, ...]) -> None:
        head = head_of(**layers)
        assert (head.kinds, head.refusal) == (kinds, None)

    @pytest.mark.parametrize(
        ("layers", "reason"),
        [
            ("qa_hidden dense dense_1", "joint_prediction"),
            ("qa_hidden dense dense_1 dense_2", "joint_prediction"),
            ("qa_hidden dense dense_1 dense_2 dense_3", "joint_prediction"),
            ("dense dense_1 dense_2", "answerability"),
            ("dense dense_1 dense_2 dense_3", "answerability"),
            ("dense dense_2", "no head that Google's code builds"),
            ("lstm", "no head that Google's code builds"),
        ],
    )
    def test_what_no_class_holds_is_refused_by_name_with_what_can_be_had(self, layers: str, reason: str) -> None:
        head = head_of(**dict.fromkeys(layers.split(), (H, 1)))
        assert head.kinds == ()
        assert head.refusal is not None
        assert "the task mine cannot be exported: " in head.refusal.message
        assert reason in head.refusal.message
        assert "--export encoder" in str(head.refusal.hint)

    @pytest.mark.parametrize(
        ("shapes", "told"),
        [
            ({f"{SCOPE}/dense/kernel": (H, 3)}, "a variable is missing"),
            ({f"{SCOPE}/dense/kernel": (H + 1, 3), f"{SCOPE}/dense/bias": (3,)}, "wrong shape"),
            ({f"{SCOPE}/dense/kernel": (3, H), f"{SCOPE}/dense/bias": (3,)}, "wrong shape"),
            ({f"{SCOPE}/dense/kernel": (H, 3), f"{SCOPE}/dense/bias": (2,)}, "wrong shape"),
            ({f"{SCOPE}/dense/kernel": (H, 0), f"{SCOPE}/dense/bias": (0,)}, "wrong shape"),
            ({f"{SCOPE}/dense/kernel": (H, 3), f"{SCOPE}/dense/bias": (1, 3)}, "wrong shape"),
            (dense(f"{SCOPE}/dense", H, 1) | dense(f"{SCOPE}/dense_1", H, 2), "wrong shape"),
            (dense(f"{SCOPE}/dense", H, 2) | {f"{SCOPE}/dense/beta": (2,)}, "no head that Google's code builds"),
            (dense(f"{SCOPE}/dense", H, 2) | {f"{SCOPE}/scale": ()}, "no head that Google's code builds"),
            (dense("task_specific/mi ne/dense", H, 2), "no head that Google's code builds"),
        ],
    )
    def test_a_head_with_other_variables_is_refused(self, shapes: Any, told: str) -> None:
        (head,) = find_heads(shapes, H).values()
        assert head.refusal is not None
        assert told in head.refusal.message

    def test_several_tasks_share_one_encoder(self) -> None:
        shapes = shapes_of("fine-tuned") | dense("task_specific/sts/dense", H, 1)
        assert {name: head.labels for name, head in find_layout(shapes).heads.items()} == {"mnli": 3, "sts": 1}

    def test_no_other_checkpoint_has_heads_of_tasks(self) -> None:
        assert find_layout(shapes_of("separate")).heads == {}

    def test_answerability_can_be_left_out_as_a_whole(self) -> None:
        head = head_of(dense=(H, 1), dense_1=(H, 1), dense_2=(2 * H, 512), dense_3=(512, 1))
        names = [f"{SCOPE}/{layer}/{end}" for layer in ("dense_2", "dense_3") for end in ("kernel", "bias")]
        assert ignorable(names, head)
        assert not ignorable(names[:3], head)
        assert not ignorable([*names, f"{SCOPE}/dense_1/bias"], head)
        assert not ignorable([], head)
        assert head.without_answerability().kinds == ("question answering",)

    def test_nothing_of_a_joint_prediction_can_be_left_out(self) -> None:
        head = head_of(dense=(H, 1), qa_hidden=(2 * H, 512), dense_1=(512, 1), dense_2=(H, 1))
        assert not ignorable([f"{SCOPE}/qa_hidden/kernel", f"{SCOPE}/qa_hidden/bias"], head)
        assert head.without_answerability() is head


class TestChoice:
    heads = find_heads(dense("task_specific/mnli/dense", H, 3) | dense("task_specific/sts/dense", H, 1), H)

    def test_the_only_task_need_not_be_named(self) -> None:
        assert choose_head({"sts": self.heads["sts"]}, None).task == "sts"

    def test_one_of_several_must_be(self) -> None:
        with pytest.raises(LayoutError) as refusal:
            choose_head(self.heads, None)
        assert (refusal.value.found, refusal.value.hint) == (["mnli", "sts"], "say which with --task NAME")
        assert choose_head(self.heads, "mnli").task == "mnli"

    def test_a_task_that_is_not_there_is_refused_with_those_that_are(self) -> None:
        with pytest.raises(SettingError) as refusal:
            choose_head(self.heads, "qnli")
        assert refusal.value.expected == ["mnli", "sts"]

    def test_without_a_fine_tuned_head_there_is_no_task(self) -> None:
        with pytest.raises(LayoutError, match="no fine-tuned checkpoint"):
            choose_head({}, None)


class TestKind:
    @pytest.mark.parametrize(
        ("task", "outputs", "flag", "reach", "kind", "source"),
        [
            ("mine", 3, "tagging", None, "tagging", "flag"),
            ("chunk", 3, "classification", None, "classification", "flag"),
            ("mine", 3, "tagging", "each", "tagging", "flag"),
            ("mine", 3, None, "each", "tagging", "graph"),
            ("mnli", 3, None, "each", "tagging", "graph"),
            ("chunk", 3, None, "first", "classification", "graph"),
            ("mine", 1, None, "first", "regression", "graph"),
            ("mine", 1, None, "each", "tagging", "graph"),
            ("mine", 1, None, None, "regression", "shape"),
            ("mnli", 3, None, None, "classification", "rule"),
            ("chunk", 3, None, None, "tagging", "rule"),
        ],
    )
    def test_the_first_that_knows_decides(
        self, task: str, outputs: int, flag: Any, reach: Any, kind: str, source: str
    ) -> None:
        told = (reach, "node") if reach else None
        settled = settle_task(head_of(task, dense=(H, outputs)), H, flag, told)
        assert (settled.kind, settled.origin.source, settled.notices) == (kind, source, ())

    def test_a_kind_that_nobody_knows_is_a_warning_that_says_how_to_settle_it(self) -> None:
        settled = settle_task(head_of(dense=(H, 3)), H)
        assert (settled.kind, settled.origin.source) == ("classification", "rule")
        (notice,) = settled.notices
        assert (notice.kind, notice.code) == ("warning", "task-kind")
        assert "--task-kind tagging" in str(notice.hint)

    def test_question_answering_is_told_by_its_variables_alone(self) -> None:
        settled = settle_task(head_of(dense=(H, 1), dense_1=(H, 1)), H, None, ("each", "node"))
        assert (settled.kind, settled.origin.source) == ("question answering", "shape")

    @pytest.mark.parametrize(
        ("layers", "flag"),
        [
            ({"dense": (H, 3)}, "regression"),
            ({"dense": (H, 3)}, "question answering"),
            ({"dense": (H, 1)}, "classification"),
            ({"dense": (H, 1), "dense_1": (H, 1)}, "tagging"),
        ],
    )
    def test_a_flag_that_the_variables_contradict_is_refused(self, layers: Any, flag: Any) -> None:
        with pytest.raises(SettingError, match=f"not one of {flag}"):
            settle_task(head_of(**layers), H, flag)

    def test_a_flag_that_the_graph_contradicts_is_refused_with_both(self) -> None:
        with pytest.raises(SettingError) as refusal:
            settle_task(head_of(dense=(H, 3)), H, "classification", ("each", "chunk/GatherV2"))
        assert refusal.value.found == ["classification, flag: --task-kind", "tagging, graph: chunk/GatherV2"]

    def test_two_rows_a_label_must_fit_into_the_first_layer(self) -> None:
        assert settle_task(head_of(dense=(H, H // 2)), H).labels == H // 2
        with pytest.raises(LayoutError) as refusal:
            settle_task(head_of(dense=(H, H // 2 + 1)), H)
        assert refusal.value.found == f"{H // 2 + 1} labels, hidden size {H}"
        assert "--export encoder" in str(refusal.value.hint)

    def test_tagging_takes_any_number_of_labels(self) -> None:
        assert settle_task(head_of("chunk", dense=(H, 5 * H)), H).labels == 5 * H

    @pytest.mark.parametrize("name", ["classification", "regression", "tagging", "qa_independent"])
    def test_google_knows_its_tasks_as_its_code_trained_them(self, name: str) -> None:
        expected = json.loads((google(f"finetuned_{name}") / "expected_config.json").read_text())["tasks"]
        for task, facts in expected.items():
            assert facts["kind"].startswith(KNOWN_TASKS[task].kind)
            assert list(KNOWN_TASKS[task].labels) == (facts["labels"] if facts["kind"] == "classification" else [])


class TestTensors:
    @pytest.mark.parametrize("kind", CLASSES)
    def test_names_and_shapes_are_those_of_transformers(self, kind: Any) -> None:
        transformers = pytest.importorskip("transformers")
        labels = {"regression": 1, "question answering": 2}.get(kind, 3)
        task = Task("mnli", kind, Origin("rule", ""), labels)
        shapes = {name: shape for name, shape in shapes_of("fine-tuned").items() if not name.startswith("task_")}
        half = find_layout(shapes | dense("task_specific/mnli/dense", H, 3)).with_task(task).half("task")
        sizes = {"vocab_size": 20, "embedding_size": 4, "hidden_size": H, "num_hidden_layers": 2}
        sizes |= {"intermediate_size": 32, "max_position_embeddings": 12, "num_attention_heads": 1}
        config = transformers.ElectraConfig(**sizes, num_labels=labels)
        theirs = getattr(transformers, half.architecture)(config).state_dict()
        assert {move.tensor: move.tensor_shape for move in half.moves} == {
            name: tuple(value.shape) for name, value in theirs.items()
        }

    def test_a_bare_encoder_has_the_names_of_electra_model(self) -> None:
        transformers = pytest.importorskip("transformers")
        half = find_layout(shapes_of("separate")).half("encoder")
        sizes = {"vocab_size": 20, "embedding_size": 4, "hidden_size": H, "num_hidden_layers": 2}
        sizes |= {"intermediate_size": 32, "max_position_embeddings": 12, "num_attention_heads": 1}
        theirs = transformers.ElectraModel(transformers.ElectraConfig(**sizes)).state_dict()
        assert {move.tensor: move.tensor_shape for move in half.moves} == {
            name: tuple(value.shape) for name, value in theirs.items()
        }
        assert architecture_of("encoder", None) == "ElectraModel"

    def test_stacked(self) -> None:
        start, end = np.array([[1.0], [2], [3]]), np.array([[4.0], [5], [6]])
        built = Operation.STACK.build([start, end], (2, 3))
        np.testing.assert_array_equal(built, [[1, 2, 3], [4, 5, 6]])

    def test_mirrored(self) -> None:
        kernel = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8], [9, 10]], np.float32)
        built = Operation.MIRROR.build([kernel], (5, 5))
        np.testing.assert_array_equal(built[:2], [[1, 3, 5, 7, 9], [2, 4, 6, 8, 10]])
        np.testing.assert_array_equal(built[2:4], -built[:2])
        assert not built[4].any()
        np.testing.assert_array_equal(Operation.MIRROR.build([np.array([1.0, 2])], (5,)), [1, 2, -1, -2, 0])

    def test_identities_and_zeros_come_from_no_variable(self) -> None:
        built = Operation.IDENTITY.build([], (2, 5))
        np.testing.assert_array_equal(built, [[1, 0, -1, 0, 0], [0, 1, 0, -1, 0]])
        assert not Operation.ZEROS.build([], (2,)).any()

    @pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ml_dtypes.bfloat16])
    def test_the_type_of_the_variable_stays(self, dtype: Any) -> None:
        assert Operation.MIRROR.build([np.ones((4, 2), dtype)], (4, 4)).dtype == dtype

    @pytest.mark.parametrize("operation", [Operation.STACK, Operation.MIRROR, Operation.IDENTITY, Operation.ZEROS])
    def test_what_takes_several_variables_is_not_undone(self, operation: Operation) -> None:
        assert not operation.inverts_itself
        with pytest.raises(ValueError, match=operation.value):
            operation.apply(np.zeros(2))


class TestOneLayerInTwo:
    """gelu(z) - gelu(-z) = z, as torch computes it."""

    @staticmethod
    def outputs(z: Any, dtype: Any) -> Any:
        """Return what the class gives where Google's layer gives z; kernel [1, N], so the text is the number 1."""
        torch = pytest.importorskip("torch")
        kernel = z.numpy().astype(np.float64)[None]
        count = kernel.shape[1]
        width = 2 * count + 3
        weight = torch.from_numpy(Operation.MIRROR.build([kernel], (width, 1))).to(dtype)
        out = torch.from_numpy(Operation.IDENTITY.build([], (count, width))).to(dtype)
        hidden = torch.nn.functional.linear(torch.ones(1, 1, dtype=dtype), weight)
        return torch.nn.functional.linear(torch.nn.functional.gelu(hidden), out)[0]

    @pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_both_signs_and_large_values_hold_to_one_rounding_more(self, name: str, sign: int) -> None:
        torch = pytest.importorskip("torch")
        dtype = getattr(torch, name)
        z = (sign * torch.logspace(-4, 4.77, 400, dtype=torch.float64)).to(dtype).double()
        off = (self.outputs(z, dtype).double() - z).abs() / z.abs()
        assert off.max() <= torch.finfo(dtype).eps

    @pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
    def test_small_values_and_zero_hold(self, name: str) -> None:
        torch = pytest.importorskip("torch")
        dtype = getattr(torch, name)
        z = torch.tensor([0.0, 1e-4, -1e-4, 1e-7, -1e-7, 1e-30], dtype=torch.float64).to(dtype).double()
        off = (self.outputs(z, dtype).double() - z).abs()
        assert (off <= torch.finfo(dtype).eps * z.abs() + torch.finfo(dtype).smallest_normal).all()

    def test_an_output_that_overflows_makes_the_others_nan(self) -> None:
        """What the model card says: one layer would give infinity for it, and leave the others alone."""
        torch = pytest.importorskip("torch")
        given = self.outputs(torch.tensor([1e6, 2.0], dtype=torch.float64), torch.float16)
        assert torch.isnan(given).all()
