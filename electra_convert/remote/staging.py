"""What is in a store, on the local disk for a while: fetched whole, checked, called by its URL, and removed again.

    temporary folder       stands for s3://bucket
    └── run/vocab.txt      s3://bucket/run/vocab.txt

An object is looked at before and after it is fetched, and must have arrived as long as the store says it is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from electra_convert.errors import CheckpointError, ElectraConvertError, EnvironmentFailure, FolderError, InputError
from electra_convert.hf.files import LARGEST
from electra_convert.holding import at_the_end
from electra_convert.progress import Meter, Progress, no_progress
from electra_convert.remote.stores import Entry, Store
from electra_convert.remote.urls import Address, parse_url

HALVES = ("discriminator", "generator")


@contextlib.contextmanager
def fetched_folder(url: str, *, progress: Progress = no_progress) -> Iterator[Path]:
    """Give the Hugging Face folder at a URL, or the halves in it, on the local disk while the block runs.

    Weights for other frameworks stay where they are. Errors that leave the block call its files by their URLs.

    Raises:
        FolderError: nothing is there.
        CheckpointError: what arrived is not what the store has, or it changed meanwhile.
        EnvironmentFailure: the store cannot be had, or the disk is too small.
    """
    address = parse_url(url)
    with temporary_folder(address) as folder:
        stage = Stage(Store(address), folder, progress)
        stage.place(address).mkdir(parents=True, exist_ok=True)
        stage.bring(_files_of_folder(stage.store, address))
        yield stage.place(address)


@contextlib.contextmanager
def fetched_file(url: str) -> Iterator[Path]:
    """Give the small file at a URL on the local disk while the block runs. Raises InputError."""
    address = parse_url(url)
    with temporary_folder(address) as folder:
        yield _bring_small(Stage(Store(address), folder, no_progress), address)


@contextlib.contextmanager
def temporary_folder(address: Address) -> Iterator[Path]:
    """Give an empty folder for what has its root at `address`; errors that leave the block name the URL instead."""
    # Named before it is made, so that a signal in between leaves nothing.
    folder = Path(tempfile.gettempdir()) / f"electra-convert-{secrets.token_hex(8)}"
    with at_the_end(_remove, folder), _named_by_url(folder, address):
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise EnvironmentFailure(
                "no temporary folder can be made for what is in a store",
                where=str(folder.parent),
                found=error.strerror or str(error),
                hint="set TMPDIR to a folder that can be written",
            ) from error
        yield folder


@contextlib.contextmanager
def _named_by_url(folder: Path, address: Address) -> Iterator[None]:
    try:
        yield
    except ElectraConvertError as error:
        error.rename(f"{folder}{os.sep}", root_of(address))
        error.rename(str(folder), root_of(address))
        raise
    except BrokenPipeError:  # nobody listens to the progress any more
        raise
    except OSError as error:
        where = str(error.filename or address.shown).replace(f"{folder}{os.sep}", root_of(address))
        raise EnvironmentFailure("the system failed", where=where, found=error.strerror or str(error)) from error


def root_of(address: Address) -> str:
    """Return what messages call the root of a store."""
    return address._replace(parts=(), query="").shown


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)


def require_room(folder: Path, nbytes: int) -> None:
    """Raise EnvironmentFailure unless the temporary folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise EnvironmentFailure(
            "not enough space to hold what is in a store",
            where=str(folder.parent),
            found=f"{free:,} bytes free",
            expected=f"{nbytes:,} bytes",
            hint="set TMPDIR to a folder on a larger disk",
        )


class Stage:
    """A folder of the local disk that stands for the root of a store."""

    def __init__(self, store: Store, root: Path, progress: Progress) -> None:
        self.store, self.root = store, root
        self._progress = progress

    def place(self, address: Address) -> Path:
        """Return where an address stands on the local disk."""
        return self.root.joinpath(*address.parts)

    def bring(self, wanted: Sequence[Address]) -> dict[Address, Entry | None]:
        """Fetch objects whole, and return what they were; refuse what arrives short, and what changes meanwhile."""
        before = {each: self.store.look(each) for each in wanted}
        total = sum(entry.size or 0 for entry in before.values() if entry)
        require_room(self.root, total)
        meter = Meter(self._progress, total, "fetching")
        for each, entry in before.items():
            path = self.place(each)
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry is None or not self.store.fetch(each, path, meter.advance):
                raise _changed(each, "no such file any more")
            arrived = path.stat().st_size if path.exists() else 0
            if entry.size is not None and arrived != entry.size:
                raise CheckpointError(
                    "what arrived is not what the store has",
                    where=each.shown,
                    found=f"{arrived:,} bytes",
                    expected=f"{entry.size:,} bytes",
                    hint="try again",
                )
        self.refuse_changed(before)
        return before

    def refuse_changed(self, before: Mapping[Address, Entry | None]) -> None:
        """Raise CheckpointError if an object is no longer what it was."""
        for each, entry in before.items():
            now = self.store.look(each)
            if now != entry:
                raise _changed(each, "no such file any more" if now is None else "another file of the same name")


def _files_of_folder(store: Store, address: Address) -> list[Address]:
    """Return the files of a Hugging Face folder, and of the halves in it, that a proof reads."""
    entries = store.entries(address)
    if entries is None:
        raise FolderError("not a Hugging Face folder", where=address.shown, found="nothing at this URL")
    every = {address.child(name): entry for name, entry in entries.items()}
    for half in HALVES:
        if half in entries and entries[half].is_folder:
            inside = store.entries(address.child(half)) or {}
            every |= {address.child(f"{half}/{name}"): entry for name, entry in inside.items()}
    files = [each for each, entry in every.items() if not entry.is_folder]
    has_safetensors = any(each.name.endswith(".safetensors") for each in files)
    return [each for each in files if _is_of_a_folder(each.name, has_safetensors)]


def _is_of_a_folder(name: str, has_safetensors: bool) -> bool:
    """Return whether a file of a Hugging Face folder is one that a proof reads."""
    if name.startswith("pytorch_model") and name.endswith(".bin"):
        return not has_safetensors
    return name.endswith((".safetensors", ".json", ".txt"))


def _bring_small(stage: Stage, address: Address) -> Path:
    """Fetch a small file, and return where it stands."""
    entry = stage.store.look(address)
    if entry is None or entry.is_folder:
        raise InputError("no file is at this URL", where=address.shown, found="a folder" if entry else "nothing")
    if entry.size is not None and entry.size > LARGEST:
        found, expected = f"{entry.size:,} bytes", f"at most {LARGEST:,} bytes"
        raise InputError("a file is too large", where=address.shown, found=found, expected=expected)
    stage.bring([address])
    return stage.place(address)


def _changed(address: Address, found: str) -> CheckpointError:
    return CheckpointError(
        "a file changed while it was fetched",
        where=address.shown,
        found=found,
        expected="what was there before",
        hint="wait until nothing writes the checkpoint, or convert a copy",
    )
