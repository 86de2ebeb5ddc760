"""`convert`: a checkpoint becomes Hugging Face folders, written beside OUT, read back, and published at once.

open ──▶ plan ──▶ write tensors, config, tokenizer ──▶ read back, compare ──▶ card, record ──▶ rename to OUT
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_convert.electra.config import Origin
from electra_convert.electra.layout import HALVES
from electra_convert.electra.mapping import ARCHITECTURE, HalfName
from electra_convert.errors import StrictError, UsageError
from electra_convert.examination import CheckpointSummary, summarise
from electra_convert.notices import Notice
from electra_convert.opening import opened
from electra_convert.parity import HalfParity, has_torch, parity_error, prove, require_torch
from electra_convert.planning import (
    ConversionPlan,
    Export,
    HalfPlan,
    LeftOut,
    Options,
    Reader,
    StrPath,
    plan_conversion,
)
from electra_convert.progress import Progress, no_progress
from electra_convert.verification import Verification, not_proven_warning, verification_of
from electra_convert.wording import some

if TYPE_CHECKING:
    import numpy as np

    from electra_convert.tf1.checkpoint import Checkpoint

# config.json, tokenizer, card and record, beside the weights and a copy of the vocabulary's size each way.
OTHER_FILES = 1 << 20


@dataclass(frozen=True, slots=True)
class HalfExport:
    """One half as it was exported: where to, how much, with which config and from which sources."""

    half: HalfName
    folder: str
    tensors: int
    parameters: int
    dtype: str
    nbytes: int
    files: tuple[tuple[str, int], ...]
    config: Mapping[str, Any]
    sources: Mapping[str, Origin]
    checked: str
    verification: Verification

    def to_json(self) -> dict[str, Any]:
        """Return the half as plain data."""
        return {
            "half": self.half,
            "folder": self.folder,
            "architecture": ARCHITECTURE[self.half],
            "tensors": self.tensors,
            "parameters": self.parameters,
            "dtype": self.dtype,
            "bytes": self.nbytes,
            "files": [{"name": name, "bytes": nbytes} for name, nbytes in self.files],
            "config": {
                key: {"value": value, "source": self.sources[key].source, "detail": self.sources[key].detail}
                for key, value in self.config.items()
            },
            "checked": self.checked,
            "verification": self.verification.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did: the halves it wrote, what it left out, what a person should know."""

    checkpoint: CheckpointSummary
    setup: str
    out: str
    dry_run: bool
    halves: tuple[HalfExport, ...]
    left_out: tuple[LeftOut, ...]
    refused: tuple[tuple[HalfName, str], ...]
    notices: tuple[Notice, ...]

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """The notices that a person may act on."""
        return tuple(notice for notice in self.notices if notice.kind == "warning")

    @property
    def notes(self) -> tuple[Notice, ...]:
        """The notices for the record."""
        return tuple(notice for notice in self.notices if notice.kind == "note")

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
        export: which half; `both` refuses unless both can be had, `available` writes those that can.
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
    from electra_convert.atomic import check_target, refuse_overlap

    if verify:
        require_torch()
    with opened(checkpoint, reader) as source:
        shown = os.fspath(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else source.shown
        refuse_overlap(out, [shown, *source.paths()])
        check_target(out, overwrite=overwrite, needed_bytes=0)
        plan = plan_conversion(source, options)
        _refuse_warnings(options, plan.notices)
        if dry_run:
            exports = [_planned(half, _folder(out, half, options)) for half in plan.halves]
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
        export: which half.
        dtype: float32, float16 or bfloat16; default: as stored (float64 becomes float32).
        settings: further keywords of `convert` that say how to read, such as `ignore` or `num_attention_heads`.

    Raises:
        ElectraConvertError: as `convert`.
    """
    import numpy as np

    if export not in HALVES:
        raise UsageError("state_dict gives one half", found=str(export), expected=" or ".join(HALVES))
    options = Options(export=export, dtype=dtype, **{"tokenizer": False, **settings})
    with opened(checkpoint, options.reader) as source:
        (half,) = plan_conversion(source, options).halves
        stream = _stream(source, half, options)
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
    from electra_convert.atomic import staged_folder

    exports, notices = [], plan.notices
    with staged_folder(out, overwrite=options.overwrite, needed_bytes=_needed_bytes(plan)) as staging:
        for half in plan.halves:
            folder = _folder(staging, half, options)
            folder.mkdir(exist_ok=True)
            export, found = _write_half(source, folder, _folder(out, half, options), options, plan, half, progress)
            exports.append(export)
            notices = (*notices, *found)
        source.check_unchanged()
        _refuse_warnings(options, notices)
    return exports, notices


def _write_half(
    source: Checkpoint,
    folder: Path,
    final: Path,
    options: Options,
    plan: ConversionPlan,
    half: HalfPlan,
    progress: Progress,
) -> tuple[HalfExport, tuple[Notice, ...]]:
    from electra_convert.hf import folder as names
    from electra_convert.hf.card import write_card, write_record
    from electra_convert.hf.config import config_document, write_config
    from electra_convert.hf.tokenizer import write_tokenizer
    from electra_convert.hf.weights import read_back, write_weights
    from electra_convert.record import card_facts, record_document

    specs = _specs(half)
    stream = _stream(source, half, options)
    written = write_weights(folder / names.WEIGHTS, specs, lambda spec: stream.pieces(spec.name), progress)
    read_back(folder / names.WEIGHTS, specs, lambda spec: stream.pieces(spec.name), progress)
    fields = half.settled.config.to_json()
    pad = plan.tokenizing.vocabulary.special_ids["[PAD]"] if plan.tokenizing else 0
    document = config_document(fields, architecture=ARCHITECTURE[half.half], pad_token_id=pad, dtype=half.dtype)
    write_config(folder / names.CONFIG, document)
    if plan.tokenizing:
        write_tokenizer(folder, plan.tokenizing.vocabulary, plan.tokenizing.casing, plan.tokenizing.max_length)
    # A network with NaN in its weights computes NaN: that warning says what would be found out here.
    provable = bool(options.verify) or not stream.nonfinite
    parity = _prove(source, folder, final, options, plan, half, progress) if provable else None
    verification = verification_of(parity)
    unproven = provable and parity is None and options.verify is not False
    found = (*stream.notices(), *([not_proven_warning()] if unproven else []))
    write_card(folder / names.CARD, card_facts(plan, half, source, (*plan.notices, *found), verification))
    sums = names.folder_sums(
        folder, known={names.WEIGHTS: names.FileSum(names.WEIGHTS, written.nbytes, written.crc32c)}
    )
    record = record_document(
        plan,
        half,
        source,
        tensor_crcs=written.tensors,
        variable_crcs=stream.variable_crcs,
        files=sums,
        notices=(*plan.notices, *found),
        verification=verification,
    )
    write_record(folder / names.RECORD, record)
    files = tuple(sorted((path.name, path.stat().st_size) for path in folder.iterdir()))
    checked = f"{len(specs)} of {len(specs)} tensors read back bit for bit"
    return _export(half, final, written.nbytes, files, checked, verification), found


def _prove(
    source: Checkpoint,
    folder: Path,
    final: Path,
    options: Options,
    plan: ConversionPlan,
    half: HalfPlan,
    progress: Progress,
) -> HalfParity | None:
    """Return the proof of what was written; None where it was not to be, or without torch.

    Raises:
        ParityError: it does not hold.
    """
    if options.verify is False or not has_torch():
        return None
    parity = prove(
        source,
        plan.examination,
        half.half,
        folder,
        shown=os.fspath(final),
        bytes_compared=True,
        progress=progress,
    )
    if not parity.passed:
        raise parity_error((parity,))
    return parity


def _specs(half: HalfPlan) -> list[Any]:
    from electra_convert.hf.header import TensorSpec

    return [TensorSpec(move.tensor, half.dtype, move.tensor_shape) for move in half.moves]


def _stream(source: Checkpoint, half: HalfPlan, options: Options) -> Any:
    from electra_convert.streaming import TensorStream

    return TensorStream(source, half.moves, half.dtype, options.allow_nonfinite)


def _needed_bytes(plan: ConversionPlan) -> int:
    from electra_convert.hf.weights import weights_nbytes

    vocabulary = plan.tokenizing.vocabulary.nbytes if plan.tokenizing else 0
    # tokenizer.json takes a vocabulary's bytes several times over: quotes, ids, indentation, escapes.
    return sum(weights_nbytes(_specs(half)) + 10 * vocabulary + OTHER_FILES for half in plan.halves)


def _folder(out: StrPath, half: HalfPlan, options: Options) -> Path:
    return Path(out) / half.half if options.export in {"both", "available"} else Path(out)


def _planned(half: HalfPlan, folder: Path) -> HalfExport:
    from electra_convert.hf import folder as names
    from electra_convert.hf.weights import weights_nbytes

    nbytes = weights_nbytes(_specs(half))
    return _export(half, folder, nbytes, ((names.WEIGHTS, nbytes),), "", Verification("none", "dry run"))


def _export(
    half: HalfPlan,
    folder: Path,
    nbytes: int,
    files: tuple[tuple[str, int], ...],
    checked: str,
    verification: Verification,
) -> HalfExport:
    return HalfExport(
        half=half.half,
        folder=os.fspath(folder),
        tensors=len(half.moves),
        parameters=half.parameters,
        dtype=half.dtype,
        nbytes=nbytes,
        files=files,
        config=half.settled.config.to_json(),
        sources=half.settled.origins,
        checked=checked,
        verification=verification,
    )


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
        setup=plan.examination.layout.setup.told,
        out=os.fspath(out),
        dry_run=options.dry_run,
        halves=tuple(exports),
        left_out=plan.left_out,
        refused=plan.refused,
        notices=notices,
    )


def _refuse_warnings(options: Options, notices: Sequence[Notice]) -> None:
    warnings = [notice for notice in notices if notice.kind == "warning"]
    if options.strict and warnings:
        error = StrictError(
            f"{len(warnings)} warnings, and warnings count as failures"
            if len(warnings) > 1
            else "a warning, and warnings count as failures",
            found=some([f"{notice.code}: {notice.message}" for notice in warnings], 20),
            hint=warnings[0].hint,
        )
        error.notices = tuple(warnings)
        raise error
