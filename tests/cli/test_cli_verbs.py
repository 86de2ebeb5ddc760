"""`tf1` and `inspect` pass on what was said, refuse what contradicts itself, and print what came back."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

import click
import pytest
from cli_runs import run, run_cli
from conftest import google, other

from electra_convert import cli, conversion, inspection

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(conversion.convert).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


@pytest.fixture
def said(monkeypatch):
    """Run the command line in this process and return what the verb was called with."""

    heard = []

    def listen(*places, **settings):
        heard.append((places, settings))
        raise conversion.StrictError("heard")

    monkeypatch.setattr(conversion, "convert", listen)
    monkeypatch.setattr(inspection, "inspect", listen)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["electra-convert", *arguments])
        assert cli.main() == 1
        return heard.pop()

    return call


class TestWhatTf1PassesOn:
    def test_with_nothing_else_given_everything_is_the_default_of_the_library(self, said):
        places, settings = said("tf1", "ckpt/", "out/")
        settings.pop("progress")
        assert places == ("ckpt/", "out/")
        assert settings == {name: default for name, default in DEFAULTS.items() if name != "progress"}

    def test_it_has_an_option_for_every_keyword_of_the_library_and_no_other(self):
        command = cli.root.get_command(click.Context(cli.root), "tf1")
        options = {parameter.name for parameter in command.params} - {"checkpoint", "out"}
        shared = {"as_json", "quiet", "verbose", "debug"}
        assert options - shared - {"no_tokenizer"} == set(DEFAULTS) - {"progress", "tokenizer"}

    @pytest.mark.parametrize(
        "words",
        [
            ("tf1", "ckpt/", "--export", "generator", "out/"),
            ("tf1", "ckpt/", "out/", "--export", "generator"),
            ("tf1", "--export=generator", "ckpt/", "out/"),
            ("tf1", "--export", "generator", "--", "ckpt/", "out/"),
            ("--color", "never", "tf1", "ckpt/", "-q", "out/", "--export", "generator"),
        ],
    )
    def test_options_stand_anywhere(self, said, words):
        places, settings = said(*words)
        assert places == ("ckpt/", "out/")
        assert settings["export"] == "generator"

    @pytest.mark.parametrize(
        ("words", "name", "value"),
        [
            (["--export", "available"], "export", "available"),
            (["--num-attention-heads", "4"], "num_attention_heads", 4),
            (["--num-attention-heads", "0"], "num_attention_heads", 0),
            (["--hidden-act", "relu"], "hidden_act", "relu"),
            (["--hparams", '{"model_size": "small"}'], "hparams", '{"model_size": "small"}'),
            (["--config", "config.json"], "config", "config.json"),
            (["--ignore", "a*", "--ignore", "b*"], "ignore", ("a*", "b*")),
            (["--allow-nonfinite"], "allow_nonfinite", True),
            (["--reader", "tensorflow"], "reader", "tensorflow"),
            (["--vocab", "v.txt"], "vocab", "v.txt"),
            (["--no-tokenizer"], "tokenizer", False),
            (["--cased"], "cased", True),
            (["--uncased"], "cased", False),
            (["--strip-accents"], "strip_accents", True),
            (["--keep-accents"], "strip_accents", False),
            (["--max-length", "128"], "max_length", 128),
            (["--dtype", "bfloat16"], "dtype", "bfloat16"),
            (["--overwrite"], "overwrite", True),
            (["--dry-run"], "dry_run", True),
            (["--strict"], "strict", True),
            (["--verify"], "verify", True),
            (["--no-verify"], "verify", False),
            (["--dry-run", "--no-verify"], "dry_run", True),
            (["--cased", "--strip-accents"], "cased", True),
        ],
    )
    def test_each_option_reaches_the_library(self, said, words, name, value):
        _, settings = said("tf1", "ckpt/", "out/", *words)
        assert settings[name] == value
        untouched = set(settings) - {name, "progress", "verify", "strip_accents"}
        assert all(settings[other] == DEFAULTS[other] for other in untouched)

    def test_a_name_that_is_not_utf_8_arrives_whole(self, said):
        places, _ = said("tf1", "ckpt-\udcff", "out/")
        assert os.fsencode(places[0]) == b"ckpt-\xff"


@pytest.mark.parametrize(
    "words",
    [
        ["--no-tokenizer", "--vocab", "v.txt"],
        ["--no-tokenizer", "--cased"],
        ["--no-tokenizer", "--keep-accents"],
        ["--no-tokenizer", "--max-length", "128"],
        ["--dry-run", "--verify"],
        ["--cased", "--uncased"],
        ["--strip-accents", "--keep-accents"],
        ["--no-verify", "--verify"],
        ["--quiet", "--verbose"],
        ["-v", "-q"],
    ],
)
def test_flags_that_contradict_each_other_are_wrong_usage_naming_both(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["electra-convert", "tf1", "ckpt/", "out/", *words])
    assert cli.main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for word in words:
        if word.startswith("--"):
            assert word in printed.err
    assert "contradict each other" in printed.err


@pytest.mark.parametrize(
    "words", [["--dtype", "float64"], ["--export", "half"], ["--reader", "torch"], ["--max-length", "x"]]
)
def test_values_that_no_option_takes_are_wrong_usage(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["electra-convert", "tf1", "ckpt/", "out/", *words])
    assert cli.main() == 2
    assert words[0] in capsys.readouterr().err


def test_inspect_passes_on_the_reader(said):
    assert said("inspect", "a.index") == (("a.index",), {"reader": "auto"})
    words = ("inspect", "--reader", "tensorflow", "ckpt/")
    assert said(*words) == (("ckpt/",), {"reader": "tensorflow"})


class TestTf1OnARealCheckpoint:
    def test_it_prints_the_summary_on_stdout_and_the_warnings_on_stderr(self, tmp_path):
        done = run_cli("tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify")
        assert done.returncode == 0
        assert done.stdout.startswith("Read        ")
        assert "\nWrote       " in done.stdout
        assert "\n1 warning\n" in done.stdout
        assert done.stderr.startswith("warning: the number of attention heads")
        assert done.stderr.count("warning: ") == 1
        assert "note: " not in done.stderr
        assert (tmp_path / "out" / "model.safetensors").exists()

    def test_quiet_leaves_the_warnings(self, tmp_path):
        done = run_cli("tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify", "-q")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("warning: ")

    def test_verbose_adds_the_notes_and_every_value_with_its_source(self, tmp_path):
        done = run_cli("tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify", "-v")
        assert "\nnote: " in done.stderr
        assert "\nConfig of the discriminator\n  vocab_size " in done.stderr
        assert "shape  electra/embeddings/word_embeddings\n" in done.stderr

    def test_json_is_one_document_that_says_what_was_done(self, tmp_path):
        done = run_cli("tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify", "--json", "-v")
        document = json.loads(done.stdout)
        assert list(document)[:3] == ["schema", "version", "ok"]
        assert list(document)[-3:] == ["warnings", "error", "seconds"]
        assert (document["schema"], document["ok"], document["error"]) == ("electra-convert/tf1/1", True, None)
        assert [warning["code"] for warning in document["warnings"]] == ["rule"]
        assert document["halves"][0]["half"] == "discriminator"

    def test_strict_fails_with_1_and_leaves_nothing(self, tmp_path):
        done = run_cli("tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify", "--strict", "--json")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert (document["ok"], document["error"]["kind"]) == (False, "StrictError")
        assert [warning["code"] for warning in document["warnings"]] == ["rule"]
        assert done.stderr.startswith("warning: the number of attention heads")
        assert "\n\nerror: a warning, and warnings count as failures\n" in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_an_output_that_exists_is_4(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        done = run_cli("tf1", str(google("sharded")), str(tmp_path), "--no-verify")
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("error: ")
        assert "--overwrite" in done.stderr

    @pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
    def test_a_closed_pipe_after_publication_is_141_and_the_folder_stays(self, tmp_path):
        reader, writer = os.pipe()
        os.close(reader)
        words = ["tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify"]
        done = run(
            [sys.executable, "-m", "electra_convert", *words],
            capture_output=False,
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        assert done.returncode == 141
        assert "Traceback" not in done.stderr
        assert (tmp_path / "out" / "conversion.json").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_torch_and_the_like_are_not_imported_without_a_proof(self, tmp_path):
        program = (
            "import sys; from electra_convert import cli; status = cli.main();"
            "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(status)"
        )
        words = ["tf1", str(google("sharded")), str(tmp_path / "out"), "--no-verify", "-q"]
        done = run([sys.executable, "-c", program, *words])
        assert done.returncode == 0
        loaded = set(done.stderr.splitlines()[-1].split())
        assert loaded.isdisjoint({"torch", "transformers", "tensorflow", "rich"})


class TestInspectOnARealCheckpoint:
    def test_it_shows_what_is_there(self):
        done = run_cli("inspect", str(google("sharded")))
        assert (done.returncode, done.stderr) == (0, "")
        assert "\n  separate generator, shared embeddings\n" in done.stdout
        assert "\nCan export\n  discriminator  " in done.stdout

    def test_variables_are_one_a_line_with_tabs_in_a_pipe(self):
        done = run_cli("inspect", str(google("sharded")), "--variables")
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert {len(row) for row in rows} == {5}
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        assert ["electra/embeddings/LayerNorm/gamma", "float32", "[16]", "64", "shared"] in rows

    def test_an_index_alone_is_enough_and_what_is_missing_is_said(self):
        done = run_cli("inspect", str(other("electra_small_released")))
        assert done.returncode == 0
        assert "\nMissing\n" in done.stdout

    def test_json_lists_every_variable(self):
        done = run_cli("inspect", str(google("sharded")), "--json")
        document = json.loads(done.stdout)
        lines = run_cli("inspect", str(google("sharded")), "--variables").stdout.splitlines()
        assert document["schema"] == "electra-convert/inspect/1"
        assert [variable["name"] for variable in document["variables"]] == [line.split("\t")[0] for line in lines]

    def test_what_is_no_checkpoint_is_3(self, tmp_path):
        done = run_cli("inspect", str(tmp_path / "nothing"), "--json")
        assert done.returncode == 3
        assert json.loads(done.stdout)["error"]["kind"] == "NotACheckpoint"

    @pytest.mark.parametrize(
        "name", ["with space", "[run1]", "a:100:b", "naïve 模型", "n" * 200, "\x1b[31mred", "line\nbreak", "\u202ertl"]
    )
    def test_names_do_no_harm(self, tmp_path, name):
        done = run_cli("inspect", str(tmp_path / name))
        assert done.returncode == 3
        assert done.stderr.startswith("error: ")
        assert all(line.isprintable() for line in done.stderr.splitlines())
