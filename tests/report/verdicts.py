"""Verdicts to report on: real ones of a converted checkpoint and of copies that were harmed, and made-up ones."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from conftest import google
from safetensors.numpy import load_file, save_file

from electra_convert import convert
from electra_convert.examination import CheckpointSummary
from electra_convert.parity import HalfParity, Parity, verify
from electra_convert.report.verdict import Run
from electra_convert.rungs import Check

RUN = Run("electra-convert verify ckpt/ out --seed 0", 4.2, datetime(2020, 3, 4, 5, 6, 7, tzinfo=timezone.utc))
QUERY = "electra.encoder.layer.1.attention.self.query.weight"
EVIL = '\x1b[31m\u202e<script>alert("1")</script>&\n]]>\x00\udc80'


@functools.cache
def workspace() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="electra-verdicts-")


@functools.cache
def converted() -> Path:
    out = Path(workspace().name) / "good"
    convert(google("default_small"), out, verify=False)
    return out


def turn(tensors):
    tensors[QUERY] = np.ascontiguousarray(tensors[QUERY].T)


def drop(tensors):
    del tensors["electra.embeddings.LayerNorm.bias"]


def make_infinite(tensors):
    tensors[QUERY] = np.full_like(tensors[QUERY], np.inf)


HARM: dict[str, Callable] = {"turned": turn, "dropped": drop, "infinite": make_infinite}


@functools.cache
def harmed(how: str) -> Path:
    """Return a copy of the converted folder with one fault, as another tool would have left it (no record)."""
    copy = Path(workspace().name) / how
    shutil.copytree(converted(), copy)
    (copy / "conversion.json").unlink()
    if how == "heads":
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    else:
        tensors = load_file(copy / "model.safetensors")
        HARM[how](tensors)
        save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    return copy


@functools.cache
def real(how: str = "good") -> Parity:
    """Return the verdict on the converted folder, or on a harmed copy of it."""
    return verify(google("default_small"), converted() if how == "good" else harmed(how))


def floats(rung: str, against: str, subject: str = "", layers: int = 12, bad: range = range(0)) -> list[Check]:
    """Return the checks of one comparison, of which the layers `bad` (and then the logits) fail."""
    limit, scale, reason = (
        (4e-10, 4.0, "1e-10 of scale") if rung == "float64" else (4e-5, 4.0, "8 × float32's own noise")
    )
    checks = []
    for name in ("embeddings", *(f"layer {i}" for i in range(layers)), "logits"):
        passed = not (name.startswith("layer") and int(name[6:]) in bad) and not (name == "logits" and bad)
        found = limit / 1e3 if passed else 0.5
        where = "mixed, row 3, token 17"
        checks.append(
            Check(rung, f"{subject} {name}".strip(), passed, found, limit, against, found / 9, scale, where, reason)
        )
    return checks


def made_up(bad: range = range(0), layers: int = 12, halves: int = 1, **changes) -> Parity:
    """Return a verdict of round figures."""
    checkpoint = CheckpointSummary(
        path="ckpt/",
        prefix="ckpt/model.ckpt-1000000",
        name="model.ckpt-1000000",
        format="V2",
        shards=1,
        step=1000000,
        step_source="global_step",
        nbytes=170_393_600,
        trained_length=None,
    )
    faults = "; ".join(f"electra.encoder.layer.{i}.output.dense.weight" for i in bad)
    checks = [
        Check("structure", "tensors", True, "203 of 203", "all, and no others", "config.json"),
        Check("bytes", "bytes", not faults, f"{203 - len(bad)} of 203", "all", "the checkpoint", reason=faults),
        *floats("float64", "graph", layers=layers, bad=bad),
        *floats("float64", "graph", "reference.py", layers=layers),
        *floats("float32", "reference.py", layers=layers, bad=bad),
    ]
    half = HalfParity(
        half="discriminator",
        folder="out",
        dtype="float32",
        references=("the original graph", "reference.py"),
        checks=tuple(checks),
        unproven=(),
        explanations=tuple(f"tensor {i} equals the variable without its operation" for i in list(bad)[:1]),
    )
    every = (half, replace(half, half="generator", folder="out/generator"))[:halves]
    return Parity(checkpoint, tuple(replace(half, **changes) for half in every), 0, ())
