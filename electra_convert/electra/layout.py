"""Which ELECTRA a checkpoint holds: its halves with their sizes, and what every variable is.

Names alone tell the set-up (`setups.py`). Shapes tell the sizes, each half on its own: a published "small" has a
full-size generator. What no shape tells (heads, activation) is settled in `settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from electra_convert.electra.foreign import refuse_foreign, unknown_hint
from electra_convert.electra.heads import ENCODER_HINT, Head, find_heads
from electra_convert.electra.mapping import (
    HalfName,
    Move,
    Row,
    Scopes,
    Shape,
    expand,
    moves,
    shape_of,
    solve_letters,
)
from electra_convert.electra.setups import ELECTRA, Setup, setup_of
from electra_convert.electra.task_kinds import Task, architecture_of
from electra_convert.errors import InputError, LayoutError, MappingError
from electra_convert.wording import some

Kind = Literal["discriminator", "generator", "shared", "task", "optimizer", "known scalar", "unknown"]

HALVES: tuple[Literal["discriminator"], Literal["generator"]] = ("discriminator", "generator")

# A step is no weight, whatever its shape. The temperature is in Google's released files; no public code creates it.
STEP = "global_step"
KNOWN_SCALARS = {STEP: "the training step", "generator_predictions/temperature": "used for sampling only"}

# google-research/electra has an optimizer of its own; a partitioner renames slots to NAME/part_K/adam_m.
SLOT_ENDINGS = ("/adam_m", "/adam_v")


class Half(NamedTuple):
    """One half as names and shapes give it: its scopes, its sizes by letter, its moves; or why it cannot be had.

    The encoder and a task are taken as halves too: the tower `electra`, without a head or with a fine-tuned one.
    """

    name: HalfName
    scopes: Scopes | None
    letters: Mapping[str, int]
    layers: int
    moves: tuple[Move, ...]
    refusal: InputError | None
    task: Task | None = None

    @property
    def told(self) -> str:
        """What people call it."""
        return f"task {self.task.name}" if self.task else self.name

    @property
    def architecture(self) -> str:
        """The class of transformers that computes it."""
        return architecture_of(self.name, self.task)

    @property
    def whole(self) -> bool:
        """Whether every variable is there, in the shape it must have."""
        return self.refusal is None


class Layout(NamedTuple):
    """What a checkpoint holds: set-up, both halves, the encoder, the heads of tasks, a kind for every variable.

    `task` is the one that was chosen with `with_task`.
    """

    setup: Setup
    halves: Mapping[HalfName, Half]
    kinds: Mapping[str, Kind]
    encoder: Half
    heads: Mapping[str, Head]
    task: Half | None = None

    @property
    def letters(self) -> Mapping[str, int]:
        """The sizes of the tower `electra` by letter."""
        return self.encoder.letters

    def with_task(self, task: Task) -> Layout:
        """Return the layout with a task chosen, so that `half("task")` is it."""
        encoder = self.encoder
        if encoder.refusal is not None:
            return self._replace(task=encoder._replace(name="task", task=task))
        letters = {**encoder.letters, "N": task.labels}
        scopes = Scopes("electra", "electra", task.scope)
        its = moves("task", scopes, letters, encoder.layers, task.rows)
        return self._replace(task=Half("task", scopes, encoder.letters, encoder.layers, its, None, task))

    def names_of(self, kind: Kind) -> list[str]:
        """Return the variables of one kind, in name order."""
        return sorted(name for name, its in self.kinds.items() if its == kind)

    def any(self, name: HalfName) -> Half:
        """Return a half, whole or not; raise ValueError for a task where none was chosen."""
        half = {**self.halves, "encoder": self.encoder, "task": self.task}[name]
        if half is None:
            raise ValueError("no task was chosen")
        return half

    def half(self, name: HalfName) -> Half:
        """Return a half that is whole.

        Raises:
            LayoutError: the set-up has no such half, or variables are missing or of a wrong shape.
        """
        half = self.any(name)
        if half.refusal is None:
            return half
        unknown = self.names_of("unknown")
        if unknown and isinstance(half.refusal, MappingError):
            unexpected = [f"{len(unknown)} variables", *some(unknown)]
            facts = {**half.refusal.facts, "unexpected": unexpected}
            raise MappingError(half.refusal.message, hint=half.refusal.hint, **facts)
        raise half.refusal

    def refuse_unknown(self) -> None:
        """Refuse variables that no rule explains: nothing of a checkpoint is dropped without a word.

        Raises:
            MappingError: names them, with the pattern that would leave them out.
        """
        unknown = self.names_of("unknown")
        if unknown:
            raise MappingError(
                f"{len(unknown)} variables are unknown to ELECTRA" if len(unknown) > 1 else "a variable is unknown",
                found=some(unknown),
                expected="the names of google-research/electra's variables (table in the README)",
                hint=unknown_hint(unknown),
            )


def find_layout(shapes: Mapping[str, Shape]) -> Layout:
    """Return the layout of the variables with these shapes, slots and scalars included.

    Raises:
        LayoutError: this is another model's checkpoint (named where it is known), or no model's.
    """
    refuse_foreign(shapes)
    bookkeeping: dict[str, Kind] = {}
    for name, shape in shapes.items():
        if name.endswith(SLOT_ENDINGS):
            bookkeeping[name] = "optimizer"
        elif name in KNOWN_SCALARS and (not shape or name == STEP):
            bookkeeping[name] = "known scalar"
    weights = {name: shape for name, shape in shapes.items() if name not in bookkeeping}
    setup = setup_of(weights)
    encoder = _measure("encoder", ELECTRA, weights, None)
    heads = find_heads(weights, encoder.letters.get("H", 0))
    had = [name for name in HALVES if not isinstance(getattr(setup, name), str)]
    hint = f"this checkpoint has a {had[0]} only: --export {had[0]}" if len(had) == 1 else None
    hint = hint or _task_hint(heads)
    halves: dict[HalfName, Half] = {name: _measure(name, getattr(setup, name), weights, hint) for name in HALVES}
    kinds = {**_kinds(setup, halves, weights), **bookkeeping}
    return Layout(setup, halves, kinds, encoder, heads)


def _task_hint(heads: Mapping[str, Head]) -> str | None:
    """Return what can be exported of a fine-tuned checkpoint; None of any other."""
    able = [name for name, head in heads.items() if head.refusal is None]
    if not able:
        return ENCODER_HINT if heads else None
    named = f" --task NAME ({', '.join(some(able))})" if len(heads) > 1 else ""
    return f"--export task{named} gives the {'task' if named else 'task ' + able[0]}, {ENCODER_HINT}"


def layer_count(body: str, names: Collection[str]) -> int:
    """Return one more than the highest layer number below `body`, but never more than there are names."""
    numbers = re.compile(re.escape(body) + r"/encoder/layer_(0|[1-9][0-9]{0,8})/")
    found = [int(match.group(1)) for match in map(numbers.match, names) if match]
    return min(max(found, default=-1) + 1, len(names))


def _measure(half: HalfName, scopes: Scopes | str, weights: Mapping[str, Shape], hint: str | None) -> Half:
    """Return a half with the sizes its variables show, or with the reason why it cannot be had, and then the hint."""
    if isinstance(scopes, str):
        return Half(half, None, {}, 0, (), LayoutError(f"no {half} can be exported: {scopes}", hint=hint))
    # Google's code cannot build a tower without layers: where there is none, the first is missing.
    layers = max(layer_count(scopes.body, weights), 1)
    projected = f"{scopes.body}/embeddings_project/kernel" in weights
    needed = list(expand(half, scopes, layers, projected))
    letters = solve_letters(needed, weights)
    if {"E", "H"} <= letters.keys():
        needed = list(expand(half, scopes, layers, letters["E"] != letters["H"]))
    missing = [(row, name) for row, _, name in needed if name not in weights]
    wrong = _wrong_shapes(needed, letters, weights)
    if missing or wrong:
        return Half(half, scopes, letters, layers, (), _incomplete(half, len(needed), missing, wrong, letters))
    return Half(half, scopes, letters, layers, moves(half, scopes, letters, layers), None)


def _wrong_shapes(
    needed: Sequence[tuple[Row, int | None, str]], letters: Mapping[str, int], weights: Mapping[str, Shape]
) -> list[tuple[str, Shape, str]]:
    wrong = []
    for row, _, name in needed:
        if name in weights and weights[name] != (expected := _expected(row, letters)):
            wrong.append((name, weights[name], f"[{', '.join(map(str, expected))}]"))
    return wrong


def _expected(row: Row, letters: Mapping[str, int]) -> tuple[int | str, ...]:
    """Return the shape a row's variable must have, with a letter where no variable shows the size."""
    if all(letter in letters or letter.isdigit() for letter in row.shape.split()):
        return shape_of(row, letters)
    return tuple(letters.get(letter, letter) for letter in row.shape.split())


def _incomplete(
    half: str,
    count: int,
    missing: Sequence[tuple[Row, str]],
    wrong: Sequence[tuple[str, Shape, str]],
    letters: Mapping[str, int],
) -> MappingError:
    facts: dict[str, Any] = {}
    if missing:
        lines = [f"{name}  [{', '.join(map(str, _expected(row, letters)))}]" for row, name in missing]
        facts["missing"] = [f"{len(missing)} of {count} variables", *some(lines)]
    if wrong:
        facts["variable"] = some([name for name, _, _ in wrong])
        facts["found"] = some([str(list(shape)) for _, shape, _ in wrong])
        facts["expected"] = some([f"{expected}, from the shapes of the other variables" for _, _, expected in wrong])
    what = f"the checkpoint has no complete {half}" if missing else f"a variable of the {half} has a wrong shape"
    if not missing and len(wrong) > 1:
        what = f"{len(wrong)} variables of the {half} have a wrong shape"
    return MappingError(what, hint="`electra-convert inspect` shows what the checkpoint holds", **facts)


def _kinds(setup: Setup, halves: Mapping[HalfName, Half], weights: Collection[str]) -> dict[str, Kind]:
    owners: dict[str, set[Kind]] = {}
    for name in HALVES:
        half = halves[name]
        if half.moves:
            for move in half.moves:
                owners.setdefault(move.variable, set()).add(name)
        elif half.scopes:
            for _, _, variable in expand(name, half.scopes, half.layers, project=True):
                owners.setdefault(variable, set()).add(name)
    for tower in setup.towers:
        for _, _, variable in expand("generator", tower, layer_count(tower.body, weights), project=True):
            owners.setdefault(variable, set()).add("generator")
    if setup.name == "fine-tuned":
        for _, _, variable in expand("", ELECTRA, layer_count("electra", weights), project=True):
            owners.setdefault(variable, set()).add("shared")
        for variable in weights:
            if variable.startswith("task_specific/"):
                owners.setdefault(variable, set()).add("task")
    kinds: dict[str, Kind] = {}
    for variable in weights:
        its = owners.get(variable, {"unknown"})
        kinds[variable] = "shared" if len(its) > 1 else next(iter(its))
    return kinds
