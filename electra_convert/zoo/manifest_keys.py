"""The keys of a manifest, and what each takes: the keywords of `convert`, as data.

source, name                           an entry's own
num_attention_heads, dtype, ignore, …  keywords of `convert`; dashes count as underscores
uncased, no-tokenizer, …               flags of `tf1` that say no
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from electra_convert.electra.heads import TASK_KINDS
from electra_convert.options import ACTIVATIONS, EXPORT_DTYPES, EXPORTS, Reader


@dataclass(frozen=True, slots=True)
class Kind:
    """What a key takes: in words, as a test, and out of a cell of CSV; a cell that does not read stays text.

    `is_file` tells of a fitting text that it names a file, from the manifest's folder on.
    """

    told: str
    fits: Callable[[Any], bool]
    read: Callable[[str], Any] = str
    is_file: Callable[[str], bool] = lambda _: False


def _is_text(value: object) -> bool:
    # A NUL ends a path for the system, and half of a surrogate pair, which JSON can write, is no character.
    return isinstance(value, str) and bool(value) and not re.search("[\0\ud800-\udfff]", value)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_plain(value: object) -> bool:
    """Return whether a value is one of JSON's: TOML knows dates as well."""
    if isinstance(value, (dict, list)):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (str, int, float))


def _is_count(value: object) -> bool:
    # bool is an int in Python, and never one here.
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _read_count(cell: str) -> int | str:
    # No count has twenty digits, and Python refuses to read thousands.
    return int(cell) if re.fullmatch("[0-9]{1,20}", cell) else cell


_FLAGS: Mapping[str, bool] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_TEXT = Kind("a text", _is_text)
_FILE = Kind("a file", _is_text, is_file=lambda _: True)
_FLAG = Kind("true or false", lambda value: isinstance(value, bool), lambda cell: _FLAGS.get(cell.lower(), cell))
_COUNT = Kind("a whole number above 0", _is_count, _read_count)
_PATTERNS = Kind("a list of patterns", _is_list, str.split)
_LABELS = Kind(
    "a list of names, a text of them with commas, or a file",
    lambda value: _is_list(value) or _is_text(value),
    is_file=lambda text: "," not in text,
)
_HPARAMS = Kind(
    "a file, a JSON text or a table of plain values",
    lambda value: _is_plain(value) if isinstance(value, dict) else _is_text(value),
    is_file=lambda text: not text.startswith("{"),
)


def _choice(values: Sequence[str]) -> Kind:
    *most, last = values
    return Kind(f"{', '.join(most)} or {last}", lambda value: isinstance(value, str) and value in values)


OPTIONS: Mapping[str, Kind] = {
    "export": _choice(EXPORTS),
    "task": _TEXT,
    "task_kind": _choice(TASK_KINDS),
    "labels": _LABELS,
    "num_attention_heads": _COUNT,
    "hidden_act": _choice(ACTIVATIONS),
    "hparams": _HPARAMS,
    "config": _FILE,
    "vocab": _FILE,
    "tokenizer": _FLAG,
    "cased": _FLAG,
    "strip_accents": _FLAG,
    "max_length": _COUNT,
    "dtype": _choice(EXPORT_DTYPES),
    "ignore": _PATTERNS,
    "allow_nonfinite": _FLAG,
    "strict": _FLAG,
    "verify": _FLAG,
    "reader": _choice(get_args(Reader)),
}
"""The keywords of `convert` that an entry, or the defaults of all, may set."""

ENTRY: Mapping[str, Kind] = {"source": Kind("a path", _is_text), "name": _TEXT, **OPTIONS}
"""All that an entry may set."""

_NEGATED: Mapping[str, str] = {
    "no_tokenizer": "tokenizer",
    "uncased": "cased",
    "keep_accents": "strip_accents",
    "no_verify": "verify",
}

# What is known, but said elsewhere.
_ELSEWHERE: Mapping[str, str] = {
    "out": "`name`, for a place below OUT",
    "overwrite": "it on the command line",
    "dry_run": "it on the command line",
    "source": "it in an entry",
    "name": "it in an entry",
}


def keyword_of(key: str) -> tuple[str, bool]:
    """Return the keyword that a key means, and whether the key says the opposite.

    >>> keyword_of("num-attention-heads"), keyword_of("uncased")
    (('num_attention_heads', False), ('cased', True))
    """
    name = key.replace("-", "_").lower()
    return _NEGATED.get(name, name), name in _NEGATED


def why_unknown(key: str, known: Mapping[str, Kind]) -> str:
    """Return what to say of a key that is not among those known here."""
    name, _ = keyword_of(key)
    if name in _ELSEWHERE:
        return f"found here, expected {_ELSEWHERE[name]}"
    return f"found an unknown key, expected {nearest(name, (*known, *_NEGATED)) or 'an option of `tf1`'}"


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the name most like one that is unknown, in a few words; nothing if none is like it."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"`{near[0]}` perhaps" if near else ""
