"""Is an item's output up to date? Only if it is whole, and making it anew would give the same.

    output     every file of the records is there with its size and checksum, and no other file is
    tool       the same version wrote it
    options    the same were given; hparams and config by their content
    source     index (or V1 files), `.meta` and vocabulary have the checksums on record, data files their sizes
    proof      it was made, if one is wanted

`conversion.json` has all of this for each half, with the halves that were exported together and those refused. NumPy is
not needed to compare it. In an object store files are told by their sizes: reading them back would cost as much as the
conversion, and a store checks what it is given itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from electra_convert import __version__
from electra_convert.batching.outcomes import ItemResult
from electra_convert.errors import ElectraConvertError, FolderError, OutputError
from electra_convert.examination import find_vocabulary
from electra_convert.hf.files import read_json
from electra_convert.hf.folder import RECORD, WEIGHTS, file_sum
from electra_convert.notices import Notice
from electra_convert.options import Options, options_for_the_record, read_given
from electra_convert.parity import has_torch
from electra_convert.record import SCHEMA, TOOL
from electra_convert.remote.urls import is_remote, remote_record, remote_sizes
from electra_convert.wording import Fact, some
from electra_convert.zoo.finding import Item

if TYPE_CHECKING:
    from electra_convert.tf1.sources import Source

Record = Mapping[str, Any]
Sums = Mapping[str, tuple[int, str | None]]
"""Size and CRC-32C by name; None where no checksum is on record."""


@dataclass(frozen=True, slots=True)
class Output:
    """What stands at an item's place: the size of every file, by its path there, and the records among them.

    A record's key is the path of its folder: "" or the name of a half.
    """

    out: str
    sizes: Mapping[str, int]
    records: Mapping[str, Record]

    @property
    def strangers(self) -> list[str]:
        """The files that no record knows."""
        ours = {_below(folder, name) for folder, record in self.records.items() for name in (RECORD, *_listed(record))}
        return sorted(set(self.sizes) - ours)

    def require_ours(self) -> None:
        """Raise OutputError if there are files that no conversion wrote: they would be lost."""
        if self.strangers:
            raise OutputError(
                "the output holds files that are not ours",
                where=self.out,
                found=some(self.strangers),
                expected="no such folder, or one that a conversion wrote, as its conversion.json lists it",
                hint="move them elsewhere, or choose another OUT",
            )


def read_output(out: str) -> Output:
    """Return what stands at a place; nothing stands there if it is absent, an empty folder or no folder."""
    sizes = {name: size for name, size in remote_sizes(out).items() if name} if is_remote(out) else dict(_walk(out))
    folders = sorted(
        {os.path.dirname(name) for name in sizes if os.path.basename(name) == RECORD and name.count("/") < 2}
    )
    records = {folder: record for folder in folders if (record := _read_record(out, folder)) is not None}
    return Output(out, sizes, records)


def find_difference(output: Output, options: Options, source: Source) -> str:
    """Return in words why an item must be done again, "" if its output is up to date.

    Args:
        output: what stands at the item's place.
        options: the item's settings.
        source: the item's checkpoint; where it is remote, what was fetched of it.
    """
    try:
        return next(_differences(output, options, source), "")
    except (KeyError, TypeError, ValueError):
        return "its record has another form"
    except ElectraConvertError as error:
        return error.message


def recorded_result(output: Output, item: Item, source: Source) -> ItemResult:
    """Return the result of an item that is up to date, as its records tell it."""
    halves = tuple(_half(output, folder, record) for folder, record in output.records.items())
    first = next(iter(output.records.values()))
    checkpoint = first["checkpoint"]
    return ItemResult(
        item=item,
        status="up to date",
        out=output.out,
        halves=halves,
        checkpoint={
            "path": item.source,
            "prefix": source.shown,
            "name": checkpoint["name"],
            "format": checkpoint["format"],
            "shards": checkpoint["shards"],
            "step": checkpoint["step"],
            "step_source": checkpoint["step_source"] or "",
            "nbytes": checkpoint["bytes"],
            "trained_length": first["trained_length"],
        },
        setup=first["setup_told"],
        refused=tuple(first["refused"]),
        notices=_notices(output),
        nbytes=sum(half["bytes"] for half in halves),
    )


def _walk(out: str) -> Iterator[tuple[str, int]]:
    """Yield path and size of every file below a folder, and every empty folder; a link is what it leads to."""
    for parent, folders, names in os.walk(out):
        place = os.path.relpath(parent, out).replace(os.sep, "/").removeprefix(".")
        for name in names:
            path = os.path.join(parent, name)
            yield _below(place, name), os.stat(path).st_size if os.path.exists(path) else -1
        if place and not folders and not names:
            yield f"{place}/", 0


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _read_record(out: str, folder: str) -> Record | None:
    """Return the record in a folder; None for a file of this name that is none of ours."""
    if is_remote(out):
        document = remote_record(_below(out.rstrip("/"), folder))
    else:
        try:
            document = read_json(Path(out, folder, RECORD), "the record", FolderError)
        except FolderError:
            return None
    schema = (document or {}).get("schema")
    return document if isinstance(schema, str) and schema.startswith(SCHEMA.rstrip("0123456789")) else None


def _listed(record: Record) -> list[str]:
    """Return the names of the files that a record lists; none, where its list is broken."""
    entries = record.get("files")
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in names if isinstance(name, str)]


def _differences(output: Output, options: Options, source: Source) -> Iterator[str]:
    """Yield why the output is not up to date, what is quick to know first."""
    asked = options_for_the_record(options, read_given(options))
    for record in output.records.values():
        if record["schema"] != SCHEMA or record["tool"] != {"name": TOOL, "version": __version__}:
            yield "another version made it"
        if record["options"] != asked:
            yield "the options differ"
        if options.strict and record["warnings"]:
            yield "there were warnings"
        yield from _missing_proof(record, options)
    if {record["half"] for record in output.records.values()} != set(next(iter(output.records.values()))["halves"]):
        yield "a half is missing"
    yield from _changes_of_files(output)
    for record in output.records.values():
        yield from _changes_of_source(record, options, source)


def _missing_proof(record: Record, options: Options) -> Iterator[str]:
    if record["verification"]["state"] == "proven" or options.verify is False:
        return
    # What `convert` does not prove unless it is told to: weights that are not finite, and anything without torch.
    excused = not has_torch() or any(warning["code"] == "nonfinite" for warning in record["warnings"])
    if options.verify or not excused:
        yield "it is not proven"


def _changes_of_files(output: Output) -> Iterator[str]:
    for folder, record in output.records.items():
        for name, (nbytes, crc) in _sums(record["files"]).items():
            path = _below(folder, name)
            if path not in output.sizes:
                yield f"{path} is missing"
            elif output.sizes[path] != nbytes:
                yield f"{path} has another size"
            elif not is_remote(output.out) and _crc(Path(output.out, path)) != crc:
                yield f"{path} was changed"


def _changes_of_source(record: Record, options: Options, source: Source) -> Iterator[str]:
    recorded = _sums(record["checkpoint"]["files"])
    folder = source.prefix.parent
    there = [*source.files, *([] if source.meta is None else [source.meta])]
    if not {path.name for path in there} <= set(recorded):
        yield "the checkpoint has other files"
    for name, (nbytes, crc) in recorded.items():
        size = source.elsewhere[name] if name in source.elsewhere else _size(folder / name)
        if size != nbytes or (crc is not None and _crc(folder / name) != crc):
            yield f"{name} of the checkpoint was changed"
    vocabulary = record["checkpoint"]["vocabulary"]
    if options.tokenizer:
        path = find_vocabulary(source)[0] if options.vocab is None else Path(options.vocab)
        if path is None or vocabulary is None or file_sum(path).to_json() != vocabulary:
            yield "the vocabulary was changed"


def _sums(entries: list[Mapping[str, Any]]) -> Sums:
    sums = {entry["name"]: (entry["bytes"], entry["crc32c"]) for entry in entries}
    if any("/" in name or os.sep in name for name in sums):
        raise ValueError("a name with folders in it")
    return sums


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _crc(path: Path) -> str:
    return f"{file_sum(path).crc32c:08x}"


def _half(output: Output, folder: str, record: Record) -> dict[str, Any]:
    """Return the facts of a half in the form of `HalfExport.to_json`."""
    tensors = len(record["tensors"])
    names = sorted([RECORD, *_listed(record)])
    return {
        "half": record["half"],
        "folder": os.path.join(output.out, folder) if folder else output.out,
        "architecture": record["architecture"],
        "tensors": tensors,
        "parameters": record["parameters"],
        "dtype": record["dtype"],
        "bytes": output.sizes[_below(folder, WEIGHTS)],
        "files": [{"name": name, "bytes": output.sizes[_below(folder, name)]} for name in names],
        "config": record["config"],
        "checked": f"{tensors} of {tensors} tensors read back bit for bit",
        "verification": record["verification"],
        "parity": None,
        **({"task": record["task"]} if "task" in record else {}),
    }


def _notices(output: Output) -> tuple[Notice, ...]:
    """Return the notices on record, those of both halves once; records keep no hints."""
    kinds: tuple[Literal["warning", "note"], ...] = ("warning", "note")
    every = (
        Notice(kind, told["code"], told["message"], _facts(told["facts"]))
        for record in output.records.values()
        for kind in kinds
        for told in record[f"{kind}s"]
    )
    return tuple(dict.fromkeys(every))


def _facts(told: Mapping[str, Any]) -> tuple[tuple[str, Fact], ...]:
    return tuple((label, fact if isinstance(fact, str) else tuple(fact)) for label, fact in told.items())
