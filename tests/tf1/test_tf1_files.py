"""Source files: exact ranges, without positioned reads too, and never more than the file has."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from electra_convert.errors import CheckpointError, EnvironmentFailure, TruncatedFile
from electra_convert.tf1 import files
from electra_convert.tf1.crc import crc32c
from electra_convert.tf1.files import PIECE, SourceHandle, name_stranger

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def handle(tmp_path: Path):
    (tmp_path / "x").write_bytes(CONTENT)
    opened = SourceHandle(tmp_path / "x", "ckpt/x")
    yield opened
    opened.close()


def dribble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each read return at most seven bytes."""
    read_at, read_into = files._read_at, files._read_into
    monkeypatch.setattr(files, "_read_at", lambda fd, size, at: read_at(fd, min(size, 7), at))
    monkeypatch.setattr(files, "_read_into", lambda fd, view, at: read_into(fd, view[:7], at))


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, 10), (100, 1000), (0, len(CONTENT)), (len(CONTENT), 0)])
def test_a_range_is_read_exactly(handle, monkeypatch, short: bool, offset: int, size: int) -> None:
    if short:
        dribble(monkeypatch)
    expected = CONTENT[offset : offset + size]
    assert handle.read(offset, size, "it") == expected
    buffer = np.zeros(size, np.uint8)
    handle.read_into(offset, buffer, "it")
    assert buffer.tobytes() == expected
    assert handle.crc32c() == crc32c(CONTENT)


@pytest.mark.parametrize(("offset", "size"), [(len(CONTENT), 1), (0, 1 << 62), (1 << 62, 1), (-1, 2), (0, -1)])
def test_a_range_beyond_the_file_is_refused_before_memory_is_asked_for(handle, offset: int, size: int) -> None:
    with pytest.raises(TruncatedFile) as caught:
        handle.read(offset, size, "a block")
    assert "within a block" in str(caught.value)
    assert caught.value.where == f"ckpt/x, byte {offset}"


def test_a_file_that_shrinks_while_it_is_read_is_refused(handle) -> None:
    os.truncate(handle.path, 100)
    with pytest.raises(TruncatedFile):
        handle.read(0, 200, "it")
    with pytest.raises(TruncatedFile):
        handle.read_into(0, np.zeros(200, np.uint8), "it")


def test_a_failing_disk_is_the_environments_fault(handle, monkeypatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "_read_at", fail)
    with pytest.raises(EnvironmentFailure) as caught:
        handle.read(3, 1, "it")
    assert caught.value.where == "ckpt/x, byte 3"
    assert caught.value.found == "Input/output error"


def test_an_absent_file_is_for_the_caller_to_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SourceHandle(tmp_path / "absent")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder"):
        SourceHandle(tmp_path)


@pytest.mark.parametrize(
    ("content", "hole"), [(bytes(3), True), (bytes(PIECE + 1), True), (bytes(PIECE) + b"x", False)]
)
def test_zeros_are_a_hole_only_if_there_is_nothing_else(tmp_path: Path, content: bytes, hole: bool) -> None:
    (tmp_path / "x").write_bytes(content)
    handle = SourceHandle(tmp_path / "x")
    assert (name_stranger(handle) is not None) == hole
    handle.close()
    handle.close()
