"""Every half that Google's checkpoints hold converts, and computes what Google's own code computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import all_of, google

from electra_convert import convert, state_dict
from electra_convert.electra.mapping import ARCHITECTURE
from electra_convert.errors import InputError

FILES = {
    "README.md",
    "config.json",
    "conversion.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}
HALVES = ("discriminator", "generator")

# Without a `.meta` nothing but flags or hparams tells these.
TOLD = {"odd_heads", "relu_activation", "tanh_activation", "finetuned_tagging", "cased_temperature"}


def settings(name: str) -> dict[str, Any]:
    """Return the hparams where nothing in the folder tells what they do."""
    folder = google(name)
    return {} if list(folder.glob("*.meta")) or name not in TOLD else {"hparams": folder / "hparams.json"}


def load(folder: Path, half: str) -> tuple[Any, dict[str, Any]]:
    import torch
    import transformers

    model, info = getattr(transformers, ARCHITECTURE[half]).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    return model.eval(), info


def run(model: Any, golden: Any) -> tuple[list[np.ndarray], np.ndarray]:
    import torch

    inputs = {
        "input_ids": golden["input_ids"],
        "attention_mask": golden["input_mask"],
        "token_type_ids": golden["segment_ids"],
    }
    with torch.no_grad():
        out = model(**{key: torch.tensor(value).long() for key, value in inputs.items()}, output_hidden_states=True)
    return [hidden.numpy() for hidden in out.hidden_states], out.logits.numpy()


def cases() -> list[tuple[str, str]]:
    return [(name, half) for name in all_of("google") for half in HALVES]


@pytest.mark.parametrize(("name", "half"), cases())
def test_a_half_converts_or_is_refused_as_expected(name: str, half: str, tmp_path: Path) -> None:
    """What exists converts, loads without a missing tensor, and gives Google's outputs; the rest is refused."""
    folder = google(name)
    expected = json.loads((folder / "expected_config.json").read_text())[half]
    out = tmp_path / "out"
    if "refused" in expected:
        with pytest.raises(InputError) as refusal:
            convert(folder, out, export=half, verify=False, **settings(name))  # type: ignore[arg-type]
        assert refusal.value.exit_code == 3
        assert list(tmp_path.iterdir()) == []
        return
    conversion = convert(folder, out, export=half, verify=False, **settings(name))  # type: ignore[arg-type]
    assert {path.name for path in out.iterdir()} == FILES
    config = json.loads((out / "config.json").read_text())
    assert {key: config[key] for key in expected} == expected
    assert config["architectures"] == [ARCHITECTURE[half]]

    model, info = load(out, half)
    assert {key: list(value) for key, value in info.items() if value} == {}
    assert conversion.halves[0].tensors == len(state_dict(folder, export=half, **settings(name)))  # type: ignore[arg-type]
    golden = np.load(folder / "golden.npz")
    hidden, logits = run(model, golden)
    layers = sum(key.startswith(f"{half}/hidden_") for key in golden.files)
    assert layers == len(hidden) == expected["num_hidden_layers"] + 1
    for number, states in enumerate(hidden):
        assert_close(states, golden[f"{half}/hidden_{number}"])
    assert_close(logits, golden[f"{half}/logits"])


def assert_close(ours: np.ndarray, golden: np.ndarray) -> None:
    scale = np.abs(golden).max()
    assert np.abs(ours - golden).max() <= 1e-5 * scale
