"""An item is skipped only if making it anew would give the same; whatever differs, it is made anew, whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_runs import contents
from conftest import google
from made_up import TOKENS, write_made_up

from electra_convert import convert
from electra_convert.batching.outcomes import ItemResult
from electra_convert.batching.working import Task, work_on
from electra_convert.zoo.finding import Item

Change = Callable[[Path, Path], object]


def run(source: Path | str, out: Path | str, *, resume: bool = True, **settings: Any) -> tuple[ItemResult, list[str]]:
    """Work on one item in this process; return its result, and why it was done again."""
    told = []

    def tell(kind: str, done: int, total: int, what: str) -> None:
        if kind == "note":
            told.append(what.removeprefix("done again: "))

    item = Item("item", str(source), {"export": "available", "verify": False, **settings})
    return work_on(Task(item, str(out), resume), tell), told


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """Give a checkpoint with a graph that is none, and its output."""
    source, out = write_made_up(tmp_path / "ckpt"), tmp_path / "out"
    (source / "model.ckpt-7.meta").write_bytes(b"no graph")
    assert run(source, out)[0].status == "converted"
    return source, out


def edit_record(out: Path, **changes: Any) -> None:
    path = out / "generator" / "conversion.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewrite(source: Path) -> None:
    """Write other weights under the same names."""
    shutil.rmtree(source)
    write_made_up(source, change=lambda there: there.update({"electra/embeddings/LayerNorm/beta": np.zeros(4, "f4")}))
    (source / "model.ckpt-7.meta").write_bytes(b"no graph")


class TestUpToDate:
    def test_nothing_is_written(self, made: tuple[Path, Path]) -> None:
        source, out = made
        before = {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}
        result, told = run(source, out)
        assert (result.status, told) == ("up to date", [])
        assert {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]} == before

    @pytest.mark.parametrize("export", ["available", "both", "discriminator"])
    @pytest.mark.parametrize("name", ["default_small", "v1_sharded", "uniform_generator"])
    def test_the_record_gives_the_result_of_the_conversion(self, tmp_path: Path, name: str, export: str) -> None:
        if (name, export) == ("uniform_generator", "both"):
            pytest.skip("it has one half that can be had")
        first, _ = run(google(name), tmp_path / "out", export=export)
        again, _ = run(google(name), tmp_path / "out", export=export)
        assert again.status == "up to date"
        # Hints are not on record, nor a note about how the path was typed; figures are, where there was a proof.
        alike = ("item", "out", "halves", "checkpoint", "setup", "refused", "nbytes")
        assert {field: getattr(again, field) for field in alike} == {field: getattr(first, field) for field in alike}
        assert {notice.code for notice in again.warnings} == {notice.code for notice in first.warnings}

    @pytest.mark.parametrize("settings", [{"export": "encoder"}, {"export": "task", "labels": "a,b,c,d,e,f"}])
    def test_encoders_and_tasks_too(self, tmp_path: Path, settings: dict[str, Any]) -> None:
        first, _ = run(google("finetuned_tagging"), tmp_path / "out", **settings)
        again, _ = run(google("finetuned_tagging"), tmp_path / "out", **settings)
        assert (first.status, again.status) == ("converted", "up to date"), first.message
        assert again.halves == first.halves
        assert ("task" in again.halves[0]) == (settings["export"] == "task")

    def test_of_a_checkpoint_with_one_half_the_other_is_on_record_as_refused(self, tmp_path: Path) -> None:
        source = write_made_up(tmp_path / "ckpt", "uniform")
        first, _ = run(source, tmp_path / "out")
        record = json.loads((tmp_path / "out/discriminator/conversion.json").read_text())
        assert record["halves"] == ["discriminator"]
        assert [half["half"] for half in record["refused"]] == ["generator"]
        again, _ = run(source, tmp_path / "out")
        assert (again.status, again.refused) == ("up to date", first.refused)

    def test_an_archive_is_looked_into(self, tmp_path: Path) -> None:
        archive = google("no_meta") / "published.zip"
        assert run(archive, tmp_path / "out")[0].status == "converted"
        assert run(archive, tmp_path / "out")[0].status == "up to date"

    def test_how_the_same_is_said_does_not_count(self, made: tuple[Path, Path], tmp_path: Path) -> None:
        """Another path to the checkpoint and the vocabulary; hparams as a mapping, a text, a file."""
        source, _ = made
        hparams = {"model_hparam_overrides": {"num_attention_heads": 2}, "mask_prob": 0.2}
        (tmp_path / "h.json").write_text(json.dumps(hparams, indent=8))
        (tmp_path / "link").symlink_to(source)
        out = tmp_path / "other"
        assert run(source, out, hparams=hparams)[0].status == "converted"
        assert run(source, out, hparams=json.dumps(hparams))[0].status == "up to date"
        assert run(source / "model.ckpt-7.index", out, hparams=str(tmp_path / "h.json"))[0].status == "up to date"
        vocab = str(tmp_path / "link" / "vocab.txt")
        assert run(tmp_path / "link", out, hparams=hparams, vocab=vocab)[0].status == "up to date"

    def test_what_a_kill_left_beside_it_goes(self, made: tuple[Path, Path]) -> None:
        """A process that no longer runs may have ended between publishing and cleaning up."""
        source, out = made
        from electra_convert import atomic

        host = atomic._owner().partition("-")[2]
        left = out.with_name(f".out.tmp-999999999-{host}0123abcd")
        shutil.copytree(out, left)
        out.with_name(".out.lock").touch()
        assert run(source, out)[0].status == "up to date"
        assert sorted(path.name for path in out.parent.iterdir()) == ["ckpt", "out"]


# Each with a piece of the reason that is told.
CHANGES: dict[str, tuple[Change, str]] = {
    "other weights": (lambda source, out: rewrite(source), "model.ckpt-7.index of the checkpoint was changed"),
    "other graph": (lambda source, out: flip(source / "model.ckpt-7.meta"), "model.ckpt-7.meta of the checkpoint"),
    "no graph any more": (lambda source, out: (source / "model.ckpt-7.meta").unlink(), "model.ckpt-7.meta of the"),
    "other vocabulary": (
        lambda source, out: (source / "vocab.txt").write_text("\n".join([*TOKENS[:-1], "z"]) + "\n"),
        "the vocabulary was changed",
    ),
    "damaged weights": (
        lambda source, out: flip(out / "generator/model.safetensors"),
        "generator/model.safetensors was changed",
    ),
    "cut weights": (
        lambda source, out: (out / "discriminator/model.safetensors").write_bytes(b""),
        "discriminator/model.safetensors has another size",
    ),
    "edited card": (lambda source, out: flip(out / "generator/README.md"), "generator/README.md was changed"),
    "file missing": (lambda source, out: (out / "generator/vocab.txt").unlink(), "generator/vocab.txt is missing"),
    "half missing": (lambda source, out: shutil.rmtree(out / "generator"), "a half is missing"),
    "other version": (
        lambda source, out: edit_record(out, tool={"name": "electra-convert", "version": "0.0.1"}),
        "another version made it",
    ),
    "older form": (lambda source, out: edit_record(out, options=None, halves=None), "the options differ"),
    "record in pieces": (lambda source, out: edit_record(out, checkpoint=[]), "its record has another form"),
    "record that climbs": (
        lambda source, out: edit_record(out, files=[{"name": "../x", "bytes": 1, "crc32c": "00000000"}]),
        "",
    ),
}


class TestChanges:
    @pytest.mark.parametrize("name", CHANGES)
    def test_it_is_done_again_and_is_what_a_first_run_gives(self, made: tuple[Path, Path], name: str) -> None:
        source, out = made
        change, reason = CHANGES[name]
        change(source, out)
        if name == "record that climbs":
            # Its files are then those of nobody.
            assert run(source, out)[0].error["exit_code"] == 4  # type: ignore[index]
            return
        result, told = run(source, out)
        assert result.status == "converted", result.message
        assert len(told) == 1
        assert reason in told[0]
        convert(source, out.with_name("fresh"), export="available", verify=False)
        assert contents(out) == contents(out.with_name("fresh"))
        assert run(source, out)[0].status == "up to date"

    @pytest.mark.parametrize(
        "settings",
        [
            {"export": "both"},
            {"export": "generator"},
            {"num_attention_heads": 2},
            {"hidden_act": "gelu"},
            {"hparams": {"mask_prob": 0.2}},
            {"config": {"num_attention_heads": 2}},
            {"tokenizer": False},
            {"cased": True},
            {"strip_accents": False},
            {"max_length": 8},
            {"dtype": "bfloat16"},
            {"ignore": ["x/*"]},
            {"allow_nonfinite": True},
        ],
        ids=lambda settings: next(iter(settings)),
    )
    def test_other_options_count(self, made: tuple[Path, Path], tmp_path: Path, settings: dict[str, Any]) -> None:
        source, out = made
        if "config" in settings:
            (tmp_path / "config.json").write_text(json.dumps({"model_type": "electra", **settings["config"]}))
            settings = {"config": str(tmp_path / "config.json")}
        result, told = run(source, out, **settings)
        assert (result.status, told) == ("converted", ["the options differ"])
        assert run(source, out, **settings)[0].status == "up to date"

    def test_what_a_config_holds_counts_not_its_name(self, made: tuple[Path, Path], tmp_path: Path) -> None:
        source, out = made
        path = tmp_path / "config.json"
        path.write_text('{"model_type": "electra", "num_attention_heads": 2}')
        run(source, out, config=str(path))
        path.write_text('{"num_attention_heads": 2,   "model_type": "electra"}')
        assert run(source, out, config=str(path))[0].status == "up to date"
        path.write_text('{"model_type": "electra", "num_attention_heads": 4}')
        assert run(source, out, config=str(path))[1] == ["the options differ"]

    def test_a_damaged_checkpoint_is_told_and_its_output_stays(self, made: tuple[Path, Path]) -> None:
        source, out = made
        before = contents(out)
        flip(source / "model.ckpt-7.index")
        result, _ = run(source, out)
        assert (result.status, result.error["exit_code"]) == ("failed", 3)  # type: ignore[index]
        assert contents(out) == before

    def test_a_checkpoint_that_is_gone_is_told_and_its_output_stays(self, made: tuple[Path, Path]) -> None:
        source, out = made
        before = contents(out)
        shutil.rmtree(source)
        assert run(source, out)[0].status == "failed"
        assert contents(out) == before

    def test_a_source_file_more_counts(self, tmp_path: Path) -> None:
        source, out = write_made_up(tmp_path / "ckpt"), tmp_path / "out"
        run(source, out)
        (source / "model.ckpt-7.meta").write_bytes(b"no graph")
        assert run(source, out)[1] == ["the checkpoint has other files"]

    def test_another_checkpoint_in_its_place_counts(self, tmp_path: Path) -> None:
        source, out = write_made_up(tmp_path / "ckpt"), tmp_path / "out"
        run(source, out)
        for path in list(source.glob("model.ckpt-7.*")):
            path.rename(path.with_name(path.name.replace("7", "8", 1)))
        assert run(source, out)[1] == ["the checkpoint has other files"]

    def test_warnings_count_where_they_are_failures(self, made: tuple[Path, Path]) -> None:
        source, out = made
        result, told = run(source, out, strict=True)
        assert told == ["there were warnings"]
        assert (result.status, result.error["kind"]) == ("failed", "StrictError")  # type: ignore[index]
        assert {notice.kind for notice in result.notices} == {"warning"}

    def test_without_resuming_all_is_done_again(self, made: tuple[Path, Path]) -> None:
        source, out = made
        before, inode = contents(out), out.stat().st_ino
        result, told = run(source, out, resume=False)
        assert (result.status, told) == ("converted", [])
        assert contents(out) == before
        assert out.stat().st_ino != inode


class TestProof:
    def test_a_proof_that_is_wanted_and_missing_is_made(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        source, out = write_made_up(tmp_path / "ckpt", "uniform"), tmp_path / "out"
        run(source, out)
        result, told = run(source, out, verify=None)
        assert (result.status, told) == ("converted", ["it is not proven"])
        assert [half["verification"]["state"] for half in result.halves] == ["proven"]
        exact = result.halves[0]["parity"]
        assert set(exact) >= {"float64", "float32", "rounding"}
        assert all(share is None or type(share) is float for share in exact.values())
        for verify in (None, True, False):
            assert run(source, out, verify=verify)[0].status == "up to date"

    def test_weights_that_cannot_be_proven_are_not_asked_for_it_again(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        nan = {"electra/embeddings/LayerNorm/beta": np.full(4, np.nan, "f4")}
        source = write_made_up(tmp_path / "ckpt", "uniform", change=lambda there: there.update(nan))
        settings = {"allow_nonfinite": True, "verify": None}
        assert run(source, tmp_path / "out", **settings)[0].status == "converted"
        assert run(source, tmp_path / "out", **settings)[0].status == "up to date"

    def test_without_torch_none_can_be_wanted(self, made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        source, out = made
        monkeypatch.setattr("electra_convert.batching.resuming.has_torch", lambda: False)
        assert run(source, out, verify=None)[0].status == "up to date"


class TestStrangers:
    """What no conversion wrote is never replaced, nor lost with what one wrote."""

    def refused(self, source: Path, out: Path, **settings: Any) -> list[str]:
        before = contents(out)
        for resume in (True, False):
            result, _ = run(source, out, resume=resume, **settings)
            assert (result.status, result.error["exit_code"]) == ("failed", 4)  # type: ignore[index]
            assert contents(out) == before
        facts = result.error["facts"]  # type: ignore[index]
        assert result.error["message"] == "the output holds files that are not ours"  # type: ignore[index]
        return list(facts["found"])

    def test_a_folder_without_a_record(self, tmp_path: Path) -> None:
        source, out = write_made_up(tmp_path / "ckpt"), tmp_path / "out"
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
        assert self.refused(source, out) == ["thesis.txt"]

    def test_a_record_that_cannot_be_read(self, made: tuple[Path, Path]) -> None:
        source, out = made
        (out / "generator/conversion.json").write_text("{")
        assert "generator/model.safetensors" in self.refused(source, out)

    def test_a_record_of_somebody_else(self, made: tuple[Path, Path]) -> None:
        source, out = made
        edit_record(out, schema="somebody/else/1")
        assert "generator/conversion.json" in self.refused(source, out)

    @pytest.mark.parametrize("place", ["notes.txt", "generator/checkpoint-5/notes.txt", "elsewhere/empty/"])
    def test_a_file_beside_ours(self, made: tuple[Path, Path], place: str) -> None:
        source, out = made
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).mkdir() if place.endswith("/") else (out / place).write_text("mine")
        assert self.refused(source, out) == [place]

    def test_a_file_in_the_place_of_the_folder(self, tmp_path: Path) -> None:
        source, out = write_made_up(tmp_path / "ckpt"), tmp_path / "out"
        out.write_text("mine")
        result, _ = run(source, out)
        assert (result.status, result.error["exit_code"]) == ("failed", 4)  # type: ignore[index]
        assert out.read_text() == "mine"

    def test_one_half_gives_way_to_two_and_back(self, made: tuple[Path, Path]) -> None:
        source, out = made
        assert run(source, out, export="generator")[0].status == "converted"
        assert run(source, out)[0].status == "converted"
        assert sorted(path.name for path in out.iterdir()) == ["discriminator", "generator"]


class TestStores:
    """Sources and outputs at URLs: index, graph and vocabulary by checksum, data and outputs by size."""

    @pytest.fixture
    def store(self) -> Any:
        store = pytest.importorskip("fsspec").filesystem("memory")
        yield store
        store.rm("/zoo", recursive=True)

    @pytest.fixture
    def stored(self, tmp_path: Path, store: Any) -> tuple[str, str]:
        store.put(str(write_made_up(tmp_path / "ckpt")), "/zoo/ckpt", recursive=True)
        source, out = "memory://zoo/ckpt", "memory://zoo/out/deep/item"
        assert run(source, out)[0].status == "converted"
        return source, out

    def test_what_is_there_is_not_done_again(self, stored: tuple[str, str], store: Any) -> None:
        result, _ = run(*stored)
        assert (result.status, result.message) == ("up to date", "")
        assert [half["folder"] for half in result.halves] == [f"{stored[1]}/discriminator", f"{stored[1]}/generator"]

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("ckpt/model.ckpt-7.data-00000-of-00001", "model.ckpt-7.data-00000-of-00001 of the checkpoint was changed"),
            ("ckpt/vocab.txt", "the vocabulary was changed"),
            ("out/deep/item/generator/config.json", "generator/config.json has another size"),
        ],
    )
    def test_what_differs_is_seen(self, stored: tuple[str, str], store: Any, path: str, reason: str) -> None:
        store.pipe_file(f"/zoo/{path}", store.cat_file(f"/zoo/{path}") + b"\n")
        assert run(*stored)[1] == [reason]

    def test_a_folder_without_a_record_is_not_ours(self, stored: tuple[str, str], store: Any) -> None:
        store.rm_file("/zoo/out/deep/item/generator/conversion.json")
        result, _ = run(*stored)
        assert result.error is not None
        assert result.error["message"] == "the output holds files that are not ours"


def test_a_task_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    item = Item("item", str(write_made_up(tmp_path / "ckpt")), {"verify": False})
    result = work_on(replace(Task(item, str(tmp_path / "out")), version="9.9"), lambda *words: None)
    assert result.error is not None
    assert result.error["facts"]["expected"] == "9.9, as the batch"
    assert not (tmp_path / "out").exists()
