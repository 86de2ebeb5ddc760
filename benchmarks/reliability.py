"""Runs every set of damaged input and hostile environment, and writes the table of `reliability.md`.

    nice python benchmarks/reliability.py [--only input|output] [--match WORDS] [--resume]

The sets are those of `pytest -m sweep`, in tests/faults. Rows that are done are kept in a temporary file: `--resume`
goes on where a run was broken off, and with `--match` runs some rows again and takes the others as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "tests" / "faults"
sys.path[:0] = [str(FAULTS), str(FAULTS.parent), str(ROOT)]

REPORT = Path(__file__).with_suffix(".md")
KEPT = Path(tempfile.gettempdir()) / "electra-convert-reliability.json"

HEAD = """# What became of damaged files, hostile files and failing machines

Made by `python benchmarks/reliability.py`; the judge is `tests/faults/mutations.py`. *Detected*: our own error with
exit code 3 or 4 that names the file, and variable and byte where one is damaged. *Identical*: every value bit for bit
as it was. *Wrong*: other values without a word, or an error that leaves out what it must name. *Crashed*: another
exception, the end of the process, or more than five seconds.
"""
SECTIONS = {
    "input": ("Input", "*Identical* of a parser's row means that the edited input was read without another exception."),
    "output": ("Output", "After each case OUT is absent, the old one whole, or the new one whole and verified."),
}
COLUMNS = ("fault", "cases", "detected", "identical", "wrong", "crashed", "memory")

Job = Callable[[Callable[[str], object]], Any]


def jobs_of(section: str) -> dict[str, Job]:
    """Return what is to be run for a section, by fault; none where its module is not there."""
    name = f"{section}_rows"
    if importlib.util.find_spec(name) is None:
        return {}
    jobs: dict[str, Job] = getattr(importlib.import_module(name), f"{section}_jobs")()
    return jobs


def tick_for(fault: str) -> Callable[[str], None]:
    """Return what shows how far a row is, a few times a second, on a line of stderr that is written over."""
    last = 0.0

    def tick(told: str) -> None:
        nonlocal last
        if told.endswith("\n"):
            print(f"\r{told}", end="", file=sys.stderr)
        elif time.monotonic() - last > 0.5:
            print(f"\r{fault}: {told}   ", end="", file=sys.stderr, flush=True)
            last = time.monotonic()

    return tick


def run(section: str, match: str, kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a section: as they were kept, or run now."""
    for fault, job in jobs_of(section).items():
        key = f"{section}: {fault}"
        if match not in fault and key not in kept:
            continue
        if key not in kept or (match and match in fault):
            started = time.monotonic()
            kept[key] = job(tick_for(fault)).to_json()
            KEPT.write_text(json.dumps(kept))
            print(f"\r{line_of(kept[key])}  {time.monotonic() - started:.0f} s", file=sys.stderr)
        yield kept[key]


def line_of(row: dict[str, Any]) -> str:
    values = {**row, "memory": f"{row['memory'] / 1e6:.0f} MB" if row["memory"] else ""}
    return f"| {' | '.join(str(values[column]) if values[column] != '' else ' ' for column in COLUMNS)} |"


def table_of(section: str, rows: list[dict[str, Any]]) -> str:
    """Return a section of the report."""
    title, remark = SECTIONS[section]
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    total = {column: sum(row[column] for row in rows) for column in COLUMNS[1:-1]}
    total |= {"fault": "**all**", "memory": max((row["memory"] for row in rows), default=0)}
    return "\n".join([f"\n## {title}\n\n{remark}\n", head, *map(line_of, rows), line_of(total)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the full sets and write reliability.md.")
    parser.add_argument("--only", choices=sorted(SECTIONS), help="one half of the table")
    parser.add_argument("--match", default="", help="only faults with these words; the rest as it was kept")
    parser.add_argument("--resume", action="store_true", help="take rows that a run before has done")
    words = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if words.resume and KEPT.exists() else {}
    report, bad = HEAD, 0
    before = REPORT.read_text() if REPORT.exists() else ""
    for section in SECTIONS:
        if words.only in (None, section):
            rows = list(run(section, words.match, kept))
            bad += sum(row["wrong"] + row["crashed"] for row in rows)
            report += table_of(section, rows) if rows else ""
        elif (mark := f"\n## {SECTIONS[section][0]}\n") in before:
            report += mark + before.split(mark)[1].split("\n## ")[0]
    REPORT.write_text(report)
    print(report)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
