"""Whole processes: how long they take, how much processor time, and their peak memory."""

from __future__ import annotations

import mmap
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MB = 1e6

# A process inherits the peak of the one it was forked from, so a small one stands between.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
      file=sys.stderr)
"""


class Ballast:
    """Memory that is held while nothing is measured, and given free right before what is.

    Every two seconds a virtual machine gives free memory back to its host, and the next to use it gets it back page by
    page, at a tenth of the speed: a figure would hang on what ran, and was removed, some seconds before.
    """

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._memory: mmap.mmap | None = None

    def hold(self) -> None:
        """Take the memory, and use every page of it."""
        if self._memory is None:
            self._memory = mmap.mmap(-1, self._nbytes)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                self._memory.madvise(mmap.MADV_HUGEPAGE)
            for page in range(0, self._nbytes, mmap.PAGESIZE):
                self._memory[page] = 1

    def free(self) -> None:
        """Give it to whoever comes next."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None


class Run(NamedTuple):
    """Seconds, processor seconds, and peak memory in MB."""

    wall: float
    cpu: float
    memory: float


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command that must succeed."""
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        env=dict(os.environ if environment is None else environment),
    )
    status, wall, cpu, peak = answer.stderr.splitlines()[-1].split()
    if status != "0":
        raise SystemExit(f"{' '.join(command)} ended with {status}\n{answer.stderr}")
    return Run(float(wall), float(cpu), float(peak) * 1024 / MB)


def median(runs: Sequence[Run]) -> Run:
    """Return the median of each column."""
    return Run(*(statistics.median(column) for column in zip(*runs, strict=True)))


def ratio(runs: Sequence[Run], others: Sequence[Run]) -> float:
    """Return the median of the ratios, round by round, of the seconds of two commands."""
    return statistics.median(one.wall / other.wall for one, other in zip(runs, others, strict=True))
