# mypy: allow-subclassing-any
"""ELECTRA in PyTorch, all of it in this file, for inference: no dropout, no loss, no transformers.

    B rows, S tokens, V vocabulary, E embedding size, H hidden size, N heads, D = H / N, I intermediate size

    Encoder        embeddings [B, S, E], embeddings_project to [B, S, H] where E differs from H, then the layers
    Discriminator  Encoder + one logit a token [B, S]: positive means replaced
    Generator      Encoder + logits over the vocabulary [B, S, V]; the output matrix is the word embeddings

Parameters have Hugging Face's names: `Discriminator(config).state_dict()` has the names and shapes of
ElectraForPreTraining's `model.safetensors`, `Generator` those of ElectraForMaskedLM (which stores no
`generator_lm_head.weight`, since it is tied), `Encoder` those of ElectraModel. What is computed is what transformers
computes, also where that differs from Google's code: the generator's head applies gelu whatever `hidden_act` says.

    model = from_folder("out/discriminator")
    model(input_ids).logits                    # input_ids [B, S]
    model(input_ids, attention_mask, token_type_ids).hidden_states     # L + 1 tensors [B, S, H]

References: Clark et al., ELECTRA, 2020 (arXiv 2003.10555); transformers `models/electra/modeling_electra.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.loading import fit, read_folder
from electra_convert.errors import FolderError, SettingError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,  # x · Φ(x) by erf
    "gelu_new": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "linear": lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
}
"""By the names of `config.json`."""


def _activation(name: str) -> Callable[[Tensor], Tensor]:
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
        self.activation = _activation(config.hidden_act)

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


class DiscriminatorHead(nn.Module):
    """Two linear maps, `hidden_act` between them."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)
        self.activation = _activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, S]."""
        return self.dense_prediction(self.activation(self.dense(x))).squeeze(-1)


class GeneratorHead(nn.Module):
    """From H back to E. Always gelu: transformers' ElectraGeneratorPredictions does not look at `hidden_act`."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, S, E]."""
        return self.LayerNorm(nn.functional.gelu(self.dense(x)))


class TiedOutput(nn.Module):
    """Logits over the vocabulary by the word embeddings; only the bias is a parameter of its own."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Return [B, S, V] from x [B, S, E] and the word embeddings [V, E]."""
        return nn.functional.linear(x, words, self.bias)


class Discriminator(nn.Module):
    """Tells which tokens were replaced; transformers' ElectraForPreTraining."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.electra = Encoder(config)
        self.discriminator_predictions = DiscriminatorHead(config)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Output:
        """Return logits [B, S], positive at tokens held to be replaced, and hidden states.

        All arguments are integers [B, S]: `attention_mask` is 1 at real tokens and 0 at padding (default all 1),
        `token_type_ids` the segment (default all 0). An IndexError means an id, or a length, beyond its table.
        """
        states = self.electra(input_ids, attention_mask, token_type_ids).hidden_states
        return Output(self.discriminator_predictions(states[-1]), states)


class Generator(nn.Module):
    """Fills in masked tokens; transformers' ElectraForMaskedLM."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.electra = Encoder(config)
        self.generator_predictions = GeneratorHead(config)
        self.generator_lm_head = TiedOutput(config)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Output:
        """Return logits [B, S, V] and hidden states; see `Discriminator.forward` for the arguments."""
        states = self.electra(input_ids, attention_mask, token_type_ids).hidden_states
        words = self.electra.embeddings.word_embeddings.weight
        return Output(self.generator_lm_head(self.generator_predictions(states[-1]), words), states)


Model = Discriminator | Generator | Encoder
Kind = type[Discriminator] | type[Generator] | type[Encoder]

ARCHITECTURES: dict[str, Kind] = {
    "ElectraForPreTraining": Discriminator,
    "ElectraForMaskedLM": Generator,
    "ElectraModel": Encoder,
}
"""`architectures` in config.json, and the class here that computes it."""


def from_folder(path: str | PathLike[str], dtype: torch.dtype | str = torch.float32) -> Model:
    """Load a Hugging Face ELECTRA folder: `config.json`, and `model.safetensors` or else `pytorch_model.bin`.

    The class comes from `architectures`, else from the names of the tensors. Weights are copied into `dtype`, so no
    file stays open.

    Raises FolderError for a file that is missing or not what it must be, or a config that this model does not
    compute; MappingError for missing, unexpected and wrongly shaped tensors; SettingError for an unknown activation.
    """
    folder = read_folder(path)
    kind = _find_kind(folder.architectures, folder.tensors, folder.where)
    if kind is Generator and not folder.tied and "generator_lm_head.weight" not in folder.tensors:
        raise FolderError(
            "the generator's output matrix is neither stored nor tied",
            where=folder.where,
            found="tie_word_embeddings false, and no tensor generator_lm_head.weight",
            hint="transformers would make it up at random; set tie_word_embeddings to true",
        )
    return from_tensors(folder.config, folder.tensors, kind, dtype, where=folder.where)


def from_tensors(
    config: ElectraConfig,
    tensors: Mapping[str, Tensor | NDArray[Any]],
    kind: Kind | None = None,
    dtype: torch.dtype | str = torch.float32,
    *,
    where: str | None = None,
) -> Model:
    """Return a model with these weights, by their Hugging Face names, converted to `dtype` ("float64" for short).

    `kind` defaults to what the names say. Tensors are taken one at a time and copied, so `tensors` may be a mapping
    that reads when it is asked. Nothing is left out or made up: see `loading.fit` for what is accepted, and for the
    MappingError that is raised else.
    """
    with torch.device("meta"):  # no memory, and no time spent on random weights
        model: Model = (kind or _find_kind((), tensors, where))(config)
    weights = fit(tensors, model.state_dict(), dtype, where=where)
    model.load_state_dict(weights, assign=True)
    model.eval()
    return model


def _find_kind(architectures: Iterable[str], tensors: Iterable[str], where: str | None) -> Kind:
    if architectures:
        known = [ARCHITECTURES[name] for name in architectures if name in ARCHITECTURES]
        if not known:
            raise FolderError(
                "no model here computes this class",
                where=where,
                found=list(architectures),
                expected=", ".join(ARCHITECTURES),
            )
        return known[0]
    heads = {name.split(".")[0] for name in tensors}
    if "discriminator_predictions" in heads:
        return Discriminator
    return Generator if heads & {"generator_predictions", "generator_lm_head"} else Encoder


def run(model: Model, batches: Iterable[Batch]) -> list[Outputs]:
    """Return what the model answers to each batch as NumPy arrays, in the form of `reference.run`.

    bfloat16, which NumPy lacks, comes back as float32: the same values.
    """
    with torch.inference_mode():
        return [_answer(model, batch) for batch in batches]


def _answer(model: Model, batch: Batch) -> Outputs:
    # Copies: torch warns about arrays that may not be written to, and a Batch's may not.
    inputs = (batch.input_ids, batch.input_mask, batch.segment_ids)
    tensors = [torch.from_numpy(array.copy()) for array in inputs]
    if batch.depth is None:
        output = model(*tensors)
    else:
        encoder = model if isinstance(model, Encoder) else model.electra
        output = encoder(*tensors, depth=batch.depth)
    logits = None if output.logits is None else _to_numpy(output.logits)
    return Outputs(tuple(map(_to_numpy, output.hidden_states)), logits)


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array
