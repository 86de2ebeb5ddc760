"""The readers of the compatibility suite: which script reads in which environment, and the classes it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a class is for: the part of its name that all frameworks share.
KINDS = (
    "Model",
    "ForPreTraining",
    "ForMaskedLM",
    "ForCausalLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)
ADAPTER_MODEL = "AdapterModel"


@dataclass(frozen=True, slots=True)
class Reader:
    """A library that reads folders: its package, its classes with what each is for, what `from_pretrained` is told."""

    name: str
    package: str
    environment: str
    script: str
    classes: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


def _transformers(version: str) -> Reader:
    classes = {f"Electra{kind}": kind for kind in KINDS}
    automatic = {"AutoModel" if kind == "Model" else f"AutoModel{kind}": kind for kind in KINDS}
    name = f"transformers-{version}"
    return Reader(name, "transformers", name, "read_with_torch.py", {**classes, **automatic})


def _tensorflow(version: str, **options: Any) -> Reader:
    # There is no TFElectraForCausalLM.
    classes = {f"TFElectra{kind}": kind for kind in KINDS if kind != "ForCausalLM"}
    name = f"tensorflow-{version}"
    return Reader(name, "tensorflow-cpu", name, "read_with_tensorflow.py", classes, options)


TORCH = {reader.name: reader for reader in map(_transformers, ("5.23", "5.0", "4.57", "4.46"))}
# transformers 4.55 to 4.57 cannot read safetensors into TensorFlow by themselves (huggingface/transformers#40028).
TENSORFLOW = {reader.name: reader for reader in (_tensorflow("4.57", from_pt=True), _tensorflow("4.46"))}
FLAX = {
    "flax-4.57": Reader(
        "flax-4.57", "flax", "flax-4.57", "read_with_flax.py", {f"FlaxElectra{kind}": kind for kind in KINDS}
    )
}
ADAPTERS = {
    "adapters-1.3": Reader(
        "adapters-1.3",
        "adapters",
        "transformers-4.57",
        "read_with_adapters.py",
        {"ElectraAdapterModel": ADAPTER_MODEL, "AutoAdapterModel": ADAPTER_MODEL},
    )
}
READERS = {**TORCH, **TENSORFLOW, **FLAX, **ADAPTERS}
