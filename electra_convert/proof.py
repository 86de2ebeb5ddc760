"""One half's proof: builds the networks once, climbs the rungs in order, and keeps what the diagnosis needs.

Weights come twice, by two ways: the included model takes the folder's tensors by their Hugging Face names, the
references take the checkpoint's variables by their TensorFlow names, rounded where the folder's type is narrower.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra_convert.electra import reference as numpy_reference
from electra_convert.electra.battery import Batch, Outputs, build_battery, build_single_row
from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.mapping import HalfName, plan
from electra_convert.errors import FolderError, GraphError
from electra_convert.examination import Examination
from electra_convert.hf.config import FIELDS, read_config
from electra_convert.hf.folder import CONFIG
from electra_convert.rungs import Check, compare_float32, compare_float64, compare_record, compare_structure
from electra_convert.stored import StoredTensors
from electra_convert.streaming import numpy_dtype

if TYPE_CHECKING:
    from electra_convert.parity import Reference
    from electra_convert.tf1.checkpoint import Checkpoint

Array = np.ndarray[Any, np.dtype[Any]]
Step = tuple[str, Callable[[], None]]

HEADS = {"discriminator": "discriminator_predictions", "generator": "generator_predictions"}

# Types that a stored type is rounded to, from widest to narrowest.
WIDTHS = {"float64": 0, "float32": 1, "bfloat16": 2, "float16": 2}


class Proof:
    """The rungs of one half; `checks` fills up as the steps are run."""

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
        self.document = read_config(folder / CONFIG)
        self.config = _config_of(self.document, folder)
        self.stored = StoredTensors(folder)
        self.moves = plan(half, self.layout.scopes, self.config) if self.layout.scopes else ()
        self.checks: list[Check] = []
        self.references: list[str] = []
        self.unproven: list[str] = []
        self.differing: list[str] = []
        self.graph_outputs: list[Outputs] = []

    @property
    def dtype(self) -> str:
        """The type of the folder's tensors, or all of them where they are of several."""
        return ", ".join(sorted(set(self.stored.dtypes.values())))

    def steps(self, with_transformers: bool) -> list[Step]:
        """Return what is to be done, in order, each with a name for people."""
        steps: list[Step] = [("structure", self._structure), ("bytes", self._bytes)]
        steps += [("graph", self._graph), ("float64", self._float64), ("float32", self._float32)]
        if with_transformers:
            steps.append(("transformers", self._transformers))
        return steps

    def explain(self) -> list[str]:
        """Return why checks failed, as far as it can be told."""
        from electra_convert.diagnosis import explain

        return explain(self) if any(not check.passed for check in self.checks) else []

    # --- what is compared ---------------------------------------------------------------------------------------------

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The battery, and last the row for the graph, which is as long as it was trained."""
        config = self.config
        sizes = (config.vocab_size, config.max_position_embeddings, config.type_vocab_size)
        pad = int(self.document.get("pad_token_id") or 0)
        battery = build_battery(*sizes, seed=self.seed, pad_token_id=pad)
        graph = self.examination.graph
        if not self._graph_wanted() or graph is None:
            return battery
        length = graph.trained_length.value if graph.trained_length else config.max_position_embeddings
        return (*battery, build_single_row(*sizes, length=length, seed=self.seed, pad_token_id=pad))

    @cached_property
    def network(self) -> numpy_reference.Network:
        """The network as reference.py computes it, with the settings that the folder claims."""
        scopes = self.layout.scopes
        assert scopes is not None
        return numpy_reference.Network(
            body=scopes.body,
            embeddings=scopes.emb,
            head=HEADS[self.half],  # type: ignore[arg-type]
            layers=self.layout.layers,
            heads=self.config.num_attention_heads,
            activation=self.config.hidden_act,
            epsilon=self.config.layer_norm_eps,
        )

    def variable(self, name: str) -> Array:
        """Return a variable as the folder's type can hold it."""
        value = self.source.read(name)
        narrowest = max(set(self.stored.dtypes.values()), key=lambda dtype: WIDTHS.get(dtype, 0))
        if WIDTHS.get(narrowest, 0) <= WIDTHS.get(value.dtype.name, 0):
            return value
        with np.errstate(over="ignore"):
            return value.astype(numpy_dtype(narrowest))

    @cached_property
    def reference64(self) -> list[Outputs]:
        """What reference.py answers in float64."""
        return numpy_reference.run(self.network, self.variable, self.batches)

    @cached_property
    def model(self) -> Any:
        """The included model with the folder's tensors, in float64."""
        from electra_convert.electra import model

        kind = model.ARCHITECTURES["ElectraForPreTraining" if self.half == "discriminator" else "ElectraForMaskedLM"]
        return model.from_tensors(self.config, self.stored, kind, "float64", where=self.stored.where)

    def _graph_wanted(self) -> bool:
        return self.wanted_reference != "numpy"

    def _able(self) -> bool:
        """Whether the forward passes can be run at all: not with tensors missing or misshapen."""
        return all(check.passed for check in self.checks if check.rung == "structure")

    # --- the rungs ----------------------------------------------------------------------------------------------------

    def _structure(self) -> None:
        wanted = {move.tensor: move.tensor_shape for move in self.moves}
        self.checks += compare_structure(self.stored.shapes, wanted, "config.json")
        self.checks += compare_record(self.folder)
        variables = {move.variable: move.variable_shape for move in self.moves}
        found = {name: self.source.variables[name].shape for name in variables if name in self.source.variables}
        self.checks += compare_structure(found, variables, "the checkpoint", "sizes")
        kinds = set(self.stored.dtypes.values())
        self.checks.append(Check("structure", "one type", len(kinds) == 1, self.dtype, "one", "config.json"))

    def _bytes(self) -> None:
        if not self._able():
            return
        if not self._bytes_compared:
            self.differing = [move.tensor for move in self.moves if not self.equals(move.tensor, self.expected(move))]
        found = f"{len(self.moves) - len(self.differing)} of {len(self.moves)}"
        reason = "; ".join(self.differing[:20])
        self.checks.append(Check("bytes", "bytes", not self.differing, found, "all", "the checkpoint", reason=reason))

    def expected(self, move: Any) -> Array:
        """Return the tensor that a move makes of the checkpoint's variable, in the type it is stored in."""
        value = move.operation.apply(self.source.read(move.variable))
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(value).astype(numpy_dtype(self.stored.dtypes[move.tensor]), copy=False)

    def equals(self, tensor: str, expected: Array) -> bool:
        """Return whether a stored tensor has exactly these bits."""
        stored = self.stored[tensor]
        return stored.shape == expected.shape and bool(
            np.array_equal(stored.reshape(-1).view(np.uint8), expected.reshape(-1).view(np.uint8))
        )

    def _graph(self) -> None:
        graph = self.examination.graph
        if not self._able() or not self._graph_wanted():
            return
        if graph is None or self.half not in graph.parts:
            if self.wanted_reference in {"graph", "tensorflow"}:
                raise GraphError(
                    "there is no graph to compare with", where=self.source.shown, expected=f"{self.source.name}.meta"
                )
            self._say_unproven()
            return
        row = self.batches[-1]
        try:
            values = self._run_graph(row)
        except GraphError as error:
            if self.wanted_reference in {"graph", "tensorflow"}:
                raise
            self.unproven.append(f"the original graph could not be run: {error.message}")
            self._say_unproven()
            return
        states = tuple(values[f"hidden_{i}"] for i in range(self.config.num_hidden_layers + 1))
        self.graph_outputs = [Outputs(states, values["logits"])]
        self.references.append("the original graph")

    def _run_graph(self, row: Batch) -> dict[str, Array]:
        graph = self.examination.graph
        assert graph is not None
        arguments = (self.half, row.input_ids, row.input_mask, row.segment_ids, self.variable)
        if self.wanted_reference == "tensorflow":
            from electra_convert.tensorflow_run import run_in_tensorflow

            return run_in_tensorflow(graph, *arguments)
        return graph.run(*arguments)

    def _say_unproven(self) -> None:
        config = self.config
        self.unproven.append(
            f"no original graph says that there are {config.num_attention_heads} heads, {config.hidden_act} and "
            f"epsilon {config.layer_norm_eps:g}: they are taken from config.json"
        )

    def _float64(self) -> None:
        if not self._able():
            return
        from electra_convert.electra import model

        self.outputs64 = model.run(self.model, self.batches)
        if self.graph_outputs:
            row = self.batches[-1:]
            self.checks += compare_float64(self.outputs64[-1:], self.graph_outputs, row, "graph")
            self.checks += compare_float64(self.reference64[-1:], self.graph_outputs, row, "graph", of="reference.py")
        if self.wanted_reference in {"auto", "numpy"} or not self.graph_outputs:
            self.references.append("reference.py")
            self.checks += compare_float64(self.outputs64, self.reference64, self.batches, "reference.py")

    def _float32(self) -> None:
        if not self._able():
            return
        from electra_convert.electra import model

        outputs = model.run(self.model.float(), self.batches)
        self.checks += compare_float32(outputs, self.reference64, self.noise, self.batches, "reference.py")

    @cached_property
    def noise(self) -> list[Outputs]:
        """What reference.py answers in float32: how far rounding alone moves it."""
        return numpy_reference.run(self.network, self.variable, self.batches, np.float32)

    def _transformers(self) -> None:
        if not self._able():
            return
        from electra_convert.transformers_run import load, run

        model, report = load(self.folder, self.half)
        found = "; ".join(f"{what} {', '.join(names)}" for what, names in report.items()) or "nothing"
        self.checks.append(
            Check("transformers", "loading report", not report, found, "nothing missing or unexpected", "transformers")
        )
        deep = [number for number, batch in enumerate(self.batches) if batch.depth is None]
        chosen = [self.batches[number] for number in deep]
        outputs = run(model, chosen)
        truth, noise = [self.reference64[n] for n in deep], [self.noise[n] for n in deep]
        self.checks += compare_float32(outputs, truth, noise, chosen, "reference.py", "transformers")


def _config_of(document: dict[str, Any], folder: Path) -> ElectraConfig:
    missing = [field.name for field in dataclasses.fields(ElectraConfig) if field.name not in document
               and field.default is dataclasses.MISSING]  # fmt: skip
    if missing:
        raise FolderError("config.json lacks sizes", where=str(folder / CONFIG), missing=missing)
    return ElectraConfig(**{field: document[field] for field in FIELDS if field in document})
