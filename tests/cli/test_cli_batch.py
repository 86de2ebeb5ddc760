"""`batch` converts what it can, says what it could not, and tells it in every form; stopped, it tells that too."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest
from cli_runs import environment, run_cli
from conftest import google

HELP = """\
Usage: electra-convert batch [OPTIONS] [SOURCE]... OUT

  Convert and verify many checkpoints.

  SOURCE is a folder to walk, a checkpoint, an archive, a URL, or a manifest.
  OUT gets a folder for each item.

Examples:
  electra-convert batch zoo/ out/ --report report.html
  electra-convert batch --manifest zoo.toml out/ --jobs 4 --dry-run
  electra-convert batch gs://bucket/zoo downloads/*.zip out/ --dtype float16

What to convert:
"""

FAST = ("--no-verify", "--jobs", "2")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Return a tree of two good checkpoints, and one whose data file was cut short."""
    root = tmp_path_factory.mktemp("zoo") / "zoo"
    for place, name in {
        "korean/small": "tied_generator",
        "korean/cut": "tied_generator",
        "masked": "masked_lm",
    }.items():
        shutil.copytree(google(name), root / place)
    (data,) = (root / "korean" / "cut").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:-1000])
    return root


@pytest.fixture(scope="module")
def done(zoo, tmp_path_factory):
    """Return a run over the zoo with all its reports, and where they are."""
    folder = tmp_path_factory.mktemp("done")
    run = run_cli("batch", str(zoo), str(folder / "out"), *FAST, "--report", str(folder / "report.html"),
                  "--junit-xml", str(folder / "report.xml"), "--events", str(folder / "events.jsonl"))  # fmt: skip
    return run, folder


def events_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_bad_item_stops_nothing_and_the_exit_code_tells(done, zoo):
    run, folder = done
    assert run.returncode == 1
    assert sorted(path.relative_to(folder / "out").as_posix() for path in folder.rglob("out/**/config.json")) == [
        "korean/small/discriminator/config.json",
        "korean/small/generator/config.json",
        "masked/generator/config.json",
    ]


def test_every_item_is_a_numbered_line_on_stderr(done):
    lines = done[0].stderr.splitlines()
    found = sorted(re.match(r"  (\d)/3  (ok|error) +(\S+)  ", line).groups() for line in lines[:3])
    assert [number for number, _, _ in found] == ["1", "2", "3"]
    assert {(word, name) for _, word, name in found} == {
        ("ok", "korean/small"), ("error", "korean/cut"), ("ok", "masked")
    }  # fmt: skip


def test_the_summary_is_on_stdout_in_the_order_of_the_zoo_and_ends_with_the_failures(done):
    lines = done[0].stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["item", "korean/cut", "korean/small", "masked"]
    assert lines[5].startswith("3 items: 2 ok, 1 error in ")
    assert (
        lines[-1] == f"Wrote {', '.join(str(done[1] / name) for name in ('report.xml', 'report.html', 'events.jsonl'))}"
    )
    last = done[0].stdout[done[0].stdout.index("\nerror   korean/cut: ") :]
    assert "  where " in last
    assert "  expected " in last


def test_the_page_says_the_same(done):
    page = (done[1] / "report.html").read_text()
    assert "<title>FAILED: " in page
    assert page.count("<tbody data-status=") == 3
    assert "electra-convert batch " in page


def test_junit_has_a_suite_an_item(done):
    root = ElementTree.parse(done[1] / "report.xml").getroot()
    assert [suite.get("name") for suite in root] == ["korean/cut", "korean/small", "masked"]
    assert (root.get("errors"), root.get("failures")) == ("1", "0")


def test_events_tell_the_whole_run(done):
    events = events_of(done[1] / "events.jsonl")
    kinds = [event["kind"] for event in events]
    assert (kinds[0], kinds.count("planned"), kinds.count("started"), kinds.count("finished")) == ("planned", 1, 3, 3)
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert {event["result"]["status"] for event in events if event["result"]} == {"converted", "failed"}


def test_run_again_it_skips_what_is_up_to_date_and_can_be_told_not_to(zoo, tmp_path):
    words = ["batch", str(zoo / "korean" / "small"), str(tmp_path / "out"), *FAST, "--json"]
    for again, status in (([], "converted"), ([], "up to date"), (["--no-resume"], "converted")):
        document = json.loads(run_cli(*words, *again).stdout)
        assert [item["status"] for item in document["items"]] == [status]


def test_json_is_one_document_with_the_items_in_the_order_of_the_zoo(zoo, tmp_path):
    run = run_cli("batch", str(zoo), str(tmp_path / "out"), *FAST, "--json")
    document = json.loads(run.stdout)
    assert (run.returncode, document["schema"], document["ok"]) == (1, "electra-convert/batch/1", False)
    assert [item["item"]["name"] for item in document["items"]] == ["korean/cut", "korean/small", "masked"]
    summary = document["summary"]
    assert (summary["items"], summary["ok"], summary["error"], summary["folders"]) == (3, 2, 1, 3)
    assert document["items"][0]["error"]["exit_code"] == 3
    assert document["error"] is None
    assert "error   korean/cut: " in run.stderr


def test_quiet_says_failures_only(zoo, tmp_path):
    run = run_cli("batch", str(zoo), str(tmp_path / "out"), *FAST, "-q")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error   korean/cut: ")
    assert "ok" not in run.stderr.split()
    good = run_cli("batch", str(zoo / "masked"), str(tmp_path / "good"), *FAST, "-q")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")


def test_verbose_has_the_options_and_the_notices_of_every_item(zoo, tmp_path):
    run = run_cli("batch", str(zoo / "korean"), str(tmp_path / "out"), *FAST, "-v", "--dtype", "float16")
    for part in ("dtype          float16", "verify         no", "Every tensor was read back", "\nnote: "):
        assert part in run.stderr


def test_a_dry_run_shows_the_plan_and_writes_nothing(zoo, tmp_path):
    run = run_cli("batch", str(zoo / "masked"), str(tmp_path / "out"), "--dry-run", "--jobs", "1")
    assert run.returncode == 0, run.stderr
    assert re.search(rf"  planned  {re.escape(str(zoo / 'masked'))}$", run.stdout, re.MULTILINE)
    assert "1 item: 1 planned" in run.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_enough_and_its_items_have_their_own_options(zoo, tmp_path):
    manifest = tmp_path / "zoo.toml"
    manifest.write_text(
        f'[[checkpoint]]\nsource = "{(zoo / "masked").as_posix()}"\nname = "half"\ndtype = "float16"\n'
        f'[[checkpoint]]\nsource = "{(zoo / "korean" / "small").as_posix()}"\nname = "tied"\nexport = "generator"\n'
    )
    run = run_cli("batch", "--manifest", str(manifest), str(tmp_path / "out"), *FAST, "--json")
    assert run.returncode == 0, run.stderr
    halves = {item["item"]["name"]: item["halves"] for item in json.loads(run.stdout)["items"]}
    assert [(half["half"], half["dtype"]) for half in halves["half"]] == [("generator", "float16")]
    assert [(half["half"], half["dtype"]) for half in halves["tied"]] == [("generator", "float32")]


# A test runner in the background ignores interrupts, and so would what it starts.
NOT_IGNORING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from electra_convert.cli import main
sys.exit(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_writes_its_reports_and_goes_on_when_run_again(tmp_path, number, code):
    for item in range(6):
        shutil.copytree(google("tied_generator"), tmp_path / "zoo" / f"item-{item}")
    words = ["batch", str(tmp_path / "zoo"), str(tmp_path / "out"), "--jobs", "1", "--report",
             str(tmp_path / "report.html"), "--events", str(tmp_path / "events.jsonl"), "--json"]  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-c", NOT_IGNORING, *words],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        log = tmp_path / "events.jsonl"
        if log.exists() and '"finished"' in log.read_text():
            break
        time.sleep(0.02)
    started.send_signal(number)
    out, err = started.communicate(timeout=30)
    assert started.returncode == code, err
    document = json.loads(out)
    counts = document["summary"]
    assert counts["dropped"] >= 1
    assert counts["ok"] + counts["dropped"] == 6
    assert document["ok"] is False
    assert document["error"]["kind"] == "Interruption"
    page = (tmp_path / "report.html").read_text()
    assert "<title>STOPPED: " in page
    assert f"stopped by {number.name}" in page
    assert "  dropped  " not in err  # one line would do for a thousand of them
    again = json.loads(run_cli(*words[:3], *FAST, "--json").stdout)
    statuses = [item["status"] for item in again["items"]]
    assert statuses.count("up to date") == counts["ok"]
    assert set(statuses) <= {"up to date", "converted"}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["OUT"], 2, "no source is given"),
        (["ZOO", "OUT", "--no-tokenizer", "--cased"], 2, "contradict"),
        (["ZOO", "OUT", "--dry-run", "--verify"], 2, "contradict"),
        (["ZOO", "OUT", "--jobs", "0"], 2, "0 jobs"),
        (["ZOO", "OUT", "--report", "OUT/report.html"], 2, "inside the folder of all outputs"),
        (["ZOO", "OUT", "--report", "x.html", "--junit-xml", "x.html"], 2, "two reports"),
        (["ZOO", "OUT", "--report", "missing/x.html"], 4, "not there"),
        (["ZOO", "OUT", "--events", "ZOO/masked/checkpoint"], 4, "no report"),
        (["ZOO", "OUT", "--report", "ZOO/masked/vocab.txt"], 4, "no report"),
        (["ZOO/nothing", "OUT"], 3, "nothing"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(zoo, tmp_path, monkeypatch, words, code, told):
    monkeypatch.chdir(tmp_path)
    words = [word.replace("ZOO", str(zoo)).replace("OUT", "out") for word in words]
    run = run_cli("batch", *words)
    assert (run.returncode, run.stdout) == (code, "")
    assert told in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_older_report_is_replaced_and_an_older_log_goes_on(zoo, tmp_path):
    words = ["batch", str(zoo / "masked"), str(tmp_path / "out"), *FAST, "--report", str(tmp_path / "a.html"),
             "--events", str(tmp_path / "a.jsonl")]  # fmt: skip
    assert [run_cli(*words).returncode for _ in range(2)] == [0, 0]
    assert "1 skipped" in (tmp_path / "a.html").read_text()
    assert [event["kind"] for event in events_of(tmp_path / "a.jsonl")].count("planned") == 2


def test_a_report_that_cannot_be_written_at_the_end_hides_no_result(zoo, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("a device of Linux")
    run = run_cli("batch", str(zoo / "masked"), str(tmp_path / "out"), *FAST, "--events", "/dev/full", "--json")
    document = json.loads(run.stdout)
    assert (run.returncode, document["ok"], document["error"]["kind"]) == (4, False, "OutputError")
    assert document["summary"]["ok"] == 1


def test_help_has_examples_and_fits_into_80_columns():
    run = run_cli("batch", "--help", COLUMNS="200")
    assert run.stdout.startswith(HELP)
    assert max(map(len, run.stdout.splitlines())) <= 80
    tf1 = run_cli("tf1", "--help").stdout
    shared = [line.strip() for line in tf1.splitlines() if line.startswith("  --")]
    assert [line for line in shared if line not in run.stdout] == [
        line for line in shared if line.startswith(("--overwrite",))
    ]
