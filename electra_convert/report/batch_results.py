"""Results of a batch arranged for reading: a word an item, facts a half, totals, warnings by kind.

What text, JSON, JUnit and HTML say in their own ways is decided here once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from electra_convert.notices import Notice
from electra_convert.wording import some

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import ItemResult

# In the order of reports, with what each means.
WORDS = {
    "ok": "converted, and proven as far as its halves say",
    "skipped": "up to date since an earlier run",
    "FAILED": "the answer is no: not equal, or warnings under --strict",
    "error": "could not be converted",
    "dropped": "not done when the run was stopped",
    "planned": "would be converted",
}
BAD = ("FAILED", "error")

OF_STATUS = {"converted": "ok", "up to date": "skipped", "dropped": "dropped", "planned": "planned"}

# The exit code of an answer that is no (`errors.py`).
ANSWER_IS_NO = 1

RUNGS = ("float64", "float32")

# What a switch is where nothing was said; None is neither yes nor no, and every other switch is off.
DEFAULTS = {"tokenizer": True, "verify": None, "cased": None, "strip_accents": None}

# As a share of a tensor's scale, for every tensor (`rungs.py`); float32's limit is its own noise, state by state.
FLOAT64_LIMIT = 1e-10

# Names that a warning lists of the items that have it.
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class BatchRun:
    """How the results were come by: the command that repeats it, how long it took, when it ended, where they are.

    `stopped` says by what the run was stopped, or is empty; `notices` are those of the whole batch; `reports` the files
    that were written about it.
    """

    command: str
    seconds: float
    finished: datetime
    out: str
    stopped: str = ""
    notices: tuple[Notice, ...] = ()
    reports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """The largest difference of a rung as a share of its scale, and its limit where that is known.

    Of an item that is up to date only the next power of ten is on record: then the figure is not `exact`.
    """

    share: float
    exact: bool
    limit: float | None


@dataclass(frozen=True, slots=True)
class HalfFacts:
    """One half, as far as tables show it."""

    half: str
    layers: int | None
    hidden: int | None
    tensors: int
    parameters: int
    nbytes: int
    dtype: str
    state: str
    figures: Mapping[str, Figure]
    rounding: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What a batch comes to; `worst` has the largest difference of each rung over all halves."""

    items: int
    words: Mapping[str, int]
    folders: int
    proven: int
    parameters: int
    nbytes: int
    written: int
    warnings: int
    worst: Mapping[str, Figure]

    @property
    def good(self) -> bool:
        """Whether nothing failed, and nothing was left undone."""
        return not any(self.words[word] for word in (*BAD, "dropped"))

    def to_json(self) -> dict[str, Any]:
        """Return the totals as plain data."""
        counts = {word.lower(): number for word, number in self.words.items()}
        return {
            "items": self.items,
            **counts,
            "folders": self.folders,
            "proven": self.proven,
            "parameters": self.parameters,
            "bytes": self.nbytes,
            "bytes_written": self.written,
            "warnings": self.warnings,
            "worst": {rung: figure.share for rung, figure in self.worst.items()},
        }


def word_of(result: ItemResult) -> str:
    """Return what became of an item in a word of `WORDS`."""
    if result.status == "failed":
        return "FAILED" if (result.error or {}).get("exit_code") == ANSWER_IS_NO else "error"
    return OF_STATUS[result.status]


def facts_of(half: Mapping[str, Any]) -> HalfFacts:
    """Return what tables show of a half; `half` is its plain data (`HalfExport.to_json`)."""
    config = {key: its["value"] for key, its in half["config"].items()}
    rounded, exact = half["verification"]["figures"], half.get("parity") or {}
    figures = {
        rung: _figure(rung, rounded, exact) for rung in RUNGS if (exact.get(rung) or rounded.get(rung)) is not None
    }
    return HalfFacts(
        half=half["half"],
        layers=config.get("num_hidden_layers"),
        hidden=config.get("hidden_size"),
        tensors=half["tensors"],
        parameters=half["parameters"],
        nbytes=half["bytes"],
        dtype=half["dtype"],
        state=half["verification"]["state"],
        figures=figures,
        rounding=exact.get("rounding") or rounded.get("rounding"),
    )


def settings_told(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an item was told apart from the defaults, as (name, value)."""
    told = []
    for name, value in settings.items():
        if isinstance(value, bool):
            if value != DEFAULTS.get(name, False):
                told.append((name, "yes" if value else "no"))
        elif value not in (None, "", (), []):
            told.append((name, _told(value)))
    return told


def totals_of(results: Sequence[ItemResult]) -> Totals:
    """Return what a batch comes to."""
    words = [word_of(result) for result in results]
    halves = [facts_of(half) for result in results for half in result.halves]
    worst = {}
    for rung in RUNGS:
        figures = [half.figures[rung] for half in halves if rung in half.figures]
        if figures:
            worst[rung] = max(figures, key=lambda figure: figure.share)
    return Totals(
        items=len(results),
        words={word: words.count(word) for word in WORDS},
        folders=len(halves),
        proven=sum(half.state == "proven" for half in halves),
        parameters=sum(half.parameters for half in halves),
        nbytes=sum(half.nbytes for half in halves),
        written=sum(result.nbytes for result in results if result.status == "converted"),
        warnings=sum(len(result.warnings) for result in results),
        worst=worst,
    )


def warnings_by_kind(results: Iterable[ItemResult]) -> list[tuple[Notice, list[str]]]:
    """Return every warning once, with the names of the items that have it; the facts are those of the first."""
    found: dict[tuple[str, str], tuple[Notice, list[str]]] = {}
    for result in results:
        for notice in result.warnings:
            names = found.setdefault((notice.code, notice.message), (notice, []))[1]
            if result.item.name not in names[-1:]:
                names.append(result.item.name)
    return list(found.values())


def warning_of_items(notice: Notice, names: Sequence[str]) -> Notice:
    """Return a warning that several items have as one that says which; one item's keeps its facts."""
    if len(names) == 1:
        return Notice(notice.kind, notice.code, notice.message, (("item", names[0]), *notice.facts), notice.hint)
    return Notice(notice.kind, notice.code, notice.message, (("items", tuple(some(names, MOST_NAMES))),), notice.hint)


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(0.34), duration(12.3), duration(72), duration(7500)
    ('0.3 s', '12 s', '1 min 12 s', '2 h 5 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def tell_figure(figure: Figure | None) -> str:
    """Return a figure as tables show it: two digits, or the power of ten that it does not exceed.

    >>> tell_figure(Figure(8.34e-16, True, 1e-10)), tell_figure(Figure(1e-15, False, None)), tell_figure(None)
    ('8.3e-16', '1e-15', '')
    """
    if figure is None:
        return ""
    return f"{figure.share:.1e}" if figure.exact else f"{figure.share:.0e}"


def tally_told(totals: Totals) -> str:
    """Return how many items became what.

    Failures stand last, since the end of a line is what is read.
    """
    order = ("ok", "skipped", "planned", "dropped", "FAILED", "error")
    return ", ".join(f"{totals.words[word]:,} {word}" for word in order if totals.words[word]) or "nothing to do"


def _figure(rung: str, rounded: Mapping[str, float], exact: Mapping[str, Any]) -> Figure:
    limit = exact.get(f"{rung}_limit") or (FLOAT64_LIMIT if rung == "float64" else None)
    share = exact.get(rung)
    return Figure(rounded[rung], False, limit) if share is None else Figure(share, True, limit)


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
