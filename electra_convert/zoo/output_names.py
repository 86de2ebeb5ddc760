"""Names of folders below OUT: safe on every system, told apart, none inside another.

A name is a path with `/` between its parts, such as `korean/small/model.ckpt-40`. Two names that differ in case or in
Unicode's composition only are one folder on macOS and on Windows, so they are one name here.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

Parts = tuple[str, ...]
"""The parts of a path, the last one last."""

# What Windows takes for a separator, a drive, a wildcard or a redirection.
_RESERVED = frozenset('<>:"/\\|?*')
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}

# Devices in every folder of Windows, whatever suffix follows.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)

# A leading dot hides, and is what folders begin with that are being written; Windows drops dots and spaces at the end.
_ENDS = re.compile(r"^[ .]|[ .]$", re.DOTALL)

LONGEST_PART = 180
"""Bytes. File systems take 255, and a folder that is being written has a longer name than when it is published."""


def safe_part(text: str) -> str:
    r"""Return a part that is the name of a folder on every system: what is not taken everywhere becomes `_`.

    >>> [safe_part(part) for part in ("korean", "..", ".hidden", "a:b", "NUL.txt", "x\x1b[2J")]
    ['korean', '__', '_hidden', 'a_b', '_NUL.txt', 'x_[2J']
    """
    seen = "".join("_" if char in _RESERVED or unicodedata.category(char) in _UNSEEN else char for char in text)
    composed = unicodedata.normalize("NFC", seen)
    named = f"_{composed}" if _DEVICE.fullmatch(composed) else composed
    cut = named.encode()[:LONGEST_PART].decode(errors="ignore")
    return _ENDS.sub("_", cut) or "_"


def safe_name(text: str) -> str:
    """Return a path below OUT as safe parts, without empty ones; never a path that is absolute or climbs."""
    return "/".join(safe_part(part) for part in text.split("/") if part) or "_"


def is_safe(name: str) -> bool:
    """Return whether a name is that of the same folder below OUT on every system."""
    return safe_name(name) == unicodedata.normalize("NFC", name)


def fold(parts: Parts) -> Parts:
    """Return what two names have in common that are one folder where case and composition do not count."""
    return tuple(unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()) for part in parts)


def prefixes(parts: Parts) -> Iterator[Parts]:
    """Yield the parts, and all folders they are in."""
    return (parts[:length] for length in range(len(parts) + 1))


def count_below(every: Sequence[Parts]) -> Counter[Parts]:
    """Return how many of the given names are at or below each folder, told by `fold`."""
    return Counter(folder for parts in every for folder in prefixes(fold(parts)))


def find_collisions(names: Sequence[str]) -> list[tuple[int, int, Literal["same", "inside"]]]:
    """Return the pairs of names, by their positions, that are the same folder, or of which the second is in the first.

    >>> find_collisions(["small", "Small", "small/fine"])
    [(0, 1, 'same'), (0, 2, 'inside')]
    """
    folded = [fold(tuple(name.split("/"))) for name in names]
    first: dict[Parts, int] = {}
    found: list[tuple[int, int, Literal["same", "inside"]]] = []
    for number, parts in enumerate(folded):
        if first.setdefault(parts, number) != number:
            found.append((first[parts], number, "same"))
    for number, parts in enumerate(folded):
        outer = next((first[folder] for folder in prefixes(parts[:-1]) if folder in first), None)
        if outer is not None:
            found.append((outer, number, "inside"))
    return found


def tell_apart(paths: Sequence[Parts]) -> list[Parts]:
    """Return the last parts of each path, as many of all as it takes to tell them apart.

    >>> tell_apart([("data", "korean", "small"), ("data", "german", "small")])
    [('korean', 'small'), ('german', 'small')]
    """
    longest = max(map(len, paths), default=1)
    for length in range(1, longest + 1):
        labels = [path[-length:] for path in paths]
        if len({fold(label) for label in labels}) == len(labels):
            return labels
    return [path[-1:] for path in paths]
