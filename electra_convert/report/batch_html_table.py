"""The table of a batch's page: an item is a body of two rows, its figures and, folded, its details.

    item              verdict  set-up   halves         layers  hidden  parameters   weights  type     proof      time
    korean/small      ok       shared   discriminator      12     256  13,549,057  51.7 MiB  float32  ▇▇▇ 8e-16  4.1 s
    ▸ ckpts/korean/small, step 1000000, 1 warning

Cells that hold something for each half have a line for each. `data-key` is what a column is sorted by, where that is
not the text of the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from electra_convert.report.batch_plot import plot_half, tell_proof
from electra_convert.report.batch_results import (
    BAD,
    WORDS,
    HalfFacts,
    Totals,
    duration,
    facts_of,
    settings_told,
    tell_figure,
    totals_of,
    word_of,
)
from electra_convert.report.html_page import escape
from electra_convert.report.lines import count
from electra_convert.report.text import SOURCES, size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from electra_convert.batching.outcomes import ItemResult

# Title, name in the page's address, class. A class `number` is sorted as numbers.
COLUMNS = (
    ("Item", "name", ""),
    ("Verdict", "status", ""),
    ("Set-up", "setup", ""),
    ("Halves", "halves", ""),
    ("Layers", "layers", "number"),
    ("Hidden", "hidden", "number"),
    ("Parameters", "parameters", "number"),
    ("Weights", "size", "number"),
    ("Type", "type", ""),
    ("Proof", "proof", "number picture"),
    ("Time", "time", "number"),
)

# On a phone an item is a card, and each figure stands beside its title.
_TITLES = "".join(
    f'.items td:nth-child({number})::before {{ content: "{title}"; }}'
    for number, (title, _, _) in enumerate(COLUMNS[1:], start=2)
)
TITLES_STYLE = f"@media screen and (max-width: 760px) {{ {_TITLES} }}"


def items_table(results: Sequence[ItemResult], totals: Totals) -> str:
    """Return the filter, hidden where no script runs, and the table."""
    head = "".join(f'<th scope="col" data-column="{name}"{_class(kind)}>{title}</th>' for title, name, kind in COLUMNS)
    bodies = "".join(_body(number, result) for number, result in enumerate(results))
    explained = (
        '<p class="legend"><span class="key float64"></span> float64 <span class="key float32"></span> float32: '
        "the largest difference from the references as a share of scale, on a log scale from 1e-17 to 1. The line is "
        "the limit, and what is shaded is beyond it; float32's limit, 8 × its own noise, is drawn where it is on "
        "record.</p>"
    )
    return (
        f'{_filter(totals)}<div class="wide" tabindex="0" role="region" aria-label="Table of items">'
        f'<table class="items"><thead><tr>{head}</tr></thead>{bodies}</table></div>{explained}'
    )


def _filter(totals: Totals) -> str:
    buttons = "".join(
        f'<button type="button" class="{word.lower()}" data-status="{word.lower()}" aria-pressed="false">'
        f"{word} <b>{number:,}</b></button>"
        for word, number in totals.words.items()
        if number
    )
    return (
        '<div class="filter" hidden><label>Filter <input type="search" placeholder="a name, a set-up, a message">'
        f'</label> <span class="statuses" role="group" aria-label="Verdicts to show">{buttons}</span> '
        '<button type="button" class="reset" hidden>Show all</button> <output aria-live="polite"></output></div>'
    )


def _body(number: int, result: ItemResult) -> str:
    word = word_of(result).lower()
    return (
        f'<tbody data-status="{word}" id="item-{number + 1}"><tr>{_cells(result)}</tr>'
        f'<tr class="more"><td colspan="{len(COLUMNS)}"><details><summary>{_summary(result)}</summary>'
        f"{_details(result)}</details></td></tr></tbody>\n"
    )


def _cells(result: ItemResult) -> str:
    word, facts = word_of(result), [facts_of(half) for half in result.halves]
    worst = totals_of([result]).worst
    farthest = worst.get("float64") or worst.get("float32")
    cells = [
        f'<th scope="row"><span>{escape(result.item.name)}</span></th>',
        f'<td data-key="{list(WORDS).index(word)}"><span class="chip {word.lower()}">{word}</span></td>',
        f'<td class="setup">{escape(result.setup)}</td>',
        _lines(facts, lambda half: escape(half.half), key=len(facts)),
        _lines(
            facts, lambda half: _number(half.layers), "number", max((half.layers or 0 for half in facts), default=0)
        ),
        _lines(
            facts, lambda half: _number(half.hidden), "number", max((half.hidden or 0 for half in facts), default=0)
        ),
        _lines(facts, lambda half: _number(half.parameters), "number", sum(half.parameters for half in facts)),
        _lines(facts, lambda half: size(half.nbytes), "number", sum(half.nbytes for half in facts)),
        _lines(facts, lambda half: escape(half.dtype)),
        _lines(facts, _proof, "number picture", farthest.share if farthest else ""),
        f'<td class="number" data-key="{result.seconds:.3f}">{duration(result.seconds)}</td>',
    ]
    return "".join(cells)


def _lines(
    facts: Sequence[HalfFacts], tell: Callable[[HalfFacts], str], kind: str = "", key: float | str | None = None
) -> str:
    """Return a cell with a line a half; without halves it is empty, and sorted to the end."""
    sorted_by = "" if key is None else f' data-key="{key if facts else ""}"'
    return f"<td{_class(kind)}{sorted_by}>{''.join(f'<div>{tell(half)}</div>' for half in facts)}</td>"


def _proof(half: HalfFacts) -> str:
    picture = plot_half(half)
    if not picture:
        return '<span class="none">no forward pass</span>'
    return picture + "".join(f" <span>{tell_figure(figure)}</span>" for figure in half.figures.values())


def _summary(result: ItemResult) -> str:
    """Return the line below an item's figures: what went wrong, or where it came from."""
    if word_of(result) in BAD:
        return f'<span class="what">{escape(str((result.error or {}).get("message", "")))}</span>'
    parts = [escape(result.item.source)]
    step = (result.checkpoint or {}).get("step")
    parts += [f"step {step:,}"] if isinstance(step, int) else []
    parts += [count(len(result.warnings), "warning")] if result.warnings else []
    parts += ["one half only" for _ in result.refused[:1]]
    return " · ".join(parts)


def _details(result: ItemResult) -> str:
    checkpoint = result.checkpoint or {}
    rows = [("Source", result.item.source), ("Named in", result.item.where), ("Folder", result.out)]
    if "format" in checkpoint:
        rows.append(("Checkpoint", _checkpoint(checkpoint)))
    rows += [(f"Option {name}", value) for name, value in settings_told(result.item.settings)]
    for half in result.halves:
        rows.append((half["half"].capitalize(), half["verification"]["text"]))
        rows += [("", tell_proof(facts_of(half)))] if facts_of(half).figures else []
        rows += [("", f"not proven: {gap}") for gap in half["verification"].get("unproven", ())]
        rows += [("", line) for line in _by_source(half["config"])]
    rows += [(f"No {refusal['half']}", refusal["reason"]) for refusal in result.refused]
    rows += [("Memory", f"{size(result.peak_memory)} at most, of its process so far")] if result.peak_memory else []
    listed = "".join(f"<dt>{escape(label)}</dt><dd>{escape(fact)}</dd>" for label, fact in rows if fact)
    texts = [result.message] if result.message else []
    texts += [f"{notice.kind}: {notice}" for notice in result.notices]
    told = "".join(f"<pre>{_whole(text)}</pre>" for text in texts)
    return f"<dl>{listed}</dl>{told}"


def _checkpoint(checkpoint: Mapping[str, Any]) -> str:
    step = checkpoint.get("step")
    parts = [checkpoint.get("name", ""), checkpoint["format"], count(checkpoint.get("shards", 1), "shard")]
    parts += [size(checkpoint["nbytes"])] if "nbytes" in checkpoint else []
    return ", ".join([*parts, "step unknown" if step is None else f"step {step:,}"])


def _by_source(config: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which values of a configuration came from which source, a source a line."""
    found = {
        source: ", ".join(f"{key} {its['value']}" for key, its in config.items() if its["source"] == source)
        for source in SOURCES
    }
    return [f"from {source}: {values}" for source, values in found.items() if values]


def _whole(text: str) -> str:
    return "\n".join(escape(line) for line in text.splitlines())


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _most(values: Iterable[int | None]) -> int:
    return max((value or 0 for value in values), default=0)


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
