"""Reads a `.meta` file, the graph that trained a checkpoint, into plain data; nothing of it is executed.

    MetaGraphDef   meta_info_def 1 { tensorflow_version 5, stripped_default_attrs 7 }   graph_def 2   …
    GraphDef       node 1 (repeated)   library 2   versions 4
    NodeDef        name 1   op 2   input 3 (repeated)   device 4   attr 5 (repeated { key 1, value 2 })
    AttrValue      one of: list 1   s 2   i 3   f 4   b 5   type 6   shape 7   tensor 8   func 10
    TensorProto    dtype 1   tensor_shape 2   tensor_content 4   or one list of values (5 to 17), its last repeated
    input          "name" (output 0), "name:1" (output 1), "^name" (control: dropped)

Numbers are protobuf fields (tensorflow/core/protobuf/meta_graph.proto, tensorflow/core/framework/*.proto). A node
keeps its own bytes; attributes are decoded when asked for, with TensorFlow's default where one is absent, because
writers may strip defaults. That keeps a base-size graph (27,000 nodes) at a few tenths of a second.

The file is hostile until proven otherwise: sizes and counts are bounded before they are used, nothing recurses
(`func` attributes and the function library are skipped, not entered), and every fault is a GraphError.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_convert.errors import GraphError
from electra_convert.tf1.wire import BYTES, FIXED32, FIXED64, VARINT, Malformed, fields, signed, unpack_varints

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...] | None
"""Sizes, -1 where unknown; None where even the rank is unknown."""

# A real graph of ELECTRA-Large is 12.7 MB and 53,201 nodes; 300 MB is reported for weights frozen into a graph.
LARGEST_FILE = 256 << 20
MOST_NODES = 500_000
MOST_INPUTS = 100_000  # the Saver's nodes have one input a variable
LONGEST_NAME = 4096  # met: 116
MOST_ELEMENTS = 1 << 24  # of one constant
MOST_LISTED = 4 << 20  # bytes of a packed list of numbers; TensorFlow stores all but the shortest as raw content
MOST_DIMENSIONS = 254  # TensorFlow's own limit (tensorflow/core/framework/tensor_shape.h)
LARGEST_SIZE = 1 << 40

VARIABLE_OPS = frozenset({"Variable", "VariableV2", "VarHandleOp"})

IDENTITIES = frozenset(
    {"Identity", "StopGradient", "ReadVariableOp", "Enter", "PreventGradient", "CheckNumerics", "Snapshot"}
)
"""Ops whose output is their only input: readers of variables, and marks for gradients, loops and devices."""

# DataType number -> NumPy's name; bfloat16 (14) is widened, NumPy has none (tensorflow/core/framework/types.proto).
_NUMPY = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool",
    14: "float32", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
_BFLOAT16, _FLOAT16 = 14, 19

# TensorProto's list of values for a DataType: field number, and the struct letter of fixed-size values.
_VALUES = {1: (5, "f"), 2: (6, "d"), 9: (10, ""), 10: (11, ""), 14: (13, ""), 19: (13, ""), 22: (16, ""), 23: (17, "")}
_INT_VALUES = (7, "")  # every other integer type


@dataclass(frozen=True, slots=True)
class Constant:
    """A TensorProto: its type and shape are known, its values are decoded by `array()`."""

    dtype: int
    shape: tuple[int, ...]
    raw: bytes
    where: str

    def array(self) -> np.ndarray:
        """Return the values as a read-only NumPy array (bfloat16 as float32).

        Raises GraphError for strings, a size beyond the bound, and content that does not fit the shape.
        """
        import numpy as np

        if self.dtype not in _NUMPY:
            raise GraphError("constant is not numeric", where=self.where, found=f"DataType {self.dtype}")
        count = math.prod(self.shape)
        if count > MOST_ELEMENTS:
            raise GraphError(
                "constant is too large",
                where=self.where,
                found=f"{count} elements",
                expected=f"at most {MOST_ELEMENTS}",
            )
        sixteen_bits = self.dtype in (_BFLOAT16, _FLOAT16)
        stored = np.dtype("uint16" if sixteen_bits else _NUMPY[self.dtype]).newbyteorder("<")
        content = _last(self.raw, 4, BYTES, self.where)
        if content:
            if len(content) != count * stored.itemsize:
                raise GraphError(
                    "constant's content does not fit its shape",
                    where=self.where,
                    found=f"{len(content)} bytes",
                    expected=f"{count * stored.itemsize} bytes",
                )
            values = np.frombuffer(content, stored).astype(stored.newbyteorder("="))
        else:
            values = self._filled(count, stored.newbyteorder("="))
        if self.dtype == _FLOAT16:
            values = values.view(np.float16)
        elif self.dtype == _BFLOAT16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values = values.reshape(self.shape)
        values.flags.writeable = False
        return values

    def _filled(self, count: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Decode the typed list: none means zeros, fewer than `count` means that the last one is repeated."""
        import numpy as np

        field, letter = _VALUES.get(self.dtype, _INT_VALUES)
        listed = _numbers(self.raw, field, letter, self.where)
        if len(listed) > count:
            raise GraphError(
                "constant has more values than its shape",
                where=self.where,
                found=f"{len(listed)} values",
                expected=f"{count}",
            )
        if dtype.kind == "i":
            listed = [signed(value) for value in listed]
        if dtype.kind in "iu" and listed:
            # NumPy 1 would wrap them round.
            bounds = np.iinfo(dtype)
            if min(listed) < bounds.min or max(listed) > bounds.max:
                raise GraphError(f"constant's values do not fit {dtype}", where=self.where)
        values = np.zeros(count, dtype)
        values[: len(listed)] = listed
        if listed:
            values[len(listed) :] = listed[-1]
        return values


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: name, op, its data inputs in order, and its bytes, from which attributes are decoded."""

    name: str
    op: str
    inputs: tuple[str, ...]
    raw: bytes = b""

    def integer(self, key: str, default: int = 0) -> int:
        """Return an integer attribute."""
        value = self._attribute(key, 3, VARINT)
        return default if value is None else signed(value)

    def flag(self, key: str) -> bool:
        """Return a boolean attribute; False where absent, which is the default of all that are read here."""
        return bool(self._attribute(key, 5, VARINT))

    def dtype(self, key: str) -> int:
        """Return a DataType number; 0 where absent."""
        return self._attribute(key, 6, VARINT) or 0

    def text(self, key: str, default: str = "") -> str:
        """Return a string attribute."""
        value = self._attribute(key, 2, BYTES)
        return default if value is None else value.decode("utf-8", "backslashreplace")

    def shape(self, key: str) -> Shape:
        """Return a shape attribute; None where it is absent or of unknown rank."""
        value = self._attribute(key, 7, BYTES)
        return None if value is None else _shape(value, self._where(key))

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers; empty where absent."""
        values = self._attribute(key, 1, BYTES) or b""
        return tuple(map(signed, _numbers(values, 3, "", self._where(key))))

    def shapes(self, key: str) -> tuple[Shape, ...]:
        """Return a list of shapes; empty where absent."""
        where = self._where(key)
        values = _fields(self._attribute(key, 1, BYTES) or b"", where)
        return tuple(_shape(value, where) for number, kind, value in values if (number, kind) == (7, BYTES))

    def constant(self) -> Constant:
        """Return the value of a Const node.

        Raises GraphError where the node holds no tensor, or one of unknown or impossible shape.
        """
        where = self._where("value")
        raw = self._attribute("value", 8, BYTES)
        if raw is None:
            raise GraphError("constant has no value", where=where)
        shape = _shape(_last(raw, 2, BYTES, where) or b"", where)
        if shape is None or any(size < 0 for size in shape):
            raise GraphError("constant has no fixed shape", where=where, found=f"{shape}")
        return Constant(_last(raw, 1, VARINT, where) or 0, shape, raw, where)

    def _where(self, key: str) -> str:
        return f"attribute {key} of node {self.name}"

    def _attribute(self, key: str, number: int, kind: int) -> Any:
        """Return one member of the AttrValue of a key; None where the key or the member is absent."""
        wanted, where = key.encode(), self._where(key)
        for field, stored, entry in _fields(self.raw, where):
            if (field, stored) == (5, BYTES) and _last(entry, 1, BYTES, where) == wanted:
                return _last(_last(entry, 2, BYTES, where) or b"", number, kind, where)
        return None


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by name, in the order of the file (which is no topological order), and the shapes of its variables."""

    where: str
    nodes: Mapping[str, Node]
    variables: Mapping[str, Shape]
    tensorflow_version: str = ""
    defaults_stripped: bool = False

    def producer(self, tensor: str) -> Node:
        """Return the node that makes a tensor, which is named `node` or `node:output`."""
        return self.nodes[split_tensor(tensor)[0]]


def split_tensor(tensor: str) -> tuple[str, int]:
    """Split the name of a tensor into its node and the number of the output.

    >>> split_tensor("IteratorGetNext:2"), split_tensor("add")
    (('IteratorGetNext', 2), ('add', 0))
    """
    name, _, output = tensor.partition(":")
    return name, int(output) if output else 0


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Read the graph of a `.meta` file.

    Raises GraphError where the file is not a regular one of at most 256 MiB, is damaged, has two nodes of one name,
    or an input that no node makes. It says nothing of whether the graph can be run, or belongs to a checkpoint.
    """
    shown = str(path)
    data = memoryview(_read_file(Path(path)))
    info, body = b"", None
    for number, kind, value in _fields(data, shown):
        if (number, kind) == (1, BYTES):
            info = bytes(value)
        elif (number, kind) == (2, BYTES):
            if body is not None:
                raise GraphError("file holds two graphs", where=shown, expected="one")
            body = value
    if body is None:
        raise GraphError("file holds no graph", where=shown, expected="a serialized MetaGraphDef")
    nodes = _nodes(body, shown)
    _check_inputs(nodes, shown)
    return Graph(
        where=shown,
        nodes=nodes,
        variables={node.name: node.shape("shape") for node in nodes.values() if node.op in VARIABLE_OPS},
        tensorflow_version=(_last(info, 5, BYTES, shown) or b"").decode("utf-8", "backslashreplace"),
        defaults_stripped=bool(_last(info, 7, VARINT, shown)),
    )


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()  # before opening: opening a pipe would wait for its writer
        if not stat.S_ISREG(status.st_mode):
            raise GraphError("graph is not a regular file", where=str(path))
        if status.st_size > LARGEST_FILE:
            raise GraphError(
                "graph is too large",
                where=str(path),
                found=f"{status.st_size} bytes",
                expected=f"at most {LARGEST_FILE} bytes",
            )
        with path.open("rb") as file:
            return file.read(status.st_size)
    except OSError as error:
        raise GraphError("graph cannot be read", where=str(path), found=error.strerror or str(error)) from error


def _nodes(data: memoryview, where: str) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for number, kind, value in _fields(data, where):
        if (number, kind) != (1, BYTES):
            continue
        node = _node(bytes(value), where)
        if node.name in nodes:
            raise GraphError("two nodes have one name", where=where, found=node.name)
        if len(nodes) == MOST_NODES:
            raise GraphError("graph is too large", where=where, expected=f"at most {MOST_NODES} nodes")
        nodes[node.name] = node
    return nodes


def _node(raw: bytes, where: str) -> Node:
    name = op = ""
    inputs = []
    for number, kind, value in _fields(raw, where):
        if kind != BYTES:
            continue
        if number == 3:
            tensor = _name(value, where)
            if not tensor.startswith("^"):
                inputs.append(tensor)
        elif number == 1:
            name = _name(value, where)
        elif number == 2:
            op = _name(value, where)
    if not name or not op:
        raise GraphError("node has no name or no op", where=where, found=f"name {name!r}, op {op!r}")
    if len(inputs) > MOST_INPUTS:
        raise GraphError("node has too many inputs", where=f"{where}, node {name}", expected=f"at most {MOST_INPUTS}")
    return Node(name, op, tuple(inputs), raw)


def _name(raw: bytes, where: str) -> str:
    if len(raw) > LONGEST_NAME:
        raise GraphError(
            "name is too long", where=where, found=f"{len(raw)} bytes", expected=f"at most {LONGEST_NAME} bytes"
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise GraphError("name is not UTF-8", where=where, found=raw.decode("utf-8", "surrogateescape")) from error


def _check_inputs(nodes: Mapping[str, Node], where: str) -> None:
    for node in nodes.values():
        for tensor in node.inputs:
            name, _, output = tensor.partition(":")
            if name not in nodes or (output and not (output.isascii() and output.isdecimal() and len(output) < 6)):
                raise GraphError(
                    "input of a node is not in the graph", where=f"{where}, node {node.name}", found=tensor
                )


# --- protobuf's wire format -------------------------------------------------------------------------------------------


def _fields(data: bytes | memoryview, where: str) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, kind, value) of each field of a message; unknown ones too, which callers skip."""
    try:
        yield from fields(data)
    except Malformed as error:
        raise GraphError("graph is cut short or damaged", where=where, found=str(error)) from error


def _last(data: bytes, number: int, kind: int, where: str) -> Any:
    """Return the value of a field that is not repeated: protobuf lets the last one win. None where absent."""
    found = None
    for field, stored, value in _fields(data, where):
        if field == number and stored == kind:
            found = value
    return found


def _numbers(data: bytes, number: int, letter: str, where: str) -> list[Any]:
    """Return a repeated field of varints, or of fixed-size values (`letter` for struct), packed or not."""
    values: list[Any] = []
    for field, kind, value in _fields(data, where):
        if field != number:
            continue
        if kind in (FIXED32, FIXED64) and letter:
            values.append(struct.unpack(f"<{letter}", value.to_bytes(struct.calcsize(letter), "little"))[0])
        elif kind == VARINT and not letter:
            values.append(value)
        elif kind == BYTES:
            # A varint has a byte at least, and every number of a list takes 32 bytes in memory.
            if len(value) > MOST_LISTED:
                raise GraphError("list of numbers is too long", where=where, found=f"{len(value)} bytes")
            values.extend(_unpacked(value, letter, where))
        if len(values) > MOST_ELEMENTS:
            raise GraphError("list of numbers is too long", where=where, expected=f"at most {MOST_ELEMENTS}")
    return values


def _unpacked(packed: bytes, letter: str, where: str) -> Sequence[Any]:
    try:
        if not letter:
            return unpack_varints(packed)
        return struct.unpack(f"<{len(packed) // struct.calcsize(letter)}{letter}", packed)
    except (Malformed, struct.error) as error:
        raise GraphError("list of numbers is cut short or damaged", where=where, found=str(error)) from error


def _shape(data: bytes, where: str) -> Shape:
    """Return a TensorShapeProto { dim 2 { size 1 }   unknown_rank 3 }."""
    sizes = []
    for number, kind, value in _fields(data, where):
        if (number, kind) == (3, VARINT) and value:
            return None
        if (number, kind) == (2, BYTES):
            sizes.append(signed(_last(value, 1, VARINT, where) or 0))
    if len(sizes) > MOST_DIMENSIONS or not all(-1 <= size <= LARGEST_SIZE for size in sizes):
        raise GraphError("shape is impossible", where=where, found=f"{len(sizes)} dimensions")
    return tuple(sizes)
