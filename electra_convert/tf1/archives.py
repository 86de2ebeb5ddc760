"""Reads archives as models are published in them: zip, and tar as it is or under gzip, bzip2 or xz.

    Archive.members   path in the archive -> bytes that it declares, in the archive's order; all checked on opening
    Archive.chunks    one member as a stream
    Archive.unpack    some members into one folder, under their base names

Nothing is unpacked before the whole listing has been found harmless, and no path of the archive ever becomes a path
outside the folder: `extractall` of neither library is used. An archive is refused for an entry that climbs out, is
absolute, a link or a device, is encrypted or there twice; for more entries or more bytes than a model has; and for
damage, which the archive's own checksums tell.
"""

from __future__ import annotations

import bz2
import copy
import errno
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NoReturn

from electra_convert.errors import CheckpointError, EnvironmentFailure
from electra_convert.tf1.archive_kinds import Kind

MOST_ENTRIES = 100_000
MOST_BYTES = 64 << 30
"""What may be unpacked: ten times a large model with its optimizer state, in float64."""

# Above the first, nothing that trained weights compress to is smaller by more than the second.
UNSUSPICIOUS_BYTES = 64 << 20
LARGEST_RATIO = 200

CHUNK = 1 << 20

# A zip's library reads the listing in one piece, and makes an object of ten times its size of it, before anything can
# be counted. Entries take 46 bytes and their names.
LARGEST_LISTING = 8 << 20

# What the libraries raise for damaged input; some of it they leave to struct, to int() and to their own recursion.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
)

_Decompressed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | BinaryIO


def open_archive(path: Path, kind: Kind) -> Archive:
    """Open an archive and check every entry of it.

    Raises CheckpointError for damage and for whatever the module's first lines name.
    """
    return _ZipArchive(path) if kind == "zip" else _TarArchive(path, kind)


class Archive(ABC):
    """An open archive whose entries are all harmless; close it, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members: dict[str, int] = {}
        self._files = ExitStack()
        self._entries = 0

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def chunks(self, member: str) -> Iterator[bytes]:
        """Yield a member in pieces; raise CheckpointError if it is damaged, or not as long as it declares."""
        where, declared, found = f"{self.path}:{member}", self.members[member], 0
        with ExitStack() as stack:
            with self._reading(where):
                stream = stack.enter_context(self._open(member))
            while True:
                with self._reading(where):
                    chunk = stream.read(CHUNK)
                found += len(chunk)
                if found > declared or (not chunk and found < declared):
                    raise CheckpointError(
                        "a file in the archive has another length than it declares",
                        where=where,
                        found=f"{found:,} bytes" + (" or more" if found > declared else ""),
                        expected=f"{declared:,} bytes",
                        hint="download the archive again",
                    )
                if not chunk:
                    return
                yield chunk

    def read(self, member: str, most: int) -> bytes:
        """Return the first `most` bytes of a member."""
        data = b""
        for chunk in self.chunks(member):
            data += chunk
            if len(data) >= most:
                break
        return data[:most]

    def tail(self, member: str, size: int) -> bytes:
        """Return the last bytes of a member, reading all of it."""
        data = b""
        for chunk in self.chunks(member):
            data = (data + chunk)[-size:]
        return data

    def unpack(self, wanted: Collection[str], folder: Path) -> None:
        """Write members into an existing folder, under their base names, reading the archive once from front to back.

        Raises CheckpointError for more than 64 GiB, EnvironmentFailure where the disk is too small.
        """
        total = sum(self.members[member] for member in wanted)
        if total > MOST_BYTES:
            self.refuse(f"{total:,} bytes to unpack", f"at most {MOST_BYTES:,} bytes")
        free = shutil.disk_usage(folder).free
        if total > free:
            raise EnvironmentFailure(
                "not enough space to unpack the archive",
                where=str(folder.parent),
                found=f"{free:,} bytes free",
                expected=f"{total:,} bytes",
                hint="set TMPDIR to a folder on a larger disk, or unpack the archive yourself",
            )
        for member in self.members:
            if member not in wanted:
                continue
            target = folder / member.rpartition("/")[2]
            try:
                with open(target, "xb") as file:
                    for chunk in self.chunks(member):
                        file.write(chunk)
            except OSError as error:
                raise EnvironmentFailure(
                    "the archive cannot be unpacked", where=str(target), found=error.strerror or str(error)
                ) from error

    @abstractmethod
    def _open(self, member: str) -> IO[bytes]: ...

    def _add(self, name: str, size: int, packed: int, refusal: str | None, is_folder: bool) -> str:
        """Check an entry, note it if it is a file, and return its path in normal form."""
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            self.refuse(f"more than {MOST_ENTRIES:,} entries", f"at most {MOST_ENTRIES:,}, to be sure")
        member = "/".join(part for part in name.split("/") if part not in ("", "."))
        refusal = refusal or _find_fault(name)
        if refusal is None and not is_folder and member in self.members:
            refusal = "the same name a second time"
        if refusal is not None:
            self.refuse(refusal, "plain files and folders with relative names, each once", name)
        if size > max(UNSUSPICIOUS_BYTES, LARGEST_RATIO * packed):
            self.refuse(
                f"{size:,} bytes packed into {packed:,}",
                f"at most {LARGEST_RATIO} times as many: weights do not compress further",
                name,
            )
        if not is_folder:
            self.members[member] = size
        return member

    def refuse(self, found: str, expected: str, entry: str | None = None) -> NoReturn:
        """Raise the error for what is whole, but not to be unpacked."""
        raise CheckpointError(
            "the archive holds what is not unpacked here",
            where=str(self.path) if entry is None else f"{self.path}:{entry}",
            found=found,
            expected=expected,
            hint="unpack it yourself if you trust it, and pass the folder",
        )

    @contextmanager
    def _reading(self, where: str) -> Iterator[None]:
        """Turn what the libraries raise for damaged input into one error."""
        try:
            yield
        except OSError as error:
            # An offset before the file's beginning, which only damage makes, is an invalid argument.
            if error.errno not in (None, errno.EINVAL):
                found = error.strerror or str(error)
                raise EnvironmentFailure("the archive cannot be read", where=where, found=found) from error
            raise _damaged(where, error) from error
        except _DAMAGE as error:
            raise _damaged(where, error) from error


class _ZipArchive(Archive):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        with self._files:
            with self._reading(str(path)):
                file = self._files.enter_context(_ZipFile(io.FileIO(path)))
                self._zip = self._files.enter_context(zipfile.ZipFile(file))
            for info in self._zip.infolist():
                # `filename` is cut at a NUL and has backslashes turned; `orig_filename` is what is stored.
                refusal = _find_zip_fault(info)
                is_folder = info.orig_filename.endswith("/")
                member = self._add(info.orig_filename, info.file_size, info.compress_size, refusal, is_folder)
                self._infos[member] = info
            self._files = self._files.pop_all()

    def _open(self, member: str) -> IO[bytes]:
        # The library stops reading at the declared length; with one byte more allowed, a longer member shows.
        info = copy.copy(self._infos[member])
        info.file_size += 1
        return self._zip.open(info)


class _ZipFile(io.BufferedReader):
    """The file of a zip; refuses the read of a listing that is larger than that of any model."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > LARGEST_LISTING:
            raise zipfile.BadZipFile(f"a listing of {size:,} bytes")
        return super().read(size)


class _TarArchive(Archive):
    def __init__(self, path: Path, kind: Kind) -> None:
        super().__init__(path)
        self._infos: dict[str, tarfile.TarInfo] = {}
        packed = path.stat().st_size
        with self._files:
            with self._reading(str(path)):
                file = _decompress(path, kind)
                self._files.enter_context(file)
                stream = _Bounded(file, self, packed)
                self._tar = self._files.enter_context(
                    tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
                )
            while True:
                with self._reading(str(path)):
                    info = self._tar.next()
                if info is None:
                    break
                member = self._add(info.name, info.size, packed, _find_tar_fault(info), info.isdir())
                self._infos[member] = info
            with self._reading(str(path)):
                stream.drain()
            self._files = self._files.pop_all()

    def _open(self, member: str) -> IO[bytes]:
        stream = self._tar.extractfile(self._infos[member])
        assert stream is not None  # it is a regular file
        return stream


class _Bounded:
    """The bytes of a tar after decompression; stops bombs where tarfile would read or skip whatever a header says."""

    def __init__(self, file: _Decompressed, archive: Archive, packed: int) -> None:
        self._file, self._archive = file, archive
        self._packed = packed
        self._most = max(UNSUSPICIOUS_BYTES, LARGEST_RATIO * packed)

    def read(self, size: int) -> bytes:
        # Long names and pax headers are read in one piece, however long they claim to be.
        if size > CHUNK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self._check(self._file.tell() + size)
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        self._check(offset)
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def drain(self) -> None:
        """Read to the end: gzip and xz keep their checksums there."""
        while self.read(CHUNK):
            pass

    def _check(self, offset: int) -> None:
        if offset > self._most + CHUNK:
            self._archive.refuse(
                f"more than {self._most:,} bytes packed into {self._packed:,}",
                f"at most {LARGEST_RATIO} times as many: weights do not compress further",
            )


def _decompress(path: Path, kind: Kind) -> _Decompressed:
    if kind == "tar.gz":
        return gzip.open(path)
    if kind == "tar.bz2":
        return bz2.open(path)
    if kind == "tar.xz":
        return lzma.open(path)
    return open(path, "rb")


def _find_fault(name: str) -> str | None:
    parts = name.split("/")
    if not name:
        return "a file without a name"
    if "\0" in name:
        return "a name with a NUL in it"
    if "\\" in name:
        return "a name with a backslash, which is a path on Windows"
    if name.startswith("/"):
        return "an absolute path"
    if ".." in parts:
        return "a path that climbs out of its folder"
    if any(re.match("[A-Za-z]:", part) for part in parts):
        return "a name with a drive letter"
    return None


def _find_zip_fault(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 0x1:
        return "an encrypted file"
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the packer knows no Unix modes
    if kind in (0, stat.S_IFREG, stat.S_IFDIR):
        return None
    return "a symbolic link" if kind == stat.S_IFLNK else "a device, a pipe or the like"


def _find_tar_fault(info: tarfile.TarInfo) -> str | None:
    if info.isreg() or info.isdir():
        return None
    if info.issym():
        return "a symbolic link"
    return "a hard link" if info.islnk() else "a device, a pipe or the like"


def _damaged(where: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        "the archive is damaged, or packed in a way that is not read here",
        where=where,
        found=getattr(error, "strerror", None) or str(error) or type(error).__name__,
        expected="an archive that unpacks without errors",
        hint="download it again, or unpack it yourself and pass the folder",
    )
