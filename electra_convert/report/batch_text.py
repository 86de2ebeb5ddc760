"""A batch as plain text: a line an item as it finishes, then the table, the tally, and every failure in full.

     1/12  ok       small-1m   discriminator             203 tensors              4.1 s
     2/12  FAILED   base-300k  discriminator             layer 3                  9.3 s
     3/12  skipped  large      discriminator, generator  up to date               0.1 s

Names are escaped and never cut; a name longer than its column pushes the rest of its own line only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from electra_convert.errors import ParityError
from electra_convert.report.batch_results import (
    BAD,
    RUNGS,
    WORDS,
    BatchRun,
    duration,
    facts_of,
    settings_told,
    tally_told,
    tell_figure,
    totals_of,
    word_of,
)
from electra_convert.report.lines import columns, count, safe
from electra_convert.report.text import size

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import BatchEvent, ItemResult

WORD = max(map(len, WORDS))

# The widest that a column of names gets, so that one long name does not push all others to the right.
WIDEST = 40

# "203 + 204 tensors", "up to date", or the beginning of what went wrong.
DETAIL = 18

NO_FIGURES = {"up to date": "up to date", "dropped": "not done"}

HALVES = len("discriminator, generator")


def name_width(names: Iterable[str]) -> int:
    """Return how wide a column of these names is."""
    return min(WIDEST, max((len(safe(name)) for name in names), default=0))


def item_line(number: int, total: int, result: ItemResult, width: int) -> str:
    """Return the line of a finished item; `width` is that of the column of names."""
    place = f"{number:>{len(str(total))}}/{total}"
    halves = _halves(result)
    head = f"  {place}  {word_of(result):<{WORD}}  {safe(result.item.name):<{width}}  {halves:<{HALVES}}"
    return f"{head}  {detail_of(result):<{DETAIL}}  {duration(result.seconds):>10}"


def note_line(event: BatchEvent) -> str:
    """Return the line of what people are to know while a batch runs."""
    return f"  note: {safe(event.item)}{': ' if event.item else ''}{safe(event.what)}"


def detail_of(result: ItemResult) -> str:
    """Return what there is to say of an item in a few words."""
    if result.status == "failed":
        return _reason(result.error or {})
    if result.status in NO_FIGURES:
        return NO_FIGURES[result.status]
    tensors = [str(half["tensors"]) for half in result.halves]
    return f"{' + '.join(tensors)} tensors"


def batch_lines(results: Sequence[ItemResult], run: BatchRun) -> list[str]:
    """Return the table of all items, the tally, the failures with their full messages, and the reports."""
    totals = totals_of(results)
    stopped = f", stopped by {run.stopped}" if run.stopped else ""
    tally = f"{count(totals.items, 'item')}: {tally_told(totals)} in {duration(run.seconds)}{stopped}"
    state = " to write" if totals.words["planned"] else f", {totals.proven:,} proven"
    amount = f"{count(totals.folders, 'folder')}{state}, {size(totals.nbytes)} of weights"
    lines = table_lines(results)
    lines += ["", tally, amount] if lines else [tally]
    if totals.warnings:
        lines.append(count(totals.warnings, "warning"))
    if run.stopped:
        lines.append("The same command again goes on: what is done is skipped")
    for result in results:
        if word_of(result) in BAD:
            lines += ["", *failure_lines(result)]
    if run.reports:
        lines += ["", f"Wrote {', '.join(map(safe, run.reports))}"]
    return lines


def table_lines(results: Sequence[ItemResult]) -> list[str]:
    """Return the summary table, a row an item in the order of the zoo; what was not done has none.

    A plan has sources instead of figures that nobody knows yet.
    """
    shown = [result for result in results if result.status != "dropped"]
    if not shown:
        return []
    width = name_width(result.item.name for result in shown)
    is_plan = any(result.status == "planned" for result in shown)
    figures = ["", "source"] if is_plan else [*RUNGS, "time", ""]
    rows = [[f"{'item':<{width}}", "halves", "parameters", "weights", *figures]]
    for result in shown:
        told = [word_of(result), safe(result.item.source)] if is_plan else _figures(result)
        rows.append([f"{safe(result.item.name):<{width}}", *_amounts(result), *told])
    # Names are padded beforehand: `columns` would make all of them as wide as the longest.
    names, rest = [row[0] for row in rows], columns([row[1:] for row in rows], right=(1, 2) if is_plan else range(1, 6))
    return [f"  {name}  {line}".rstrip() for name, line in zip(names, rest, strict=True)]


def failure_lines(result: ItemResult) -> list[str]:
    """Return which item failed, and its message whole."""
    head, *rest = result.message.splitlines() or ["no message"]
    word = word_of(result)
    first = f"{word:<{WORD}} {safe(result.item.name)}: {head}"
    return [first, *(f"{'':{WORD + 1}}{line}".rstrip() for line in rest)]


def detail_lines(result: ItemResult) -> list[str]:
    """Return what was decided for an item, and what it was told."""
    rows = [("source", safe(result.item.source)), ("out", safe(result.out))]
    rows += [("from", safe(result.item.where))] if result.item.where else []
    rows += [("set-up", safe(result.setup))] if result.setup else []
    rows += [(name, safe(value)) for name, value in settings_told(result.item.settings)]
    for half in result.halves:
        rows.append((safe(half["half"]), safe(half["verification"]["text"])))
    rows += [(safe(refusal["half"]), f"refused: {safe(refusal['reason'])}") for refusal in result.refused]
    return [safe(result.item.name), *(f"  {line}" for line in columns(rows))]


def _amounts(result: ItemResult) -> list[str]:
    facts = [facts_of(half) for half in result.halves]
    return [
        "both" if len(facts) > 1 else "".join(safe(half.half) for half in facts),
        f"{sum(half.parameters for half in facts):,}" if facts else "",
        size(sum(half.nbytes for half in facts)) if facts else "",
    ]


def _figures(result: ItemResult) -> list[str]:
    worst = totals_of([result]).worst
    return [*(tell_figure(worst.get(rung)) for rung in RUNGS), duration(result.seconds), word_of(result)]


def _reason(error: Mapping[str, Any]) -> str:
    """Return why an item failed: the first state that differs, or the kind of the error in words.

    >>> _reason({"kind": "ChecksumError", "facts": {}}), _reason({"kind": "NotACheckpoint", "facts": {}})
    ('checksum', 'not a checkpoint')
    """
    kind, where = str(error.get("kind", "")), error.get("facts", {}).get("where")
    if kind == ParityError.__name__ and isinstance(where, str):
        return safe(where.partition(",")[0])
    words = re.findall("[A-Z][a-z]*", kind)
    return " ".join(words[:-1] if words[-1:] == ["Error"] else words).lower()


def _halves(result: ItemResult) -> str:
    if result.halves:
        return safe(", ".join(half["half"] for half in result.halves))
    asked = str(result.item.settings.get("export", ""))
    return {"both": "discriminator, generator", "available": ""}.get(asked, asked)
