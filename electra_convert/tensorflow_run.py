"""Runs the graph that trained a checkpoint in TensorFlow: an independent check of the NumPy interpreter.

What is run and fed is planned in electra/graph_run.py, as for the interpreter. The nodes of the plan become a GraphDef
again, with their ops and attributes as they stand in the file, except:

    floating point   one type, that of the run, in every attribute and feed; a Cast behind every constant
    given values     of a constant: its new value; of any other tensor: a Placeholder
    variables        Placeholders, so that ReadVariableOp is an Identity, and ResourceGather a Gather
    loops            are left out, so that Enter is an Identity

The graph comes from a file, and TensorFlow has ops that open files and run code: only those that the interpreter knows
are handed to it, and no result that is larger than the interpreter's bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from electra_convert.electra.graph_cut import plain
from electra_convert.electra.graph_run import run_part
from electra_convert.errors import GraphError
from electra_convert.tf1.graph import VARIABLE_OPS, Graph, Node
from electra_convert.tf1.interpreter import order_nodes
from electra_convert.tf1.operations import MOST_ELEMENTS
from electra_convert.tf1.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from electra_convert.electra.trained_graph import TrainedGraph

# An op on a resource or a loop's frame: the op that does the same to a plain tensor, and whence its types come.
_PLAIN_OPS = {
    "Enter": ("Identity", {"T": "T"}),
    "ReadVariableOp": ("Identity", {"T": "dtype"}),
    "ResourceGather": ("Gather", {"Tparams": "dtype", "Tindices": "Tindices"}),
}

# TensorFlow's DataType: float32, float64, bfloat16, float16, the references to them, and the handle of a variable.
_BECOME_FLOAT = frozenset({1, 2, 14, 19, 101, 102, 114, 119, 20})


def run_in_tensorflow(
    trained: TrainedGraph,
    part: str,
    input_ids: np.ndarray,
    input_mask: np.ndarray,
    segment_ids: np.ndarray,
    read_variable: Callable[[str], np.ndarray],
    dtype: Any = np.float64,
    *,
    exact: bool = True,
) -> dict[str, np.ndarray]:
    """Return what `electra_convert.electra.graph_run.run_part` returns, computed by TensorFlow.

    Raises MissingExtra where TensorFlow is not installed, GraphError as `run_part` and where TensorFlow refuses.
    """
    return run_part(
        trained, part, input_ids, input_mask, segment_ids, read_variable, dtype, exact=exact, runner=run_nodes
    )


def run_nodes(
    graph: Graph,
    outputs: Iterable[str],
    feeds: Mapping[str, np.ndarray],
    variables: Callable[[str], np.ndarray],
    dtype: Any = np.float64,
) -> dict[str, np.ndarray]:
    """Return the value of each tensor named in `outputs`: arguments and errors are those of `interpreter.run`."""
    tensorflow = import_tensorflow()
    names = list(outputs)
    given = {plain(tensor): np.asarray(value) for tensor, value in feeds.items()}
    nodes = [graph.nodes[name] for name in order_nodes(graph, map(plain, names), given)]
    given |= {node.name: variables(node.name) for node in nodes if node.op in VARIABLE_OPS}
    with tensorflow.Graph().as_default() as network, _in_its_words(tensorflow, graph.where):
        definition = _Definition(tensorflow, np.dtype(dtype), graph.where)
        for node in nodes:
            if node.op not in VARIABLE_OPS:
                definition.add(node)
        fed = {}
        for tensor, value in given.items():
            constant = tensor in graph.nodes and graph.nodes[tensor].op == "Const"
            typed = definition.give(tensor, value, constant)
            if not constant:
                fed[f"{_node_name(tensor)}:0"] = typed
        tensorflow.import_graph_def(definition.graph_def, name="")
        _check_sizes(network, graph.where)
        with tensorflow.compat.v1.Session(graph=network, config=_plain_execution(tensorflow)) as session:
            values: dict[str, np.ndarray] = session.run({name: f"{_node_name(plain(name))}:0" for name in names}, fed)
    return values


class _Definition:
    """A GraphDef in the making, and the types of its tensors."""

    def __init__(self, tensorflow: Any, dtype: np.dtype[Any], where: str) -> None:
        self._tensorflow, self._where = tensorflow, where
        self._float = tensorflow.as_dtype(dtype).as_datatype_enum
        self._types: dict[str, int] = {}
        self.graph_def = tensorflow.compat.v1.GraphDef()

    def add(self, node: Node) -> None:
        """Add a node behind those that make its inputs."""
        definition = self._define(node)
        op = self._tensorflow.compat.v1.get_default_graph().op_def_for_type(definition.op)
        attributes = {attribute.name: attribute.default_value for attribute in op.attr} | dict(definition.attr)
        # A wrong number of inputs is for TensorFlow to refuse.
        for tensor, dtype in zip(node.inputs, _types(op.input_arg, attributes), strict=False):
            self._types.setdefault(plain(tensor), dtype)
        (self._types[node.name],) = _types(op.output_arg, attributes)
        definition.input.extend(_node_name(plain(tensor)) for tensor in node.inputs)
        self.graph_def.node.append(definition)

    def give(self, tensor: str, value: np.ndarray, constant: bool) -> np.ndarray:
        """Add a node with the value of a tensor, or a place for it; return the value in the type that is wanted."""
        dtype = self._types.get(tensor) or self._retype(self._tensorflow.as_dtype(value.dtype).as_datatype_enum)
        typed = value.astype(self._tensorflow.as_dtype(dtype).as_numpy_dtype)
        node = self.graph_def.node.add(name=_node_name(tensor), op="Const" if constant else "Placeholder")
        node.attr["dtype"].type = dtype
        if constant:
            node.attr["value"].tensor.CopyFrom(self._tensorflow.make_tensor_proto(typed))
        else:
            node.attr["shape"].shape.CopyFrom(self._tensorflow.TensorShape(typed.shape).as_proto())
        return typed

    def _define(self, node: Node) -> Any:
        """Return the NodeDef of a node, without inputs."""
        definition = self._tensorflow.compat.v1.NodeDef(name=node.name, op=node.op)
        if node.op == "Gather" and not node.raw:  # a product with a one-hot matrix, which the cut made a lookup
            definition.attr["Tparams"].type = self._float
            definition.attr["Tindices"].type = self._types.get(node.inputs[1], self._tensorflow.int32.as_datatype_enum)
            return definition
        stored = self._tensorflow.compat.v1.NodeDef.FromString(node.raw)
        if node.op in _PLAIN_OPS:
            if node.integer("batch_dims"):
                raise GraphError(f"not runnable: op {node.op} at node {node.name} has batch_dims", where=self._where)
            definition.op, sources = _PLAIN_OPS[node.op]
            for name, source in sources.items():
                definition.attr[name].type = self._retype(stored.attr[source].type)
            return definition
        if node.op == "Const" and stored.attr["dtype"].type in _BECOME_FLOAT:
            return self._cast(node.name, stored)
        for name, value in stored.attr.items():
            if not name.startswith("_"):  # notes on devices, replicas and shapes
                definition.attr[name].CopyFrom(value)
                if value.HasField("type"):
                    definition.attr[name].type = self._retype(value.type)
        return definition

    def _cast(self, name: str, stored: Any) -> Any:
        """Add a constant as it stands in the file; return the NodeDef that brings it to the type of the run."""
        constant = self.graph_def.node.add(name=f"{name}/stored", op="Const")
        for attribute in ("dtype", "value"):
            constant.attr[attribute].CopyFrom(stored.attr[attribute])
        definition = self._tensorflow.compat.v1.NodeDef(name=name, op="Cast", input=[constant.name])
        definition.attr["SrcT"].type = stored.attr["dtype"].type
        definition.attr["DstT"].type = self._float
        return definition

    def _retype(self, dtype: int) -> int:
        return self._float if dtype in _BECOME_FLOAT else dtype


def _types(arguments: Iterable[Any], attributes: Mapping[str, Any]) -> Iterator[int]:
    """Yield the type of each input or output; an argument of an op may stand for several."""
    for argument in arguments:
        dtype = attributes[argument.type_attr].type if argument.type_attr else argument.type
        for _ in range(attributes[argument.number_attr].i if argument.number_attr else 1):
            yield dtype


def _node_name(tensor: str) -> str:
    """Return the name of the node that has a tensor as its first output."""
    return tensor.replace(":", "/output_")


def _check_sizes(network: Any, where: str) -> None:
    """Refuse a result that is too large, before it is computed: TensorFlow infers the shapes from the inputs'."""
    for op in network.get_operations():
        for tensor in op.outputs:
            if (tensor.shape.num_elements() or 0) > MOST_ELEMENTS:
                raise GraphError(
                    f"not runnable: result of node {op.name} is too large",
                    where=where,
                    found=f"shape {tensor.shape.as_list()}",
                    expected=f"at most {MOST_ELEMENTS} elements",
                )


def _plain_execution(tensorflow: Any) -> Any:
    """Return settings that run the nodes one by one on the CPU, as they are, none fused or folded."""
    config = tensorflow.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tensorflow.compat.v1.OptimizerOptions.L0
    return config


@contextmanager
def _in_its_words(tensorflow: Any, where: str) -> Iterator[None]:
    from google.protobuf.message import DecodeError

    try:
        yield
    except tensorflow.errors.OpError as error:
        node = error.node_def.name if error.node_def else None
        raise GraphError("TensorFlow cannot run the graph", where=where, node=node, found=_reason(error)) from error
    except (DecodeError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise GraphError("TensorFlow cannot run the graph", where=where, found=reason) from error


def _reason(error: Any) -> str:
    """Return the line of a failed run that says why: the first behind the name of the node, where there is one."""
    _, node, rest = str(error.message).rpartition("\nNode: ")
    return (rest.partition("\n")[2] if node else rest).partition("\n")[0]
