"""An exception that is none of ours, told in the form of one that is: the system, memory, or a bug."""

from __future__ import annotations

import sys

from electra_convert import __version__
from electra_convert.errors import ElectraConvertError, EnvironmentFailure


class Bug(ElectraConvertError):
    """An exception that nobody expected."""


def as_ours(error: BaseException) -> ElectraConvertError:
    """Return the error to show for an exception: itself if it is ours; what is no failure of the system is a bug.

    >>> str(as_ours(MemoryError()))
    'not enough memory'
    """
    if isinstance(error, ElectraConvertError):
        return error
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, MemoryError):
        return EnvironmentFailure("not enough memory")
    import platform

    return Bug(
        "this is a bug in electra-convert",
        found=f"{type(error).__name__}: {error}",
        version=f"{__version__}, Python {platform.python_version()}, {sys.platform}",
        hint="please report this with the lines above",
    )


def traceback_lines(error: BaseException) -> tuple[str, ...]:
    """Return the traceback of an exception, to stand above a bug."""
    from traceback import format_exception

    return tuple("".join(format_exception(error)).splitlines())


def lower_first(text: str) -> str:
    """Return a text of somebody else with a small letter at its beginning, as our messages have it."""
    return text[:1].lower() + text[1:]


def _system(error: OSError) -> EnvironmentFailure:
    reason = error.strerror or str(error) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return EnvironmentFailure(lower_first(reason), where=names or None)
