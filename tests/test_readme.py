"""What the README shows is what the program prints.

`python tests/test_readme.py` writes the README's outputs and its name table anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

OUTPUT = re.compile(r"<!-- output: (?P<command>.*?) -->\n```text\n(?P<shown>.*?)```", re.DOTALL)
TABLE = re.compile(r"<!-- name table -->\n(?P<shown>.*?)<!-- end of name table -->", re.DOTALL)


def output_of(command: str) -> str:
    """Run a command of the README in an empty folder beside the fixtures, and return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fixtures").symlink_to(ROOT / "fixtures")
        if " out/" in command and not command.startswith("tf1"):
            prepare = "tf1 fixtures/google/default_small out/ -q --no-verify"
            subprocess.run([sys.executable, "-m", "electra_convert", *prepare.split()], cwd=folder, check=True)
        environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
        run = subprocess.run(
            [sys.executable, "-m", "electra_convert", *command.split()],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    return run.stdout


def comparable(text: str) -> str:
    """Leave out figures whose last digits depend on the machine: times, and differences of float arithmetic."""
    text = re.sub(r"\b\d+(\.\d+)?e-\d\d\b", "1e-XX", text)
    # Columns of a table are as wide as what stands in them.
    return re.sub(r" +", " ", re.sub(r"\b\d+(\.\d+)? s\b", "N s", text))


def name_table() -> str:
    from electra_convert.electra.mapping import name_table

    return "\n".join(name_table()) + "\n"


@pytest.mark.parametrize("command", [match["command"] for match in OUTPUT.finditer(README.read_text(encoding="utf-8"))])
def test_the_output_shown_is_the_output_printed(command: str) -> None:
    shown = next(m["shown"] for m in OUTPUT.finditer(README.read_text(encoding="utf-8")) if m["command"] == command)
    assert comparable(output_of(command)) == comparable(shown)


def test_the_name_table_is_the_mapping_table() -> None:
    match = TABLE.search(README.read_text(encoding="utf-8"))
    assert match is not None
    assert match["shown"] == name_table()


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    # The library's example makes the folder that the first example loads.
    for block in sorted(blocks, key=lambda block: "from transformers" in block):
        exec(compile(block, "README.md", "exec"), {})


def write() -> None:
    text = README.read_text(encoding="utf-8")
    text = OUTPUT.sub(lambda m: f"<!-- output: {m['command']} -->\n```text\n{output_of(m['command'])}```", text)
    table = name_table()
    text = TABLE.sub(lambda _: f"<!-- name table -->\n{table}<!-- end of name table -->", text)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
