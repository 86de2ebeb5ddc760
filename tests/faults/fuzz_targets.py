"""One function for each parser: bytes go in, and nothing but our own errors may come out.

Hypothesis drives them in every run, atheris in `fuzz.py`. Seeds are sound inputs, so that mutations reach behind the
first check; what stands under a checksum is given to the parser with that made right.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from builders import small_variables, write_v1, write_v2
from conftest import material
from google_crc32c import value as crc32c
from mutations import MAGIC, find_blocks, masked, take_all

from electra_convert.electra.hparams import parse_hparams
from electra_convert.electra.trained_graph import find_facts
from electra_convert.errors import GraphError, InputError
from electra_convert.hf.config import read_config
from electra_convert.hf.files import read_json
from electra_convert.hf.vocabulary import read_vocabulary
from electra_convert.tf1.graph import Graph, read_graph
from electra_convert.tf1.state import read_state


class Target(NamedTuple):
    """A parser under test, sound inputs to begin with, and the only error that it may raise."""

    parse: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    refusal: type[InputError] = InputError

    def reads(self, data: bytes) -> bool:
        """Return whether the parser took the input; False for a refusal, and every other exception goes on."""
        try:
            self.parse(data)
        except self.refusal:
            return False
        return True


@cache
def folder() -> Path:
    """Return a place for the files of a run, which goes with the process."""
    holder = tempfile.TemporaryDirectory(prefix="electra-fuzz-")
    _HOLDERS.append(holder)
    return Path(holder.name)


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def _file(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


@cache
def _small(kind: str) -> dict[str, bytes]:
    place = folder() / kind
    place.mkdir()
    variables = dict(sorted(small_variables().items()))
    write_v1(place / "x", variables, 256) if kind == "v1" else write_v2(place / "x", variables)
    return {path.name: path.read_bytes() for path in place.iterdir()}


def _repaired(data: bytes) -> bytes:
    """Make a table of data: each block up to an end mark, with its checksum, then what lists them."""
    blocks = data.split(b"\xfe\xfd\xfc") or [b""]
    out, rows = b"", b""
    for number, content in enumerate(blocks):
        stored = content + b"\0"
        row = _varint(len(out)) + _varint(len(content))
        key = b"\xff" * (number + 1)
        rows += b"\0" + _varint(len(key)) + _varint(len(row)) + key + row
        out += stored + masked(crc32c(stored)).to_bytes(4, "little")
    meta = b"\0\0\0\0\1\0\0\0\0"
    listed = rows + b"\0\0\0\0\1\0\0\0\0"
    places = _varint(len(out)) + _varint(8) + _varint(len(out) + 13) + _varint(len(listed) - 1)
    for content in (meta, listed):
        out += content + masked(crc32c(content)).to_bytes(4, "little")
    return out + places.ljust(40, b"\0") + MAGIC


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _contents(table: bytes) -> bytes:
    """Return the data blocks of a table, as `_repaired` takes them."""
    blocks = [table[begin : begin + size] for begin, size in find_blocks(table)]
    return b"\xfe\xfd\xfc".join(blocks[:-2])


def index_bytes(data: bytes) -> None:
    files = {**_small("v2"), "x.index": data}
    for name, content in files.items():
        _file(name, content)
    _read(folder() / "x")


def index_blocks(data: bytes) -> None:
    index_bytes(_repaired(data))


def v1_bytes(data: bytes) -> None:
    _read(_file("v1-file", data))


def v1_blocks(data: bytes) -> None:
    v1_bytes(_repaired(data))


def _read(path: Path) -> None:
    take_all(path)


def graph(data: bytes) -> None:
    found = read_graph(_file("x.meta", data))
    find_facts(found, _shapes(found))


def _shapes(found: Graph) -> dict[str, tuple[int, ...]]:
    """Return shapes that a checkpoint could have, so that the graph is not put aside for its shapes."""
    return {name: tuple(max(size, 1) for size in shape) for name, shape in found.variables.items() if shape is not None}


def state(data: bytes) -> None:
    read_state(data, "checkpoint")


def archive(data: bytes) -> None:
    from electra_convert.tf1.sources import find_source

    find_source(_file("x.archive", data)).close()


def hparams(data: bytes) -> None:
    parse_hparams(read_json(_file("hparams.json", data), "the hparams", InputError), "hparams.json")


def config(data: bytes) -> None:
    read_config(_file("config.json", data))


def vocabulary(data: bytes) -> None:
    from electra_convert.hf.casing import find_casing

    found = read_vocabulary(_file("vocab.txt", data))
    find_casing(found.tokens, lower_case_flag=None, strip_accents_flag=None, lower_case_hparam=None)


# --- seeds ------------------------------------------------------------------------------------------------------------


def _v1_block() -> bytes:
    return _contents(write_v1(folder() / "seed", small_variables()).read_bytes())


def _graphs() -> list[bytes]:
    return [material("graphs", "placeholder.meta").read_bytes()]


def _archives() -> list[bytes]:
    out = []
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in _small("v2").items():
            zipped.writestr(f"model/{name}", content)
    out.append(packed.getvalue())
    for mode in ("w", "w:gz", "w:xz", "w:bz2"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode=mode) as tar:  # type: ignore[call-overload]
            for name, content in _small("v2").items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        out.append(packed.getvalue())
    return out


HPARAMS = {
    "model_size": "small",
    "model_hparam_overrides": {"num_attention_heads": 4},
    "generator_layers": 0.5,
    "max_seq_length": 128,
    "do_lower_case": True,
    "electra_objective": True,
    "vocab_size": 30522,
}
CONFIG = {"model_type": "electra", "hidden_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
STATES = [
    b'model_checkpoint_path: "model.ckpt-40"\nall_model_checkpoint_paths: "\\303\\xa4"\n',
    b"all_model_checkpoint_timestamps: [1, 2.5e3]  # c\n",
]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "ä"]

TARGETS: dict[str, Target] = {
    "index_bytes": Target(index_bytes, lambda: [_small("v2")["x.index"]]),
    "index_blocks": Target(index_blocks, lambda: [_contents(_small("v2")["x.index"])]),
    "v1_bytes": Target(v1_bytes, lambda: [_small("v1")["x"]]),
    "v1_blocks": Target(v1_blocks, lambda: [_v1_block()]),
    "graph": Target(graph, _graphs, GraphError),
    "state": Target(state, lambda: STATES),
    "archive": Target(archive, _archives),
    "hparams": Target(hparams, lambda: [json.dumps(HPARAMS).encode()]),
    "config": Target(config, lambda: [json.dumps(CONFIG).encode()]),
    "vocabulary": Target(vocabulary, lambda: ["\n".join(TOKENS).encode()]),
}
