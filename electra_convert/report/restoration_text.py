"""A restoration as lines of plain text for people.

Read        hf/discriminator  discriminator, 43 tensors
Made        separate generator, shared embeddings
Wrote       ckpt/model.ckpt-40
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from electra_convert.report.lines import block, columns, count, safe, sections, wrapped
from electra_convert.report.text import size

if TYPE_CHECKING:
    from electra_convert.restoration.restoring import Restoration


def restoration_lines(restoration: Restoration) -> list[str]:
    """Return the summary of a restoration."""
    dry = restoration.dry_run
    rows = [(safe(half.folder), f"{half.half}, {count(half.tensors, 'tensor')}") for half in restoration.halves]
    lines = block("Read", columns(rows))
    amount = f"{count(restoration.variables, 'variable')}, {count(restoration.parameters, 'parameter')}"
    slots = ", Adam slots of zeros" if restoration.slots else ""
    lines += block(
        "Would make" if dry else "Made",
        [restoration.setup, f"{amount}, {restoration.dtype}{slots}", _step(restoration)],
    )
    if restoration.checked:
        lines += block("Checked", wrapped(restoration.checked))
    files = [(safe(name), "" if nbytes is None else size(nbytes)) for name, nbytes in restoration.files]
    folder = f"{safe(restoration.out).rstrip('/')}/"
    lines += block("Would write" if dry else "Wrote", [folder, *(f"  {row}" for row in columns(files, right=[1]))])
    if restoration.warnings:
        lines += ["", count(len(restoration.warnings), "warning")]
    if not dry:
        lines += ["", *block("Next", _next(restoration))]
    return lines


def hparams_lines(restoration: Restoration) -> list[str]:
    """Return the hparams with which run_pretraining.py builds what the checkpoint holds."""
    rows = [(safe(key), safe(json.dumps(value))) for key, value in restoration.hparams.items()]
    return sections({"Hparams of run_pretraining.py": columns(rows)})


def _step(restoration: Restoration) -> str:
    sources = {"flag": "given", "": "none is known"}
    return f"step {restoration.step} ({sources.get(restoration.step_source, restoration.step_source)})"


def _next(restoration: Restoration) -> list[str]:
    """Return what to do with the checkpoint: see it as `tf1` sees it, and where Google's code looks for it."""
    return [
        f"electra-convert inspect {safe(shlex.quote(restoration.out))}",
        "for Google's code: move the folder to DATA_DIR/models/NAME, pass",
        "  run_finetuning.py   --hparams with hparams_finetuning.json and the task",
        *(["  run_pretraining.py  --hparams with hparams.json and the training"] if restoration.slots else []),
    ]
