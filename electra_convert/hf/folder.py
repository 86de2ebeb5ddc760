"""The files of a Hugging Face folder, and their checksums."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from electra_convert.errors import EnvironmentFailure

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
VOCABULARY = "vocab.txt"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
CARD = "README.md"
RECORD = "conversion.json"

_PIECE = 1 << 20


def files_of(tokenizer: bool) -> list[str]:
    """Return the names of the files of a folder, sorted, with or without those of a tokenizer."""
    own = [CARD, CONFIG, RECORD, WEIGHTS]
    return sorted([*own, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY] if tokenizer else own)


class FileSum(NamedTuple):
    """A file's name, size and CRC-32C."""

    name: str
    nbytes: int
    crc32c: int

    def to_json(self) -> dict[str, object]:
        """Return the sum as plain data, the CRC in 8 hexadecimal digits."""
        return {"name": self.name, "bytes": self.nbytes, "crc32c": f"{self.crc32c:08x}"}


def file_sum(path: Path) -> FileSum:
    """Return size and CRC-32C of one file, read in pieces; raise EnvironmentFailure if the system does not give it."""
    crc = count = 0
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                crc = google_crc32c.extend(crc, piece)
                count += len(piece)
    except OSError as error:
        raise EnvironmentFailure(
            "a file of the folder cannot be read",
            where=f"{path}, byte {count}",
            found=error.strerror or str(error),
        ) from error
    return FileSum(path.name, count, crc)


def folder_sums(
    folder: Path, *, known: Mapping[str, FileSum] | None = None, without: Collection[str] = (RECORD,)
) -> tuple[FileSum, ...]:
    """Return the sums of a folder's files by name; those `known` from writing are not read again."""
    known = known or {}
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in without)
    return tuple(known.get(name) or file_sum(folder / name) for name in names)
