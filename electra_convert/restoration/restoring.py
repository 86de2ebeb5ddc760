"""`restore`: Hugging Face folders become a TensorFlow 1 checkpoint under Google's names, written without TensorFlow.

open ──▶ plan ──▶ write variables, hparams, vocabulary ──▶ convert back, compare ──▶ record ──▶ rename to OUT
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_convert.atomic import check_target, refuse_overlap, staged_folder
from electra_convert.conversion import refuse_warnings
from electra_convert.electra.mapping import HalfName
from electra_convert.errors import UsageError
from electra_convert.hf.card import write_record
from electra_convert.hf.folder import VOCABULARY, folder_sums
from electra_convert.notices import Notice, Noticed
from electra_convert.options import StrPath
from electra_convert.progress import Progress, no_progress
from electra_convert.restoration.plan import (
    GeneratorScope,
    PlannedHalf,
    RestorationOptions,
    RestorationPlan,
    plan_restoration,
)
from electra_convert.restoration.record import RECORD, restoration_document
from electra_convert.restoration.sources import opened_halves
from electra_convert.restoration.writing import FINETUNING, HPARAMS, STATE, CheckpointWriter

# The index, `checkpoint`, hparams and record.
OTHER_FILES = 1 << 20


@dataclass(frozen=True, slots=True)
class RestoredHalf:
    """One half that a checkpoint was made from."""

    half: HalfName
    folder: str
    tensors: int
    config: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the half as plain data."""
        return {"half": self.half, "folder": self.folder, "tensors": self.tensors, "config": dict(self.config)}


@dataclass(frozen=True, slots=True)
class Restoration(Noticed):
    """What was written: the checkpoint, the halves in it, the hparams that build it, what a person should know.

    `variables` counts all, slots and step included; of `files` a dry run knows names only.
    """

    out: str
    name: str
    setup: str
    halves: tuple[RestoredHalf, ...]
    variables: int
    parameters: int
    dtype: str
    step: int
    step_source: str
    slots: bool
    hparams: Mapping[str, Any]
    files: tuple[tuple[str, int | None], ...]
    checked: str
    dry_run: bool
    notices: tuple[Notice, ...]

    @property
    def prefix(self) -> str:
        """What TensorFlow takes as the checkpoint's path."""
        return os.path.join(self.out, self.name)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "out": self.out,
            "prefix": self.prefix,
            "setup": self.setup,
            "dry_run": self.dry_run,
            "halves": [half.to_json() for half in self.halves],
            "variables": self.variables,
            "parameters": self.parameters,
            "dtype": self.dtype,
            "step": self.step,
            "step_source": self.step_source,
            "slots": self.slots,
            "hparams": dict(self.hparams),
            "files": [{"name": name, "bytes": nbytes} for name, nbytes in self.files],
            "checked": self.checked,
            "notes": [notice.to_json() for notice in self.notes],
        }


def restore(
    folders: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    encoder: bool = False,
    generator_scope: GeneratorScope | None = None,
    step: int | None = None,
    slots: bool = False,
    vocab: StrPath | None = None,
    tokenizer: bool = True,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    strict: bool = False,
    progress: Progress = no_progress,
) -> Restoration:
    """Write Hugging Face ELECTRA folders as one TensorFlow 1 checkpoint, as google-research/electra names it.

    >>> from electra_convert import convert, restore
    >>> conversion = convert("fixtures/google/default_small", "hf", export="both", verify=False)
    >>> restoration = restore("hf", "ckpt")
    >>> restoration.setup, restoration.name, restoration.variables
    ('separate generator, shared embeddings', 'model.ckpt-40', 83)

    Args:
        folders: a discriminator, a generator, both, a folder that holds both, or one with the bare encoder.
        out: the folder to write; must not exist or be empty, unless `overwrite`.
        encoder: write the tower alone, without the head it may have; for fine-tuned models too.
        generator_scope: where a generator without its discriminator goes: `electra` (default), as a masked language
            model that Google's code trains on and fine-tunes; or `generator`, with the embeddings below `electra`.
        step: `global_step`; default: that of the record `conversion.json`, else 0.
        slots: write Adam slots of zeros too, without which run_pretraining.py does not go on from a checkpoint.
        vocab: the vocabulary; default: that of the folders' tokenizer.
        tokenizer: False writes no vocabulary.
        dtype: float32, float16 or bfloat16; default: as stored.
        allow_nonfinite: write weights that are NaN or infinite as they are.
        overwrite: replace OUT, in one step where the system can.
        dry_run: plan only, write nothing.
        strict: fail on warnings.
        progress: called with (bytes done, bytes in total, what).

    Raises:
        ElectraConvertError: with `exit_code`, `where`, `found`, `expected` and `hint`; OUT is as it was then.
    """
    options = RestorationOptions(
        encoder=encoder,
        generator_scope=generator_scope,
        step=step,
        slots=slots,
        vocab=vocab,
        tokenizer=tokenizer,
        dtype=dtype,
        allow_nonfinite=allow_nonfinite,
        overwrite=overwrite,
        dry_run=dry_run,
        strict=strict,
    )
    given = [folders] if isinstance(folders, (str, os.PathLike)) else list(folders)
    if not given:
        raise UsageError("no folder to convert")
    refuse_overlap(out, given, what="folder")
    check_target(out, overwrite=overwrite)
    with opened_halves(given, encoder=encoder) as halves:
        plan = plan_restoration(halves, options)
        refuse_warnings(strict, plan.notices)
        if dry_run:
            return _restoration(plan, out, _planned_files(plan), "", dry_run, plan.notices)
        vocabulary = plan.vocabulary.vocabulary.nbytes if plan.vocabulary.vocabulary else 0
        with staged_folder(out, overwrite=overwrite, needed_bytes=plan.nbytes + vocabulary + OTHER_FILES) as staging:
            writer = CheckpointWriter(plan, staging, allow_nonfinite=allow_nonfinite)
            writer.write(progress)
            checked = writer.prove(progress)
            for half in plan.halves:
                half.source.check_unchanged()
            notices = (*plan.notices, *(notice for stream in writer.streams.values() for notice in stream.notices()))
            refuse_warnings(strict, notices)
            _write_record(plan, writer, staging, notices, checked)
            files = tuple(sorted((path.name, path.stat().st_size) for path in staging.iterdir()))
        return _restoration(plan, out, files, checked, dry_run, notices)


def _write_record(
    plan: RestorationPlan, writer: CheckpointWriter, folder: Path, notices: tuple[Notice, ...], checked: str
) -> None:
    document = restoration_document(
        plan,
        tensor_crcs={half.source.half: writer.streams[id(half)].tensor_crcs for half in plan.halves},
        variable_crcs=writer.variable_crcs,
        files=folder_sums(folder),
        notices=notices,
        checked=checked,
    )
    write_record(folder / RECORD, document)


def _planned_files(plan: RestorationPlan) -> tuple[tuple[str, int | None], ...]:
    vocabulary = [VOCABULARY] if plan.vocabulary.vocabulary else []
    parts = [f"{plan.name}.index", f"{plan.name}.data-00000-of-00001"]
    return tuple((name, None) for name in sorted([*parts, STATE, HPARAMS, FINETUNING, RECORD, *vocabulary]))


def _restored(half: PlannedHalf) -> RestoredHalf:
    return RestoredHalf(half.source.half, half.source.shown, len(half.moves), half.source.config.to_json())


def _restoration(
    plan: RestorationPlan,
    out: StrPath,
    files: tuple[tuple[str, int | None], ...],
    checked: str,
    dry_run: bool,
    notices: tuple[Notice, ...],
) -> Restoration:
    return Restoration(
        out=os.fspath(out),
        name=plan.name,
        setup=plan.setup_told,
        halves=tuple(map(_restored, plan.halves)),
        variables=len(plan.names),
        parameters=plan.parameters,
        dtype=plan.dtype,
        step=plan.step,
        step_source=plan.step_source,
        slots=plan.slots,
        hparams=plan.hparams,
        files=files,
        checked=checked,
        dry_run=dry_run,
        notices=notices,
    )
