"""Writes a checkpoint into a folder, and proves it by converting it back with what `tf1` reads and converts with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from electra_convert.atomic import write_failure
from electra_convert.electra.layout import STEP, find_layout
from electra_convert.electra.mapping import Move
from electra_convert.errors import CheckpointError, LayoutError, OutputError
from electra_convert.following import Follower
from electra_convert.hf.files import json_text, write_file
from electra_convert.hf.folder import VOCABULARY
from electra_convert.progress import Meter, Progress
from electra_convert.restoration.plan import PlannedHalf, RestorationPlan
from electra_convert.restoration.stream import VariableStream, first_difference
from electra_convert.streaming import PIECE, TensorStream, numpy_dtype
from electra_convert.tf1.checkpoint import Checkpoint, open_checkpoint
from electra_convert.tf1.dtypes import dtype_of
from electra_convert.tf1.write import BundleWriter

# TensorFlow and Google's programs find the newest checkpoint of a folder by it.
STATE = "checkpoint"
HPARAMS = "hparams.json"
FINETUNING = "hparams_finetuning.json"

Array = np.ndarray[Any, np.dtype[Any]]


class CheckpointWriter:
    """Writes what a plan says into a folder; `variable_crcs` fills up with the CRC-32C of every variable."""

    def __init__(self, plan: RestorationPlan, folder: Path, *, allow_nonfinite: bool) -> None:
        self.plan, self.folder = plan, folder
        self.streams = {
            id(half): VariableStream(half.source, half.moves, plan.dtype, allow_nonfinite) for half in plan.halves
        }
        self.variable_crcs: dict[str, int] = {}

    def write(self, progress: Progress) -> None:
        """Write variables, `checkpoint`, hparams and vocabulary.

        Raises:
            InputError: a folder's bytes are damaged, or a value is refused.
            OutputError: the folder cannot be written.
        """
        plan = self.plan
        meter = Meter(progress, plan.nbytes, "writing")
        variables, dtype = plan.variables, dtype_of(numpy_dtype(plan.dtype))
        with self._refusals(), BundleWriter(self.folder / plan.name) as bundle:
            for name in plan.names:
                if name == STEP:
                    crc = bundle.add(name, np.array(plan.step, np.int64))
                elif name in variables:
                    half, move = variables[name]
                    pieces = _metered(self.streams[id(half)].variable(move), meter)
                    crc = bundle.add_chunks(name, dtype, move.variable_shape, pieces)
                else:
                    _, move = variables[name.rpartition("/")[0]]
                    pieces = _metered(_zeros(move), meter)
                    crc = bundle.add_chunks(name, dtype, move.variable_shape, pieces)
                self.variable_crcs[name] = crc
        # As tf.train.update_checkpoint_state writes it, with a path that survives a copy.
        state = f'model_checkpoint_path: "{plan.name}"\nall_model_checkpoint_paths: "{plan.name}"\n'
        write_file(self.folder / STATE, state.encode())
        write_file(self.folder / HPARAMS, json_text(plan.hparams, sort_keys=False).encode())
        write_file(self.folder / FINETUNING, json_text(plan.finetuning, sort_keys=False).encode())
        if plan.vocabulary.vocabulary is not None:
            write_file(self.folder / VOCABULARY, plan.vocabulary.vocabulary.text().encode())

    def prove(self, progress: Progress) -> str:
        """Convert the checkpoint back and compare every tensor with the folder's, bit for bit; return what was done.

        Raises:
            OutputError: what was read back is not what was written.
            FolderError: a folder changed meanwhile.
        """
        plan = self.plan
        total = sum(prod(move.variable_shape) for half in plan.halves for move in half.moves)
        meter = Meter(progress, total * numpy_dtype(plan.dtype).itemsize, "reading back")
        try:
            with open_checkpoint(self.folder) as checkpoint:
                self._compare_names(checkpoint)
                count = sum(self._compare_half(checkpoint, half, meter) for half in plan.halves)
                if int(checkpoint.read(STEP)) != plan.step:
                    raise _difference(STEP, str(plan.step))
                self._compare_slots(checkpoint)
        except (CheckpointError, LayoutError) as error:
            raise _difference(f"{plan.name}: {error.message}", "a checkpoint that can be read") from error
        return f"{count} of {count} tensors converted back bit for bit"

    def _compare_names(self, checkpoint: Checkpoint) -> None:
        expected = {name: move.variable_shape for name, (_, move) in self.plan.variables.items()}
        found = {
            name: variable.shape
            for name, variable in checkpoint.variables.items()
            if name in expected and variable.dtype.name == self.plan.dtype
        }
        if list(checkpoint.variables) != self.plan.names or found != expected:
            raise _difference("names, types or shapes", "those that were written")

    def _compare_half(self, checkpoint: Checkpoint, half: PlannedHalf, meter: Meter) -> int:
        """Compare one half's tensors, by the moves that the checkpoint itself leads to."""
        name, written = half.source.half, {move.tensor: move for move in half.moves}
        layout = find_layout({variable.name: variable.shape for variable in checkpoint.variables.values()})
        back = half.moves if name == "encoder" else layout.half(name).moves
        with Follower() as follower:
            stream = TensorStream(checkpoint, back, self.plan.dtype, allow_nonfinite=True, follower=follower)
            for move in back:
                given = self.streams[id(half)].tensor(written[move.tensor])
                at = first_difference(_metered(stream.pieces(move.tensor), meter), given)
                if at is not None:
                    # A folder that was written meanwhile is the one to blame.
                    half.source.check_unchanged()
                    raise _difference(f"{move.variable}, value {at}", f"that of {move.tensor}")
        return len(back)

    def _compare_slots(self, checkpoint: Checkpoint) -> None:
        for name in set(self.plan.names) - {*self.plan.variables, STEP}:
            for piece in checkpoint.chunks(name):
                if piece.any():
                    raise _difference(name, "zeros")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = error.filename or self.folder / self.plan.name
            raise write_failure(path, error, self.plan.nbytes) from error


def _zeros(move: Move) -> Iterator[Array]:
    left = prod(move.variable_shape)
    block = np.zeros(min(left, PIECE // 4), np.float32)
    while left:
        yield block[:left]
        left -= min(left, block.size)


def _metered(pieces: Iterator[Array], meter: Meter) -> Iterator[Array]:
    for piece in pieces:
        yield piece
        meter.advance(piece.nbytes)


def _difference(found: str, expected: str) -> OutputError:
    return OutputError(
        "what was read back is not what was written",
        found=found,
        expected=expected,
        hint="memory or disk may be faulty; run again, elsewhere if it happens twice",
    )
