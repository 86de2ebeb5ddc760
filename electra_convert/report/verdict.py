"""A verdict arranged for reading: rungs as sections, layers folded, failures by weight, differences as series.

What text, JUnit and HTML say in their own ways is decided here once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from electra_convert.parity import HalfParity
    from electra_convert.rungs import Check

# The rungs that every proof climbs, in order; a rung without a check was not reached.
RUNGS = ("structure", "bytes", "float64", "float32")

# Where the axis of a series begins: below the rounding of its type. Axes end at 1, the scale itself.
AXIS_START = {"float64": 1e-17, "float32": 1e-9, "transformers": 1e-9}

# How a check spells what it was compared with, and how people do.
AGAINST = {"graph": "the original graph"}

# "layer 3", and "reference.py layer 3" where a reference is compared with another one.
STATE = re.compile(r"(?:(?P<subject>.+) )?(?P<state>embeddings|layer (?P<layer>\d+)|logits)")


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
    failed = False
    for row in rows:
        if groups and _layer(row) is not None and _layer(groups[-1][-1]) is not None:
            before = groups[-1][-1].check.passed
            if row.check.passed == before and (row.check.passed or not failed):
                groups[-1].append(row)
                continue
            failed = not row.check.passed and not before
        groups.append([row])
    return tuple(_fold(group) for group in groups)


def find_missed(half: HalfParity) -> tuple[str, ...]:
    """Return the rungs that were not climbed, since one below did not hold."""
    climbed = {check.rung for check in half.checks}
    return tuple(rung for rung in RUNGS if rung not in climbed)


def find_failures(half: HalfParity) -> tuple[Check, ...]:
    """Return the checks that do not hold, worst first: what has no figure, then by how often it exceeds its limit."""
    return tuple(sorted(half.failed, key=excess, reverse=True))


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
    if check.limit == 0:
        return 0.0 if check.passed else math.inf
    return check.found / check.limit


def tell_check(check: Check) -> str:
    """Return which check it is, in words that are unique within a half.

    >>> from electra_convert.rungs import Check
    >>> tell_check(Check("float64", "layer 3", True, 1e-15, 1e-10, "graph"))
    'float64 layer 3, against the original graph'
    """
    return f"{check.rung} {check.name}, against {AGAINST.get(check.against, check.against)}"


def tell_number(value: float | str) -> str:
    """Return a figure as tables show it.

    >>> tell_number(4.81e-07), tell_number("203 of 203")
    ('4.8e-07', '203 of 203')
    """
    return f"{value:.1e}" if isinstance(value, float) else value


def tell_faults(check: Check) -> list[str]:
    """Return what is behind a failed check, a line each: its faults, or the place of the largest difference."""
    if not isinstance(check.limit, float):
        return check.reason.split("; ") if check.reason else []
    times = f"{excess(check):.1e} times the limit" if math.isfinite(excess(check)) else check.reason
    return [part for part in (times, check.where) if part]


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


def _layer(row: Row) -> int | None:
    match = STATE.fullmatch(row.name)
    return int(match["layer"]) if match and match["layer"] else None


def _fold(group: Sequence[Row]) -> Row:
    if len(group) == 1:
        return group[0]
    worst = max((row.check for row in group), key=excess)
    return Row(f"layers {_layer(group[0])} to {_layer(group[-1])}", worst)


def _point(state: str, check: Check) -> Point:
    assert isinstance(check.limit, float)
    if not isinstance(check.found, float):
        return Point(state, math.inf, math.inf, check.passed)
    # An output that is zero everywhere has no scale: its differences are shown as they are.
    scale = check.scale or 1.0
    return Point(state, check.found / scale, check.limit / scale, check.passed)


def count_failed(halves: Iterable[HalfParity]) -> tuple[int, int]:
    """Return (checks that do not hold, checks in total)."""
    halves = tuple(halves)
    return sum(len(half.failed) for half in halves), sum(len(half.checks) for half in halves)
