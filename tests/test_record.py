"""The record says where everything came from, can be checked by anybody, and is the same wherever it was made."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from builders import write_v2
from conftest import google
from made_up import TOKENS, P, shapes_of, values_of, with_slots, write_made_up

import electra_convert
from electra_convert import convert, state_dict
from electra_convert.electra.mapping import ARCHITECTURE
from electra_convert.options import NOT_FOR_THE_RECORD
from electra_convert.record import SCHEMA, TOOL
from electra_convert.tf1.checkpoint import open_checkpoint

HALVES = ("discriminator", "generator")


def crc_of(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"


def little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "conversion.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("record") / "out"
    convert(google("default_small"), out, export="both", verify=False)
    return out


class TestContent:
    def test_it_names_its_schema_and_the_tool(self, both: Path) -> None:
        record = record_of(both / "generator")
        assert record["schema"] == SCHEMA
        assert record["tool"] == {"name": TOOL, "version": electra_convert.__version__}

    def test_it_names_set_up_half_step_and_trained_length(self, both: Path) -> None:
        record = record_of(both / "discriminator")
        assert (record["setup"], record["half"], record["architecture"]) == (
            "separate",
            "discriminator",
            ARCHITECTURE["discriminator"],
        )
        checkpoint = record["checkpoint"]
        assert (checkpoint["name"], checkpoint["format"], checkpoint["shards"]) == ("model.ckpt-40", "V2", 1)
        assert (checkpoint["step"], checkpoint["step_source"]) == (40, "global_step")
        assert (record["trained_length"], record["trained_length_sources"]) == (32, {"graph": 32, "slots": 32})

    def test_the_source_files_have_their_sizes_and_checksums(self, both: Path) -> None:
        """All but data shards, whose tensors the index has the checksums of."""
        checkpoint = record_of(both / "discriminator")["checkpoint"]
        folder = google("default_small")
        files = {file["name"]: file for file in [*checkpoint["files"], checkpoint["vocabulary"]]}
        assert set(files) == {
            "model.ckpt-40.index", "model.ckpt-40.data-00000-of-00001", "model.ckpt-40.meta", "vocab.txt",
        }  # fmt: skip
        for name, file in files.items():
            data = (folder / name).read_bytes()
            assert file["bytes"] == len(data)
            assert file["crc32c"] == (None if ".data-" in name else crc_of(data))

    @pytest.mark.parametrize("half", HALVES)
    def test_every_field_of_the_config_has_value_and_source(self, both: Path, half: str) -> None:
        config = json.loads((both / half / "config.json").read_text())
        record = record_of(both / half)["config"]
        assert {key: entry["value"] for key, entry in record.items()} == {key: config[key] for key in record}
        assert len(record) == 13
        assert {entry["source"] for entry in record.values()} <= {"shape", "graph", "rule"}
        assert all(set(entry) == {"value", "source", "detail"} and entry["detail"] for entry in record.values())

    @pytest.mark.parametrize("half", HALVES)
    def test_every_tensor_can_be_checked_from_both_sides(self, both: Path, half: str) -> None:
        safetensors = pytest.importorskip("safetensors.numpy")
        tensors = safetensors.load_file(both / half / "model.safetensors")
        entries = record_of(both / half)["tensors"]
        assert {entry["tensor"] for entry in entries} == set(tensors)
        with open_checkpoint(google("default_small")) as checkpoint:
            for entry in entries:
                tensor, variable = tensors[entry["tensor"]], checkpoint.read(entry["variable"])
                assert entry["operation"] == ("transpose" if entry["variable"].endswith("kernel") else "copy")
                assert (entry["shape"], entry["dtype"]) == (list(tensor.shape), str(tensor.dtype))
                assert entry["crc32c"] == crc_of(little_endian(tensor))
                assert entry["variable_dtype"] == str(variable.dtype)
                assert entry["variable_crc32c"] == crc_of(little_endian(variable))

    @pytest.mark.parametrize("half", HALVES)
    def test_every_variable_is_a_tensor_or_not_exported_for_a_reason(self, both: Path, half: str) -> None:
        record = record_of(both / half)
        exported = {entry["variable"] for entry in record["tensors"]}
        groups = record["not_exported"]
        left = [name for group in groups for name in group["variables"]]
        with open_checkpoint(google("default_small")) as checkpoint:
            assert sorted([*exported, *left]) == sorted(checkpoint.variables)
        other = {"discriminator": "generator", "generator": "discriminator"}[half]
        assert [group["reason"] for group in groups] == [
            f"belongs to the {other}", "state of the optimizer", "the training step",
        ]  # fmt: skip

    @pytest.mark.parametrize("half", HALVES)
    def test_every_other_file_has_its_size_and_checksum(self, both: Path, half: str) -> None:
        files = {file["name"]: file for file in record_of(both / half)["files"]}
        assert set(files) == {path.name for path in (both / half).iterdir()} - {"conversion.json"}
        for name, file in files.items():
            data = (both / half / name).read_bytes()
            assert file == {"name": name, "bytes": len(data), "crc32c": crc_of(data)}

    def test_parameters_and_type_are_told(self, both: Path) -> None:
        record = record_of(both / "generator")
        tensors = state_dict(google("default_small"), export="generator")
        assert record["parameters"] == sum(tensor.size for tensor in tensors.values())
        assert record["dtype"] == "float32"

    def test_casing_and_length_of_the_tokenizer_have_sources(self, both: Path) -> None:
        tokenizer = record_of(both / "discriminator")["tokenizer"]
        assert tokenizer["entries"] == 300
        assert tokenizer["do_lower_case"] == {"value": True, "source": "vocabulary"}
        assert tokenizer["strip_accents"] == {"value": True, "source": "vocabulary"}
        assert tokenizer["model_max_length"] == 512

    def test_notes_and_warnings_are_in_it(self, tmp_path: Path) -> None:
        convert(write_made_up(tmp_path / "ckpt"), tmp_path / "out", verify=False)
        record = record_of(tmp_path / "out")
        assert [notice["code"] for notice in record["warnings"]] == ["rule"]
        assert {notice["code"] for notice in record["notes"]} == {"rule-without-effect", "casing"}

    def test_how_far_it_was_verified_is_in_it(self, both: Path) -> None:
        assert record_of(both / "discriminator")["verification"]["state"] == "bytes"


class TestOptions:
    """What was asked for is on record, as far as it decides about the bytes: `batch` knows by it what is up to date."""

    def record(self, out: Path, path: Path, **options: Any) -> dict[str, Any]:
        convert(path, out, verify=False, overwrite=True, **options)
        return record_of(out)

    def test_every_option_of_convert_is_on_record_or_left_out_for_a_reason(self, both: Path) -> None:
        options = set(inspect.signature(convert).parameters) - {"checkpoint", "out", "progress"}
        assert set(record_of(both / "generator")["options"]) == options - NOT_FOR_THE_RECORD

    def test_they_stand_as_they_were_given(self, tmp_path: Path) -> None:
        given = {"num_attention_heads": 2, "cased": True, "dtype": "float16", "ignore": ["x/*"], "max_length": 8}
        options = self.record(tmp_path / "out", write_made_up(tmp_path / "ckpt"), **given)["options"]
        assert {name: options[name] for name in given} == given
        assert (options["export"], options["hparams"], options["config"]) == ("discriminator", None, None)

    @pytest.mark.parametrize("option", ["hparams", "config"])
    def test_documents_are_checksums_of_what_they_hold(self, tmp_path: Path, option: str) -> None:
        source = write_made_up(tmp_path / "ckpt")
        texts = [
            '{"model_type": "electra", "x": 1}',
            '{ "x": 1, "model_type": "electra" }',
            '{"model_type": "electra"}',
        ]
        found = []
        for number, text in enumerate(texts):
            path = tmp_path / f"{number}.json"
            path.write_text(text)
            found.append(self.record(tmp_path / "out", source, **{option: path})["options"][option])
        assert found[0] == found[1] != found[2]
        assert found[0] == crc_of(b'{"model_type": "electra", "x": 1}')

    def test_halves_exported_together_and_halves_refused_are_told_in_each(self, both: Path, tmp_path: Path) -> None:
        for half in HALVES:
            assert record_of(both / half)["halves"] == list(HALVES)
            assert record_of(both / half)["refused"] == []
        convert(write_made_up(tmp_path / "ckpt", "uniform"), tmp_path / "out", export="available", verify=False)
        record = record_of(tmp_path / "out" / "discriminator")
        assert record["halves"] == ["discriminator"]
        assert [(each["half"], bool(each["reason"])) for each in record["refused"]] == [("generator", True)]

    def test_the_size_of_all_variables_is_told(self, both: Path) -> None:
        with open_checkpoint(google("default_small")) as checkpoint:
            assert record_of(both / "generator")["checkpoint"]["bytes"] == checkpoint.nbytes


class TestCases:
    def record(self, tmp_path: Path, path: Path, **options: Any) -> dict[str, Any]:
        convert(path, tmp_path / "out", verify=False, **options)
        return record_of(tmp_path / "out")

    def test_without_a_tokenizer_none_is_told(self, tmp_path: Path) -> None:
        record = self.record(tmp_path, write_made_up(tmp_path / "ckpt"), tokenizer=False)
        assert record["tokenizer"] is record["checkpoint"]["vocabulary"] is None

    def test_hparams_without_a_place_in_the_model_are_kept(self, tmp_path: Path) -> None:
        hparams = {"temperature": 0.7, "mask_prob": 0.25, "learning_rate": 1, "max_seq_length": P}
        record = self.record(tmp_path, write_made_up(tmp_path / "ckpt"), hparams=hparams)
        assert record["hparams"] == {"temperature": 0.7, "mask_prob": 0.25}
        assert record["trained_length_sources"] == {"hparams": P}

    @pytest.mark.parametrize(("value", "told"), [(0.0, 0.0), (np.nan, "nan"), (np.inf, "inf")], ids=["0", "nan", "inf"])
    def test_the_temperature_is_told_also_where_json_has_no_number_for_it(
        self, tmp_path: Path, value: float, told: float | str
    ) -> None:
        name = "generator_predictions/temperature"
        path = write_made_up(tmp_path / "ckpt", change=lambda there: there.update({name: np.float32(value)}))
        record = self.record(tmp_path, path)
        assert record["scalars"] == {name: told}
        assert {"reason": "used for sampling only", "variables": [name]} in record["not_exported"]

    def test_rounded_tensors_have_checksums_of_both_types(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt")
        record = self.record(tmp_path, path, dtype="bfloat16")
        tensors = state_dict(path, dtype="bfloat16")
        with open_checkpoint(path) as checkpoint:
            for entry in record["tensors"]:
                assert (entry["dtype"], entry["variable_dtype"]) == ("bfloat16", "float32")
                assert entry["crc32c"] == crc_of(tensors[entry["tensor"]].tobytes())
                assert entry["variable_crc32c"] == crc_of(checkpoint.read(entry["variable"]).tobytes())

    @pytest.mark.parametrize("name", ["v1_format", "v1_sharded", "sharded", "partitioned"])
    def test_other_formats_of_one_model_give_the_checksums_of_the_first(
        self, tmp_path: Path, both: Path, name: str
    ) -> None:
        record, first = self.record(tmp_path, google(name)), record_of(both / "discriminator")
        assert record["tensors"] == first["tensors"]
        for file in record["checkpoint"]["files"]:
            data = (google(name) / file["name"]).read_bytes()
            assert file["crc32c"] == (None if ".data-" in file["name"] else crc_of(data))

    def test_ignored_and_tied_variables_are_told(self, tmp_path: Path) -> None:
        path = write_made_up(tmp_path / "ckpt", "tied", lambda there: there.update({"x/y": np.zeros(2)}))
        convert(path, tmp_path / "out", export="both", ignore=["x/*"], verify=False)
        for half, other in zip(HALVES, reversed(HALVES), strict=True):
            groups = {
                group["reason"]: group["variables"] for group in record_of(tmp_path / "out" / half)["not_exported"]
            }
            assert groups["matches --ignore"] == ["x/y"]
            assert all(name.startswith(f"{other}_predictions/") for name in groups[f"belongs to the {other}"])

    def test_slots_of_both_halves_are_told_by_name(self, tmp_path: Path) -> None:
        shapes = with_slots(shapes_of("uniform"))
        prefix = write_v2(tmp_path / "model.ckpt-7", values_of(shapes))
        record = self.record(tmp_path, prefix, tokenizer=False)
        (slots,) = [
            group["variables"] for group in record["not_exported"] if group["reason"] == "state of the optimizer"
        ]
        assert slots == sorted(name for name in shapes if name.endswith(("/adam_m", "/adam_v")))


class TestSameness:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, bytes]]:
        """Convert from another working directory each time, to an OUT of another name; give the files' bytes."""
        count = 0

        def go(checkpoint: Any, **options: Any) -> dict[str, bytes]:
            nonlocal count
            count += 1
            here = tmp_path / f"secret-place-{count}"
            here.mkdir()
            monkeypatch.chdir(here)
            convert(checkpoint, f"secret-out-{count}", export="both", verify=False, **options)
            out = here / f"secret-out-{count}"
            return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

        return go

    def test_two_runs_are_equal_byte_for_byte(self, run: Callable[..., dict[str, bytes]]) -> None:
        assert run(google("default_small")) == run(google("default_small"))

    def test_a_path_and_its_open_checkpoint_are_equal(self, run: Callable[..., dict[str, bytes]]) -> None:
        with open_checkpoint(google("default_small")) as checkpoint:
            assert run(checkpoint) == run(google("default_small"))

    @pytest.mark.parametrize(
        ("option", "document"),
        [
            ("config", {"model_type": "electra", "num_attention_heads": 2, "hidden_act": "gelu"}),
            ("hparams", {"model_hparam_overrides": {"num_attention_heads": 2, "hidden_act": "gelu"}}),
        ],
    )
    def test_no_file_names_a_folder(
        self, run: Callable[..., dict[str, bytes]], tmp_path: Path, option: str, document: dict[str, Any]
    ) -> None:
        """Not that of the checkpoint, of OUT, of the vocabulary, nor one that the `checkpoint` file names."""
        folder = write_made_up(tmp_path / "secret-checkpoint", tokens=TOKENS[:-1])
        aside = tmp_path / "secret-aside"
        aside.mkdir()
        (aside / "given.json").write_text(json.dumps(document))
        (folder / "vocab.txt").rename(aside / "words.txt")
        (folder / "model.ckpt-7.meta").write_bytes(b"\xff")
        (folder / "checkpoint").write_text('model_checkpoint_path: "/secret-machine/model.ckpt-7"\n')
        files = run(folder, vocab=aside / "words.txt", **{option: aside / "given.json"})
        warned = {notice["code"] for notice in json.loads(files["generator/conversion.json"])["warnings"]}
        assert {"vocab-short", "graph-unusable", "checkpoint-path"} <= warned
        for name, data in files.items():
            assert b"secret" not in data, name
            assert str(tmp_path).encode() not in data, name

    def test_the_folder_of_an_archive_is_not_told_either(self, run: Callable[..., dict[str, bytes]]) -> None:
        archive = google("no_meta") / "published.zip"
        files = run(archive)
        assert files == run(archive)
        assert not [name for name, data in files.items() if b"/tmp" in data or b"published" in data]
