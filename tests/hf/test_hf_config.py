"""`config.json` has the keys and types that every version of transformers accepts, and is read as strictly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import conftest
import pytest

from electra_convert.errors import FolderError, OutputError, SettingError
from electra_convert.hf.config import FIELDS, config_document, read_config, write_config
from electra_convert.hf.files import read_json, write_file

SMALL: dict[str, Any] = {
    "vocab_size": 30522,
    "embedding_size": 128,
    "hidden_size": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
}


def document(**changes: object) -> dict[str, object]:
    return config_document({**SMALL, **changes}, architecture="ElectraForPreTraining", pad_token_id=0, dtype="float32")


class TestWriting:
    def test_the_file_looks_like_this(self, tmp_path: Path) -> None:
        write_config(tmp_path / "config.json", document())
        assert (tmp_path / "config.json").read_text() == (
            "{\n"
            '  "architectures": [\n    "ElectraForPreTraining"\n  ],\n'
            '  "attention_probs_dropout_prob": 0.1,\n'
            '  "dtype": "float32",\n'
            '  "embedding_size": 128,\n'
            '  "hidden_act": "gelu",\n'
            '  "hidden_dropout_prob": 0.1,\n'
            '  "hidden_size": 256,\n'
            '  "initializer_range": 0.02,\n'
            '  "intermediate_size": 1024,\n'
            '  "layer_norm_eps": 1e-12,\n'
            '  "max_position_embeddings": 512,\n'
            '  "model_type": "electra",\n'
            '  "num_attention_heads": 4,\n'
            '  "num_hidden_layers": 12,\n'
            '  "pad_token_id": 0,\n'
            '  "position_embedding_type": "absolute",\n'
            '  "torch_dtype": "float32",\n'
            '  "type_vocab_size": 2,\n'
            '  "vocab_size": 30522\n'
            "}\n"
        )

    def test_whole_numbers_of_a_float_field_keep_a_point(self) -> None:
        text = json.dumps(document(hidden_dropout_prob=0, initializer_range=1, layer_norm_eps=0))
        assert '"hidden_dropout_prob": 0.0' in text
        assert '"initializer_range": 1.0' in text
        assert '"layer_norm_eps": 0.0' in text

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("hidden_size", 24.0),
            ("hidden_size", "24"),
            ("hidden_size", True),
            ("hidden_size", 0),
            ("hidden_size", -1),
            ("hidden_size", None),
            ("hidden_act", None),
            ("hidden_act", ""),
            ("hidden_act", 3),
            ("layer_norm_eps", "1e-12"),
            ("layer_norm_eps", -1e-12),
            ("layer_norm_eps", float("nan")),
            ("initializer_range", float("inf")),
            ("initializer_range", False),
            ("hidden_dropout_prob", 1.5),
            ("hidden_dropout_prob", None),
        ],
    )
    def test_a_value_of_another_kind_is_refused_by_field(self, field: str, value: object) -> None:
        with pytest.raises(SettingError) as caught:
            document(**{field: value})
        assert caught.value.facts["field"] == field

    def test_fields_missing_or_unknown_are_a_bug(self) -> None:
        with pytest.raises(ValueError, match="bogus"):
            document(bogus=1)

    @pytest.mark.parametrize("name", conftest.all_of("google"))
    def test_every_config_of_googles_code_can_be_written(self, name: str, tmp_path: Path) -> None:
        halves = json.loads((conftest.google(name) / "expected_config.json").read_text())
        for half, fields in halves.items():
            if isinstance(fields, dict) and set(fields) == set(FIELDS):
                written = config_document(fields, architecture="ElectraForMaskedLM", pad_token_id=0, dtype="float32")
                write_config(tmp_path / half, written)
                assert read_config(tmp_path / half) == written

    def test_transformers_takes_every_value_and_gives_it_back(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        transformers = pytest.importorskip("transformers")
        written = document(hidden_dropout_prob=0, hidden_act="relu", layer_norm_eps=1e-5)
        write_config(tmp_path / "config.json", written)
        for loader in (transformers.ElectraConfig, transformers.AutoConfig):
            loaded = loader.from_pretrained(tmp_path)
            assert type(loaded).__name__ == "ElectraConfig"
            assert {name: getattr(loaded, name) for name in FIELDS} == {name: written[name] for name in FIELDS}
            assert str(loaded.dtype) in {"float32", "torch.float32"}
            assert loaded.pad_token_id == 0
        assert caplog.text == ""

    def test_an_existing_file_is_not_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("mine")
        with pytest.raises(OutputError):
            write_file(tmp_path / "x", b"new")
        assert (tmp_path / "x").read_text() == "mine"

    @pytest.mark.skipif(os.name != "posix", reason="POSIX only")
    def test_a_disk_that_takes_no_more_is_told(self, tmp_path: Path) -> None:
        program = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from electra_convert.errors import OutputError\n"
            "from electra_convert.hf.files import write_file\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
            "try: write_file(Path(sys.argv[1]), bytes(100))\n"
            "except OutputError as error: print(error.exit_code, error.expected)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "x")], capture_output=True, text=True, check=True
        )
        assert done.stdout == "4 100 bytes for this file\n"


class TestReading:
    def write(self, tmp_path: Path, text: str | bytes) -> Path:
        path = tmp_path / "config.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        write_config(tmp_path / "config.json", document())
        assert read_config(tmp_path / "config.json") == document()

    def test_other_keys_are_kept_and_fields_may_be_missing(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, '{"model_type": "electra", "hidden_dropout_prob": 0, "classifier_dropout": null}')
        found = read_config(path)
        assert found == {"model_type": "electra", "hidden_dropout_prob": 0.0, "classifier_dropout": None}
        assert isinstance(found["hidden_dropout_prob"], float)

    @pytest.mark.parametrize("kind", [SettingError, FolderError])
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "no JSON"),
            ("{", "no JSON"),
            ("[]", "no JSON object"),
            ("3", "no JSON object"),
            (b"\xff{}", "not UTF-8"),
            ("\ufeff{}", "no JSON"),
            ("{}", "another model"),
            ('{"model_type": "bert"}', "another model"),
            ('{"model_type": "electra", "layer_norm_eps": NaN}', "no JSON that can be used"),
            ('{"model_type": "electra", "hidden_size": "24"}', "wrong value"),
            ('{"model_type": "electra", "hidden_size": 24.0}', "wrong value"),
            ('{"model_type": "electra", "hidden_act": null}', "wrong value"),
            ('{"model_type": "electra", "hidden_size": ' + "9" * 5000 + "}", "no JSON that can be used"),
            ("[" * 200_000, "no JSON that can be used"),
        ],
    )
    def test_what_cannot_be_used_is_refused(
        self, tmp_path: Path, text: str | bytes, message: str, kind: type[SettingError | FolderError]
    ) -> None:
        with pytest.raises(kind, match=message) as caught:
            read_config(self.write(tmp_path, text), kind)
        assert caught.value.exit_code == 3

    def test_line_and_column_are_told(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, '{\n  "a": 1,\n  b\n}')
        with pytest.raises(FolderError) as caught:
            read_config(path)
        assert caught.value.where == f"{path}, line 3, column 3"

    def test_a_missing_file_and_a_folder_are_refused(self, tmp_path: Path) -> None:
        for path in (tmp_path / "no", tmp_path):
            with pytest.raises(SettingError):
                read_config(path, SettingError)

    @pytest.mark.skipif(os.name != "posix", reason="POSIX only")
    def test_a_fifo_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x")
        with pytest.raises(FolderError, match="no regular file"):
            read_json(tmp_path / "x", "the configuration", FolderError)
