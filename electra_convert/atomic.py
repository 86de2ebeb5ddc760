"""Publishes a folder in one step: whoever looks finds the old one, the new one or none, never a part.

    .OUT.tmp-PID-HOST…      being written, beside OUT, so that one rename(2) can publish it
    .OUT.old-PID-HOST…      the folder being replaced, for the moment between two renames
    .OUT.lock               held with flock(2) by the run that may replace OUT

A killed run can leave all three. The next run for the same OUT removes what a dead process of this machine left (a
`.old` comes back as OUT if no OUT took its place) and a lock that nobody holds, and touches nothing else.

Where the system exchanges two folders in one step (Linux, renameat2), replacing never leaves a moment without OUT.
Elsewhere two renames do it. Without flock (Windows) two replacing runs are not kept apart: the last one wins, whole;
and leftovers stay, since whether their owner lives cannot be asked there without harm.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from electra_convert.errors import OutputError, UsageError
from electra_convert.holding import at_the_end, held_lock, lock_name, remove_free_lock

# linux/fs.h and fcntl.h: exchange both names in one step; paths are relative to the working directory.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100

# An old kernel, a file system without it, or a security filter that forbids it.
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}


@contextlib.contextmanager
def staged_folder(out: str | os.PathLike[str], *, overwrite: bool = False, needed_bytes: int = 0) -> Iterator[Path]:
    """Give an empty folder to write into, and publish it as `out` when the block ends without an exception.

    `out` may be absent or an empty folder; with `overwrite` any folder, which is replaced as a whole. Everything
    that can be known is checked before the block runs: what `out` is, its parent, and `needed_bytes` of space.

    Raises OutputError if `out` cannot be had or written; it is as it was then. Once the disk has confirmed the rename,
    nothing takes `out` back, whatever happens then.
    """
    shown = os.fspath(out)
    target = _absolute(shown)
    _clear_leftovers(target)
    check_target(out, overwrite=overwrite, needed_bytes=needed_bytes)
    with held_lock(lock_name(target), shown) if overwrite else contextlib.nullcontext():
        staging = _staging_name(target)
        with at_the_end(_remove_own, staging, target):
            _create(staging, shown)
            yield staging
            _sync_tree(staging)
            _publish(staging, target, shown, overwrite)


def check_target(out: str | os.PathLike[str], *, overwrite: bool = False, needed_bytes: int = 0) -> None:
    """Raise OutputError if `out` cannot be published, as far as can be known without writing."""
    shown = os.fspath(out)
    target = _absolute(shown)
    _require_parent(target, shown)
    _require_free(target, shown, overwrite)
    _require_space(target.parent, shown, needed_bytes)


def write_failure(path: str | os.PathLike[str], error: OSError, needed_bytes: int | None = None) -> OutputError:
    """Return the refusal to raise when the system did not take what was written to `path`."""
    if error.errno not in _FULL:
        return OutputError(
            "the output cannot be written",
            where=os.fspath(path),
            found=_reason(error),
            hint="check the disk, or write to another folder",
        )
    free = _free_bytes(Path(path).parent)
    return OutputError(
        "no space left for the output",
        where=os.fspath(path),
        found=_reason(error) if free is None else f"{free} bytes free ({_reason(error)})",
        expected=None if needed_bytes is None else f"{needed_bytes} bytes for this file",
        hint="free some space, raise the limit, or write to another disk",
    )


def refuse_overlap(
    out: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]], *, what: str = "checkpoint"
) -> None:
    """Raise UsageError if `out` is one of the `sources`, lies inside one or holds one; `what` is what they are called.

    Folders are compared by device and inode, so that links and names that differ in case hide nothing.
    """
    shown = os.fspath(out)
    own = _identity(shown)
    around_out = {_identity(path) for path in _lineage(os.path.realpath(shown))}
    for given in sources:
        source = os.fspath(given)
        identity = _identity(source)
        if identity is None:
            continue
        # A link to a file elsewhere still lies where the link stands.
        around_source = {_identity(path) for start in _both_paths(source) for path in _lineage(start)}
        if own == identity:
            relation = f"it is the {what}"
        elif identity in around_out:
            relation = f"it lies inside the {what}"
        elif own is not None and own in around_source:
            relation = f"the {what} lies inside it"
        else:
            continue
        raise UsageError(
            f"the output and the {what} overlap",
            where=shown,
            **{what: source},
            found=relation,
            hint="choose a folder elsewhere",
        )


def _absolute(shown: str) -> Path:
    """Return the path without links above its last name; a link at the last name stays visible."""
    path = Path(shown)
    if path.name in {"", ".."}:
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def _lineage(path: str) -> list[Path]:
    return [Path(path), *Path(path).parents]


def _both_paths(path: str) -> tuple[str, str]:
    return os.path.realpath(path), os.fspath(_absolute(path))


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _require_parent(target: Path, shown: str) -> None:
    try:
        mode = os.stat(target.parent).st_mode
    except OSError as error:
        hint = "create it first" if isinstance(error, FileNotFoundError) else None
        raise OutputError(
            "the folder that is to hold the output is not there", where=shown, found=_reason(error), hint=hint
        ) from error
    if not stat.S_ISDIR(mode):
        raise OutputError("the output's parent is no folder", where=shown, found=f"a file at {target.parent.name}")


def _require_free(target: Path, shown: str, overwrite: bool) -> None:
    """Raise OutputError unless a folder may be renamed to `target`."""
    try:
        mode = os.lstat(target).st_mode
        if stat.S_ISLNK(mode) or not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a file"
            raise OutputError(
                f"the output is {kind}", where=shown, expected="no such path, or a folder", hint="choose another folder"
            )
        count = len(os.listdir(target))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError("the output cannot be looked at", where=shown, found=_reason(error)) from error
    if os.path.ismount(target):
        raise OutputError(
            "the output is a mount point, which cannot be replaced in one step",
            where=shown,
            hint="choose a folder inside it",
        )
    if count and not overwrite:
        raise OutputError(
            "the output exists already",
            where=shown,
            found=f"a folder with {count} {'entry' if count == 1 else 'entries'}",
            expected="no such path, or an empty folder",
            hint="--overwrite replaces the whole folder",
        )


def _require_space(folder: Path, shown: str, needed_bytes: int) -> None:
    free = _free_bytes(folder)
    if free is not None and free < needed_bytes:
        raise OutputError(
            "not enough space for the output",
            where=shown,
            found=f"{free} bytes free",
            expected=f"{needed_bytes} bytes",
            hint="free some space or write to another disk",
        )


def _free_bytes(folder: Path) -> int | None:
    """Return how much can still be written there; None if the system does not tell."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _owner() -> str:
    """Return `PID-HOST`; another machine or container that sees the same folder has another HOST."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    nodename = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return f"{os.getpid()}-{zlib.crc32(f'{nodename} {namespace}'.encode(errors='surrogateescape')):08x}"


def _staging_name(target: Path) -> Path:
    while True:
        staging = target.with_name(f".{target.name}.tmp-{_owner()}{os.urandom(4).hex()}")
        if not os.path.lexists(staging):
            return staging


def _aside_name(staging: Path, target: Path) -> Path:
    return staging.with_name(staging.name.replace(f".{target.name}.tmp-", f".{target.name}.old-", 1))


def _create(staging: Path, shown: str) -> None:
    try:
        # Not tempfile.mkdtemp: its folders are closed to other users, and this one will be OUT.
        staging.mkdir()
    except OSError as error:
        raise OutputError(
            "nothing can be created where the output is to stand",
            where=shown,
            found=_reason(error),
            hint="check the permissions of its parent, or choose another folder",
        ) from error


def _remove_own(staging: Path, target: Path) -> None:
    """Remove what this run made: the unfinished folder or the replaced one; bring back one that was not replaced."""
    aside = _aside_name(staging, target)
    if os.path.lexists(aside) and not os.path.lexists(target):
        with contextlib.suppress(OSError):
            os.rename(aside, target)
    else:
        _remove_tree(aside)
    _remove_tree(staging)


def _remove_tree(folder: Path) -> None:
    # `ignore_errors` lets a folder that does not close well pass.
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)


def clear_leftovers(out: str | os.PathLike[str]) -> None:
    """Remove what dead runs left beside `out`; bring back a folder that one had moved aside."""
    _clear_leftovers(_absolute(os.fspath(out)))


def _clear_leftovers(target: Path) -> None:
    if sys.platform == "win32":
        return
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(tmp|old)-(\d{{1,10}})-([0-9a-f]{{8}})[0-9a-f]{{8}}")
    host = _owner().partition("-")[2]
    remove_free_lock(lock_name(target))
    with contextlib.suppress(OSError):
        # `.old` sorts before `.tmp`, so nothing is removed before what was there is back.
        for name in sorted(os.listdir(target.parent)):
            match = pattern.fullmatch(name)
            path = target.parent / name
            if not match or match[3] != host or path.is_symlink() or not path.is_dir() or _is_alive(int(match[2])):
                continue
            if match[1] == "old" and not os.path.lexists(target):
                os.rename(path, target)
            else:
                _remove_tree(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Return whether a process is only there until somebody asks how it ended: in many containers nobody ever does."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # After the name, which is in parentheses and may hold any character.
            return file.read().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except OSError:
        return False


def _sync_tree(folder: Path) -> None:
    """Bring every file below `folder`, and the folders' own entries, to the disk; raise OutputError if it fails."""
    for parent, _, names in os.walk(folder, topdown=False):
        for path in [*(Path(parent, name) for name in names), Path(parent)]:
            try:
                _sync(path)
            except OSError as error:
                raise write_failure(path, error) from error


def _sync(path: Path) -> None:
    if sys.platform == "win32":
        # Windows syncs through a writable handle, and folders not at all.
        if path.is_file():
            with open(path, "r+b") as file:
                os.fsync(file.fileno())
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(staging: Path, target: Path, shown: str, overwrite: bool) -> None:
    # The block may have taken an hour, in which something else could have come to stand there.
    _require_free(target, shown, overwrite)
    try:
        exchanged = _put_in_place(staging, target, overwrite)
        try:
            _sync(target.parent)
        except OSError:
            # Whether the new name would outlive a power failure is not known, so OUT becomes what it was.
            if not (exchanged and _exchange(staging, target)):
                os.rename(target, staging)
            raise
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise OutputError(
                "the output came to exist during the run", where=shown, hint="another run wrote it; look at it first"
            ) from error
        raise write_failure(shown, error) from error


def _put_in_place(staging: Path, target: Path, overwrite: bool) -> bool:
    """Rename `staging` to `target`; return whether the two were exchanged in one step."""
    if overwrite and os.path.lexists(target):
        if _exchange(staging, target):
            return True
        # `_remove_own` brings it back if the next rename fails.
        os.rename(target, _aside_name(staging, target))
    _rename_onto_nothing(staging, target)
    return False


def _rename_onto_nothing(staging: Path, target: Path) -> None:
    """Rename to `target`, which is absent or an empty folder; POSIX replaces an empty folder, Windows does not."""
    if sys.platform == "win32":
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(target)
    os.rename(staging, target)


def _exchange(staging: Path, target: Path) -> bool:
    """Exchange both folders in one step; return False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        # No such function in the C library; Windows has no handle for None either.
        return False
    paths = os.fsencode(staging), os.fsencode(target)
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), os.fspath(target))
