"""Every class of every reader loads our folders: nothing missing or unexpected but a head, and the golden outputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from asking import answer_of, folder_of
from conftest import google
from loads import PLAIN, Load, loads_of
from readers import READERS

from electra_convert.electra.mapping import TIED

pytestmark = pytest.mark.compat

# The largest difference to a golden array, as a share of its largest value. In 16 bits, 16 units of rounding.
LIMITS = {"float32": 1e-5, "float16": 16 * 2**-11, "bfloat16": 16 * 2**-8}

# What a class gives beside hidden states: B rows of S tokens, H wide, V entries, K labels; for multiple choice the rows
# are the choices of one question.
SHAPES = {
    "Model": {"last_hidden_state": "B S H"},
    "ForPreTraining": {"logits": "B S"},
    "ForMaskedLM": {"logits": "B S V"},
    "ForCausalLM": {"logits": "B S V"},
    "ForSequenceClassification": {"logits": "B K"},
    "ForTokenClassification": {"logits": "B S K"},
    "ForQuestionAnswering": {"start_logits": "B S", "end_logits": "B S"},
    "ForMultipleChoice": {"logits": "1 B"},
}

each_load = pytest.mark.parametrize(
    ("reader", "load"),
    [
        pytest.param(reader, load, id=f"{reader}-{load.name}")
        for reader in READERS
        for load in loads_of(READERS[reader])
    ],
)


def found(reader: str, load: Load) -> dict[str, Any]:
    google(load.made.checkpoint)
    answer: dict[str, Any] = answer_of(reader)["loads"][load.name]
    return answer


@each_load
def test_only_a_new_head_is_missing_and_only_the_old_one_unexpected(reader: str, load: Load) -> None:
    """Loading reports the tensors of the head that the folder does not have, those of the head it has, and no more."""
    report = found(reader, load)["report"]
    assert set(report.pop("missing_keys", ())) - set(TIED) == load.missing
    assert set(report.pop("unexpected_keys", ())) == load.unexpected
    assert report == {}


@each_load
def test_outputs_are_the_golden_ones(reader: str, load: Load) -> None:
    """Every hidden state, and the logits where the head is the trained one."""
    answer = found(reader, load)
    given, golden = answer["states"]
    assert given == golden
    assert set(answer["differences"]) == {f"hidden_{n}" for n in range(golden)} | set(load.outputs)
    limit = max(LIMITS[dtype] for dtype in (load.dtype, load.made.dtype) if dtype)
    assert max(answer["differences"].values()) < limit


@each_load
def test_heads_give_finite_values_of_their_shape(reader: str, load: Load) -> None:
    """New heads are random; what they give has the right shape all the same."""
    answer = found(reader, load)
    config = json.loads((folder_of(load.made) / "config.json").read_text())
    with np.load(google(load.made.checkpoint) / "golden.npz") as golden:
        rows, tokens = golden["input_ids"].shape
    # A new head has two labels unless told otherwise.
    labels = len(config.get("id2label", "01"))
    sizes = {"B": rows, "S": tokens, "H": config["hidden_size"], "V": config["vocab_size"], "K": labels}
    shapes = {
        name: [sizes.get(letter) or int(letter) for letter in letters.split()]
        for name, letters in SHAPES[load.holds].items()
    }
    assert answer["shapes"] == shapes
    assert answer["finite"]


def test_every_class_is_asked_for() -> None:
    """Both halves go into 16 classes of PyTorch (8 of them automatic), 7 of TensorFlow, 8 of Flax and 2 of adapters."""
    expected = {"transformers": 16, "tensorflow-cpu": 7, "flax": 8, "adapters": 2}
    for reader in READERS.values():
        for made in PLAIN:
            asked = {load.class_name for load in loads_of(reader) if load.made == made}
            assert len(asked) == expected[reader.package]
