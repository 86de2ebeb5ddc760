"""`convert`: a checkpoint becomes Hugging Face folders, written beside OUT, read back, and published at once.

open ──▶ plan ──▶ write tensors, read back ──▶ config, tokenizer ──▶ proof ──▶ card, record ──▶ rename to OUT
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from electra_convert.atomic import write_failure
from electra_convert.electra.heads import TaskKind
from electra_convert.electra.mapping import HalfName
from electra_convert.errors import StrictError, UsageError
from electra_convert.examination import CheckpointSummary, summarise
from electra_convert.following import Follower
from electra_convert.notices import Notice, Noticed
from electra_convert.opening import opened
from electra_convert.options import Export, Options, Reader, StrPath
from electra_convert.parity import require_torch
from electra_convert.placing import below, check_place, options_at_hand, placed
from electra_convert.planning import ConversionPlan, HalfPlan, LeftOut, plan_conversion, setup_told
from electra_convert.progress import Progress, no_progress
from electra_convert.remote.urls import is_remote, shown_path, without_file_scheme
from electra_convert.streaming import TensorStream
from electra_convert.wording import some
from electra_convert.writing import HalfExport, needed_bytes, planned_half, write_half

if TYPE_CHECKING:
    import numpy as np

    from electra_convert.tf1.checkpoint import Checkpoint

# What `--export` can name that is one folder.
ONE_FOLDER: tuple[HalfName, ...] = ("discriminator", "generator", "encoder", "task")


@dataclass(frozen=True, slots=True)
class Conversion(Noticed):
    """What a conversion did: the halves it wrote, what it left out, what a person should know."""

    checkpoint: CheckpointSummary
    setup: str
    out: str
    dry_run: bool
    halves: tuple[HalfExport, ...]
    left_out: tuple[LeftOut, ...]
    refused: tuple[tuple[HalfName, str], ...]
    notices: tuple[Notice, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the conversion as plain data."""
        return {
            "checkpoint": self.checkpoint.to_json(),
            "setup": self.setup,
            "out": self.out,
            "dry_run": self.dry_run,
            "halves": [half.to_json() for half in self.halves],
            "left_out": [group.to_json() for group in self.left_out],
            "refused": [{"half": half, "reason": reason} for half, reason in self.refused],
            "notes": [notice.to_json() for notice in self.notes],
        }


def convert(
    checkpoint: StrPath | Checkpoint,
    out: StrPath,
    *,
    export: Export = "discriminator",
    task: str | None = None,
    task_kind: TaskKind | None = None,
    labels: Sequence[str] | StrPath | None = None,
    num_attention_heads: int | None = None,
    hidden_act: str | None = None,
    hparams: StrPath | Mapping[str, Any] | None = None,
    config: StrPath | None = None,
    vocab: StrPath | None = None,
    tokenizer: bool = True,
    cased: bool | None = None,
    strip_accents: bool | None = None,
    max_length: int | None = None,
    dtype: str | None = None,
    ignore: Sequence[str] = (),
    allow_nonfinite: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    strict: bool = False,
    verify: bool | None = None,
    reader: Reader = "auto",
    progress: Progress = no_progress,
) -> Conversion:
    """Convert a TensorFlow 1 checkpoint to a Hugging Face folder; two folders below OUT for two halves.

    >>> from electra_convert import convert
    >>> conversion = convert("fixtures/google/default_small", "out", verify=False)
    >>> conversion.halves[0].tensors, conversion.halves[0].config["num_attention_heads"]
    (43, 1)

    Args:
        checkpoint: a folder, a prefix, any file of the checkpoint, an archive; or an open `Checkpoint`.
        out: the folder to write; must not exist or be empty, unless `overwrite`.
        export: which half; `both` refuses unless both can be had, `available` writes those that can. Or `task`, the
            encoder with a fine-tuned head, or `encoder`, the tower `electra` without a head, of any checkpoint.
        task: which task, where the checkpoint has several.
        task_kind: what kind of task it is, where neither its name nor a `.meta` file tells; see `TASK_KINDS`.
        labels: the names of a task's labels: a sequence, a text with commas, or a file with one a line.
        num_attention_heads: what no shape tells, where neither hparams nor a `.meta` file does.
        hidden_act: likewise; gelu, gelu_new, relu, tanh or linear.
        hparams: what Google's training was started with: a file, a JSON text, or a mapping.
        config: a Hugging Face config file to take from what no shape tells.
        vocab: the vocabulary; default: `vocab.txt` beside the checkpoint.
        tokenizer: False writes weights and config only.
        cased: whether the text was cased; default: what hparams or the vocabulary show.
        strip_accents: whether accents were stripped; default: what the vocabulary shows.
        max_length: `model_max_length` of the tokenizer; default: the position table.
        dtype: float32, float16 or bfloat16; default: as stored (float64 becomes float32).
        ignore: patterns of variables to leave out.
        allow_nonfinite: convert weights that are NaN or infinite as they are.
        overwrite: replace OUT, in one step where the system can.
        dry_run: plan only, write nothing.
        strict: fail on warnings.
        verify: prove the result by forward passes; default: where torch is installed.
        reader: `tensorflow` reads through TensorFlow's own reader.
        progress: called with (done, in total, what); bytes, and steps while verifying: see `progress.py`.

    Raises:
        ElectraConvertError: with `exit_code`, `where`, `found`, `expected` and `hint`; OUT is as it was then.
    """
    options = Options(
        export=export,
        task=task,
        task_kind=task_kind,
        labels=labels,
        num_attention_heads=num_attention_heads,
        hidden_act=hidden_act,
        hparams=hparams,
        config=config,
        vocab=vocab,
        tokenizer=tokenizer,
        cased=cased,
        strip_accents=strip_accents,
        max_length=max_length,
        dtype=dtype,
        ignore=ignore,
        allow_nonfinite=allow_nonfinite,
        overwrite=overwrite,
        dry_run=dry_run,
        strict=strict,
        verify=verify,
        reader=reader,
    )
    if verify:
        require_torch()
    if isinstance(checkpoint, (str, os.PathLike)):
        checkpoint = without_file_scheme(checkpoint)
    if is_remote(checkpoint):
        # Before anything is fetched.
        check_place(out, [checkpoint], overwrite=overwrite)
    with (
        options_at_hand(options) as options,
        opened(checkpoint, reader, data="optional", progress=progress) as source,
    ):
        typed = checkpoint if isinstance(checkpoint, (str, os.PathLike)) else source.shown
        shown = shown_path(typed)
        if not is_remote(checkpoint):
            check_place(out, [typed, *source.paths()], overwrite=overwrite)
        plan = plan_conversion(source, options)
        refuse_warnings(options.strict, plan.notices)
        # Only now: a checkpoint of another model is better told by its name than by its missing files.
        if not dry_run:
            source.require_data()
        if dry_run:
            written = plan.tokenizing is not None
            exports = [planned_half(half, _shown_folder(out, half, options), written) for half in plan.halves]
            return _conversion(shown, source, out, options, plan, exports, plan.notices)
        exports, notices = _write(source, out, options, plan, progress)
        return _conversion(shown, source, out, options, plan, exports, notices)


def state_dict(
    checkpoint: StrPath | Checkpoint, *, export: HalfName = "discriminator", dtype: str | None = None, **settings: Any
) -> dict[str, np.ndarray]:
    """Return the tensors that `model.safetensors` would hold, as NumPy arrays, without writing a file.

    >>> from electra_convert import state_dict
    >>> state_dict("fixtures/google/default_small", export="generator")["generator_lm_head.bias"].shape
    (300,)

    Args:
        checkpoint: as in `convert`.
        export: which half, or `encoder`, or `task`.
        dtype: float32, float16 or bfloat16; default: as stored (float64 becomes float32).
        settings: further keywords of `convert` that say how to read, such as `ignore` or `num_attention_heads`.

    Raises:
        ElectraConvertError: as `convert`.
    """
    import numpy as np

    if export not in ONE_FOLDER:
        raise UsageError("state_dict gives one half", found=str(export), expected=" or ".join(ONE_FOLDER))
    options = Options(export=export, dtype=dtype, **{"tokenizer": False, **settings})
    with options_at_hand(options) as options, opened(checkpoint, options.reader) as source:
        (half,) = plan_conversion(source, options).halves
        with Follower() as follower:
            stream = TensorStream(source, half.moves, half.dtype, options.allow_nonfinite, follower)
            return {
                move.tensor: np.concatenate([piece.copy() for piece in stream.pieces(move.tensor)]).reshape(
                    move.tensor_shape
                )
                for move in half.moves
            }


def _write(
    source: Checkpoint, out: StrPath, options: Options, plan: ConversionPlan, progress: Progress
) -> tuple[list[HalfExport], tuple[Notice, ...]]:
    """Write every half into a folder beside OUT, and publish it."""
    exports, notices = [], plan.notices
    with placed(out, overwrite=options.overwrite, needed_bytes=needed_bytes(plan), progress=progress) as staging:
        for half in plan.halves:
            folder = staging / _name_below(half, options)
            shown = _shown_folder(out, half, options)
            try:
                folder.mkdir(exist_ok=True)
                export, found = write_half(source, plan, half, options, folder, shown, progress)
            except OSError as error:
                raise write_failure(error.filename or shown, error) from error
            exports.append(export)
            notices = (*notices, *found)
        source.check_unchanged()
        refuse_warnings(options.strict, notices)
    return exports, notices


def _name_below(half: HalfPlan, options: Options) -> str:
    """Return the name of a half's folder in OUT; nothing where OUT is that folder."""
    return half.half if options.export in {"both", "available"} else ""


def _shown_folder(out: StrPath, half: HalfPlan, options: Options) -> str:
    return shown_path(below(out, _name_below(half, options)))


def _conversion(
    shown: str,
    source: Checkpoint,
    out: StrPath,
    options: Options,
    plan: ConversionPlan,
    exports: Sequence[HalfExport],
    notices: tuple[Notice, ...],
) -> Conversion:
    return Conversion(
        checkpoint=summarise(shown, source, plan.trained_length),
        setup=setup_told(plan.examination, plan.hparams),
        out=shown_path(out),
        dry_run=options.dry_run,
        halves=tuple(exports),
        left_out=plan.left_out,
        refused=plan.refused,
        notices=notices,
    )


def refuse_warnings(strict: bool, notices: Sequence[Notice]) -> None:
    """Raise StrictError if there are warnings and they are to count as failures."""
    warnings = [notice for notice in notices if notice.kind == "warning"]
    if strict and warnings:
        error = StrictError(
            f"{len(warnings)} warnings, and warnings count as failures"
            if len(warnings) > 1
            else "a warning, and warnings count as failures",
            found=some([f"{notice.code}: {notice.message}" for notice in warnings], 20),
            hint=warnings[0].hint,
        )
        error.notices = tuple(warnings)
        raise error
