"""The rungs of the proof: what is compared with what, and how far apart it may be.

    structure   exactly the tensors that the class wants, of one type; config.json has the sizes of the shapes, and
                settings that the class computes; where there is a record, the files are those that were written
    bytes       each tensor is, bit for bit, the operation applied to the checksummed variable, rounded to its type
    float64     the included model in float64 against a reference in float64: the graph, or reference.py
    float32     the model as people run it against the float64 reference, within the noise that float32 itself has

A float64 difference is a share of the tensor's scale (its largest value in the reference): right implementations agree
to about 1e-13 of it, and a wrong epsilon of 1e-7 already shows at 1e-6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.mapping import TIED
from electra_convert.electra.task_kinds import Task
from electra_convert.errors import FolderError
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import CARD, CONFIG, RECORD, file_sum
from electra_convert.options import ACTIVATIONS

Array = np.ndarray[Any, np.dtype[Any]]

FLOAT64_LIMIT = 1e-10

# The model and the reference sum in another order, so their float32 errors differ by a small factor. Over all shared
# checkpoints and 20 seeds the largest difference was 0.35 of the whole limit, the floor below included.
NOISE_FACTOR = 8.0

# Where the reference's own float32 error happens to be tiny (one token, say), rounding of the result remains.
NOISE_FLOOR = 16 * float(np.finfo(np.float32).eps)

# Types of weights, and how much they hold: a wider one holds every value of a narrower, those of one width do not.
FLOATS = {"float64": 2, "float32": 1, "float16": 0, "bfloat16": 0}

# Values that would make transformers compute something else than ELECTRA; older folders lack the keys.
NEEDED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}

# Faults that one check names; a folder of another network has hundreds.
MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: how far apart, how far it may be, and where the largest difference sits."""

    rung: str
    name: str
    passed: bool
    found: float | str
    limit: float | str
    against: str
    rms: float | None = None
    scale: float | None = None
    where: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the check as plain data."""
        return {field: getattr(self, field) for field in self.__slots__}


def names_of_states(layers: int) -> list[str]:
    """Return what the hidden states are called: the embeddings, then every layer, counted from zero."""
    return ["embeddings", *(f"layer {i}" for i in range(layers))]


def compare_float64(
    ours: Sequence[Outputs], reference: Sequence[Outputs], batches: Sequence[Batch], against: str, of: str = ""
) -> list[Check]:
    """Return a check for every hidden state and the logits, over all batches; `of` names what is not the model."""
    reason = f"{FLOAT64_LIMIT:g} of scale"
    return [
        _worst(f"{of} {name}".strip(), "float64", against, pairs, lambda scale: FLOAT64_LIMIT * scale, reason)
        for name, pairs in _by_name(ours, reference, batches)
    ]


def compare_float32(
    ours: Sequence[Outputs],
    reference: Sequence[Outputs],
    noisy: Sequence[Outputs],
    batches: Sequence[Batch],
    against: str,
    rung: str = "float32",
) -> list[Check]:
    """Return a check for every hidden state and the logits; `noisy` is the reference itself run in float32."""
    noise: dict[str, float] = {}
    for name, pairs in _by_name(noisy, reference, batches):
        noise[name] = max(float(np.abs(one - other).max(initial=0)) for one, other, _ in pairs)
    checks = []
    for name, pairs in _by_name(ours, reference, batches):

        def limit(scale: float, noise: float = noise[name]) -> float:
            return NOISE_FACTOR * noise + NOISE_FLOOR * scale

        checks.append(_worst(name, rung, against, pairs, limit, f"{NOISE_FACTOR:g} × float32's own noise"))
    return checks


def largest_share(ours: Sequence[Outputs], reference: Sequence[Outputs], batches: Sequence[Batch]) -> float | None:
    """Return the largest difference of a hidden state or logit as a share of its kind's scale; None if all are NaN."""
    checks = compare_float64(ours, reference, batches, "")
    shares = [check.found / check.scale for check in checks if isinstance(check.found, float) and check.scale]
    return max(shares, default=None)


def can_hold(wide: object, narrow: str) -> bool:
    """Return whether a type holds every value of another."""
    return wide == narrow or (wide in FLOATS and narrow in FLOATS and FLOATS[str(wide)] > FLOATS[narrow])


def _by_name(
    ours: Sequence[Outputs], reference: Sequence[Outputs], batches: Sequence[Batch]
) -> Iterator[tuple[str, list[tuple[Array, Array, Batch]]]]:
    """Yield each state's name with (ours, reference, batch) of every batch that goes that deep."""
    depth = max(len(outputs.hidden_states) for outputs in reference)
    for number, name in enumerate(names_of_states(depth - 1)):
        pairs = [
            (one.hidden_states[number], other.hidden_states[number], batch)
            for one, other, batch in zip(ours, reference, batches, strict=True)
            if number < len(other.hidden_states)
        ]
        yield name, pairs
    logits = [
        (one.logits, other.logits, batch)
        for one, other, batch in zip(ours, reference, batches, strict=True)
        if one.logits is not None and other.logits is not None
    ]
    if logits:
        yield "logits", logits


def _worst(
    name: str,
    rung: str,
    against: str,
    pairs: Sequence[tuple[Array, Array, Batch]],
    limit: Callable[[float], float],
    reason: str,
) -> Check:
    scale = max(float(np.abs(other).max(initial=0)) for _, other, _ in pairs)
    if not all(np.isfinite(one).all() and np.isfinite(other).all() for one, other, _ in pairs):
        return Check(rung, name, False, "not finite", limit(1.0), against, reason="an output is NaN or infinite")
    differences = [np.abs(one.astype(np.float64) - other) for one, other, _ in pairs]
    largest = [float(difference.max(initial=0)) for difference in differences]
    worst = int(np.argmax(largest))
    squares = sum(float((difference**2).sum()) for difference in differences)
    count = sum(difference.size for difference in differences)
    at = np.unravel_index(int(np.argmax(differences[worst])), differences[worst].shape)
    batch = pairs[worst][2]
    # A text's logits are the only output without a value for each token.
    column = "token" if differences[worst].shape[:2] == batch.input_ids.shape else "label"
    where = f"{batch.name}, row {at[0]}, {column} {at[1]}"
    allowed = limit(scale)
    passed = largest[worst] <= allowed
    return Check(rung, name, passed, largest[worst], allowed, against, (squares / count) ** 0.5, scale, where, reason)


def compare_structure(
    stored: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], against: str
) -> Check:
    """Return whether the tensors are exactly those wanted, in their shapes."""
    missing = sorted(wanted.keys() - stored.keys())
    unexpected = sorted(stored.keys() - wanted.keys())
    wrong = sorted(tensor for tensor in wanted.keys() & stored.keys() if wanted[tensor] != stored[tensor])
    faults = [f"missing {tensor}" for tensor in missing] + [f"unexpected {tensor}" for tensor in unexpected]
    faults += [f"{tensor} is {list(stored[tensor])}, not {list(wanted[tensor])}" for tensor in wrong]
    found = f"{len(wanted) - len(missing) - len(wrong)} of {len(wanted)}"
    if unexpected:
        found += f", {len(unexpected)} more"
    return Check("structure", "tensors", not faults, found, "all, and no others", against, reason=_listed(faults))


def compare_types(dtypes: Mapping[str, str]) -> Check:
    """Return whether the tensors are of one floating-point type; names those of the rarest."""
    counts = Counter(dtypes.values())
    faults = []
    if len(counts) > 1 or not counts.keys() <= FLOATS.keys():
        usual, _ = counts.most_common(1)[0]
        faults = [
            f"{name} is {dtype}" for name, dtype in sorted(dtypes.items()) if dtype != usual or usual not in FLOATS
        ]
    found = ", ".join(f"{count} {dtype}" for dtype, count in counts.most_common()) or "none"
    limit = "one float type"
    return Check("structure", "types", not faults, found, limit, CONFIG, reason=_listed(faults))


def compare_sizes(config: ElectraConfig, sizes: Mapping[str, int]) -> Check:
    """Return whether config.json has the sizes that the checkpoint's shapes show."""
    faults = [
        f"{field} is {getattr(config, field)}, not {size}"
        for field, size in sizes.items()
        if getattr(config, field) != size
    ]
    found = f"{len(sizes) - len(faults)} of {len(sizes)}"
    return Check("structure", "sizes", not faults, found, "all", "the checkpoint", reason=_listed(faults))


def compare_settings(
    document: Mapping[str, Any],
    config: ElectraConfig,
    dtypes: Mapping[str, str],
    copies: Collection[str],
    architecture: str,
    task: Task | None = None,
) -> Check:
    """Return whether transformers computes ELECTRA with the other values of config.json, and the included model too.

    `dtypes` are the types of the tensors, `copies` the names of those that only repeat another; `architecture` is the
    class that computes what the checkpoint does, `task` the task that it was fine-tuned for.
    """
    faults = [
        f"{key} is {document[key]!r}, not {needed!r}"
        for key, needed in NEEDED.items()
        if document.get(key, needed) != needed
    ]
    named = document.get("architectures")
    if isinstance(named, list) and named and architecture not in named:
        faults.append(f"architectures is {named!r}, not {[architecture]!r}")
    faults += _task_faults(document, task) if task else []
    if config.hidden_size % config.num_attention_heads:
        faults.append(
            f"{config.num_attention_heads} attention heads do not divide the hidden size {config.hidden_size}"
        )
    if config.hidden_act not in ACTIVATIONS:
        faults.append(f"hidden_act is {config.hidden_act!r}, none of {', '.join(ACTIVATIONS)}")
    pad = document.get("pad_token_id")
    if pad is not None and (type(pad) is not int or not 0 <= pad < config.vocab_size):
        faults.append(f"pad_token_id is {pad!r}, not from 0 to {config.vocab_size - 1}")
    for matrix in TIED if document.get("tie_word_embeddings") is False else ():
        if matrix.replace(".weight", ".bias") in dtypes and matrix not in copies:
            faults.append(f"tie_word_embeddings is false: transformers would make up {matrix}, which is not stored")
    for key in ("dtype", "torch_dtype"):
        told = document.get(key)
        narrowed = sorted({dtype for dtype in dtypes.values() if not can_hold(told, dtype)})
        if told is not None and narrowed:
            faults.append(f"{key} is {told!r}: transformers would round tensors of {', '.join(narrowed)}")
    found = f"{len(faults)} wrong" if faults else "right"
    return Check("structure", "settings", not faults, found, "right", CONFIG, reason=_listed(faults))


def _task_faults(document: Mapping[str, Any], task: Task) -> list[str]:
    """Return what config.json says wrong of a task: transformers takes the number of labels from their names."""
    faults = []
    outputs = 2 if task.kind == "question answering" else task.labels
    names, numbers = document.get("id2label"), document.get("label2id")
    count = len(names) if isinstance(names, dict) else document.get("num_labels", 2)
    if count != outputs:
        faults.append(f"id2label has {count} labels, not {outputs}")
    elif isinstance(names, dict) and set(names) != {str(number) for number in range(outputs)}:
        faults.append(f"id2label numbers its labels {', '.join(map(str, names))}, not 0 to {outputs - 1}")
    elif isinstance(names, dict) and numbers is not None:
        told = {str(name): int(number) for number, name in names.items()}
        if numbers != told:
            faults.append("label2id is not id2label turned round")
    problem = document.get("problem_type")
    if problem not in {None, task.problem_type}:
        faults.append(f"problem_type is {problem!r}, not {task.problem_type!r}")
    return faults


def compare_record(folder: Path, document: Mapping[str, Any]) -> list[Check]:
    """Return a check of every file, and of config.json's values, against the record of the conversion, if there is one.

    Not of the model card: people go on writing it.

    Raises FolderError for a record that cannot be read.
    """
    if not (folder / RECORD).exists():
        return []
    record = read_json(folder / RECORD, "the record of the conversion", FolderError)
    files, config = record.get("files"), record.get("config")
    if not isinstance(files, list) or not isinstance(config, dict):
        raise FolderError(
            "the record of the conversion is not one", where=str(folder / RECORD), expected="its files and config",
            hint=f"convert again, or remove {RECORD}",
        )  # fmt: skip
    faults, wrong = [], 0
    files = [entry for entry in files if not isinstance(entry, dict) or entry.get("name") != CARD]
    for entry in files:
        name = str(entry.get("name")) if isinstance(entry, dict) else "?"
        path = folder / name.replace("/", "_")
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif (found := file_sum(path).to_json()) != entry:
            faults.append(f"{name} is not the file that was written: {found['bytes']} bytes, CRC-32C {found['crc32c']}")
        wrong = len(faults)
    for field, entry in config.items():
        value = entry.get("value") if isinstance(entry, dict) else entry
        if document.get(field) != value:
            faults.append(f"{field} is {document.get(field)!r} in {CONFIG}, recorded {value!r}")
    told = f"{len(files) - wrong} of {len(files)}"
    return [Check("structure", "files", not faults, told, "all", RECORD, reason=_listed(faults))]


def _listed(faults: Sequence[str]) -> str:
    """Return the first faults in a line, and how many there are more."""
    more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
    return "; ".join([*faults[:MOST_FAULTS], *more])
