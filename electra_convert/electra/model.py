# mypy: allow-subclassing-any
"""ELECTRA in PyTorch, in this file and `tower.py`, for inference: no dropout, no loss, no transformers.

    B rows, S tokens, V vocabulary, E embedding size, H hidden size, N heads, D = H / N, I intermediate size, K labels

    Encoder             embeddings [B, S, E], embeddings_project to [B, S, H] where E differs from H, then the layers
    Discriminator       Encoder + one logit a token [B, S]: positive means replaced
    Generator           Encoder + logits over the vocabulary [B, S, V]; the output matrix is the word embeddings
    SequenceClassifier  Encoder + logits of a text [B, K], from its first token
    TokenClassifier     Encoder + logits of every token [B, S, K]
    QuestionAnswerer    Encoder + logits of an answer's start and end at every token [B, S, 2]

Parameters have Hugging Face's names: `Discriminator(config).state_dict()` has the names and shapes of
ElectraForPreTraining's `model.safetensors`, `Generator` those of ElectraForMaskedLM (which stores no
`generator_lm_head.weight`, since it is tied), `Encoder` those of ElectraModel, the others those of the class with that
task. What is computed is what transformers computes, also where that differs from Google's code: the heads of the
generator and of SequenceClassifier apply gelu whatever `hidden_act` says.

    model = from_folder("out/discriminator")
    model(input_ids).logits                    # input_ids [B, S]
    model(input_ids, attention_mask, token_type_ids).hidden_states     # L + 1 tensors [B, S, H]

References: Clark et al., ELECTRA, 2020 (arXiv 2003.10555); transformers `models/electra/modeling_electra.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from os import PathLike
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.loading import fit, read_folder
from electra_convert.electra.tower import Encoder, Output, activation_of
from electra_convert.errors import FolderError


class DiscriminatorHead(nn.Module):
    """Two linear maps, `hidden_act` between them."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)
        self.activation = activation_of(config.hidden_act)

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


class ClassificationHead(nn.Module):
    """Two linear maps on the first token, gelu between them whatever `hidden_act` says."""

    def __init__(self, config: ElectraConfig, labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, K] from x [B, S, H]."""
        return self.out_proj(nn.functional.gelu(self.dense(x[:, 0])))


class SequenceClassifier(nn.Module):
    """Tells the label, or the score, of a text; transformers' ElectraForSequenceClassification."""

    def __init__(self, config: ElectraConfig, labels: int = 2) -> None:
        super().__init__()
        self.electra = Encoder(config)
        self.classifier = ClassificationHead(config, labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Output:
        """Return logits [B, K] and hidden states; see `Discriminator.forward` for the arguments."""
        states = self.electra(input_ids, attention_mask, token_type_ids).hidden_states
        return Output(self.classifier(states[-1]), states)


class TokenClassifier(nn.Module):
    """Tells the label of each token; transformers' ElectraForTokenClassification."""

    def __init__(self, config: ElectraConfig, labels: int = 2) -> None:
        super().__init__()
        self.electra = Encoder(config)
        self.classifier = nn.Linear(config.hidden_size, labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Output:
        """Return logits [B, S, K] and hidden states; see `Discriminator.forward` for the arguments."""
        states = self.electra(input_ids, attention_mask, token_type_ids).hidden_states
        return Output(self.classifier(states[-1]), states)


class QuestionAnswerer(nn.Module):
    """Tells where an answer starts and ends; transformers' ElectraForQuestionAnswering."""

    def __init__(self, config: ElectraConfig, labels: int = 2) -> None:
        super().__init__()
        self.electra = Encoder(config)
        self.qa_outputs = nn.Linear(config.hidden_size, labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Output:
        """Return logits [B, S, 2], start and end, and hidden states; see `Discriminator.forward` for the arguments."""
        states = self.electra(input_ids, attention_mask, token_type_ids).hidden_states
        return Output(self.qa_outputs(states[-1]), states)


Model = Discriminator | Generator | Encoder | SequenceClassifier | TokenClassifier | QuestionAnswerer
Kind = (
    type[Discriminator]
    | type[Generator]
    | type[Encoder]
    | type[SequenceClassifier]
    | type[TokenClassifier]
    | type[QuestionAnswerer]
)

ARCHITECTURES: dict[str, Kind] = {
    "ElectraForPreTraining": Discriminator,
    "ElectraForMaskedLM": Generator,
    "ElectraModel": Encoder,
    "ElectraForSequenceClassification": SequenceClassifier,
    "ElectraForTokenClassification": TokenClassifier,
    "ElectraForQuestionAnswering": QuestionAnswerer,
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
    return from_tensors(folder.config, folder.tensors, kind, dtype, labels=folder.labels, where=folder.where)


def from_tensors(
    config: ElectraConfig,
    tensors: Mapping[str, Tensor | NDArray[Any]],
    kind: Kind | None = None,
    dtype: torch.dtype | str = torch.float32,
    *,
    labels: int | None = None,
    where: str | None = None,
) -> Model:
    """Return a model with these weights, by their Hugging Face names, converted to `dtype` ("float64" for short).

    `kind` defaults to what the names say, `labels` to what the shape of a head's bias says. Tensors are taken one at a
    time and copied, so `tensors` may be a mapping that reads when it is asked. Nothing is left out or made up: see
    `loading.fit` for what is accepted, and for the MappingError that is raised else.
    """
    kind = kind or _find_kind((), tensors, where)
    with torch.device("meta"):  # no memory, and no time spent on random weights
        model: Model
        if kind in LABELLED:
            bias = LABELLED[kind]
            model = kind(config, labels or (len(tensors[bias]) if bias in tensors else 1))  # type: ignore[call-arg]
        else:
            model = kind(config)
    weights = fit(tensors, model.state_dict(), dtype, where=where)
    model.load_state_dict(weights, assign=True)
    model.eval()
    return model


# The tensor that has as many values as its class has labels.
LABELLED: dict[Kind, str] = {
    SequenceClassifier: "classifier.out_proj.bias",
    TokenClassifier: "classifier.bias",
    QuestionAnswerer: "qa_outputs.bias",
}


def _find_kind(architectures: Iterable[str], tensors: Collection[str], where: str | None) -> Kind:
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
    for labelled, bias in LABELLED.items():
        if bias in tensors:
            return labelled
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
