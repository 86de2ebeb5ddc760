"""Publishes a folder in an object store: verified before it is uploaded, whole as soon as its record is there.

    OUT/model.safetensors, config.json, tokenizer.json, …    uploaded first, each looked at when it is there
    OUT/conversion.json                                      uploaded last, once the listing has all others

A folder without its `conversion.json` is not whole. When an upload fails, or is interrupted, what it put there is
removed again, the record first. To replace a folder its record is removed, the files are put in place of the old ones,
what is left over of the old ones is removed, and the new record is put there: at no time does a record claim what does
not stand beside it.

What a store cannot promise, and a disk does:
- OUT does not appear at once. Who lists it meanwhile sees files; whoever needs a whole folder looks for its record.
- A process that is killed (SIGKILL, power) leaves files without a record, and parts of an upload that was going on,
  which are not listed and cost money until the bucket's rules remove them. --overwrite cleans up the files.
- A replacement that fails has lost the old folder.
- Two runs for one OUT are not kept apart. A run that finds its files replaced fails; one that does not has won.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from electra_convert.errors import ElectraConvertError, EnvironmentFailure, OutputError, UsageError
from electra_convert.holding import at_the_end
from electra_convert.progress import Meter, Progress, no_progress
from electra_convert.remote.staging import require_room, temporary_folder
from electra_convert.remote.stores import BUCKETS, Entry, Store
from electra_convert.remote.urls import RECORD, Address, parse_url
from electra_convert.wording import some

# What the Hub puts into every repository.
OF_THE_STORE = {".gitattributes"}


def check_url(out: str, sources: Sequence[str], *, overwrite: bool) -> None:
    """Raise OutputError if nothing can be uploaded to a URL, UsageError if it overlaps with a source that is one.

    Raises EnvironmentFailure if the store cannot be had.
    """
    address = parse_url(out)
    for source in sources:
        if "://" in source:
            _refuse_overlap(address, parse_url(source))
    _require_free(Store(address), address, overwrite)


@contextlib.contextmanager
def uploaded_folder(
    out: str, *, overwrite: bool = False, needed_bytes: int = 0, progress: Progress = no_progress
) -> Iterator[Path]:
    """Give an empty folder to write into, and upload it to `out` when the block ends without an exception.

    What `check_url` refuses is refused before the upload, but after the block: call it first. Raises OutputError and
    EnvironmentFailure; of a folder that was not there before, nothing is there then.
    """
    address = parse_url(out)
    store = Store(address)
    with temporary_folder(address) as temporary:
        require_room(temporary, needed_bytes)
        folder = temporary.joinpath(*address.parts)
        folder.mkdir(parents=True)
        yield folder
        # The block may have taken an hour, in which something else could have come to stand there.
        old = _require_free(store, address, overwrite)
        upload = _Upload(store, address, folder, progress)
        try:
            with at_the_end(upload.take_back):
                upload.run(old)
        except ElectraConvertError as error:
            if upload.sent:
                error.facts["left there"] = some(sorted(upload.sent), 10)
            raise


class _Upload:
    """One upload: `sent` are the files that may be there because of it, until it is done or taken back."""

    def __init__(self, store: Store, address: Address, folder: Path, progress: Progress) -> None:
        self.sent: dict[str, Entry | None] = {}
        self._store, self._address, self._folder = store, address, folder
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
        self._meter = Meter(progress, sum(self._sizes.values()), "uploading")

    def run(self, old: Sequence[str]) -> None:
        """Upload everything, the records last, and check it; `old` are the files to be replaced."""
        records = [name for name in self._sizes if _is_record(name)]
        records_before = [name for name in old if _is_record(name)]
        for name in records_before:
            self._store.remove(self._address.child(name))
        others = {name: size for name, size in self._sizes.items() if name not in records}
        for name in others:
            self._put(name)
        for name in set(old).difference(others, records_before):
            self._store.remove(self._address.child(name))
        self._check_listing(others)
        for name in records:
            self._put(name)
        self._check_listing(self._sizes)
        for name, entry in self.sent.items():
            if self._store.look(self._address.child(name)) != entry:
                raise self._disturbed(f"{name}: another file of the same name")
        self.sent = {}

    def take_back(self) -> None:
        """Remove what was sent, the records first; stop where the store does not let us."""
        for name in sorted(self.sent, key=_is_record, reverse=True):
            try:
                self._store.remove(self._address.child(name))
            except EnvironmentFailure:
                return
            del self.sent[name]

    def _put(self, name: str) -> None:
        target = self._address.child(name)
        # Before it is there: a signal may come between the upload and the next line.
        self.sent[name] = None
        self._store.put(self._folder / name, target, self._meter.advance)
        entry = self._store.look(target)
        self._check_size(name, None if entry is None else entry.size)
        self.sent[name] = entry

    def _check_listing(self, expected: dict[str, int]) -> None:
        found = _files_at(self._store, self._address)
        for name, size in expected.items():
            self._check_size(name, found.pop(name, None), size)
        if found:
            raise self._disturbed(some(sorted(found)))

    def _check_size(self, name: str, found: int | None, expected: int | None = None) -> None:
        expected = self._sizes[name] if expected is None else expected
        if found != expected:
            raise OutputError(
                "what is in the store is not what was uploaded",
                where=self._address.child(name).shown,
                found="no such file" if found is None else f"{found:,} bytes",
                expected=f"{expected:,} bytes",
                hint="try again",
            )

    def _disturbed(self, found: str | Sequence[str]) -> OutputError:
        return OutputError(
            "the output changed while it was uploaded",
            where=self._address.shown,
            found=found,
            hint="another run writes it; look at it first",
        )


def _require_free(store: Store, address: Address, overwrite: bool) -> list[str]:
    """Return the files at an address that may be replaced; raise OutputError unless a folder can come there."""
    if not store.lists:
        raise OutputError("an https address cannot be written to", where=address.shown, hint="s3://, gs:// or hf://")
    if not address.parts:
        raise OutputError(
            "the output is a whole bucket", where=address.shown, hint=f"choose a folder in it: {address.shown}/NAME"
        )
    if address.scheme in BUCKETS and store.look(address._replace(parts=())) is None:
        raise OutputError("the bucket that is to hold the output is not there", where=address.shown)
    found = _files_at(store, address)
    if "" in found:
        raise OutputError(
            "the output is a file", where=address.shown, expected="nothing, or a folder", hint="choose another folder"
        )
    if found and not overwrite:
        raise OutputError(
            "the output exists already",
            where=address.shown,
            found=some(sorted(found)),
            expected="nothing at this URL",
            hint="--overwrite replaces the whole folder",
        )
    return list(found)


def _files_at(store: Store, address: Address) -> dict[str, int | None]:
    return {name: entry.size for name, entry in store.tree(address).items() if name not in OF_THE_STORE}


def _is_record(name: str) -> bool:
    return name.rpartition("/")[2] == RECORD


def _refuse_overlap(out: Address, source: Address) -> None:
    if out.lies_in(source):
        relation = "it is the checkpoint" if out.parts == source.parts else "it lies inside the checkpoint's folder"
    elif source.lies_in(out):
        relation = "the checkpoint lies inside it"
    else:
        return
    raise UsageError(
        "the output and the checkpoint overlap",
        where=out.shown,
        checkpoint=source.shown,
        found=relation,
        hint="choose a folder elsewhere",
    )
