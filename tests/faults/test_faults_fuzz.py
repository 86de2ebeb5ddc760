"""Whatever bytes a parser is given, it gives a result or one of our own errors: hypothesis always, atheris beside.

What either of them found stands in `CRASHERS`, bytes and all, and is tried again in every run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import no_hang

# Seconds of coverage-guided fuzzing for each target under `-m sweep`.
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))

CRASHERS: dict[str, list[bytes]] = {
    # atheris: a zip whose listing begins a byte further than it says has its member at byte -1, and seeking there is an
    # OSError of the system, which was told as the machine's fault instead of the file's.
    "archive": [
        b"PK\3\4\x14\0\0\0\0\0\0\0!" + bytes(13) + b"\7\0\0\0x.index"
        b"PK\1\2\x14\3\x14\0\0\0\0\0\0\0!" + bytes(13) + b"\7" + bytes(11) + b"\x80\1\0\0\0\0x.index"
        b"PK\5\6\0\0\0\0\1\0\1\0\x35\0\0\0\x26\0\0\0\0\0",
        # atheris: a member without a name, which zipfile's `is_dir` of Python 3.10 and 3.11 looks at the end of.
        b"PK\3\4\x14\0\0\0\0\0\0\0!" + bytes(17) + b"x"
        b"PK\1\2\x14\3\x14\0\0\0\0\0\0\0!" + bytes(25) + b"\x80\1\0\0\0\0"
        b"PK\5\6\0\0\0\0\1\0\1\0.\0\0\0\x1f\0\0\0\0\0",
    ],
}
"""Target → inputs that once made something else come out than our own errors."""

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def edited(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a sound input with some bytes changed, put in, taken out or repeated."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        size = draw(st.integers(0, 16))
        kind = draw(st.sampled_from(["flip", "insert", "delete", "repeat", "cut"]))
        if kind == "flip" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=16))
        elif kind == "delete":
            del data[at : at + size]
        elif kind == "repeat":
            data[at:at] = data[at : at + size] * draw(st.integers(1, 20))
        elif kind == "cut":
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_sound(name: str) -> None:
    """A seed that is refused at the first byte would make all fuzzing idle."""
    assert all(TARGETS[name].reads(seed) for seed in TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore:invalid:DeprecationWarning")
def test_edited_bytes_give_a_result_or_our_own_error(name: str) -> None:
    seeds = [seed for seed in TARGETS[name].seeds() if len(seed) < 1 << 19]

    @FEW
    @given(st.one_of(edited(seeds), st.binary(max_size=200)))
    def check(data: bytes) -> None:
        with no_hang():
            TARGETS[name].reads(data)

    check()


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, every in CRASHERS.items() for data in every])
def test_what_once_crashed_does_not(name: str, data: bytes) -> None:
    with no_hang():
        TARGETS[name].reads(data)


@pytest.mark.sweep
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    program = str(Path(__file__).with_name("fuzz.py"))
    words = [sys.executable, program, name, f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr[-3000:]
