"""Hparams that we write make Google's code build the model again, and settings it does not have are refused by name."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.expression import (
    finetuning_hparams,
    pretraining_hparams,
    refuse_inexpressible,
    refuse_odd_generator,
)
from electra_convert.electra.hparams import parse_hparams
from electra_convert.errors import SettingError

PLAIN = ElectraConfig(
    vocab_size=30522,
    embedding_size=128,
    hidden_size=256,
    num_hidden_layers=12,
    num_attention_heads=4,
    intermediate_size=1024,
    max_position_embeddings=512,
    type_vocab_size=2,
)


# google-research/electra, transcribed: configure_pretraining.py, util/training_utils.py (get_bert_config),
# model/modeling.py (BertConfig), run_pretraining.py (get_generator_config).
def google_builds(hparams: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return Google's PretrainingConfig, and the settings of the tower `electra` and of a generator's own tower."""
    config = SimpleNamespace(
        model_size="small",
        model_hparam_overrides={},
        embedding_size=None,
        vocab_size=30522,
        do_lower_case=True,
        untied_generator=True,
        untied_generator_embeddings=False,
        electra_objective=True,
        generator_layers=1.0,
        generator_hidden_size=0.25,
    )
    assert set(hparams) <= set(vars(config))  # "Unknown hparam"
    vars(config).update(hparams)
    if config.model_size == "small":
        config.embedding_size = 128
    vars(config).update(hparams)

    args: dict[str, Any] = {
        "large": {"hidden_size": 1024, "num_hidden_layers": 24},
        "base": {"hidden_size": 768, "num_hidden_layers": 12},
        "small": {"hidden_size": 256, "num_hidden_layers": 12},
    }[config.model_size]
    args["vocab_size"] = config.vocab_size
    args.update(**config.model_hparam_overrides)
    args["num_attention_heads"] = max(1, args["hidden_size"] // 64)
    args["intermediate_size"] = 4 * args["hidden_size"]
    args.update(**config.model_hparam_overrides)
    bert = {
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        **args,
    }
    own = dict(bert)
    own["hidden_size"] = round(bert["hidden_size"] * config.generator_hidden_size)
    own["num_hidden_layers"] = round(bert["num_hidden_layers"] * config.generator_layers)
    own["intermediate_size"] = 4 * own["hidden_size"]
    own["num_attention_heads"] = max(1, own["hidden_size"] // 64)
    embedding_size = bert["hidden_size"] if config.embedding_size is None else config.embedding_size
    bert["embedding_size"] = embedding_size
    own["embedding_size"] = own["hidden_size"] if config.untied_generator_embeddings else embedding_size
    return vars(config), bert, own


def settings_of(config: ElectraConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_json().items() if key != "layer_norm_eps"}


sizes = st.integers(1, 5000)
configs = st.builds(
    ElectraConfig,
    vocab_size=sizes,
    embedding_size=sizes,
    hidden_size=st.one_of(sizes, st.sampled_from([144, 256, 768, 1024])),
    num_hidden_layers=st.integers(1, 60),
    num_attention_heads=st.integers(1, 64),
    intermediate_size=sizes,
    max_position_embeddings=sizes,
    type_vocab_size=st.integers(1, 5),
    hidden_act=st.sampled_from(["gelu", "relu", "tanh", "linear"]),
    hidden_dropout_prob=st.floats(0, 1),
    attention_probs_dropout_prob=st.floats(0, 1),
    initializer_range=st.floats(0, 1),
)


@given(config=configs, lower=st.sampled_from([None, True, False]))
def test_google_builds_the_tower_again(config: ElectraConfig, lower: bool | None) -> None:
    hparams = finetuning_hparams(config, lower)
    built, tower, _ = google_builds(hparams)
    assert tower == settings_of(config)
    assert built["do_lower_case"] is (lower is not False)
    assert parse_hparams(hparams, "x").unknown == []


@given(config=configs, hidden=sizes, layers=st.integers(1, 60), untied=st.booleans())
def test_google_builds_the_generator_again(config: ElectraConfig, hidden: int, layers: int, untied: bool) -> None:
    """Whatever its share of the discriminator's size: a fraction of whole numbers rounds to the right one."""
    generator = replace(
        config,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
        embedding_size=hidden if untied else config.embedding_size,
    )
    refuse_odd_generator(config, generator, "x")
    setup = "untied embeddings" if untied else "separate"
    hparams = pretraining_hparams(setup, config, generator, None)
    _, tower, own = google_builds(hparams)
    assert (tower, own) == (settings_of(config), settings_of(generator))


def test_what_is_googles_default_is_left_out() -> None:
    assert finetuning_hparams(PLAIN, None) == {"model_size": "small", "vocab_size": 30522, "embedding_size": 128}
    base = replace(PLAIN, embedding_size=768, hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    assert finetuning_hparams(base, None) == {"model_size": "base", "vocab_size": 30522, "embedding_size": 768}


def test_run_finetuning_gets_no_hparam_of_the_generator() -> None:
    """FinetuningConfig refuses what it does not know."""
    known = {"model_size", "vocab_size", "embedding_size", "model_hparam_overrides", "do_lower_case"}
    assert finetuning_hparams(replace(PLAIN, hidden_size=64), True).keys() <= known
    assert pretraining_hparams("tied", PLAIN, None, None)["untied_generator"] is False
    assert pretraining_hparams("masked LM", PLAIN, None, None)["electra_objective"] is False


@pytest.mark.parametrize(
    ("changes", "document", "found"),
    [
        ({"layer_norm_eps": 1e-5}, {}, "layer_norm_eps 1e-05"),
        ({"hidden_act": "gelu_new"}, {}, "hidden_act gelu_new"),
        ({"hidden_act": "relu"}, {}, "hidden_act relu"),
        ({"num_attention_heads": 3}, {}, "3 heads"),
        ({}, {"position_embedding_type": "relative_key"}, "position_embedding_type relative_key"),
        ({}, {"is_decoder": True}, "is_decoder True"),
        ({}, {"add_cross_attention": True}, "add_cross_attention True"),
    ],
)
def test_what_google_does_not_compute_is_refused(changes: dict[str, Any], document: Any, found: str) -> None:
    with pytest.raises(SettingError) as refusal:
        refuse_inexpressible("generator", replace(PLAIN, **changes), document, "config.json")
    assert found in str(refusal.value)
    assert refusal.value.where == "config.json"


def test_a_discriminator_may_have_every_activation_of_google() -> None:
    for name in ("gelu", "relu", "tanh", "linear"):
        refuse_inexpressible("discriminator", replace(PLAIN, hidden_act=name), {"is_decoder": None}, "config.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 2},
        {"intermediate_size": 1000},
        {"vocab_size": 30000},
        {"max_position_embeddings": 128},
        {"type_vocab_size": 1},
        {"hidden_act": "tanh"},
    ],
)
def test_a_generator_beside_a_discriminator_has_no_settings_of_its_own(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(changes))):
        refuse_odd_generator(PLAIN, replace(PLAIN, **changes), "hf/generator")
