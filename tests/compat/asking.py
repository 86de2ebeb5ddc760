"""Asks a reader, once: fixtures are converted, its script reads the folders in its environment, the answer is kept.

Answers stay in `ANSWERS` for `table.py`, which prints them.
"""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import masked_texts
from conftest import all_of, google
from environments import HOME, python_of
from loads import FINETUNED, PLAIN, SPECIAL, Load, Made, loads_of
from readers import ADAPTERS, READERS, TENSORFLOW, TORCH
from tokenizer_texts import DIFFERENT, SAME, write_tokenizers

from electra_convert import convert

ANSWERS = HOME / "answers"

# Saved again by transformers, to be verified by us.
SAVED_AGAIN = (*PLAIN, *SPECIAL, *FINETUNED)

# What `adapters.init` takes over.
TAKEN_OVER = tuple(Load(made, f"Electra{made.kind}", made.kind) for made in PLAIN)

_FOLDERS = tempfile.TemporaryDirectory(prefix="electra-compat-")


def folder_of(made: Made) -> Path:
    """Return the folder, which is made where it is not there yet."""
    folder = Path(_FOLDERS.name) / made.name
    if not folder.exists():
        convert(google(made.checkpoint), folder, export=made.export, dtype=made.dtype, verify=False)
    return folder


def saved_again(reader: str, made: Made) -> Path:
    """Return where a reader saves a folder again."""
    return Path(_FOLDERS.name) / f"{made.name} saved by {reader}"


@functools.cache
def _tokenizers() -> list[str]:
    return write_tokenizers(Path(_FOLDERS.name) / "tokenizers")


def answer_of(name: str) -> dict[str, Any]:
    """Return what a reader answers to its job."""
    failure, answer = _ask(name)
    assert not failure, failure
    return answer


# A failure is kept as well: a reader that cannot run is not asked again by every test.
@functools.cache
def _ask(name: str) -> tuple[str, dict[str, Any]]:
    reader = READERS[name]
    python = python_of(reader.environment)
    job = Path(_FOLDERS.name) / f"{name}.json"
    job.write_text(json.dumps(_job(name)), encoding="utf-8")
    kept = ANSWERS / f"{name}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.unlink(missing_ok=True)
    start = time.monotonic()
    script = Path(__file__).with_name(reader.script)
    run = subprocess.run([python, script, job, kept], capture_output=True, text=True, check=False)
    if run.returncode:
        return f"{script.name} failed in {reader.environment}:\n{run.stderr[-3000:]}", {}
    answer = json.loads(kept.read_text(encoding="utf-8"))
    answer["seconds"] = round(time.monotonic() - start, 1)
    kept.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    return "", answer


def _job(name: str) -> dict[str, Any]:
    reader = READERS[name]
    at_hand = set(all_of("google"))
    loads = [load for load in loads_of(reader) if load.made.checkpoint in at_hand]
    job: dict[str, Any] = {"loads": [_load(load, reader.options) for load in loads], "options": dict(reader.options)}
    generator = next(made for made in PLAIN if made.export == "generator")
    if name in TORCH or name in TENSORFLOW:
        job["fill_masks"] = [{"folder": str(folder_of(generator)), "texts": masked_texts.TEXTS}]
    if name in TORCH:
        job["saved_again"] = [
            {
                "folder": str(folder_of(made)),
                "class_name": f"Electra{made.kind}",
                "target": str(saved_again(name, made)),
            }
            for made in SAVED_AGAIN
            if made.checkpoint in at_hand
        ]
        job["tokenizers"] = _tokenizers()
        job["texts"] = [*SAME, *DIFFERENT]
    if name in ADAPTERS:
        job["taken_over"] = [_load(load, {}) for load in TAKEN_OVER]
    return job


def _load(load: Load, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": load.name,
        "class_name": load.class_name,
        "folder": str(folder_of(load.made)),
        "golden": str(google(load.made.checkpoint) / "golden.npz"),
        "hidden": load.made.hidden,
        "outputs": dict(load.outputs),
        "dtype": load.dtype,
        "options": {**options, **load.options},
    }
