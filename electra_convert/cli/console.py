"""The only place that knows a terminal: which stream, whether colour, whether anything may move.

Results go to stdout, everything about the run to stderr. Colour is decided per stream, once, in the order
`--color`, NO_COLOR, FORCE_COLOR, TERM=dumb, is it a terminal; it never carries a meaning that words do not.
Movement is a decision of its own: stderr is a terminal, not dumb, not CI, not `-q`; FORCE_COLOR never moves anything.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

import click

from electra_convert.cli.endings import Ending
from electra_convert.errors import ElectraConvertError, EnvironmentFailure, StrictError
from electra_convert.notices import Notice
from electra_convert.progress import Progress, no_progress
from electra_convert.wording import printable

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import BatchEvent, Watch

# By label; what `click.style` takes.
STYLES: dict[str, dict[str, Any]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "note": {"bold": True},
    "hint": {"fg": "cyan"},
}

# The words of a verdict, which stand at the end of a row or begin the last line.
VERDICTS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "FAILED": {"fg": "red", "bold": True},
    "PASSED": {"fg": "green", "bold": True},
    "error": {"fg": "red", "bold": True},
    "skipped": {"fg": "cyan"},
    "dropped": {"fg": "yellow"},
}
VERDICT = re.compile(r"^(PASSED|FAILED|error)(?=  )|(?<=  )(ok|FAILED|error|skipped|dropped)(?=$|  )")

# Long enough for a traceback's line and a path of any system, short enough for a hostile one.
LONGEST_LINE = 5000


def wants_colour(stream: TextIO, choice: str, environment: Mapping[str, str]) -> bool:
    """Decide on colour for one stream. `choice` is the value of `--color`: auto, always or never."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return environment.get("TERM") != "dumb" and stream.isatty()


def may_move(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Decide whether a bar may be drawn and redrawn on a stream."""
    return stream.isatty() and environment.get("TERM") != "dumb" and not environment.get("CI")


class Console:
    """Where a run's words go.

    `json_for` is the command that was asked for `--json`, if it was: then stdout carries exactly one document.
    """

    def __init__(self, json_for: str | None = None) -> None:
        self.debug = False
        self._json_for = json_for
        self._answered = False
        self._started = time.monotonic()
        self._out, self._err = _safe(sys.stdout), _safe(sys.stderr)
        self._paragraphs = 0
        self.choose_colour("auto")

    def choose_colour(self, choice: str) -> None:
        """Follow `--color`."""
        self._out_colour = wants_colour(self._out, choice, os.environ)
        self._err_colour = wants_colour(self._err, choice, os.environ)

    @property
    def out_is_terminal(self) -> bool:
        """Whether a person reads the results as they come."""
        return self._out.isatty()

    @property
    def out_is_coloured(self) -> bool:
        """Whether results may have colour."""
        return self._out_colour

    def show_result(self, lines: Iterable[str]) -> None:
        """Write lines to stdout."""
        if self._paragraphs and self._out.isatty() and self._err.isatty():
            self._paragraph("")  # both streams are one screen there
        _write(self._out, "".join(f"{line}\n" for line in lines))

    def show_verdict(self, lines: Iterable[str]) -> None:
        """Write lines to stdout; with colour, the words of the verdict stand out."""
        self.show_result(map(_emphasised, lines) if self._out_colour else lines)

    def out_takes(self, text: str) -> bool:
        """Return whether stdout's encoding has these characters."""
        try:
            text.encode(self._out.encoding or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def answer(
        self,
        result: Mapping[str, Any],
        warnings: Iterable[Notice],
        *,
        ok: bool = True,
        error: ElectraConvertError | None = None,
    ) -> None:
        """Write the one JSON document of a command that came to its end; `error` is what failed after that."""
        self._document(ok and error is None, result, warnings, error)

    def show_details(self, lines: Iterable[str]) -> None:
        """Write lines about the run to stderr."""
        self._paragraph("".join(f"{line}\n" for line in lines))

    def show_line(self, line: str) -> None:
        """Write a line about the run to stderr, directly below the one before; with colour, its verdict stands out."""
        with suppress(OSError, EnvironmentFailure):
            _write(self._err, f"{_emphasised(line) if self._err_colour else line}\n")
        self._paragraphs = max(1, self._paragraphs)

    def show_notices(self, notices: Iterable[Notice]) -> None:
        """Write warnings and notes to stderr, each in full."""
        for notice in notices:
            self._labelled(notice.kind, str(notice))

    def show_ending(self, ending: Ending) -> None:
        """Write why a run failed: words to stderr and, with `--json`, the document to stdout."""
        notices = ending.error.notices if isinstance(ending.error, StrictError) else ()
        self.show_notices(notices)
        if ending.above:
            self._paragraph("".join(f"{printable(line, LONGEST_LINE)}\n" for line in ending.above))
        self._labelled("error", str(ending.error))
        if self._json_for and not self._answered:
            self._document(False, {}, notices, ending.error)

    @contextmanager
    def progress(self, *, quiet: bool) -> Iterator[Progress]:
        """Give a callback that draws a bar on stderr while the work lasts, where a bar may be drawn."""
        if quiet or not may_move(self._err, os.environ):
            yield no_progress
            return
        from electra_convert.cli.bar import Bar

        bar = Bar(self._err, colour=self._err_colour)
        try:
            yield bar
        finally:
            bar.close()

    @contextmanager
    def watching(self, names: Sequence[str], *, quiet: bool) -> Iterator[Watch]:
        """Give a callback that tells on stderr how a batch goes: a live view where it may move, or a line an item.

        `names` are those of all items.
        """
        if quiet:
            from electra_convert.batching.outcomes import watch_nothing

            yield watch_nothing
            return
        if may_move(self._err, os.environ):
            from electra_convert.cli.live import LiveView

            view = LiveView(self._err, names, colour=self._err_colour)
            try:
                yield view
            finally:
                view.close()
                self._paragraphs = max(self._paragraphs, int(view.wrote))
            return
        from electra_convert.report.batch_text import item_line, name_width, note_line

        width = name_width(names)

        def tell(event: BatchEvent) -> None:
            if event.result is not None and event.result.status != "dropped":
                self.show_line(item_line(event.done, event.total, event.result, width))
            elif event.kind == "note":
                self.show_line(note_line(event))

        yield tell

    def close(self) -> None:
        """Flush; what cannot be written any more is dropped, so that the interpreter's own flush stays quiet."""
        for stream in (self._out, self._err):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    def _document(
        self, ok: bool, result: Mapping[str, Any], warnings: Iterable[Notice], error: ElectraConvertError | None
    ) -> None:
        import json

        from electra_convert import __version__

        document = {
            "schema": f"electra-convert/{self._json_for}/1",
            "version": __version__,
            "ok": ok,
            **result,
            "warnings": [notice.to_json() for notice in warnings],
            "error": error and error.to_json(),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        # Pure ASCII: the same bytes whatever the encoding of stdout.
        text = json.dumps(document, indent=2, allow_nan=False)
        self._answered = True
        _write(self._out, f"{text}\n")

    def _labelled(self, label: str, text: str) -> None:
        body, gap, hint = text.rpartition("\n\nhint: ")
        if gap:
            text = f"{body}\n\n{self._styled('hint')} {hint}"
        self._paragraph(f"{self._styled(label)} {text}\n")

    def _styled(self, label: str) -> str:
        return click.style(f"{label}:", **STYLES[label]) if self._err_colour else f"{label}:"

    def _paragraph(self, text: str) -> None:
        with suppress(
            OSError, EnvironmentFailure
        ):  # a run goes on although nobody listens to what it says about itself
            _write(self._err, text if self._paragraphs == 0 else f"\n{text}")
        self._paragraphs += 1


def _emphasised(line: str) -> str:
    return VERDICT.sub(lambda match: click.style(match[0], **VERDICTS[match[0]]), line)


def _safe(stream: TextIO | None) -> TextIO:
    """Return a stream that takes any text: names must not fail for an encoding, nor a closed stream stop the work."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a "?" would make two names look alike
    return stream


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EnvironmentFailure("cannot write", where=stream.name, found=error.strerror or str(error)) from error
