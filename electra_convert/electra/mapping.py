"""The one table from Google's variables to Hugging Face's tensors, and its expansion for a tower.

Letters of a shape: V vocabulary, E embedding size, H hidden size, I intermediate size, P positions, T token types.
`{emb}`, `{body}` and `{head}` are the scopes of a tower's embeddings, encoder and generator head; `{i}` counts layers.

Everything derives from the rows: the conversion, the way back, sizes from shapes, the completeness check, the name table
of the README, and the wrong mappings that the verifier must catch. What is special about a tensor stands in its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from electra_convert.electra.config import LETTERS, ElectraConfig

if TYPE_CHECKING:
    import numpy as np

HalfName = Literal["discriminator", "generator"]
Shape = tuple[int, ...]


class Operation(Enum):
    """What is done to a variable on its way; each is its own inverse."""

    COPY = "copy"
    TRANSPOSE = "transpose"

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return the tensor for a variable, or the variable for a tensor."""
        return array.T if self is Operation.TRANSPOSE else array

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of what `apply` returns."""
        return shape[::-1] if self is Operation.TRANSPOSE else shape


COPY, TRANSPOSE = Operation.COPY, Operation.TRANSPOSE


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of tensor: the part of the tower it belongs to, both names, the operation, the variable's shape."""

    part: str
    variable: str
    tensor: str
    operation: Operation
    shape: str


# In the order of the forward pass. Dense layers store [in, out] in TensorFlow and [out, in] in PyTorch.
# fmt: off
ROWS = (
    #   part             TensorFlow variable                                           Hugging Face tensor                                                 operation  shape
    Row("embeddings",    "{emb}/embeddings/word_embeddings",                           "electra.embeddings.word_embeddings.weight",                        COPY,      "V E"),
    Row("embeddings",    "{emb}/embeddings/position_embeddings",                       "electra.embeddings.position_embeddings.weight",                    COPY,      "P E"),
    Row("embeddings",    "{emb}/embeddings/token_type_embeddings",                     "electra.embeddings.token_type_embeddings.weight",                  COPY,      "T E"),
    Row("embeddings",    "{emb}/embeddings/LayerNorm/gamma",                           "electra.embeddings.LayerNorm.weight",                              COPY,      "E"),
    Row("embeddings",    "{emb}/embeddings/LayerNorm/beta",                            "electra.embeddings.LayerNorm.bias",                                COPY,      "E"),
    Row("project",       "{body}/embeddings_project/kernel",                           "electra.embeddings_project.weight",                                TRANSPOSE, "E H"),
    Row("project",       "{body}/embeddings_project/bias",                             "electra.embeddings_project.bias",                                  COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/self/query/kernel",       "electra.encoder.layer.{i}.attention.self.query.weight",            TRANSPOSE, "H H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/self/query/bias",         "electra.encoder.layer.{i}.attention.self.query.bias",              COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/self/key/kernel",         "electra.encoder.layer.{i}.attention.self.key.weight",              TRANSPOSE, "H H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/self/key/bias",           "electra.encoder.layer.{i}.attention.self.key.bias",                COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/self/value/kernel",       "electra.encoder.layer.{i}.attention.self.value.weight",            TRANSPOSE, "H H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/self/value/bias",         "electra.encoder.layer.{i}.attention.self.value.bias",              COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/output/dense/kernel",     "electra.encoder.layer.{i}.attention.output.dense.weight",          TRANSPOSE, "H H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/output/dense/bias",       "electra.encoder.layer.{i}.attention.output.dense.bias",            COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/output/LayerNorm/gamma",  "electra.encoder.layer.{i}.attention.output.LayerNorm.weight",      COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/attention/output/LayerNorm/beta",   "electra.encoder.layer.{i}.attention.output.LayerNorm.bias",        COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/intermediate/dense/kernel",         "electra.encoder.layer.{i}.intermediate.dense.weight",              TRANSPOSE, "H I"),
    Row("layer",         "{body}/encoder/layer_{i}/intermediate/dense/bias",           "electra.encoder.layer.{i}.intermediate.dense.bias",                COPY,      "I"),
    Row("layer",         "{body}/encoder/layer_{i}/output/dense/kernel",               "electra.encoder.layer.{i}.output.dense.weight",                    TRANSPOSE, "I H"),
    Row("layer",         "{body}/encoder/layer_{i}/output/dense/bias",                 "electra.encoder.layer.{i}.output.dense.bias",                      COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/output/LayerNorm/gamma",            "electra.encoder.layer.{i}.output.LayerNorm.weight",                COPY,      "H"),
    Row("layer",         "{body}/encoder/layer_{i}/output/LayerNorm/beta",             "electra.encoder.layer.{i}.output.LayerNorm.bias",                  COPY,      "H"),
    Row("discriminator", "discriminator_predictions/dense/kernel",                     "discriminator_predictions.dense.weight",                           TRANSPOSE, "H H"),
    Row("discriminator", "discriminator_predictions/dense/bias",                       "discriminator_predictions.dense.bias",                             COPY,      "H"),
    Row("discriminator", "discriminator_predictions/dense_1/kernel",                   "discriminator_predictions.dense_prediction.weight",                TRANSPOSE, "H 1"),
    Row("discriminator", "discriminator_predictions/dense_1/bias",                     "discriminator_predictions.dense_prediction.bias",                  COPY,      "1"),
    Row("generator",     "{head}/dense/kernel",                                        "generator_predictions.dense.weight",                               TRANSPOSE, "H E"),
    Row("generator",     "{head}/dense/bias",                                          "generator_predictions.dense.bias",                                 COPY,      "E"),
    Row("generator",     "{head}/LayerNorm/gamma",                                     "generator_predictions.LayerNorm.weight",                           COPY,      "E"),
    Row("generator",     "{head}/LayerNorm/beta",                                      "generator_predictions.LayerNorm.bias",                             COPY,      "E"),
    Row("generator",     "{head}/output_bias",                                         "generator_lm_head.bias",                                           COPY,      "V"),
)
# fmt: on

# Google's generator multiplies with its own embedding table, stored once; so does Hugging Face's, when nothing is
# stored under the first name. A stored copy would untie the two in transformers 5.0.
TIED = {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"}

# transformers 5.0.0 saves these endings, as did the first PyTorch ports of BERT; every version reads them.
OLD_ENDINGS = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}

ARCHITECTURE: dict[HalfName, str] = {"discriminator": "ElectraForPreTraining", "generator": "ElectraForMaskedLM"}


@dataclass(frozen=True, slots=True)
class Scopes:
    """The scopes of one tower: whose embeddings it reads, where its encoder stands, and its generator head."""

    emb: str
    body: str
    head: str = "generator_predictions"


@dataclass(frozen=True, slots=True)
class Move:
    """One row for one tower and layer: a variable, the tensor it becomes, and both shapes."""

    row: Row
    layer: int | None
    variable: str
    tensor: str
    variable_shape: Shape

    @property
    def operation(self) -> Operation:
        """What is done to the variable."""
        return self.row.operation

    @property
    def tensor_shape(self) -> Shape:
        """The shape of the tensor."""
        return self.row.operation.shape(self.variable_shape)


def rows_of(half: str, project: bool) -> Iterator[Row]:
    """Yield the rows of a half; `project` where its embeddings are not as wide as its encoder."""
    parts = {"embeddings", "layer", half} | ({"project"} if project else set())
    return (row for row in ROWS if row.part in parts)


def expand(half: str, scopes: Scopes, layers: int, project: bool) -> Iterator[tuple[Row, int | None, str]]:
    """Yield (row, layer, variable name) for every variable that the half needs, layer by layer."""
    rows = list(rows_of(half, project))
    repeated = [row for row in rows if row.part == "layer"]
    names = {"emb": scopes.emb, "body": scopes.body, "head": scopes.head}
    for row in rows:
        if row.part != "layer":
            yield row, None, row.variable.format(**names)
        elif row is repeated[0]:
            for i in range(layers):
                for inner in repeated:
                    yield inner, i, inner.variable.format(**names, i=i)


def plan(half: str, scopes: Scopes, config: ElectraConfig) -> tuple[Move, ...]:
    """Return every move of a half, in the order of the forward pass."""
    return moves(half, scopes, config.letters(), config.num_hidden_layers)


def moves(half: str, scopes: Scopes, letters: Mapping[str, int], layers: int) -> tuple[Move, ...]:
    """Return every move of a half whose sizes are known by letter."""
    project = letters["E"] != letters["H"]
    return tuple(
        Move(row, i, name, row.tensor.format(i=i), shape_of(row, letters))
        for row, i, name in expand(half, scopes, layers, project)
    )


def shape_of(row: Row, letters: Mapping[str, int]) -> Shape:
    """Return the shape of a row's variable.

    >>> shape_of(ROWS[0], {"V": 30522, "E": 128})
    (30522, 128)
    """
    return tuple(letters[letter] if letter in LETTERS else int(letter) for letter in row.shape.split())


def solve_letters(needed: list[tuple[Row, int | None, str]], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Return the size behind each letter, as most of the variables at hand have it.

    A letter that none of them shows (0 is no size) is absent from the result. Disagreement is not reported here: the variables
    whose shape is not the expected one are found by comparing each with `shape_of`.
    """
    votes: dict[str, Counter[int]] = {}
    for row, _, name in needed:
        letters, shape = row.shape.split(), shapes.get(name, ())
        if len(letters) == len(shape):
            for letter, size in zip(letters, shape, strict=True):
                if letter in LETTERS and size > 0:
                    votes.setdefault(letter, Counter())[size] += 1
    return {letter: sizes.most_common(1)[0][0] for letter, sizes in votes.items()}


def name_table() -> list[str]:
    """Return the rows as the lines of a Markdown table, for the README."""
    lines = ["| TensorFlow variable | Hugging Face tensor | operation | shape |", "| --- | --- | --- | --- |"]
    lines += [f"| `{row.variable}` | `{row.tensor}` | {row.operation.value} | {row.shape} |" for row in ROWS]
    lines += [f"| (stored once) | `{tensor}` | tied to `{source}` | V E |" for tensor, source in TIED.items()]
    return lines
