"""`verify`: does a Hugging Face folder compute what its checkpoint computes?

    structure ──▶ bytes ──▶ float64 against the original graph and reference.py ──▶ float32 within its own noise

The folder is read from the disk as anybody would read it; the references take their weights from the checkpoint by
their TensorFlow names, and share no code with the conversion. `rungs.py` has the limits and where they come from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_convert.electra.mapping import HalfName
from electra_convert.errors import MissingExtra, ParityError
from electra_convert.examination import CheckpointSummary, Examination, examine, summarise
from electra_convert.notices import Notice, Noticed
from electra_convert.opening import opened
from electra_convert.options import Reader, Reference, StrPath
from electra_convert.placing import at_hand, below
from electra_convert.progress import VERIFYING, Progress, no_progress
from electra_convert.recognition import find_halves, find_task
from electra_convert.remote.urls import shown_path

if TYPE_CHECKING:
    from electra_convert.rungs import Check
    from electra_convert.tf1.checkpoint import Checkpoint

# What torch's allocator and the system's loader of shared objects say.
OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "failed to map segment from shared object")


@dataclass(frozen=True, slots=True)
class HalfParity:
    """The verdict on one folder: every check, what stood as reference, what could not be proven, and why it failed.

    `rounding` is how far rounding the weights to the folder's type moved an output at most, as a share of its scale;
    None where nothing was rounded, or no reference was run.
    """

    half: HalfName
    folder: str
    dtype: str
    references: tuple[str, ...]
    checks: tuple[Check, ...]
    unproven: tuple[str, ...]
    explanations: tuple[str, ...]
    rounding: float | None = None
    task: str = ""

    @property
    def told(self) -> str:
        """What people call it."""
        return f"task {self.task}" if self.task else self.half

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold, in the order of the rungs."""
        return tuple(check for check in self.checks if not check.passed)

    def worst_share(self, rung: str) -> float | None:
        """Return the largest difference of a rung as a share of its tensor's scale; None where it has no figures."""
        return self._worst(rung)[0]

    def figures(self) -> dict[str, float | None]:
        """Return the largest difference of each rung as a share of its scale, and what rounding moved an output by.

        `float64_limit` and `float32_limit` are the limits of just these differences, likewise as shares.
        """
        found: dict[str, float | None] = {}
        for rung in ("float64", "float32"):
            found[rung], found[f"{rung}_limit"] = self._worst(rung)
        return {**found, "rounding": self.rounding}

    def _worst(self, rung: str) -> tuple[float | None, float | None]:
        """Return the largest difference of a rung and its limit, as shares of its tensor's scale."""
        shares = [
            (check.found / check.scale, check.limit / check.scale)
            for check in self.checks
            if check.rung == rung and isinstance(check.found, float) and isinstance(check.limit, float) and check.scale
        ]
        return max(shares, default=(None, None))

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {
            "half": self.half,
            "folder": self.folder,
            "passed": self.passed,
            "dtype": self.dtype,
            "references": list(self.references),
            "checks": [check.to_json() for check in self.checks],
            "unproven": list(self.unproven),
            "explanations": list(self.explanations),
            "rounding": self.rounding,
            **({"task": self.task} if self.task else {}),
        }


@dataclass(frozen=True, slots=True)
class Parity(Noticed):
    """The verdict on a folder, half by half."""

    checkpoint: CheckpointSummary
    halves: tuple[HalfParity, ...]
    seed: int
    notices: tuple[Notice, ...]

    @property
    def passed(self) -> bool:
        """Whether every check of every half holds."""
        return all(half.passed for half in self.halves)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check of every half."""
        return tuple(check for half in self.halves for check in half.checks)

    def summary(self) -> str:
        """Return the verdict in a line: what failed first, or that all holds."""
        if self.passed:
            return f"{len(self.checks)} of {len(self.checks)} checks hold"
        first = next(check for check in self.checks if not check.passed)
        failed = sum(not check.passed for check in self.checks)
        return f"{failed} of {len(self.checks)} checks fail, the first at {first.name} ({first.rung})"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {
            "checkpoint": self.checkpoint.to_json(),
            "passed": self.passed,
            "seed": self.seed,
            "halves": [half.to_json() for half in self.halves],
            "notes": [notice.to_json() for notice in self.notes],
        }


def verify(
    checkpoint: StrPath | Checkpoint,
    folder: StrPath,
    *,
    reference: Reference = "auto",
    seed: int = 0,
    with_transformers: bool = False,
    task: str | None = None,
    reader: Reader = "auto",
    check: bool = False,
    progress: Progress = no_progress,
) -> Parity:
    """Return whether a folder computes what a checkpoint computes; folders of other tools are taken too.

    >>> from electra_convert import convert, verify
    >>> _ = convert("fixtures/google/default_small", "out", verify=False)
    >>> verify("fixtures/google/default_small", "out").passed
    True

    Args:
        checkpoint: as in `convert`.
        folder: a Hugging Face ELECTRA folder, or one with the folders `discriminator` and `generator`.
        reference: the original graph where there is one (`auto`), or one reference by name.
        seed: of the inputs.
        with_transformers: also load the folder with the installed transformers and compare its outputs.
        task: which task of the checkpoint a fine-tuned folder is; default: as its record says, or the only one.
        reader: `tensorflow` reads the checkpoint through TensorFlow's own reader.
        check: raise for a no, instead of returning it.
        progress: called with (steps done, steps in total, what); see `progress.py`.

    Raises:
        ParityError: with `check`, if a check does not hold.
        FolderError: it is no Hugging Face ELECTRA folder.
        MissingExtra: torch (or transformers, or TensorFlow where asked for) is not installed.
        InputError: the checkpoint is refused.
    """
    require_torch()
    with opened(checkpoint, reader, progress=progress) as source, at_hand(folder, progress) as place:
        shown = source.shown if not isinstance(checkpoint, (str, os.PathLike)) else shown_path(checkpoint)
        examination = examine(source)
        halves = tuple(
            prove(
                source,
                examination.with_task(find_task(examination, path, task)) if half == "task" else examination,
                half,
                path,
                shown=shown_path(below(folder, "" if path == place else path.name)),
                reference=reference,
                seed=seed,
                with_transformers=with_transformers,
                progress=progress,
            )
            for half, path in find_halves(place).items()
        )
        parity = Parity(summarise(shown, source, None), halves, seed, examination.notices)
    if check and not parity.passed:
        raise parity_error(parity.halves)
    return parity


def prove(
    source: Checkpoint,
    examination: Examination,
    half: HalfName,
    folder: Path,
    *,
    shown: str,
    reference: Reference = "auto",
    seed: int = 0,
    with_transformers: bool = False,
    bytes_compared: bool = False,
    progress: Progress = no_progress,
) -> HalfParity:
    """Return the verdict on one half's folder; with `bytes_compared` the second rung was climbed before."""
    import numpy as np

    from electra_convert.diagnosis import explain
    from electra_convert.proof import Proof

    proof = Proof(source, examination, half, folder, reference, seed, bytes_compared)
    try:
        steps = proof.steps(with_transformers)
        for number, (what, step) in enumerate(steps):
            progress(number, len(steps), f"{VERIFYING}{what}")
            # What is not finite is told by the checks.
            with np.errstate(all="ignore"), _memory_errors():
                step()
        progress(len(steps), len(steps), f"{VERIFYING}done")
        return HalfParity(
            half=half,
            folder=shown,
            dtype=proof.dtype,
            references=tuple(proof.references),
            checks=tuple(proof.checks),
            unproven=tuple(proof.unproven),
            explanations=tuple(explain(proof)) if any(not check.passed for check in proof.checks) else (),
            rounding=proof.rounding,
            task=proof.layout.task.name if proof.layout.task else "",
        )
    finally:
        proof.close()


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise MemoryError where torch, or the loading of it, says in other ways that memory ran out."""
    try:
        yield
    except (ImportError, RuntimeError) as error:
        if any(words in str(error) for words in OUT_OF_MEMORY):
            raise MemoryError(str(error)) from error
        raise


def require_torch() -> None:
    """Raise MissingExtra unless torch can be imported."""
    if not has_torch():
        raise MissingExtra(
            "verification needs torch",
            found="torch is not installed",
            hint="pip install 'electra-convert[verify]'",
        )


def has_torch() -> bool:
    """Return whether torch is installed, without importing it."""
    from importlib.util import find_spec

    return find_spec("torch") is not None


def parity_error(halves: tuple[HalfParity, ...]) -> ParityError:
    """Return the error for folders that do not compute what their checkpoint computes."""
    failed = [(half, check) for half in halves for check in half.failed]
    half, first = failed[0]
    return ParityError(
        f"the {half.told} does not compute what the checkpoint computes",
        where=f"{first.name}, {first.where}" if first.where else first.name,
        found=f"{first.found:.1e} against {first.against}" if isinstance(first.found, float) else first.found,
        expected=f"at most {first.limit:.1e} ({first.reason})" if isinstance(first.limit, float) else first.limit,
        because=list(half.explanations) or None,
        failed=f"{len(failed)} of {sum(len(half.checks) for half in halves)} checks",
    )
