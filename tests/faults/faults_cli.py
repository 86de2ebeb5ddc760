"""Runs the command line in a process of its own, plain or with Python's dangerous doors locked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[2])

# Opening a socket, or loading a pickle, ends the process with a code that nothing else has.
LOCKED = """
import os, pickle, socket, sys
sys.dont_write_bytecode = True
def locked(what):
    def refuse(*arguments, **settings):
        sys.stderr.write(f"LOCKED: {what}\\n")
        os._exit(99)
    return refuse
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = locked("a socket")
socket.create_connection = socket.getaddrinfo = locked("a connection")
if "--pickles" not in sys.argv:
    import _pickle
    pickle.load = pickle.loads = pickle.Unpickler = locked("a pickle")
    _pickle.load = _pickle.loads = _pickle.Unpickler = locked("a pickle")
sys.argv = [word for word in sys.argv if word != "--pickles"]
from electra_convert.cli import main
sys.exit(main())
"""


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "CI"}}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": ROOT, "PYTHONIOENCODING": "utf-8"}


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return _run([sys.executable, "-m", "electra_convert", *arguments])


def run_locked(*arguments: str, pickles: bool = False) -> subprocess.CompletedProcess[str]:
    """Run it without sockets and, unless `pickles` are allowed, without pickles."""
    return _run([sys.executable, "-c", LOCKED, *(["--pickles"] if pickles else []), *arguments])


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment(), capture_output=True, encoding="utf-8", timeout=300)
