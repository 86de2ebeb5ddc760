"""Where the test material is: `fixtures/` first, then a folder `shared/` beside the checkout, else the test is skipped.

A file kept as `.xz`, or a checkpoint kept as `published.zip`, is unpacked into a temporary copy of its folder.
"""

from __future__ import annotations

import functools
import lzma
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
SHARED = ROOT.parent / "shared" / "checkpoints"


# Made at once, not when it is first needed: a test may have pointed temporary files elsewhere by then.
_UNPACKED = tempfile.TemporaryDirectory(prefix="electra-fixtures-")


@functools.cache
def material(kind: str, name: str) -> Path:
    """Return the folder (or file) `name` of the material `kind`: google, others or graphs; skip where it is absent."""
    for root in (FIXTURES, SHARED):
        found = root / kind / name
        if found.exists():
            return _unpacked(found) if found.is_dir() else found
        packed = found.with_name(found.name + ".xz")
        if packed.exists():
            target = Path(_UNPACKED.name) / kind / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(lzma.decompress(packed.read_bytes()))
            return target
    pytest.skip(f"{kind}/{name} is not in fixtures/, and shared/ is not beside the checkout")


def _unpacked(folder: Path) -> Path:
    """Return the folder, or a copy with its files unpacked and the checkpoint that it keeps as an archive only."""
    packed = sorted(folder.glob("*.xz"))
    archive = folder / "published.zip"
    only_archive = archive.exists() and not list(folder.glob("*.index"))
    if not packed and not only_archive:
        return folder
    copy = Path(_UNPACKED.name) / folder.parent.name / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.xz"))
    for file in packed:
        (copy / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
    if only_archive:
        with zipfile.ZipFile(archive) as members:
            for name in members.namelist():
                if not name.endswith("/") and not (copy / Path(name).name).exists():
                    (copy / Path(name).name).write_bytes(members.read(name))
    return copy


def google(name: str) -> Path:
    """Return the folder of a checkpoint that Google's own code trained."""
    return material("google", name)


def other(name: str) -> Path:
    """Return the folder of a checkpoint from a public repository."""
    return material("others", name)


def all_of(kind: str) -> list[str]:
    """Return the names of every set of a kind that is at hand here."""
    roots = [root / kind for root in (FIXTURES, SHARED)]
    folders = {entry.name for root in roots if root.is_dir() for entry in root.iterdir() if entry.is_dir()}
    return sorted(folders - {"traps"})
