"""Runs every set of damaged input and of hostile environment, and writes the table of `reliability.md`.

    nice python benchmarks/reliability.py [--only input|output] [--match WORDS] [--resume]

The sets are those of `pytest -m sweep`, in tests/faults; about ten minutes for the input, a quarter of an hour for the
output. Rows that are done are kept in a temporary file: `--resume` goes on where a run was broken off, and `--match`
then runs some rows again and takes the others as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "tests" / "faults"
sys.path[:0] = [str(FAULTS), str(FAULTS.parent), str(ROOT)]

REPORT = Path(__file__).with_suffix(".md")
KEPT = Path(tempfile.gettempdir()) / "electra-convert-reliability.json"

HEAD = """# What became of damaged files, hostile files and failing machines

Made by `python benchmarks/reliability.py`.
"""
INPUT = """\
The judge is `tests/faults/mutations.py`, which knows every value from the arrays that were written. *Detected*: our
own error with exit code 3 or 4 that names the file, and variable and byte where one is damaged. *Identical*: every
value bit for bit as it was (in a parser's row: the edited input was read). *Wrong*: other values without a word, or an
error that leaves out what it must name. *Crashed*: another exception, the end of the process, or more than five
seconds.
"""
OUTPUT = """\
*Detected*: the run ended as it must, and OUT is as it was before, absent or the old one whole. *Identical*: OUT is the
new folder, whole. *Wrong*: OUT is anything else, something is left beside it, or the end was told wrongly. *Crashed*:
a traceback, or an end that nobody asked for.
"""
COLUMNS = ("fault", "cases", "detected", "identical", "wrong", "crashed", "memory")

Row = dict[str, Any]


def rows_of(jobs: dict[str, Any], match: str, kept: dict[str, Row]) -> list[Row]:
    """Return the rows of some jobs: as they were kept, or run now."""
    for fault, job in jobs.items():
        if match in fault and (match or fault not in kept):
            started = time.monotonic()
            kept[fault] = job(_ticking(fault)).to_json()
            KEPT.write_text(json.dumps(kept))
            print(f"\r{_line(kept[fault])}  {time.monotonic() - started:.0f} s", file=sys.stderr)
    return [kept[fault] for fault in jobs if fault in kept]


def _ticking(fault: str) -> Callable[[str], None]:
    """Return what shows how far a row is, twice a second, on a line of stderr that is written over."""
    last = 0.0

    def tick(told: str) -> None:
        nonlocal last
        if told.endswith("\n"):
            print(f"\r{told}", end="", file=sys.stderr)
        elif time.monotonic() - last > 0.5:
            print(f"\r{fault}: {told}   ", end="", file=sys.stderr, flush=True)
            last = time.monotonic()

    return tick


def _line(row: Row) -> str:
    values = {**row, "memory": f"{row['memory'] / 1e6:.0f} MB" if row["memory"] else " "}
    return f"| {' | '.join(str(values[column]) for column in COLUMNS)} |"


def _section(title: str, remark: str, rows: list[Row]) -> str:
    """Return a section of the report, with a line for all rows together."""
    total: Row = {column: sum(row[column] for row in rows) for column in COLUMNS[1:-1]}
    total |= {"fault": "**all**", "memory": max((row["memory"] for row in rows), default=0)}
    head = [f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 1)}"]
    return "\n".join([f"\n## {title}\n", remark, *head, *map(_line, rows), _line(total), ""])


def _as_before(title: str) -> str:
    """Return a section as it stands in the report."""
    mark = f"\n## {title}\n"
    before = REPORT.read_text() if REPORT.exists() else ""
    return mark + before.split(mark)[1].split("\n## ")[0] if mark in before else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the full sets and write reliability.md.")
    parser.add_argument("--only", choices=["input", "output"], help="one half; the other stays as it is")
    parser.add_argument("--match", default="", help="only faults with these words")
    parser.add_argument("--resume", action="store_true", help="take rows that a run before has done")
    words = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if words.resume and KEPT.exists() else {}
    import input_rows
    import output_rows

    made = [] if words.only == "output" else rows_of(input_rows.input_jobs(), words.match, kept)
    stopped = [] if words.only == "input" else rows_of(output_rows.output_jobs(), words.match, kept)
    REPORT.write_text(
        HEAD
        + (_section("Input", INPUT, made) if made else _as_before("Input"))
        + (_section("Output", OUTPUT, stopped) if stopped else _as_before("Output"))
    )
    print(REPORT.read_text())
    return 1 if any(row["wrong"] or row["crashed"] for row in (*made, *stopped)) else 0


if __name__ == "__main__":
    sys.exit(main())
