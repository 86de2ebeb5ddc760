"""The full sets of the output's faults, as rows of a table; about a quarter of an hour on two cores.

Needs `tests/` and `tests/faults/` on the path, as pytest puts them there. What cannot be done on a machine (mounting,
strace) makes no row there.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import output_experiments as experiments
from output_rig import Forker, Scene, Tally, forking
from rows import Row

Experiment = Callable[[Scene, Forker], Tally]
Job = Callable[[Callable[[str], object]], Row]

EXPERIMENTS: dict[str, Experiment] = {
    "kill -9 before call N": lambda scene, one: experiments.kills_at_calls(scene, one, count=None),
    "kill -9 at a random moment": lambda scene, one: experiments.kills_at_random(scene, one, count=500),
    "kill -9 of a process from its start on": lambda scene, one: experiments.kills_of_whole_processes(scene, count=60),
    "signal before call N": lambda scene, one: experiments.signals_at_calls(scene, one, count=None),
    "signal at a random moment": lambda scene, one: experiments.signals_at_random(scene, one, count=500),
    "signal to a process from its start on": lambda scene, one: experiments.signals_to_whole_processes(scene, count=60),
    "a second signal while cleaning up": lambda scene, one: experiments.second_signals(scene, one, count=100),
    "call N fails: EIO": lambda scene, one: experiments.failing_calls(scene, errno.EIO),
    "call N fails: ENOSPC": lambda scene, one: experiments.failing_calls(scene, errno.ENOSPC),
    "call N fails: EACCES": lambda scene, one: experiments.failing_calls(scene, errno.EACCES),
    "call N and all after it fail": lambda scene, one: experiments.failing_calls(scene, errno.EIO, ever_after=True),
    "file size limit": lambda scene, one: experiments.limited_files(scene, one, limits=range(0, 24_000, 197)),
    "two writers on one OUT": lambda scene, one: _two_writers(scene, one),
    "OUT a file, a link, misplaced, the checkpoint itself": lambda scene, one: experiments.odd_places(scene),
    "the checkpoint changes during the run": lambda scene, one: experiments.changing_sources(scene, step=3),
    "stdout closed or full": lambda scene, one: experiments.closed_pipes(scene),
    "memory limit": lambda scene, one: experiments.short_of_memory(scene, one, range(0, 8192, 64)),
}
WITH_STRACE: dict[str, Experiment] = {
    "system call N fails (strace): EIO": lambda scene, one: experiments.failing_system_calls(scene, "EIO", step=5),
    "system call N fails (strace): ENOSPC": lambda scene, one: experiments.failing_system_calls(
        scene, "ENOSPC", step=5
    ),
}
WITH_MOUNT: dict[str, Experiment] = {
    "disk full": lambda scene, one: experiments.full_disks(scene, one, pages=range(40)),
    "OUT a mount point, or read-only": lambda scene, one: experiments.unwritable_places(scene),
}
WITH_TORCH: dict[str, Experiment] = {
    "signal at a random moment of a proof": lambda scene, one: experiments.signals_at_random(
        scene, one, count=100, flags=()
    ),
}


def output_jobs() -> dict[str, Job]:
    """Return what is to be run, by fault; each job is given what to call with its progress, and returns its row."""
    plain = {**EXPERIMENTS, **(WITH_STRACE if shutil.which("strace") else {}), **(WITH_MOUNT if _can_mount() else {})}
    jobs = {fault: _job(fault, experiment) for fault, experiment in plain.items()}
    return jobs | {fault: _job(fault, experiment, "torch") for fault, experiment in WITH_TORCH.items()}


def _job(fault: str, experiment: Experiment, *preloaded: str) -> Job:
    def run(tick: Callable[[str], object]) -> Row:
        tick("running")
        with tempfile.TemporaryDirectory() as temporary, forking(Path(temporary) / "forker", *preloaded) as forker:
            scene = Scene(Path(temporary) / "scene", verify=bool(preloaded))
            tally = experiment(scene, forker)
        for line in tally.wrong + tally.crashed:
            tick(f"{fault}: {line}\n")
        return Row(fault, tally.cases, tally.detected, tally.identical, len(tally.wrong), len(tally.crashed))

    return run


def _two_writers(scene: Scene, one: Forker) -> Tally:
    with forking(scene.base / "other") as other:
        return experiments.two_writers(scene, one, other, rounds=200)


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with experiments.small_disk(Path(temporary) / "disk"):
                return True
        except PermissionError:
            return False
