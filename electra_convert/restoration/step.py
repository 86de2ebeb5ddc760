"""The training step that a checkpoint is written with: given, else that of the record beside the weights, else 0."""

from __future__ import annotations

from collections.abc import Sequence

from electra_convert.errors import FolderError, SettingError
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import RECORD, file_sum
from electra_convert.notices import Notice, note, warning
from electra_convert.record import SCHEMA
from electra_convert.restoration.sources import StoredHalf


def find_step(halves: Sequence[StoredHalf], given: int | None) -> tuple[int, str, list[Notice]]:
    """Return the step, where it is from, and what a person should know about it.

    A record that is not of these weights tells nothing: somebody trained on and saved into the same folder.

    Raises:
        SettingError: two halves have records of different steps.
        FolderError: a record is no JSON.
    """
    if given is not None:
        return given, "flag", []
    steps: dict[int, str] = {}
    notices: list[Notice] = []
    for half in halves:
        if not (half.folder / RECORD).exists():
            continue
        record = read_json(half.folder / RECORD, "the record", FolderError)
        checkpoint, files = record.get("checkpoint"), record.get("files")
        step = checkpoint.get("step") if isinstance(checkpoint, dict) else None
        if record.get("schema") != SCHEMA or type(step) is not int or not 0 <= step < 2**63:
            continue
        sums = [file_sum(path).to_json() for path in half.tensors.paths]
        if not isinstance(files, list) or any(found not in files for found in sums):
            message = "the record in a folder is not of its weights, so its step was not taken"
            notices.append(warning("record", message, "pass --step N", half=half.half, found=f"step {step}"))
            continue
        steps.setdefault(step, half.shown)
    if len(steps) > 1:
        raise SettingError(
            "the halves are of different training steps",
            found=[f"{step}: {shown}" for step, shown in steps.items()],
            hint="pass halves of one checkpoint, or --step N",
        )
    if steps:
        return next(iter(steps)), RECORD, notices
    return 0, "", [*notices, note("step", "no step is known; 0 is written")]
