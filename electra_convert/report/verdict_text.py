"""A verdict for people, as lines of plain text.

    Checkpoint  ckpt/model.ckpt-1000000  V2, step 1000000
    Folder      out/  discriminator, float32

      check               found               limit
      float64, against the original graph
        embeddings      1.6e-15             3.9e-10  ok
        layers 0 to 11  2.2e-15             3.2e-10  ok

    PASSED  46 checks in 5 s

Failures are told by words, not by colour; pictures fall back to ASCII.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from electra_convert.report import verdict
from electra_convert.report.lines import WHOLE_NAME, WIDTH, block, columns, count, safe, wrapped
from electra_convert.report.verdict import Point, Row, Run, Series
from electra_convert.wording import printable, some

if TYPE_CHECKING:
    from electra_convert.parity import HalfParity, Parity
    from electra_convert.rungs import Check

# Characters of a bar. Two series stand side by side in 80 columns.
BAR = 20
SIDE_BY_SIDE = 2

BLOCK, LIMIT = "▇", "│"
PICTURE = BLOCK + LIMIT
ASCII = str.maketrans({BLOCK: "=", LIMIT: "|", "×": "x", "…": "..."})

# Longer texts in a column would push the figures off the screen; what failed is told in full below the table.
LONGEST_CELL = 18

# Failures and faults that are told without `-v`.
MOST = 5

# Shorter runs need no time (seconds).
WORTH_TELLING = 1.0


def verdict_lines(parity: Parity, run: Run, *, verbose: bool = False, ascii_only: bool = False) -> list[str]:
    """Return a verdict: what was compared, every check, a picture of the differences, what is wrong or unproven.

    Args:
        parity: the verdict.
        run: how it was come by.
        verbose: every layer for itself, with root mean squares and places; every failure.
        ascii_only: for a stream that takes no other characters.
    """
    checkpoint = parity.checkpoint
    step = "step unknown" if checkpoint.step is None else f"step {checkpoint.step}"
    lines = block("Checkpoint", [f"{safe(checkpoint.prefix)}  {checkpoint.format}, {step}"])
    folders = [f"{safe(half.folder).rstrip('/')}/  {half.told}, {safe(half.dtype)}" for half in parity.halves]
    lines += block("Folder" if len(folders) == 1 else "Folders", folders)
    references = [", ".join(half.references) for half in parity.halves if half.references]
    lines += block("References", [safe(told) for told in dict.fromkeys(references)])
    lines += block("Inputs", wrapped(f"{verdict.INPUTS}; seed {parity.seed}"))
    for half in parity.halves:
        lines += ["", *([half.half.capitalize()] if len(parity.halves) > 1 else [])]
        lines += [f"  {line}".rstrip() for line in _half(half, verbose)]
    lines += ["", _last_line(parity, run)]
    return [line.translate(ASCII) for line in lines] if ascii_only else lines


def _half(half: HalfParity, verbose: bool) -> list[str]:
    lines = _table(half, verbose)
    series = verdict.find_series(half)
    for first in range(0, len(series), SIDE_BY_SIDE):
        lines += ["", *_picture(series[first : first + SIDE_BY_SIDE])]
    lines += _paragraphs("Not equal, worst first", _failures(half, len(half.checks) if verbose else MOST))
    lines += _paragraphs("Why", [_hanging(explanation) for explanation in half.explanations])
    lines += _paragraphs("Not proven", [_hanging(gap) for gap in half.unproven])
    return lines


def _table(half: HalfParity, verbose: bool) -> list[str]:
    """Return the checks in columns, a section a comparison; layers are folded unless `verbose`."""
    rows = [("check", "found", "limit", "", *(("rms", "largest at") if verbose else ()))]
    titles: dict[int, str] = {}
    for section in verdict.find_sections(half):
        titles[len(rows)] = safe(section.title)
        rows += [_cells(row, verbose) for row in (section.rows if verbose else verdict.fold_layers(section.rows))]
    lines: list[str] = []
    for number, line in enumerate(columns(rows, right=[1, 2])):
        lines += [titles[number], line] if number in titles else [line]
    for rung in verdict.find_missed(half):
        lines += [rung, f"  {verdict.NOT_RUN}"]
    return lines


def _cells(row: Row, verbose: bool) -> tuple[str, ...]:
    check = row.check
    longest = WHOLE_NAME if verbose else LONGEST_CELL
    found, limit = (printable(verdict.tell_number(value), longest) for value in (check.found, check.limit))
    more = ("" if check.rms is None else verdict.tell_number(check.rms), safe(check.where)) if verbose else ()
    return (f"  {safe(row.name)}", found, limit, "ok" if check.passed else "FAILED", *more)


def _picture(series: Sequence[Series]) -> list[str]:
    """Return a bar a state for every series, side by side, with the limit drawn across."""
    rows = [["", *(cell for its in series for cell in (its.title, ""))]]
    rows += [["", *(cell for its in series for cell in (_axis(its), ""))]]
    points = [{point.state: point for point in its.points} for its in series]
    for state in points[0]:
        rows.append([state])
        for its, found in zip(series, points, strict=True):
            rows[-1] += _drawn(found[state], its.start) if state in found else ["", ""]
    legend = f"largest difference as a share of scale, on a log scale; {LIMIT} limit"
    failed = any(not point.passed for its in series for point in its.points)
    return [legend + (", ! beyond it" if failed else ""), *columns(rows)]


def _axis(series: Series) -> str:
    return f"{series.start:<{BAR - 1}g}1"


def _drawn(point: Point, start: float) -> list[str]:
    figure = verdict.tell_number(point.share) if math.isfinite(point.share) else "not finite"
    return [_bar(point, start), figure if point.passed else f"{figure} !"]


def _bar(point: Point, start: float) -> str:
    length = round(BAR * verdict.axis_position(point.share, start))
    limit = min(BAR - 1, round(BAR * verdict.axis_position(point.limit, start)))
    bar = f"{BLOCK * length:<{BAR}}"
    return f"{bar[:limit]}{LIMIT}{bar[limit + 1 :]}"


def _failures(half: HalfParity, most: int) -> list[list[str]]:
    failures = verdict.find_failures(half)
    told = [
        [safe(verdict.tell_check(check)), *(f"  {safe(line)}" for line in some(verdict.tell_faults(check), most))]
        for check in failures[:most]
    ]
    return told if len(failures) <= most else [*told, [f"and {len(failures) - most} more (-v lists all)"]]


def _paragraphs(title: str, paragraphs: Sequence[Sequence[str]]) -> list[str]:
    return ["", title, *(f"  {line}" for paragraph in paragraphs for line in paragraph)] if paragraphs else []


def _hanging(text: str) -> list[str]:
    first, *rest = wrapped(safe(text), WIDTH - 8)
    return [first, *(f"  {line}" for line in rest)]


def _last_line(parity: Parity, run: Run) -> str:
    time = f" in {run.seconds:,.0f} s" if run.seconds >= WORTH_TELLING else ""
    total = len(parity.checks)
    failed = [(half, check) for half in parity.halves for check in half.failed]
    if not failed:
        gaps = sum(len(half.unproven) for half in parity.halves)
        return f"PASSED  {count(total, 'check')}{time}" + (f"; {count(gaps, 'thing')} not proven" if gaps else "")
    half, first = failed[0]
    which = f"{half.half}, " if len(parity.halves) > 1 else ""
    place = f" ({safe(first.where)})" if first.where else ""
    return f"FAILED  {len(failed)} of {count(total, 'check')}{time}; first: {which}{_name(first)}{place}"


def _name(check: Check) -> str:
    return safe(check.name if check.name == check.rung else f"{check.rung} {check.name}")
