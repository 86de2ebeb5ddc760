"""What no shape tells of a tower (heads, activation, dropouts, …), settled field by field, each with its source.

The sources, the first that knows a field decides it:

    flag     given on the command line (or by keyword)
    hparams  what the training was started with
    config   a Hugging Face config that the user trusts
    graph    the original graph in `.meta`
    rule     what Google's code does unless told otherwise

Nothing is overruled in silence: given values that contradict each other are a usage error, and given values that
contradict a shape or the graph are refused, naming both. A later source may only fill what an earlier one leaves open.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from electra_convert.electra.config import LETTERS, ElectraConfig, Origin, Source, heads_by_rule
from electra_convert.electra.heads import ENCODER_HINT
from electra_convert.electra.hparams import Hparams
from electra_convert.electra.layout import Half, Layout
from electra_convert.electra.mapping import HalfName
from electra_convert.errors import LayoutError, SettingError, UsageError
from electra_convert.notices import Notice, note, warning

SETTINGS = (
    "num_attention_heads",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
)

# Outputs depend on these: when only a rule knows them, a person must hear of it.
DECISIVE = ("num_attention_heads", "hidden_act")

RULES: dict[str, tuple[Any, str]] = {
    "hidden_act": ("gelu", "Google's default"),
    "hidden_dropout_prob": (0.1, "Google's default"),
    "attention_probs_dropout_prob": (0.1, "Google's default"),
    "initializer_range": (0.02, "Google's default"),
    "layer_norm_eps": (1e-12, "the only epsilon in Google's code"),
}

# What ElectraForMaskedLM applies in its head, whatever hidden_act says (all transformers versions).
GENERATOR_HEAD_ACTIVATION = "gelu"


@dataclass(frozen=True, slots=True)
class Given:
    """What the user said: flags by field name, hparams, a Hugging Face config, labels of a task; each may be absent.

    `config_where` and `labels_where` are what messages call them; what is recorded of the config is its base name.
    """

    flags: Mapping[str, Any] = field(default_factory=dict)
    hparams: Hparams | None = None
    config: Mapping[str, Any] | None = None
    config_where: str = "--config"
    labels: tuple[str, ...] | None = None
    labels_where: str = "--labels"


class GraphValues(NamedTuple):
    """What the original graph says of one tower: values by field name, each with the node it came from."""

    values: Mapping[str, tuple[Any, str]]


class Settled(NamedTuple):
    """The config of a half, the origin of every field, and what a person should know about it."""

    config: ElectraConfig
    origins: Mapping[str, Origin]
    notices: tuple[Notice, ...]


class _Offer(NamedTuple):
    """One source's value for a field."""

    source: Source
    value: Any
    detail: str


FLAG_NAMES = {"num_attention_heads": "--num-attention-heads", "hidden_act": "--hidden-act"}


def sizes_of(half: Half) -> dict[str, int]:
    """Return the sizes that shapes gave a whole half, by config field."""
    return {LETTERS[letter]: size for letter, size in half.letters.items()} | {"num_hidden_layers": half.layers}


def config_misfits(half: Half, config: Mapping[str, Any]) -> list[tuple[str, Any, int]]:
    """Return (field, the config's value, the shapes' value) wherever a Hugging Face config has another size."""
    sizes = sizes_of(half)
    return [(key, config[key], sizes[key]) for key in sizes if key in config and config[key] != sizes[key]]


def settle(layout: Layout, name: HalfName, given: Given, graph: GraphValues | None) -> Settled:
    """Return the config of a half.

    Raises:
        LayoutError: the half is not there, or no Hugging Face class computes it.
        UsageError: given values contradict each other.
        SettingError: a given value contradicts a shape or the graph, or heads do not divide the hidden size.
    """
    half = layout.half(name)
    sizes = sizes_of(half)
    if given.hparams:
        # Hparams are of the whole training: those that do not fit the other half are another training's.
        given.hparams.refuse_other_setup(layout.setup)
        for other in {**layout.halves, name: half}.values():
            _refuse_other_hparams(layout, other, given.hparams)
    if given.config:
        _refuse_other_config(half, given.config, given.config_where)
    chosen = {key: _choose(key, _offers(key, half, given, graph)) for key in SETTINGS}
    values: dict[str, Any] = {**sizes, **{key: offer.value for key, offer in chosen.items()}}
    config = ElectraConfig(**values)
    _refuse_odd_heads(half, config, chosen["num_attention_heads"])
    if name == "generator" and config.hidden_act != GENERATOR_HEAD_ACTIVATION:
        raise LayoutError(
            f"no generator can be exported: its activation is {config.hidden_act}",
            found=f"hidden_act {config.hidden_act} ({chosen['hidden_act'].source}: {chosen['hidden_act'].detail})",
            expected="gelu: the head of ElectraForMaskedLM always applies it, whatever config.json says",
            hint="--export discriminator" if layout.halves["discriminator"].whole else ENCODER_HINT,
        )
    origins = {key: Origin("shape", _shape_detail(half, key)) for key in sizes}
    origins |= {key: Origin(offer.source, offer.detail) for key, offer in chosen.items()}
    ordered = {key: origins[key] for key in config.to_json()}
    return Settled(
        config,
        ordered,
        tuple(_rule_notices(half.told, config, chosen, half.scopes is not None and half.scopes.body != "electra")),
    )


def _offers(key: str, half: Half, given: Given, graph: GraphValues | None) -> list[_Offer]:
    assert half.scopes is not None  # a whole half has scopes
    offers = []
    if key in given.flags:
        offers.append(_Offer("flag", given.flags[key], FLAG_NAMES.get(key, key)))
    if given.hparams and key in (values := given.hparams.settings(half.scopes.body, half.letters["H"])):
        offers.append(_Offer("hparams", *values[key]))
    if given.config and given.config.get(key) is not None:
        offers.append(_Offer("config", given.config[key], os.path.basename(given.config_where)))
    if graph and key in graph.values:
        offers.append(_Offer("graph", *graph.values[key]))
    if key in RULES:
        offers.append(_Offer("rule", *RULES[key]))
    elif key == "num_attention_heads":
        hidden_size = half.letters["H"]
        offers.append(_Offer("rule", heads_by_rule(hidden_size), f"hidden size {hidden_size} // 64, at least 1"))
    return offers


def _choose(key: str, offers: list[_Offer]) -> _Offer:
    first = offers[0]
    for other in offers[1:]:
        if other.source == "rule" or _same(first.value, other.value):
            continue
        found = [f"{first.value}, {first.source}: {first.detail}", f"{other.value}, {other.source}: {other.detail}"]
        if other.source == "graph":
            raise SettingError(
                f"a given {key} contradicts the graph that trained the checkpoint",
                found=found,
                expected="one value",
                hint=f"leave {first.detail if first.source == 'flag' else 'it'} out: the graph knows",
            )
        raise UsageError(f"two given values of {key} contradict each other", found=found, expected="one value")
    return first


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same number (1e-12 may come as float32's nearest decimal) or word."""
    if isinstance(one, float) or isinstance(other, float):
        return bool(abs(one - other) <= 1e-6 * max(abs(one), abs(other)))
    return bool(one == other)


def _refuse_other_hparams(layout: Layout, half: Half, hparams: Hparams) -> None:
    if half.scopes is None or not half.whole:
        return
    sizes, base = sizes_of(half), sizes_of(layout.encoder)
    for key, (value, named) in hparams.sizes(half.name, half.scopes.body, layout.setup, base).items():
        if value != sizes[key]:
            raise SettingError(
                f"the hparams give the {half.told} another {key} than its variables have",
                where=f"{hparams.where}, `{named}`",
                found=str(value),
                expected=f"{sizes[key]}, from {_shape_detail(half, key)}",
                hint="pass the hparams of this training, or none",
            )


def _refuse_other_config(half: Half, config: Mapping[str, Any], where: str) -> None:
    for key, value, size in config_misfits(half, config):
        raise SettingError(
            f"the config gives the {half.told} another {key} than its variables have",
            where=where,
            found=f"{key} {value}",
            expected=f"{size}, from {_shape_detail(half, key)}",
            hint="pass a config of this half, or none: sizes are read from the checkpoint",
        )


def _shape_detail(half: Half, key: str) -> str:
    """Return the variable that shows a size (the first of the half whose shape has its letter)."""
    assert half.scopes is not None
    if key == "num_hidden_layers":
        return f"{half.scopes.body}/encoder/layer_0 to layer_{half.layers - 1}" if half.layers else "no encoder layer"
    for move in half.moves:
        if key in (LETTERS.get(letter) for letter in move.row.shape.split()):
            return move.variable
    return "the shapes"


def _refuse_odd_heads(half: Half, config: ElectraConfig, heads: _Offer) -> None:
    if heads.value < 1 or config.hidden_size % heads.value:
        raise SettingError(
            f"the {half.told} cannot have {heads.value} attention heads",
            found=f"{heads.value}, {heads.source}: {heads.detail}",
            expected=f"a divisor of the hidden size {config.hidden_size}",
            hint="pass the head count of the training with --num-attention-heads",
        )


def _rule_notices(name: str, config: ElectraConfig, chosen: Mapping[str, _Offer], own_tower: bool) -> list[Notice]:
    """Return what rules decided; a flag reaches a tower other than `electra` only where its half is exported alone."""
    notices = []
    decisive = [key for key in DECISIVE if chosen[key].source == "rule"]
    if decisive:
        told = {"num_attention_heads": "the number of attention heads", "hidden_act": "the activation"}
        notices.append(
            warning(
                "rule",
                f"{' and '.join(told[key] for key in decisive)} of the {name} "
                f"{'are' if len(decisive) > 1 else 'is'} not stored in the variables",
                hint="pass "
                + " and ".join(
                    f"{FLAG_NAMES[key]} {'N' if key == 'num_attention_heads' else 'ACT'}" for key in decisive
                )
                + (" exporting this half alone" if "num_attention_heads" in decisive and own_tower else "")
                + ", or --hparams, or keep the .meta file beside the checkpoint",
                taken=[f"{key} {chosen[key].value} ({chosen[key].detail})" for key in decisive],
            )
        )
    quiet = [key for key in SETTINGS if key not in DECISIVE and chosen[key].source == "rule"]
    if quiet:
        values = [f"{key} {getattr(config, key)}" for key in quiet]
        notices.append(
            note("rule-without-effect", f"values of the {name} by rule, on which no output depends", values=values)
        )
    return notices
