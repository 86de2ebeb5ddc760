"""What the readers load: folders made from fixtures, the classes each goes into, and the outputs it must give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from readers import ADAPTER_MODEL, TORCH, Reader

DISCRIMINATOR_HEAD = (
    "discriminator_predictions.dense.bias",
    "discriminator_predictions.dense.weight",
    "discriminator_predictions.dense_prediction.bias",
    "discriminator_predictions.dense_prediction.weight",
)
GENERATOR_HEAD = (
    "generator_lm_head.bias",
    "generator_predictions.LayerNorm.bias",
    "generator_predictions.LayerNorm.weight",
    "generator_predictions.dense.bias",
    "generator_predictions.dense.weight",
)
# The tensors of each class besides the body, by Hugging Face's names; the output matrix of a generator is tied.
HEADS: Mapping[str, tuple[str, ...]] = {
    "Model": (),
    "ForPreTraining": DISCRIMINATOR_HEAD,
    "ForMaskedLM": GENERATOR_HEAD,
    "ForCausalLM": GENERATOR_HEAD,
    "ForSequenceClassification": (
        "classifier.dense.bias",
        "classifier.dense.weight",
        "classifier.out_proj.bias",
        "classifier.out_proj.weight",
    ),
    "ForTokenClassification": ("classifier.bias", "classifier.weight"),
    "ForQuestionAnswering": ("qa_outputs.bias", "qa_outputs.weight"),
    "ForMultipleChoice": (
        "classifier.bias",
        "classifier.weight",
        "sequence_summary.summary.bias",
        "sequence_summary.summary.weight",
    ),
}


@dataclass(frozen=True, slots=True)
class Made:
    """A folder made from a fixture with `--export` (and `--dtype`), and the class it is made for.

    `hidden` is the scope of its hidden states in the fixture's `golden.npz`; `outputs` maps what its class gives
    besides to the names there.
    """

    checkpoint: str
    export: str
    kind: str
    hidden: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None

    @property
    def name(self) -> str:
        """What tests and folders are called by."""
        return "-".join(filter(None, (self.checkpoint, self.export, self.dtype)))


@dataclass(frozen=True, slots=True)
class Load:
    """One loading: a folder into a class, in a type (None: as the reader chooses), with further options."""

    made: Made
    class_name: str
    kind: str
    dtype: str | None = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tests call it, and its answer is found by."""
        dtype = "" if self.dtype == "float32" else f"as-{self.dtype or 'stored'}"
        return "-".join(filter(None, (self.made.name, self.class_name, dtype, *map(str, self.options.values()))))

    @property
    def holds(self) -> str:
        """What the class is for, having this folder: ElectraAdapterModel makes the head that it finds, if it has it."""
        if self.kind != ADAPTER_MODEL:
            return self.kind
        return "Model" if self.made.kind == "ForPreTraining" else self.made.kind

    @property
    def missing(self) -> set[str]:
        """The tensors of the class that the folder does not have: those of a new head."""
        return set(HEADS[self.holds]) - set(HEADS[self.made.kind])

    @property
    def unexpected(self) -> set[str]:
        """The tensors of the folder that the class does not have: those of the head it was made with."""
        return set(HEADS[self.made.kind]) - set(HEADS[self.holds])

    @property
    def outputs(self) -> Mapping[str, str]:
        """The outputs, besides hidden states, that golden ones exist for."""
        if self.holds == "Model":
            return {"last_hidden_state": f"{self.made.hidden}/last"}
        return {} if self.missing else self.made.outputs


def _half(checkpoint: str, half: str, dtype: str | None = None) -> Made:
    kind = {"discriminator": "ForPreTraining", "generator": "ForMaskedLM"}[half]
    return Made(checkpoint, half, kind, half, {"logits": f"{half}/logits"}, dtype)


# Into every class.
PLAIN = (_half("default_small", "discriminator"), _half("default_small", "generator"))

# Into the classes they are made for.
SPECIAL = (
    _half("untied_embeddings", "generator"),
    _half("base_like", "discriminator"),
    _half("cased_temperature", "discriminator"),
    _half("odd_heads", "discriminator"),
    _half("tanh_activation", "discriminator"),
    _half("tied_generator", "generator"),
    _half("dtype_bfloat16", "discriminator"),
)

# Stored in 16 bits.
SHORT = tuple(
    _half("default_small", half, dtype) for half in ("discriminator", "generator") for dtype in ("float16", "bfloat16")
)


# Fine-tuned by Google's code, with their heads, and as bare encoders.
FINETUNED = (
    Made(
        "finetuned_classification",
        "task",
        "ForSequenceClassification",
        "encoder",
        {"logits": "task/mnli/logits"},
    ),
    Made("finetuned_regression", "task", "ForSequenceClassification", "encoder", {"logits": "task/sts/predictions"}),
    Made("finetuned_tagging", "task", "ForTokenClassification", "encoder", {"logits": "task/chunk/logits"}),
    Made(
        "finetuned_qa_independent",
        "task",
        "ForQuestionAnswering",
        "encoder",
        {"start_logits": "task/squadv1/start_logits_raw", "end_logits": "task/squadv1/end_logits_raw"},
    ),
    Made("finetuned_qa_joint", "encoder", "Model", "encoder"),
    Made("finetuned_tagging", "encoder", "Model", "encoder"),
    Made("default_small", "encoder", "Model", "discriminator"),
)


def loads_of(reader: Reader) -> Iterator[Load]:
    """Yield what a reader loads."""
    for class_name, kind in reader.classes.items():
        for made in PLAIN:
            yield Load(made, class_name, kind)
        for made in (*SPECIAL, *FINETUNED):
            if kind in {made.kind, ADAPTER_MODEL}:
                yield Load(made, class_name, kind)
        for made in SHORT:
            if kind == made.kind:
                yield Load(made, class_name, kind, None)
    if reader in TORCH.values():
        for made in PLAIN:
            class_name = f"Electra{made.kind}"
            # How attention is computed by default has changed from version to version.
            yield Load(made, class_name, made.kind, options={"attn_implementation": "eager"})
            yield Load(made, class_name, made.kind, "float16")
            yield Load(made, class_name, made.kind, "bfloat16")
