"""The NumPy reference computes what Google's code computed, and feels every wrong setting."""

from __future__ import annotations

import math
from dataclasses import replace

import google_networks as sets
import numpy as np
import pytest

from electra_convert.electra import reference
from electra_convert.electra.battery import Batch, build_battery
from electra_convert.electra.reference import Network, run
from electra_convert.errors import SettingError

# Google's outputs are float32: rounding alone moved them by up to 6.7e-6 (trained_tiny, at logits of 15).
FLOAT32 = 1e-5


def compute(name: str, half: str, batches: list[Batch], dtype=np.float64, **changes):
    return run(sets.network(name, half, **changes), sets.variables(name).__getitem__, batches, dtype)


def furthest(name: str, half: str, **changes) -> float:
    """Return the largest difference to the golden outputs."""
    inputs, states, logits = sets.golden(name, half)
    (outputs,) = compute(name, half, [inputs], **changes)
    assert len(outputs.hidden_states) == len(states)
    pairs = list(zip(outputs.hidden_states, states, strict=True))
    if logits is not None:
        pairs.append((outputs.logits, logits))
    assert all(ours.shape == theirs.shape for ours, theirs in pairs)
    return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)


@pytest.mark.parametrize("name", sets.SETS)
def test_it_computes_what_google_computed(name):
    """Every half of every set-up: hidden states and logits; padded positions are among them."""
    halves = sets.halves(name)
    assert halves
    for half in halves:
        assert furthest(name, half) < FLOAT32
        assert furthest(name, half, dtype=np.float32) < 2 * FLOAT32


@pytest.mark.parametrize(
    ("lie", "least"),
    [
        ({"heads": 2}, 0.1),
        ({"activation": "relu"}, 1e-2),
        ({"activation": "tanh"}, 1e-2),
        ({"activation": "linear"}, 1e-2),
        ({"epsilon": 1e-5}, 1e-4),
    ],
    ids=str,
)
@pytest.mark.parametrize("half", ["discriminator", "generator"])
def test_a_wrong_setting_shows(half, lie, least):
    assert furthest("default_small", half, **lie) > least


def test_a_generators_head_has_the_activation_of_its_tower():
    """As in Google's code, where Hugging Face's head always has gelu: this is why such a generator is refused."""
    inputs, _, logits = sets.golden("relu_activation", "generator")
    (outputs,) = compute("relu_activation", "generator", [inputs])
    assert np.abs(outputs.logits - logits).max() < FLOAT32
    (lying,) = compute("relu_activation", "generator", [inputs], activation="gelu")
    assert np.abs(lying.logits - logits).max() > 0.1


@pytest.mark.parametrize("scope", ["embeddings", "body"])
def test_a_wrong_scope_shows(scope):
    """An untied generator has a table of its own, of another width; its tower has other weights."""
    with pytest.raises((ValueError, KeyError)):
        furthest("untied_embeddings", "generator", **{scope: "electra"})


def test_batches_do_not_touch_each_other():
    """Weights are read once for all batches; each answer is that of the batch alone, but for the order of sums."""
    battery = build_battery(250, 128, 2)
    together = compute("default_small", "generator", list(battery))
    for batch, outputs in zip(battery, together, strict=True):
        (alone,) = compute("default_small", "generator", [batch])
        pairs = [(alone.logits, outputs.logits), *zip(alone.hidden_states, outputs.hidden_states, strict=True)]
        assert max(float(np.abs(one - other).max()) for one, other in pairs) < 1e-13


def test_what_is_masked_does_not_matter():
    """Ids and segments under the mask change nothing at real tokens, to the last bit."""
    batch = build_battery(250, 128, 2)[0]
    masked = batch.input_mask == 0
    other = replace(
        batch,
        input_ids=np.where(masked, 249 - batch.input_ids, batch.input_ids),
        segment_ids=np.where(masked, 1 - batch.segment_ids, batch.segment_ids),
    )
    this, that = compute("default_small", "discriminator", [batch, other])
    assert np.array_equal(this.logits[~masked], that.logits[~masked])
    assert not np.array_equal(this.logits[masked], that.logits[masked])


def test_stored_weights_stay_as_they_are():
    stored = {name: value.copy() for name, value in sets.variables("default_small").items()}
    compute("default_small", "generator", list(build_battery(250, 128, 2)), np.float32)
    assert all(np.array_equal(value, sets.variables("default_small")[name]) for name, value in stored.items())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_everything_is_computed_in_the_type_asked_for(dtype):
    (outputs,) = compute("dtype_float16", "generator", [sets.golden("dtype_float16", "generator")[0]], dtype)
    assert {array.dtype for array in (*outputs.hidden_states, outputs.logits)} == {np.dtype(dtype)}


def test_logits_do_not_depend_on_the_strips_they_are_computed_in(monkeypatch):
    inputs, _, _ = sets.golden("default_small", "generator")
    (whole,) = compute("default_small", "generator", [inputs])
    monkeypatch.setattr(reference, "OUTPUT_ROWS", 7)
    (strips,) = compute("default_small", "generator", [inputs])
    assert np.abs(whole.logits - strips.logits).max() < 1e-13


def test_a_network_without_a_head_has_no_logits():
    (outputs,) = compute(
        "default_small", "discriminator", [sets.golden("default_small", "discriminator")[0]], head=None
    )
    assert outputs.logits is None


def test_an_unknown_activation_is_refused():
    with pytest.raises(SettingError, match="swish"):
        Network("electra", "electra", None, 1, 1, "swish")


def test_erf_is_that_of_the_c_library():
    """To 2.3e-16 absolute, and near zero to 1e-15 relative, against math.erf; between two blocks and at both ends."""
    draw = np.random.Generator(np.random.PCG64(0)).standard_normal
    ends = np.array([0.0, 6.0, -6.0, 5.9999, 6.0001, 1e300, np.inf, -np.inf, 5e-324, 2**-13, -(2**-13)])
    x = np.concatenate([np.linspace(-7, 7, 50001), draw(20000), draw(20000) * 1e-6, ends])
    exact = np.array([math.erf(value) for value in x])
    found = reference._erf(x)
    assert np.abs(found - exact).max() < 2.3e-16
    small = np.abs(x) < 1e-4
    assert (np.abs(found - exact)[small] <= 1e-15 * np.abs(exact[small])).all()
    assert np.isnan(reference._erf(np.array([np.nan, 1.0]))).tolist() == [True, False]
