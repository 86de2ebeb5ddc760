"""The table that goes into the README shows what was answered, and any fault in it."""

from __future__ import annotations

from typing import Any

from loads import loads_of
from readers import READERS
from table import class_table, folder_table


def answers(reader: str) -> dict[str, Any]:
    """Return what a reader answers when all is well."""
    return {
        load.name: {
            "report": {"missing_keys": sorted(load.missing), "unexpected_keys": sorted(load.unexpected)},
            "differences": {"hidden_0": 2e-7, "hidden_1": 1e-7},
        }
        for load in loads_of(READERS[reader])
    }


def row(lines: Any, *cells: str) -> list[str]:
    """Return the cells of the row that begins with these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return next(row for row in rows if row[: len(cells)] == list(cells))


def test_a_cell_has_the_largest_difference_of_all_folders() -> None:
    """Of a class and of the automatic class that stands for it; a reader without the class has a dash."""
    found = {"transformers-5.23": answers("transformers-5.23"), "tensorflow-4.46": answers("tensorflow-4.46")}
    found["transformers-5.23"]["default_small-generator-AutoModelForCausalLM"]["differences"]["hidden_1"] = 3e-6
    lines = class_table({name: {"loads": loads} for name, loads in found.items()})
    assert row(lines, "`ElectraForCausalLM`") == ["`ElectraForCausalLM`", "3e-06", "–"]


def test_16_bits_are_not_in_the_table() -> None:
    """Their differences are those of rounding."""
    found = answers("transformers-5.0")
    found["default_small-generator-ElectraForMaskedLM-as-bfloat16"]["differences"]["hidden_1"] = 0.03
    found["default_small-generator-float16-ElectraForMaskedLM-as-stored"]["differences"]["hidden_1"] = 0.01
    lines = class_table({"transformers-5.0": {"loads": found}})
    assert row(lines, "`ElectraForMaskedLM`") == ["`ElectraForMaskedLM`", "2e-07"]


def test_a_tensor_that_should_not_be_missing_is_named() -> None:
    """Beside the difference, in the row of its class and of its folder; the tied matrix is no fault."""
    found = answers("flax-4.57")
    report = found["default_small-discriminator-FlaxElectraForMaskedLM"]["report"]
    report["missing_keys"] += ["electra.embeddings.LayerNorm.bias", "generator_lm_head.weight"]
    lines = folder_table({"flax-4.57": {"loads": found}})
    assert row(lines, "`ElectraForMaskedLM`", "default_small-discriminator")[2:] == [
        "5",
        "4",
        "2e-07; missing_keys: electra.embeddings.LayerNorm.bias",
    ]
