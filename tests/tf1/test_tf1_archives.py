"""Archives: as they are published, as they break, and as somebody may have made them on purpose."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import google
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_convert.errors import CheckpointError, ElectraConvertError, EnvironmentFailure, NotACheckpoint
from electra_convert.tf1 import archives
from electra_convert.tf1.sources import find_source

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where temporary folders go; it must be empty again after every test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []
    assert sorted(entry.name for entry in tmp_path.parent.glob("evil*")) == []


def model(folder: str = "electra_tiny/", prefix: str = "electra_tiny", state: bool = True) -> Files:
    """Return the files of a checkpoint under a folder of an archive."""
    files = {
        folder + file.name.replace("electra_tiny", prefix): file.read_bytes()
        for file in google("no_meta").glob("electra_tiny.*")
    }
    if state:
        files[f"{folder}checkpoint"] = f'model_checkpoint_path: "{prefix}"\n'.encode()
    return files


def pack_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, files: Files, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


PACK = [pytest.param(pack_zip, id="zip"), pytest.param(pack_tar, id="tar")]
Pack = Callable[[Path, Files], Path]


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_source(path)
    return str(caught.value)


def name_of(path: Path) -> str:
    with find_source(path) as found:
        return found.source.shown.removeprefix(f"{path}:")


# What is read


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("file", ["a.tar.gz", "a.tar", "a.tgz", "a"])
def test_every_tar_is_known_by_its_bytes_whatever_it_is_called(tmp_path, mode, file) -> None:
    assert name_of(pack_tar(tmp_path / file, model(), mode)) == "electra_tiny/electra_tiny"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read_with_long_names(tmp_path, form) -> None:
    folder, prefix = "f" * 80, "x" * 60
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for name, content in model(f"./{folder}/", prefix).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert name_of(tmp_path / "a.tar") == f"{folder}/{prefix}"


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("folder", ["", "a/", "./", "./a/", "a//"])
def test_a_checkpoint_at_the_top_or_one_folder_down_is_found(tmp_path, pack, folder) -> None:
    assert name_of(pack(tmp_path / "x", model(folder))).endswith("electra_tiny")
    assert name_of(pack(tmp_path / "x", model(folder, state=False))).endswith("electra_tiny")


@pytest.mark.parametrize("pack", PACK)
def test_v1_checkpoints_are_found_by_their_magic(tmp_path, pack) -> None:
    files = {f"m/{file.name}": file.read_bytes() for file in google("v1_sharded").glob("model.ckpt*")}
    with find_source(pack(tmp_path / "x", {"m/notes": b"n" * 99, **files})) as found:
        assert found.source.name == "model.ckpt-40"
        assert [file.read_bytes() for file in found.source.files] == [files[name] for name in sorted(files)]
    files.popitem()
    assert "shards of the checkpoint are missing" in refusal(pack(tmp_path / "x", files))


@pytest.mark.parametrize("pack", PACK)
def test_only_the_chosen_checkpoint_is_unpacked(tmp_path, pack) -> None:
    files = {**model(prefix="m-30", state=False), **model(prefix="m-40"), "electra_tiny/m-40.meta": b"graph"}
    files |= {"electra_tiny/vocab.txt": b"[PAD]\n", "electra_tiny/big": bytes(999), "electra_tiny/m-40.bak": b"b"}
    with find_source(pack(tmp_path / "x", files)) as found:
        assert sorted(file.name for file in found.source.folder.iterdir()) == [
            "checkpoint",
            "m-40.data-00000-of-00001",
            "m-40.index",
            "m-40.meta",
            "vocab.txt",
        ]
        assert found.source.meta is not None


@pytest.mark.parametrize("pack", PACK)
def test_a_path_of_another_machine_stays_inside_the_archive(tmp_path, pack) -> None:
    outside = google("no_meta") / "electra_tiny"  # exists on this machine, and must not be looked at
    files = {**model(), "electra_tiny/checkpoint": f'model_checkpoint_path: "{outside.as_posix()}"'.encode()}
    with find_source(pack(tmp_path / "x", files)) as found:
        assert [notice.code for notice in found.source.notices] == ["checkpoint-path"]
    files["electra_tiny/checkpoint"] = b'model_checkpoint_path: "../electra_tiny"'
    assert "points outside the folder" in refusal(pack(tmp_path / "x", files))


@pytest.mark.parametrize("pack", PACK)
def test_what_macos_adds_is_left_alone(tmp_path, pack) -> None:
    files = {**model(state=False), "__MACOSX/._electra_tiny.index": b"m", "electra_tiny/._electra_tiny.index": b"m"}
    assert name_of(pack(tmp_path / "x", files)) == "electra_tiny/electra_tiny"


# Several and none


@pytest.mark.parametrize("pack", PACK)
def test_several_checkpoints_are_refused_and_listed(tmp_path, pack) -> None:
    for second in (model("b/", state=False), model("a/", "m-7", state=False)):
        message = refusal(pack(tmp_path / "x", {**model("a/", state=False), **second}))
        assert "several checkpoints" in message
        assert "a/electra_tiny" in message
        assert "hint: unpack the archive" in message
    assert "several checkpoints" in refusal(pack(tmp_path / "x", {**model("a/"), **model("b/")}))


@pytest.mark.parametrize("pack", PACK)
def test_a_checkpoint_file_decides_between_several(tmp_path, pack) -> None:
    files = {**model("a/", state=False), **model("b/"), **model("b/", "m-7", state=False)}
    assert name_of(pack(tmp_path / "x", files)) == "b/electra_tiny"


@pytest.mark.parametrize("pack", PACK)
def test_an_archive_without_a_checkpoint_says_what_it_holds(tmp_path, pack) -> None:
    assert "a/b/electra_tiny.index" in refusal(pack(tmp_path / "x", model("a/b/")))
    assert "the archive in it" in refusal(pack(tmp_path / "x", {"inner.tar.gz": b"x"}))
    assert "0 files" in refusal(pack(tmp_path / "x", {}))
    assert "PyTorch" in refusal(pack(tmp_path / "x", {"archive/data.pkl": b"x"}))
    assert "SavedModel" in refusal(pack(tmp_path / "x", {"m/saved_model.pb": b"x"}))


# Hostile entries


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../evil", "climbs out"),
        ("a/../../evil", "climbs out"),
        ("/evil", "absolute"),
        ("C:/evil", "drive letter"),
        ("a/C:evil", "drive letter"),
        ("a\\..\\evil", "backslash"),
        ("electra_tiny/electra_tiny.index", "a second time"),
        ("./electra_tiny//electra_tiny.index", "a second time"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_dangerous_name_refuses_the_whole_archive(tmp_path, pack, name, found) -> None:
    entries = [*model().items(), (name, b"evil")]
    path = tmp_path / "x"
    if pack is pack_zip:
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in entries:
                archive.writestr(entry, content)
    else:
        with tarfile.open(path, "w") as archive:
            for entry, content in entries:
                info = tarfile.TarInfo(entry)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    message = refusal(path)
    assert found in message
    assert f"{path}:{name}" in message


def test_a_nul_in_a_name_is_refused(tmp_path) -> None:
    path = pack_zip(tmp_path / "x.zip", {**model(), "evilXtxt": b"e"})
    path.write_bytes(path.read_bytes().replace(b"evilXtxt", b"evil\0txt"))
    assert "NUL" in refusal(path)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"path": "evil\0txt"}
        archive.addfile(info)
    assert "NUL" in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.FIFOTYPE, "pipe"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, found) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("electra_tiny/vocab.txt")
        info.type, info.linkname = kind, "../../evil"
        archive.addfile(info)
    assert found in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("mode", "found"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "pipe"), (stat.S_IFCHR, "device")]
)
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode, found) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("electra_tiny/vocab.txt")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "../../evil")
    assert found in refusal(tmp_path / "x.zip")


def test_an_encrypted_zip_is_refused(tmp_path) -> None:
    path = pack_zip(tmp_path / "x.zip", model())
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path)


# Bombs


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path) -> None:
    files = {**model(), "electra_tiny/electra_tiny.data-00000-of-00001": bytes(archives.UNSUSPICIOUS_BYTES + 1)}
    assert "weights do not compress further" in refusal(pack_zip(tmp_path / "x.zip", files))


def test_a_tar_bomb_is_refused_before_it_is_unpacked(tmp_path) -> None:
    path = tmp_path / "x.tar.gz"
    header = tarfile.TarInfo("electra_tiny/electra_tiny.index")
    header.size = 1 << 40
    path.write_bytes(gzip.compress(header.tobuf() + bytes(1 << 20)))
    assert "weights do not compress further" in refusal(path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_zeros_behind_the_end_of_a_tar_are_a_bomb_too(tmp_path, compress, monkeypatch) -> None:
    monkeypatch.setattr(archives, "UNSUSPICIOUS_BYTES", 1 << 20)
    path = tmp_path / "x"
    tar = pack_tar(tmp_path / "y", model(), "w").read_bytes()
    for before, zeros in ((b"", 4 << 20), (tar, 50 << 20)):
        path.write_bytes(compress(before + bytes(zeros)))
        assert "packed into" in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path, kind) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 1 << 35
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "damaged" in refusal(tmp_path / "x.tar")


def test_a_chain_of_headers_is_refused(tmp_path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 512
    (tmp_path / "x.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"n".ljust(512, b"\0")) * 3000)
    assert "damaged" in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize("pack", PACK)
def test_too_many_entries_are_refused(tmp_path, pack, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MOST_ENTRIES", 5)
    assert "more than 5 entries" in refusal(pack(tmp_path / "x", {**model(), "a": b"", "b": b"", "c": b""}))


@pytest.mark.parametrize("pack", PACK)
def test_more_than_64_gib_is_refused(tmp_path, pack, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    assert "bytes to unpack" in refusal(pack(tmp_path / "x", model()))


@pytest.mark.parametrize("pack", PACK)
def test_a_full_disk_is_the_environments_fault(tmp_path, pack, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EnvironmentFailure, match="not enough space"):
        find_source(pack(tmp_path / "x", model()))


def test_a_temporary_folder_that_cannot_be_made_is_the_environments_fault(tmp_path, monkeypatch) -> None:
    path = pack_zip(tmp_path / "x", model())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EnvironmentFailure, match="TMPDIR"):
        find_source(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_member_longer_than_it_declares_is_refused(tmp_path, method) -> None:
    content = b"model_checkpoint_path: 'electra_tiny'  "
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("checkpoint", content)
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        begin = data.index(magic) + at
        struct.pack_into("<I", data, begin, zipfile.crc32(content[:-2]))  # a checksum that fits what is declared
        struct.pack_into("<I", data, begin + 8, len(content) - 2)
    path.write_bytes(data)
    message = refusal(path)
    assert "another length than it declares" in message or "damaged" in message


# Damage


@pytest.mark.parametrize("pack", PACK)
def test_an_archive_cut_anywhere_is_refused(tmp_path, pack) -> None:
    data = pack(tmp_path / "x", model()).read_bytes()
    cut = tmp_path / "cut"
    for size in [*random.Random(1).sample(range(4, len(data)), 60), len(data) - 1]:
        cut.write_bytes(data[:size])
        refusal(cut)


@pytest.mark.parametrize("pack", [*PACK, pytest.param(lambda path, files: pack_tar(path, files, "w:xz"), id="xz")])
def test_a_flipped_byte_in_the_weights_is_refused_by_the_archives_own_checksum(tmp_path, pack) -> None:
    data = bytearray(pack(tmp_path / "x", model()).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "x").write_bytes(data)
    assert "damaged" in refusal(tmp_path / "x")


def test_a_gzip_that_is_no_tar_is_refused(tmp_path) -> None:
    (tmp_path / "model.ckpt.gz").write_bytes(gzip.compress(b"weights" * 1000))
    assert "packed in a way that is not read here" in refusal(tmp_path / "model.ckpt.gz")


def test_an_archive_in_name_only_is_refused(tmp_path) -> None:
    (tmp_path / "x.zip").write_bytes(b"neither" * 200)
    with pytest.raises(NotACheckpoint, match="no archive, though its name says so"):
        find_source(tmp_path / "x.zip")


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("pack", [*PACK, pytest.param(lambda path, files: pack_tar(path, files, "w"), id="plain-tar")])
@FUZZ
@given(st.data())
def test_bytes_changed_at_random_are_refused_or_harmless(tmp_path, pack, data) -> None:
    whole = tmp_path / "whole"
    content = bytearray((whole if whole.exists() else pack(whole, model())).read_bytes())
    heads = [at for at in range(len(content) - 4) if content[at : at + 2] == b"PK"] or [0, 512, len(content) - 600]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(heads)) + data.draw(st.integers(0, 511))
        content[min(at, len(content) - 1)] = data.draw(st.integers(0, 255))
    (tmp_path / "x").write_bytes(content)
    with suppress(ElectraConvertError):
        find_source(tmp_path / "x").close()
