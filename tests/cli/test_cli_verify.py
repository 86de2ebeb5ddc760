"""`verify` says yes, no or why not by its exit code, on stdout, and in reports that harm nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import click
import pytest
from cli_runs import cli_command, run, run_cli
from conftest import google

from electra_convert import cli, convert, parity

CHECKPOINT = "default_small"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    out = tmp_path_factory.mktemp("verify") / "out"
    convert(google(CHECKPOINT), out, verify=False)
    return out


@pytest.fixture(scope="module")
def bad(good, tmp_path_factory):
    """Return a copy in which one bit of the last value is another."""
    copy = tmp_path_factory.mktemp("bad") / "out"
    shutil.copytree(good, copy)
    (copy / "conversion.json").unlink()
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-2] ^= 0x10
    (copy / "model.safetensors").write_bytes(weights)
    return copy


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestVerdicts:
    def test_a_yes_is_0_with_both_reports_and_leaves_everything_as_it_was(self, good, tmp_path):
        before, source = contents(good), contents(google(CHECKPOINT))
        reports = ("--junit-xml", str(tmp_path / "a.xml"), "--html", str(tmp_path / "a.html"))
        done = run_cli("verify", str(google(CHECKPOINT)), str(good), *reports)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Checkpoint  ")
        assert done.stdout.splitlines()[-1].startswith("PASSED  ")
        assert ElementTree.parse(tmp_path / "a.xml").getroot().get("failures") == "0"
        assert b"<title>PASSED: model.ckpt-40</title>" in (tmp_path / "a.html").read_bytes()
        assert contents(good) == before
        assert contents(google(CHECKPOINT)) == source

    def test_a_no_is_1_with_both_reports_and_names_the_tensor(self, bad, tmp_path):
        reports = ("--junit-xml", str(tmp_path / "a.xml"), "--html", str(tmp_path / "a.html"))
        done = run_cli("verify", str(google(CHECKPOINT)), str(bad), *reports)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.splitlines()[-1].startswith("FAILED  ")
        assert "1 of " in done.stdout
        failures = [case.find("failure") for case in ElementTree.parse(tmp_path / "a.xml").getroot().iter("testcase")]
        assert any(failure is not None and "electra." in failure.text for failure in failures)
        assert b"<title>FAILED: model.ckpt-40</title>" in (tmp_path / "a.html").read_bytes()

    def test_json_is_one_document_and_not_ok_without_an_error(self, bad):
        done = run_cli("verify", str(google(CHECKPOINT)), str(bad), "--json", "--seed", "7")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert (document["schema"], document["ok"], document["error"]) == ("electra-convert/verify/1", False, None)
        assert (document["seed"], document["halves"][0]["passed"]) == (7, False)
        assert {"rung", "name", "passed", "found", "limit"} <= set(document["halves"][0]["checks"][0])

    def test_quiet_says_nothing_of_a_yes_and_one_error_of_a_no(self, good, bad):
        done = run_cli("verify", str(google(CHECKPOINT)), str(good), "-q")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        done = run_cli("verify", str(google(CHECKPOINT)), str(bad), "-q")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: the discriminator does not compute what the checkpoint computes\n")

    def test_both_halves_are_verified_from_the_folder_above_them(self, tmp_path):
        convert(google(CHECKPOINT), tmp_path / "out", export="both", verify=False)
        done = run_cli("verify", str(google(CHECKPOINT)), str(tmp_path / "out"), "--json")
        assert done.returncode == 0
        assert [half["half"] for half in json.loads(done.stdout)["halves"]] == ["discriminator", "generator"]

    def test_a_stream_that_takes_ascii_only_gets_ascii(self, good):
        done = run_cli("verify", str(google(CHECKPOINT)), str(good), PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        assert done.stdout.isascii()
        assert "\\u" not in done.stdout
        assert "=|" in done.stdout.replace(" ", "")

    def test_colour_adds_nothing_but_codes(self, bad):
        import re

        words = ("verify", str(google(CHECKPOINT)), str(bad), "--seed", "1")
        plain, coloured = run_cli(*words), run_cli(*words, FORCE_COLOR="1")
        assert "\x1b[31m\x1b[1mFAILED\x1b[0m" in coloured.stdout
        assert "\x1b[32mok\x1b[0m" in coloured.stdout
        bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured.stdout)
        assert bare.splitlines()[:20] == plain.stdout.splitlines()[:20]


class TestRefusals:
    def test_a_refused_checkpoint_is_3_and_an_error_in_the_junit_report(self, good, tmp_path):
        report = tmp_path / "a.xml"
        done = run_cli("verify", str(tmp_path / "nothing"), str(good), "--junit-xml", str(report), "--json")
        assert done.returncode == 3
        assert json.loads(done.stdout)["error"]["kind"] == "NotACheckpoint"
        told = ElementTree.parse(report).getroot().find(".//error")
        assert told.get("type") == "NotACheckpoint"
        assert told.text in done.stderr

    def test_no_folder_is_3(self, tmp_path):
        done = run_cli("verify", str(google(CHECKPOINT)), str(tmp_path), "--html", str(tmp_path.parent / "a.html"))
        assert (done.returncode, done.stdout) == (3, "")
        assert not (tmp_path.parent / "a.html").exists()

    @pytest.mark.parametrize("option", ["--junit-xml", "--html"])
    def test_a_report_inside_the_folder_is_2_before_any_work(self, good, option):
        before = contents(good)
        done = run_cli("verify", str(google(CHECKPOINT)), str(good), option, str(good / "a.xml"))
        assert (done.returncode, done.stdout) == (2, "")
        assert contents(good) == before

    @pytest.mark.parametrize("name", ["model.ckpt-40.index", "model.ckpt-40.data-00000-of-00001", "checkpoint"])
    def test_a_report_over_the_checkpoint_is_2_and_harms_nothing(self, good, tmp_path, name):
        copy = tmp_path / "ckpt"
        shutil.copytree(google(CHECKPOINT), copy)
        done = run_cli("verify", str(copy), str(good), "--junit-xml", str(copy / name))
        assert (done.returncode, done.stdout) == (2, "")
        assert contents(copy) == contents(google(CHECKPOINT))

    def test_wrong_usage_is_no_case_of_a_report(self, good, tmp_path):
        copy = tmp_path / "ckpt"
        shutil.copytree(google(CHECKPOINT), copy)
        reports = ("--html", str(copy / "model.ckpt-40.meta"), "--junit-xml", str(tmp_path / "a.xml"))
        assert run_cli("verify", str(copy), str(good), *reports).returncode == 2
        assert not (tmp_path / "a.xml").exists()

    def test_a_report_over_an_archive_of_the_checkpoint_is_2(self, good, tmp_path):
        archive = shutil.make_archive(str(tmp_path / "ckpt"), "zip", google(CHECKPOINT))
        before = (tmp_path / "ckpt.zip").read_bytes()
        done = run_cli("verify", archive, str(good), "--html", archive)
        assert (done.returncode, done.stdout) == (2, "")
        assert (tmp_path / "ckpt.zip").read_bytes() == before

    def test_a_damaged_checkpoint_is_not_replaced_by_the_report_on_it(self, good, tmp_path):
        copy = tmp_path / "ckpt"
        shutil.copytree(google(CHECKPOINT), copy)
        damaged = (copy / "model.ckpt-40.index").read_bytes()[:100]
        (copy / "model.ckpt-40.index").write_bytes(damaged)
        done = run_cli("verify", str(copy), str(good), "--junit-xml", str(copy / "model.ckpt-40.index"))
        assert done.returncode == 3
        assert "no report was written" in done.stderr
        assert (copy / "model.ckpt-40.index").read_bytes() == damaged

    def test_a_report_without_a_folder_is_4(self, good, tmp_path):
        words = ("--html", str(tmp_path / "none" / "a.html"))
        done = run_cli("verify", str(google(CHECKPOINT)), str(good), *words, "--json")
        assert done.returncode == 4
        assert json.loads(done.stdout)["error"]["kind"] == "OutputError"

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_a_report_that_cannot_be_written_is_4_and_the_verdict_is_told_all_the_same(self, good):
        words = ("verify", str(google(CHECKPOINT)), str(good), "--html", "/dev/full")
        done = run_cli(*words)
        assert done.returncode == 4
        assert done.stdout.splitlines()[-1].startswith("PASSED  ")
        assert "No space left" in done.stderr
        document = json.loads(run_cli(*words, "--json").stdout)
        assert (document["ok"], document["passed"], document["error"]["kind"]) == (False, True, "OutputError")

    @pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
    def test_a_closed_pipe_is_141(self, good):
        reader, writer = os.pipe()
        os.close(reader)
        words = cli_command("verify", str(google(CHECKPOINT)), str(good))
        done = run(words, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")


class TestWhatIsPassedOn:
    @pytest.fixture
    def said(self, monkeypatch):
        heard = []

        def listen(*places, **settings):
            heard.append((places, settings))
            raise parity.ParityError("heard")

        monkeypatch.setattr(parity, "verify", listen)

        def call(*arguments):
            monkeypatch.setattr(sys, "argv", ["electra-convert", "verify", str(google(CHECKPOINT)), *arguments])
            assert cli.main() == 1
            return heard.pop()

        return call

    def test_with_nothing_else_given_everything_is_the_default_of_the_library(self, said):
        (source, folder), settings = said("out/")
        assert (source.name, folder) == ("model.ckpt-40", "out/")
        del settings["progress"]
        assert settings == {"reference": "auto", "seed": 0, "with_transformers": False, "task": None}

    @pytest.mark.parametrize(
        ("words", "name", "value"),
        [
            (["--reference", "graph"], "reference", "graph"),
            (["--reference", "tensorflow"], "reference", "tensorflow"),
            (["--seed", "-3"], "seed", -3),
            (["--with-transformers"], "with_transformers", True),
        ],
    )
    def test_each_option_reaches_the_library(self, said, words, name, value):
        assert said("out/", *words)[1][name] == value

    def test_the_command_in_a_report_repeats_the_run(self, said, tmp_path):
        report = tmp_path / "a.xml"
        said("with space/", "--seed", "5", "--reference", "numpy", "--with-transformers", "--junit-xml", str(report))
        command = ElementTree.parse(report).getroot().find(".//property[@name='command']").get("value")
        options = "--seed 5 --reference numpy --with-transformers"
        assert command == f"electra-convert verify {google(CHECKPOINT)} 'with space/' {options}"

    def test_it_has_an_option_for_every_keyword_of_the_library(self):
        import inspect

        command = cli.root.get_command(click.Context(cli.root), "verify")
        options = {parameter.name for parameter in command.params}
        keywords = {
            name for name, its in inspect.signature(parity.verify).parameters.items() if its.kind is its.KEYWORD_ONLY
        }
        assert keywords - {"progress", "check"} <= options
