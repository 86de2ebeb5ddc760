"""The full sets of the output's faults, as rows of a table: `output_rows()`; about a quarter of an hour on two cores.

Needs `tests/` and `tests/faults/` on the path, as pytest puts them there. What cannot be done here (mounting, strace)
makes no row.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import output_experiments as experiments
from output_rig import Scene, Tally, forking

Row = tuple[str, int, int, int, int, int]
"""Fault, cases, ended as promised with OUT as it was, OUT is the new folder whole, wrong, crashed."""


def output_rows(tell: Callable[[Tally], None] = lambda tally: None) -> list[Row]:
    """Run every disturbance in full and return the table; `tell` is called with each row as it is done."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for tally in _tallies(Path(temporary)):
            tell(tally)
            rows.append(tally.row())
    return rows


def _tallies(base: Path) -> Iterator[Tally]:
    for name in ("scene", "proven"):
        (base / name).mkdir()
    scene = Scene(base / "scene")
    with forking(base / "one") as one, forking(base / "other") as other:
        yield experiments.kills_at_calls(scene, one, count=None)
        yield experiments.kills_at_random(scene, one, count=500)
        yield experiments.kills_of_whole_processes(scene, count=60)
        yield experiments.signals_at_calls(scene, one, count=None)
        yield experiments.signals_at_random(scene, one, count=500)
        yield experiments.signals_to_whole_processes(scene, count=60)
        yield experiments.second_signals(scene, one, count=100)
        for code in (errno.EIO, errno.ENOSPC, errno.EACCES):
            yield experiments.failing_calls(scene, code)
        yield experiments.failing_calls(scene, errno.EIO, ever_after=True)
        if shutil.which("strace"):
            yield experiments.failing_system_calls(scene, "EIO", step=5)
            yield experiments.failing_system_calls(scene, "ENOSPC", step=5)
        try:
            yield experiments.full_disks(scene, one, pages=range(40))
            yield experiments.unwritable_places(scene)
        except PermissionError:
            pass
        yield experiments.limited_files(scene, one, limits=range(0, 24_000, 197))
        yield experiments.two_writers(scene, one, other, rounds=200)
        yield experiments.odd_places(scene)
        yield experiments.changing_sources(scene, step=3)
        yield experiments.closed_pipes(scene)
        yield experiments.short_of_memory(scene, one, range(0, 8192, 64))
    proven = Scene(base / "proven", verify=True)
    with forking(base / "proving", "torch") as proving:
        yield experiments.signals_at_random(proven, proving, count=100, flags=())


def _print(tally: Tally) -> None:
    fault, cases, kept, new, wrong, crashed = tally.row()
    print(f"{fault:55} {cases:5} {kept:5} {new:5} {wrong:3} {crashed:3}  slowest {tally.slowest:.2f} s", flush=True)
    for line in tally.wrong + tally.crashed:
        print("    " + line.replace("\n", "\n        "), flush=True)


if __name__ == "__main__":
    output_rows(_print)
