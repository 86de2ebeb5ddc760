"""The one table from Google's variables to Hugging Face's tensors, and its expansion for a tower.

Letters of a shape: V vocabulary, E embedding size, H hidden size, I intermediate size, P positions, T token types.
`{emb}`, `{body}` and `{head}` are the scopes of a tower's embeddings, encoder and head; `{i}` counts layers. The rows of
fine-tuned heads, whose tensors may be made of several variables, stand in `heads.py`.

Everything derives from the rows: the conversion, the way back, sizes from shapes, the completeness check, the name table
of the README, and the wrong mappings that the verifier must catch. What is special about a tensor stands in its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from electra_convert.electra.config import LETTERS, ElectraConfig

if TYPE_CHECKING:
    import numpy as np

HalfName = Literal["discriminator", "generator", "encoder", "task"]
"""What a folder holds: a half of the pre-training, the bare tower `electra`, or that tower with a fine-tuned head."""

Shape = tuple[int, ...]


class Operation(Enum):
    """What is done to variables on their way. Copy and transpose take one variable, and are their own inverse.

    The others make a tensor of a fine-tuned head from any number of variables, each transposed first:

        stack     variable after variable, along the first axis
        mirror    [x; -x; 0], as many rows of zeros as the tensor's shape leaves
        identity  [I, -I, 0], from no variable: with `mirror`, gelu(x) - gelu(-x) = x
        zeros     from no variable
    """

    COPY = "copy"
    TRANSPOSE = "transpose"
    STACK = "stack"
    MIRROR = "mirror"
    IDENTITY = "identity"
    ZEROS = "zeros"

    @property
    def inverts_itself(self) -> bool:
        """Whether it takes one variable, and turns the tensor into the variable again."""
        return self in {Operation.COPY, Operation.TRANSPOSE}

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return the tensor for a variable, or the variable for a tensor."""
        if not self.inverts_itself:
            raise ValueError(f"{self.value} takes other than one variable")
        return array.T if self is Operation.TRANSPOSE else array

    def build(self, arrays: Sequence[np.ndarray], shape: Shape) -> np.ndarray:
        """Return the tensor of this shape for any number of variables, in their type (float32 for none)."""
        import numpy as np

        if self.inverts_itself:
            (array,) = arrays
            return self.apply(array)
        if self is Operation.STACK:
            return np.concatenate([array.T for array in arrays])
        tensor = np.zeros(shape, arrays[0].dtype if arrays else np.float32)
        if self is Operation.MIRROR:
            (array,) = arrays
            rows = array.shape[-1]
            tensor[:rows], tensor[rows : 2 * rows] = array.T, -array.T
        elif self is Operation.IDENTITY:
            rows = shape[0]
            tensor[:, :rows], tensor[:, rows : 2 * rows] = np.eye(rows), -np.eye(rows)
        return tensor

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of what `apply` returns."""
        return shape[::-1] if self is Operation.TRANSPOSE else shape


COPY, TRANSPOSE = Operation.COPY, Operation.TRANSPOSE


class Row(NamedTuple):
    """One kind of tensor: the part of the tower it belongs to, both names, the operation, the variable's shape.

    `variable` may be several names, or none, between spaces. `made` is the tensor's shape where the operation and the
    variable's shape do not tell it.
    """

    part: str
    variable: str
    tensor: str
    operation: Operation
    shape: str
    made: str = ""


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
ENCODER_ARCHITECTURE = "ElectraModel"

# Stands before every tensor of a tower, except in ElectraModel, which is the tower.
TOWER_PREFIX = "electra."


class Scopes(NamedTuple):
    """The scopes of one tower: whose embeddings it reads, where its encoder stands, and its head."""

    emb: str
    body: str
    head: str = "generator_predictions"


class Move(NamedTuple):
    """One row for one tower and layer: a variable (or several, or none), the tensor it becomes, and both shapes."""

    row: Row
    layer: int | None
    variable: str
    tensor: str
    variable_shape: Shape
    made: Shape | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables; all have `variable_shape`."""
        return tuple(self.variable.split())

    @property
    def operation(self) -> Operation:
        """What is done to the variable."""
        return self.row.operation

    @property
    def tensor_shape(self) -> Shape:
        """The shape of the tensor."""
        return self.row.operation.shape(self.variable_shape) if self.made is None else self.made


def rows_of(half: str, project: bool, head: Sequence[Row] = ()) -> Iterator[Row]:
    """Yield the rows of a half; `project` where its embeddings are not as wide as its encoder, `head` a task's rows."""
    parts = {"embeddings", "layer", half} | ({"project"} if project else set())
    yield from (row for row in ROWS if row.part in parts)
    yield from head


def expand(
    half: str, scopes: Scopes, layers: int, project: bool, head: Sequence[Row] = ()
) -> Iterator[tuple[Row, int | None, str]]:
    """Yield (row, layer, variable name) for every variable that the half needs, layer by layer."""
    rows = list(rows_of(half, project, head))
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


def moves(
    half: str, scopes: Scopes, letters: Mapping[str, int], layers: int, head: Sequence[Row] = ()
) -> tuple[Move, ...]:
    """Return every move of a half whose sizes are known by letter."""
    project = letters["E"] != letters["H"]
    prefix = TOWER_PREFIX if half == "encoder" else ""
    return tuple(
        Move(
            row,
            i,
            name,
            row.tensor.format(i=i).removeprefix(prefix),
            shape_of(row, letters),
            sizes_in(row.made, letters) if row.made else None,
        )
        for row, i, name in expand(half, scopes, layers, project, head)
    )


def variables_of(moves: Iterable[Move]) -> list[str]:
    """Return the variables that moves take, each once."""
    return list(dict.fromkeys(name for move in moves for name in move.variables))


def shape_of(row: Row, letters: Mapping[str, int]) -> Shape:
    """Return the shape of a row's variable.

    >>> shape_of(ROWS[0], {"V": 30522, "E": 128})
    (30522, 128)
    """
    return sizes_in(row.shape, letters)


def sizes_in(shape: str, letters: Mapping[str, int]) -> Shape:
    """Return a shape of letters and numbers in numbers.

    >>> sizes_in("2 H", {"H": 256})
    (2, 256)
    """
    return tuple(int(letter) if letter.isdigit() else letters[letter] for letter in shape.split())


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
