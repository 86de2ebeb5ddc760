"""Where the time of one `tf1 --no-verify` goes, by the clock inside its process; medians of several processes.

python benchmarks/stages.py [--sizes small base large] [--runs 7] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from checkpoints import SIZES, write_checkpoint

# Times are taken around the functions that a conversion passes through; what is inside another is taken off it.
PROGRAM = """
import json, os, sys, time
begun = time.perf_counter()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
stages = {}

def take(name, since):
    stages[name] = stages.get(name, 0.0) + time.perf_counter() - since
    return time.perf_counter()

def watch(module, name, told):
    original = getattr(module, name)

    def timed(*arguments, **settings):
        since = time.perf_counter()
        try:
            return original(*arguments, **settings)
        finally:
            take(told, since)

    setattr(module, name, timed)

now = begun
import numpy
now = take("import numpy", now)
import click
now = take("import click", now)
import electra_convert.cli.tf1
from electra_convert import cli, conversion, writing
now = take("import our modules", now)
watch(conversion, "plan_conversion", "examine, plan, read the vocabulary")
watch(writing, "write_weights", "read, check, transpose, write, read back")
watch(writing, "_write_config_and_tokenizer", "config and tokenizer")
watch(writing, "read_again", "read again by checksums")
watch(conversion, "write_half", "write a half")
sys.argv = ["electra-convert", "tf1", sys.argv[1], sys.argv[2], "--no-verify", "-q"]
assert cli.main() == 0
whole = stages.pop("write a half")
parts = ("read, check, transpose, write, read back", "config and tokenizer", "read again by checksums")
stages["wait for the disk, card, record"] = whole - sum(stages[part] for part in parts)
stages["open, publish, command line"] = time.perf_counter() - begun - sum(stages.values())
print(json.dumps(stages))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "base", "large"])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where checkpoints are made, and stay")
    words = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    columns = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = words.folder or Path(temporary)
        for size in words.sizes:
            if not (folder / size).exists():
                write_checkpoint(folder / size, SIZES[size], slots=False)
            runs = []
            for _ in range(words.runs):
                shutil.rmtree(folder / "target", ignore_errors=True)
                command = [sys.executable, "-c", PROGRAM, str(folder / size), str(folder / "target")]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                runs.append(json.loads(done.stdout))
            columns[size] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        shutil.rmtree(folder / "target", ignore_errors=True)
    print(f"| milliseconds | {' | '.join(columns)} |")
    print(f"| --- |{' ---: |' * len(columns)}")
    for name in next(iter(columns.values())):
        print(f"| {name} | {' | '.join(f'{1000 * column[name]:.0f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
