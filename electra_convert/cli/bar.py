"""A progress bar by bytes or by steps: drawn late, gone when done.

Writing             ━━━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━  34.1/51.7 MiB  0:00:01
Verifying: float64  ━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━  step 4 of 5    0:00:03
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from electra_convert.progress import counts_steps

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

# Work that is shorter needs no bar (seconds), and not the 40 ms of importing rich either.
LATE = 0.5


# Names of 1024 to the power of 1, 2 and 3.
UNITS = ("KiB", "MiB", "GiB")


class Bar:
    """A progress callback that draws: one bar, for the phase that is going on."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream, self._colour = stream, colour
        self._started = time.monotonic()
        self._phase = ""
        self._drawing: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show `done` of `total` bytes, or steps, of `what`."""
        if self._drawing is None:
            if time.monotonic() - self._started < LATE:
                return
            self._drawing = self._start()
        phase = what.partition(":")[0]
        if self._task is None or phase != self._phase:
            if self._task is not None:
                self._drawing.remove_task(self._task)
            self._task = self._drawing.add_task(phase, total=total or None, amount="")
            self._phase = phase
        self._drawing.update(
            self._task,
            description=what[:1].upper() + what[1:],
            completed=done,
            total=total or None,
            amount=amount(done, total, what),
        )

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self._drawing is not None:
            self._drawing.stop()

    def _start(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = rich_console(self._stream, colour=self._colour)
        drawing = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        drawing.start()
        console.show_cursor(True)  # a second Ctrl-C ends the process at once, and must not leave the cursor hidden
        return drawing


def rich_console(stream: TextIO, *, colour: bool) -> Console:
    """Return rich's console on a terminal, told what was decided.

    It would ask the environment, and `no_color=True` would leave bold codes.
    """
    from rich.console import Console

    return Console(
        file=stream,
        force_terminal=True,
        force_interactive=True,
        color_system="auto" if colour else None,
        no_color=False,
        markup=False,
        emoji=False,
        highlight=False,
    )


def amount(done: int, total: int, what: str) -> str:
    """Return how much is done of how much, in the unit of the total.

    >>> amount(34 << 20, 51 << 20, "writing"), amount(3, 5, "verifying: float64")
    ('34.0/51.0 MiB', 'step 4 of 5')
    """
    if counts_steps(what):
        return f"step {min(done + 1, total)} of {total}"
    power = next((power for power in range(1, len(UNITS)) if total < 1024 ** (power + 1)), len(UNITS))
    return f"{done / 1024**power:,.1f}/{total / 1024**power:,.1f} {UNITS[power - 1]}"
