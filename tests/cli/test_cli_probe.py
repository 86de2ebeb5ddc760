"""`probe` on the command line: what it shows, one JSON document, its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from cli_runs import cli_command, environment, run
from cli_runs import run_cli as run_apart
from probes import LINES, trained

from electra_convert.cli import main

HELP = """\
Usage: electra-convert probe [OPTIONS] DISCRIMINATOR [TEXT]

  Play ELECTRA's game on real text with converted weights.

  DISCRIMINATOR is a Hugging Face folder, or one with the folders
  discriminator and generator. TEXT is played on, or a file, or standard input
  (-): a share of its tokens is masked, the generator puts tokens of its own
  in their place, and the discriminator points at those that it holds to be
  replaced.
"""


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Run the command line in this process: torch is loaded once for all tests."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["electra-convert", *arguments])
        status = main()
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run_here


def test_help_says_how_to_read_it(run_cli):
    text = run_cli("probe", "--help").stdout
    assert text.startswith(HELP)
    assert all(len(line) <= 86 for line in text.splitlines())
    assert "Random weights: 0.5" in text
    assert text.endswith("Exit codes: 0 played, 2 usage, 3 folder or text refused, 4 environment\n")


def test_a_text_is_played_and_shown_without_colour(run_cli):
    done = run_cli("probe", str(trained()), LINES, "--seed", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Discriminator  {trained()}/discriminator\n")
    assert "\x1b" not in done.stdout
    assert re.search(r"\[[A-Za-z#]+→[a-z#']+\]\^\d+", done.stdout)
    assert "\nVerdict        " in done.stdout


def test_colour_adds_codes_and_nothing_else(run_cli):
    plain = run_cli("probe", str(trained()), LINES)
    coloured = run_cli("--color", "always", "probe", str(trained()), LINES)
    assert "\x1b[33m" in coloured.stdout
    assert re.sub(r"\x1b\[\d+m", "", coloured.stdout) == plain.stdout


@pytest.mark.parametrize("arguments", [["-"], ["--file", "-"]])
def test_standard_input(run_cli, arguments):
    done = run(cli_command("probe", str(trained()), *arguments, "--json"), environment(), input=LINES)
    document = json.loads(done.stdout)
    assert document["text"]["name"] == "<stdin>"
    given = json.loads(run_cli("probe", str(trained()), LINES, "--json").stdout)
    assert document["windows"] == given["windows"]


def test_json_is_one_document(run_cli):
    done = run_cli("probe", str(trained() / "discriminator"), LINES, "--json", "--as-google", "--rounds", "2")
    document = json.loads(done.stdout)
    assert (document["schema"], document["ok"]) == ("electra-convert/probe/1", True)
    assert document["replacements"] == "random tokens of the vocabulary"
    assert document["google"]["masked_lm_accuracy"] is None
    assert {"value", "low", "high", "replaced", "original"} <= set(document["auc"])
    assert len(document["windows"]) == 2


def test_quiet_says_nothing(run_cli):
    done = run_cli("probe", str(trained()), LINES, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_tells_where_reading_stopped_and_every_token(run_cli):
    done = run_cli("probe", str(trained()), LINES, "-v", "--max-tokens", "12")
    assert done.stderr.startswith("note: the text was not read to its end\n")
    assert "\n  token" in done.stdout
    assert "not read beyond line 2 (--max-tokens)" in " ".join(done.stdout.split())


def test_a_stream_without_arrows_gets_others():
    done = run_apart("probe", str(trained()), LINES, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert re.search(r"\[[A-Za-z#]+->[a-z#',.]+\]\^\d+", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "no text to play on"),
        ([LINES, "--file", "x"], 2, "a text and a file contradict each other"),
        (["-", "--file", "x"], 2, "a text and a file contradict each other"),
        ([LINES, "--mask", "2"], 2, "mask is out of its range"),
        ([LINES, "--mask", "much"], 2, "is not a valid"),
        ([LINES, "--max-length", "4096"], 3, "does not fit the position table"),
        (["--file", "nowhere.txt"], 3, "the text is not there"),
        (["", "--json"], 3, "the text has no tokens"),
        ([LINES, "--generator", "nowhere"], 3, "not a Hugging Face folder"),
    ],
)
def test_exit_codes(run_cli, arguments, code, said):
    done = run_cli("probe", str(trained()), *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stderr
    if "--json" in arguments:
        assert json.loads(done.stdout)["error"]["message"] == said


def test_the_other_half_is_refused(run_cli):
    done = run_cli("probe", str(trained() / "generator"), LINES)
    assert done.returncode == 3
    assert done.stderr.startswith("error: the folder holds no discriminator\n")


def test_a_missing_package_is_4_with_the_extra(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'tokenizers' else find(name, *more)\n"
    )
    paths = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = run_apart("probe", str(trained()), LINES, PYTHONPATH=paths)
    assert done.returncode == 4
    assert "pip install 'electra-convert[probe]'" in done.stderr
