"""Colour and movement are decided once, per stream; text survives any encoding; bars leave nothing behind."""

from __future__ import annotations

import io
import json
import os
import subprocess

import pytest
from cli_runs import environment, run, run_stub, stub_command

from electra_convert.cli.bar import amount
from electra_convert.cli.console import may_move, wants_colour

posix = pytest.mark.skipif(os.name != "posix", reason="pseudo terminals of POSIX")

WARNING = """
    from electra_convert.notices import warning
    console.show_notices([warning("rule", "heads by rule", hint="pass --num-attention-heads N", taken="4")])
"""
PLAIN = "warning: heads by rule\n  taken  4\n\nhint: pass --num-attention-heads N\n"
COLOURED = (
    "\x1b[33m\x1b[1mwarning:\x1b[0m heads by rule\n  taken  4\n\n\x1b[36mhint:\x1b[0m pass --num-attention-heads N\n"
)

SLOW = """
    import time
    with console.progress(quiet=quiet) as progress:
        for done in range(14):
            progress(done << 20, 13 << 20, "Converting")
            time.sleep(0.06)
    print("rich" in __import__("sys").modules)
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("choice", "variables", "piped", "terminal"),
    [
        ("auto", {}, False, True),
        ("auto", {"NO_COLOR": "1"}, False, False),
        ("auto", {"NO_COLOR": ""}, False, True),
        ("auto", {"FORCE_COLOR": "1"}, True, True),
        ("auto", {"FORCE_COLOR": "0"}, True, True),
        ("auto", {"FORCE_COLOR": ""}, False, True),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ("auto", {"TERM": "dumb"}, False, False),
        ("auto", {"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ("auto", {"CI": "true"}, False, True),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True, True),
        ("never", {"FORCE_COLOR": "1"}, False, False),
    ],
)
def test_colour_follows_the_option_then_the_variables_then_the_stream(choice, variables, piped, terminal):
    assert wants_colour(io.StringIO(), choice, variables) is piped
    assert wants_colour(Terminal(), choice, variables) is terminal


@pytest.mark.parametrize(
    ("variables", "terminal"),
    [({}, True), ({"TERM": "dumb"}, False), ({"CI": "true"}, False), ({"NO_COLOR": "1"}, True)],
)
def test_movement_needs_a_terminal_whatever_the_colour(variables, terminal):
    assert may_move(Terminal(), variables) is terminal
    assert not may_move(io.StringIO(), {**variables, "FORCE_COLOR": "1"})


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ([], {}, PLAIN),
        ([], {"FORCE_COLOR": "1"}, COLOURED),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, PLAIN),
        (["--color", "always"], {"NO_COLOR": "1"}, COLOURED),
        (["--color", "never"], {"FORCE_COLOR": "1"}, PLAIN),
    ],
)
def test_a_piped_warning_is_plain_unless_colour_is_forced(arguments, variables, expected):
    done = run(stub_command(WARNING, *arguments, "stub"), environment(**variables))
    assert (done.returncode, done.stderr, done.stdout) == (0, expected, "")


@posix
@pytest.mark.parametrize(
    ("variables", "expected"), [({}, COLOURED), ({"NO_COLOR": "1"}, PLAIN), ({"TERM": "dumb"}, PLAIN)]
)
def test_a_warning_on_a_terminal_is_coloured_unless_refused(variables, expected):
    assert on_terminal(stub_command(WARNING, "stub"), **variables) == expected.replace("\n", "\r\n")


@posix
def test_with_colour_and_without_the_words_are_the_same():
    import re

    coloured = on_terminal(stub_command(WARNING, "stub")).replace("\r\n", "\n")
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == PLAIN


@posix
def test_a_bar_is_drawn_on_a_terminal_and_gone_when_done():
    screen = on_terminal(stub_command(SLOW, "stub"))
    assert "Converting" in screen
    assert "/13.0 MiB" in screen
    assert screen.endswith("\x1b[2KTrue\r\n")
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l")


@posix
def test_steps_are_counted_as_steps_below_a_bar_by_bytes():
    body = """
        import time
        with console.progress(quiet=quiet) as progress:
            for done in range(14):
                progress(done << 20, 13 << 20, "writing")
                time.sleep(0.06)
            for done, step in enumerate(["verifying: structure", "verifying: float64", "verifying: done"]):
                progress(done, 2, step)
                time.sleep(0.25)
    """
    screen = on_terminal(stub_command(body, "stub"))
    assert "Writing" in screen
    assert "/13.0 MiB" in screen
    first, second = screen.index("Verifying: structure"), screen.index("Verifying: float64")
    assert "step 1 of 2" in screen[first:second]
    assert "step 2 of 2" in screen[second:]
    assert "MiB" not in screen[first:]


@pytest.mark.parametrize(
    ("done", "total", "what", "told"),
    [
        (0, 0, "writing", "0.0/0.0 KiB"),
        (512, 2048, "writing", "0.5/2.0 KiB"),
        (1 << 20, 3 << 30, "reading back", "0.0/3.0 GiB"),
        (5000 << 30, 5000 << 30, "writing", "5,000.0/5,000.0 GiB"),
        (5, 5, "verifying: done", "step 5 of 5"),
    ],
)
def test_both_sides_of_the_slash_have_the_unit_of_the_total(done, total, what, told):
    assert amount(done, total, what) == told


@posix
def test_a_killed_process_leaves_the_cursor_visible():
    screen = on_terminal(
        stub_command(
            SLOW.replace(
                "time.sleep(0.06)",
                "time.sleep(0.06); done == 12 and __import__('os').kill(__import__('os').getpid(), 9)",
            ),
            "stub",
        )
    )
    assert "Converting" in screen
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l")


@posix
@pytest.mark.parametrize(("arguments", "variables"), [(["-q"], {}), ([], {"CI": "true"}), ([], {"TERM": "dumb"})])
def test_no_bar_where_nothing_may_move(arguments, variables):
    assert on_terminal(stub_command(SLOW, "stub", *arguments), **variables) == "False\r\n"


@posix
def test_short_work_draws_no_bar_and_imports_no_rich():
    assert on_terminal(stub_command(SLOW.replace("0.06", "0.001"), "stub")) == "False\r\n"


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}])
def test_a_bar_never_goes_into_a_pipe(variables):
    done = run_stub(SLOW, **variables)
    assert (done.stdout, done.stderr) == ("False\n", "")


@posix
def test_a_bar_without_colour_has_no_colour_codes():
    screen = on_terminal(stub_command(SLOW, "--color", "never", "stub"))
    assert "Converting" in screen
    assert "m" not in {code[-1] for code in _codes(screen)}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_no_name_fails_for_the_encoding_of_a_stream(encoding):
    body = "console.show_result(['naïve 模型 \\udcff']); console.show_details(['模型'])"
    done = run(stub_command(body, "stub"), environment(PYTHONIOENCODING=encoding), encoding=encoding)
    assert done.returncode == 0
    shown = "模型" if encoding == "utf-8" else "\\u6a21\\u578b"
    assert shown in done.stdout
    assert "\\udcff" in done.stdout
    assert done.stderr == f"{shown}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_the_document_is_the_same_bytes_in_every_encoding(encoding):
    done = run_stub("console.answer({'name': '模型'}, [])", "--json", PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout)["name"] == "模型"
    assert done.stdout.isascii()
    assert done.stdout.endswith("}\n")


def test_warnings_stand_in_full_on_stderr_with_an_empty_line_between_and_in_the_document():
    body = """
        from electra_convert.notices import warning
        warnings = [warning("rule", "one"), warning("casing", "two")]
        console.show_notices(warnings)
        console.answer({"checkpoint": None}, warnings)
    """
    done = run_stub(body, "--json")
    document = json.loads(done.stdout)
    assert done.stderr == "warning: one\n\nwarning: two\n"
    assert list(document) == ["schema", "version", "ok", "checkpoint", "warnings", "error", "seconds"]
    assert (document["ok"], document["error"]) == (True, None)
    assert [warning["code"] for warning in document["warnings"]] == ["rule", "casing"]


def test_a_document_that_json_cannot_hold_is_a_bug_not_a_broken_document():
    done = run_stub("console.answer({'value': float('nan')}, [])", "--json")
    assert done.returncode == 70
    assert json.loads(done.stdout)["error"]["kind"] == "Bug"


def on_terminal(words: list[str], **changes: str) -> str:
    """Run a process on a pseudo terminal and return everything that reached the screen."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(words, env=environment(**changes), stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        screen = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # what Linux says when the last writer has gone
                break
            if not piece:
                break
            screen += piece
    os.close(ours)
    return screen.decode()


def _codes(screen: str) -> list[str]:
    import re

    return re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]", screen)
