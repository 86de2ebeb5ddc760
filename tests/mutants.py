"""Wrong conversions: each a named fault in a folder that was right, derived from the mapping table where it can be.

A mutant says which rung must catch it, what that rung or its explanation must name, and, where no forward pass can see
it, why. Values are changed on copies; the files that a folder holds beside weights and config are in `files`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from electra_convert.electra.mapping import TIED, Move, Operation

WEIGHTS, CONFIG = "model.safetensors", "config.json"

KEY_BIAS = "a key bias adds the same to all scores of a query, which softmax does not see"
NO_OUTPUT = "no output depends on it"
NEVER_READ = "no input of the battery reads this row"
SAME_FUNCTION = "the network computes the same function in another way"
TOLD_THE_SAME = "reference.py takes it from config.json, and no graph contradicts"
ROUNDED_EXPORT = "it is a right export in 16 bits"


@dataclass(slots=True)
class Folder:
    """A conversion in memory."""

    tensors: dict[str, np.ndarray[Any, Any]]
    config: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> Folder:
        return Folder(dict(self.tensors), dict(self.config), dict(self.files))

    def write(self, path: Path) -> None:
        from safetensors.numpy import save_file

        path.mkdir()
        for name, content in self.files.items():
            (path / name).write_bytes(content)
        (path / CONFIG).write_text(json.dumps(self.config))
        save_file({name: np.ascontiguousarray(value) for name, value in self.tensors.items()}, path / WEIGHTS)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: `rung` is where it must be caught (`refused`: an exit code of 3), `named` what must be told of it.

    `unseen` is the reason why forward passes, the structure aside, cannot see it; empty where they must.
    """

    name: str
    change: Callable[[Folder], None]
    rung: str
    named: str
    explained: str = ""
    unseen: str = ""

    def of(self, folder: Folder) -> Folder:
        changed = folder.copy()
        self.change(changed)
        return changed


# --- from the rows ----------------------------------------------------------------------------------------------------


def flipped(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """Every operation undone, or done where it is not to be; on vectors there is nothing to do."""
    for move in moves:
        if len(move.tensor_shape) == 2:
            square = move.tensor_shape[0] == move.tensor_shape[1]
            done = "without its operation" if move.operation is Operation.TRANSPOSE else "transposed"
            yield Mutant(
                f"flipped {move.tensor}",
                _replace(move.tensor, lambda value: value.T),
                "bytes" if square else "structure",
                move.tensor,
                f"it equals {move.variable} {done}",
            )


def swapped(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """Every two tensors of one layer, or of one other part, that have the same shape."""
    for one, other in itertools.combinations(moves, 2):
        if (one.row.part, one.layer, one.tensor_shape) == (other.row.part, other.layer, other.tensor_shape):
            yield Mutant(
                f"swapped {one.tensor} and {_end(other)}",
                _swap([(one.tensor, other.tensor)]),
                "bytes",
                other.tensor,
                f"{one.tensor} is not {one.variable}{_turned(one)}: it equals {other.variable}",
            )


def layers_mixed(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """Layers in another order, one layer twice, and each tensor taken from the next layer."""
    inner = [move for move in moves if move.layer is not None]
    last = max(move.layer for move in inner)
    pairs = [(move, _of_layer(inner, move, last - move.layer)) for move in inner if 2 * move.layer < last]
    if not pairs:
        return
    first = inner[0]
    told = f"it equals layer {last}'s, {_of_layer(inner, first, last).variable}"
    yield Mutant(
        "layers reversed", _swap([(one.tensor, other.tensor) for one, other in pairs]), "bytes", first.tensor, told
    )

    def repeat(folder: Folder) -> None:
        for one, other in pairs:
            folder.tensors[other.tensor] = folder.tensors[one.tensor]

    second = pairs[0][1]
    yield Mutant(
        f"layer {last} is layer 0 again", repeat, "bytes", second.tensor, f"it equals layer 0's, {first.variable}"
    )
    for one, other in pairs:

        def take(folder: Folder, one: Move = one, other: Move = other) -> None:
            folder.tensors[one.tensor] = folder.tensors[other.tensor]

        yield Mutant(
            f"{one.tensor} of the next layer",
            take,
            "bytes",
            one.tensor,
            f"it equals layer {other.layer}'s, {other.variable}",
            KEY_BIAS if _is_key_bias(one) else "",
        )


def nudged(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """The largest value (of a matrix: of its first row) of one tensor a kind moved by one unit in the last place."""
    for move in _one_a_row(moves):

        def nudge(folder: Folder, tensor: str = move.tensor) -> None:
            value = folder.tensors[tensor] = folder.tensors[tensor].copy()
            first = value[0] if value.ndim == 2 else value  # every table's first row is read by the battery
            at = int(np.abs(first).argmax())
            first[at] = np.nextafter(first[at], np.inf, dtype=value.dtype)

        yield Mutant(
            f"one unit in the last place of {move.tensor}",
            nudge,
            "bytes",
            move.tensor,
            "1 of ",
            KEY_BIAS if _is_key_bias(move) else "",
        )


def values_changed(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """Of one tensor a kind: negated, zeros; NaN and infinity in one value; the first and last rows of a table."""
    for move in _one_a_row(moves):
        unseen = KEY_BIAS if _is_key_bias(move) else ""
        zeroed = _replace(move.tensor, np.zeros_like)
        yield Mutant(f"zeros for {move.tensor}", zeroed, "bytes", move.tensor, "it equals zeros", unseen)
        yield Mutant(f"negated {move.tensor}", _replace(move.tensor, np.negative), "bytes", move.tensor, unseen=unseen)
        for wild in (np.nan, np.inf):
            yield Mutant(
                f"{wild} in {move.tensor}",
                _replace(move.tensor, _set_last, wild),
                "bytes",
                move.tensor,
                "NaN or infinite",
            )
        if move.tensor.endswith("_embeddings.weight"):
            for row in (0, -1):
                yield Mutant(
                    f"row {row} of {move.tensor} zeroed",
                    _replace(move.tensor, _zero_row, row),
                    "bytes",
                    move.tensor,
                    f"first at [{row % move.tensor_shape[0]}, 0]",
                )
            yield Mutant(
                f"rows of {move.tensor} reversed",
                _replace(move.tensor, lambda value: value[::-1]),
                "bytes",
                move.tensor,
            )
            yield Mutant(
                f"rows of {move.tensor} moved by one",
                _replace(move.tensor, lambda value: np.roll(value, 1, axis=0)),
                "bytes",
                move.tensor,
            )


def dropped(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """One tensor a kind left out; a whole layer left out, also of config.json."""
    for move in _one_a_row(moves):

        def drop(folder: Folder, tensor: str = move.tensor) -> None:
            del folder.tensors[tensor]

        yield Mutant(f"dropped {move.tensor}", drop, "structure", f"missing {move.tensor}")
    inner = [move for move in moves if move.layer is not None]
    last = max(move.layer for move in inner)

    def shorten(folder: Folder) -> None:
        for move in inner:
            if move.layer == last:
                del folder.tensors[move.tensor]
        folder.config["num_hidden_layers"] = last

    if last:
        yield Mutant("dropped the last layer", shorten, "structure", f"num_hidden_layers is {last}, not {last + 1}")


def misshapen(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """One tensor a kind a row short, or with an axis more."""
    for move in _one_a_row(moves):
        short = [move.tensor_shape[0] - 1, *move.tensor_shape[1:]]
        yield Mutant(
            f"{move.tensor} a row short",
            _replace(move.tensor, lambda value: value[:-1]),
            "structure",
            f"{move.tensor} is {short}, not {list(move.tensor_shape)}",
        )
    move = moves[-1]
    grown = [1, *move.tensor_shape]
    yield Mutant(
        f"{move.tensor} with an axis more",
        _replace(move.tensor, lambda value: value[None]),
        "structure",
        f"{move.tensor} is {grown}, not {list(move.tensor_shape)}",
    )


def rounded(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """Values rounded on the way; tensors stored in another type."""
    import ml_dtypes

    for kind in (np.float16, ml_dtypes.bfloat16):
        called = np.dtype(kind).name

        def through(value: np.ndarray[Any, Any], kind: Any = kind) -> np.ndarray[Any, Any]:
            return value.astype(kind).astype(value.dtype)

        for move in _one_a_row(moves):
            unseen = KEY_BIAS if _is_key_bias(move) else ""
            name = f"{move.tensor} rounded to {called}"
            told = f"it equals it rounded to {called}"
            yield Mutant(name, _replace(move.tensor, through), "bytes", move.tensor, told, unseen)
        for move in moves[:1] + moves[-1:]:
            one = _replace(move.tensor, lambda value, kind=kind: value.astype(kind))
            yield Mutant(f"{move.tensor} stored as {called}", one, "structure", f"{move.tensor} is {called}")

        def all_through(folder: Folder, through: Any = through) -> None:
            folder.tensors = {name: through(value) for name, value in folder.tensors.items()}

        yield Mutant(f"all rounded to {called}", all_through, "bytes", moves[0].tensor, f"rounded to {called}")

        def store_all(folder: Folder, kind: Any = kind) -> None:
            folder.tensors = {name: value.astype(kind) for name, value in folder.tensors.items()}

        yield Mutant(f"all stored as {called}", store_all, "files", WEIGHTS, unseen=ROUNDED_EXPORT)

    def to_integers(folder: Folder) -> None:
        folder.tensors = {name: value.astype(np.int32) for name, value in folder.tensors.items()}

    yield Mutant("all stored as int32", to_integers, "structure", f"{moves[0].tensor} is int32")


def added(moves: tuple[Move, ...]) -> Iterator[Mutant]:
    """Tensors that nothing wants, and copies that are none."""
    last = max(move.layer for move in moves if move.layer is not None)
    names = [
        "electra.pooler.dense.weight",
        f"electra.encoder.layer.{last + 1}.attention.self.query.weight",
        "electra.embeddings.LayerNorm.gamma",
        "discriminator_predictions.dense.weight.1",
    ]
    for name in names:

        def add(folder: Folder, name: str = name) -> None:
            folder.tensors[name] = folder.tensors[moves[3].tensor] + np.float32(1)

        yield Mutant(f"added {name}", add, "structure", f"unexpected {name}")
    for matrix, source in TIED.items():

        def untie(folder: Folder, matrix: str = matrix, source: str = source) -> None:
            folder.tensors[matrix] = folder.tensors[source] + np.float32(1e-3)

        yield Mutant(
            f"an untied {matrix}", untie, "structure", f"unexpected {matrix}", f"{matrix} is stored and is not"
        )

    def misplace(folder: Folder) -> None:
        folder.tensors["electra.embeddings.position_ids"] = np.arange(1, 9, dtype=np.int64)[None]

    yield Mutant("position_ids from 1", misplace, "structure", "unexpected electra.embeddings.position_ids")

    def rename(folder: Folder) -> None:
        folder.tensors = {name.removeprefix("electra."): value for name, value in folder.tensors.items()}

    yield Mutant("names without their prefix", rename, "structure", f"missing {moves[0].tensor}")


def from_elsewhere(moves: tuple[Move, ...], others: dict[str, dict[str, np.ndarray[Any, Any]]]) -> Iterator[Mutant]:
    """One tensor a kind taken from another set of variables: `others` has their values, by tensor and by variable."""
    for move in _one_a_row(moves):
        for variable, value in others.get(move.tensor, {}).items():
            fits = value.shape == move.tensor_shape
            yield Mutant(
                f"{variable} for {move.tensor}",
                _replace(move.tensor, lambda _, value=value: value),
                "bytes" if fits else "structure",
                move.tensor,
                f"it equals {'the optimizer' + chr(39) + 's ' if '/adam_' in variable else ''}{variable}",
                KEY_BIAS if _is_key_bias(move) and fits else "",
            )


def never_read(moves: tuple[Move, ...], rows: Iterable[int]) -> Iterator[Mutant]:
    """Rows of the word embeddings that no input has, doubled."""
    for row in rows:

        def double(folder: Folder, row: int = row) -> None:
            value = folder.tensors[moves[0].tensor] = folder.tensors[moves[0].tensor].copy()
            value[row] *= 2

        yield Mutant(f"word {row} doubled", double, "bytes", moves[0].tensor, f"first at [{row}, 0]", NEVER_READ)


# --- the same function, other tensors ---------------------------------------------------------------------------------


def same_functions(moves: tuple[Move, ...], letters: dict[str, int], heads: int) -> Iterator[Mutant]:
    """Changes that cancel: what only a comparison of the tensors themselves can see."""
    layer = "electra.encoder.layer.0."
    attention = layer + "attention.self."

    def reorder_neurons(folder: Folder) -> None:
        order = np.arange(letters["I"])[::-1]
        for name in ("intermediate.dense.weight", "intermediate.dense.bias"):
            folder.tensors[layer + name] = folder.tensors[layer + name][order]
        folder.tensors[layer + "output.dense.weight"] = folder.tensors[layer + "output.dense.weight"][:, order]

    yield Mutant(
        "neurons in another order", reorder_neurons, "bytes", layer + "intermediate.dense.weight", unseen=SAME_FUNCTION
    )

    def rescale(folder: Folder) -> None:
        for name, factor in (("query", 2), ("key", 0.5)):
            for end in (".weight", ".bias"):
                folder.tensors[attention + name + end] = folder.tensors[attention + name + end] * np.float32(factor)

    yield Mutant("queries doubled, keys halved", rescale, "bytes", attention + "query.weight", unseen=SAME_FUNCTION)

    def shift_key_bias(folder: Folder) -> None:
        folder.tensors[attention + "key.bias"] = folder.tensors[attention + "key.bias"] + np.float32(1)

    yield Mutant("key bias changed", shift_key_bias, "bytes", attention + "key.bias", unseen=KEY_BIAS)

    def reorder_heads(folder: Folder) -> None:
        order = np.arange(letters["H"]).reshape(heads, -1)[::-1].reshape(-1)
        for name in ("query", "key", "value"):
            for end in (".weight", ".bias"):
                folder.tensors[attention + name + end] = folder.tensors[attention + name + end][order]
        output = layer + "attention.output.dense.weight"
        folder.tensors[output] = folder.tensors[output][:, order]

    if heads > 1:
        yield Mutant("heads in another order", reorder_heads, "bytes", attention + "query.weight", unseen=SAME_FUNCTION)


# --- config.json and the other files ----------------------------------------------------------------------------------

SIZES = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


def config_mutants(config: dict[str, Any], half: str, graph: bool) -> Iterator[Mutant]:
    """Yield every field of config.json changed, one by one; `graph`: whether the original graph can contradict."""
    for name in SIZES:
        for value in {config[name] + 1, config[name] * 2, 10**9}:
            yield _configured(name, value, "structure", f"{name} is {value}, not {config[name]}")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    for value in {heads * 2, heads // 2, hidden} - {0, heads}:
        yield _decided("num_attention_heads", value, "layer 0", graph)
    yield _configured("num_attention_heads", hidden + 1, "structure", f"{hidden + 1} attention heads do not divide")
    for value in {"gelu", "gelu_new", "relu", "tanh", "linear"} - {config["hidden_act"]}:
        yield _decided("hidden_act", value, "layer 0", graph)
    yield _configured("hidden_act", "silu", "structure", "hidden_act is 'silu'")
    for value in (1e-5, 1e-6, 1e-7, 0.1):
        yield _decided("layer_norm_eps", value, "embeddings", graph)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"):
        yield _configured(name, 0.37, "files", f"{name} is 0.37", unseen=NO_OUTPUT)
    yield _configured("pad_token_id", config["pad_token_id"] + 1, "files", CONFIG, unseen=NO_OUTPUT)
    for value in (config["vocab_size"], -1, "0", 0.5, True):
        yield _configured("pad_token_id", value, "structure", f"pad_token_id is {value!r}")
    yield _configured(
        "position_embedding_type", "relative_key", "structure", "position_embedding_type is 'relative_key'"
    )
    yield _configured("is_decoder", True, "structure", "is_decoder is True")
    for key in ("dtype", "torch_dtype"):
        yield _configured(key, "bfloat16", "structure", f"{key} is 'bfloat16'")
    if half == "generator":
        yield _configured("tie_word_embeddings", False, "structure", "tie_word_embeddings is false")
    other = {"discriminator": "ElectraForMaskedLM", "generator": "ElectraForPreTraining"}.get(half)
    if other:
        yield _configured("architectures", [other], "structure", "missing")
    yield _configured("architectures", ["BertModel"], "refused", "BertModel")
    yield _configured("model_type", "bert", "refused", "bert")
    for name in (*SIZES, "num_attention_heads"):

        def drop(folder: Folder, name: str = name) -> None:
            del folder.config[name]

        yield Mutant(f"{name} left out", drop, "refused", name)
        yield _configured(name, 2.5, "refused", name)
    yield _configured("hidden_act", 5, "refused", "hidden_act")
    yield _configured("layer_norm_eps", -1.0, "refused", "layer_norm_eps")


def _decided(name: str, value: object, state: str, graph: bool) -> Mutant:
    """Return a fault in what no shape shows; without a graph nothing but the record contradicts it."""
    if graph:
        return _configured(name, value, "float64", state)
    return _configured(name, value, "files", f"{name} is {value!r}", TOLD_THE_SAME)


def file_mutants() -> Iterator[Mutant]:
    """Yield every other file that says something to a reader changed, and left out."""
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):

        def append(folder: Folder, name: str = name) -> None:
            folder.files[name] += b" "

        def drop(folder: Folder, name: str = name) -> None:
            del folder.files[name]

        yield Mutant(f"{name} changed", append, "files", name, unseen=NO_OUTPUT)
        yield Mutant(f"{name} left out", drop, "files", f"{name} is missing", unseen=NO_OUTPUT)


def _configured(name: str, value: object, rung: str, named: str, unseen: str = "") -> Mutant:
    def change(folder: Folder) -> None:
        folder.config[name] = value

    return Mutant(f"{name} {value!r}", change, rung, named, unseen=unseen)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _replace(tensor: str, make: Callable[..., np.ndarray[Any, Any]], *arguments: Any) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        folder.tensors[tensor] = make(folder.tensors[tensor], *arguments)

    return change


def _swap(pairs: list[tuple[str, str]]) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        for one, other in pairs:
            folder.tensors[one], folder.tensors[other] = folder.tensors[other], folder.tensors[one]

    return change


def _set_last(value: np.ndarray[Any, Any], wild: float) -> np.ndarray[Any, Any]:
    changed = value.copy()
    changed[(-1,) * value.ndim] = wild
    return changed


def _zero_row(value: np.ndarray[Any, Any], row: int) -> np.ndarray[Any, Any]:
    changed = value.copy()
    changed[row] = 0
    return changed


def _one_a_row(moves: tuple[Move, ...]) -> list[Move]:
    return list({move.row: move for move in reversed(moves)}.values())[::-1]


def _of_layer(moves: list[Move], like: Move, layer: int) -> Move:
    return next(move for move in moves if move.row == like.row and move.layer == layer)


def _is_key_bias(move: Move) -> bool:
    return move.tensor.endswith("attention.self.key.bias")


def _turned(move: Move) -> str:
    return ", transposed" if move.operation is Operation.TRANSPOSE else ""


def _end(move: Move) -> str:
    return move.tensor.split(".", 4)[-1] if move.layer is not None else move.tensor
