"""The environments of the compatibility suite: pinned packages, each set in a virtual environment of its own.

`requirements/NAME.txt` has every package of an environment. An environment is made once and kept in `.compat/` beside
the tests' root (or `ELECTRA_CONVERT_COMPAT`). It is filled by uv where that is installed, else by pip; their own
configuration says where packages come from.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("ELECTRA_CONVERT_COMPAT", ROOT / ".compat"))
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"

# The last Python that TensorFlow 2.15 has wheels for, and TensorFlow 2.15 the last that transformers 4 reads with.
PYTHON = "3.11"


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment, which is made where it is not there yet."""
    folder = HOME / environment
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    requirements = REQUIREMENTS / f"{environment}.txt"
    if installed(environment).get("requirements") != requirements.read_text(encoding="utf-8"):
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        _install(folder, python, requirements)
        facts = {
            "requirements": requirements.read_text(encoding="utf-8"),
            "seconds": round(time.monotonic() - start, 1),
            "megabytes": round(sum(file.lstat().st_size for file in folder.rglob("*")) / 1e6),
        }
        _facts_file(environment).write_text(json.dumps(facts), encoding="utf-8")
    return python


def installed(environment: str) -> dict[str, Any]:
    """Return what an environment was made from, in how many seconds, and its size; nothing where it is not there."""
    file = _facts_file(environment)
    facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return facts


def _facts_file(environment: str) -> Path:
    return HOME / environment / "installed.json"


def _install(folder: Path, python: Path, requirements: Path) -> None:
    uv = shutil.which("uv")
    # Nothing is compiled beforehand: a script imports a small part of what is installed, once.
    if uv:
        links = [f"--find-links={place}" for place in os.environ.get("PIP_FIND_LINKS", "").split()]
        subprocess.run([_python(), "-m", "venv", "--without-pip", folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *links, "-r", requirements], check=True)
    else:
        subprocess.run([_python(), "-m", "venv", folder], check=True)
        options = ["-qq", "--no-compile", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", "install", *options, "-r", requirements], check=True)


def _python() -> str:
    """Return a Python of the version that every environment can be made with."""
    if sys.version_info[:2] == tuple(map(int, PYTHON.split("."))):
        return sys.executable
    found = shutil.which(f"python{PYTHON}")
    if found is None:
        raise FileNotFoundError(f"the compatibility suite makes its environments with python{PYTHON}; put it on PATH")
    return found
