"""A disk that is full, or that refuses a system call, ends the run with 4 and the bytes that are free."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("mounts a small file system as Linux does", allow_module_level=True)

import output_experiments as experiments
from output_rig import Forker, Scene, forking

can_trace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with forking(tmp_path_factory.mktemp("forker")) as process:
        yield process


@pytest.fixture
def can_mount(tmp_path: Path) -> None:
    try:
        with experiments.small_disk(tmp_path / "disk"):
            pass
    except PermissionError as error:
        pytest.skip(f"mounting is not allowed: {error}")


@pytest.mark.usefixtures("can_mount")
def test_any_number_of_free_pages_is_enough_or_is_told(scene: Scene, forker: Forker) -> None:
    experiments.full_disks(scene, forker, pages=[0, 1, 4, 8, 12, 16, 40]).check()


def test_any_limit_on_the_size_of_a_file_is_enough_or_is_told(scene: Scene, forker: Forker) -> None:
    experiments.limited_files(scene, forker, limits=[1, 500, 4096, 12_000, 20_000, 1 << 20]).check()


@can_trace
def test_the_kernel_refuses_a_call_of_each_kind(scene: Scene) -> None:
    experiments.failing_system_calls(scene, "ENOSPC", step=1000, names=("fsync", "rename")).check()


@pytest.mark.sweep
class TestInFull:
    @pytest.mark.usefixtures("can_mount")
    def test_every_number_of_free_pages(self, scene: Scene, forker: Forker) -> None:
        experiments.full_disks(scene, forker, pages=range(40)).check()

    def test_every_size(self, scene: Scene, forker: Forker) -> None:
        experiments.limited_files(scene, forker, limits=range(0, 24_000, 97)).check()

    @can_trace
    @pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
    def test_every_call_of_each_kind(self, scene: Scene, code: str) -> None:
        experiments.failing_system_calls(scene, code).check()
