"""A model that computes NaN or infinity is not published as proven; its weights can still be had, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from made_up import write_made_up
from output_rig import Forker, forking

from electra_convert import open_checkpoint

pytest.importorskip("torch")

KERNEL = "electra/encoder/layer_1/attention/self/query/kernel"
WEIGHT = "electra.encoder.layer.1.attention.self.query.weight"


def infinite(variables: dict[str, np.ndarray]) -> None:
    variables[KERNEL][2, 3] = np.inf
    variables[KERNEL][0, 0] = np.frombuffer(b"\x01\x02\xa0\x7f", "<f4")[0]  # a NaN with a payload


def huge(variables: dict[str, np.ndarray]) -> None:
    """Make weights that are finite, and a product of them that is not in float32."""
    for name in ("electra/encoder/layer_1/output/LayerNorm/gamma", "discriminator_predictions/dense/kernel"):
        variables[name] *= np.float32(1e20)


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with forking(tmp_path_factory.mktemp("forker"), "torch") as process:
        yield process


def test_a_weight_that_is_not_finite_is_refused_by_name(forker: Forker, tmp_path: Path) -> None:
    status, _, stderr = forker.run("tf1", write_made_up(tmp_path / "ckpt", change=infinite), tmp_path / "out")
    assert status == 3
    assert KERNEL in stderr
    assert "and 1 more in this variable" in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt"]


@pytest.mark.parametrize(
    ("change", "flags"), [(infinite, ["--allow-nonfinite", "--verify"]), (huge, []), (huge, ["--verify"])]
)
def test_an_output_that_is_not_finite_fails_the_proof_with_that_reason(
    forker: Forker, tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None], flags: list[str]
) -> None:
    folder = write_made_up(tmp_path / "ckpt", change=change)
    status, stdout, stderr = forker.run("tf1", folder, tmp_path / "out", *flags)
    assert (status, stdout) == (1, "")
    assert "not finite" in stderr
    assert "an output is NaN or infinite" in stderr
    assert "Traceback" not in stderr
    assert "RuntimeWarning" not in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt"]


@pytest.mark.parametrize(
    ("change", "flags", "warned"),
    [
        (infinite, ["--allow-nonfinite", "--no-verify"], True),
        (infinite, ["--allow-nonfinite"], True),  # the warning says what a proof would find out
        (huge, ["--no-verify"], False),
    ],
)
def test_without_a_proof_it_converts_bit_for_bit(
    forker: Forker,
    tmp_path: Path,
    change: Callable[[dict[str, np.ndarray]], None],
    flags: list[str],
    warned: bool,
) -> None:
    folder = write_made_up(tmp_path / "ckpt", change=change)
    status, _, stderr = forker.run("tf1", folder, tmp_path / "out", *flags)
    assert status == 0, stderr
    codes = [entry["code"] for entry in json.loads((tmp_path / "out" / "conversion.json").read_text())["warnings"]]
    assert ("nonfinite" in codes) is warned
    assert ("not finite" in stderr) is warned
    with open_checkpoint(folder) as checkpoint:
        stored = checkpoint.read(KERNEL)
    written = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")[WEIGHT]
    assert written.tobytes() == np.ascontiguousarray(stored.T).tobytes()
