"""What ended a run, as an exit code and as an error that can be shown.

     0  done                        4  the environment failed: OUT exists, disk full, permission, missing extra
     1  the answer is no           70  a bug of ours
     2  usage                     128 + the signal's number: stopped by it (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP)
     3  the input was refused     141  whoever read our output has gone

Errors of our own know their code (`errors.py`); this is about everything else that can come out of a command.
"""

from __future__ import annotations

from typing import NamedTuple

import click

from electra_convert.cli.signals import Stopped
from electra_convert.errors import ElectraConvertError, UsageError
from electra_convert.unexpected import Bug, as_ours, lower_first, traceback_lines

CLOSED_PIPE = 141  # what a shell shows for SIGPIPE
SIGNALLED = 128  # what a shell adds to the number of the signal
INTERRUPT = 2  # SIGINT, on every system


class Interruption(ElectraConvertError):
    """The process was asked to stop."""


class Ending(NamedTuple):
    """How a run failed: its exit code, what to show, and lines to show above that (usage, a traceback)."""

    status: int
    error: ElectraConvertError
    above: tuple[str, ...] = ()


def ending_of(error: BaseException, *, debug: bool = False) -> Ending:
    """Return how `error` ends the run; with `debug` with its traceback."""
    traceback = traceback_lines(error) if debug else ()
    if isinstance(error, click.ClickException):
        usage, ours = _usage(error)
        return Ending(ours.exit_code, ours, (*traceback, *usage))
    if isinstance(error, KeyboardInterrupt):
        number = error.signal if isinstance(error, Stopped) else INTERRUPT
        return Ending(SIGNALLED + number, Interruption("interrupted; nothing half-written is left"), traceback)
    shown = as_ours(error)
    return Ending(shown.exit_code, shown, traceback_lines(error) if isinstance(shown, Bug) else traceback)


def _usage(error: click.ClickException) -> tuple[tuple[str, ...], UsageError]:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return tuple(error.format_message().splitlines()), UsageError("no command given")
    message = " ".join(error.format_message().split()).removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    usage = tuple(context.get_usage().splitlines()) if context else ()
    hint = f"{context.command_path} --help" if context else None
    return usage, UsageError(lower_first(message), hint=hint)
