"""What PyTorch users do beyond loading: tied weights, 16 bits, and saving again."""

from __future__ import annotations

import pytest
from asking import SAVED_AGAIN, answer_of, saved_again
from conftest import google
from loads import PLAIN, SHORT, Load, Made, loads_of
from readers import TORCH

from electra_convert import verify

pytestmark = pytest.mark.compat

# Loaded as float32 it is saved as such with `torch_dtype` float32, and `dtype`, which that version does not know, stays
# bfloat16: transformers 5 would round. `verify` says so.
WIDENED_BUT_NOT_SAID = ("transformers-4.46", "dtype_bfloat16")

LANGUAGE_MODELS = {"ForMaskedLM", "ForCausalLM"}


@pytest.mark.parametrize("reader", TORCH)
def test_the_output_matrix_of_a_language_model_is_its_embeddings(reader: str) -> None:
    """One parameter under both names, whichever half was loaded; other classes have no output matrix."""
    loads = {load.name: load for load in loads_of(TORCH[reader])}
    for name, found in answer_of(reader)["loads"].items():
        assert found["tied"] == (loads[name].kind in LANGUAGE_MODELS), name


@pytest.mark.parametrize("reader", TORCH)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_folder_loads_in_16_bits(reader: str, dtype: str) -> None:
    """Asked for, 16 bits are what the model has."""
    for made in PLAIN:
        load = Load(made, f"Electra{made.kind}", made.kind, dtype)
        assert answer_of(reader)["loads"][load.name]["dtype"] == dtype


@pytest.mark.parametrize("reader", TORCH)
@pytest.mark.parametrize("made", SHORT, ids=lambda made: made.name)
def test_a_folder_of_16_bits_loads_as_it_is_from_transformers_5_on(reader: str, made: Made) -> None:
    """transformers 4 widens it to float32 unless told otherwise."""
    load = Load(made, f"Electra{made.kind}", made.kind, None)
    expected = "float32" if reader.startswith("transformers-4") else made.dtype
    assert answer_of(reader)["loads"][load.name]["dtype"] == expected


@pytest.mark.parametrize("reader", TORCH)
@pytest.mark.parametrize("made", SAVED_AGAIN, ids=lambda made: made.name)
def test_a_folder_saved_again_is_still_its_checkpoint(reader: str, made: Made) -> None:
    """What `save_pretrained` of model and tokenizer writes, our own `verify` proves equal to the checkpoint."""
    checkpoint = google(made.checkpoint)
    answer_of(reader)
    folder = saved_again(reader, made)
    assert (folder / "model.safetensors").exists()
    parity = verify(checkpoint, folder)
    if (reader, made.checkpoint) == WIDENED_BUT_NOT_SAID:
        assert [check.name for check in parity.checks if not check.passed] == ["settings"]
        assert "dtype is 'bfloat16'" in str(parity.to_json())
    else:
        assert parity.passed, parity.summary()
