"""What is written down about a conversion: `conversion.json` and the facts of the model card.

The same input, options and versions give the same bytes: no date, no duration, no path, no name of a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from electra_convert import __version__
from electra_convert.electra.mapping import Move, variables_of
from electra_convert.hf.card import CardFacts, CardValue
from electra_convert.notices import Notice
from electra_convert.planning import ConversionPlan, HalfPlan, setup_told

if TYPE_CHECKING:
    from electra_convert.hf.folder import FileSum
    from electra_convert.tf1.checkpoint import Checkpoint
    from electra_convert.verification import Verification

SCHEMA = "electra-convert/conversion/1"
TOOL = "electra-convert"

# How the path was typed must not change the record.
OF_THE_COMMAND = {"suffix-removed"}

# The facts of these notices are paths.
OF_THE_MACHINE = {"checkpoint-path"}


def record_document(
    plan: ConversionPlan,
    half: HalfPlan,
    checkpoint: Checkpoint,
    *,
    tensor_crcs: Mapping[str, int],
    variable_crcs: Mapping[str, int],
    files: tuple[FileSum, ...],
    notices: tuple[Notice, ...],
    verification: Verification,
) -> dict[str, Any]:
    """Return the record of one half."""
    return {
        "schema": SCHEMA,
        "tool": {"name": TOOL, "version": __version__},
        "checkpoint": {
            "name": checkpoint.name,
            "format": checkpoint.format,
            "shards": checkpoint.shards,
            "bytes": checkpoint.nbytes,
            "step": checkpoint.step,
            "step_source": checkpoint.step_source or None,
            "files": [_file(file.name, file.nbytes, file.crc32c) for file in checkpoint.source_files()],
            "vocabulary": _vocabulary(plan),
        },
        "options": dict(plan.asked),
        "halves": [each.half for each in plan.halves],
        "refused": [{"half": name, "reason": reason} for name, reason in plan.refused],
        "setup": plan.examination.layout.setup.name,
        "setup_told": setup_told(plan.examination, plan.hparams),
        "half": half.half,
        "architecture": half.architecture,
        **({"task": half.task.to_json()} if half.task else {}),
        "dtype": half.dtype,
        "parameters": half.parameters,
        "config": {
            key: {
                "value": value,
                "source": half.settled.origins[key].source,
                "detail": half.settled.origins[key].detail,
            }
            for key, value in half.settled.config.to_json().items()
        },
        "graph": plan.examination.graph is not None,
        "hparams": plan.hparams.for_the_record() if plan.hparams else None,
        "trained_length": plan.trained_length,
        "trained_length_sources": dict(plan.trained_lengths),
        "tokenizer": _tokenizer(plan),
        "tensors": [
            {
                "tensor": move.tensor,
                "variable": _of_each(move, str),
                "operation": move.operation.value,
                "shape": list(move.tensor_shape),
                "dtype": half.dtype,
                "crc32c": _hex(tensor_crcs[move.tensor]),
                "variable_dtype": _of_each(move, lambda name: checkpoint.variables[name].dtype.name),
                "variable_crc32c": _of_each(move, lambda name: _hex(variable_crcs[name])),
            }
            for move in half.moves
        ],
        "not_exported": _not_exported(plan, half),
        # JSON has no NaN and no infinity.
        "scalars": {name: value if isfinite(value) else str(value) for name, value in plan.scalars.items()},
        "warnings": _told(notices, "warning", plan, half),
        "notes": _told(notices, "note", plan, half),
        "verification": verification.to_json(),
        "files": [file.to_json() for file in files],
    }


def _of_each(move: Move, told: Callable[[str], str]) -> str | list[str]:
    """Return what is told of a move's variable; a list where its operation takes several, or none."""
    return told(move.variable) if move.operation.inverts_itself else [told(name) for name in move.variables]


def _told(notices: tuple[Notice, ...], kind: str, plan: ConversionPlan, half: HalfPlan) -> list[dict[str, Any]]:
    """Return the notices of a kind, but those of another half, with their facts as far as these hold no path."""
    others = {id(notice) for other in plan.halves if other is not half for notice in other.settled.notices}
    told = []
    for notice in notices:
        if notice.kind == kind and id(notice) not in others and notice.code not in OF_THE_COMMAND:
            named = {} if notice.code in OF_THE_MACHINE else notice.to_json()["facts"]
            facts = {label: fact for label, fact in named.items() if label != "where"}
            told.append({"code": notice.code, "message": notice.message, "facts": facts})
    return told


def card_facts(
    plan: ConversionPlan,
    half: HalfPlan,
    checkpoint: Checkpoint,
    notices: tuple[Notice, ...],
    verification: Verification,
) -> CardFacts:
    """Return what the model card of one half says."""
    origins = half.settled.origins
    energy = [str(dict(notice.facts)["found"]) for notice in notices if notice.code == "energy"]
    return CardFacts(
        checkpoint=checkpoint.name,
        half=f"task {half.task.task.name}" if half.task else half.half,
        model_class=half.architecture,
        setup=setup_told(plan.examination, plan.hparams),
        step=checkpoint.step,
        parameters=half.parameters,
        dtype=half.dtype,
        values=[
            *(CardValue(key, value, origins[key].source) for key, value in half.settled.config.to_json().items()),
            *_task_values(half),
        ],
        verification=[verification.text],
        tool=f"{TOOL} {__version__}",
        cautions=half.task.cautions() if half.task else energy if half.half == "discriminator" else [],
        tokenizer=plan.tokenizing is not None,
        what=f"An ELECTRA model fine-tuned for {half.task.task.kind} (task {half.task.task.name})" if half.task else "",
        head=half.task.head_told() if half.task else [],
    )


def _task_values(half: HalfPlan) -> list[CardValue]:
    """Return what config.json says of a task, with the sources."""
    if half.task is None:
        return []
    task, labels = half.task.task, half.task.labels
    values = [CardValue("kind of task", task.kind, task.origin.source)]
    if labels:
        shown = ", ".join(f"{number}: {name}" for number, name in enumerate(labels))
        values.append(CardValue("id2label", shown, half.task.labels_origin.source))
    return values


def _not_exported(plan: ConversionPlan, half: HalfPlan) -> list[dict[str, Any]]:
    """Return every variable that this half's folder does not hold, in groups with a reason."""
    exported = set(variables_of(half.moves))
    groups = [
        {"reason": f"belongs to the {other.half}", "variables": names}
        for other in plan.halves
        if other.half != half.half and (names := sorted(set(variables_of(other.moves)) - exported))
    ]
    return groups + [{"reason": group.reason, "variables": list(group.variables)} for group in plan.left_out]


def _vocabulary(plan: ConversionPlan) -> dict[str, Any] | None:
    if plan.tokenizing is None:
        return None
    vocabulary = plan.tokenizing.vocabulary
    return _file(vocabulary.name, vocabulary.nbytes, vocabulary.crc32c)


def _tokenizer(plan: ConversionPlan) -> dict[str, Any] | None:
    if plan.tokenizing is None:
        return None
    casing = plan.tokenizing.casing
    return {
        "entries": len(plan.tokenizing.vocabulary.tokens),
        "do_lower_case": {"value": casing.do_lower_case, "source": casing.source},
        "strip_accents": {"value": casing.strip_accents, "source": casing.strip_accents_source},
        "evidence": casing.evidence,
        "model_max_length": plan.tokenizing.max_length,
    }


def _file(name: str, nbytes: int, crc: int | None) -> dict[str, Any]:
    return {"name": name, "bytes": nbytes, "crc32c": None if crc is None else _hex(crc)}


def _hex(crc: int) -> str:
    return f"{crc:08x}"
