"""`to-tf1` on the command line: summary, JSON, messages and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run_cli
from conftest import google

from electra_convert import convert

HELP = """\
Usage: electra-convert to-tf1 [OPTIONS] FOLDER... OUT

  Write Hugging Face folders as a TF1 checkpoint.

  FOLDER is a discriminator, a generator, a bare encoder, or a folder that
  holds `discriminator` and `generator`. OUT must not exist or be empty; it
  becomes what Google's code takes as DATA_DIR/models/NAME.

Examples:
  electra-convert to-tf1 hf/discriminator hf/generator ckpt/
  electra-convert to-tf1 hf/ ckpt/ --slots --step 1000000
  electra-convert to-tf1 my-finetuned-model/ ckpt/ --encoder

What to convert:
  --encoder                       The tower alone, without the head it has
  --generator-scope [electra|generator]
                                  Of a generator alone; default: electra
  --allow-nonfinite               Convert weights that are NaN or infinite

What to write:
  --step N                        global_step; default: as recorded, or 0
  --slots                         Zeroed Adam slots, to go on pre-training
  --vocab FILE                    vocab.txt; default: the folder's
  --no-tokenizer                  No vocab.txt
  --dtype [float32|float16|bfloat16]
                                  Default: as stored
  --overwrite                     Replace OUT
  --dry-run                       Show the plan, write nothing
  --strict                        Fail on warnings

How to show it:
  --json         One JSON document on stdout
  -q, --quiet    No summary, no progress
  -v, --verbose  What was decided and why
  --debug        Tracebacks with errors
  -h, --help     Show this message and exit
"""

SUMMARY = """\
Read        hf/discriminator  discriminator, 43 tensors
            hf/generator      generator, 44 tensors
Made        separate generator, shared embeddings
            83 variables, 42,453 parameters, float32
            step 40 (conversion.json)
Checked     87 of 87 tensors converted back bit for bit
Wrote       ckpt/
"""


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves") / "hf"
    convert(google("default_small"), folder, export="both", verify=False)
    return folder


def test_help_is_as_drawn() -> None:
    done = run_cli("to-tf1", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (0, HELP, "")


def test_the_summary_says_what_was_made(hf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hf").symlink_to(hf)
    monkeypatch.chdir(tmp_path)
    done = run_cli("to-tf1", "hf", "ckpt")
    assert done.returncode == 0
    assert done.stdout.startswith(SUMMARY)
    assert "hparams_finetuning.json" in done.stdout
    assert "run_pretraining.py" not in done.stdout
    assert done.stderr == ""
    assert run_cli("inspect", "ckpt").returncode == 0
    again = run_cli("to-tf1", "hf", "ckpt", "--overwrite", "--slots", "-v")
    assert "247 variables, 42,453 parameters, float32, Adam slots of zeros" in again.stdout
    assert "run_pretraining.py  --hparams" in again.stdout
    assert "generator_hidden_size   0.25" in again.stderr


def test_json_is_one_document(hf: Path, tmp_path: Path) -> None:
    done = run_cli("to-tf1", str(hf), str(tmp_path / "ckpt"), "--json", "--dtype", "float16")
    document = json.loads(done.stdout)
    assert (done.returncode, document["schema"], document["ok"]) == (0, "electra-convert/to-tf1/1", True)
    assert document["prefix"] == str(tmp_path / "ckpt" / "model.ckpt-40")
    assert [warning["code"] for warning in document["warnings"]] == ["google-dtype"]
    refused = run_cli("to-tf1", str(hf), str(tmp_path / "ckpt"), "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["kind"]) == (4, "OutputError")


def test_quiet_says_nothing(hf: Path, tmp_path: Path) -> None:
    done = run_cli("to-tf1", str(hf), str(tmp_path / "ckpt"), "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "ckpt" / "checkpoint").exists()


def test_exit_codes_are_those_of_the_table(hf: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "ckpt")
    cases = {
        (str(hf),): 2,
        (str(hf), out, "--no-tokenizer", "--vocab", "x"): 2,
        (str(hf), str(hf / "inside")): 2,
        (str(hf / "discriminator"), str(hf / "discriminator"), out): 2,
        (str(hf), out, "--encoder"): 2,
        (str(hf), out, "--generator-scope", "generator"): 2,
        (str(hf), out, "--step", "-1"): 2,
        (str(tmp_path / "nothing"), out): 3,
        (str(hf), out, "--dtype", "float16", "--strict"): 1,
        (str(hf), str(tmp_path / "no" / "such" / "parent")): 4,
    }
    for words, code in cases.items():
        done = run_cli("to-tf1", *words)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "ckpt").exists()
