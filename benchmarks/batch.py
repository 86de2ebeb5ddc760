"""Throughput, resuming and evenness of `electra-convert batch`, as whole processes.

    python benchmarks/batch.py throughput [--size tiny|small] [--count 40] [--runs 3]
    python benchmarks/batch.py again [--zoo FOLDER]
    python benchmarks/batch.py thousand [--count 1000] [--no-verify]
    python benchmarks/batch.py growth                             # writes growth_batches.svg

`throughput`: seconds of two jobs against one on so many checkpoints, runs interleaved, every proof made; and the part
of them that is not the start of a process (importing torch costs as much as several tiny checkpoints). `again`: a zoo
of good and bad checkpoints twice. `thousand`: many checkpoints, for each hundred the seconds an item, the largest
memory of a worker and that of the batch; then all again. `growth`: 10, 100 and 1000 checkpoints. Checkpoints are
hard links to one, where the system has them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints import SIZES, write_checkpoint
from growth import Panel, write_plot

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MB = 1e6

# Runs a batch and prints a line of JSON for each result.
PROGRAM = """
import json, sys, time
started = time.perf_counter()
from electra_convert.batching.running import batch
from electra_convert.batching.working import memory_used
for result in batch(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])):
    line = {"at": time.perf_counter() - started, "status": result.status, "seconds": result.seconds}
    print(json.dumps({**line, "worker": result.peak_memory, "batch": memory_used("now")}), flush=True)
"""


def run(zoo: Path, out: Path, **settings: Any) -> tuple[float, float, list[dict[str, Any]]]:
    """Return the seconds of a whole process, the CPU seconds of it and its workers, and a line for each result."""
    started, cpu = time.perf_counter(), _cpu()
    words = [sys.executable, "-c", PROGRAM, str(zoo), str(out), json.dumps(settings)]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return time.perf_counter() - started, _cpu() - cpu, lines


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def write_zoo(folder: Path, model: Path, count: int) -> Path:
    """Write so many checkpoints, all like the one in the folder `model`."""
    for number in range(count):
        place = folder / f"model{number:04}"
        shutil.copytree(model, place, copy_function=_link)
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_model(folder: Path, size: str) -> Path:
    """Write a checkpoint as Google publishes them, without optimizer; `tiny` is one of the fixtures."""
    if size == "tiny":
        folder.mkdir()
        for file in (ROOT / "fixtures/google/tied_generator").iterdir():
            if file.name == "vocab.txt" or ".ckpt-" in file.name:
                shutil.copyfile(file, folder / file.name)
    else:
        write_checkpoint(folder, SIZES[size], slots=False)
    return folder


def throughput(base: Path, size: str, count: int, runs: int) -> None:
    zoo = write_zoo(base / "zoo", write_model(base / "model", size), count)
    walls: dict[int, list[float]] = {1: [], 2: []}
    steady: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(runs):
        for jobs in (1, 2):
            wall, cpu, lines = run(zoo, base / "out", jobs=jobs, verify=True)
            assert [line["status"] for line in lines] == ["converted"] * count, lines
            walls[jobs].append(wall)
            steady[jobs].append(once_started(lines, jobs))
            shutil.rmtree(base / "out")
            told = f"{wall:7.1f} s, {cpu:7.1f} s CPU, {steady[jobs][-1]:.3f} s an item once started"
            print(f"  {jobs} jobs {told}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for told, found in (("whole processes", walls), ("once started", steady)):
        ratios = [one / two for one, two in zip(found[1], found[2], strict=True)]
        one, two, ratio = (statistics.median(values) for values in (found[1], found[2], ratios))
        print(f"{count} x {size}, {told:16} 1 job {one:8.3f} s   2 jobs {two:8.3f} s   ratio {ratio:.2f}")


def again(base: Path, zoo: Path) -> None:
    for told in ("first run", "second run", "third run"):
        started = time.perf_counter()
        words = [sys.executable, "-m", "electra_convert", "batch", str(zoo), str(base / "out"), "--json", "-q"]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        counts = Counter(result["status"] for result in json.loads(done.stdout)["items"])
        print(f"{told:10} {wall:6.2f} s   exit code {done.returncode}   {dict(counts)}")


def thousand(base: Path, count: int, verify: bool) -> None:
    zoo = write_zoo(base / "zoo", write_model(base / "model", "tiny"), count)
    for told in ("converted", "up to date"):
        wall, _, lines = run(zoo, base / "out", jobs=2, verify=verify)
        assert {line["status"] for line in lines} == {told}
        print(f"{told}: {count} in {wall:.1f} s")
        before, step = 0.0, max(1, count // 10)
        for start in range(0, count, step):
            part = lines[start : start + step]
            each = (part[-1]["at"] - before) / len(part)
            before = part[-1]["at"]
            worker, own = max(line["worker"] or 0 for line in part) / MB, part[-1]["batch"] / MB
            print(f"  {start + len(part):5}  {each:.4f} s an item   workers {worker:6.1f} MB   batch {own:5.1f} MB")


def growth(base: Path, verify: bool) -> None:
    counts, jobs = [10, 100, 1000], 2
    model = write_model(base / "model", "tiny")
    each, workers, own = [], [], []
    for count in counts:
        part = write_zoo(base / f"zoo{count}", model, count)
        wall, _, lines = run(part, base / f"out{count}", jobs=jobs, verify=verify)
        assert [line["status"] for line in lines] == ["converted"] * count, lines
        each.append(once_started(lines, jobs))
        workers.append(max(line["worker"] or 0 for line in lines) / MB)
        own.append(lines[-1]["batch"] / MB)
        figures = f"{each[-1]:.3f} s an item once started  worker {workers[-1]:6.1f} MB  batch {own[-1]:5.1f} MB"
        print(f"{count:5}  {wall:7.2f} s  {figures}", flush=True)
    labels = [f"{count:,}" for count in counts]
    told = "two jobs, every proof made" if verify else "two jobs, no proofs"
    memory = {"a worker": workers, "the batch itself": own}
    panels = [
        Panel("seconds a checkpoint, once started", counts, labels, {told: each}),
        Panel("memory, MB", counts, labels, memory),
    ]
    write_plot(HERE / "growth_batches.svg", panels)


def once_started(lines: Sequence[Mapping[str, Any]], jobs: int) -> float:
    """Return the seconds a result, from the first of every worker on: by then each has imported what it needs."""
    return float(lines[-1]["at"] - lines[jobs - 1]["at"]) / (len(lines) - jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["throughput", "again", "thousand", "growth"])
    parser.add_argument("--size", choices=["tiny", "small", "base"], default="small")
    parser.add_argument("--count", type=int)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--zoo", type=Path, default=ROOT / "fixtures")
    parser.add_argument("--no-verify", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.what == "throughput":
            throughput(Path(temporary), arguments.size, arguments.count or 40, arguments.runs)
        elif arguments.what == "again":
            again(Path(temporary), arguments.zoo.resolve())
        elif arguments.what == "growth":
            growth(Path(temporary), not arguments.no_verify)
        else:
            thousand(Path(temporary), arguments.count or 1000, not arguments.no_verify)


if __name__ == "__main__":
    main()
