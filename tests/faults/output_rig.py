"""A checkpoint, a folder that was made of it before, and a room in which OUT stands and runs are disturbed.

After any end OUT is absent, the old folder whole or the new one whole: conversions are reproducible, so whole means
equal, byte for byte, to what an undisturbed run writes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import safetensors
from made_up import write_made_up

from electra_convert import convert

TESTS = Path(__file__).resolve().parent.parent
PATH = os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "faults")])

# One thread each: a test machine has few, and a process that forks should have no others.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "NO_COLOR"}},
    "PYTHONPATH": PATH,
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TERM": "dumb",
}

# Beside OUT, under names that resemble ours.
BYSTANDERS = (".out", ".out.tmp-mine", ".out.tmp-1-00000000deadbeef", ".outlier.lock", ".other.old-9-0", "xout.tmp-1")


@dataclass
class Tally:
    """What became of the cases of one fault: a row of the table."""

    fault: str
    cases: int = 0
    detected: int = 0  # ended as promised, OUT as it was
    identical: int = 0  # OUT is the new folder, whole
    wrong: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds from a signal to the end

    def add(self, outcome: str, case: str) -> None:
        """Count a case: `kept`, `new`, `crashed: …` or whatever is wrong."""
        self.cases += 1
        if outcome == "kept":
            self.detected += 1
        elif outcome == "new":
            self.identical += 1
        elif outcome.startswith("crashed"):
            self.crashed.append(f"{case}: {outcome}")
        else:
            self.wrong.append(f"{case}: {outcome}")

    def check(self) -> None:
        """Raise AssertionError unless every case ended as it must."""
        assert self.cases > 0
        assert not self.wrong + self.crashed, f"{self.fault}\n" + "\n".join((self.wrong + self.crashed)[:10])

    def row(self) -> tuple[str, int, int, int, int, int]:
        """Return (fault, cases, detected or as it was, identical, wrong, crashed)."""
        return self.fault, self.cases, self.detected, self.identical, len(self.wrong), len(self.crashed)


class Scene:
    """A checkpoint, the OUT of an earlier conversion (its generator), and the OUT that a run must write."""

    def __init__(self, base: Path, **options: Any) -> None:
        base.mkdir(exist_ok=True)
        self.base, self.room, self.out = base, base / "room", base / "room" / "out"
        self.checkpoint = write_made_up(base / "ckpt")
        convert(self.checkpoint, base / "old", export="generator", verify=False)
        convert(self.checkpoint, base / "new", **{"verify": False, **options})
        self._known = {"old": contents(base / "old"), "new": contents(base / "new")}
        require_whole(base / "new")

    def reset(self, before: str) -> None:
        """Empty the room but for the bystanders; put there what stands at OUT before a run: old or nothing."""
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir()
        for number, name in enumerate(BYSTANDERS):
            if number % 2:
                (self.room / name).write_text("mine")
            else:
                (self.room / name).mkdir()
                (self.room / name / "mine").write_text("mine")
        if before == "old":
            shutil.copytree(self.base / "old", self.out)

    def state(self) -> str:
        """Return what stands at OUT: absent, old, new, or what is wrong with it."""
        if not os.path.lexists(self.out):
            return "absent"
        found = contents(self.out)
        for name, known in self._known.items():
            if found == known:
                return name
        return f"neither old nor new: {sorted(found)}"

    def litter(self) -> list[str]:
        """Return what stands in the room and did not before."""
        lost = [name for name in BYSTANDERS if not (self.room / name).exists()]
        return sorted({*os.listdir(self.room)} - {*BYSTANDERS, "out"}) + [f"{name} is gone" for name in lost]

    def judge(self, before: str, *, new: bool | None, litter: bool = False) -> str:
        """Return `kept` or `new` for a run that left OUT whole, else what is wrong.

        `new` says whether the run claimed to have published; None if it could not say. `litter` may be left after
        kill -9, for the next run.
        """
        state = self.state()
        if not litter and self.litter():
            return f"left {self.litter()}"
        if state == "new":
            return "new" if new is not False else "published, but the run failed"
        if state != ("old" if before == "old" else "absent"):
            return state
        return "the run claims success" if new else "kept"


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def require_whole(folder: Path) -> None:
    """Raise AssertionError unless a folder's files are those of its record, and its config describes its tensors."""
    record = json.loads((folder / "conversion.json").read_text())
    found = contents(folder)
    assert {file["name"] for file in record["files"]} | {"conversion.json"} == set(found)
    for file in record["files"]:
        assert f"{google_crc32c.value(found[file['name']]):08x}" == file["crc32c"], file["name"]
    config = json.loads(found["config.json"])
    with safetensors.safe_open(folder / "model.safetensors", framework="np") as weights:
        assert {tensor["tensor"] for tensor in record["tensors"]} == set(weights.keys())
        for tensor in record["tensors"]:
            values = weights.get_tensor(tensor["tensor"])
            assert f"{google_crc32c.value(values.tobytes()):08x}" == tensor["crc32c"], tensor["tensor"]
        words = weights.get_slice("electra.embeddings.word_embeddings.weight").get_shape()
    assert words == [config["vocab_size"], config["embedding_size"]]


# Reads orders, a line of JSON each; forks a run of the command line; tells its process id and then how it ended.
FORKING = textwrap.dedent(
    """
    import json, os, signal, sys
    # Not Python's own handler of SIGINT: a traceback of the lines below would be no fault of the command line.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    from electra_convert import cli, conversion, parity, proof, report
    import electra_convert.cli.tf1, electra_convert.report.text, electra_convert.tf1.v1, output_calls
    if sys.argv[1:] == ["torch"]:
        import torch, electra_convert.electra.model
    orders, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    for line in orders:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            for number, name in ((0, os.devnull), (1, order["stdout"]), (2, order["stderr"])):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), number)
            exec(order["before"])
            sys.argv = ["electra-convert", *order["words"]]
            os._exit(cli.process())
        print(pid, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)
    """
)


class Forker:
    """A process that has imported everything, and forks runs of the command line, one at a time."""

    def __init__(self, base: Path, *arguments: str) -> None:
        self._files = base / "stdout", base / "stderr"
        base.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKING, *arguments],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *words: object, before: str = "") -> int:
        """Start a run, with a program that it runs before; return its process id."""
        stdout, stderr = map(str, self._files)
        for path in self._files:
            path.write_text("")
        order = {"words": [str(word) for word in words], "before": before, "stdout": stdout, "stderr": stderr}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> tuple[int, str, str]:
        """Return how the run ended: exit code (negative for a signal), stdout, stderr."""
        assert self._process.stdout
        status = int(self._process.stdout.readline())
        return status, *(path.read_text(errors="replace") for path in self._files)  # type: ignore[return-value]

    def run(self, *words: object, before: str = "") -> tuple[int, str, str]:
        """Start a run and wait for its end."""
        self.start(*words, before=before)
        return self.wait()

    def close(self) -> None:
        """End the process, which ends when it gets no more orders."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def forking(base: Path, *arguments: str) -> Iterator[Forker]:
    """Give a process that forks runs of the command line; `torch` lets it import torch as well."""
    forker = Forker(base, *arguments)
    try:
        yield forker
    finally:
        forker.close()


def words_of(scene: Scene, before: str, *more: object) -> list[object]:
    """Return the words of a conversion into the room; over what stands there before, `--overwrite`."""
    return ["tf1", scene.checkpoint, scene.out, "--no-verify", *(["--overwrite"] if before == "old" else []), *more]
