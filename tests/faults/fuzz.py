"""Coverage-guided fuzzing of one parser with atheris, until a crash or until its own limits.

python tests/faults/fuzz.py TARGET [-max_total_time=60] [-artifact_prefix=FOLDER/]     (targets: fuzz_targets.py)
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

with atheris.instrument_imports(include=["electra_convert"]):
    import fuzz_targets


def main(name: str, options: list[str]) -> None:
    target = fuzz_targets.TARGETS[name]
    corpus = fuzz_targets.folder() / f"corpus-{name}"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)

    def run(data: bytes) -> None:
        target.reads(data)

    atheris.Setup([sys.argv[0], "-timeout=5", "-rss_limit_mb=2048", *options, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
