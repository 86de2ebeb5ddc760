"""A process of `serving.py` as the batch sees it: started, given tasks, listened to, ended."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from electra_convert.batching.working import Task
from electra_convert.errors import EnvironmentFailure

# What says how many threads OpenMP (torch), the BLAS of NumPy, Apple's Accelerate and TensorFlow start.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)

# Threads of OpenMP and OpenBLAS that wait for work keep their processor busy for a while (OpenBLAS for 2^26 cycles; 2^4
# is the least it takes). Where anybody else wants it, that makes small checkpoints several times slower: on two
# processors with a load of 2, 0.36 s each against 0.09.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}

# The parent's path, whatever made it. `multiprocessing` would do this too, and run the user's main module again.
PATH_VARIABLE = "ELECTRA_CONVERT_PATH"
BOOT = f"import os, sys; sys.path[:] = os.environ.pop('{PATH_VARIABLE}').split(os.pathsep)"
SERVE = "from electra_convert.batching.serving import serve; serve()"

# Bytes of stderr that are looked at for its last words.
MOST_SAID = 4096


class WorkerProcess:
    """A worker and what is known of it: its task and the task's number, how many items it did, whether it ever spoke.

    A thread listens to it, and puts (worker, answer) into the inbox; the answer None is its end.
    """

    def __init__(self, threads: int, temporary: str, inbox: SimpleQueue[tuple[WorkerProcess, Any]]) -> None:
        """Start it, with so many threads and its temporary files below a folder.

        Raises EnvironmentFailure if the system does not let us.
        """
        self.number = -1
        self.task: Task | None = None
        self.items = 0
        self.ready = False
        self.said: list[str] = []
        self._dismissed = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{BOOT}; {SERVE}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(threads, temporary),
            )
        except OSError as error:
            self._errors.close()
            raise EnvironmentFailure(
                "no worker process can be started", found=error.strerror or str(error), hint="check limits and memory"
            ) from error
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._listener = threading.Thread(target=self._listen, args=(inbox,), daemon=True)
        self._listener.start()

    def is_free(self) -> bool:
        """Return whether it can take a task."""
        return self.task is None and not self._dismissed

    def take(self, number: int, task: Task) -> None:
        """Give it a task."""
        self.number, self.task = number, task
        with suppress(OSError):  # it has died, and will be heard to have
            pickle.dump(task, self._stdin)
            self._stdin.flush()

    def dismiss(self) -> None:
        """Let it end: it sees that there are no more tasks, and that nobody waits for the one it has."""
        self._dismissed = True
        with suppress(OSError):
            self._stdin.close()

    def end(self, deadline: float) -> None:
        """Wait for its end until the deadline (`time.monotonic`), then kill it; keep what it wrote to stderr last."""
        self.dismiss()
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._stdout.close()
        with self._errors:
            self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - MOST_SAID))
            lines = self._errors.read().decode(errors="backslashreplace").splitlines()
        self.said = [line for line in lines if line.strip()][-3:]

    def how_it_ended(self) -> str:
        """Return in words what ended it."""
        status = self._process.returncode
        if status < 0:
            with suppress(ValueError):  # a real-time signal has no name
                return f"killed by {signal.Signals(-status).name}"
        return f"exit code {status}"

    def _listen(self, inbox: SimpleQueue[tuple[WorkerProcess, Any]]) -> None:
        with suppress(EOFError, pickle.UnpicklingError):  # it may have died within a word
            while True:
                inbox.put((self, pickle.load(self._stdout)))
        inbox.put((self, None))


def _environment(threads: int, temporary: str) -> dict[str, str]:
    """Return the environment of a worker: its part of the threads, but no more than the user lets us have."""
    limits = {name: os.environ.get(name, "") for name in THREAD_VARIABLES}
    parts = {name: str(min(threads, int(limit)) if limit.isdecimal() else threads) for name, limit in limits.items()}
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary)
    return {**WAITING, **os.environ, **parts, **places, PATH_VARIABLE: os.pathsep.join(sys.path)}
