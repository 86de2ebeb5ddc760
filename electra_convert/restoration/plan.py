"""Everything about a checkpoint to be written that is decided before a byte is: set-up, names, type, step, hparams.

The tensors tell the set-up, since Google's code shares what is equal:

    one folder        a discriminator, or an encoder            the tower `electra`
                      a generator                               the tower `electra` of a masked language model,
                                                                or `generator`, with the embeddings of `electra`
    both halves       equal towers                              tied: one tower, both heads
                      equal embeddings                          separate: Google's default
                      others, as wide as the generator          untied embeddings
                      others                                    nothing that Google's code builds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Literal

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.expression import (
    TRAINING_ONLY,
    finetuning_hparams,
    pretraining_hparams,
    refuse_odd_generator,
)
from electra_convert.electra.layout import SLOT_ENDINGS, STEP
from electra_convert.electra.mapping import HalfName, Move, Scopes, plan
from electra_convert.electra.setups import ELECTRA, SETUPS
from electra_convert.errors import LayoutError, MappingError, UsageError
from electra_convert.notices import Notice, note, warning
from electra_convert.options import EXPORT_DTYPES, StrPath
from electra_convert.restoration.sources import StoredHalf
from electra_convert.restoration.step import find_step
from electra_convert.restoration.stream import VariableStream, first_difference
from electra_convert.restoration.vocabulary import RestoredVocabulary, find_vocabulary
from electra_convert.streaming import numpy_dtype
from electra_convert.wording import some

GeneratorScope = Literal["electra", "generator"]
GENERATOR_SCOPES: tuple[GeneratorScope, ...] = ("electra", "generator")

# The type of every variable in Google's graphs; TensorFlow restores no other type into them.
GOOGLE_DTYPE = "float32"

SETUP_BY_NAME = {setup.name: setup for setup in SETUPS}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorationOptions:
    """What the user asked for; the keywords of `restore`, which documents them."""

    encoder: bool = False
    generator_scope: GeneratorScope | None = None
    step: int | None = None
    slots: bool = False
    vocab: StrPath | None = None
    tokenizer: bool = True
    dtype: str | None = None
    allow_nonfinite: bool = False
    overwrite: bool = False
    dry_run: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in EXPORT_DTYPES:
            raise UsageError("dtype has no such choice", found=self.dtype, expected=", ".join(EXPORT_DTYPES))
        if self.generator_scope is not None and self.generator_scope not in GENERATOR_SCOPES:
            choices = ", ".join(GENERATOR_SCOPES)
            raise UsageError("generator_scope has no such choice", found=self.generator_scope, expected=choices)
        if self.step is not None and not 0 <= self.step < 2**63:
            raise UsageError("the step is no count", found=str(self.step), expected="a whole number from 0")
        if self.slots and self.dtype not in {None, GOOGLE_DTYPE}:
            raise UsageError(f"--slots and --dtype {self.dtype} contradict each other")
        if not self.tokenizer and self.vocab is not None:
            raise UsageError("--no-tokenizer and --vocab contradict each other")


@dataclass(frozen=True, slots=True)
class PlannedHalf:
    """One half, and its moves under the names that the set-up gives them."""

    source: StoredHalf
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class RestorationPlan:
    """What will be written, and what a person should know about it.

    `variables` has each by name, in order, with the half whose tensor it is made from; `hparams` are those of
    run_pretraining.py, `finetuning` those of run_finetuning.py.
    """

    setup: str
    setup_told: str
    halves: tuple[PlannedHalf, ...]
    dtype: str
    step: int
    step_source: str
    slots: bool
    vocabulary: RestoredVocabulary
    hparams: Mapping[str, Any]
    finetuning: Mapping[str, Any]
    notices: tuple[Notice, ...]

    @property
    def name(self) -> str:
        """The base name of the prefix, as Google's code names its checkpoints."""
        return f"model.ckpt-{self.step}"

    @property
    def variables(self) -> dict[str, tuple[PlannedHalf, Move]]:
        """Every variable of the network; one that both halves have is the first half's."""
        found = {move.variable: (half, move) for half in reversed(self.halves) for move in half.moves}
        return dict(sorted(found.items()))

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""
        return sum(prod(move.variable_shape) for _, move in self.variables.values())

    @property
    def nbytes(self) -> int:
        """How many bytes the values of all variables have, slots and step included."""
        weights = self.parameters * numpy_dtype(self.dtype).itemsize
        return weights * (1 + len(SLOT_ENDINGS) * self.slots) + 8

    @property
    def names(self) -> list[str]:
        """The names of all variables in the order in which they are written, TensorFlow's own."""
        slots = [f"{name}{ending}" for name in self.variables for ending in SLOT_ENDINGS] if self.slots else []
        return sorted([*self.variables, *slots, STEP])


def plan_restoration(halves: Sequence[StoredHalf], options: RestorationOptions) -> RestorationPlan:
    """Decide what is written for these halves.

    Raises:
        LayoutError: two halves share nothing that Google's code shares.
        SettingError: the generator is none that Google's code builds beside this discriminator.
        MappingError: the tensors are of several types.
        VocabularyError: the vocabulary is broken, or does not belong.
        UsageError: given values contradict each other.
    """
    by_name = {half.half: half for half in halves}
    if options.generator_scope is not None and list(by_name) != ["generator"]:
        raise UsageError("--generator-scope is for a generator alone", found=" and ".join(by_name))
    dtype = _dtype(halves, options.dtype)
    if options.slots and dtype != GOOGLE_DTYPE:
        raise UsageError(
            "slots are for Google's code, which has float32 variables", found=dtype, hint="add --dtype float32"
        )
    setup, told, scopes = _setup(by_name, dtype, options.generator_scope or "electra")
    planned = tuple(PlannedHalf(half, plan(half.half, scopes[half.half], half.config)) for half in halves)
    step, step_source, notices = find_step(halves, options.step)
    vocabulary = find_vocabulary(halves, options.vocab) if options.tokenizer else RestoredVocabulary(None, None, ())
    generator = by_name["generator"].config if setup in {"separate", "untied embeddings"} else None
    return RestorationPlan(
        setup=setup,
        setup_told=told,
        halves=planned,
        dtype=dtype,
        step=step,
        step_source=step_source,
        slots=options.slots,
        vocabulary=vocabulary,
        hparams=pretraining_hparams(setup, halves[0].config, generator, vocabulary.do_lower_case),
        finetuning=finetuning_hparams(halves[0].config, vocabulary.do_lower_case),
        notices=(*_notices(halves, dtype), *notices, *vocabulary.notices),
    )


def _dtype(halves: Sequence[StoredHalf], wanted: str | None) -> str:
    stored: dict[str, list[str]] = {}
    for half in halves:
        for dtype, names in half.dtypes.items():
            stored.setdefault(dtype, []).extend(f"{half.half}: {name}" for name in names)
    if wanted is None and len(stored) > 1:
        raise MappingError(
            "the tensors have several types",
            found=[f"{len(names)} of {dtype}" for dtype, names in stored.items()],
            tensor=some(min(stored.values(), key=len)),
            expected="one type",
            hint="say which to write with --dtype",
        )
    return wanted or next(iter(stored))


def _setup(
    halves: Mapping[HalfName, StoredHalf], dtype: str, generator_scope: GeneratorScope
) -> tuple[str, str, Mapping[HalfName, Scopes]]:
    """Return the name of the set-up, the same in words, and the scopes of each half."""
    if len(halves) == 2:
        discriminator, generator = halves["discriminator"], halves["generator"]
        name = _joined(discriminator, generator, dtype)
        if name != "tied":
            refuse_odd_generator(discriminator.config, generator.config, generator.shown)
        return name, SETUP_BY_NAME[name].told, {"discriminator": ELECTRA, "generator": _generator_scopes(name)}
    if "generator" not in halves:
        told = "the tower `electra` alone" if "encoder" in halves else SETUP_BY_NAME["uniform"].told
        return "uniform", told, dict.fromkeys(halves, ELECTRA)
    if generator_scope == "electra":
        return "masked LM", SETUP_BY_NAME["masked LM"].told, {"generator": ELECTRA}
    config = halves["generator"].config
    refuse_odd_generator(config, config, halves["generator"].shown)
    return (
        "separate",
        "the generator of a training, without its discriminator",
        {"generator": _generator_scopes("separate")},
    )


def _generator_scopes(setup: str) -> Scopes:
    scopes = SETUP_BY_NAME[setup].generator
    assert isinstance(scopes, Scopes)
    return scopes


def _joined(discriminator: StoredHalf, generator: StoredHalf, dtype: str) -> str:
    """Return the set-up that two halves are of.

    Raises LayoutError if they share less than Google's code does, and have not all embeddings of their own either.
    """
    embeddings = _differing(discriminator, generator, dtype, {"embeddings"})
    if not embeddings:
        tied = _same_network(discriminator.config, generator.config) and not _differing(
            discriminator, generator, dtype, {"embeddings", "project", "layer"}
        )
        return "tied" if tied else "separate"
    own = generator.config
    if own.embedding_size == own.hidden_size:
        return "untied embeddings"
    raise LayoutError(
        "Google's code trains no generator with these embeddings beside a discriminator",
        found=[f"embedding size {own.embedding_size}, hidden size {own.hidden_size}", *some(embeddings)],
        expected="the discriminator's embeddings, bit for bit, or embeddings as wide as the generator's hidden size",
        hint="convert each half alone, or pass two halves of one training",
    )


def _differing(one: StoredHalf, other: StoredHalf, dtype: str, parts: set[str]) -> list[str]:
    """Return the tensors of some parts of the tower that two halves do not share, once they are in this type."""
    moves = [plan(half.half, ELECTRA, half.config) for half in (one, other)]
    wanted = [{move.tensor: move for move in its if move.row.part in parts} for its in moves]
    streams = [VariableStream(half, (), dtype, allow_nonfinite=True) for half in (one, other)]
    differing = []
    for name, move in wanted[0].items():
        twin = wanted[1].get(name)
        same = twin is not None and twin.tensor_shape == move.tensor_shape
        if not same or first_difference(streams[0].tensor(move), streams[1].tensor(move)) is not None:
            differing.append(name)
    return differing


def _same_network(one: ElectraConfig, other: ElectraConfig) -> bool:
    names = [field.name for field in fields(ElectraConfig) if field.name not in TRAINING_ONLY]
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _notices(halves: Sequence[StoredHalf], dtype: str) -> list[Notice]:
    notices = []
    if dtype != GOOGLE_DTYPE:
        notices.append(
            warning(
                "google-dtype",
                "Google's code has float32 variables, and TensorFlow restores no other type into them",
                "--dtype float32 writes what Google's code can load",
                found=dtype,
            )
        )
    for half in halves:
        if half.left_out:
            found = [f"{len(half.left_out)} tensors", *some(half.left_out)]
            notices.append(note("head-left-out", "a head was left out as asked", found=found))
        if half.tensors.copies:
            message = "tensors that only repeat others were left out"
            notices.append(note("copies", message, found=some(half.tensors.copies)))
    if len(halves) == 2:
        one, other = (half.config for half in halves)
        odd = [key for key in TRAINING_ONLY if getattr(one, key) != getattr(other, key)]
        if odd:
            found = [f"{key} {getattr(one, key)}, generator {getattr(other, key)}" for key in odd]
            notices.append(
                note(
                    "training-settings",
                    "the halves differ in what no output depends on; the first is taken",
                    found=found,
                )
            )
    return notices
