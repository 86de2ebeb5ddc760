"""The full sets of damaged and hostile input, row by row: what `benchmarks/reliability.py` runs and prints."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import hostile
from fuzz_targets import TARGETS
from mutations import (
    Hang,
    Mutation,
    Specimen,
    Tally,
    archived,
    cuts,
    electra_v1,
    electra_v2,
    flips,
    judge_all,
    losses,
    no_hang,
    repaired,
    sliced_v1,
    small_v1,
    small_v2,
)
from rows import Row

Tick = Callable[[str], object]

# Of each table, with checksums made right; and of each parser.
REPAIRED = 2500
EDITED = 3000

TABLES: dict[str, Callable[[Path], Specimen]] = {
    "V2": small_v2,
    "V2, blocks of 64 bytes": lambda folder: small_v2(folder, block_size=64),
    "V2, blocks of 256 bytes": lambda folder: small_v2(folder, block_size=256),
    "V2, 3 data files": lambda folder: small_v2(folder, shards=3),
    "V1": small_v1,
    "V1, 2 files, sliced": sliced_v1,
}
ARCHIVES: dict[str, Callable[[Path], Specimen]] = {
    "zip": archived,
    "tar.gz": lambda folder: archived(folder, "tar.gz"),
    "tar.xz": lambda folder: archived(folder, "tar.xz"),
}
ELECTRAS: dict[str, Callable[[Path], Specimen]] = {
    "V2": electra_v2,
    "V2, blocks of 64 bytes": lambda folder: electra_v2(folder, 64),
    "V2, blocks of 256 bytes": lambda folder: electra_v2(folder, 256),
    "V1": electra_v1,
}


def input_jobs() -> dict[str, Callable[[Tick], Row]]:
    """Return every row by its fault, as something to be run."""
    jobs: dict[str, Callable[[Tick], Row]] = {}
    for name, make in TABLES.items():
        jobs[f"{name}: each byte of each table, 9 masks"] = _job(make, lambda s: _each(s, flips, _is_table))
        if name.startswith("V2"):
            jobs[f"{name}: each byte of each data file, 9 masks"] = _job(make, lambda s: _each(s, flips, _is_data))
        jobs[f"{name}: each file cut at every length"] = _job(make, lambda s: _each(s, cuts))
        jobs[f"{name}: a file gone, longer, or another"] = _job(make, losses)
    for name, make in ELECTRAS.items():
        jobs[f"{name}: tables changed, checksums right"] = _job(
            make, lambda s: _each(s, lambda t, file: repaired(t, file, REPAIRED, 5), _is_table)
        )
    for name, make in ARCHIVES.items():
        jobs[f"{name}: each byte, 2 masks"] = _job(make, lambda s: _each(s, lambda t, file: flips(t, file, (1, 255))))
        jobs[f"{name}: cut at every length"] = _job(make, lambda s: _each(s, cuts))
    for which in hostile.LISTS:
        jobs[f"{which}: hostile by hand, in 512 MiB"] = lambda tick, which=which: _hostile(which)  # type: ignore[misc]
    for name in TARGETS:
        jobs[f"parser of {_PARSERS[name]}: edited inputs"] = lambda tick, name=name: _edited(name, tick)  # type: ignore[misc]
    return {fault: _named(fault, job) for fault, job in jobs.items()}


_PARSERS = {
    "index_bytes": "an index",
    "index_blocks": "an index, checksums right",
    "v1_bytes": "V1",
    "v1_blocks": "V1, checksums right",
    "graph": "`.meta`",
    "state": "`checkpoint`",
    "archive": "archives",
    "hparams": "hparams",
    "config": "config.json",
    "vocabulary": "vocab.txt",
}


def _is_data(file: str) -> bool:
    return ".data-" in file


def _is_table(file: str) -> bool:
    return not _is_data(file) and file != "vocab.txt"


def _each(
    specimen: Specimen,
    fault: Callable[[Specimen, str], Iterable[Mutation]],
    wanted: Callable[[str], bool] = lambda file: True,
) -> Iterator[Mutation]:
    return itertools.chain.from_iterable(fault(specimen, file) for file in specimen.files if wanted(file))


def _job(make: Callable[[Path], Specimen], faults: Callable[[Specimen], Iterable[Mutation]]) -> Callable[[Tick], Row]:
    def run(tick: Tick) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            specimen = make(Path(folder) / "sound")
            tally = judge_all(specimen, faults(specimen), Path(folder) / "damaged", lambda cases: tick(f"{cases}"))
        return _row(tally, tick)

    return run


def _row(tally: Tally, tick: Tick) -> Row:
    for failure in tally.failures[:10]:
        tick(f"FAILURE {failure}\n")
    return Row("", tally.cases, tally.detected, tally.identical, len(tally.wrong), len(tally.crashed))


def _named(fault: str, job: Callable[[Tick], Row]) -> Callable[[Tick], Row]:
    def run(tick: Tick) -> Row:
        return Row(**{**job(tick).to_json(), "fault": fault})

    return run


def _hostile(which: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        built = hostile.build(Path(folder), which)
        found = hostile.read_in_little_memory([place for _, place in built.values()])
    memory = next((row["peak"] for row in found if "peak" in row), 0)
    outcomes = [row["outcome"] for row in found if "outcome" in row]
    refused, same, other = (outcomes.count(what) for what in ("refused", "identical", "other values"))
    unexpected = sum(row != expected for row, (expected, _) in zip(outcomes, built.values(), strict=False))
    crashed = len(built) - refused - same - other
    return Row("", len(built), refused, same, max(other, unexpected - crashed), crashed, memory)


def _edited(name: str, tick: Tick) -> Row:
    """Give a parser inputs of which some bytes were changed; a result is as good as a refusal, nothing else is."""
    generator = random.Random(9)
    seeds = [seed for seed in TARGETS[name].seeds() if len(seed) < 1 << 19]
    read = refused = crashed = 0
    for number in range(EDITED):
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.choice((1, 1, 2, 5))):
            at = generator.randrange(len(data) + 1)
            change = generator.randrange(4)
            if change == 0:
                data[at : at + 1] = generator.randbytes(1)
            elif change == 1:
                data[at:at] = data[at : at + generator.randrange(32)] * generator.randrange(20)
            elif change == 2:
                del data[at : at + generator.randrange(1, 8)]
            else:
                data[at : at + 1] = generator.choice((b"\0", b"\xff", b"\x80", b"\x7f", b"\n", b'"'))
        try:
            with no_hang():
                was_read = TARGETS[name].reads(bytes(data))
            read += was_read
            refused += not was_read
        except (Exception, Hang) as error:
            crashed += 1
            tick(f"FAILURE {name} {bytes(data)[:60]!r}: {type(error).__name__}: {error}\n")
        tick(f"{number}")
    return Row("", EDITED, refused, read, 0, crashed)


def input_rows(tick: Tick = lambda told: None) -> Iterator[Row]:
    """Run every set and yield its row."""
    for job in input_jobs().values():
        yield job(tick)
