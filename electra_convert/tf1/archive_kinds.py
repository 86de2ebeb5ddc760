"""Which archive a file is, by its name and its first bytes; the libraries that read them are not needed for that."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]

# Bytes; a tar begins with one block about its first member.
TAR_BLOCK = 512

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "tar.gz"),
    (b"BZh", "tar.bz2"),
    (b"\xfd7zXZ\x00", "tar.xz"),
)
_SUFFIX = re.compile(r"(.*)\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))", re.IGNORECASE | re.DOTALL)


def has_archive_name(name: str) -> bool:
    """Return whether a file of this name should be an archive."""
    return _SUFFIX.fullmatch(name) is not None


def archive_stem(name: str) -> str:
    """Return the name of an archive without its suffix; another name as it is.

    >>> archive_stem("electra_small.tar.gz")
    'electra_small'
    """
    match = _SUFFIX.fullmatch(name)
    return match[1] or name if match else name


def find_kind(name: str, head: bytes) -> Kind | None:
    """Return which archive a file with this name and these first 512 bytes is; the bytes count for more."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # Before POSIX (1988) tar had no magic, so there the name must do, and text is none.
    old = name.lower().endswith(".tar") and len(head) == TAR_BLOCK and b"\0" in head
    return "tar" if old or head[257:262] == b"ustar" else None
