"""`adapters` on our folders: an adapter and a head are added, and the body below them computes what it did."""

from __future__ import annotations

import pytest
from asking import TAKEN_OVER, answer_of
from conftest import google
from loads import Load, loads_of
from readers import ADAPTERS

pytestmark = pytest.mark.compat

LIMIT = 1e-5

each_model = pytest.mark.parametrize(
    ("reader", "load"),
    [pytest.param(reader, load, id=load.name) for reader in ADAPTERS for load in loads_of(ADAPTERS[reader])],
)


@each_model
def test_an_adapter_with_a_new_head_runs(reader: str, load: Load) -> None:
    """It changes hidden states above the first, and the head gives its three labels."""
    google(load.made.checkpoint)  # skips where it is not at hand
    found = answer_of(reader)["adapted"][load.name]
    assert found["active_head"] == "task"
    adapted = found["adapted"]
    assert adapted["differences"].pop("hidden_0") < LIMIT
    assert max(adapted["differences"].values()) > LIMIT
    assert [shape[1:] for shape in adapted["shapes"].values()] == [[3]]
    assert adapted["finite"]


@each_model
def test_an_adapter_that_adds_nothing_leaves_the_golden_hidden_states(reader: str, load: Load) -> None:
    """With its upper projection zeroed, every hidden state is the golden one."""
    google(load.made.checkpoint)  # skips where it is not at hand
    silent = answer_of(reader)["adapted"][load.name]["silent"]
    assert silent["states"][0] == silent["states"][1] == len(silent["differences"])
    assert max(silent["differences"].values()) < LIMIT


@pytest.mark.parametrize("load", TAKEN_OVER, ids=lambda load: load.name)
@pytest.mark.parametrize("reader", ADAPTERS)
def test_a_plain_class_can_be_taken_over(reader: str, load: Load) -> None:
    """After `adapters.init` the plain class gives the golden logits, and others with an adapter."""
    found = answer_of(reader)["taken_over"][load.name]
    assert max(found["untouched"]["differences"].values()) < LIMIT
    assert found["adapted"]["differences"]["logits"] > LIMIT
