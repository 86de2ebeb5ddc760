"""A verdict arranged for reading: rungs as sections, layers folded, failures by weight, differences as series.

What text, JUnit and HTML say in their own ways is decided here once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from electra_convert.parity import HalfParity
    from electra_convert.rungs import Check

# The rungs that every proof climbs, in order; a rung without a check was not reached.
RUNGS = ("structure", "bytes", "float64", "float32")

NOT_RUN = "not run, since a rung below does not hold"

# What every battery has, whatever its seed (`electra/battery.py`).
INPUTS = "padding, masks with holes, every position, all segment types, ids of the whole vocabulary"

# Where the axis of a series begins: below the rounding of its type. Axes end at 1, the scale itself.
AXIS_START = {"float64": 1e-17, "float32": 1e-9, "transformers": 1e-9}

# How a check spells what it was compared with, and how people do.
AGAINST = {"graph": "the original graph"}

# "layer 3", and "reference.py layer 3" where a reference is compared with another one.
STATE = re.compile(r"(?:(?P<subject>.+) )?(?P<state>embeddings|layer \d+|logits)")


@dataclass(frozen=True, slots=True)
class Run:
    """How a verdict was come by: the command that repeats it, how long it took, when it ended."""

    command: str
    seconds: float
    finished: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a check, or a fold of layers that stands for its worst."""

    name: str
    check: Check


@dataclass(frozen=True, slots=True)
class Section:
    """The checks of one comparison."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One difference of a series and its limit, as shares of the tensor's scale; infinite where it is not finite."""

    state: str
    share: float
    limit: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Series:
    """How far apart the outputs are, from the embeddings to the logits."""

    title: str
    start: float
    points: tuple[Point, ...]


def find_sections(half: HalfParity) -> tuple[Section, ...]:
    """Return every check of a half, a section for each comparison, in the order of the rungs."""
    found: dict[str, list[Row]] = {}
    for check in half.checks:
        subject, state = _split(check)
        found.setdefault(_title(check, subject), []).append(Row(state, check))
    return tuple(Section(title, tuple(rows)) for title, rows in found.items())


def fold_layers(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows with neighbouring layers folded; the first layer that fails stands alone, it is where to look."""
    groups: list[list[Row]] = []
    first: Row | None = None
    for row in rows:
        last = groups[-1][-1] if groups else None
        joins = last is not None and last is not first and _is_layer(row) and _is_layer(last)
        if joins and last and last.check.passed == row.check.passed:
            groups[-1].append(row)
        else:
            groups.append([row])
        if first is None and _is_layer(row) and not row.check.passed:
            first = row
    return tuple(_fold(group) for group in groups)


def find_missed(half: HalfParity) -> tuple[str, ...]:
    """Return the rungs that were not climbed, since one below did not hold."""
    climbed = {check.rung for check in half.checks}
    return tuple(rung for rung in RUNGS if rung not in climbed)


def find_failures(half: HalfParity) -> tuple[Check, ...]:
    """Return the checks that do not hold, worst first: those without a figure, then by how often the limit fits in.

    What the folder's model does comes before what one reference does against another.
    """
    return tuple(sorted(half.failed, key=lambda check: (not _split(check)[0], excess(check)), reverse=True))


def find_series(half: HalfParity) -> tuple[Series, ...]:
    """Return the differences of the included model, rung by rung; of several references the one it is farthest from."""
    found: dict[str, dict[str, Check]] = {}
    for check in half.checks:
        subject, state = _split(check)
        if subject or not isinstance(check.limit, float):
            continue
        points = found.setdefault(check.rung, {})
        if state not in points or excess(check) > excess(points[state]):
            points[state] = check
    return tuple(
        Series(rung, AXIS_START[rung], tuple(_point(state, check) for state, check in points.items()))
        for rung, points in found.items()
    )


def excess(check: Check) -> float:
    """Return how many times its limit a check found; infinity where it fails without a figure."""
    if not isinstance(check.found, float) or not isinstance(check.limit, float):
        return 0.0 if check.passed else math.inf
    if not check.limit > 0:
        return 0.0 if check.passed else math.inf
    return check.found / check.limit


def tell_check(check: Check) -> str:
    """Return which check it is, in words that are unique within a half.

    >>> from electra_convert.rungs import Check
    >>> tell_check(Check("float64", "layer 3", True, 1e-15, 1e-10, "graph"))
    'float64, against the original graph: layer 3'
    """
    subject, state = _split(check)
    return check.name if check.name == check.rung else f"{_title(check, subject)}: {state}"


def tell_number(value: float | str) -> str:
    """Return a figure as tables show it.

    >>> tell_number(4.81e-07), tell_number("203 of 203")
    ('4.8e-07', '203 of 203')
    """
    return f"{value:.1e}" if isinstance(value, float) else value


def tell_faults(check: Check) -> list[str]:
    """Return what is behind a failed check, a line each: figures and the place, or the faults that were counted."""
    found = f"found {tell_number(check.found)}, limit {tell_number(check.limit)}"
    if isinstance(check.limit, float):
        return [f"{found} ({check.reason})", *([f"at {check.where}"] if check.where else [])]
    return [found, *(check.reason.split("; ") if check.reason else [])]


def axis_position(value: float, start: float) -> float:
    """Return where a share stands on a logarithmic axis from `start` to 1, as a number from 0 to 1.

    >>> axis_position(1e-4, 1e-8)
    0.5
    """
    if value <= start:
        return 0.0
    return min(1.0, 1 - math.log10(value) / math.log10(start)) if value < 1 else 1.0


def _split(check: Check) -> tuple[str, str]:
    """Return (what is compared, where it is not the included model; the state's name)."""
    match = STATE.fullmatch(check.name)
    return (match["subject"] or "", match["state"]) if match else ("", check.name)


def _title(check: Check, subject: str) -> str:
    if check.rung not in {"float64", "float32"}:
        return check.rung
    against = AGAINST.get(check.against, check.against)
    return f"{subject} in {check.rung}, against {against}" if subject else f"{check.rung}, against {against}"


def _is_layer(row: Row) -> bool:
    return row.name.startswith("layer ")


def _fold(group: Sequence[Row]) -> Row:
    if len(group) == 1:
        return group[0]
    first, last = (row.name.removeprefix("layer ") for row in (group[0], group[-1]))
    return Row(f"layers {first} to {last}", max((row.check for row in group), key=excess))


def _point(state: str, check: Check) -> Point:
    assert isinstance(check.limit, float)
    if not isinstance(check.found, float):
        return Point(state, math.inf, check.limit, check.passed)
    # An output that is zero everywhere has no scale: its differences are shown as they are.
    scale = check.scale or 1.0
    return Point(state, check.found / scale, check.limit / scale, check.passed)
