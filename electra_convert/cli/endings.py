"""What ended a run, as an exit code and as an error that can be shown.

     0  done                        4  the environment failed: OUT exists, disk full, permission, missing extra
     1  the answer is no           70  a bug of ours
     2  usage                     128 + the signal's number: stopped by it (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP)
     3  the input was refused     141  whoever read our output has gone

Errors of our own know their code (`errors.py`); this is about everything else that can come out of a command.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

import click

from electra_convert import __version__
from electra_convert.cli.signals import Stopped
from electra_convert.errors import ElectraConvertError, EnvironmentFailure, UsageError

CLOSED_PIPE = 141  # what a shell shows for SIGPIPE
SIGNALLED = 128  # what a shell adds to the number of the signal
INTERRUPT = 2  # SIGINT, on every system


class Bug(ElectraConvertError):
    """An exception that nobody expected."""


class Interruption(ElectraConvertError):
    """The process was asked to stop."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run failed: its exit code, what to show, and lines to show above that (usage, a traceback)."""

    status: int
    error: ElectraConvertError
    above: tuple[str, ...] = ()


def ending_of(error: BaseException, *, debug: bool = False) -> Ending:
    """Return how `error` ends the run; with `debug` with its traceback."""
    traceback = _traceback(error) if debug else ()
    if isinstance(error, ElectraConvertError):
        return Ending(error.exit_code, error, traceback)
    if isinstance(error, click.ClickException):
        usage, ours = _usage(error)
        return Ending(ours.exit_code, ours, (*traceback, *usage))
    if isinstance(error, KeyboardInterrupt):
        number = error.signal if isinstance(error, Stopped) else INTERRUPT
        return Ending(SIGNALLED + number, Interruption("interrupted; nothing half-written is left"), traceback)
    if isinstance(error, OSError):
        return Ending(EnvironmentFailure.exit_code, _system(error), traceback)
    if isinstance(error, MemoryError):
        return Ending(EnvironmentFailure.exit_code, EnvironmentFailure("not enough memory"), traceback)
    return Ending(Bug.exit_code, _bug(error), _traceback(error))


def _usage(error: click.ClickException) -> tuple[tuple[str, ...], UsageError]:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return tuple(error.format_message().splitlines()), UsageError("no command given")
    message = " ".join(error.format_message().split()).removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    usage = tuple(context.get_usage().splitlines()) if context else ()
    hint = f"{context.command_path} --help" if context else None
    return usage, UsageError(_lower_first(message), hint=hint)


def _system(error: OSError) -> EnvironmentFailure:
    reason = error.strerror or str(error) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return EnvironmentFailure(_lower_first(reason), where=names or None)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _bug(error: BaseException) -> Bug:
    return Bug(
        "this is a bug in electra-convert",
        found=f"{type(error).__name__}: {error}",
        version=f"{__version__}, Python {platform.python_version()}, {sys.platform}",
        hint="please report this with the lines above",
    )


def _traceback(error: BaseException) -> tuple[str, ...]:
    from traceback import format_exception

    return tuple("".join(format_exception(error)).splitlines())
