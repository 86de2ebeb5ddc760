"""Runs the command line in a process of its own: as it is, or with one stub command whose body a test gives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Signals that a test runner in the background ignores would stay ignored in a child (`signals.py` respects that).
STUB = """
import signal, sys, types
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
import click
from electra_convert import cli
from electra_convert.cli.options import show_options, verb

@verb("stub", examples=())
@click.argument("words", nargs=-1)
@show_options
@click.pass_obj
def command(console, /, words, as_json, quiet, verbose):
    "Do what a test says."
{body}

module = types.ModuleType("electra_convert.cli.stub")
module.command = command
sys.modules[module.__name__] = module
cli.COMMANDS = ("stub",)
sys.exit(cli.main())
"""


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a plain terminal, with changes."""
    decisive = {"NO_COLOR", "FORCE_COLOR", "TERM", "CI", "COLUMNS", "LINES", "PYTHONIOENCODING", "PYTHONUNBUFFERED"}
    kept = {name: value for name, value in os.environ.items() if name not in decisive}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": ROOT, **changes}


def cli_command(*arguments: str) -> list[str]:
    """Return the words that start the real command line."""
    return [sys.executable, "-m", "electra_convert", *arguments]


def stub_command(body: str, *arguments: str) -> list[str]:
    """Return the words that start the command line with a command `stub` of this body."""
    program = STUB.replace("{body}", textwrap.indent(textwrap.dedent(body), "    "))
    return [sys.executable, "-c", program, *arguments]


def run(words: list[str], env: dict[str, str] | None = None, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a process and return it with its two streams as text."""
    settings = {"capture_output": True, "encoding": "utf-8", "timeout": 60, **settings}
    return subprocess.run(words, env=env or environment(), **settings)


def run_cli(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the real command line, in an environment with changes."""
    return run(cli_command(*arguments), environment(**changes))


def run_stub(body: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the stub command, in an environment with changes."""
    return run(stub_command(body, "stub", *arguments), environment(**changes))
