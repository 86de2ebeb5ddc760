"""The card says what is known, escapes what the checkpoint brings, and is the same for the same facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from electra_convert.hf.card import CardFacts, CardValue, model_card, write_card, write_record

FACTS = CardFacts(
    checkpoint="model.ckpt-40",
    half="discriminator",
    model_class="ElectraForPreTraining",
    setup="default: the generator shares the discriminator's embeddings",
    step=40,
    parameters=13548801,
    dtype="float32",
    values=(
        CardValue("hidden_size", 256, "shape"),
        CardValue("num_attention_heads", 4, "rule"),
        CardValue("layer_norm_eps", 1e-12, "graph"),
    ),
    verification=("Every tensor was read back and equals its variable bit for bit.",),
    tool="electra-convert 0.1.0",
)


def test_the_card_looks_like_this(tmp_path: Path) -> None:
    write_card(tmp_path / "README.md", FACTS)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (
        "---\nlibrary_name: transformers\ntags:\n- electra\n---\n\n"
        "# model.ckpt-40 (ELECTRA discriminator)\n\n"
        "The discriminator of an ELECTRA model, converted from a TensorFlow 1 checkpoint by electra-convert 0.1.0.\n\n"
        "## Use\n\n"
        "```python\n"
        "from transformers import AutoTokenizer, ElectraForPreTraining\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
        'model = ElectraForPreTraining.from_pretrained("path/to/this/folder")\n'
        "```\n\n"
        "## Source\n\n"
        "|  |  |\n| --- | --- |\n"
        "| checkpoint | `model.ckpt-40` |\n"
        "| training step | 40 |\n"
        "| set-up | default: the generator shares the discriminator's embeddings |\n"
        "| parameters | 13,548,801 (float32) |\n\n"
        "## Configuration\n\n"
        "| field | value | source |\n| --- | --- | --- |\n"
        "| `hidden_size` | `256` | shapes of the variables |\n"
        "| `num_attention_heads` | `4` | the default of Google's code; the checkpoint does not record it |\n"
        "| `layer_norm_eps` | `1e-12` | the graph that trained the checkpoint |\n\n"
        "## Verification\n\n"
        "Every tensor was read back and equals its variable bit for bit.\n"
    )


def test_cautions_stand_before_the_use() -> None:
    card = model_card(FACTS._replace(cautions=("The logit is an energy, not a probability.",)))
    assert "> **Note:** The logit is an energy, not a probability." in card
    assert card.index("energy") < card.index("## Use")


def test_without_a_tokenizer_none_is_used() -> None:
    assert "AutoTokenizer" not in model_card(FACTS._replace(tokenizer=False))


def test_an_unknown_step_is_said() -> None:
    assert "| training step | unknown |" in model_card(FACTS._replace(step=None))


@pytest.mark.parametrize(
    ("name", "title", "code"),
    [
        ("a|b", r"\|", r"`a\|b`"),
        ("a`b", r"\`", "`` a`b ``"),
        ("<script>", r"\<script\>", "`<script>`"),
        ("a\nb\x1b[31m", r"a\\x0ab\\x1b\[31m", r"`a\x0ab\x1b[31m`"),
        ("[x](javascript:1)", r"\[x\](", "`[x](javascript:1)`"),
    ],
)
def test_names_from_the_checkpoint_are_escaped(name: str, title: str, code: str) -> None:
    card = model_card(FACTS._replace(checkpoint=name))
    assert title in card.splitlines()[6]
    assert code in card


def test_the_record_keeps_its_order_and_refuses_what_is_no_json(tmp_path: Path) -> None:
    write_record(tmp_path / "conversion.json", {"z": 1, "a": {"é": [1.0, None]}})
    text = (tmp_path / "conversion.json").read_text(encoding="utf-8")
    assert text == '{\n  "z": 1,\n  "a": {\n    "é": [\n      1.0,\n      null\n    ]\n  }\n}\n'
    assert list(json.loads(text)) == ["z", "a"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(tmp_path / "x", {"a": float("nan")})
