"""Everything about a conversion that is decided before a byte is written.

Which halves, with which config, type, vocabulary and casing; what is left out and why; what a person should know.
`--dry-run` ends here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from electra_convert.electra.heads import find_heads, ignorable
from electra_convert.electra.hparams import Hparams
from electra_convert.electra.layout import HALVES, KNOWN_SCALARS, SLOT_ENDINGS, STEP, Half, Kind, Layout, layer_count
from electra_convert.electra.mapping import HalfName, Move, expand, variables_of
from electra_convert.electra.settings import Given, Settled, config_misfits
from electra_convert.electra.task_kinds import architecture_of
from electra_convert.errors import LayoutError, MappingError, SettingError
from electra_convert.examination import Examination, examine, trained_length_of_slots
from electra_convert.notices import Notice, note, warning
from electra_convert.options import Options, options_for_the_record, read_given
from electra_convert.tasks import TaskPlan, plan_task
from electra_convert.tokenizing import Tokenizing, plan_tokenizer
from electra_convert.wording import some

if TYPE_CHECKING:
    from electra_convert.tf1.checkpoint import Checkpoint

FLOATS = {"float16", "bfloat16", "float32", "float64"}

ENERGY = {
    True: "the model was trained by Electric: its logit is an energy, and the sigmoid of it is no probability",
    None: "the model may have been trained by Electric, whose logit is an energy and no probability; names cannot tell",
}

# What the two-tower set-ups are called once it is known who trained them.
TRAINED_BY = {
    True: " (Electric)",
    False: " (with ELECTRA's objective)",
    None: " (Electric, or with ELECTRA's objective)",
}


class HalfPlan(NamedTuple):
    """One half: its tensors, its config, the type it is exported in; the task, where it is one."""

    half: HalfName
    moves: tuple[Move, ...]
    settled: Settled
    dtype: str
    task: TaskPlan | None = None

    @property
    def architecture(self) -> str:
        """The class of transformers that computes it."""
        return architecture_of(self.half, self.task.task if self.task else None)

    @property
    def parameters(self) -> int:
        """How many numbers the half has."""
        return sum(prod(move.tensor_shape) for move in self.moves)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Variables that are not exported, and why."""

    what: str
    variables: tuple[str, ...]
    reason: str

    @property
    def count(self) -> int:
        """How many variables."""
        return len(self.variables)

    def to_json(self) -> dict[str, Any]:
        """Return the group as plain data."""
        return {"what": self.what, "count": self.count, "reason": self.reason}


class ConversionPlan(NamedTuple):
    """What will be written, and what a person should know about it."""

    examination: Examination
    halves: tuple[HalfPlan, ...]
    refused: tuple[tuple[HalfName, str], ...]
    left_out: tuple[LeftOut, ...]
    tokenizing: Tokenizing | None
    trained_lengths: Mapping[str, int]
    scalars: Mapping[str, float]
    hparams: Hparams | None
    asked: Mapping[str, Any]
    notices: tuple[Notice, ...]

    @property
    def trained_length(self) -> int | None:
        """The longest sequence of the training that any source knows of (a first phase may have been shorter)."""
        return max(self.trained_lengths.values(), default=None)


def plan_conversion(checkpoint: Checkpoint, options: Options) -> ConversionPlan:
    """Decide what a conversion writes.

    Raises:
        InputError: the checkpoint, the hparams, the config or the vocabulary is refused.
        UsageError: given values contradict each other.
    """
    examination = examine(checkpoint, options.ignore)
    given = read_given(options)
    if options.export == "task":
        examination = examination.with_task(examination.task(options.task, options.task_kind))
    layout = examination.layout
    if given.hparams:
        _refuse_other_training(examination, given.hparams)
    notices = [*examination.notices, *_hparams_notices(given.hparams)]
    halves, refused = _plan_halves(checkpoint, examination, options, given)
    layout.refuse_unknown()
    for plan in halves:
        notices += plan.settled.notices
    if layout.task and layout.task.task:
        task, found = plan_task(layout.task.task, given)
        halves = (halves[0]._replace(task=task),)
        notices += [*task.task.notices, *found]
    tokenizing, found = plan_tokenizer(checkpoint, examination, options, given.hparams, halves[0].settled.config)
    lengths = _trained_lengths(checkpoint, examination, given.hparams)
    scalars = {
        name: float(checkpoint.read(name))
        for name in layout.names_of("known scalar")
        if name != STEP and checkpoint.variables[name].dtype.name in FLOATS
    }
    notices += [*found, *_dtype_notes(checkpoint, halves), *_scalar_notes(scalars)]
    notices += _length_notes(lengths, halves) + _energy_warnings(examination, given.hparams, halves)
    left_out = _left_out(layout, halves, examination.ignored)
    asked = options_for_the_record(options, given)
    return ConversionPlan(
        examination, halves, refused, left_out, tokenizing, lengths, scalars, given.hparams, asked, tuple(notices)
    )


def _plan_halves(
    checkpoint: Checkpoint, examination: Examination, options: Options, given: Given
) -> tuple[tuple[HalfPlan, ...], tuple[tuple[HalfName, str], ...]]:
    wanted: list[HalfName] = [half for half in HALVES if options.export in {half, "both", "available"}]
    if options.export == "task" or options.export == "encoder":
        wanted = [options.export]
    halves: list[HalfPlan] = []
    refused: list[tuple[HalfName, str]] = []
    fits = _halves_of_config(examination.layout, wanted, given)
    for name in wanted:
        try:
            half = examination.layout.half(name)
            _refuse_ignored_weights(checkpoint, examination, half)
            body = half.scopes.body if half.scopes else ""
            own = replace(given, flags=options.flags_for(name, body), config=given.config if name in fits else None)
            settled = examination.settle(name, own)
            dtype = export_dtype(checkpoint, half.told, half.moves, options.dtype)
            halves.append(HalfPlan(name, half.moves, settled, dtype))
        except LayoutError as error:
            if options.export != "available":
                raise
            refused.append((name, error.message))
    if not halves:
        hint = examination.layout.halves["discriminator"].refusal
        raise LayoutError(
            "no half can be exported",
            found=[f"{name}: {reason}" for name, reason in refused],
            hint=hint.hint if hint else None,
        )
    return tuple(halves), tuple(refused)


def _refuse_ignored_weights(checkpoint: Checkpoint, examination: Examination, half: Half) -> None:
    """Refuse `--ignore` where it cuts into a half: a layer less would be another model, and look like a right one."""
    if half.scopes is None or not examination.ignored:
        return
    ignored = set(examination.ignored)
    layers = layer_count(half.scopes.body, {*ignored, *examination.layout.kinds})
    needed = {name for _, _, name in expand(half.name, half.scopes, layers, project=True)}
    cut = sorted(needed & ignored)
    if half.task is not None:
        names = {name for name in ignored if name.startswith(f"{half.task.scope}/") and not name.endswith(SLOT_ENDINGS)}
        shapes = {name: checkpoint.variables[name].shape for name in {*names, *examination.layout.names_of("task")}}
        if names and not ignorable(names, find_heads(shapes, half.letters["H"])[half.task.name]):
            cut += sorted(names)
    if cut:
        raise SettingError(
            f"--ignore leaves out variables of the {half.told}",
            found=[f"{len(cut)} variables", *some(cut)],
            expected="patterns that match variables unknown to ELECTRA, or of the other half",
            hint="narrow the pattern",
        )


def _halves_of_config(layout: Layout, wanted: Sequence[HalfName], given: Given) -> set[HalfName]:
    """Return the halves a given config is for: with two halves, those whose sizes it has."""
    if given.config is None or len(wanted) == 1:
        return set(wanted)
    whole = [layout.halves[name] for name in wanted if layout.halves[name].whole]
    misfits = {half.name: config_misfits(half, given.config) for half in whole}
    fits = {name for name, found in misfits.items() if not found}
    if whole and not fits:
        raise SettingError(
            "the config has the sizes of neither half",
            where=given.config_where,
            found=[f"{key} {value}" for key, value, _ in next(iter(misfits.values()))],
            expected=[", ".join(f"{key} {size}" for key, _, size in found) for found in misfits.values()],
            hint="pass a config of one of the halves, or none: sizes are read from the checkpoint",
        )
    return fits


def _refuse_other_training(examination: Examination, hparams: Hparams) -> None:
    """Refuse hparams that contradict what the graph or the position table tells of the training."""
    graph = examination.graph.electric if examination.graph else None
    if examination.layout.setup.towers and graph is not None and hparams.electric not in {None, graph}:
        objectives = {True: "Electric's objective", False: "ELECTRA's objective"}
        raise SettingError(
            "the hparams contradict the graph that trained the checkpoint",
            where=hparams.where,
            found=objectives[not graph],
            expected=f"{objectives[graph]}, from the graph",
            hint="pass the hparams of this training, or none: the graph knows",
        )
    measured = (examination.layout.letters, *(half.letters for half in examination.layout.halves.values()))
    positions = min((letters["P"] for letters in measured if "P" in letters), default=None)
    if hparams.trained_length and positions and hparams.trained_length > positions:
        raise SettingError(
            "the hparams give longer texts than the position table has rows",
            where=f"{hparams.where}, `max_seq_length`",
            found=str(hparams.trained_length),
            expected=f"at most {positions}",
            hint="pass the hparams of this training, or none",
        )


def export_dtype(checkpoint: Checkpoint, half: str, moves: Sequence[Move], wanted: str | None) -> str:
    """Return the type a half is exported in.

    Raises:
        MappingError: a variable is no float, or the variables are of several types and none was asked for.
    """
    stored: dict[str, list[str]] = {}
    for name in variables_of(moves):
        stored.setdefault(checkpoint.variables[name].dtype.name, []).append(name)
    strange = [(name, dtype) for dtype, names in stored.items() if dtype not in FLOATS for name in names]
    if strange:
        raise MappingError(
            f"a variable of the {half} is not a float",
            variable=some([name for name, _ in strange]),
            found=some([dtype for _, dtype in strange]),
            expected="float32, float16, bfloat16 or float64",
        )
    if wanted is None and len(stored) > 1:
        rarest = min(stored.values(), key=len)
        raise MappingError(
            f"the variables of the {half} have several types",
            found=[f"{len(names)} of {dtype}" for dtype, names in stored.items()],
            variable=some(rarest),
            expected="one type",
            hint="say which to export with --dtype",
        )
    dtype = wanted or next(iter(stored))
    return "float32" if dtype == "float64" else dtype


def _trained_lengths(checkpoint: Checkpoint, examination: Examination, hparams: Hparams | None) -> dict[str, int]:
    graph = examination.graph
    lengths = {
        "graph": graph.trained_length.value if graph and graph.trained_length else None,
        "slots": None if checkpoint.missing else trained_length_of_slots(checkpoint),
        "hparams": hparams.trained_length if hparams else None,
    }
    return {source: length for source, length in lengths.items() if length is not None}


def _left_out(layout: Layout, halves: Sequence[HalfPlan], ignored: Sequence[str]) -> tuple[LeftOut, ...]:
    exported = {name for plan in halves for name in variables_of(plan.moves)}
    reasons: dict[Kind, tuple[str, str]] = {
        "discriminator": ("discriminator", "belongs to the discriminator, which was not exported"),
        "generator": ("generator", "belongs to the generator, which was not exported"),
        "shared": ("shared", "belongs to both halves, of which none needs it"),
        "task": ("task heads", "belongs to a fine-tuned head"),
        "optimizer": ("optimizer slots", "state of the optimizer"),
    }
    groups = []
    for kind, (what, reason) in reasons.items():
        names = tuple(name for name in layout.names_of(kind) if name not in exported)
        if names:
            groups.append(LeftOut(what, names, reason))
    groups += [LeftOut(name, (name,), KNOWN_SCALARS[name]) for name in layout.names_of("known scalar")]
    if ignored:
        groups.append(LeftOut("ignored", tuple(sorted(ignored)), "matches --ignore"))
    return tuple(groups)


def _hparams_notices(hparams: Hparams | None) -> list[Notice]:
    if hparams is None or not hparams.unknown:
        return []
    hint = "a fork may have them; if they change the model, this conversion may be wrong"
    return [
        warning("hparams-unknown", "hparams that Google's code does not know", hint=hint, found=some(hparams.unknown))
    ]


def _dtype_notes(checkpoint: Checkpoint, halves: Sequence[HalfPlan]) -> list[Notice]:
    notes = []
    for plan in halves:
        stored = sorted({checkpoint.variables[name].dtype.name for name in variables_of(plan.moves)})
        if stored != [plan.dtype]:
            found = f"{' and '.join(stored)}, written as {plan.dtype}"
            notes.append(note("dtype", f"values of the {plan.half} are of another type than stored", found=found))
    return notes


def _scalar_notes(scalars: Mapping[str, float]) -> list[Notice]:
    return [note("scalar", "a scalar was left out", variable=name, found=str(value)) for name, value in scalars.items()]


def _length_notes(lengths: Mapping[str, int], halves: Sequence[HalfPlan]) -> list[Notice]:
    positions = halves[0].settled.config.max_position_embeddings
    longest = max(lengths.values(), default=positions)
    if longest >= positions:
        return []
    found = [f"{length}, {source}" for source, length in lengths.items()]
    return [
        note("trained-length", "positions above the trained length were never trained", found=found,
             expected=f"{positions} rows in the position table")
    ]  # fmt: skip


def is_electric(examination: Examination, hparams: Hparams | None) -> bool | None:
    """Return whether two towers were trained by Electric; None where neither graph nor hparams tell.

    False also for every other set-up.
    """
    if not examination.layout.setup.towers:
        return False
    if hparams is not None and hparams.electric is not None:
        return hparams.electric
    return examination.graph.electric if examination.graph else None


def setup_told(examination: Examination, hparams: Hparams | None = None) -> str:
    """Return the set-up in words; two towers with who trained them, as far as graph or hparams tell."""
    setup = examination.layout.setup
    return setup.told + TRAINED_BY[is_electric(examination, hparams)] if setup.towers else setup.told


def _energy_warnings(examination: Examination, hparams: Hparams | None, halves: Sequence[HalfPlan]) -> list[Notice]:
    electric = is_electric(examination, hparams)
    if electric is False or all(plan.half != "discriminator" for plan in halves):
        return []
    hint = "use the logit to rank texts" if electric else "pass --hparams, or keep the .meta file beside the checkpoint"
    return [warning("energy", "the discriminator's logit may not be a probability", hint=hint, found=ENERGY[electric])]
