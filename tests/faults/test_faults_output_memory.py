"""A checkpoint of a real size: converted within 1 GiB of address space, and stopped in the middle of a forward pass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("limits memory as Linux does", allow_module_level=True)

from output_rig import ENVIRONMENT, TESTS

pytestmark = pytest.mark.slow

MIB = 1 << 20

# Its first argument is the limit in bytes, the rest is the program to become.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(TESTS.parent / "benchmarks"))
    try:
        from checkpoints import SIZES, write_checkpoint  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("base") / "ckpt"
    write_checkpoint(folder, SIZES["base"], slots=True)
    return folder


def run_limited(nbytes: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    limited = [sys.executable, "-c", LIMITED, str(nbytes), *command]
    return subprocess.run(limited, env=ENVIRONMENT, capture_output=True, text=True)


def words(checkpoint: Path, out: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "electra_convert", "tf1", str(checkpoint), str(out), *flags]


def test_a_gibibyte_is_enough_to_convert_and_read_back(checkpoint: Path, tmp_path: Path) -> None:
    done = run_limited(1024 * MIB, words(checkpoint, tmp_path / "out", "--no-verify", "-q"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 400_000_000


@pytest.mark.parametrize("mebibytes", [600, 800, 1024])
def test_a_proof_that_needs_more_is_4_in_one_sentence_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, mebibytes: int
) -> None:
    done = run_limited(mebibytes * MIB, words(checkpoint, tmp_path / "out", "--verify", "-q"))
    assert done.returncode == 4, done.stderr
    assert "error: not enough memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("after", [0.5, 2.5])
def test_a_signal_in_the_middle_of_a_forward_pass_is_heard(
    checkpoint: Path, tmp_path: Path, name: str, after: float
) -> None:
    """The proof of this size takes seconds; the moment is counted from when the weights stand in the folder."""
    process = subprocess.Popen(
        words(checkpoint, tmp_path / "out", "--verify"),
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so does what it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    while not list(tmp_path.glob(".out.tmp-*/tokenizer_config.json")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(after)
    os.kill(process.pid, getattr(signal, name))
    sent = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    print(f"{name} after {after} s of the proof: {time.monotonic() - sent:.2f} s to the end")
    assert process.returncode == 128 + getattr(signal, name)
    assert stderr == "error: interrupted; nothing half-written is left\n"
    assert list(tmp_path.iterdir()) == []
