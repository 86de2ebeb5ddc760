"""A verdict as one HTML page: nothing from elsewhere, readable without its script, dark and light, on a phone.

    verdict                       PASSED or FAILED, in a sentence
    what was compared             checkpoint, folders, references, versions, date
    what failed, why,
    what was not proven           in words
    differences                   a plot for each rung: bars on a log scale, the limit as a line
    checks                        every check, with a filter box
    how to repeat it              the command

All text goes through `escape`, once. A policy in the page forbids it to load anything (`html_page.py`).
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from electra_convert import __version__
from electra_convert.report import verdict
from electra_convert.report.html_page import escape, page, section
from electra_convert.report.html_style import SCRIPT, STYLE
from electra_convert.report.lines import count
from electra_convert.report.plot import plot_series
from electra_convert.report.text import size
from electra_convert.report.verdict import Run

if TYPE_CHECKING:
    from electra_convert.parity import HalfParity, Parity
    from electra_convert.rungs import Check

# Failures that are told before the table of all checks.
MOST_FAILURES = 5

# Faults of one check that are shown; the others are in `--json`.
MOST = 100


def html_document(parity: Parity, run: Run) -> bytes:
    """Return a verdict as the bytes of an HTML page."""
    word = "PASSED" if parity.passed else "FAILED"
    name = escape(parity.checkpoint.name)
    body = [
        f'<header class="{word.lower()}"><p class="word">{word}</p><h1>{name}</h1><p>{_sentence(parity)}</p></header>',
        section("What was compared", _compared(parity, run)),
    ]
    for half in parity.halves:
        body += _half(half, half.half.capitalize() if len(parity.halves) > 1 else "")
    body.append(section("How to repeat it", f"<pre><code>{escape(run.command)}</code></pre>"))
    return page(f"{word}: {name}", body, STYLE, SCRIPT)


def _sentence(parity: Parity) -> str:
    total = count(len(parity.checks), "check")
    gaps = sum(len(half.unproven) for half in parity.halves)
    if parity.passed:
        beside = f", but {count(gaps, 'thing')} could not be proven" if gaps else ""
        return f"{total} hold{beside}: the folder computes what its checkpoint computes."
    failed = [(half, check) for half in parity.halves for check in half.failed]
    half, first = failed[0]
    which = f"{half.half}, " if len(parity.halves) > 1 else ""
    return f"{len(failed)} of {total} do not hold; the first is {which}{escape(verdict.tell_check(first))}."


def _compared(parity: Parity, run: Run) -> str:
    checkpoint = parity.checkpoint
    step = "unknown" if checkpoint.step is None else str(checkpoint.step)
    facts = [
        ("Checkpoint", checkpoint.prefix),
        ("", f"{checkpoint.format}, {count(checkpoint.shards, 'shard')}, {size(checkpoint.nbytes)}, step {step}"),
    ]
    for half in parity.halves:
        facts += [("Folder", half.folder), ("", f"{half.told}, {half.dtype}")]
        facts += [("References", ", ".join(half.references))] if half.references else []
    facts += [
        ("Inputs", f"{verdict.INPUTS}; seed {parity.seed}"),
        ("Tool", f"electra-convert {__version__}, Python {platform.python_version()}"),
        ("Date", f"{run.finished:%Y-%m-%d %H:%M} UTC, in {run.seconds:.1f} s"),
    ]
    rows = "".join(
        f"<dt>{label}</dt><dd>{escape(fact)}</dd>" if label else f"<dd>{escape(fact)}</dd>" for label, fact in facts
    )
    return f"<dl>{rows}</dl>"


def _half(half: HalfParity, name: str) -> list[str]:
    head = f"{name}: " if name else ""
    sections = []
    if half.failed:
        sections.append(section(f"{head}what failed, worst first", _failures(half)))
    if half.explanations:
        sections.append(section(f"{head}why it differs", _list(half.explanations)))
    if half.unproven:
        sections.append(section(f"{head}what was not proven", _list(half.unproven)))
    series = verdict.find_series(half)
    if series:
        plots = "".join(plot_series(its) for its in series)
        explained = (
            "<p>The largest difference of each hidden state and of the logits, as a share of its scale (the largest "
            "value of the reference), on a log scale. The line is the limit.</p>"
        )
        sections.append(section(f"{head}differences", f'{explained}<div class="plots">{plots}</div>'))
    sections.append(section(f"{head}checks", _table(half)))
    return sections


def _failures(half: HalfParity) -> str:
    failures = verdict.find_failures(half)
    told = [
        f"<strong>{escape(verdict.tell_check(check))}</strong><br>"
        + "<br>".join(escape(fault) for fault in _some(verdict.tell_faults(check)))
        for check in failures[:MOST_FAILURES]
    ]
    rest = len(failures) - len(told)
    told += [f"and {rest} more, in the table of checks"] if rest else []
    return f"<ul>{''.join(f'<li>{each}</li>' for each in told)}</ul>"


def _list(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def _table(half: HalfParity) -> str:
    """Return every check of a half; the filter box appears where scripts run."""
    head = "".join(
        f'<th scope="col"{kind}>{title}</th>'
        for title, kind in [
            ("Check", ""),
            ("Found", ' class="number"'),
            ("Limit", ' class="number"'),
            ("Verdict", ""),
            ("Where, and why that limit", ""),
        ]
    )
    groups = []
    for one in verdict.find_sections(half):
        rows = "".join(_row(row.name, row.check) for row in one.rows)
        groups.append(
            f'<tbody><tr class="group"><th colspan="5" scope="rowgroup">{escape(one.title)}</th></tr>{rows}</tbody>'
        )
    for rung in verdict.find_missed(half):
        groups.append(
            f'<tbody><tr class="group"><th colspan="5" scope="rowgroup">{rung}</th></tr>'
            f'<tr><th scope="row">not run</th><td colspan="4">{verdict.NOT_RUN}</td></tr></tbody>'
        )
    box = (
        '<p class="filter" hidden><label>Filter <input type="search" placeholder="layer 3, FAILED"></label> '
        '<output aria-live="polite"></output></p>'
    )
    return (
        f'<div class="checks">{box}<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"{''.join(groups)}</table></div></div>"
    )


def _row(name: str, check: Check) -> str:
    word, kind = ("ok", "") if check.passed else ("FAILED", ' class="failed"')
    cells = "".join(
        f'<td class="{"number" if isinstance(value, float) else "told"}">{escape(verdict.tell_number(value))}</td>'
        for value in (check.found, check.limit)
    )
    return (
        f'<tr{kind}><th scope="row">{escape(name)}</th>{cells}<td class="word">{word}</td>'
        f"<td>{_behind(check)}</td></tr>"
    )


def _behind(check: Check) -> str:
    if isinstance(check.limit, float):
        return escape("; ".join(part for part in (check.where, check.reason) if part))
    faults = check.reason.split("; ") if check.reason else []
    return "<br>".join(escape(fault) for fault in _some(faults))


def _some(faults: Sequence[str]) -> Sequence[str]:
    return faults if len(faults) <= MOST else [*faults[:MOST], f"and {len(faults) - MOST} more"]
