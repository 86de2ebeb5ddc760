"""Peak memory and time of `electra-convert to-tf1`, as whole processes.

    python benchmarks/restore.py [--size base] [--runs 3]

Makes both halves of a model of that size in a temporary folder (`convert.py`'s made-up checkpoint, converted), writes
them as a checkpoint, and prints medians: seconds, CPU seconds, and peak memory above the bare interpreter's. Beside it
`cp` of the data file with fsync, in the same round, since the speed of a disk means little by itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from convert import MB, SIZES, TO_MEASURE, copy, median_row, run, write_checkpoint

from electra_convert import convert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        made, hf, out = (Path(temporary) / name for name in ("made", "hf", "ckpt"))
        made.mkdir()
        write_checkpoint(made, arguments.size)
        convert(made, hf, export="both", verify=False)
        for file in made.iterdir():
            file.unlink()
        command = [sys.executable, "-m", "electra_convert", "to-tf1", str(hf), str(out), "--overwrite"]
        commands = {
            f"to-tf1 ({arguments.size})": command,
            f"to-tf1 --slots ({arguments.size})": [*command, "--slots"],
            "bare interpreter": TO_MEASURE["bare interpreter"],
        }
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        copies = []
        for _ in range(arguments.runs):
            for name, words in reversed(commands.items()):
                runs[name].append(run(words))
            (data,) = out.glob("*.data-*")
            copies.append(copy(data, Path(temporary) / "copy"))
        nbytes = data.stat().st_size
    bare = median_row(runs["bare interpreter"])[2]
    print(f"checkpoint of {nbytes / MB:.0f} MB, {arguments.runs} runs, medians")
    for name, measured in runs.items():
        wall, cpu, peak = median_row(measured)
        print(f"{name:28} {wall:7.3f} s  {cpu:7.3f} s CPU  {peak - bare:6.1f} MB above the bare interpreter")
    print(f"{'cp + fsync of the data':28} {statistics.median(copies):7.3f} s")


if __name__ == "__main__":
    main()
