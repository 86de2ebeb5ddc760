# mypy: allow-subclassing-any
"""ELECTRA's tower in PyTorch: embeddings, and layers of attention and a feed-forward network, as in BERT.

    B rows, S tokens, E embedding size, H hidden size, I intermediate size, N heads, D = H / N

Parameters have the names of transformers' ElectraModel. `model.py` puts heads on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from electra_convert.electra.config import ElectraConfig
from electra_convert.errors import SettingError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,  # x · Φ(x) by erf
    "gelu_new": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "linear": lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
}
"""By the names of `config.json`."""


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation of this name in `config.json`; raise SettingError for one that is unknown."""
    if name not in ACTIVATIONS:
        raise SettingError("unknown activation", found=name, expected=", ".join(ACTIVATIONS))
    return ACTIVATIONS[name]


def _table(rows: int, width: int) -> nn.Embedding:
    # Zeros until weights are loaded: the usual normal_ costs 3 s of imports on the meta device (torch 2.13).
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)


class Output(NamedTuple):
    """`hidden_states`: L + 1 tensors [B, S, H], embeddings first; `logits`: None from a bare Encoder."""

    logits: Tensor | None
    hidden_states: tuple[Tensor, ...]


class Embeddings(nn.Module):
    """Word, position and segment embeddings, added and normalized."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.word_embeddings = _table(config.vocab_size, config.embedding_size)
        self.position_embeddings = _table(config.max_position_embeddings, config.embedding_size)
        self.token_type_embeddings = _table(config.type_vocab_size, config.embedding_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return [B, S, E]."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)  # (S)
        words = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)  # (B, S, E)
        return self.LayerNorm(words + self.position_embeddings(positions))


class SelfAttention(nn.Module):
    """Each token's mixture of all real tokens' values, head by head."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Return [B, S, H]; `padding` [B, 1, 1, S] is true at keys to leave out."""
        query, key, value = (self._split(dense(x)) for dense in (self.query, self.key, self.value))  # (B, N, S, D)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])  # (B, N, S, S)
        # The lowest finite value, not -inf: a row without any real token then attends evenly instead of giving NaN.
        scores = scores.masked_fill(padding, torch.finfo(scores.dtype).min)
        context = scores.softmax(dim=-1) @ value  # (B, N, S, D)
        return context.transpose(1, 2).flatten(2)  # (B, S, H)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, S, H) to (B, N, S, D)


class AddAndNormalize(nn.Module):
    """The end of both halves of a layer: a linear map back to H, the residual, LayerNorm."""

    def __init__(self, width: int, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return [B, S, H] from x [B, S, width] and the residual [B, S, H]."""
        return self.LayerNorm(self.dense(x) + residual)


class Attention(nn.Module):
    """A layer's first half."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = AddAndNormalize(config.hidden_size, config)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Return [B, S, H]."""
        return self.output(self.self(x, padding), x)


class Intermediate(nn.Module):
    """The widening map of a layer's second half."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation_of(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, S, I]."""
        return self.activation(self.dense(x))


class Layer(nn.Module):
    """One transformer layer, normalized after each half, as in BERT."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = AddAndNormalize(config.intermediate_size, config)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Return [B, S, H]."""
        x = self.attention(x, padding)
        return self.output(self.intermediate(x), x)


class Layers(nn.Module):
    """The stack of layers."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, padding: Tensor, depth: int | None = None) -> tuple[Tensor, ...]:
        """Return x and the output of each layer, or of the first `depth`: L + 1 tensors [B, S, H]."""
        states = [x]
        for layer in self.layer[:depth]:
            states.append(layer(states[-1], padding))
        return tuple(states)


class Encoder(nn.Module):
    """The tower without a head; transformers' ElectraModel."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        if config.hidden_size % config.num_attention_heads:
            raise SettingError(
                "the hidden size cannot be divided among the heads",
                found=f"hidden_size {config.hidden_size}, num_attention_heads {config.num_attention_heads}",
            )
        self.embeddings = Embeddings(config)
        widths = (config.embedding_size, config.hidden_size)
        self.embeddings_project = nn.Linear(*widths) if widths[0] != widths[1] else None
        self.encoder = Layers(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        depth: int | None = None,
    ) -> Output:
        """Return hidden states, of the first `depth` layers only where given; see `Discriminator.forward`."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        x = self.embeddings(input_ids, token_type_ids)  # (B, S, E)
        if self.embeddings_project is not None:
            x = self.embeddings_project(x)  # (B, S, H)
        return Output(None, self.encoder(x, attention_mask[:, None, None, :] == 0, depth))
