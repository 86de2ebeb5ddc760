"""What a checkpoint tells before anything is decided: its graph, its trained length, its vocabulary, odd slots."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from builders import write_v2
from conftest import google, material
from made_up import E, P, shapes_of, values_of, with_slots, write_made_up

from electra_convert.examination import (
    POSITIONS,
    Examination,
    examine,
    find_vocabulary,
    summarise,
    trained_length_of_slots,
)
from electra_convert.notices import Notice
from electra_convert.tf1.checkpoint import open_checkpoint

Arrays = dict[str, np.ndarray]


def examined(path: Path, *ignore: str) -> Examination:
    with open_checkpoint(path) as checkpoint:
        return examine(checkpoint, ignore)


def one(examination: Examination, code: str) -> Notice:
    (notice,) = [notice for notice in examination.notices if notice.code == code]
    return notice


def length_with(tmp_path: Path, slots: Arrays) -> int | None:
    """Return what these slots of the position table ([12, 4]) tell of the trained length."""
    prefix = write_v2(tmp_path / "model.ckpt-7", {**values_of(shapes_of("uniform")), **slots})
    with open_checkpoint(prefix) as checkpoint:
        return trained_length_of_slots(checkpoint)


def slot(rows: int, trained: int, columns: int = E) -> np.ndarray:
    array = np.zeros((rows, columns), np.float32)
    array[:trained] = 1e-9
    return array


class TestTrainedLength:
    @pytest.mark.parametrize(
        ("name", "length"),
        [("default_small", 32), ("odd_heads", 32), ("untied_embeddings", 32), ("electric", 32), ("several_steps", 32)],
    )
    def test_the_slots_of_real_trainings_tell_their_length(self, name: str, length: int) -> None:
        with open_checkpoint(google(name)) as checkpoint:
            assert trained_length_of_slots(checkpoint) == length

    def test_slots_in_parts_tell_it_too(self) -> None:
        with open_checkpoint(google("partitioned_trained")) as checkpoint:
            assert f"{POSITIONS}/part_0/adam_v" in checkpoint.variables
            assert trained_length_of_slots(checkpoint) == 32

    def test_a_checkpoint_without_slots_tells_nothing(self) -> None:
        with open_checkpoint(google("base_like")) as checkpoint:
            assert trained_length_of_slots(checkpoint) is None

    @pytest.mark.parametrize("trained", [1, 5, P])
    def test_it_is_one_more_than_the_last_row_that_moved(self, tmp_path: Path, trained: int) -> None:
        assert length_with(tmp_path, {f"{POSITIONS}/adam_v": slot(P, trained)}) == trained

    def test_a_row_of_zeros_before_the_last_does_not_end_it(self, tmp_path: Path) -> None:
        array = slot(P, 7)
        array[3] = 0
        assert length_with(tmp_path, {f"{POSITIONS}/adam_v": array}) == 7

    def test_nothing_trained_is_no_length(self, tmp_path: Path) -> None:
        assert length_with(tmp_path, {f"{POSITIONS}/adam_v": slot(P, 0)}) is None

    def test_parts_along_the_rows_are_joined_by_number_and_not_by_name(self, tmp_path: Path) -> None:
        parts = {f"{POSITIONS}/part_{i}/adam_v": slot(1, int(i < 11)) for i in range(12)}
        assert length_with(tmp_path, parts) == 11

    def test_parts_along_the_columns_are_taken_together(self, tmp_path: Path) -> None:
        parts = {f"{POSITIONS}/part_0/adam_v": slot(P, 3, 1), f"{POSITIONS}/part_1/adam_v": slot(P, 5, 3)}
        assert length_with(tmp_path, parts) == 5

    @pytest.mark.parametrize(
        "slots",
        [
            {"adam_v": slot(P + 7, P + 7)},
            {"adam_v": slot(P, 3, E + 1)},
            {"adam_v": np.ones(P, np.float32)},
            {"adam_v": np.array(1, np.float32)},
            {"part_0/adam_v": slot(3, 3)},
            {"adam_v": slot(P, 3), "part_0/adam_v": slot(P, 3)},
            {"part_²/adam_v": slot(P, 3)},
            {"other/adam_v": slot(P, 3)},
            {"adam_m": slot(P, 3)},
        ],
    )
    def test_slots_that_are_not_of_this_table_tell_nothing(self, tmp_path: Path, slots: Arrays) -> None:
        assert length_with(tmp_path, {f"{POSITIONS}/{name}": array for name, array in slots.items()}) is None

    def test_a_slot_that_is_not_finite_was_trained(self, tmp_path: Path) -> None:
        array = slot(P, 4)
        array[3] = np.nan
        assert length_with(tmp_path, {f"{POSITIONS}/adam_v": array}) == 4


class TestSlots:
    @pytest.mark.parametrize(
        "array", [np.zeros((2, 2), np.float32), np.zeros(E, np.float16)], ids=["another shape", "another type"]
    )
    def test_a_slot_unlike_its_variable_is_a_note(self, tmp_path: Path, array: np.ndarray) -> None:
        name = "electra/embeddings/LayerNorm/beta/adam_m"
        path = write_made_up(tmp_path / "ckpt", "uniform", lambda variables: variables.update({name: array}))
        notice = one(examined(path), "slots")
        assert notice.kind == "note"
        assert dict(notice.facts)["found"] == [f"{name} {array.dtype} {list(array.shape)}"]

    def test_slots_like_their_variables_are_not_mentioned(self, tmp_path: Path) -> None:
        prefix = write_v2(tmp_path / "model.ckpt-7", values_of(with_slots(shapes_of("separate"))))
        assert [notice.code for notice in examined(prefix).notices] == []

    def test_slots_of_parts_are_not_mentioned(self) -> None:
        assert not [notice for notice in examined(google("partitioned_trained")).notices if notice.code == "slots"]


class TestGraph:
    def test_the_graph_beside_the_prefix_is_read(self) -> None:
        examination = examined(google("odd_heads"))
        assert examination.graph is not None
        assert examination.graph.towers["electra"].num_attention_heads.value == 6

    def test_without_a_graph_nothing_is_said(self) -> None:
        examination = examined(google("sharded"))
        assert examination.graph is None
        assert [notice.code for notice in examination.notices if notice.kind == "warning"] == []

    @pytest.mark.parametrize("trap", ["fewer_layers", "other_size", "cyclic", "truncated"])
    def test_a_graph_that_cannot_be_used_is_a_warning_with_the_reason_and_no_folder(
        self, tmp_path: Path, trap: str
    ) -> None:
        folder = tmp_path / "ckpt"
        shutil.copytree(google("default_small"), folder)
        shutil.copy(material("graphs", f"traps/{trap}.meta"), folder / "model.ckpt-40.meta")
        examination = examined(folder)
        notice = one(examination, "graph-unusable")
        assert examination.graph is None
        assert notice.kind == "warning"
        assert dict(notice.facts)["file"] == "model.ckpt-40.meta"
        assert str(tmp_path) not in str(notice)

    def test_another_steps_graph_is_not_read(self, tmp_path: Path) -> None:
        folder = tmp_path / "ckpt"
        shutil.copytree(google("default_small"), folder)
        (folder / "model.ckpt-40.meta").rename(folder / "model.ckpt-20.meta")
        assert examined(folder).graph is None


class TestIgnoring:
    @pytest.mark.parametrize("pattern", ["generator_1/*", "*/crf", "generator_1/cr[fg]", "generator_1/crf"])
    def test_what_matches_is_left_out_with_a_warning(self, tmp_path: Path, pattern: str) -> None:
        name = "generator_1/crf"
        path = write_made_up(
            tmp_path / "ckpt", "uniform", lambda variables: variables.update({name: np.zeros(3, np.float32)})
        )
        assert examined(path).layout.names_of("unknown") == [name]
        examination = examined(path, pattern)
        assert examination.ignored == (name,)
        assert name not in examination.layout.kinds
        assert dict(one(examination, "ignored").facts)["found"] == [name]

    def test_patterns_heed_upper_case_and_the_whole_name(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt", "uniform")
        assert examined(path, "ELECTRA/*", "electra", "embeddings").ignored == ()

    def test_a_pattern_that_matches_nothing_is_no_warning(self, tmp_path: Path) -> None:
        assert not examined(write_made_up(tmp_path / "ckpt", "uniform"), "x/*").notices


class TestVocabulary:
    def found(self, folder: Path) -> tuple[Path | None, list[Notice]]:
        with open_checkpoint(folder) as checkpoint:
            return find_vocabulary(checkpoint)

    def tree(self, tmp_path: Path, inside: str) -> Path:
        """Return a checkpoint's folder at `inside`, without a vocabulary."""
        folder = write_made_up(tmp_path / "data" / inside, "uniform")
        (folder / "vocab.txt").unlink()
        return folder

    def test_it_stands_beside_the_checkpoint(self, tmp_path: Path) -> None:
        folder = write_made_up(tmp_path / "data/models/small", "uniform")
        (tmp_path / "data/vocab.txt").write_text("x")
        assert self.found(folder) == (folder / "vocab.txt", [])

    @pytest.mark.parametrize(
        ("inside", "at", "told"),
        [
            ("models/small", ".", "two folders up"),
            ("models/small/finetuning_models/mnli_model_1", "models/small", "two folders up"),
            ("models/small/finetuning_models/mnli_model_1", ".", "four folders up"),
        ],
    )
    def test_googles_tree_has_it_further_up_and_a_warning_says_so(
        self, tmp_path: Path, inside: str, at: str, told: str
    ) -> None:
        folder = self.tree(tmp_path, inside)
        vocabulary = (tmp_path / "data" / at / "vocab.txt").resolve()
        vocabulary.write_text("x")
        path, notices = self.found(folder)
        assert path == vocabulary
        assert [(notice.kind, notice.code) for notice in notices] == [("warning", "vocab-elsewhere")]
        assert told in str(notices[0])
        assert str(tmp_path) not in str(notices[0])

    @pytest.mark.parametrize(
        ("inside", "at"),
        [
            ("checkpoints/small", "."),  # two up, but this is no tree of Google's
            ("models/small", "models"),  # one up
            ("a/b/models/small", "."),  # four up, which only fine-tuning does
            ("models/small/deeper", "."),
        ],
    )
    def test_nothing_else_is_searched(self, tmp_path: Path, inside: str, at: str) -> None:
        folder = self.tree(tmp_path, inside)
        (tmp_path / "data" / at / "vocab.txt").write_text("x")
        assert self.found(folder) == (None, [])

    def test_the_folder_is_where_it_really_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = self.tree(tmp_path, "models/small")
        (tmp_path / "data/vocab.txt").write_text("x")
        monkeypatch.chdir(folder)
        assert self.found(Path("."))[0] == (tmp_path / "data/vocab.txt").resolve()


def test_a_summary_is_plain_data() -> None:
    with open_checkpoint(google("default_small")) as checkpoint:
        summary = summarise("as/typed", checkpoint, 32)
    assert summary.to_json() == {
        "path": "as/typed",
        "prefix": summary.prefix,
        "name": "model.ckpt-40",
        "format": "V2",
        "shards": 1,
        "step": 40,
        "step_source": "global_step",
        "nbytes": checkpoint.nbytes,
        "trained_length": 32,
    }
