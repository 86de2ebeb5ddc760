"""The rungs of the proof: what is compared with what, and how far apart it may be.

    structure   exactly the tensors that the class wants, with the shapes that config.json implies
    bytes       each tensor is, bit for bit, the operation applied to the checksummed variable, rounded to its type
    float64     the included model in float64 against a reference in float64: the graph, or reference.py
    float32     the model as people run it against the float64 reference, within the noise that float32 itself has

A float64 difference is a share of the tensor's scale (its largest value in the reference): right implementations agree
to about 1e-13 of it, and a wrong epsilon of 1e-7 already shows at 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.errors import FolderError
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import RECORD, file_sum

Array = np.ndarray[Any, np.dtype[Any]]

FLOAT64_LIMIT = 1e-10

# The model and the reference sum in another order, so their float32 errors differ by a small factor; measured over all
# checkpoints and 20 seeds it stays below 3.
NOISE_FACTOR = 8.0

# Where the reference's own float32 error happens to be tiny (one token, say), rounding of the result remains.
NOISE_FLOOR = 16 * float(np.finfo(np.float32).eps)


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
    where = f"{pairs[worst][2].name}, row {at[0]}, token {at[1]}"
    allowed = limit(scale)
    passed = largest[worst] <= allowed
    return Check(rung, name, passed, largest[worst], allowed, against, (squares / count) ** 0.5, scale, where, reason)


def compare_structure(
    stored: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], against: str, name: str = "tensors"
) -> list[Check]:
    """Return one check: the tensors are exactly those wanted, in their shapes."""
    missing = sorted(wanted.keys() - stored.keys())
    unexpected = sorted(stored.keys() - wanted.keys())
    wrong = sorted(tensor for tensor in wanted.keys() & stored.keys() if wanted[tensor] != stored[tensor])
    faults = [f"missing {tensor}" for tensor in missing] + [f"unexpected {tensor}" for tensor in unexpected]
    faults += [f"{tensor} is {list(stored[tensor])}, not {list(wanted[tensor])}" for tensor in wrong]
    found = f"{len(wanted) - len(missing) - len(wrong)} of {len(wanted)}"
    if unexpected:
        found += f", {len(unexpected)} more"
    reason = "; ".join(faults[:20])
    return [Check("structure", name, not faults, found, "all, and no others", against, reason=reason)]


def compare_record(folder: Path) -> list[Check]:
    """Return a check of every file against the record that the conversion left, where there is one."""
    if not (folder / RECORD).exists():
        return []
    record = read_json(folder / RECORD, "the record of the conversion", FolderError)
    faults, count = [], 0
    for entry in record.get("files", []):
        count += 1
        path = folder / str(entry["name"]).replace("/", "_")
        if not path.is_file():
            faults.append(f"{entry['name']} is missing")
        elif (found := file_sum(path).to_json()) != entry:
            faults.append(f"{entry['name']} has {found['bytes']} bytes, CRC-32C {found['crc32c']}, recorded "
                          f"{entry['bytes']} and {entry['crc32c']}")  # fmt: skip
    found_text = f"{count - len(faults)} of {count}"
    return [Check("structure", "files", not faults, found_text, "all", RECORD, reason="; ".join(faults))]
