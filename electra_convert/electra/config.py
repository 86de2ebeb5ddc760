"""`ElectraConfig`: the sizes and settings of one tower, and where each value came from.

Field names are the keys of Hugging Face's `config.json`. Letters stand for sizes in every shape of this package:
V vocabulary, E embedding size, H hidden size, I intermediate size, P positions, T token types.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

LETTERS = {
    "V": "vocab_size",
    "E": "embedding_size",
    "H": "hidden_size",
    "I": "intermediate_size",
    "P": "max_position_embeddings",
    "T": "type_vocab_size",
}

# google-research/electra has one LayerNorm epsilon, TensorFlow's default, in every graph it builds.
GOOGLE_LAYER_NORM_EPS = 1e-12

Source = Literal["flag", "hparams", "config", "graph", "shape", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectraConfig:
    """Sizes and settings of one tower; defaults are those of google-research/electra."""

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = GOOGLE_LAYER_NORM_EPS

    def letters(self) -> dict[str, int]:
        """Return the sizes by the letters that the shapes of the mapping table use."""
        return {letter: getattr(self, field) for letter, field in LETTERS.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data, in the order they are declared."""
        return asdict(self)


class Origin(NamedTuple):
    """Where a value came from: the kind of source, and the place in it."""

    source: Source
    detail: str

    def __str__(self) -> str:
        return f"{self.source}: {self.detail}"


def heads_by_rule(hidden_size: int) -> int:
    """Return the head count that google-research/electra gives a tower unless told otherwise.

    Source: `util/training_utils.py` and `run_pretraining.py` (`get_generator_config`), heads of 64 values.
    """
    return max(1, hidden_size // 64)
