"""Damaged checkpoints are refused by file, variable and byte, or read to the last bit: thousands of them, every run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mutations import (
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
    repaired,
    sampled,
    sliced_v1,
    small_v1,
    small_v2,
)

SMALL: dict[str, Callable[[Path], Specimen]] = {
    "V2": small_v2,
    "V2, blocks of 64": lambda folder: small_v2(folder, block_size=64),
    "V2, blocks of 256": lambda folder: small_v2(folder, block_size=256),
    "V2, 3 shards": lambda folder: small_v2(folder, shards=3),
    "V1": small_v1,
    "V1, sliced": sliced_v1,
}
ELECTRAS: dict[str, Callable[[Path], Specimen]] = {
    "V2": electra_v2,
    "V2, blocks of 64": lambda folder: electra_v2(folder, 64),
    "V2, blocks of 256": lambda folder: electra_v2(folder, 256),
    "V1": electra_v1,
}


def tables(specimen: Specimen) -> list[str]:
    return [name for name in specimen.files if ".data-" not in name and name != "vocab.txt"]


def passed(tally: Tally) -> Tally:
    assert tally.failures == []
    assert tally.detected + tally.identical == tally.cases > 0
    return tally


@pytest.fixture(params=SMALL, ids=SMALL)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Specimen:
    return SMALL[request.param](tmp_path / "sound")


@pytest.fixture(params=ELECTRAS, ids=ELECTRAS)
def electra(request: pytest.FixtureRequest, tmp_path: Path) -> Specimen:
    return ELECTRAS[request.param](tmp_path / "sound")


def test_an_undamaged_checkpoint_is_identical(small: Specimen, tmp_path: Path) -> None:
    same = [Mutation("nothing", name, content) for name, content in small.files.items()]
    assert passed(judge_all(small, same, tmp_path / "damaged")).identical == len(same)


def test_the_judge_sees_other_values(tmp_path: Path) -> None:
    """The oracle itself: values that differ without a word are wrong."""
    specimen = small_v2(tmp_path / "sound")
    name, (dtype, shape, content) = next(iter(specimen.values.items()))
    specimen.values[name] = (dtype, shape, bytes([content[0] ^ 1 if content else 1]) + content[1:])
    tally = judge_all(specimen, [Mutation("nothing", "model.ckpt-40.index", specimen.files["model.ckpt-40.index"])],
                      tmp_path / "damaged")  # fmt: skip
    assert len(tally.wrong) == 1


def test_a_changed_byte_is_found(small: Specimen, tmp_path: Path) -> None:
    for file in small.files:
        share = 300 / (9 * len(small.files[file]))
        tally = passed(judge_all(small, sampled(flips(small, file), 1, share), tmp_path / "damaged"))
        assert tally.identical == 0


def test_a_cut_is_found(small: Specimen, tmp_path: Path) -> None:
    for file in small.files:
        share = min(1.0, 200 / len(small.files[file]))
        assert passed(judge_all(small, sampled(cuts(small, file), 2, share), tmp_path / "damaged")).identical == 0


def test_a_file_that_is_gone_or_another_is_found(small: Specimen, tmp_path: Path) -> None:
    passed(judge_all(small, losses(small), tmp_path / "damaged"))


def test_a_changed_table_with_right_checksums_crashes_nothing(small: Specimen, tmp_path: Path) -> None:
    """Names are under no rule here, so that other ones may come out: see the ELECTRAs. Nothing crashes or hangs."""
    for file in tables(small):
        tally = judge_all(small, repaired(small, file, 200, 3), tmp_path / "damaged")
        assert tally.crashed == []


def test_an_electra_whose_table_was_changed_with_right_checksums_is_refused_or_the_same(
    electra: Specimen, tmp_path: Path
) -> None:
    for file in tables(electra):
        passed(judge_all(electra, repaired(electra, file, 150, 4), tmp_path / "damaged"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz", "tar."])
def test_a_damaged_archive_is_refused_or_harmless(kind: str, tmp_path: Path) -> None:
    """Dates and the like in a listing may change; no value ever does."""
    specimen = archived(tmp_path / "sound", kind)
    (file,) = specimen.files
    share = 100 / len(specimen.files[file])
    passed(judge_all(specimen, sampled(flips(specimen, file, (1, 0xFF)), 11, share), tmp_path / "damaged"))
    passed(judge_all(specimen, sampled(cuts(specimen, file), 12, share), tmp_path / "damaged"))


@pytest.mark.sweep
class TestSweep:
    def test_every_changed_byte(self, small: Specimen, tmp_path: Path) -> None:
        for file in small.files:
            assert passed(judge_all(small, flips(small, file), tmp_path / "damaged")).identical == 0

    def test_every_cut(self, small: Specimen, tmp_path: Path) -> None:
        for file in small.files:
            assert passed(judge_all(small, cuts(small, file), tmp_path / "damaged")).identical == 0

    def test_repaired_mutations(self, electra: Specimen, tmp_path: Path) -> None:
        for file in tables(electra):
            passed(judge_all(electra, repaired(electra, file, 2500, 5), tmp_path / "damaged"))
