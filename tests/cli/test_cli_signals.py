"""A signal to stop is not lost where Python would drop the exception."""

from __future__ import annotations

import os
import signal
import time
from types import CodeType

import pytest

from electra_convert.cli.signals import Stopped, stopping_by_exception


def code_of_the_import_system(source: str) -> CodeType:
    """Return code that stands, by its file name, where import locks are freed."""
    return compile(source, "<frozen importlib._bootstrap>", "exec")


def test_it_waits_until_the_import_system_is_left() -> None:
    """Raised there it would be printed and dropped; it comes within a moment after."""
    reached = []
    code = code_of_the_import_system("kill(getpid(), number); reached.append(True)")
    names = {"kill": os.kill, "getpid": os.getpid, "number": signal.SIGTERM, "reached": reached}
    with pytest.raises(Stopped), stopping_by_exception() as stops:  # noqa: PT012 - the block is what is interrupted
        exec(code, names)
        time.sleep(1)
    assert reached == [True]
    assert [stop.signal for stop in stops] == [signal.SIGTERM]


def test_one_that_waits_when_all_is_done_changes_nothing() -> None:
    code = code_of_the_import_system("kill(getpid(), number)")
    with stopping_by_exception() as stops:
        exec(code, {"kill": os.kill, "getpid": os.getpid, "number": signal.SIGTERM})
    time.sleep(0.05)
    assert stops == []
