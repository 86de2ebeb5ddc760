"""One half's proof: builds the networks once, climbs the rungs in order, and keeps what the diagnosis needs.

Weights come twice, by two ways: the included model takes the folder's tensors by their Hugging Face names, the
references take the checkpoint's variables by their TensorFlow names, rounded to the folder's type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from electra_convert.electra import reference as numpy_reference
from electra_convert.electra.battery import Batch, Outputs, build_battery, build_single_row
from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.heads import TaskKind
from electra_convert.electra.mapping import HalfName, Move, variables_of
from electra_convert.electra.settings import sizes_of
from electra_convert.errors import FolderError, GraphError
from electra_convert.examination import Examination
from electra_convert.hf.config import FIELDS, read_config
from electra_convert.hf.folder import CONFIG
from electra_convert.rungs import (
    Check,
    can_hold,
    compare_float32,
    compare_float64,
    compare_record,
    compare_settings,
    compare_sizes,
    compare_structure,
    compare_types,
    largest_share,
)
from electra_convert.stored import StoredTensors
from electra_convert.streaming import STRIP, numpy_dtype

if TYPE_CHECKING:
    from electra_convert.options import Reference
    from electra_convert.tf1.checkpoint import Checkpoint

Array = np.ndarray[Any, np.dtype[Any]]
Step = tuple[str, Callable[[], None]]

HEADS = {"discriminator": "discriminator_predictions", "generator": "generator_predictions"}

# What a task's head gives scores to, in the words of reference.py.
SCORES: dict[TaskKind, Literal["text", "tokens", "answer"]] = {
    "classification": "text",
    "regression": "text",
    "tagging": "tokens",
    "question answering": "answer",
}

# Tokens of the row that the graph is run on: a training graph pads it to its own length, and every position of the
# table is compared with reference.py.
GRAPH_ROW = 16


class Proof:
    """The rungs of one half; `checks` fills up as the steps are run. Close it: a file stays open until then."""

    def __init__(
        self,
        source: Checkpoint,
        examination: Examination,
        half: HalfName,
        folder: Path,
        reference: Reference = "auto",
        seed: int = 0,
        bytes_compared: bool = False,
    ) -> None:
        self.source, self.examination, self.half, self.folder = source, examination, half, folder
        self.wanted_reference, self.seed, self._bytes_compared = reference, seed, bytes_compared
        self.layout = examination.layout.half(half)
        self.moves = self.layout.moves
        self.document = read_config(folder / CONFIG)
        self.config = config_of(self.document, folder)
        self.stored = StoredTensors(folder, bare=half == "encoder")
        self.checks: list[Check] = []
        self.references: list[str] = []
        self.unproven: list[str] = []
        self.differing: list[str] = []
        self.graph_outputs: list[Outputs] = []
        self.rounding: float | None = None
        self._variables: dict[str, Array] = {}
        if self.layout.task and (head := examination.layout.heads[self.layout.task.name]).refusal:
            left = sorted(head.layers - head.without_answerability().layers)
            self.unproven.append(f"the checkpoint has an answerability classifier ({', '.join(left)}), the folder none")
        self._dtypes = {name: self.stored.dtypes.get(move.tensor) for move in self.moves for name in move.variables}

    def close(self) -> None:
        """Close the folder's file of tensors."""
        self.stored.close()

    @property
    def dtype(self) -> str:
        """The type of the folder's tensors, or all of them where they are of several."""
        return ", ".join(sorted(set(self.stored.dtypes.values())))

    def steps(self, with_transformers: bool) -> list[Step]:
        """Return what is to be done, in order, each with a name for people."""
        steps: list[Step] = [("structure", self._structure), ("bytes", self._bytes), ("graph", self._graph)]
        steps += [("reference.py", self._reference), ("float64", self._float64), ("float32", self._float32)]
        if with_transformers:
            steps.append(("transformers", self._transformers))
        return steps

    # --- what is compared ---------------------------------------------------------------------------------------------

    @cached_property
    def battery(self) -> tuple[Batch, ...]:
        """The inputs that reference.py is run on; none where it is not asked."""
        return build_battery(*self._tables, seed=self.seed, pad_token_id=self._pad) if self.in_numpy else ()

    @cached_property
    def row(self) -> Batch:
        """The one row that the graph is run on, no longer than it was trained."""
        graph = self.examination.graph
        trained = graph.trained_length.value if graph and graph.trained_length else GRAPH_ROW
        return build_single_row(*self._tables, length=min(trained, GRAPH_ROW), seed=self.seed, pad_token_id=self._pad)

    @property
    def _tables(self) -> tuple[int, int, int]:
        return self.config.vocab_size, self.config.max_position_embeddings, self.config.type_vocab_size

    @property
    def _pad(self) -> int:
        return self.document.get("pad_token_id") or 0

    @cached_property
    def network(self) -> numpy_reference.Network:
        """The network as reference.py computes it, with the settings that the folder claims."""
        scopes, task = self.layout.scopes, self.layout.task
        assert scopes is not None
        return numpy_reference.Network(
            body=scopes.body,
            embeddings=scopes.emb,
            head=task.scope if task else HEADS.get(self.half),
            scores=SCORES[task.kind] if task else None,
            layers=self.layout.layers,
            heads=self.config.num_attention_heads,
            activation=self.config.hidden_act,
            epsilon=self.config.layer_norm_eps,
        )

    def variable(self, name: str) -> Array:
        """Return a variable as the folder's type holds it; kept until the references have run."""
        if name not in self._variables:
            self._variables[name] = self.rounded(self.source.read(name), self._dtypes.get(name))
        return self._variables[name]

    def rounded(self, value: Array, dtype: str | None) -> Array:
        """Return a value in a type by its name, where there is one."""
        with np.errstate(over="ignore"):
            return value if dtype is None else value.astype(numpy_dtype(dtype), copy=False)

    @cached_property
    def model(self) -> Any:
        """The included model with the folder's tensors, in float64."""
        from electra_convert.electra import model

        kind = model.ARCHITECTURES[self.layout.architecture]
        return model.from_tensors(self.config, self.stored, kind, "float64", where=self.stored.where)

    @property
    def in_numpy(self) -> bool:
        """Whether reference.py is to be asked, and knows the activation."""
        wanted = self.wanted_reference in {"auto", "numpy"}
        return wanted and self.config.hidden_act in numpy_reference.ACTIVATIONS

    @property
    def _graph_demanded(self) -> bool:
        return self.wanted_reference in {"graph", "tensorflow"}

    def _holds(self, *names: str) -> bool:
        """Return whether these checks of the structure hold."""
        return all(check.passed for check in self.checks if check.rung == "structure" and check.name in names)

    def _runs(self) -> bool:
        """Return whether the forward passes can be run at all: not with tensors missing or misshapen."""
        return self._holds("tensors", "types", "sizes", "settings")

    # --- the rungs ----------------------------------------------------------------------------------------------------

    def _structure(self) -> None:
        wanted = {move.tensor: move.tensor_shape for move in self.moves}
        self.checks.append(compare_structure(self.stored.shapes, wanted, "the checkpoint"))
        self.checks.append(compare_types(self.stored.dtypes))
        self.checks.append(compare_sizes(self.config, sizes_of(self.layout)))
        dtypes, copies = self.stored.dtypes, self.stored.copies
        architecture, task = self.layout.architecture, self.layout.task
        self.checks.append(compare_settings(self.document, self.config, dtypes, copies, architecture, task))
        self.checks += compare_record(self.folder, self.document)

    def _bytes(self) -> None:
        if not self._holds("types"):
            return
        there = [move for move in self.moves if move.tensor in self.stored]
        if not self._bytes_compared:
            self.differing = [move.tensor for move in there if not self.equals(move.tensor, self.expected(move))]
        equal = len(there) - len(self.differing)
        reason = "; ".join(self.differing[:20])
        found = f"{equal} of {len(self.moves)}"
        self.checks.append(
            Check("bytes", "bytes", equal == len(self.moves), found, "all", "the checkpoint", reason=reason)
        )

    def expected(self, move: Move) -> Array:
        """Return the tensor that a move makes of the checkpoint's variables, in the type it is stored in."""
        built = move.operation.build([self.variable(name) for name in move.variables], move.tensor_shape)
        return built if move.variables else self.rounded(built, self.stored.dtypes.get(move.tensor))

    def equals(self, tensor: str, expected: Array) -> bool:
        """Return whether a stored tensor has exactly these bits."""
        stored = self.stored[tensor]
        if stored.shape != expected.shape:
            return False
        bits = np.dtype(f"u{stored.itemsize}")
        these, those = stored.view(bits), expected.view(bits)
        if those.flags.c_contiguous:
            return bool(np.array_equal(these, those))
        # A transposed kernel, in strips that stay in the cache: eight times as fast as in one go.
        starts = range(0, those.shape[1], STRIP)
        return all(np.array_equal(these[:, at : at + STRIP], those[:, at : at + STRIP]) for at in starts)

    def _graph(self) -> None:
        if not self._runs():
            return
        if self.wanted_reference == "numpy":
            self._say_unproven()
            return
        graph = self.examination.graph
        if graph is None or self._part is None:
            if self._graph_demanded:
                raise GraphError(
                    "there is no graph to compare with", where=self.source.shown, expected=f"{self.source.name}.meta"
                )
            self._say_unproven()
            return
        try:
            self.graph_outputs = [self._run_graph(np.float64)]
        except GraphError as error:
            if self._graph_demanded:
                raise
            self.unproven.append(f"the original graph could not be run: {error.message}")
            self._say_unproven()
            return
        if self.layout.task and self.graph_outputs[0].logits is None:
            self.unproven.append(
                f"the original graph gives no logits of the {self.layout.told}, only its encoder's states"
            )
        runner = " in TensorFlow" if self.wanted_reference == "tensorflow" else ""
        self.references.append(f"the original graph{runner}")

    def _run_graph(self, dtype: Any) -> Outputs:
        graph = self.examination.graph
        assert graph is not None
        assert self._part is not None
        row = self.row
        arguments = (self._part, row.input_ids, row.input_mask, row.segment_ids, self.variable)
        if self.wanted_reference == "tensorflow":
            from electra_convert.tensorflow_run import run_in_tensorflow

            values = run_in_tensorflow(graph, *arguments, dtype)
        else:
            values = graph.run(*arguments, dtype)
        states = tuple(values[f"hidden_{i}"] for i in range(self.layout.layers + 1))
        return Outputs(states, self._graph_logits(values))

    @property
    def _part(self) -> str | None:
        """What the graph calls the half; a task whose head it does not compute is compared up to there."""
        parts = self.examination.graph.parts if self.examination.graph else {}
        names = [f"task/{self.layout.task.name}", "encoder"] if self.layout.task else [self.half]
        return next((name for name in names if name in parts), None)

    def _graph_logits(self, values: Mapping[str, Array]) -> Array | None:
        """Return the logits from the outputs of a part of the graph: a task's bear the names of its dense layers."""
        if self.layout.task is None:
            return values.get("logits")
        layers = ("dense", "dense_1") if self.layout.task.kind == "question answering" else ("dense",)
        found = [values[layer] for layer in layers if layer in values]
        return np.concatenate(found, axis=-1) if len(found) == len(layers) else None

    def _say_unproven(self) -> None:
        config = self.config
        self.unproven.append(
            f"the original graph was not asked whether num_attention_heads is {config.num_attention_heads}, hidden_act "
            f"{config.hidden_act} and layer_norm_eps {config.layer_norm_eps:g}: they are taken from config.json"
        )
        task = self.layout.task
        if task and task.origin.source not in {"graph", "shape"}:
            self.unproven.append(
                f"the original graph was not asked whether the {self.layout.told} is {task.kind}: so says {task.origin}"
            )

    @cached_property
    def _truth(self) -> list[Outputs]:
        """What reference.py answers in float64 to the battery, and last to the graph's row where that was run."""
        if not self.in_numpy:
            return []
        rows = (self.row,) if self.graph_outputs else ()
        return numpy_reference.run(self.network, self.variable, (*self.battery, *rows))

    @cached_property
    def _measured(self) -> tuple[tuple[Batch, ...], list[Outputs], list[Outputs], str]:
        """What a float32 run is judged by: inputs, a float64 reference's answers, its own float32 answers, its name."""
        if not self.in_numpy:
            return (self.row,), self.graph_outputs, [self._run_graph(np.float32)], "graph"
        noise = numpy_reference.run(self.network, self.variable, self.battery, np.float32)
        return self.battery, self._truth[: len(self.battery)], noise, "reference.py"

    def _reference(self) -> None:
        """Run what else needs the variables, and let go of them: the model needs the memory next."""
        if not self._runs():
            return
        if not self.in_numpy and not self.graph_outputs:
            found = f"no graph that can be run, and reference.py has no {self.config.hidden_act}"
            self.checks.append(Check("float64", "reference", False, found, "a reference", "reference.py"))
            return
        if self.in_numpy:
            self.references.append("reference.py")
        else:
            self.unproven.append("inputs longer than the graph's row were compared with nothing but bytes")
        self._measured  # noqa: B018 - computed here, used by the next steps
        self._variables.clear()
        if self.in_numpy and self._narrowed():
            exact = numpy_reference.run(self.network, self.source.read, self.battery)
            self.rounding = largest_share(self._truth[: len(self.battery)], exact, self.battery)

    def _narrowed(self) -> bool:
        """Return whether the folder's type holds less than the checkpoint's."""
        names = variables_of(self.moves)
        types = {(self._dtypes[name], self.source.variables[name].dtype.name) for name in names}
        return any(stored is not None and not can_hold(stored, original) for stored, original in types)

    def _float64(self) -> None:
        if not self.references:
            return
        from electra_convert.electra import model

        rows = (self.row,) if self.graph_outputs else ()
        ours = model.run(self.model, (*self.battery, *rows))
        if self.graph_outputs:
            self.checks += compare_float64(ours[-1:], self.graph_outputs, rows, "graph")
        if self.graph_outputs and self.in_numpy:
            self.checks += compare_float64(self._truth[-1:], self.graph_outputs, rows, "graph", of="reference.py")
        if self.in_numpy:
            self.checks += compare_float64(ours, self._truth, (*self.battery, *rows), "reference.py")

    def _float32(self) -> None:
        if not self.references:
            return
        from electra_convert.electra import model

        batches, truth, noise, against = self._measured
        self.checks += compare_float32(model.run(self.model.float(), batches), truth, noise, batches, against)

    def _transformers(self) -> None:
        if not self.references:
            return
        from electra_convert.transformers_run import load, run

        model, report = load(self.folder, self.layout.architecture)
        found = "; ".join(f"{what} {', '.join(names)}" for what, names in report.items()) or "nothing"
        self.checks.append(Check("transformers", "loading report", not report, found, "nothing", "transformers"))
        batches, truth, noise, against = self._measured
        deep = [number for number, batch in enumerate(batches) if batch.depth is None]
        whole = [batches[n] for n in deep]
        truth, noise = [truth[n] for n in deep], [noise[n] for n in deep]
        self.checks += compare_float32(run(model, whole), truth, noise, whole, against, "transformers")


def config_of(document: dict[str, Any], folder: Path) -> ElectraConfig:
    """Return the sizes and settings that a `config.json` holds; raise FolderError where a size is not in it."""
    missing = [
        field.name
        for field in dataclasses.fields(ElectraConfig)
        if field.name not in document and field.default is dataclasses.MISSING
    ]
    if missing:
        raise FolderError("config.json lacks sizes", where=str(folder / CONFIG), missing=missing)
    return ElectraConfig(**{field: document[field] for field in FIELDS if field in document})
