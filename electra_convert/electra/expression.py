"""What google-research/electra can express: settings that its code computes, and hparams that make it build a model.

The arithmetic of `hparams.py` the other way round. Google's two programs know different hparams and refuse what they do
not know, so each gets a document of its own:

    run_finetuning.py   builds the tower `electra`: sizes, and overrides of `modeling.BertConfig`
    run_pretraining.py  the same, and how the generator is made of it

A generator beside a discriminator takes almost everything from it: only its hidden size and its number of layers are
its own, heads and intermediate size follow from them. A generator that *is* the tower `electra` has no such limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from electra_convert.electra.config import GOOGLE_LAYER_NORM_EPS, ElectraConfig, heads_by_rule
from electra_convert.electra.hparams import ACTIVATIONS, DEFAULTS, MODEL_SIZES
from electra_convert.electra.mapping import HalfName
from electra_convert.electra.settings import GENERATOR_HEAD_ACTIVATION
from electra_convert.errors import SettingError

# modeling.BertConfig, its defaults for the tables that a checkpoint holds.
TABLES = {"max_position_embeddings": 512, "type_vocab_size": 2}

# Of a generator beside a discriminator: Google's code has one value for both halves.
COMMON = ("vocab_size", "max_position_embeddings", "type_vocab_size", "hidden_act")

# On these no output depends, so two halves may differ in them.
TRAINING_ONLY = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")

# google-research/electra `util/training_utils.py`, get_bert_config: times the hidden size, unless overridden.
INTERMEDIATE = 4

# What transformers may be told to compute, and no graph of Google's does.
NEEDED: Mapping[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


def refuse_inexpressible(half: HalfName, config: ElectraConfig, document: Mapping[str, Any], where: str) -> None:
    """Refuse a model that Google's code would load and compute otherwise.

    Args:
        half: what the folder holds.
        config: its sizes and settings.
        document: the whole `config.json`, for the keys that only transformers knows.
        where: what messages call it.

    Raises:
        SettingError: names the first setting that Google's code does not have.
    """
    for key, needed in NEEDED.items():
        if (document.get(key) or needed) != needed:
            raise _refusal(where, f"{key} {document[key]}", f"{key} {needed}".lower())
    if config.hidden_act not in ACTIVATIONS:
        raise _refusal(where, f"hidden_act {config.hidden_act}", " or ".join(ACTIVATIONS))
    if config.layer_norm_eps != GOOGLE_LAYER_NORM_EPS:
        expected = f"layer_norm_eps {GOOGLE_LAYER_NORM_EPS}, the only epsilon in Google's code"
        raise _refusal(where, f"layer_norm_eps {config.layer_norm_eps}", expected)
    if half == "generator" and config.hidden_act != GENERATOR_HEAD_ACTIVATION:
        raise _refusal(
            where,
            f"hidden_act {config.hidden_act}",
            "gelu: ElectraForMaskedLM has gelu in its head whatever config.json says, Google's head has hidden_act",
        )
    if config.hidden_size % config.num_attention_heads:
        raise SettingError(
            "the heads do not divide the hidden size",
            where=where,
            found=f"{config.num_attention_heads} heads, hidden size {config.hidden_size}",
        )


def refuse_odd_generator(discriminator: ElectraConfig, generator: ElectraConfig, where: str) -> None:
    """Refuse a generator that Google's code cannot build beside this discriminator.

    Raises:
        SettingError: names the setting, and what Google's code would give it.
    """
    rules = {
        "num_attention_heads": (heads_by_rule(generator.hidden_size), "hidden size // 64, at least 1"),
        "intermediate_size": (INTERMEDIATE * generator.hidden_size, f"{INTERMEDIATE} times the hidden size"),
        **{key: (getattr(discriminator, key), "as the discriminator has it") for key in COMMON},
    }
    for key, (expected, reason) in rules.items():
        found = getattr(generator, key)
        if found != expected:
            raise SettingError(
                f"Google's code builds no generator with this {key} beside a discriminator",
                where=where,
                found=str(found),
                expected=f"{expected}, {reason}",
                hint="convert each half alone: a generator alone is the tower electra, which has no such limit",
            )


def finetuning_hparams(config: ElectraConfig, do_lower_case: bool | None) -> dict[str, Any]:
    """Return what `run_finetuning.py --hparams` takes to build this tower as `electra`; sizes are always told."""
    size = _model_size(config)
    rules = {
        **MODEL_SIZES[size],
        "num_attention_heads": heads_by_rule(config.hidden_size),
        "intermediate_size": INTERMEDIATE * config.hidden_size,
        **TABLES,
        **DEFAULTS,
    }
    overrides = {key: getattr(config, key) for key, value in rules.items() if getattr(config, key) != value}
    hparams: dict[str, Any] = {
        "model_size": size,
        "vocab_size": config.vocab_size,
        # Google's code gives 128 to every small model that leaves it out.
        "embedding_size": config.embedding_size,
    }
    if overrides:
        hparams["model_hparam_overrides"] = overrides
    if do_lower_case is not None:
        hparams["do_lower_case"] = do_lower_case
    return hparams


def pretraining_hparams(
    setup: str, config: ElectraConfig, generator: ElectraConfig | None, do_lower_case: bool | None
) -> dict[str, Any]:
    """Return what `run_pretraining.py --hparams` takes to build this set-up.

    Args:
        setup: a name of `setups.SETUPS`.
        config: of the tower `electra`.
        generator: of a generator with a tower of its own.
        do_lower_case: of the tokenizer, where it is known.
    """
    hparams = finetuning_hparams(config, do_lower_case)
    if generator is not None:
        # Google rounds the product; a quotient of whole numbers comes back exactly.
        hparams["generator_hidden_size"] = generator.hidden_size / config.hidden_size
        hparams["generator_layers"] = generator.num_hidden_layers / config.num_hidden_layers
    if setup == "untied embeddings":
        hparams["untied_generator_embeddings"] = True
    if setup == "tied":
        hparams["untied_generator"] = False
    if setup == "masked LM":
        hparams["electra_objective"] = False
    return hparams


def _model_size(config: ElectraConfig) -> str:
    """Return the size whose hidden size this is, by which run_finetuning.py also chooses learning rates; else small."""
    named = (name for name, sizes in MODEL_SIZES.items() if sizes["hidden_size"] == config.hidden_size)
    return next(named, "small")


def _refusal(where: str, found: str, expected: str) -> SettingError:
    return SettingError(
        "Google's code would compute something else with these weights",
        where=where,
        found=found,
        expected=expected,
    )
