"""Peak memory and time of `electra-convert tf1` and of the start-up, as whole processes.

    python benchmarks/convert.py [--size base] [--runs 3]

Makes a training checkpoint of that size in a temporary folder (Google's names and shapes, discriminator and generator,
Adam slots, random values; base with slots takes 1.4 GB), converts its discriminator with `--no-verify`, and prints
medians: seconds, CPU seconds, and peak memory above the bare interpreter's. Beside it `cp` of the output with fsync, in
the same round, since the speed of a disk means little by itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.mapping import Scopes, plan
from electra_convert.tf1.write import BundleWriter

# hidden, embedding, layers, generator's hidden (google-research/electra's README).
SIZES = {"small": (256, 128, 12, 64), "base": (768, 768, 12, 256), "large": (1024, 1024, 24, 256)}
MB = 1e6

TO_MEASURE = {
    "electra-convert --help": [sys.executable, "-m", "electra_convert", "--help"],
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import numpy": [sys.executable, "-c", "import numpy"],
}


def config_of(hidden: int, embedding: int, layers: int) -> ElectraConfig:
    return ElectraConfig(
        vocab_size=30522,
        embedding_size=embedding,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
        max_position_embeddings=512,
        type_vocab_size=2,
    )


def write_checkpoint(folder: Path, size: str) -> int:
    """Write a training checkpoint with Adam slots; return its bytes."""
    hidden, embedding, layers, generator = SIZES[size]
    moves = [
        *plan("discriminator", Scopes("electra", "electra"), config_of(hidden, embedding, layers)),
        *plan("generator", Scopes("electra", "generator"), config_of(generator, embedding, layers)),
    ]
    shapes = {move.variable: move.variable_shape for move in moves}
    random = np.random.default_rng(0)
    with BundleWriter(folder / "model.ckpt-1000") as bundle:
        names = sorted([*shapes, *(f"{name}/{slot}" for name in shapes for slot in ("adam_m", "adam_v"))])
        for name in names:
            shape = shapes[name if name in shapes else name.rsplit("/", 1)[0]]
            bundle.add(name, random.standard_normal(shape, np.float32))
        bundle.add("global_step", np.array(1000, np.int64))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"piece{n}" for n in range(30517))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return sum(path.stat().st_size for path in folder.iterdir())


# A process inherits the peak of the one it was forked from, so a small one stands between.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
      file=sys.stderr)
"""


def run(command: list[str]) -> tuple[float, float, float]:
    """Return (seconds, CPU seconds, peak memory in MB) of a command that must succeed."""
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, *command]
    answer = subprocess.run(launcher, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    status, wall, cpu, peak = answer.stderr.splitlines()[-1].split()
    if status != "0":
        raise SystemExit(f"{' '.join(command)} ended with {status}\n{answer.stderr}")
    return float(wall), float(cpu), float(peak) * 1024 / MB


def copy(source: Path, target: Path) -> float:
    start = time.perf_counter()
    shutil.copyfile(source, target)
    with open(target, "rb") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def median_row(runs: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
    return wall, cpu, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "ckpt", Path(temporary) / "out"
        folder.mkdir()
        nbytes = write_checkpoint(folder, arguments.size)
        convert = [sys.executable, "-m", "electra_convert", "tf1", str(folder), str(out), "--no-verify", "--overwrite"]
        commands = {f"tf1 --no-verify ({arguments.size})": convert, **TO_MEASURE}
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        copies = []
        for _ in range(arguments.runs):
            for name, command in commands.items():
                runs[name].append(run(command))
            copies.append(copy(out / "model.safetensors", Path(temporary) / "copy"))
    bare = median_row(runs["bare interpreter"])[2]
    print(f"checkpoint of {nbytes / MB:.0f} MB, {arguments.runs} runs, medians")
    for name, measured in runs.items():
        wall, cpu, peak = median_row(measured)
        print(f"{name:28} {wall:7.3f} s  {cpu:7.3f} s CPU  {peak - bare:6.1f} MB above the bare interpreter")
    wall, copied = median_row(next(iter(runs.values())))[0], statistics.median(copies)
    print(f"{'cp + fsync of the output':28} {copied:7.3f} s  ratio {wall / copied:.1f}")


if __name__ == "__main__":
    main()
