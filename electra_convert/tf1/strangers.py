"""Names what people pass for a checkpoint that is none: files of other frameworks, broken downloads, finished models.

A file is known by its name, before anything is read, or else by how it begins; a folder by the names in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple


class Stranger(NamedTuple):
    """What it is, with its article, and the one thing to do about it."""

    what: str
    hint: str


EMPTY = Stranger("an empty file", "the download or the copy failed; fetch the file again")
PYTORCH = Stranger(
    "a PyTorch file",
    "pass the TensorFlow 1 checkpoint; a PyTorch model needs no conversion",
)
SAVED_MODEL = Stranger(
    "a SavedModel, which is a finished program and not a training checkpoint",
    "pass the checkpoint of the training run: a folder with `checkpoint`, or PREFIX.index",
)
HUGGING_FACE = Stranger(
    "a Hugging Face folder",
    "it needs no conversion: transformers loads it with `from_pretrained`",
)

_KERAS = Stranger("a Keras file", "pass the TensorFlow 1 checkpoint that it was made from")
_SAFETENSORS = Stranger("a safetensors file", HUGGING_FACE.hint)
_EVENTS = Stranger("an events file, which is for TensorBoard", "pass the folder that it lies in")
_GRAPH = Stranger("a graph without weights", "pass the checkpoint beside it: the folder, or PREFIX.index")
_OTHER_MODEL = Stranger("an ONNX or TensorFlow Lite model", "pass the TensorFlow 1 checkpoint of the training run")
_LFS_POINTER = Stranger("a Git LFS pointer, not the file itself", "run `git lfs pull` where the file was cloned")
_WEB_PAGE = Stranger("a web page", "download the file itself, not the page that shows it")
_PACKED = Stranger("an archive of a kind that is not read here", "unpack it and pass the folder")

_BY_NAME: tuple[tuple[str, Stranger], ...] = (
    (r".*\.(h5|hdf5|keras)", _KERAS),
    (r"pytorch_model.*\.bin|.*\.(pt|pth)", PYTORCH),
    (r".*\.safetensors(\.index\.json)?", _SAFETENSORS),
    (r".*tfevents.*", _EVENTS),
    (r"saved_model\.pb(txt)?", SAVED_MODEL),
    (r".*\.(pb|pbtxt)", _GRAPH),
    (r".*\.(onnx|tflite)", _OTHER_MODEL),
    (r".*\.(7z|rar|zst|lz4)", _PACKED),
)

_BY_CONTENT: tuple[tuple[bytes, Stranger], ...] = (
    (rb"version https://git-lfs", _LFS_POINTER),
    (rb"(\xef\xbb\xbf)?\s*<(?i:!doctype|html|head|body|\?xml|!--)", _WEB_PAGE),
    (rb"\x89HDF\r\n\x1a\n", _KERAS),
    # MAGIC_NUMBER of torch/serialization.py, pickled: how files of torch.save began until PyTorch 1.6.
    (rb"\x80[\x02-\x05]\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", PYTORCH),
    (rb"(?s:.{4})\0\0\0\0\{\"", _SAFETENSORS),
    (rb"7z\xbc\xaf'\x1c|Rar!|\x28\xb5\x2f\xfd", _PACKED),
)

_HUGGING_FACE_WEIGHTS = {
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("tf_model.h5", "flax_model.msgpack"),
}
SAVED_MODEL_FILES = {"saved_model.pb", "saved_model.pbtxt"}


def know_name(name: str) -> Stranger | None:
    """Return what a file of this name is, if it is no TensorFlow 1 checkpoint."""
    known = (stranger for pattern, stranger in _BY_NAME if re.fullmatch(pattern, name, re.IGNORECASE | re.DOTALL))
    return next(known, None)


def know_content(head: bytes) -> Stranger | None:
    """Return what a file that begins with `head` (64 bytes are enough) is, if it is no TensorFlow 1 checkpoint."""
    if not head:
        return EMPTY
    return next((stranger for pattern, stranger in _BY_CONTENT if re.match(pattern, head)), None)


def know_folder(names: Collection[str]) -> Stranger | None:
    """Return what a folder with files of these names is, if it is no folder of a TensorFlow 1 checkpoint."""
    if not SAVED_MODEL_FILES.isdisjoint(names):
        return SAVED_MODEL
    if "config.json" in names and not _HUGGING_FACE_WEIGHTS.isdisjoint(names):
        return HUGGING_FACE
    return None


def know_members(names: Collection[str]) -> Stranger | None:
    """Return what an archive with members of these names is, if it is a file of another framework.

    `torch.save` writes zip archives since PyTorch 1.6: one folder with `data.pkl` in it.
    """
    bases = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in bases:
        return PYTORCH
    if {"config.json", "model.weights.h5"} <= bases:
        return _KERAS
    return know_folder(bases)
