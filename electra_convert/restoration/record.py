"""What is written down about a checkpoint that was made from Hugging Face folders: `restoration.json`.

The same input, options and versions give the same bytes: no date, no duration, no path, no name of a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from electra_convert import __version__
from electra_convert.hf.folder import CONFIG, FileSum, file_sum
from electra_convert.notices import Notice
from electra_convert.record import TOOL
from electra_convert.restoration.plan import PlannedHalf, RestorationPlan

SCHEMA = "electra-convert/restoration/1"
RECORD = "restoration.json"


def restoration_document(
    plan: RestorationPlan,
    *,
    tensor_crcs: Mapping[str, Mapping[str, int]],
    variable_crcs: Mapping[str, int],
    files: tuple[FileSum, ...],
    notices: tuple[Notice, ...],
    checked: str,
) -> dict[str, Any]:
    """Return the record; `tensor_crcs` are by half and tensor."""
    vocabulary = plan.vocabulary.vocabulary
    return {
        "schema": SCHEMA,
        "tool": {"name": TOOL, "version": __version__},
        "checkpoint": {"name": plan.name, "format": "V2", "step": plan.step, "step_source": plan.step_source or None},
        "setup": plan.setup,
        "setup_told": plan.setup_told,
        "dtype": plan.dtype,
        "parameters": plan.parameters,
        "slots": plan.slots,
        "halves": [_half(half) for half in plan.halves],
        "vocabulary": vocabulary
        and {"name": vocabulary.name, "bytes": vocabulary.nbytes, "crc32c": f"{vocabulary.crc32c:08x}"},
        "variables": [
            {
                "variable": name,
                "shape": list(move.variable_shape),
                "crc32c": f"{variable_crcs[name]:08x}",
                "half": half.source.half,
                "tensor": half.source.names[move.tensor],
                "operation": move.operation.value,
                "tensor_dtype": half.source.tensors.dtypes[half.source.names[move.tensor]],
                "tensor_crc32c": f"{tensor_crcs[half.source.half][move.tensor]:08x}",
            }
            for name, (half, move) in plan.variables.items()
        ],
        "hparams": dict(plan.hparams),
        "warnings": _told(notices, "warning"),
        "notes": _told(notices, "note"),
        "checked": checked,
        "files": [file.to_json() for file in files],
    }


def _half(half: PlannedHalf) -> dict[str, Any]:
    source = half.source
    files = [file_sum(path).to_json() for path in [source.folder / CONFIG, *source.tensors.paths]]
    return {
        "half": source.half,
        "tensors": len(half.moves),
        "config": source.config.to_json(),
        "left_out": [*source.left_out, *source.tensors.copies],
        "files": files,
    }


def _told(notices: tuple[Notice, ...], kind: str) -> list[dict[str, Any]]:
    return [
        {"code": notice.code, "message": notice.message, "facts": notice.to_json()["facts"]}
        for notice in notices
        if notice.kind == kind
    ]
