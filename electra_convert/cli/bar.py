"""A progress bar by bytes: drawn late, gone when done.

Converting  ━━━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━   34.1/51.7 MiB   0:00:01
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Work that is shorter needs no bar (seconds), and not the 40 ms of importing rich either.
LATE = 0.5


class Bar:
    """A progress callback that draws: one bar, for the phase that is going on."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream, self._colour = stream, colour
        self._started = time.monotonic()
        self._what = ""
        self._drawing: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show `done` of `total` bytes of the phase `what`."""
        if self._drawing is None:
            if time.monotonic() - self._started < LATE:
                return
            self._drawing = self._start()
        if self._task is None or what != self._what:
            if self._task is not None:
                self._drawing.remove_task(self._task)
            self._task = self._drawing.add_task(what, total=total or None)
            self._what = what
        self._drawing.update(self._task, completed=done, total=total or None)

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self._drawing is not None:
            self._drawing.stop()

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

        # rich is told what was decided; it would ask the environment, and `no_color=True` would leave bold codes.
        console = Console(
            file=self._stream,
            force_terminal=True,
            force_interactive=True,
            color_system="auto" if self._colour else None,
            no_color=False,
            markup=False,
            emoji=False,
            highlight=False,
        )
        drawing = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        drawing.start()
        console.show_cursor(True)  # a second Ctrl-C ends the process at once, and must not leave the cursor hidden
        return drawing
