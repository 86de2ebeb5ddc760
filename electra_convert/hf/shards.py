"""The tensors of a folder's safetensors files: one file, or the shards that an index lists.

    model.safetensors                    all tensors, or else
    model.safetensors.index.json         {"weight_map": {TENSOR: "model-00001-of-00002.safetensors", …}, …}
    model-00001-of-00002.safetensors …   what transformers writes above `max_shard_size`

transformers reads every tensor of every shard that the map names, so map and shards must agree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from electra_convert.errors import FolderError
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import WEIGHTS
from electra_convert.hf.header import TensorSpec
from electra_convert.hf.weights import PIECE, Array, Weights, open_weights
from electra_convert.wording import some

INDEX = "model.safetensors.index.json"


class FolderWeights:
    """All safetensors files of a folder, open for reading; `tensors` tells what there is, and nothing is loaded."""

    def __init__(self, folder: Path) -> None:
        """Open `model.safetensors`, else the shards; raise FolderError where one is missing or does not fit the index.

        Raises EnvironmentFailure if the system does not give a file.
        """
        sharded = (folder / INDEX).exists() and not (folder / WEIGHTS).exists()
        self.path = folder / (INDEX if sharded else WEIGHTS)
        with contextlib.ExitStack() as opened:
            expected = _shards_of(self.path) if sharded else None
            names = [WEIGHTS] if expected is None else sorted(set(expected.values()))
            self._files = {name: opened.enter_context(open_weights(folder / name)) for name in names}
            self._home = {tensor: name for name, file in self._files.items() for tensor in file.tensors}
            if expected is not None:
                self._compare(expected)
            self._opened = opened.pop_all()
        self.tensors: Mapping[str, TensorSpec] = {
            tensor: self._files[name].tensors[tensor] for tensor, name in self._home.items()
        }

    @property
    def paths(self) -> list[Path]:
        """The files that hold the tensors, and the index where there is one."""
        files = [file.path for file in self._files.values()]
        return files if self.path in files else [self.path, *files]

    def close(self) -> None:
        """Close all files."""
        self._opened.close()

    def read(self, name: str) -> Array:
        """Return a whole tensor, as `Weights.read` does."""
        return self._file(name).read(name)

    def chunks(self, name: str, size: int = PIECE) -> Iterator[Array]:
        """Yield a tensor's bytes in pieces, as `Weights.chunks` does."""
        return self._file(name).chunks(name, size)

    def _file(self, name: str) -> Weights:
        return self._files[self._home[name]]

    def _compare(self, expected: Mapping[str, str]) -> None:
        stored = {(tensor, name) for name, file in self._files.items() for tensor in file.tensors}
        missing, unexpected = expected.items() - stored, stored - expected.items()
        if missing or unexpected:
            raise FolderError(
                "the shards do not hold what their index lists",
                where=str(self.path),
                missing=some([f"{tensor}, in {name}" for tensor, name in sorted(missing)]) or None,
                unexpected=some([f"{tensor}, in {name}" for tensor, name in sorted(unexpected)]) or None,
                hint="shards of two models are mixed, or one was written anew; save the model again",
            )


def _shards_of(index: Path) -> Mapping[str, str]:
    """Return the shard of every tensor; a shard is a file beside the index, whatever an index may say."""
    shards = read_json(index, "the index of the shards", FolderError).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise FolderError("the index of the shards lists no tensor", where=str(index), expected="a weight_map")
    for tensor, name in shards.items():
        if not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."} or "\\" in name:
            raise FolderError(
                "the index of the shards names no file of its folder",
                where=str(index),
                tensor=tensor,
                found=repr(name),
                expected="a file name such as model-00001-of-00002.safetensors",
            )
    return shards
