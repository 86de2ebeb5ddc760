"""Google's trained checkpoints as these tests need them: variables, networks, golden outputs, Hugging Face tensors.

The names on both sides are written out here once more, apart from the package's mapping table.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import conftest
import numpy as np

from electra_convert.electra.battery import Batch
from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.reference import Network
from electra_convert.tf1.checkpoint import open_checkpoint

SETS = [
    "base_like",
    "cased_temperature",
    "default_small",
    "dtype_bfloat16",
    "dtype_float16",
    "dtype_float64",
    "electric",
    "finetuned_classification",
    "finetuned_qa_answerable",
    "finetuned_qa_independent",
    "finetuned_qa_joint",
    "finetuned_regression",
    "finetuned_tagging",
    "foreign_checkpoint_path",
    "masked_lm",
    "no_meta",
    "odd_heads",
    "partitioned",
    "partitioned_trained",
    "published_temperature",
    "relu_activation",
    "several_steps",
    "sharded",
    "tanh_activation",
    "tied_generator",
    "trained_tiny",
    "two_tower",
    "uniform_generator",
    "untied_embeddings",
    "v1_format",
    "v1_sharded",
]

HEADS = {"discriminator": "discriminator_predictions", "generator": "generator_predictions", "encoder": None}


@functools.cache
def variables(name: str) -> Mapping[str, np.ndarray]:
    """Return the weights of a set's newest checkpoint."""
    with open_checkpoint(conftest.google(name)) as checkpoint:
        wanted = (key for key in checkpoint.variables if not key.endswith(("/adam_m", "/adam_v")))
        return {key: checkpoint.read(key) for key in wanted}


def halves(name: str) -> dict[str, ElectraConfig]:
    """Return what a set must export; a generator refused for its activation alone is among it."""
    expected = json.loads((conftest.google(name) / "expected_config.json").read_text())
    found = {half: fields.get("config_if_it_could", fields) for half, fields in expected.items() if half in HEADS}
    return {half: ElectraConfig(**fields) for half, fields in found.items() if "refused" not in fields}


def network(name: str, half: str, **changes: Any) -> Network:
    """Return the scopes and settings of a half; `changes` tell lies."""
    config, names = halves(name)[half], variables(name)
    own = half == "generator" and "generator/encoder/layer_0/output/dense/bias" in names
    body = "generator" if own else "electra"
    untied = f"{body}/embeddings/word_embeddings" in names
    settings = {
        "body": body,
        "embeddings": body if untied else "electra",
        "head": HEADS[half],
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "activation": config.hidden_act,
        "epsilon": config.layer_norm_eps,
    }
    return Network(**{**settings, **changes})


def golden(name: str, half: str) -> tuple[Batch, list[np.ndarray], np.ndarray | None]:
    """Return inputs, hidden states and logits that Google's code computed in float32."""
    with np.load(conftest.google(name) / "golden.npz") as file:
        inputs = [file[key].astype(np.int64) for key in ("input_ids", "input_mask", "segment_ids")]
        count = sum(key.startswith(f"{half}/hidden_") for key in file)
        states = [file[f"{half}/hidden_{i}"] for i in range(count)]
        logits = file.get(f"{half}/logits")
    return Batch("golden", *inputs), states, logits


def hugging_face(name: str, half: str) -> dict[str, np.ndarray]:
    """Return a half's tensors by their Hugging Face names."""
    stored, chosen = variables(name), network(name, half)
    body = "" if half == "encoder" else "electra."
    tensors: dict[str, np.ndarray] = {}

    def copy(target: str, source: str, transpose: bool = False) -> None:
        tensors[target] = stored[source].T.copy() if transpose else stored[source]

    def dense(target: str, source: str) -> None:
        copy(f"{target}.weight", f"{source}/kernel", transpose=True)
        copy(f"{target}.bias", f"{source}/bias")

    def norm(target: str, source: str) -> None:
        copy(f"{target}.weight", f"{source}/gamma")
        copy(f"{target}.bias", f"{source}/beta")

    for table in ("word", "position", "token_type"):
        copy(f"{body}embeddings.{table}_embeddings.weight", f"{chosen.embeddings}/embeddings/{table}_embeddings")
    norm(f"{body}embeddings.LayerNorm", f"{chosen.embeddings}/embeddings/LayerNorm")
    if f"{chosen.body}/embeddings_project/kernel" in stored:
        dense(f"{body}embeddings_project", f"{chosen.body}/embeddings_project")
    for i in range(chosen.layers):
        target, source = f"{body}encoder.layer.{i}", f"{chosen.body}/encoder/layer_{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{target}.attention.{part}", f"{source}/attention/{part.replace('.', '/')}")
        for part in ("intermediate", "output"):
            dense(f"{target}.{part}.dense", f"{source}/{part}/dense")
        for part in ("attention.output", "output"):
            norm(f"{target}.{part}.LayerNorm", f"{source}/{part.replace('.', '/')}/LayerNorm")
    if half == "discriminator":
        dense("discriminator_predictions.dense", "discriminator_predictions/dense")
        dense("discriminator_predictions.dense_prediction", "discriminator_predictions/dense_1")
    if half == "generator":
        dense("generator_predictions.dense", "generator_predictions/dense")
        norm("generator_predictions.LayerNorm", "generator_predictions/LayerNorm")
        copy("generator_lm_head.bias", "generator_predictions/output_bias")
    return tensors
