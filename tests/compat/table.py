"""Prints what the readers answered when the suite last ran, as Markdown.

    python tests/compat/table.py

Three tables: the classes; the same for each folder that they were given; the environments with what they cost. A cell
has the largest difference to the golden outputs, as a share of their largest value, and after it what loading reported
that it should not have.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# For conftest.py, which pytest finds by itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asking import ANSWERS
from environments import REQUIREMENTS, installed
from loads import Load, loads_of
from readers import ADAPTER_MODEL, KINDS, READERS

from electra_convert.electra.mapping import TIED

Answers = Mapping[str, Mapping[str, Any]]

ABSENT = "–"


def class_table(answers: Answers) -> Iterator[str]:
    """Yield the lines of the table of classes: what holds of all folders that were loaded into a class."""
    rows = []
    for kind in (*KINDS, ADAPTER_MODEL):
        found = {name: [load for load in _plain_loads(name, answers) if load.kind == kind] for name in answers}
        rows.append([f"`Electra{kind}`", *(_cell(answers[name]["loads"], loads) for name, loads in found.items())])
    return _markdown(["class", *map(_title, answers)], rows)


def folder_table(answers: Answers) -> Iterator[str]:
    """Yield the lines of the table of folders: how many tensors of each class were new, and how many not used."""
    rows = []
    for kind in (*KINDS, ADAPTER_MODEL):
        for made in dict.fromkeys(load.made.name for name in answers for load in _plain_loads(name, answers)):
            found = {
                name: [load for load in _plain_loads(name, answers) if (load.kind, load.made.name) == (kind, made)]
                for name in answers
            }
            load = next((load for loads in found.values() for load in loads), None)
            if load:
                counts = [str(len(names)) if names else ABSENT for names in (load.missing, load.unexpected)]
                cells = [_cell(answers[name]["loads"], loads) for name, loads in found.items()]
                rows.append([f"`Electra{kind}`", made, *counts, *cells])
    return _markdown(["class", "folder", "new", "not used", *map(_title, answers)], rows)


def environment_table(answers: Answers) -> Iterator[str]:
    """Yield the lines of the table of environments: their main packages, and what each costs."""
    rows = []
    for environment in dict.fromkeys(READERS[name].environment for name in answers):
        facts = installed(environment)
        readers = [name for name in answers if READERS[name].environment == environment]
        seconds = sum(answers[name]["seconds"] for name in readers)
        packages = ", ".join(" ".join(package) for package in _packages(environment))
        rows.append(
            [environment, packages, f"{facts['seconds']:.0f} s", f"{facts['megabytes']} MB", f"{seconds:.0f} s"]
        )
    return _markdown(["environment", "packages", "to install", "size", "to read"], rows)


def _plain_loads(name: str, answers: Answers) -> list[Load]:
    """Return the loads that a reader answered, without those in 16 bits."""
    loads = (load for load in loads_of(READERS[name]) if load.name in answers[name]["loads"])
    return [load for load in loads if load.dtype == "float32"]


def _cell(answers: Mapping[str, Any], loads: Sequence[Load]) -> str:
    if not loads:
        return ABSENT
    found = [(load, answers[load.name]) for load in loads]
    wrong = [fault for load, answer in found for fault in _faults(load, answer["report"])]
    worst = max(difference for _, answer in found for difference in answer["differences"].values())
    return "; ".join([f"{worst:.0e}", *wrong])


def _faults(load: Load, report: Mapping[str, Sequence[str]]) -> Iterator[str]:
    expected = {"missing_keys": load.missing, "unexpected_keys": load.unexpected}
    for what in sorted({*expected, *report}):
        differing = (set(report.get(what, ())) - set(TIED)) ^ expected.get(what, set())
        if differing:
            yield f"{what}: {', '.join(sorted(differing))}"


def _packages(environment: str) -> list[list[str]]:
    """Return the names and versions that the requirements begin with, up to the first empty line."""
    lines = (REQUIREMENTS / f"{environment}.txt").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    return [line.split("==") for line in lines if not line.startswith("#")]


def _title(name: str) -> str:
    """Return the package that reads and its version, and that of transformers where it is another package."""
    reader = READERS[name]
    versions = dict(_packages(reader.environment))
    title = f"{reader.package} {versions[reader.package]}"
    return title if reader.package == "transformers" else f"{title}, transformers {versions['transformers']}"


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    files = {name: ANSWERS / f"{name}.json" for name in READERS}
    answers = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    if not answers:
        sys.exit("no answers yet: run `pytest -m compat tests/compat` first")
    for table in (class_table, folder_table, environment_table):
        print(*table(answers), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
