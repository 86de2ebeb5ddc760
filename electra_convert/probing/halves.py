"""The halves that play: found, refused where they do not belong together, loaded with the tokenizer beside them.

a folder with discriminator/ and generator/    both halves
a folder of one half                           that half; the other from a folder of its own, or none
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from electra_convert.electra.mapping import ARCHITECTURE, HalfName
from electra_convert.errors import FolderError, MissingExtra, VocabularyError
from electra_convert.hf.config import read_config
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import CONFIG, RECORD
from electra_convert.notices import Notice
from electra_convert.options import StrPath
from electra_convert.probing.vocabulary import WordPieces, load_pieces, require_same
from electra_convert.recognition import find_halves
from electra_convert.record import SCHEMA

if TYPE_CHECKING:
    from electra_convert.electra.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """A half that plays: its network, and how many ids, positions and segments its tables hold."""

    folder: str
    model: Model
    rows: int
    positions: int
    types: int


@dataclass(frozen=True, slots=True)
class Training:
    """What the record of the conversion says of the training; None where it does not.

    `energy` is why the sigmoid of the discriminator's logit may be no probability.
    """

    length: int | None = None
    mask: float | None = None
    temperature: float | None = None
    energy: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Players:
    """Both halves, or the discriminator alone, and the word pieces that they share."""

    discriminator: Half
    generator: Half | None
    pieces: WordPieces
    training: Training
    notices: tuple[Notice, ...]

    @property
    def halves(self) -> tuple[Half, ...]:
        """The halves that play."""
        return (self.discriminator,) if self.generator is None else (self.discriminator, self.generator)


def load_players(discriminator: StrPath, generator: StrPath | None) -> Players:
    """Return the halves, ready to play.

    Raises:
        MissingExtra: torch or tokenizers is not installed.
        FolderError: a folder does not hold the half that it is given for, or cannot be loaded.
        VocabularyError: there is no tokenizer, or the halves have different vocabularies.
    """
    _require_extras()
    found = find_halves(Path(discriminator))
    first = _pick(found, "discriminator", discriminator)
    second = found.get("generator")
    if generator is not None:
        second = _pick(find_halves(Path(generator)), "generator", generator)
    pieces = load_pieces(first)
    notices = [*pieces.notices, *(require_same(pieces, second) if second else ())]
    halves = [_load("discriminator", first, pieces), *([_load("generator", second, pieces)] if second else [])]
    if len({half.rows for half in halves}) > 1:
        raise VocabularyError(
            "the halves have different vocabularies",
            where=halves[1].folder,
            found=f"{halves[1].rows} rows of word embeddings",
            expected=f"{halves[0].rows}, as the discriminator",
            hint="take both halves from one checkpoint",
        )
    return Players(halves[0], halves[1] if second else None, pieces, read_training(first), tuple(notices))


def read_training(folder: Path) -> Training:
    """Return what the record in a folder says; nothing where there is none, or another tool's."""
    if not (folder / RECORD).exists():
        return Training()
    record = read_json(folder / RECORD, "the record of the conversion", FolderError)
    if record.get("schema") != SCHEMA:
        return Training()
    hparams = record.get("hparams") or {}
    energy = [warning["facts"]["found"] for warning in record.get("warnings", ()) if warning["code"] == "energy"]
    return Training(
        record.get("trained_length"),
        hparams.get("mask_prob"),
        hparams.get("temperature"),
        energy[0] if energy else None,
    )


def _require_extras() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("tokenizers", "torch") if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            "probing needs torch and tokenizers",
            found=f"{' and '.join(missing)} not installed",
            hint="pip install 'electra-convert[probe]'",
        )


def _pick(found: Mapping[HalfName, Path], half: HalfName, given: StrPath) -> Path:
    if half in found:
        return found[half]
    raise FolderError(
        f"the folder holds no {half}",
        where=os.fspath(given),
        found=", ".join(found),
        expected=f"a {half}, or folders `discriminator` and `generator`",
        hint="electra-convert probe DISCRIMINATOR --generator GENERATOR",
    )


def _load(name: HalfName, folder: Path, pieces: WordPieces) -> Half:
    from electra_convert.electra.model import ARCHITECTURES, from_folder

    model = from_folder(folder)
    if type(model) is not ARCHITECTURES[ARCHITECTURE[name]]:
        raise FolderError(f"the folder holds no {name}", where=os.fspath(folder), found=f"a {type(model).__name__}")
    config = read_config(folder / CONFIG)
    half = Half(
        os.fspath(folder),
        model,
        config["vocab_size"],
        config["max_position_embeddings"],
        config["type_vocab_size"],
    )
    last = max(pieces.tokens)
    if last >= half.rows:
        raise VocabularyError(
            "the vocabulary is longer than the embedding table",
            where=pieces.where,
            found=f"id {last}",
            expected=f"ids below {half.rows}, the rows of {folder}",
        )
    return half
