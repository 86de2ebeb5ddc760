"""A folder appears whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from electra_convert import atomic, holding
from electra_convert.atomic import check_target, refuse_overlap, staged_folder, write_failure
from electra_convert.errors import OutputError, UsageError

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
as_user = pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def publish(out: Path, text: str = "new", **options: object) -> None:
    with staged_folder(out, **options) as staging:  # type: ignore[arg-type]
        (staging / "file").write_text(text)


def a_dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def host() -> str:
    return atomic._owner().partition("-")[2]


class TestPublishing:
    def test_an_absent_folder_appears_with_all_its_files(self, tmp_path: Path) -> None:
        with staged_folder(tmp_path / "out") as staging:
            assert staging.parent == tmp_path
            (staging / "discriminator").mkdir()
            (staging / "discriminator" / "config.json").write_text("{}")
            assert not (tmp_path / "out").exists()
        assert (tmp_path / "out" / "discriminator" / "config.json").read_text() == "{}"
        assert hidden(tmp_path) == []

    def test_an_empty_folder_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        publish(tmp_path / "out")
        assert contents(tmp_path / "out") == {"file": "new"}

    def test_relative_paths_and_a_final_slash_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        publish(Path("one"))
        with staged_folder("two/") as staging:
            (staging / "file").write_text("x")
        assert sorted(os.listdir(tmp_path)) == ["one", "two"]

    @posix
    def test_the_published_folder_has_the_permissions_of_any_new_folder(self, tmp_path: Path) -> None:
        (tmp_path / "any").mkdir()
        publish(tmp_path / "out")
        assert (tmp_path / "out").stat().st_mode == (tmp_path / "any").stat().st_mode

    @pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(143), OSError(errno.EIO, "x")])
    def test_any_exception_removes_the_temporary_folder(self, tmp_path: Path, error: BaseException) -> None:
        def write_half() -> None:
            with staged_folder(tmp_path / "out") as staging:
                (staging / "file").write_text("half")
                raise error

        with pytest.raises(type(error)):
            write_half()
        assert list(tmp_path.iterdir()) == []

    def test_every_file_and_folder_is_synced_before_the_rename(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[str] = []
        sync, rename = atomic._sync, os.rename
        monkeypatch.setattr(atomic, "_sync", lambda path: (events.append(path.name), sync(path)))
        monkeypatch.setattr(os, "rename", lambda a, b: (events.append("rename"), rename(a, b)))
        with staged_folder(tmp_path / "out") as staging:
            (staging / "sub").mkdir()
            (staging / "sub" / "b").write_text("b")
            (staging / "a").write_text("a")
        assert events == ["b", "sub", "a", staging.name, "rename", tmp_path.name]

    def test_a_failing_sync_publishes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(atomic, "_sync", fail)
        with pytest.raises(OutputError, match="cannot be written"):
            publish(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_what_happens_after_publication_leaves_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sync = atomic._sync

        def interrupted(path: Path) -> None:
            if path == tmp_path:
                raise KeyboardInterrupt
            sync(path)

        monkeypatch.setattr(atomic, "_sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path / "out")
        assert contents(tmp_path / "out") == {"file": "new"}
        assert hidden(tmp_path) == []


class TestRefusals:
    def test_a_folder_that_holds_something_is_refused_before_work(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("x")
        with pytest.raises(OutputError) as caught, staged_folder(tmp_path / "out"):
            pytest.fail("the block ran")
        assert caught.value.exit_code == 4
        assert caught.value.found == "a folder with 1 entry"
        assert "--overwrite" in (caught.value.hint or "")
        assert contents(tmp_path / "out") == {"mine": "x"}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_file_is_never_replaced(self, tmp_path: Path, overwrite: bool) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OutputError, match="is a file"):
            publish(tmp_path / "out", overwrite=overwrite)
        assert (tmp_path / "out").read_text() == "mine"
        assert hidden(tmp_path) == []

    @posix
    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("target", ["full", "empty", "nowhere", "file"])
    def test_a_link_is_refused_and_its_target_untouched(self, tmp_path: Path, overwrite: bool, target: str) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").write_text("x")
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("x")
        (tmp_path / "out").symlink_to(target)
        for shown in (tmp_path / "out", f"{tmp_path / 'out'}/"):
            with pytest.raises(OutputError, match="symbolic link"), staged_folder(shown, overwrite=overwrite):
                pytest.fail("the block ran")
        assert os.readlink(tmp_path / "out") == target
        assert contents(tmp_path / "full") == {"mine": "x"}
        assert hidden(tmp_path) == []

    def test_a_missing_parent_is_refused_before_work(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="not there") as caught, staged_folder(tmp_path / "no" / "out"):
            pytest.fail("the block ran")
        assert caught.value.hint == "create it first"

    def test_a_file_as_parent_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError), staged_folder(tmp_path / "file" / "out"):
            pytest.fail("the block ran")

    @as_user
    def test_a_parent_without_permission_is_refused_before_work(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        try:
            with pytest.raises(OutputError, match="nothing can be created"), staged_folder(tmp_path / "out"):
                pytest.fail("the block ran")
        finally:
            tmp_path.chmod(0o755)

    def test_a_file_system_that_refuses_a_new_folder_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read_only(self: Path, *arguments: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", read_only)
        with pytest.raises(OutputError, match="nothing can be created") as caught, staged_folder(tmp_path / "out"):
            pytest.fail("the block ran")
        assert caught.value.found == os.strerror(errno.EROFS)

    def test_too_little_space_is_refused_before_work_with_both_numbers(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError) as caught, staged_folder(tmp_path / "out", needed_bytes=1 << 60):
            pytest.fail("the block ran")
        assert caught.value.expected == f"{1 << 60} bytes"
        assert "bytes free" in str(caught.value.found)
        assert list(tmp_path.iterdir()) == []

    @posix
    def test_a_mount_point_is_refused_before_work(self) -> None:
        with pytest.raises(OutputError, match="mount point"):
            check_target("/", overwrite=True)

    def test_a_folder_that_came_during_the_run_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError) as caught, staged_folder(tmp_path / "out"):
            publish(tmp_path / "out", "first")
        assert caught.value.exit_code == 4
        assert contents(tmp_path / "out") == {"file": "first"}
        assert hidden(tmp_path) == []

    def test_the_rename_itself_refuses_a_folder_that_came_in_the_last_moment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sync = atomic._sync_tree

        def late(staging: Path) -> None:
            sync(staging)
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "file").write_text("first")
            monkeypatch.setattr(atomic, "_require_free", lambda *arguments: None)

        monkeypatch.setattr(atomic, "_sync_tree", late)
        with pytest.raises(OutputError, match="during the run"):
            publish(tmp_path / "out")
        assert contents(tmp_path / "out") == {"file": "first"}

    def test_a_full_disk_names_both_numbers(self, tmp_path: Path) -> None:
        refused = write_failure(tmp_path / "x", OSError(errno.ENOSPC, "No space left on device"), 1234)
        assert refused.exit_code == 4
        assert "bytes free" in str(refused.found)
        assert refused.expected == "1234 bytes for this file"


TWO_WAYS = pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])


@pytest.fixture
def way(exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if exchange:
        if not sys.platform.startswith("linux"):
            pytest.skip("no renameat2")
    else:
        monkeypatch.setattr(atomic, "_exchange", lambda staging, target: False)


@pytest.mark.usefixtures("way")
@TWO_WAYS
class TestOverwriting:
    def test_the_whole_folder_is_replaced(self, tmp_path: Path) -> None:
        publish(tmp_path / "out", "old")
        (tmp_path / "out" / "other").write_text("goes too")
        publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "new"}
        assert hidden(tmp_path) == []

    def test_an_absent_folder_is_written(self, tmp_path: Path) -> None:
        publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "new"}
        assert hidden(tmp_path) == []

    def test_a_failure_in_the_block_keeps_the_old_one(self, tmp_path: Path) -> None:
        publish(tmp_path / "out", "old")
        with pytest.raises(RuntimeError), staged_folder(tmp_path / "out", overwrite=True):
            raise RuntimeError
        assert contents(tmp_path / "out") == {"file": "old"}
        assert hidden(tmp_path) == []

    @posix
    def test_a_link_that_came_during_the_run_is_not_replaced(self, tmp_path: Path) -> None:
        publish(tmp_path / "out", "old")
        with pytest.raises(OutputError, match="symbolic link"), staged_folder(tmp_path / "out", overwrite=True):
            (tmp_path / "out").rename(tmp_path / "moved").parent.joinpath("out").symlink_to("moved")
        assert os.readlink(tmp_path / "out") == "moved"
        assert contents(tmp_path / "moved") == {"file": "old"}
        assert hidden(tmp_path) == []

    def test_a_second_writer_is_refused_and_the_first_one_finishes(self, tmp_path: Path) -> None:
        publish(tmp_path / "out", "old")
        with staged_folder(tmp_path / "out", overwrite=True) as staging:
            (staging / "file").write_text("new")
            with pytest.raises(OutputError, match="another run") as caught:
                publish(tmp_path / "out", "second", overwrite=True)
            assert caught.value.exit_code == 4
        assert contents(tmp_path / "out") == {"file": "new"}
        assert hidden(tmp_path) == []


class TestOverwritingInSteps:
    def test_the_exchange_is_one_step(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if not sys.platform.startswith("linux"):
            pytest.skip("no renameat2")
        publish(tmp_path / "out", "old")
        monkeypatch.setattr(os, "rename", lambda *paths: pytest.fail("renamed"))
        publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "new"}

    def test_a_failing_second_rename_brings_the_old_one_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(tmp_path / "out", "old")
        rename = os.rename

        def fail_into_place(source: Path, target: Path) -> None:
            if ".tmp-" in os.fspath(source):
                raise OSError(errno.EIO, "Input/output error")
            rename(source, target)

        monkeypatch.setattr(atomic, "_exchange", lambda staging, target: False)
        monkeypatch.setattr(os, "rename", fail_into_place)
        with pytest.raises(OutputError):
            publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "old"}
        assert hidden(tmp_path) == []

    @posix
    @pytest.mark.parametrize("code", sorted(atomic._NO_EXCHANGE))
    def test_a_system_that_cannot_exchange_is_asked_for_two_renames(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        class Library:
            @staticmethod
            def renameat2(*arguments: object) -> int:
                return -1

        monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *arguments, **options: Library)
        monkeypatch.setattr(atomic.ctypes, "get_errno", lambda: code)
        publish(tmp_path / "out", "old")
        publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "new"}
        assert hidden(tmp_path) == []

    def test_a_c_library_without_the_call_is_no_obstacle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *arguments, **options: object())
        publish(tmp_path / "out", "old")
        publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "new"}

    def test_a_lock_that_a_killed_run_left_is_no_obstacle(self, tmp_path: Path) -> None:
        (tmp_path / ".out.lock").write_text("")
        publish(tmp_path / "out", overwrite=True)
        assert hidden(tmp_path) == []

    @posix
    def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flock, path, seen = holding.fcntl.flock, tmp_path / ".out.lock", []

        def remove_first(descriptor: int, operation: int) -> None:
            flock(descriptor, operation)
            seen.append(descriptor)
            if len(seen) == 1:
                path.unlink()

        monkeypatch.setattr(holding.fcntl, "flock", remove_first)
        publish(tmp_path / "out", overwrite=True)
        assert len(seen) == 3  # the third time in order to remove it


@posix
class TestLeftovers:
    def leave(self, folder: Path, pid: int, kind: str = "tmp", owner: str | None = None) -> Path:
        path = folder / f".out.{kind}-{pid}-{host() if owner is None else owner}0123abcd"
        path.mkdir()
        (path / "file").write_text("left")
        return path

    def test_what_a_dead_process_left_is_removed(self, tmp_path: Path) -> None:
        left = self.leave(tmp_path, a_dead_process())
        publish(tmp_path / "out")
        assert not left.exists()

    def test_a_process_that_nobody_asked_how_it_ended_is_dead(self, tmp_path: Path) -> None:
        """It still has its number; in a container whose first process is no init, for ever."""
        if not os.path.exists("/proc/self/stat"):
            pytest.skip("nobody tells such a process from one that runs")
        process = subprocess.Popen([sys.executable, "-c", ""])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        left = self.leave(tmp_path, process.pid)
        publish(tmp_path / "out")
        process.wait()
        assert not left.exists()

    def test_nothing_else_is_removed(self, tmp_path: Path) -> None:
        dead = a_dead_process()
        kept = [
            self.leave(tmp_path, os.getpid()),
            self.leave(tmp_path, os.getppid()),
            self.leave(tmp_path, dead, owner="00000000" if host() != "00000000" else "11111111"),
        ]
        for name in (f".other.tmp-{dead}-{host()}0123abcd", f".out.tmp-{dead}", ".out.tmp-mine", ".out", "xout.tmp-1"):
            (tmp_path / name).mkdir()
            kept.append(tmp_path / name)
        file = tmp_path / f".out.tmp-{dead}-{host()}00000000"
        file.write_text("a file of this name is not ours")
        link = tmp_path / f".out.old-{dead}-{host()}11111111"
        link.symlink_to(kept[0])
        publish(tmp_path / "out")
        assert all(path.exists() for path in [*kept, file, link])

    def test_a_name_is_taken_literally(self, tmp_path: Path) -> None:
        other = tmp_path / f".axb.tmp-{a_dead_process()}-{host()}0123abcd"
        other.mkdir()
        publish(tmp_path / "a.b")
        assert other.exists()

    def test_a_folder_moved_aside_comes_back_if_nothing_took_its_place(self, tmp_path: Path) -> None:
        dead = a_dead_process()
        self.leave(tmp_path, dead, "old")
        self.leave(tmp_path, dead, "tmp")
        with pytest.raises(OutputError, match="exists already"):
            publish(tmp_path / "out")
        assert contents(tmp_path / "out") == {"file": "left"}
        assert hidden(tmp_path) == []

    def test_a_folder_moved_aside_goes_if_another_took_its_place(self, tmp_path: Path) -> None:
        publish(tmp_path / "out", "old")
        self.leave(tmp_path, a_dead_process(), "old")
        publish(tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == {"file": "new"}
        assert hidden(tmp_path) == []


SLOW_WRITER = textwrap.dedent(
    """
    import sys, time
    from electra_convert.atomic import staged_folder
    with staged_folder(sys.argv[1], overwrite=True) as staging:
        (staging / "file").write_text("half")
        print("ready", flush=True)
        time.sleep(60)
    """
)


@posix
class TestOtherProcesses:
    def start(self, out: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", SLOW_WRITER, str(out)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    @pytest.mark.parametrize("before", ["absent", "old"])
    def test_a_killed_run_leaves_the_output_untouched_and_the_next_one_clears_up(
        self, tmp_path: Path, before: str
    ) -> None:
        out = tmp_path / "out"
        if before == "old":
            publish(out, "old")
        process = self.start(out)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len([name for name in hidden(tmp_path) if ".tmp-" in name]) == 1
        assert out.exists() == (before == "old")
        if before == "old":
            assert contents(out) == {"file": "old"}
        publish(out, overwrite=True)
        assert contents(out) == {"file": "new"}
        assert hidden(tmp_path) == []

    def test_two_replacing_processes_are_kept_apart_and_the_living_one_is_not_disturbed(self, tmp_path: Path) -> None:
        process = self.start(tmp_path / "out")
        try:
            before = hidden(tmp_path)
            with pytest.raises(OutputError, match="another run"):
                publish(tmp_path / "out", overwrite=True)
            assert hidden(tmp_path) == before
        finally:
            process.kill()
            process.communicate()

    def test_killed_at_any_moment_the_output_is_old_or_new_and_whole(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        program = (
            "import sys\nfrom electra_convert.atomic import staged_folder\n"
            "print('ready', flush=True)\n"
            "for turn in range(10**6):\n"
            "    with staged_folder(sys.argv[1], overwrite=True) as staging:\n"
            "        for name in 'ab': (staging / name).write_text(str(turn))\n"
        )
        for delay in (0.001, 0.004, 0.011, 0.023, 0.042):
            process = subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
            process.communicate()
            if out.exists():
                found = contents(out)
                assert sorted(found) == ["a", "b"]
                assert found["a"] == found["b"]


class TestOverlap:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        (tmp_path / "ckpt").mkdir()
        (tmp_path / "ckpt" / "model.ckpt-1.index").write_text("x")
        return tmp_path / "ckpt"

    def sources(self, checkpoint: Path) -> list[Path]:
        return [checkpoint, checkpoint / "model.ckpt-1.index"]

    @pytest.mark.parametrize(
        "out", ["ckpt", "ckpt/", "ckpt/out", "ckpt/deep/out", ".", "ckpt/../ckpt", "ckpt/model.ckpt-1.index"]
    )
    def test_equal_inside_and_around_are_refused(self, tmp_path: Path, checkpoint: Path, out: str) -> None:
        with pytest.raises(UsageError) as caught:
            refuse_overlap(f"{tmp_path}/{out}", self.sources(checkpoint))
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize("out", ["out", "ckpt-out", "ckpt2/out", "ckpt/../out"])
    def test_beside_is_allowed(self, tmp_path: Path, checkpoint: Path, out: str) -> None:
        refuse_overlap(f"{tmp_path}/{out}", self.sources(checkpoint))

    def test_files_alone_allow_an_output_beside_them(self, checkpoint: Path) -> None:
        refuse_overlap(checkpoint / "out", [checkpoint / "model.ckpt-1.index"])

    @posix
    def test_links_hide_nothing(self, tmp_path: Path, checkpoint: Path) -> None:
        (tmp_path / "link").symlink_to("ckpt")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "linked.index").symlink_to(checkpoint / "model.ckpt-1.index")
        os.link(checkpoint / "model.ckpt-1.index", tmp_path / "hard")
        for out, sources in [
            (tmp_path / "link", [checkpoint]),
            (tmp_path / "link" / "out", [checkpoint]),
            (checkpoint / "out", [tmp_path / "link"]),
            (checkpoint, [tmp_path / "elsewhere" / "linked.index"]),
            (tmp_path / "elsewhere", [tmp_path / "elsewhere" / "linked.index"]),
            (tmp_path / "hard", self.sources(checkpoint)),
        ]:
            with pytest.raises(UsageError):
                refuse_overlap(out, sources)

    def test_a_source_that_is_not_there_overlaps_nothing(self, tmp_path: Path) -> None:
        refuse_overlap(tmp_path / "out", [tmp_path / "no"])
