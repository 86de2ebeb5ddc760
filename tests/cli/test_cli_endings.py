"""Every way a run can end has its exit code, its words, and with `--json` its one document."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys

import pytest
from cli_runs import cli_command, environment, run, run_cli, run_stub, stub_command

from electra_convert import errors
from electra_convert.notices import warning

posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")

ENDINGS = [
    ("pass", 0, ""),
    ("raise errors.ParityError('not equal')", 1, "error: not equal\n"),
    ("raise errors.StrictError('2 warnings')", 1, "error: 2 warnings\n"),
    ("raise errors.UsageError('OUT is inside CKPT')", 2, "error: OUT is inside CKPT\n"),
    ("raise errors.ChecksumError('differs', where='a.index')", 3, "error: differs\n  where  a.index\n"),
    ("raise errors.OutputError('OUT exists', hint='--overwrite')", 4, "error: OUT exists\n\nhint: --overwrite\n"),
    ("raise OSError(28, 'No space left on device', 'out')", 4, "error: no space left on device\n  where  out\n"),
    ("raise MemoryError", 4, "error: not enough memory\n"),
]


@pytest.mark.parametrize(("body", "status", "words"), ENDINGS)
def test_each_ending_has_its_exit_code_and_its_words(body, status, words):
    done = run_stub(f"from electra_convert import errors\n{body}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", words)


@pytest.mark.parametrize(("body", "status", "words"), ENDINGS[1:])
def test_with_json_each_failure_is_one_document_on_stdout_and_words_on_stderr(body, status, words):
    done = run_stub(f"from electra_convert import errors\n{body}", "--json")
    document = json.loads(done.stdout)
    assert list(document) == ["schema", "version", "ok", "warnings", "error", "seconds"]
    assert (document["schema"], document["ok"], document["warnings"]) == ("electra-convert/stub/1", False, [])
    assert document["error"]["message"] in words
    assert (done.returncode, done.stderr) == (status, words)


def test_the_codes_of_our_own_errors_are_those_of_the_table():
    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "exit_code")}
    assert codes == {1, 2, 3, 4, 70}


def test_the_warnings_of_a_strict_failure_survive_the_way_between_processes():
    error = errors.StrictError("2 warnings", found="rule", hint="say --hidden-act")
    error.notices = (warning("rule", "heads by rule"),)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.to_json(), copy.notices) == (error.to_json(), error.notices)


def test_a_bug_shows_its_traceback_and_asks_for_a_report():
    done = run_stub("1 / 0")
    assert done.returncode == 70
    assert done.stdout == ""
    assert "Traceback (most recent call last):" in done.stderr
    assert "error: this is a bug in electra-convert" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert done.stderr.endswith("hint: please report this with the lines above\n")


def test_only_debug_adds_a_traceback_to_an_error_of_the_user():
    body = "from electra_convert.errors import CheckpointError\nraise CheckpointError('damaged')"
    plain, debug = run_stub(body), run_stub(body, "--debug")
    assert plain.stderr == "error: damaged\n"
    assert debug.stderr.startswith("Traceback (most recent call last):")
    assert debug.stderr.endswith("\nerror: damaged\n")
    assert plain.returncode == debug.returncode == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tf1"], "missing argument"),
        (["tf1", "a", "b", "--no-such"], "no such option"),
        (["tf1", "a", "b", "--dtype", "float64"], "float64"),
        (["--color", "sometimes", "inspect", "a"], "sometimes"),
        (["nonsense"], "no such command"),
        (["inspect", "a", "-q", "-v"], "--quiet and --verbose contradict each other"),
    ],
)
def test_wrong_usage_is_2_with_a_hint_and_a_document_where_json_was_asked(arguments, message):
    plain = run_cli(*arguments)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert message in plain.stderr
    assert "\n\nhint: " in plain.stderr
    asked = run_cli(*arguments, "--json")
    document = json.loads(asked.stdout)
    assert asked.returncode == 2
    assert not document["ok"]
    assert document["error"]["kind"] == "UsageError"
    assert message in document["error"]["message"]


def test_an_unknown_command_is_answered_with_the_nearest_name():
    assert "hint: did you mean electra-convert inspect?" in run_cli("inspekt").stderr


def test_after_two_dashes_json_is_a_name():
    done = run_cli("inspect", "--", "--json")
    assert done.returncode != 0
    assert done.stdout == ""


def test_no_command_is_2_and_shows_the_help_on_stderr():
    done = run_cli()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: electra-convert [OPTIONS] COMMAND [ARGS]...")


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("asked", [False, True])
def test_a_signal_cleans_up_says_one_line_and_ends_with_128_and_its_number(name, asked):
    body = """
        import contextlib, sys, time
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: print("cleaned up", file=sys.stderr, flush=True))
            print("started", file=sys.stderr, flush=True)
            time.sleep(60)
    """
    process = _start(stub_command(body, "stub", *(["--json"] if asked else [])))
    assert process.stderr.readline() == "started\n"
    process.send_signal(getattr(signal, name))
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + getattr(signal, name)
    assert stderr == "cleaned up\nerror: interrupted; nothing half-written is left\n"
    assert stdout == "" if not asked else json.loads(stdout)["error"]["kind"] == "Interruption"


@posix
def test_a_second_signal_ends_at_once():
    body = """
        import sys, time
        try:
            print("started", file=sys.stderr, flush=True)
            time.sleep(60)
        finally:
            print("cleaning", file=sys.stderr, flush=True)
            time.sleep(60)
    """
    process = _start(stub_command(body, "stub"))
    assert process.stderr.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert stderr == ""


@posix
def test_a_signal_that_was_ignored_stays_ignored():
    """What nohup and a shell's background jobs rely on."""
    body = """
        import os, signal
        os.kill(os.getpid(), signal.SIGHUP)
        console.show_result(["still here"])
    """
    words = stub_command(body, "stub")
    program = (
        words[2]
        .replace('"SIGHUP"):', "):", 1)
        .replace("import click", "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nimport click", 1)
    )
    done = run([words[0], words[1], program, *words[3:]])
    assert (done.returncode, done.stdout) == (0, "still here\n")


@posix
@pytest.mark.parametrize("arguments", [["--help"], ["stub"], ["stub", "--json"]])
def test_a_closed_pipe_is_141_and_quiet(arguments):
    body = """
        if as_json:
            console.answer({"lines": ["line"] * 100_000}, [])
        else:
            console.show_result(["line"] * 100_000)
            console.show_result(["more"])
    """
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        stub_command(body, *arguments), env=environment(), stdout=writer, stderr=subprocess.PIPE, encoding="utf-8"
    )
    os.close(writer)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["stub"], ["stub", "--json"], ["nonsense", "--json"]])
def test_a_full_device_is_4_and_one_sentence(arguments):
    body = "console.answer({}, []) if as_json else console.show_result(['line'] * 100_000)"
    with open("/dev/full", "w") as full:
        done = run(stub_command(body, *arguments), capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 4
    assert done.stderr.endswith("error: cannot write\n  where  <stdout>\n  found  No space left on device\n")
    assert "Traceback" not in done.stderr


@posix
def test_closed_streams_do_not_stop_the_work(tmp_path):
    body = "open(words[0], 'w').close(); console.show_result(['x']); console.show_details(['y'])"
    script = "import os, sys; os.close(1); os.close(2); os.execv(sys.argv[1], sys.argv[1:])"
    done = run([sys.executable, "-c", script, *stub_command(body, "stub", str(tmp_path / "marker"))])
    assert done.returncode == 0
    assert (tmp_path / "marker").exists()


def test_what_a_traceback_holds_from_input_is_escaped():
    done = run_stub(r"raise RuntimeError('\x1b[31mred\x07')")
    assert done.returncode == 70
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr
    assert r"\x1b[31mred" in done.stderr


def test_what_was_typed_is_escaped():
    done = run_cli("inspect", "--no\x1b[31m", "a")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_python_m_and_the_entry_point_are_the_same_program():
    script = "import sys; from electra_convert.cli import main; sys.exit(main())"
    by_entry = run([sys.executable, "-c", script, "--help"])
    by_module = run(cli_command("--help"))
    assert (by_entry.returncode, by_entry.stdout) == (0, by_module.stdout)


def _start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
