"""Gives every verb an open checkpoint, from a path or from one that is open already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from electra_convert.errors import CheckpointError, EnvironmentFailure
from electra_convert.options import Reader, StrPath
from electra_convert.progress import Progress, no_progress
from electra_convert.remote.urls import is_remote, without_file_scheme

if TYPE_CHECKING:
    from electra_convert.remote.checkpoint import Wanted
    from electra_convert.tf1.checkpoint import Checkpoint


@contextmanager
def opened(
    checkpoint: StrPath | Checkpoint,
    reader: Reader = "auto",
    *,
    data: Literal["required", "optional"] = "required",
    fetch: bool = True,
    progress: Progress = no_progress,
) -> Iterator[Checkpoint]:
    """Give an open checkpoint; one that was opened here is closed again.

    A checkpoint at a URL is fetched while the block runs; its data files only with `fetch`: without them names, shapes
    and `source_files()` are known, and `data` must be "optional".

    Raises EnvironmentFailure for what the system refuses while the block runs and nobody nearer has found words for.
    """
    if not isinstance(checkpoint, (str, os.PathLike)):
        yield checkpoint
        return
    checkpoint = without_file_scheme(checkpoint)
    if is_remote(checkpoint):
        from electra_convert.remote.checkpoint import fetched
        from electra_convert.tf1.checkpoint import open_source

        # TensorFlow's reader wants every file.
        wanted: Wanted = "data" if fetch or reader == "tensorflow" else "names"
        with (
            fetched(checkpoint, wanted=wanted, progress=progress) as found,
            open_source(found, reader=reader, data=data) as own,
        ):
            yield own
        return
    from electra_convert.tf1.checkpoint import open_checkpoint

    try:
        try:
            own = open_checkpoint(checkpoint, reader=reader, data=data)
        except FileNotFoundError as error:
            raise CheckpointError(
                "a file of the checkpoint changed during the run",
                where=os.fspath(checkpoint) if error.filename is None else str(error.filename),
                found="no such file any more",
                hint="wait until nothing writes the checkpoint, or convert a copy",
            ) from error
        with own:
            yield own
    except BrokenPipeError:  # nobody listens to the progress any more
        raise
    except OSError as error:
        where = os.fspath(checkpoint) if error.filename is None else str(error.filename)
        raise EnvironmentFailure("the system failed", where=where, found=error.strerror or str(error)) from error
