"""A batch as it goes, on a terminal: a bar for each item that is worked on, then how far the whole is.

    korean/small  writing             ━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━  34.1/51.7 MiB  0:00:01
    turkish/base  verifying: float64  ━━━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━  step 4 of 5    0:00:09
    12 of 40                          ━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━  38.2 MiB/s     0:01:12 left
    9 ok, 1 skipped, 1 FAILED, 1 error

Drawn late, and gone when done. What fails from then on is written above it at once, and stays. The drawing never has
more lines than the terminal, nor wider ones; of many items that are worked on, the last are counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, TextIO

from electra_convert.cli.bar import LATE, UNITS, amount, rich_console
from electra_convert.progress import counts_steps
from electra_convert.report.batch_results import BAD, WORDS, word_of
from electra_convert.report.batch_text import item_line, name_width, note_line
from electra_convert.wording import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from electra_convert.batching.outcomes import BatchEvent

# Often enough for a clock of seconds, and for bars.
REDRAWN = 8

# Columns that a terminal must have for an item's amount and clock, and for what is being done.
WIDE, MIDDLE = 76, 48

# "verifying: structure": columns keep their width while what stands in them changes.
WHAT = 20

# Lines about the whole, and one that stays free below: a full screen would scroll.
WHOLE, FREE = 2, 1


@dataclass(slots=True)
class Work:
    """What is going on with an item; `at` is when it was started."""

    at: float
    done: int = 0
    total: int = 0
    what: str = ""


class Course:
    """How far a batch is, from its events; `width` is that of its names."""

    def __init__(self, total: int, width: int = 0) -> None:
        self.total, self.width = total, width
        self.done = 0
        self.words: Counter[str] = Counter()
        self.running: dict[str, Work] = {}
        self.moved = 0
        self.now = 0.0

    def take(self, event: BatchEvent) -> None:
        """Follow an event."""
        self.now = max(self.now, event.at)
        if event.kind == "started":
            self.running[event.item] = Work(event.at)
        elif event.kind == "progress":
            self._progress(self.running.setdefault(event.item, Work(event.at)), event)
        elif event.result is not None:
            self.running.pop(event.item, None)
            self.done += 1
            self.words[word_of(event.result)] += 1

    def rate(self, now: float) -> float:
        """Return the bytes that went through a second, since the start."""
        return self.moved / now if now > 0 else 0.0

    def left(self, now: float) -> float | None:
        """Return the seconds that the rest will take, if it goes on like this; None before anything was worked on.

        What was up to date took no time, and says nothing about what was not.
        """
        worked = sum(self.words[word] for word in ("ok", *BAD))
        begun = worked + len(self.running) / 2
        waiting = self.total - self.done - len(self.running) / 2
        return now / begun * waiting if worked else None

    def tally(self) -> str:
        """Return how many items became what."""
        return ", ".join(f"{self.words[word]:,} {word}" for word in WORDS if self.words[word])

    def _progress(self, work: Work, event: BatchEvent) -> None:
        if not counts_steps(event.what):
            self.moved += max(0, event.done - (work.done if event.what == work.what else 0))
        work.done, work.total, work.what = event.done, event.total, event.what


class LiveView:
    """A callback for a batch's events that draws them; `wrote` says whether lines stay above the drawing."""

    def __init__(self, stream: TextIO, names: Sequence[str], *, colour: bool) -> None:
        self._stream, self._colour = stream, colour
        self._width = name_width(names)
        self._course = Course(len(names), self._width)
        self._started = time.monotonic()
        self._lock = RLock()
        self._console: Console | None = None
        self._live: Live | None = None
        self._early: list[str] = []
        self.wrote = False

    def __call__(self, event: BatchEvent) -> None:
        """Follow an event; write failures and notes above the drawing."""
        with self._lock:
            self._course.take(event)
        if self._live is None and time.monotonic() - self._started >= LATE:
            self._start()
        if event.result is not None and word_of(event.result) in BAD:
            self._tell(item_line(event.done, event.total, event.result, self._width))
        elif event.kind == "note":
            self._tell(note_line(event))

    def close(self) -> None:
        """Remove the drawing from the screen."""
        if self._live is not None:
            self._live.stop()

    def _tell(self, line: str) -> None:
        if self._console is None:
            self._early.append(line)
            return
        self.wrote = True
        self._console.print(_emphasised(line), soft_wrap=True)

    def _start(self) -> None:
        from rich.live import Live

        self._console = console = rich_console(self._stream, colour=self._colour)
        self._live = Live(
            console=console,
            get_renderable=self._drawn,
            refresh_per_second=REDRAWN,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)
        console.show_cursor(True)  # a second Ctrl-C ends the process at once, and must not leave the cursor hidden
        for line in self._early:
            self._tell(line)

    def _drawn(self) -> RenderableType:
        assert self._console is not None
        width, height = self._console.size
        with self._lock:
            return draw(self._course, time.monotonic() - self._started, width, height)


def draw(course: Course, now: float, width: int, height: int) -> RenderableType:
    """Return the drawing for a terminal of `width` columns and `height` lines, at `now` seconds after the start."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    room = max(0, height - WHOLE - FREE)
    running = list(course.running.items())
    shown = running if len(running) <= room else running[: max(0, room - 1)]
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    names = max(8, width // 3)
    grid.add_column(no_wrap=True, overflow="ellipsis", min_width=min(course.width, names), max_width=names)
    if width >= MIDDLE:
        grid.add_column(no_wrap=True, overflow="ellipsis", min_width=min(WHAT, width // 4), max_width=WHAT)
    grid.add_column(ratio=1)
    if width >= WIDE:
        grid.add_column(no_wrap=True, min_width=13)
        grid.add_column(no_wrap=True, min_width=12)

    def row(name: str, what: str, bar: ProgressBar, *rest: str) -> None:
        cells: list[RenderableType] = [Text(name), *([Text(what)] if width >= MIDDLE else []), bar, *map(Text, rest)]
        grid.add_row(*cells[: len(grid.columns)])

    for name, work in shown:
        told = amount(work.done, work.total, work.what) if work.what else ""
        bar = ProgressBar(total=work.total or None, completed=work.done, pulse=not work.total)
        row(printable(name), printable(work.what), bar, told, _clock(now - work.at))
    if room and len(running) > len(shown):
        row(f"and {len(running) - len(shown)} more", "", ProgressBar(total=1, completed=0), "", "")
    left = course.left(now)
    whole = ProgressBar(total=course.total or 1, completed=course.done)
    row(f"{course.done:,} of {course.total:,}", "", whole, _speed(course.rate(now)), _left(left))
    tally = course.tally() if width >= WIDE or left is None else f"{course.tally()}, {_left(left)}"
    if height <= WHOLE or not tally:
        return grid
    return Group(grid, _emphasised(tally))


def _emphasised(line: str) -> Text:
    """Return a line in which the verdicts stand out, cut where it is drawn if it is too long."""
    from rich.text import Text

    text = Text(line, no_wrap=True, overflow="ellipsis")
    text.highlight_words(["ok"], style="green")
    text.highlight_words(BAD, style="bold red")
    return text


def _clock(seconds: float) -> str:
    """Return a duration as bars show it.

    >>> _clock(72)
    '0:01:12'
    """
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{_clock(seconds)} left"


def _speed(rate: float) -> str:
    if not rate:
        return ""
    power = next((power for power in range(1, len(UNITS)) if rate < 1024 ** (power + 1)), len(UNITS))
    return f"{rate / 1024**power:,.1f} {UNITS[power - 1]}/s"
