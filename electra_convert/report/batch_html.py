"""A batch as one HTML page: nothing from elsewhere, readable without its script, dark and light, on a phone, on paper.

    verdict                 DONE, PLANNED, FAILED or STOPPED, in a sentence; how many items became what; totals
    failures                every message whole
    items                   the table: sortable, with a filter box; details of an item below its row
    proofs                  how far apart all halves are, on a log scale, with the limit
    warnings                each once, with the items that have it
    the run                 command, version, date

What is shown is in the address as well: `report.html#status=failed,error&sort=time&order=descending&text=korean`.
All text goes through `escape`, once. A policy in the page forbids it to load anything (`html_page.py`).
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

from electra_convert import __version__
from electra_convert.report.batch_html_script import SCRIPT
from electra_convert.report.batch_html_style import BATCH_STYLE
from electra_convert.report.batch_html_table import TITLES_STYLE, items_table
from electra_convert.report.batch_plot import plot_decades
from electra_convert.report.batch_results import (
    BAD,
    RUNGS,
    WORDS,
    BatchRun,
    Figure,
    Totals,
    duration,
    facts_of,
    tally_told,
    tell_figure,
    totals_of,
    warning_of_items,
    warnings_by_kind,
    word_of,
)
from electra_convert.report.html_page import escape, page, section
from electra_convert.report.html_style import STYLE
from electra_convert.report.lines import count
from electra_convert.report.text import size

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import ItemResult

# Failures that are listed at once, and how many of a long list stand open; a short one is open as a whole.
MOST_FAILURES, OPEN_OF_MANY, SHORT = 20, 2, 6


def html_document(results: Sequence[ItemResult], run: BatchRun) -> bytes:
    """Return a batch as the bytes of an HTML page, with its items in the order of the zoo."""
    totals = totals_of(results)
    word = _word(totals, run)
    body = [
        _header(word, totals, run),
        _totals(totals, run),
        *_failures(results),
        section("Items", items_table(results, totals)),
        *_proofs(results),
        *_warnings(results, run),
        section("The run", _run(run)),
    ]
    return page(f"{word}: {escape(run.out)}", body, STYLE + BATCH_STYLE + TITLES_STYLE, SCRIPT)


def _word(totals: Totals, run: BatchRun) -> str:
    if any(totals.words[word] for word in BAD):
        return "FAILED"
    if run.stopped or not totals.good:
        return "STOPPED"
    return "PLANNED" if totals.words["planned"] else "DONE"


def _header(word: str, totals: Totals, run: BatchRun) -> str:
    kind = {"FAILED": "failed", "STOPPED": "stopped"}.get(word, "passed")
    stopped = f", stopped by {escape(run.stopped)}" if run.stopped else ""
    sentence = f"{count(totals.items, 'checkpoint')}: {tally_told(totals)}, in {duration(run.seconds)}{stopped}."
    parts = [(each, number) for each, number in totals.words.items() if number]
    shares = "".join(f'<i class="{each.lower()}" style="flex-grow:{number}"></i>' for each, number in parts)
    tiles = "".join(
        f'<li><a class="{each.lower()}" href="#status={each.lower()}" title="{WORDS[each]}">'
        f"<b>{number:,}</b> {each}</a></li>"
        for each, number in parts
    )
    return (
        f'<header class="{kind}"><p class="word">{word}</p><h1>{escape(run.out)}</h1><p>{sentence}</p>'
        f'<div class="shares" aria-hidden="true">{shares}</div>'
        f'<nav aria-label="Items by what became of them"><ul class="tiles">{tiles}</ul></nav></header>'
    )


def _totals(totals: Totals, run: BatchRun) -> str:
    worst = {rung: totals.worst[rung] for rung in RUNGS if rung in totals.worst}
    rows = [
        ("Folders", f"{totals.folders:,}", f"{totals.proven:,} proven by forward passes"),
        ("Parameters", _short(totals.parameters), f"{totals.parameters:,} in all folders"),
        ("Weights", size(totals.nbytes), f"{size(totals.written)} written in this run"),
        *((f"Farthest in {rung}", tell_figure(its), _share_told(its)) for rung, its in worst.items()),
        ("Time", duration(run.seconds), _speed(totals, run)),
        ("Warnings", f"{totals.warnings:,}", "told below" if totals.warnings else "nothing to act on"),
    ]
    cells = "".join(f"<div><dt>{label}</dt><dd><b>{figure}</b> {told}</dd></div>" for label, figure, told in rows)
    return f'<dl class="totals">{cells}</dl>'


def _failures(results: Sequence[ItemResult]) -> list[str]:
    failed = [result for result in results if word_of(result) in BAD]
    if not failed:
        return []
    opened = len(failed) if len(failed) <= SHORT else OPEN_OF_MANY
    told = [_failure(result, number < opened) for number, result in enumerate(failed)]
    listed, rest = "".join(told[:MOST_FAILURES]), "".join(told[MOST_FAILURES:])
    more = f'<details class="rest"><summary>{len(failed) - MOST_FAILURES:,} more</summary>{rest}</details>'
    inside = f'<div class="failures">{listed}{more if rest else ""}</div>'
    return [section(count(len(failed), "failure"), inside)]


def _failure(result: ItemResult, is_open: bool) -> str:
    word = word_of(result)
    head, *rest = result.message.splitlines() or ["no message"]
    facts = "\n".join(rest)
    return (
        f"<details{' open' if is_open else ''}><summary>"
        f'<span class="chip {word.lower()}">{word}</span> <strong>{escape(result.item.name)}</strong> '
        f'<span class="what">{escape(head)}</span></summary>{_message(facts)}</details>'
    )


def _message(text: str) -> str:
    lines = "\n".join(escape(line) for line in text.splitlines())
    return f"<pre>{lines}</pre>" if lines.strip() else ""


def _proofs(results: Sequence[ItemResult]) -> list[str]:
    halves = [facts_of(half) for result in results for half in result.halves]
    plots = "".join(plot_decades(rung, halves) for rung in RUNGS)
    if not plots:
        return []
    explained = (
        "<p>How many halves have their largest difference from the references in which decade, as a share of the "
        "tensor's scale (the largest value of the reference), on a log scale. What is shaded is beyond the limit.</p>"
    )
    return [section("Proofs", f'{explained}<div class="plots">{plots}</div>')]


def _warnings(results: Sequence[ItemResult], run: BatchRun) -> list[str]:
    told = [str(notice) for notice in run.notices if notice.kind == "warning"]
    told += [str(warning_of_items(notice, names)) for notice, names in warnings_by_kind(results)]
    if not told:
        return []
    return [section("Warnings", "".join(_message(each) for each in told))]


def _run(run: BatchRun) -> str:
    facts = [
        ("Tool", f"electra-convert {__version__}, Python {platform.python_version()}"),
        ("Date", f"{run.finished:%Y-%m-%d %H:%M} UTC"),
    ]
    rows = "".join(f"<dt>{label}</dt><dd>{escape(fact)}</dd>" for label, fact in facts)
    notes = "".join(f"<li>{escape(notice.message)}</li>" for notice in run.notices if notice.kind == "note")
    noted = f"<ul>{notes}</ul>" if notes else ""
    return f"<dl>{rows}</dl>{noted}<pre><code>{escape(run.command)}</code></pre>"


def _share_told(figure: Figure) -> str:
    return "of its scale" if figure.exact else "of its scale, or less"


def _speed(totals: Totals, run: BatchRun) -> str:
    if not totals.written or run.seconds < 1:
        return "in all"
    return f"{size(round(totals.written / run.seconds))} of weights a second"


def _short(number: int) -> str:
    """Return a count as people say it.

    >>> _short(13_549_057), _short(996)
    ('13.5 million', '996')
    """
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number:,}"
