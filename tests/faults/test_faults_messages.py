"""Every message of the sampled mutations reads as design.md 2 draws it, whatever names it holds."""

from __future__ import annotations

import glob
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from builders import write_v2
from faults_cli import run_cli
from made_up import write_made_up
from message_form import faults_of
from mutations import cuts, electra_v1, electra_v2, flips, judge_all, losses, repaired, sampled

from electra_convert import convert, inspect
from electra_convert.errors import CheckpointError, ElectraConvertError

HARMFUL = {
    "escapes": "electra/\x1b[31mred\x1b]0;title\x07",
    "newline": "electra/a\nerror: c",
    "carriage return": "electra/a\rok",
    "long": "electra/" + "x" * 900,
    "right to left": "electra/\u202edetrevni\u2066",
    "markup": "electra/<script>alert(1)</script>&amp;]]>",
    "no characters": "electra/\u200b\ufeff\u2028",
}


@pytest.mark.parametrize("make", [electra_v2, electra_v1])
def test_messages_of_mutations_have_the_form(make, tmp_path: Path) -> None:
    specimen = make(tmp_path / "sound")
    every = itertools.chain(
        losses(specimen),
        *(
            itertools.chain(
                sampled(flips(specimen, file, (1, 0xFF)), 6, 150 / len(content)),
                sampled(cuts(specimen, file), 7, 60 / len(content)),
                repaired(specimen, file, 150, 8) if ".data-" not in file else (),
            )
            for file, content in specimen.files.items()
            if file != "vocab.txt"
        ),
    )
    tally = judge_all(specimen, every, tmp_path / "damaged")
    assert len(tally.errors) > 300
    assert {label: found for label, error in tally.errors if (found := faults_of(error))} == {}


def test_the_form_is_not_taken_for_granted() -> None:
    """The oracle itself: what must not be is seen."""
    assert faults_of(CheckpointError("Damaged.", where="file"))
    assert "it shows what Python thinks of it" in faults_of(CheckpointError("damaged", found="ValueError('x')"))
    assert faults_of(CheckpointError("damaged")) != []
    assert faults_of(CheckpointError("a file is damaged", where="x", found="a", expected="b", hint="copy it")) == []


def with_names(folder: Path, *names: str) -> Path:
    """Write a checkpoint that has variables of these names besides its own."""
    return write_made_up(folder, change=lambda there: there.update({name: np.ones(2, np.float32) for name in names}))


def steers(text: str) -> bool:
    return not all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("name", HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_name_is_refused_in_a_harmless_message(name: str, tmp_path: Path) -> None:
    with pytest.raises(ElectraConvertError) as caught:
        convert(with_names(tmp_path / "ckpt", name), tmp_path / "out", verify=False)
    assert faults_of(caught.value) == []


@pytest.mark.parametrize("words", [("tf1", "CKPT", "OUT"), ("inspect", "CKPT"), ("inspect", "CKPT", "--variables")])
def test_harmful_names_do_not_reach_the_terminal(words: tuple[str, ...], tmp_path: Path) -> None:
    places = {"CKPT": str(with_names(tmp_path / "ckpt", *HARMFUL.values())), "OUT": str(tmp_path / "out")}
    done = run_cli(*(places.get(word, word) for word in words))
    assert done.returncode == (3 if words[0] == "tf1" else 0), done.stderr
    assert not steers(done.stderr)
    assert not steers(done.stdout.replace("\t", " "))


def test_harmful_names_are_whole_in_json(tmp_path: Path) -> None:
    path = with_names(tmp_path / "ckpt", *HARMFUL.values())
    done = run_cli("inspect", str(path), "--json")
    assert "\x1b" not in done.stdout
    assert set(HARMFUL.values()) <= set(_strings(json.loads(done.stdout)))
    done = run_cli("tf1", str(path), str(tmp_path / "out"), "--json")
    assert json.loads(done.stdout)["error"]["kind"] == "MappingError"


def _strings(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, (dict, list)):
        for value in document.values() if isinstance(document, dict) else document:
            yield from _strings(value)


def test_harmful_names_that_were_ignored_do_no_harm_in_what_is_written(tmp_path: Path) -> None:
    path = with_names(tmp_path / "ckpt", *HARMFUL.values())
    convert(path, tmp_path / "out", verify=False, ignore=[glob.escape(name) for name in HARMFUL.values()])
    for file in (tmp_path / "out").iterdir():
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".md":
            assert not steers(file.read_text())
            assert "<script>" not in file.read_text()


def test_harmful_names_do_no_harm_in_a_report(tmp_path: Path) -> None:
    """From the other side: a folder whose tensors have such names is verified, and both reports are written."""
    pytest.importorskip("torch")
    from safetensors.numpy import load_file, save_file

    path, out = with_names(tmp_path / "ckpt"), tmp_path / "out"
    convert(path, out, verify=False)
    tensors = load_file(out / "model.safetensors")
    save_file({**tensors, **{name: np.ones(2, np.float32) for name in HARMFUL.values()}}, out / "model.safetensors")
    reports = tmp_path / "parity.xml", tmp_path / "parity.html"
    done = run_cli("verify", str(path), str(out), "--junit-xml", str(reports[0]), "--html", str(reports[1]))
    assert done.returncode == 1, done.stderr
    assert not steers(done.stdout + done.stderr)
    ElementTree.parse(reports[0])
    for report in reports:
        text = report.read_text(encoding="utf-8")
        assert "alert(1)" in text
        assert "<script>alert(1)" not in text
        assert not set("\x1b\x07\u202e\u2066\u2028") & set(text)


def test_a_name_of_10000_characters_is_cut_in_the_message(tmp_path: Path) -> None:
    write_v2(tmp_path / "x", {"x" * 10_000: np.ones(1, np.float32)})
    with pytest.raises(CheckpointError) as caught:
        inspect(tmp_path / "x")
    assert faults_of(caught.value) == []
    assert len(str(caught.value)) < 1_500
