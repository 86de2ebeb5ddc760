"""A manifest: the checkpoints of a batch one by one, each with its name, options and files; checked as a whole.

    [defaults]                          what holds for every entry that says nothing else
    cased = false

    [[checkpoint]]                      one entry
    source = "ckpts/korean"             a folder, prefix, file, archive or URL; from the manifest's folder on
    name = "korean/small"               its place below OUT; default: what the source is called
    num-attention-heads = 4             any option of `tf1`, with dashes or underscores
    hparams = { model_size = "small" }  a file, a JSON text, or a table

JSON has the same keys, or a list of entries alone; CSV a row of keys and a row for each entry.
Nothing is converted before every entry is known to be sound: all faults are listed at once, each with its line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from electra_convert.errors import ElectraConvertError, EnvironmentFailure, ManifestError, NotACheckpoint
from electra_convert.options import Options, StrPath, read_given
from electra_convert.remote.urls import is_remote, without_file_scheme
from electra_convert.wording import some
from electra_convert.zoo.manifest_keys import ENTRY, OPTIONS, Kind, keyword_of, nearest, why_unknown
from electra_convert.zoo.manifest_text import CHECKPOINT, Document, is_manifest_name, read_document
from electra_convert.zoo.output_names import find_collisions, is_safe, safe_name
from electra_convert.zoo.source_names import source_parts
from electra_convert.zoo.value_lines import ValuePath
from electra_convert.zoo.walking import refuse_absent

DEFAULTS = "defaults"

# More would not be read; the rest is counted.
MOST_FAULTS = 1000

# What a value is shown with.
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry that was found sound: as `Item` of `finding.py`, but its source may be a folder of many steps."""

    source: str
    name: str
    settings: Mapping[str, Any]
    where: str


def is_manifest(path: str) -> bool:
    """Return whether a SOURCE is a manifest: by its ending, unless it is a folder or a URL."""
    return is_manifest_name(path) and not is_remote(path) and not os.path.isdir(path)


def check_options(settings: Mapping[str, Any]) -> None:
    """Raise what `convert` would about keywords that contradict each other, and the small files that they name."""
    options = Options(**settings)
    if not any(is_remote(path) for path in (options.hparams, options.config, options.labels)):
        read_given(options)


def read_manifests(paths: Iterable[StrPath], settings: Mapping[str, Any]) -> list[Entry]:
    """Return the entries of all manifests; an entry's options override its manifest's defaults, and those `settings`.

    Raises ManifestError with every fault of all of them; EnvironmentFailure if the system does not give a file.
    """
    entries: list[Entry] = []
    faults: list[str] = []
    unread: list[ManifestError] = []
    for given in paths:
        path = os.fspath(given)
        try:
            reading = _Reading(path, read_document(path), settings)
        except ManifestError as error:
            unread.append(error)
            faults.append(one_line(error))
        else:
            entries += reading.entries()
            faults += reading.told()
    if len(unread) == len(faults) == 1:
        raise unread[0]
    if faults:
        told = "a fault in the manifest" if len(faults) == 1 else f"{len(faults):,} faults in the manifest"
        raise ManifestError(told, faults=some(faults, MOST_FAULTS), hint="nothing was started; mend the manifest first")
    return entries


class _Reading:
    """One manifest while it is checked."""

    def __init__(self, path: str, document: Document, settings: Mapping[str, Any]) -> None:
        self.path, self.document, self.settings = path, document, settings
        self.folder = os.path.dirname(path)
        # Keys of a dictionary: what a whole column of CSV has wrong is told once.
        self.faults: dict[tuple[int, str], None] = dict.fromkeys(document.faults)
        self.names: dict[int, str] = {}

    def told(self) -> list[str]:
        """Return every fault in the order of their lines."""
        return [f"{self.path}, line {line}, {what}" for line, what in sorted(self.faults, key=lambda fault: fault[0])]

    def entries(self) -> list[Entry]:
        """Return the entries, noting every fault; where there is one, nobody is to use them."""
        values = self.document.values
        if not isinstance(values, dict):
            self._fault((), f"found {_told(values)}, expected a table of `{CHECKPOINT}` and `{DEFAULTS}`")
            return []
        unknown = [key for key in values if key not in (CHECKPOINT, DEFAULTS)]
        for key in unknown:
            near = nearest(key, (CHECKPOINT, DEFAULTS)) or f"`{CHECKPOINT}` or `{DEFAULTS}`"
            self._fault((key,), f"`{key}`: found an unknown key, expected {near}")
        defaults, unsound = self._table((DEFAULTS,), values.get(DEFAULTS, {}), OPTIONS)
        defaults = {**_without(self.settings, unsound), **defaults}
        is_sound = self._check_options((DEFAULTS,), defaults)
        listed = values.get(CHECKPOINT, [])
        if not isinstance(listed, list):
            self._fault((CHECKPOINT,), f"`{CHECKPOINT}`: found {_told(listed)}, expected a list of entries")
            return []
        if not listed and not unknown:
            self._fault((CHECKPOINT,), f"found no entry, expected one `{CHECKPOINT}` or more")
        every = [self._entry(number, value, defaults, is_sound) for number, value in enumerate(listed)]
        self._refuse_same_names()
        return [entry for entry in every if entry is not None]

    def _entry(self, number: int, value: Any, defaults: Mapping[str, Any], is_sound: bool) -> Entry | None:
        at = (CHECKPOINT, number)
        given, unsound = self._table(at, value, ENTRY)
        source, name = given.pop("source", None), given.pop("name", None)
        settings = {**_without(defaults, unsound), **given}
        if is_sound:
            self._check_options(at, settings)
        if name is not None and not is_safe(name):
            wanted = f"a path below OUT for every system, such as `{safe_name(name)}`"
            self._fault((*at, "name"), f"`name`: found {_told(name)}, expected {wanted}")
        if source is None:
            if isinstance(value, dict) and "source" not in unsound:
                self._fault(at, "`source`: found nothing, expected the path of a checkpoint")
            return None
        source = self._path(source)
        self._check_source((*at, "source"), source)
        self.names[number] = safe_name(name or "".join(source_parts(source)[-1:]))
        return Entry(source, self.names[number], settings, f"{self.path}, line {self.document.line(*at)}")

    def _table(self, at: ValuePath, value: Any, kinds: Mapping[str, Kind]) -> tuple[dict[str, Any], set[str]]:
        """Return the keywords that a table sets soundly, and those that it does not."""
        found: dict[str, Any] = {}
        unsound: set[str] = set()
        if not isinstance(value, dict):
            self._fault(at, f"`{at[0]}`: found {_told(value)}, expected a table of keys")
            return found, unsound
        for key, raw in value.items():
            keyword, is_opposite = keyword_of(key)
            if keyword not in kinds:
                # Of a column the first row tells the key.
                self._fault(
                    (CHECKPOINT,) if self.document.is_text else (*at, key), f"`{key}`: {why_unknown(key, kinds)}"
                )
                continue
            kind = kinds[keyword]
            read = kind.read(raw) if self.document.is_text else raw
            if keyword in found:
                self._fault((*at, key), f"`{key}`: found a second time, expected `{keyword}` once")
            elif not kind.fits(read):
                self._fault((*at, key), f"`{key}`: found {_told(read)}, expected {kind.told}")
                unsound.add(keyword)
            elif not (isinstance(read, str) and kind.is_file(read)):
                found[keyword] = not read if is_opposite else read
            elif is_remote(path := self._path(read)) or os.path.lexists(path):
                found[keyword] = path
            else:
                self._fault((*at, key), f"`{key}`: found nothing at {path}, expected {kind.told}")
                unsound.add(keyword)
        return found, unsound

    def _path(self, text: str) -> str:
        """Return a path from the manifest's folder on."""
        path = os.fspath(without_file_scheme(text))
        return path if is_remote(path) else os.path.join(self.folder, path)

    def _check_source(self, at: ValuePath, source: str) -> None:
        if is_remote(source):
            return
        try:
            refuse_absent(source)
        except NotACheckpoint as error:
            near = error.facts.get("nearby")
            nearby = f"; there is {near if isinstance(near, str) else near[0]}" if near else ""
            self._fault(at, f"`source`: found nothing at {source}, expected a checkpoint{nearby}")
        except EnvironmentFailure as error:
            self._fault(at, f"`source`: {one_line(error)}")

    def _check_options(self, at: ValuePath, settings: Mapping[str, Any]) -> bool:
        """Return whether `convert` takes these settings, as far as they alone tell; note why it does not."""
        try:
            check_options(settings)
        except ElectraConvertError as error:
            self._fault(at, one_line(error))
            return False
        return True

    def _refuse_same_names(self) -> None:
        numbers = list(self.names)
        for one, other, relation in find_collisions(list(self.names.values())):
            first, second = numbers[one], numbers[other]
            line = self.document.line(CHECKPOINT, first, "name")
            told = f"which line {line} has too" if relation == "same" else f"in `{self.names[first]}` of line {line}"
            what = f"`name`: found `{self.names[second]}`, {told}, expected a place of its own"
            self._fault((CHECKPOINT, second, "name"), what)

    def _fault(self, at: ValuePath, what: str) -> None:
        self.faults[self.document.line(*at), what] = None


def _without(settings: Mapping[str, Any], unsound: Collection[str]) -> dict[str, Any]:
    """Return the settings but for those that keys were to override which say nothing sound."""
    return {key: value for key, value in settings.items() if key not in unsound}


def _told(value: object) -> str:
    """Return a value of a manifest in a few words, as JSON writes it where JSON can."""
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def one_line(error: ElectraConvertError) -> str:
    """Return an error with its facts in one line."""
    facts = [f"{label} {value if isinstance(value, str) else ', '.join(value)}" for label, value in error.facts.items()]
    return f"{error.message}: {'; '.join(facts)}" if facts else error.message
