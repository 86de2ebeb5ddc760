r"""What a URL is, what messages call it, and what a store tells without giving its weights away.

    s3://bucket/run/model.ckpt-40     gs://  hf://  https://  memory://  whatever fsspec knows
    file:///data/run                  a path of this machine, and treated as one
    C:\run, C:/run                    no URL: a scheme has two letters or more

Nothing here imports fsspec before there is a URL: `stores.py` does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

from electra_convert.errors import UsageError

StrPath = str | os.PathLike[str]

_SCHEME = "[A-Za-z][A-Za-z0-9+.-]+"
_URL = re.compile(rf"(?:{_SCHEME}::)*({_SCHEME})://", re.DOTALL)
_FILE = re.compile("(?:file|local)://", re.IGNORECASE)

# What stands for what is not shown.
HIDDEN = "…"

# Credentials, wherever a text has a URL; the revision in hf://org/model@v1/… is none.
_USER = re.compile(r"(?<=://)(?<!hf://)[^/?#\s'\"]+@")
_QUERY = re.compile(r"(https?://[^?\s'\"]*)\?[^\s'\")\]}>]*", re.IGNORECASE)

# Stores whose first name is no bucket and no host.
PLACELESS = {"memory", "file", "local"}

# What says that a folder is whole; it is uploaded last.
RECORD = "conversion.json"

# A record of a large model has 200 KB.
LARGEST_RECORD = 64 << 20


class Address(NamedTuple):
    """A URL in its parts: `s3://bucket/`, the names below it, and the query of an https address (`?…` or nothing).

    The root of a store without buckets or hosts is `memory://` or `file:///`. `is_folder` tells that the URL ended with
    a slash.
    """

    root: str
    parts: tuple[str, ...]
    query: str = ""
    is_folder: bool = False

    @property
    def scheme(self) -> str:
        """The kind of store, in lower case."""
        return self.root.partition("://")[0].lower()

    @property
    def url(self) -> str:
        """The URL as a store takes it, credentials and all."""
        return self.root + "/".join(self.parts) + self.query

    @property
    def shown(self) -> str:
        """The URL as messages show it, without credentials."""
        return redact(self.url)

    @property
    def name(self) -> str:
        """The last name; nothing for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> Address:
        """The folder that holds it; the root holds itself."""
        return self._replace(parts=self.parts[:-1], is_folder=True)

    def child(self, name: str) -> Address:
        """Return an address below this one; `name` may have several parts."""
        return self._replace(parts=(*self.parts, *name.split("/")), is_folder=False)

    def lies_in(self, other: Address) -> bool:
        """Return whether this is `other`, or below it."""
        return self.root == other.root and self.parts[: len(other.parts)] == other.parts


def is_remote(path: object) -> TypeGuard[str]:
    """Return whether a path is a URL, without asking anybody.

    >>> is_remote("s3://bucket/ckpt"), is_remote("C:/ckpt"), is_remote("ckpt/model.ckpt-40")
    (True, False, False)
    """
    return isinstance(path, str) and _URL.match(path) is not None


def without_file_scheme(path: StrPath) -> StrPath:
    """Return the path that a `file://` URL is for; everything else as it is.

    >>> without_file_scheme("file:///data/run"), without_file_scheme("s3://bucket/run")
    ('/data/run', 's3://bucket/run')
    """
    if not isinstance(path, str) or not (match := _FILE.match(path)):
        return path
    rest = path[match.end() :]
    # file:///C:/run, as Windows writes it.
    return rest[1:] if re.match("/[A-Za-z]:/", rest) else rest


def shown_path(path: StrPath) -> str:
    """Return what messages call a path: itself, a URL without its credentials."""
    return redact(path) if is_remote(path) else os.fspath(path)


def redact(text: str) -> str:
    """Return a text with users, passwords and queries (which hold signatures) of all URLs left out.

    >>> redact("https://me:secret@host/ckpt.zip?X-Amz-Signature=0a1b")
    'https://…@host/ckpt.zip?…'
    """
    return _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


def parse_url(url: str) -> Address:
    """Return a URL in its parts.

    Raises UsageError for a chain (`zip://…::s3://…`), for names that climb (`..`), and for one without a path.
    """
    match = _URL.match(url)
    if match is None or "::" in url or "\0" in url:
        raise UsageError(
            "not a URL that can be taken",
            where=redact(url),
            expected="SCHEME://PLACE/PATH, of one store",
            hint="archives are unpacked without being asked: pass the archive's own URL",
        )
    scheme, query = match[1].lower(), ""
    place, _, path = ("", "", url[match.end() :]) if scheme in PLACELESS else url[match.end() :].partition("/")
    if scheme in {"http", "https"}:
        path, _, _ = path.partition("#")
        path, mark, query = path.partition("?")
        query = mark + query
    parts = tuple(part for part in path.split("/") if part)
    if {".", ".."} & set(parts):
        raise UsageError("a URL climbs out of its folder", where=redact(url), hint="write the path without . and ..")
    root = f"{url[: match.end()]}{place}" + ("" if scheme == "memory" else "/")
    return Address(root, parts, query, not parts or path.endswith("/"))


def walk(url: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield (folder's URL, names of its folders, names of its files) from the top down, as `os.walk` does.

    Names removed from the list of folders are not gone into. Raises InputError if nothing is there, EnvironmentFailure
    if the store cannot be had, UsageError for one that cannot be listed (https).
    """
    from electra_convert.remote.stores import Store, nothing_at

    top = parse_url(url)
    store = Store(top)
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        entries = store.entries(folder)
        if entries is None and folder is top:
            raise nothing_at(top)
        folders = sorted(name for name, entry in (entries or {}).items() if entry.is_folder)
        yield folder.url, folders, sorted(name for name, entry in (entries or {}).items() if not entry.is_folder)
        waiting += [folder.child(name) for name in reversed(folders)]


def remote_record(url: str) -> dict[str, Any] | None:
    """Return the record that an output at `url` has; None if there is none, or none that can be read.

    A folder without it is not whole, or is not ours. It takes one request. Raises EnvironmentFailure if the store
    cannot be had.
    """
    from electra_convert.remote.stores import Store

    folder = parse_url(url)
    data = Store(folder).read(folder.child(RECORD), 0, LARGEST_RECORD)
    try:
        record = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets within brackets
        return None
    return record if isinstance(record, dict) else None


def remote_sizes(url: str) -> dict[str, int]:
    """Return the size of everything below `url`, by its path there; empty if nothing is. It only lists.

    Raises EnvironmentFailure if the store cannot be had.
    """
    from electra_convert.remote.stores import Store

    folder = parse_url(url)
    return {name: entry.size or 0 for name, entry in Store(folder).tree(folder).items()}
