"""How fast a conversion is, against `cp`, TensorFlow's reader and transformers' old conversion; as whole processes.

    python benchmarks/run.py [--sizes small base large] [--slots] [--rounds 7] [--peer ENVIRONMENT] [--json FILE]
    python benchmarks/run.py --sizes small --rounds 3        # a minute
    python benchmarks/run.py --growth --rounds 2             # over model size; writes growth_models.svg; 45 GB of disk

Makes checkpoints in a temporary folder (`--folder` keeps them there), lets every contender run once a round, in a
random order, and prints medians and ratios. Ratios are medians of the ratios of each round, so what else the machine
did in a round counts for both. Everything stays switched on: checksums of the source, reading back bit for bit, fsync,
rename; and what `tf1` wrote in each round is compared with what it wrote first. `--peer` names a virtual environment
with `peer.txt` in it, which is made where there is none.
"""

from __future__ import annotations

import argparse
import compileall
import filecmp
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkpoints import PREFIX, SIZES, bytes_of, write_checkpoint
from growth import Panel, write_plot
from processes import MB, Ballast, Run, median, ratio, run

import electra_convert

HERE = Path(__file__).parent
OURS = [sys.executable, "-m", "electra_convert"]

FULL, VERIFIED, WEIGHTS = "tf1 --no-verify", "tf1", "tf1 --no-verify --no-tokenizer"
RESTORED = "to-tf1 of both halves"
PEER, TENSORFLOW = "transformers 4.57.6", "TensorFlow's reader"
CP, CP_SYNC, CP_CHECKPOINT = "cp of the output", "cp + fsync of the output", "cp + fsync of the checkpoint"
BARE, START, HELP, INSPECT = "bare interpreter", "import numpy, click", "--help", "inspect"

# They run for so long that the memory they get at first counts for little; what others need is kept for them meanwhile.
LONG = {VERIFIED, TENSORFLOW, PEER}

# Above this, memory does not hold the files anyway.
MOST_BALLAST = 6_000_000_000

COPY_AND_SYNC = ["sh", "-c", 'mkdir "$2" && cp "$1"/* "$2" && sync "$2"/* "$2"', "cp"]


class Bench:
    """One checkpoint and its contenders."""

    def __init__(
        self, folder: Path, name: str, slots: bool, more: Sequence[str] = (), peer: Path | None = None
    ) -> None:
        self.size, self.slots, self.name = SIZES[name], slots, f"{name}, slots" if slots else name
        self.checkpoint = folder / self.name.replace(", ", "-").replace(" ", "")
        if not self.checkpoint.exists():
            write_checkpoint(self.checkpoint, self.size, slots=slots)
        self.output, self.both, self.target = folder / "output", folder / "both", folder / "target"
        self._convert(self.output, "discriminator")
        if RESTORED in more:
            self._convert(self.both, "both")
        self._ballast = Ballast(min(2 * max(bytes_of(self.checkpoint), bytes_of(self.output)), MOST_BALLAST))
        self.commands = self._commands(peer, more)
        self.runs: dict[str, list[Run]] = {contender: [] for contender in self.commands}

    def _convert(self, out: Path, export: str) -> None:
        self._remove(out)
        run([*OURS, "tf1", str(self.checkpoint), str(out), "--export", export, "--no-verify", "-q"])

    def _commands(self, peer: Path | None, more: Sequence[str]) -> dict[str, list[str]]:
        source, target, output = str(self.checkpoint), str(self.target), str(self.output)
        convert = [*OURS, "tf1", source, target, "-q"]
        commands = {
            FULL: [*convert, "--no-verify"],
            WEIGHTS: [*convert, "--no-verify", "--no-tokenizer"],
            CP: ["cp", "-r", output, target],
            CP_SYNC: [*COPY_AND_SYNC, output, target],
            CP_CHECKPOINT: [*COPY_AND_SYNC, source, target],
            BARE: [sys.executable, "-c", "pass"],
            START: [sys.executable, "-c", "import numpy, click"],
            HELP: [*OURS, "--help"],
            INSPECT: [*OURS, "inspect", source],
        }
        if VERIFIED in more:
            commands[VERIFIED] = [*convert, "--verify"]
        if RESTORED in more:
            commands[RESTORED] = [*OURS, "to-tf1", str(self.both), target, "-q"]
        prefix = str(self.checkpoint / PREFIX)
        if importlib.util.find_spec("tensorflow"):
            commands[TENSORFLOW] = [sys.executable, str(HERE / "tensorflow_reader.py"), prefix]
        if peer:
            sizes = [str(size) for size in (self.size.hidden, self.size.embedding, self.size.layers)]
            commands[PEER] = [str(peer / "bin" / "python"), str(HERE / "peer.py"), prefix, target, *sizes]
        return commands

    def round(self) -> None:
        """Run every contender once, in a random order."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for contender in random.sample([*self.commands], len(self.commands)):
            self._remove(self.target)
            self._ballast.hold()
            if contender not in LONG:
                self._ballast.free()
            self.runs[contender].append(run(self.commands[contender], environment))
            if contender in {FULL, WEIGHTS, VERIFIED}:
                self._compare()

    def _compare(self) -> None:
        if not filecmp.cmp(self.target / "model.safetensors", self.output / "model.safetensors", shallow=False):
            raise SystemExit(f"{self.name}: two runs wrote different weights")

    def figures(self) -> dict[str, Any]:
        """Return medians and ratios."""
        medians = {contender: median(runs) for contender, runs in self.runs.items()}
        bare = medians[BARE].memory
        against = {other: self._ratio(other, FULL) for other in (PEER, TENSORFLOW, CP_CHECKPOINT) if other in medians}
        after_start = [
            one._replace(wall=one.wall - start.wall)
            for one, start in zip(self.runs[FULL], self.runs[START], strict=True)
        ]
        return {
            "checkpoint": self.name,
            "checkpoint_bytes": bytes_of(self.checkpoint),
            "output_bytes": bytes_of(self.output),
            "rounds": len(self.runs[FULL]),
            "contenders": {
                contender: {"seconds": one.wall, "cpu": one.cpu, "memory_above_bare": one.memory - bare}
                for contender, one in medians.items()
            },
            f"times as fast as ({FULL})": against,
            f"{FULL} after start-up, times {CP_SYNC}": ratio(after_start, self.runs[CP_SYNC]),
        }

    def _ratio(self, one: str, other: str) -> float:
        return ratio(self.runs[one], self.runs[other])

    @staticmethod
    def _remove(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)


def table(figures: dict[str, Any]) -> str:
    """Return the figures of one checkpoint as Markdown."""
    lines = [
        f"### {figures['checkpoint']}: checkpoint {figures['checkpoint_bytes'] / MB:,.0f} MB, "
        f"output {figures['output_bytes'] / MB:,.0f} MB, {figures['rounds']} rounds",
        "",
        "| contender | seconds | processor seconds | memory above the bare interpreter |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {contender} | {one['seconds']:.3f} | {one['cpu']:.3f} | {one['memory_above_bare']:.0f} MB |"
        for contender, one in figures["contenders"].items()
    ]
    for other, times in figures[f"times as fast as ({FULL})"].items():
        lines.append(f"\n`{FULL}` is {times:.1f} times as fast as {other}.")
    after = figures[f"{FULL} after start-up, times {CP_SYNC}"]
    lines.append(f"\nAfter start-up it takes {after:.2f} times as long as {CP_SYNC}.\n")
    return "\n".join(lines)


def require_peer(environment: Path) -> Path:
    """Make the peer's environment where there is none."""
    if not (environment / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(HERE / "peer.txt")], check=True)
    return environment


def grow(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure every size, small to ten times large, one after the other, for disks that do not hold them all."""
    measured = []
    for name in SIZES:
        bench = Bench(folder, name, slots=False)
        keep = (FULL, CP_SYNC, BARE, START)
        bench.commands = {contender: bench.commands[contender] for contender in keep}
        bench.runs = {contender: [] for contender in keep}
        for _ in range(rounds):
            bench.round()
        measured.append(bench.figures())
        print(table(measured[-1]), flush=True)
        for made in (bench.checkpoint, bench.output, bench.target):
            shutil.rmtree(made, ignore_errors=True)
    return measured


def growth_panels(results: Sequence[dict[str, Any]]) -> list[Panel]:
    """Return seconds a GB once started, and memory, over the bytes of the output."""
    outputs = [result["output_bytes"] for result in results]
    labels = [f"{size / 1e9:.3g} GB" for size in outputs]

    def per_gb(contender: str, less: str | None = None) -> list[float]:
        found = [result["contenders"] for result in results]
        return [
            (one[contender]["seconds"] - (one[less]["seconds"] if less else 0)) / (size / 1e9)
            for one, size in zip(found, outputs, strict=True)
        ]

    memory = [result["contenders"][FULL]["memory_above_bare"] for result in results]
    return [
        Panel(
            "seconds a GB of output, without start-up",
            outputs,
            labels,
            {FULL: per_gb(FULL, START), CP_SYNC: per_gb(CP_SYNC)},
        ),
        Panel("memory above the bare interpreter, MB", outputs, labels, {FULL: memory}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "base", "large"])
    parser.add_argument("--slots", action="store_true", help="also with Adam's slots")
    parser.add_argument("--verified", action="append_const", dest="more", const=VERIFIED, help="also with the proof")
    parser.add_argument("--restored", action="append_const", dest="more", const=RESTORED, help="also the way back")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", type=Path, help="virtual environment of transformers' old conversion")
    parser.add_argument("--folder", type=Path, help="where checkpoints are made, and stay (but for --growth)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--growth", action="store_true", help="time and memory over model size, up to 10 x large")
    words = parser.parse_args()
    # As pip leaves an installed package; the first round would measure the compiler else.
    compileall.compile_dir(Path(electra_convert.__file__).parent, quiet=1)
    if words.folder:
        words.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=words.folder if words.growth else None) as temporary:
        if words.growth:
            results = grow(Path(temporary), words.rounds)
            write_plot(HERE / "growth_models.svg", growth_panels(results))
        else:
            results = measure(words, words.folder or Path(temporary))
    if words.json:
        words.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(words: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure the sizes that were asked for, and print each when it is done."""
    peer = require_peer(words.peer) if words.peer else None
    results = []
    for name in words.sizes:
        for slots in (False, True) if words.slots else (False,):
            bench = Bench(folder, name, slots, words.more or (), peer)
            for _ in range(words.rounds):
                bench.round()
            results.append(bench.figures())
            print(table(results[-1]), flush=True)
    return results


if __name__ == "__main__":
    main()
