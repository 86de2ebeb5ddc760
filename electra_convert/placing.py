"""Where a folder stands or comes to stand: on this machine, or in a store.

On this machine a folder is published by one rename (`atomic.py`), in a store by uploads (`remote/uploading.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from electra_convert.atomic import check_target, refuse_overlap, staged_folder
from electra_convert.options import Options, StrPath
from electra_convert.progress import Progress, no_progress
from electra_convert.remote.urls import is_remote, without_file_scheme

# The options that name a file.
FILES = ("hparams", "config", "vocab", "labels")


def check_place(out: StrPath, sources: Sequence[StrPath], *, overwrite: bool) -> None:
    """Refuse a place that an output cannot have, as far as can be known without writing.

    Args:
        out: a path or a URL.
        sources: what the output must not touch: paths, and the URL of a checkpoint.
        overwrite: whether what stands there is to be replaced.

    Raises:
        UsageError: it is one of the sources, lies inside one or holds one.
        OutputError: something stands there, or nothing can.
        EnvironmentFailure: the store cannot be had.
    """
    place = without_file_scheme(out)
    if is_remote(place):
        from electra_convert.remote.uploading import check_url

        check_url(place, [source for source in sources if isinstance(source, str)], overwrite=overwrite)
        return
    refuse_overlap(place, [without_file_scheme(source) for source in sources])
    check_target(place, overwrite=overwrite)


@contextmanager
def placed(out: StrPath, *, overwrite: bool, needed_bytes: int, progress: Progress = no_progress) -> Iterator[Path]:
    """Give an empty folder to write into; when the block ends without an exception it comes to stand at `out`.

    Raises as `check_place` does; nothing new stands at `out` then.
    """
    place = without_file_scheme(out)
    if is_remote(place):
        from electra_convert.remote.uploading import uploaded_folder

        with uploaded_folder(place, overwrite=overwrite, needed_bytes=needed_bytes, progress=progress) as folder:
            yield folder
        return
    with staged_folder(place, overwrite=overwrite, needed_bytes=needed_bytes) as folder:
        yield folder


@contextmanager
def at_hand(folder: StrPath, progress: Progress = no_progress) -> Iterator[Path]:
    """Give a Hugging Face folder as one of this machine; one in a store is fetched while the block runs.

    Raises FolderError if a URL holds nothing, EnvironmentFailure if its store cannot be had.
    """
    place = without_file_scheme(folder)
    if not is_remote(place):
        yield Path(place)
        return
    from electra_convert.remote.staging import fetched_folder

    with fetched_folder(place, progress=progress) as fetched:
        yield fetched


@contextmanager
def options_at_hand(options: Options) -> Iterator[Options]:
    """Give the options with every file that a URL names fetched, while the block runs. Raises InputError."""
    urls = {name: value for name in FILES if is_remote(value := getattr(options, name))}
    if not urls:
        yield options
        return
    from electra_convert.remote.staging import fetched_file

    with ExitStack() as stack:
        local: dict[str, Any] = {name: stack.enter_context(fetched_file(url)) for name, url in urls.items()}
        yield replace(options, **local)


def below(out: StrPath, name: str) -> str:
    """Return the path, or the URL, of `name` in an output; of the output itself where there is no name.

    >>> below("s3://bucket/out", "generator")
    's3://bucket/out/generator'
    """
    if is_remote(out):
        return f"{out.rstrip('/')}/{name}" if name else out
    return os.fspath(Path(out, name)) if name else os.fspath(Path(out))
