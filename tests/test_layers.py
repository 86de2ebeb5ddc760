"""The package is built in layers, and starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import electra_convert

PACKAGE = Path(electra_convert.__file__).parent

LAYERS = (
    ("errors", "wording", "notices", "progress", "following", "holding", "atomic", "unexpected"),
    ("tf1",),
    ("hf",),
    ("electra",),
    (
        *("options", "opening", "examination", "tokenizing", "tasks", "planning", "streaming", "writing", "record"),
        *("remote", "placing", "conversion", "inspection", "restoration", "probing"),
        *("stored", "recognition", "rungs", "proof", "diagnosis", "parity", "verification"),
        *("transformers_run", "tensorflow_run"),
    ),
    ("zoo", "batching"),
    ("report",),
    ("cli", "__main__"),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
APART = {("tf1", "hf"), ("tf1", "electra"), ("hf", "electra")}

# What electra may know of tf1: the plain data of a graph, and the pure functions that run it; none opens a file.
SHARED_DATA = {"electra_convert.tf1.graph", "electra_convert.tf1.interpreter", "electra_convert.tf1.erf"}

HEAVY = {"torch", "transformers", "tensorflow", "numpy", "rich", "safetensors", "dask", "fsspec", "ml_dtypes"}


def imports_in_package() -> Iterator[tuple[str, str, str]]:
    """Yield (importing part, imported part, imported module), from imports at the top and inside functions."""
    for file in sorted(PACKAGE.rglob("*.py")):
        importer = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if importer == "__init__":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "electra_convert":
                modules = [f"electra_convert.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for module in modules:
                parts = module.split(".")
                if parts[0] == "electra_convert" and len(parts) > 1 and parts[1] in LAYER:
                    yield importer, parts[1], ".".join(parts[:3])


def test_every_module_has_a_layer() -> None:
    parts = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in PACKAGE.rglob("*.py")}
    assert parts - {"__init__"} <= set(LAYER)


def test_no_module_imports_a_higher_layer() -> None:
    assert len(set(imports_in_package())) > 50
    upward = [(one, other) for one, other, _ in imports_in_package() if LAYER[other] > LAYER[one]]
    assert upward == []


def test_checkpoints_folders_and_electra_do_not_know_each_other() -> None:
    pairs = {(one, other, module) for one, other, module in imports_in_package()}
    mixed = [
        (one, module)
        for one, other, module in pairs
        if ((one, other) in APART or (other, one) in APART) and not (one == "electra" and module in SHARED_DATA)
    ]
    assert mixed == []


def test_no_module_bears_the_name_of_a_public_function() -> None:
    modules = {file.stem for file in PACKAGE.glob("*.py")} | {folder.name for folder in PACKAGE.iterdir()}
    assert modules.isdisjoint(electra_convert.__all__)


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in run.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import electra_convert, electra_convert.cli",
        "import sys; sys.argv[1:] = ['--help']; import electra_convert.cli; electra_convert.cli.main()",
    ],
)
def test_start_up_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()
