"""Writes one half into a folder: tensors streamed and compared, then config, tokenizer, proof, card and record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from electra_convert.electra.config import Origin
from electra_convert.electra.mapping import HalfName
from electra_convert.electra.task_kinds import architecture_of
from electra_convert.following import Follower
from electra_convert.hf import folder as names
from electra_convert.hf.card import write_card, write_record
from electra_convert.hf.config import config_document, write_config
from electra_convert.hf.header import TensorSpec
from electra_convert.hf.tokenizer import write_tokenizer
from electra_convert.hf.weights import read_again, synced, weights_nbytes, write_weights
from electra_convert.notices import Notice
from electra_convert.options import Options
from electra_convert.parity import HalfParity, has_torch, parity_error, prove
from electra_convert.planning import ConversionPlan, HalfPlan
from electra_convert.progress import Progress
from electra_convert.record import card_facts, record_document
from electra_convert.streaming import TensorStream
from electra_convert.tasks import TaskPlan
from electra_convert.verification import Verification, not_proven_warning, verification_of

if TYPE_CHECKING:
    from electra_convert.tf1.checkpoint import Checkpoint

# config.json, card, record and the small tokenizer files of one half.
OTHER_FILES = 1 << 20

# tokenizer.json takes a vocabulary's bytes several times over: quotes, ids, indentation, escapes.
VOCABULARY_TIMES = 10


class HalfExport(NamedTuple):
    """One half as it was exported: where to, how much, with which config and from which sources.

    `parity` has the exact figures of the proof that `verification` rounds; None where there was none.
    """

    half: HalfName
    folder: str
    tensors: int
    parameters: int
    dtype: str
    nbytes: int
    files: tuple[tuple[str, int | None], ...]
    config: Mapping[str, Any]
    sources: Mapping[str, Origin]
    checked: str
    verification: Verification
    parity: Mapping[str, float | None] | None = None
    task: TaskPlan | None = None

    @property
    def architecture(self) -> str:
        """The class of transformers that loads it."""
        return architecture_of(self.half, self.task.task if self.task else None)

    @property
    def told(self) -> str:
        """What people call it."""
        return f"task {self.task.task.name}" if self.task else self.half

    def to_json(self) -> dict[str, Any]:
        """Return the half as plain data."""
        return {
            "half": self.half,
            "folder": self.folder,
            "architecture": self.architecture,
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
            "parity": None if self.parity is None else dict(self.parity),
            **({"task": self.task.to_json()} if self.task else {}),
        }


def write_half(
    source: Checkpoint,
    plan: ConversionPlan,
    half: HalfPlan,
    options: Options,
    folder: Path,
    shown: str,
    progress: Progress,
) -> tuple[HalfExport, tuple[Notice, ...]]:
    """Write a half into an existing folder; return what was written and the notices that only writing could give.

    Args:
        source: the open checkpoint.
        plan: of the whole conversion.
        half: the half to write.
        options: what the user asked for.
        folder: where to write.
        shown: what the folder will be called once it is published.
        progress: called with (bytes done, bytes in total, what).

    Raises:
        InputError: the checkpoint's bytes are damaged, or a value is refused.
        OutputError: the folder cannot be written, or does not hold what was written.
        ParityError: the folder does not compute what the checkpoint computes.
    """
    with Follower() as follower:
        stream = TensorStream(source, half.moves, half.dtype, options.allow_nonfinite, follower)
        written = write_weights(
            folder / names.WEIGHTS, _specs(half), lambda spec: stream.pieces(spec.name), follower, progress
        )
    stream.free()
    with synced(folder / names.WEIGHTS):
        _write_config_and_tokenizer(folder, plan, half)
        read_again(folder / names.WEIGHTS, _specs(half), written, progress)
    # A network with NaN in its weights computes NaN: that warning says what would be found out here.
    provable = bool(options.verify) or not stream.nonfinite
    parity = _prove(source, plan, half, options, folder, shown, progress) if provable else None
    verification = verification_of(parity)
    unproven = provable and parity is None and options.verify is not False
    found = (*stream.notices(), *([not_proven_warning()] if unproven else []))
    notices = (*plan.notices, *found)
    write_card(folder / names.CARD, card_facts(plan, half, source, notices, verification))
    weights = names.FileSum(names.WEIGHTS, written.nbytes, written.crc32c)
    record = record_document(
        plan,
        half,
        source,
        tensor_crcs=written.tensors,
        variable_crcs=stream.variable_crcs,
        files=names.folder_sums(folder, known={names.WEIGHTS: weights}),
        notices=notices,
        verification=verification,
    )
    write_record(folder / names.RECORD, record)
    files = tuple(sorted((path.name, path.stat().st_size) for path in folder.iterdir()))
    checked = f"{len(half.moves)} of {len(half.moves)} tensors read back bit for bit"
    export = _export(half, shown, written.nbytes, files, checked, verification)
    return export._replace(parity=None if parity is None else parity.figures()), found


def planned_half(half: HalfPlan, shown: str, tokenizer: bool) -> HalfExport:
    """Return what `write_half` would write; of the files but the weights the sizes are not known before."""
    nbytes = weights_nbytes(_specs(half))
    files = [(name, nbytes if name == names.WEIGHTS else None) for name in names.files_of(tokenizer)]
    return _export(half, shown, nbytes, tuple(files), "", Verification("none", "dry run"))


def needed_bytes(plan: ConversionPlan) -> int:
    """Return the space that a conversion needs, rather too much than too little."""
    vocabulary = plan.tokenizing.vocabulary.nbytes if plan.tokenizing else 0
    return sum(weights_nbytes(_specs(half)) + VOCABULARY_TIMES * vocabulary + OTHER_FILES for half in plan.halves)


def _specs(half: HalfPlan) -> list[TensorSpec]:
    return [TensorSpec(move.tensor, half.dtype, move.tensor_shape) for move in half.moves]


def _write_config_and_tokenizer(folder: Path, plan: ConversionPlan, half: HalfPlan) -> None:
    # Google pads with 0 whatever the vocabulary says; Hugging Face wants the id of [PAD].
    pad = plan.tokenizing.vocabulary.special_ids["[PAD]"] if plan.tokenizing else 0
    fields = half.settled.config.to_json()
    task = half.task.config if half.task else {}
    document = config_document(fields, architecture=half.architecture, pad_token_id=pad, dtype=half.dtype, task=task)
    write_config(folder / names.CONFIG, document)
    if plan.tokenizing:
        write_tokenizer(folder, plan.tokenizing.vocabulary, plan.tokenizing.casing, plan.tokenizing.max_length)


def _prove(
    source: Checkpoint,
    plan: ConversionPlan,
    half: HalfPlan,
    options: Options,
    folder: Path,
    shown: str,
    progress: Progress,
) -> HalfParity | None:
    """Return the proof of what was written; None where it was not to be, or without torch."""
    if options.verify is False or not has_torch():
        return None
    examination = plan.examination
    parity = prove(source, examination, half.half, folder, shown=shown, bytes_compared=True, progress=progress)
    if not parity.passed:
        raise parity_error((parity,))
    return parity


def _export(
    half: HalfPlan,
    shown: str,
    nbytes: int,
    files: tuple[tuple[str, int | None], ...],
    checked: str,
    verification: Verification,
) -> HalfExport:
    return HalfExport(
        half=half.half,
        folder=shown,
        tensors=len(half.moves),
        parameters=half.parameters,
        dtype=half.dtype,
        nbytes=nbytes,
        files=files,
        config=half.settled.config.to_json(),
        sources=half.settled.origins,
        checked=checked,
        verification=verification,
        task=half.task,
    )
