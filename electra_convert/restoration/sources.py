"""The Hugging Face folders that are to become a checkpoint: which half each is, its config, its tensors.

    FOLDER                                 a discriminator, a generator, or a bare encoder
    FOLDER/discriminator, FOLDER/generator both halves

The class in config.json tells what a folder is, else the names of its tensors do. Every tensor must be one that the
half needs, and the other way round; a fine-tuned head is left out only where the encoder alone was asked for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.expression import refuse_inexpressible
from electra_convert.electra.mapping import TIED, TOWER_PREFIX, HalfName, Move, plan
from electra_convert.electra.setups import ELECTRA
from electra_convert.errors import EnvironmentFailure, FolderError, LayoutError, MappingError, MissingExtra, UsageError
from electra_convert.hf.config import read_config
from electra_convert.hf.folder import CONFIG
from electra_convert.parity import has_torch
from electra_convert.proof import config_of
from electra_convert.stored import PICKLE, StoredTensors
from electra_convert.wording import some

# A causal language model of transformers has the tensors of a masked one.
HALVES_BY_CLASS: Mapping[str, HalfName] = {
    "ElectraForPreTraining": "discriminator",
    "ElectraForMaskedLM": "generator",
    "ElectraForCausalLM": "generator",
}
HALVES_BY_HEAD: Mapping[str, HalfName] = {
    "discriminator_predictions": "discriminator",
    "generator_predictions": "generator",
    "generator_lm_head": "generator",
}
FINE_TUNED_HEADS = ("classifier", "qa_outputs", "sequence_summary")

FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class StoredHalf:
    """A folder that is open: what it holds, and under which name each tensor of it stands there.

    `names` has every tensor of the half by the name of the mapping table; `left_out` are heads that were not wanted.
    """

    half: HalfName
    folder: Path
    shown: str
    config: ElectraConfig
    tensors: StoredTensors
    names: Mapping[str, str]
    left_out: tuple[str, ...]
    states: tuple[tuple[Path, tuple[int, int, int]], ...]

    @property
    def dtypes(self) -> dict[str, list[str]]:
        """The tensors of the half by their type."""
        found: dict[str, list[str]] = {}
        for name in self.names.values():
            found.setdefault(self.tensors.dtypes[name], []).append(name)
        return found

    def check_unchanged(self) -> None:
        """Raise FolderError if a file of tensors is no longer the one that was opened."""
        for path, state in self.states:
            if _state(path) != state:
                raise FolderError(
                    "a file of the folder changed during the run",
                    where=str(path),
                    hint="wait until nothing writes the folder, or convert a copy",
                )


@contextlib.contextmanager
def opened_halves(folders: Sequence[str | os.PathLike[str]], *, encoder: bool) -> Iterator[tuple[StoredHalf, ...]]:
    """Give the halves that the folders hold, the discriminator first, open until the block ends.

    Raises:
        UsageError: the folders are no half, two different halves, or one encoder.
        FolderError: a folder is no Hugging Face ELECTRA folder, or lacks sizes.
        MappingError: tensors are missing, unexpected, or of another shape than config.json says.
        SettingError: Google's code does not compute what config.json says.
        MissingExtra: the tensors are in a `.bin`, which needs torch.
    """
    with contextlib.ExitStack() as stack:
        found = [half for given in folders for half in find_folders(given)]
        if encoder and len(found) > 1:
            raise UsageError(
                "one encoder makes a checkpoint", found=[os.fspath(folder) for folder in found], hint="pass one of them"
            )
        halves = [_open(folder, encoder, stack) for folder in found]
        _refuse_other_numbers(halves)
        yield tuple(sorted(halves, key=lambda half: half.half))


def find_folders(given: str | os.PathLike[str]) -> list[Path]:
    """Return the folders with a model that a given folder means: itself, or its `discriminator` and `generator`.

    Raises FolderError if there is none.
    """
    folder = Path(given)
    if (folder / CONFIG).exists():
        return [folder]
    below = [folder / half for half in ("discriminator", "generator") if (folder / half / CONFIG).exists()]
    if not below:
        raise FolderError(
            "not a Hugging Face folder",
            where=os.fspath(folder),
            found=f"no {CONFIG}" if folder.is_dir() else "a file" if folder.exists() else "no such folder",
            expected=f"a folder with {CONFIG} and tensors, or with folders `discriminator` and `generator`",
        )
    return below


def _open(folder: Path, encoder: bool, stack: contextlib.ExitStack) -> StoredHalf:
    where = folder / CONFIG
    document = read_config(where)
    config = config_of(document, folder)
    _refuse_pickles(folder)
    tensors = StoredTensors(folder)
    stack.callback(tensors.close)
    half: HalfName = "encoder" if encoder else _half_of(document, tensors, where)
    refuse_inexpressible(half, config, document, str(where))
    needed = {move.tensor: move for move in plan(half, ELECTRA, config)}
    names, left_out = _names(tensors, needed, encoder)
    _refuse_misfits(half, tensors, needed, names, left_out)
    if half == "generator" and document.get("tie_word_embeddings") is False and not set(TIED) & set(tensors.copies):
        raise MappingError(
            "the generator's output matrix is not there, and config.json ties it to nothing",
            where=tensors.where,
            missing=list(TIED),
            hint='"tie_word_embeddings": true in config.json if the word embeddings are the output matrix',
        )
    states = tuple((path, _state(path)) for path in tensors.paths)
    return StoredHalf(half, folder, os.fspath(folder), config, tensors, names, left_out, states)


def _refuse_pickles(folder: Path) -> None:
    """Refuse a folder without safetensors whose `.bin` files cannot be read."""
    if list(folder.glob("model.safetensors*")):
        return
    if (folder / PICKLE).exists() and not has_torch():
        raise MissingExtra(
            "a .bin file needs torch",
            where=str(folder / PICKLE),
            found="torch is not installed",
            hint="pip install 'electra-convert[verify]', or save the model as safetensors",
        )
    if (folder / f"{PICKLE}.index.json").exists() and not (folder / PICKLE).exists():
        raise FolderError(
            "the tensors are in shards of .bin files, which are not read",
            where=str(folder),
            expected="safetensors, in shards or not, or one .bin file",
            hint="load the model with transformers and save it with save_pretrained",
        )


def _half_of(document: Mapping[str, Any], tensors: Iterable[str], where: Path) -> HalfName:
    told = document.get("architectures")
    classes = [str(name) for name in told] if isinstance(told, list) else []
    for name in classes:
        if name in HALVES_BY_CLASS:
            return HALVES_BY_CLASS[name]
    heads = {name.split(".")[0] for name in tensors}
    for head, half in HALVES_BY_HEAD.items():
        if head in heads:
            return half
    fine_tuned = sorted(name for name in tensors if name.split(".")[0] in FINE_TUNED_HEADS)
    if fine_tuned:
        raise LayoutError(
            "the folder holds a fine-tuned head, and this command writes heads of the pre-training only",
            where=str(where),
            architecture=", ".join(classes) or None,
            found=some(fine_tuned),
            hint="--encoder writes the tower without it, which is all that run_finetuning.py starts from",
        )
    return "encoder"


def _names(tensors: Iterable[str], needed: Mapping[str, Move], encoder: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the stored name of each tensor that is needed, and the heads that an encoder is taken from."""
    names: dict[str, str] = {}
    rest = []
    for stored in tensors:
        # ElectraModel stores the tower without the prefix, every class with a head stores it with the prefix.
        spellings = (stored, stored.removeprefix(TOWER_PREFIX))
        name = next((spelling for spelling in spellings if spelling in needed and spelling not in names), None)
        if name is None:
            rest.append(stored)
        else:
            names[name] = stored
    heads = {*HALVES_BY_HEAD, *FINE_TUNED_HEADS} if encoder else set()
    return names, tuple(sorted(name for name in rest if name.split(".")[0] in heads))


def _refuse_misfits(
    half: HalfName,
    tensors: StoredTensors,
    needed: Mapping[str, Move],
    names: Mapping[str, str],
    left_out: Sequence[str],
) -> None:
    differing = []
    for name, stored in names.items():
        shape, dtype = needed[name].tensor_shape, tensors.dtypes[stored]
        if tensors.shapes[stored] != shape or dtype not in FLOATS:
            differing.append(f"{stored}: {dtype} {list(tensors.shapes[stored])}, expected {list(shape)}")
    lists = {
        "missing": sorted(needed.keys() - names.keys()),
        "unexpected": sorted(set(tensors) - set(names.values()) - set(left_out)),
        "differing": sorted(differing),
    }
    if any(lists.values()):
        shown: dict[str, Any] = {
            label: [f"{len(found)} tensors" if len(found) > 1 else "1 tensor", *some(found)]
            for label, found in lists.items()
            if found
        }
        raise MappingError(
            f"the tensors are not those of {'an' if half == 'encoder' else 'a'} {half} with the sizes in {CONFIG}",
            where=tensors.where,
            **shown,
        )


def _refuse_other_numbers(halves: Sequence[StoredHalf]) -> None:
    kinds = sorted(half.half for half in halves)
    if kinds not in (["discriminator"], ["generator"], ["encoder"], ["discriminator", "generator"]):
        raise UsageError(
            "these folders do not make one checkpoint",
            found=[f"{half.half}: {half.shown}" for half in halves] or "no folder",
            expected="a discriminator, a generator, one of each, or an encoder",
        )


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise EnvironmentFailure(
            "a file of the folder cannot be looked at", where=str(path), found=error.strerror or str(error)
        ) from error
    return found.st_size, found.st_mtime_ns, found.st_ino
