"""The table has a row for every tensor of both Hugging Face classes, with its true name, operation and shape."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from made_up import HG, IG, E, H, I, L, P, T, V, shapes_of

from electra_convert.electra.config import LETTERS, ElectraConfig
from electra_convert.electra.mapping import (
    ARCHITECTURE,
    ROWS,
    TIED,
    Operation,
    Row,
    Scopes,
    expand,
    moves,
    name_table,
    plan,
    rows_of,
    shape_of,
    solve_letters,
)

HALVES = ("discriminator", "generator")


def config(embedding_size: int, hidden_size: int = 8, layers: int = 3) -> ElectraConfig:
    return ElectraConfig(
        vocab_size=20,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
        type_vocab_size=3,
    )


def test_the_table_has_32_rows_and_no_name_twice() -> None:
    assert len(ROWS) == 32
    assert Counter(row.part for row in ROWS) == {
        "embeddings": 5, "project": 2, "layer": 16, "discriminator": 4, "generator": 5,
    }  # fmt: skip
    assert len({row.variable for row in ROWS}) == len({row.tensor for row in ROWS}) == 32


def test_kernels_are_transposed_and_nothing_else() -> None:
    for row in ROWS:
        assert (row.operation is Operation.TRANSPOSE) == row.variable.endswith("/kernel"), row.variable
        assert len(row.shape.split()) == 2 or row.operation is Operation.COPY


def test_layer_numbers_stand_in_the_rows_of_a_layer_on_both_sides() -> None:
    for row in ROWS:
        assert ("{i}" in row.variable) == ("{i}" in row.tensor) == (row.part == "layer")


@pytest.mark.parametrize("embedding_size", [8, 4, 16], ids=["E = H", "E < H", "E > H"])
@pytest.mark.parametrize("half", HALVES)
def test_moves_fill_exactly_the_tensors_of_the_hugging_face_class(half: str, embedding_size: int) -> None:
    """Names and shapes are those of transformers' own module, but for the tied table, which is stored once."""
    transformers = pytest.importorskip("transformers")
    ours = config(embedding_size)
    theirs = getattr(transformers, ARCHITECTURE[half])(transformers.ElectraConfig(**ours.to_json()))
    wanted = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items() if name not in TIED}
    made = plan(half, Scopes("electra", "electra"), ours)
    assert {move.tensor: move.tensor_shape for move in made} == wanted
    assert len({move.variable for move in made}) == len(made)
    assert ("electra.embeddings_project.weight" in wanted) == (embedding_size != 8)


def test_the_tied_name_is_the_word_embeddings_in_transformers_too() -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.ElectraForMaskedLM(transformers.ElectraConfig(**config(4).to_json()))
    tensors = dict(model.named_parameters(remove_duplicate=False))
    (tied,) = TIED
    assert tied not in {row.tensor for row in ROWS}
    assert tensors[tied] is tensors[TIED[tied]]


@pytest.mark.parametrize("operation", [Operation.COPY, Operation.TRANSPOSE])
def test_an_operation_undoes_itself(operation: Operation) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    done = operation.apply(array)
    assert done.shape == operation.shape(array.shape)
    assert np.array_equal(operation.apply(done), array)
    assert operation.shape(operation.shape((2, 3))) == (2, 3)


def test_a_transposed_kernel_has_the_value_of_row_i_and_column_j_at_row_j_and_column_i() -> None:
    kernel = np.arange(6).reshape(2, 3)
    assert Operation.TRANSPOSE.apply(kernel)[2, 1] == kernel[1, 2]


@pytest.mark.parametrize(
    ("setup", "half", "scopes", "sizes"),
    [
        ("separate", "discriminator", Scopes("electra", "electra"), (E, H, I)),
        ("separate", "generator", Scopes("electra", "generator"), (E, HG, IG)),
        ("untied embeddings", "generator", Scopes("generator", "generator"), (HG, HG, IG)),
        ("tied", "generator", Scopes("electra", "electra"), (E, H, I)),
    ],
)
def test_moves_need_the_variables_that_googles_code_makes(
    setup: str, half: str, scopes: Scopes, sizes: tuple[int, int, int]
) -> None:
    letters = {"V": V, "P": P, "T": T, **dict(zip("EHI", sizes, strict=True))}
    shapes = shapes_of(setup)
    made = moves(half, scopes, letters, L)
    assert {move.variable: shapes.get(move.variable) for move in made} == {
        move.variable: move.variable_shape for move in made
    }
    others = {"discriminator": "generator", "generator": "discriminator"}[half]
    unused = {name for name in shapes if name not in {move.variable for move in made}}
    assert not any(name.startswith((f"{scopes.body}/encoder", f"{scopes.emb}/embeddings/")) for name in unused)
    assert all(name.startswith((others, "electra", "generator")) for name in unused)


def test_layers_come_one_after_another_between_embeddings_and_head() -> None:
    listed = [(row.part, layer) for row, layer, _ in expand("discriminator", Scopes("electra", "electra"), 11, True)]
    parts = list(dict.fromkeys(listed))
    layers = [("layer", i) for i in range(11)]
    assert parts == [("embeddings", None), ("project", None), *layers, ("discriminator", None)]
    assert len(listed) == 5 + 2 + 16 * 11 + 4


def test_without_a_half_the_rows_are_those_of_an_encoder() -> None:
    assert {row.part for row in rows_of("", project=False)} == {"embeddings", "layer"}


def test_a_two_tower_head_stands_under_its_own_scope() -> None:
    names = {
        name for _, _, name in expand("generator", Scopes("electra", "generator_ltr", "cloze_predictions"), 1, True)
    }
    assert "cloze_predictions/output_bias" in names
    assert not any(name.startswith("generator_predictions") for name in names)


def test_every_letter_of_a_shape_is_known_and_a_digit_is_itself() -> None:
    letters = {letter: number for number, letter in enumerate(LETTERS, start=2)}
    for row in ROWS:
        assert all(letter in LETTERS or letter == "1" for letter in row.shape.split())
        assert len(shape_of(row, letters)) == len(row.shape.split())
    (dense_1,) = [row for row in ROWS if row.variable == "discriminator_predictions/dense_1/kernel"]
    assert shape_of(dense_1, letters) == (letters["H"], 1)


def needed(*names: str) -> list[tuple[Row, int | None, str]]:
    every = list(expand("discriminator", Scopes("electra", "electra"), 2, True))
    return [entry for entry in every if entry[2] in names]


def test_a_size_is_what_most_variables_show() -> None:
    layer = "electra/encoder/layer_{}/attention/self/query/bias"
    shapes = {layer.format(0): (9,), layer.format(1): (8,), "electra/embeddings_project/bias": (8,)}
    assert solve_letters(needed(*shapes), shapes) == {"H": 8}


def test_a_letter_that_nothing_shows_is_left_open() -> None:
    name = "electra/embeddings/word_embeddings"
    assert solve_letters(needed(name), {}) == {}
    assert solve_letters(needed(name), {name: (3, 4, 5)}) == {}
    assert solve_letters(needed(name), {name: (0, 4)}) == {"E": 4}


def test_the_name_table_of_the_readme_has_every_row_and_the_tied_tensor() -> None:
    lines = name_table()
    assert len(lines) == 2 + len(ROWS) + len(TIED)
    for row, line in zip(ROWS, lines[2:], strict=False):
        assert line.split(" | ")[0] == f"| `{row.variable}`"
        assert f"`{row.tensor}` | {row.operation.value} | {row.shape} |" in line
    assert "generator_lm_head.weight" in lines[-1]
    assert all(line.count("|") == 5 for line in lines)
