"""The environments of the compatibility suite: pinned readers, each in a virtual environment of its own.

An environment is made once and kept in `.compat/` beside the tests' root (or `ELECTRA_CONVERT_COMPAT`); pip's own
configuration says where packages come from.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("ELECTRA_CONVERT_COMPAT", ROOT / ".compat"))

# torch is pinned in all of them: an unpinned one may bring gigabytes of CUDA.
READERS = {
    "transformers-4.46": ("transformers==4.46.3", "torch==2.13.0", "numpy==2.2.6"),
    "transformers-4.57": ("transformers==4.57.6", "torch==2.13.0", "numpy==2.2.6"),
    "transformers-5.0": ("transformers==5.0.0", "torch==2.13.0", "numpy==2.2.6"),
    "transformers-5.23": ("transformers==5.23.0", "torch==2.13.0", "numpy==2.2.6"),
}


def python_of(reader: str) -> Path:
    """Return the interpreter of an environment, which is made where it is not there yet."""
    folder = HOME / reader
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "installed.txt"
    wanted = " ".join(READERS[reader])
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *READERS[reader]]
        subprocess.run(command, check=True)
        done.write_text(wanted)
    return python
