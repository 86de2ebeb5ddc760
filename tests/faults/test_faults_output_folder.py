"""OUT is absent, the old folder whole or the new one whole, whoever kills the run and whatever fails below it."""

from __future__ import annotations

import errno
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("counts the calls that Linux has", allow_module_level=True)

import output_experiments as experiments
from output_calls import Calls, counted, failing
from output_rig import Forker, Scene, contents, forking, require_whole

from electra_convert import convert
from electra_convert.errors import OutputError
from electra_convert.following import Follower
from electra_convert.hf import weights as weights_module


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with forking(tmp_path_factory.mktemp("forker")) as process:
        yield process


class TestKills:
    def test_before_any_call(self, scene: Scene, forker: Forker) -> None:
        experiments.kills_at_calls(scene, forker, count=36).check()

    def test_at_any_moment(self, scene: Scene, forker: Forker) -> None:
        experiments.kills_at_random(scene, forker, count=24).check()

    def test_from_the_start_of_the_process_on(self, scene: Scene) -> None:
        experiments.kills_of_whole_processes(scene, count=4).check()

    def test_where_two_folders_cannot_be_exchanged(self, scene: Scene, forker: Forker) -> None:
        """The two renames leave a moment without OUT; the next run, with or without `--overwrite`, brings it back."""
        program = "from electra_convert import atomic, holding; import os, signal; rename = os.rename; done = []\n"
        program += "atomic._exchange = lambda *paths: False\n"
        program += "def kill(*paths):\n    rename(*paths); os.kill(os.getpid(), signal.SIGKILL)\n"
        program += "os.rename = kill"
        scene.reset("old")
        status, _, _ = forker.run("tf1", scene.checkpoint, scene.out, "--no-verify", "--overwrite", before=program)
        assert (status, scene.state()) == (-9, "absent")
        with pytest.raises(OutputError, match="exists already"):
            convert(scene.checkpoint, scene.out, verify=False)
        assert (scene.state(), scene.litter()) == ("old", [])

    def test_a_run_without_overwrite_clears_what_one_with_it_left(self, scene: Scene, forker: Forker) -> None:
        scene.reset("absent")
        program = "import os, signal; os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)"
        forker.run("tf1", scene.checkpoint, scene.out, "--no-verify", "--overwrite", before=program)
        assert [name.split("-")[0] for name in scene.litter()] == [".out.lock", ".out.tmp"]
        convert(scene.checkpoint, scene.out, verify=False)
        assert (scene.state(), scene.litter()) == ("new", [])

    def test_a_file_of_the_locks_name_that_holds_something_is_kept(self, scene: Scene) -> None:
        scene.reset("old")
        lock = scene.room / ".out.lock"
        lock.write_text("mine")
        convert(scene.checkpoint, scene.out, verify=False, overwrite=True)
        assert (scene.state(), lock.read_text()) == ("new", "mine")


class TestFailingCalls:
    """A run that fails ends with 4 and names a file; OUT is as it was, and nothing else is left."""

    def test_any_one(self, scene: Scene) -> None:
        experiments.failing_calls(scene, errno.EIO, step=3).check()

    def test_for_want_of_space(self, scene: Scene) -> None:
        only = frozenset({"write", "fsync", "close", "mkdir", "rename", "renameat2", "posix_fallocate", "open"})
        experiments.failing_calls(scene, errno.ENOSPC, only=only, step=3).check()

    def test_for_want_of_permission(self, scene: Scene) -> None:
        only = frozenset({"open", "mkdir", "rename", "renameat2", "listdir", "scandir"})
        experiments.failing_calls(scene, errno.EACCES, only=only, step=2).check()

    def test_for_a_disk_that_is_gone_from_then_on(self, scene: Scene) -> None:
        experiments.failing_calls(scene, errno.EIO, ever_after=True, step=7).check()

    def test_a_file_whose_fsync_failed_is_given_up(self, scene: Scene) -> None:
        """The kernel tells a failed write-back once; an fsync that is tried again would succeed, and lie."""
        names = experiments.untouched(scene, "absent")
        first = names.index("fsync")
        scene.reset("absent")
        calls = Calls([scene.room], sys.maxsize, failing(errno.EIO))
        with counted(calls):
            original = calls.count

            def count(name: str, call: object) -> object:
                if name == "fsync" and "fsync" not in calls.names:
                    calls.names.append(name)
                    raise OSError(errno.EIO, "Input/output error")
                return original(name, call)  # type: ignore[arg-type]

            calls.count = count  # type: ignore[method-assign, assignment]
            with pytest.raises(OutputError, match="cannot be written"):
                convert(scene.checkpoint, scene.out, verify=False)
        after = calls.names[calls.names.index("fsync") + 1 :]
        assert first > 0
        assert not {"fsync", "rename"} & {*after}
        assert (scene.state(), scene.litter()) == ("absent", [])

    def test_what_has_changed_once_it_was_written_is_refused(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fault of memory or disk after writing: any byte of the weights, and no source changed."""
        generator = random.Random(0)
        size = len(contents(scene.base / "new")["model.safetensors"])
        written = weights_module.write_weights
        for before in experiments.BEFORE:
            for at in [0, 8, size - 1, *(generator.randrange(size) for _ in range(20))]:

                def write_and_damage(path: Path, *arguments: object, at: int = at) -> object:
                    result = written(path, *arguments)  # type: ignore[arg-type]
                    data = bytearray(path.read_bytes())
                    data[at] ^= 1 << generator.randrange(8)
                    path.write_bytes(data)
                    return result

                monkeypatch.setattr("electra_convert.writing.write_weights", write_and_damage)
                scene.reset(before)
                with pytest.raises(OutputError) as caught:
                    convert(scene.checkpoint, scene.out, verify=False, overwrite=before == "old")
                assert "model.safetensors" in str(caught.value.where)
                assert scene.judge(before, new=False) == "kept"

    def test_a_write_that_takes_nothing_does_not_go_on_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = open

        class Refusing:
            def __init__(self, *arguments: object, **options: object) -> None:
                self._file = opened(*arguments, **options)  # type: ignore[call-overload]

            def write(self, data: object) -> int:
                return 0

            def __getattr__(self, name: str) -> object:
                return getattr(self._file, name)

        monkeypatch.setattr(weights_module, "open", Refusing, raising=False)
        with pytest.raises(OutputError) as caught, Follower() as follower:
            weights_module.write_weights(tmp_path / "w", [], lambda tensor: [], follower)
        assert caught.value.exit_code == 4


class TestPlaces:
    def test_what_must_not_be_out_is_refused_and_nothing_changes(self, scene: Scene) -> None:
        experiments.odd_places(scene).check()

    def test_a_mount_point_and_a_read_only_file_system(self, scene: Scene) -> None:
        try:
            experiments.unwritable_places(scene).check()
        except PermissionError as error:
            pytest.skip(f"mounting is not allowed: {error}")

    def test_two_writers(self, scene: Scene, forker: Forker, tmp_path: Path) -> None:
        with forking(tmp_path / "other") as other:
            experiments.two_writers(scene, forker, other, rounds=16).check()

    def test_a_folder_beside_the_checkpoints_files_is_no_overlap(self, scene: Scene) -> None:
        """A prefix is files, and OUT may stand beside them; a folder given as CKPT would be around it."""
        out = scene.checkpoint / "out"
        convert(scene.checkpoint / "model.ckpt-7", out, verify=False)
        require_whole(out)
        for path in out.iterdir():
            path.unlink()
        out.rmdir()


class TestChangingSources:
    def test_a_checkpoint_that_changes_is_refused_as_input_and_nothing_is_left(self, scene: Scene) -> None:
        experiments.changing_sources(scene, step=37).check()

    @pytest.mark.parametrize("change", experiments.CHANGES)
    def test_once_it_is_written_a_change_that_can_be_seen_is_refused_and_another_changes_nothing(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        """What was read before, with its checksum right, is what is published."""
        names = experiments.untouched(scene, "absent")
        middle = names.index("fsync") + (len(names) - names.index("fsync")) // 3
        kept = contents(scene.checkpoint)
        file = scene.checkpoint / "model.ckpt-7.data-00000-of-00001"
        try:
            outcome = experiments.convert_changing(scene, middle, lambda name: experiments.CHANGES[change](file))
        finally:
            for name, data in kept.items():
                (scene.checkpoint / name).write_bytes(data)
        assert outcome == ("new" if change.endswith("time kept") else "kept")


@pytest.mark.sweep
class TestInFull:
    def test_kills(self, scene: Scene, forker: Forker) -> None:
        experiments.kills_at_calls(scene, forker, count=None).check()
        experiments.kills_at_random(scene, forker, count=500).check()
        experiments.kills_of_whole_processes(scene, count=60).check()

    def test_failing_calls(self, scene: Scene) -> None:
        for code in (errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE):
            experiments.failing_calls(scene, code).check()
            experiments.failing_calls(scene, code, ever_after=True).check()

    def test_two_writers(self, scene: Scene, forker: Forker, tmp_path: Path) -> None:
        with forking(tmp_path / "other") as other:
            experiments.two_writers(scene, forker, other, rounds=300).check()

    def test_changing_sources(self, scene: Scene) -> None:
        experiments.changing_sources(scene).check()
